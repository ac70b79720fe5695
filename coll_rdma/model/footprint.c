/*
 * One rank's set-up among peers that are not there. A direct peer is our own slab once more: what we
 * store into "its" mailbox lands in ours. A remote peer takes puts and does nothing.
 */
#include "coll_rdma/model/footprint.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "coll_rdma/engine/group.h"
#include "coll_rdma/engine/plan.h"
#include "coll_rdma/memory/slab.h"

static crdma_status_t put(crdma_peer_t *peer, const void *src, crdma_addr_t dst, size_t len,
                          crdma_tx_t *tx)
{
    (void) peer;
    (void) src;
    (void) dst;
    (void) len;
    (void) tx;
    return CRDMA_OK;
}

static crdma_status_t put_flagged(crdma_peer_t *peer, const void *src, crdma_addr_t dst, size_t len,
                                  const uint64_t *flag_src, crdma_addr_t flag_dst, crdma_tx_t *tx)
{
    (void) flag_src;
    (void) flag_dst;
    return put(peer, src, dst, len, tx);
}

static const crdma_transport_t nobody = {
    .name = "nobody", .put = put, .put_flagged = put_flagged};

static size_t heap_in_use(void)
{
    const struct mallinfo2 info = mallinfo2();

    return info.uordblks + info.hblkhd;
}

static size_t touched(const crdma_slab_t *slab)
{
    const size_t page = (size_t) sysconf(_SC_PAGESIZE), pages = (slab->top + page - 1) / page;
    unsigned char *in = malloc(pages);
    size_t n = 0;

    if (NULL != in && 0 == mincore(slab->base, pages * page, in)) {
        for (size_t i = 0; i < pages; ++i) {
            n += in[i] & 1;
        }
    }
    free(in);
    return n * page;
}

/* The caller's arrays, which the group copies. */
typedef struct world {
    crdma_peer_t **peers;
    crdma_addr_t *regions;
    int *node;
} world_t;

static crdma_status_t populate(world_t *w, const crdma_model_case_t *what, int rank,
                               crdma_addr_t region, crdma_peer_t *direct, crdma_peer_t *remote)
{
    const size_t n = (size_t) what->size;

    w->peers = calloc(n, sizeof(*w->peers));
    w->regions = calloc(n, sizeof(*w->regions));
    w->node = calloc(n, sizeof(*w->node));
    if (NULL == w->peers || NULL == w->regions || NULL == w->node) {
        return CRDMA_ERR_NOMEM;
    }
    for (int r = 0; r < what->size; ++r) {
        w->regions[r] = region;
        w->node[r] = crdma_model_node(what, r);
        if (r != rank) {
            w->peers[r] = w->node[r] == crdma_model_node(what, rank) ? direct : remote;
        }
    }
    return CRDMA_OK;
}

static void depopulate(world_t *w)
{
    free(w->peers);
    free(w->regions);
    free(w->node);
    *w = (world_t) {NULL};
}

static crdma_status_t make_plans(crdma_group_t *g, const crdma_model_case_t *cases, int n)
{
    crdma_status_t status = CRDMA_OK;

    for (int i = 0; i < n && CRDMA_OK == status; ++i) {
        const crdma_plan_key_t key = {.coll = (int) cases[i].coll,
                                      .alg = (int) cases[i].alg,
                                      .degree = cases[i].degree,
                                      .levels = cases[i].two_level ? 2 : 1,
                                      .inter_alg = (int) cases[i].inter_alg,
                                      .inter_degree = cases[i].inter_degree};
        crdma_plan_t *plan;

        status = crdma_plan_get_slow(g, &key, &plan);
    }
    return status;
}

crdma_status_t crdma_model_footprint(const crdma_model_case_t *cases, int n, int rank,
                                     int remote_blocks, size_t memory_limit,
                                     crdma_model_footprint_t *footprint)
{
    crdma_peer_t direct = {.refs = 1}, remote = {.refs = 1, .transport = &nobody};
    world_t world = {NULL};
    crdma_group_t *g = NULL;
    crdma_slab_t *slab;
    crdma_status_t status = crdma_slab_create(memory_limit, &slab);

    if (CRDMA_OK != status) {
        return status;
    }
    direct.map = slab->base;
    direct.map_size = slab->size;
    const size_t before = heap_in_use();

    status = crdma_group_begin(slab, rank, cases[0].size, "footprint", &g);
    if (CRDMA_OK == status) {
        status = populate(&world, &cases[0], rank, g->region_addr, &direct, &remote);
    }
    if (CRDMA_OK == status) {
        const crdma_group_config_t config = {.peers = world.peers,
                                             .regions = world.regions,
                                             .node = world.node,
                                             .nnodes = crdma_model_nnodes(&cases[0]),
                                             .cma = true,
                                             .remote_blocks = remote_blocks};

        status = crdma_group_finish(g, &config);
    }
    depopulate(&world);
    if (CRDMA_OK == status) {
        status = make_plans(g, cases, n);
    }
    if (CRDMA_OK == status) {
        *footprint = (crdma_model_footprint_t) {
            .slab_in_use = slab->in_use,
            .slab_promised = slab->reserved,
            .slab_touched = touched(slab),
            .heap = heap_in_use() - before,
            .peers = (size_t) cases[0].size * (sizeof(crdma_peer_t) + sizeof(crdma_peer_t *))};
        for (int r = 0; r < g->size; ++r) {
            footprint->connections += NULL != g->edges[r];
            footprint->remote += NULL != g->edges[r] && g->edges[r]->remote;
        }
    }
    crdma_group_free(g);
    crdma_group_reap_all();
    crdma_slab_destroy(slab);
    return status;
}
