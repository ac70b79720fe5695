/*
 * What messages between hosts cost, as all ranks agree on it when a communicator is set up (measure.c takes the
 * times, select/network.c uses them).
 */
#include "coll_rdma/component/setup.h"

#include <unistd.h>

/* Between hosts: limits of what the network makes worth while (select/network.c). */
#define RNDV_LEAST ((size_t) 32 * 1024)
#define BLOCKS_LEAST 16
#define BLOCKS_MOST 64

/* A rank on another host, as near as possible after this one: each host is then asked by another. */
static crdma_peer_t *neighbour(const coll_rdma_setup_t *s)
{
    for (int i = 1; i < s->size; ++i) {
        crdma_peer_t *peer = s->peers[(s->rank + i) % s->size];

        if (NULL != peer->transport) {
            return peer;
        }
    }
    return NULL;
}

/* How many ranks share a processor of the machine that has most of them. */
static int sharing(const coll_rdma_setup_t *s)
{
    const long processors = sysconf(_SC_NPROCESSORS_ONLN), here = coll_rdma_setup_ranks_here(s);

    return 0 >= processors || here <= processors ? 1 : (int) ((here + processors - 1) / processors);
}

/* What messages between hosts cost: what the parameters say, else the rules file, else the best that was
 * measured. */
int coll_rdma_setup_network(coll_rdma_setup_t *s, coll_rdma_module_t *module, ompi_communicator_t *comm)
{
    enum { FAILER, LATENCY, OVERHEAD, GAP, SHARING, NVALUES };
    crdma_peer_t *peer = neighbour(s);
    crdma_network_t *n = &module->network;
    int values[NVALUES], ret;

    if (NULL != peer && CRDMA_OK != coll_rdma_measure(s->slab, peer, n)) {
        coll_rdma_setup_fail(s, "a rank on another host does not answer");
    }
    values[FAILER] = s->ok ? s->size : s->rank;
    values[LATENCY] = NULL != peer && n->latency_ns < INT32_MAX ? (int) n->latency_ns : INT32_MAX;
    values[OVERHEAD] = NULL != peer ? (int) n->overhead_ns : INT32_MAX;
    values[GAP] = NULL != peer && n->gap_ps < INT32_MAX ? (int) n->gap_ps : INT32_MAX;
    values[SHARING] = -sharing(s);
    ret = coll_rdma_agree(module, comm, values, NVALUES);
    s->failer = values[FAILER];
    if (OMPI_SUCCESS != ret || s->failer < s->size) {
        coll_rdma_setup_fail(s, coll_rdma_other_rank);
        return ret;
    }
    n->latency_ns = (uint64_t) values[LATENCY];
    n->overhead_ns = (uint64_t) values[OVERHEAD];
    n->gap_ps = (uint64_t) values[GAP];
    if (NULL != coll_rdma_rules()) {
        crdma_network_override(n, &coll_rdma_rules()->network);
    }
    crdma_network_override(
        n, &(crdma_network_hint_t) {.latency_ns = crdma_params.net_latency,
                                    .gap_ps = 0 != crdma_params.net_bandwidth
                                                  ? 1000000 / crdma_params.net_bandwidth
                                                  : 0});
    n->sharing = (uint64_t) -values[SHARING];
    n->block_size = (size_t) crdma_params.block_size;
    n->rndv_min = crdma_network_rndv_min(n, RNDV_LEAST);
    return ret;
}

int coll_rdma_setup_network_blocks(const crdma_network_t *network)
{
    return crdma_network_blocks(network, BLOCKS_LEAST, BLOCKS_MOST);
}
