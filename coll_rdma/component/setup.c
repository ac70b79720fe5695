/*
 * Setting up a communicator, at its first blocking collective:
 *
 *   1. allgather of cards (the lower module's)
 *   2. each rank attaches the peers on its host
 *   3. agreement (allreduce MIN): is everybody able, all on one host, is shared memory usable
 *      everywhere, can everybody copy from its neighbours
 *   4. if some ranks are on different hosts: a transport between them (wireup.c)
 *      and what messages between them cost (measure.c)
 *   5. a last agreement: does everybody have the memory
 *
 * A communicator of processes that share a host and have been through this together needs none of it
 * (familiar.h): each rank takes its peers and the agreements from then, reserves its memory, and tells
 * the others by a word in their memory. If one cannot, all start with step 1.
 *
 * Whatever one rank cannot do, all learn in 3 to 5, so they decline together. While it runs the
 * module counts as declined: collectives of the lower module may be built from one another through
 * the communicator's functions, which are ours (or those of a component above us), and must
 * reach the lower module.
 */
#include "coll_rdma/component/coll_rdma.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coll_rdma/base/map.h"
#include "coll_rdma/component/coll_rdma_card.h"
#include "coll_rdma/component/familiar.h"
#include "coll_rdma/device/cuda.h"
#include "opal/util/proc.h"

/* Between hosts: limits of what the network makes worth while (select/network.c). */
#define RNDV_LEAST ((size_t) 32 * 1024)
#define BLOCKS_LEAST 16
#define BLOCKS_MOST 64

static uint64_t mix(uint64_t hash, uint64_t value)
{
    return (hash ^ value) * 0x9e3779b97f4a7c15u;
}

static uint64_t hash_parameters(void)
{
    uint64_t hash = 1;

    hash = mix(hash, sizeof(coll_rdma_card_t));
    hash = mix(hash, (uint64_t) crdma_params.transport);
    hash = mix(hash, (uint64_t) crdma_params.ll_max);
    hash = mix(hash, (uint64_t) crdma_params.block_size);
    hash = mix(hash, (uint64_t) crdma_params.block_count);
    hash = mix(hash, (uint64_t) crdma_params.rendezvous);
    hash = mix(hash, crdma_params.rendezvous_min);
    hash = mix(hash, (uint64_t) crdma_params.single_copy);
    hash = mix(hash, crdma_params.sequence_start);
    hash = mix(hash, crdma_params.net_latency);
    hash = mix(hash, crdma_params.net_bandwidth);
    hash = mix(hash, NULL != coll_rdma_rules() ? coll_rdma_rules()->hash : 0);
    /* Read at every call, so they may change later (on all ranks alike). */
    hash = mix(hash, (uint64_t) crdma_params.two_level);
    hash = mix(hash, crdma_params.segment_size);
    for (int c = 0; c < CRDMA_PARAM_NCOLLS; ++c) {
        hash = mix(hash, (uint64_t) crdma_params.algorithm[c]);
        hash = mix(hash, (uint64_t) crdma_params.degree[c]);
    }
    return hash;
}

/* What the set-up of one communicator needs on the way. */
typedef struct setup {
    int rank, size;
    crdma_slab_t *slab;
    crdma_group_t *group;
    coll_rdma_card_t *cards;
    crdma_peer_t **peers;
    crdma_addr_t *regions;
    int *node;
    int nnodes;
    uint64_t parameters; /* hash */
    coll_rdma_visit_t visit;
    bool visiting;
    bool ok;         /* this rank */
    bool need_remote;
    bool shm_ok;
    coll_rdma_agreed_t agreed;
    const char *reason; /* why not, if !ok */
    int failer;         /* lowest rank that is unable for a reason of its own; size: none */
} setup_t;

static void setup_free(setup_t *s)
{
    free(s->cards);
    free(s->peers);
    free(s->regions);
    free(s->node);
}

static const char other_rank[] = "another rank declined";

static void fail(setup_t *s, const char *reason)
{
    if (s->ok) {
        s->ok = false;
        s->reason = reason;
    }
}

/* The references to the peers, back to the context, whose lock the caller holds. */
static void release_peers(setup_t *s)
{
    for (int r = 0; NULL != s->peers && r < s->size; ++r) {
        coll_rdma_context_release_peer(s->peers[r]);
        s->peers[r] = NULL;
    }
}

static void drop_peers(setup_t *s)
{
    coll_rdma_context_lock();
    release_peers(s);
    coll_rdma_context_unlock();
}

static crdma_status_t finish(setup_t *s, int remote_blocks, size_t remote_rndv_min)
{
    return crdma_group_finish(s->group,
                              &(crdma_group_config_t) {.peers = s->peers,
                                                       .regions = s->regions,
                                                       .node = s->node,
                                                       .nnodes = s->nnodes,
                                                       .cma = s->agreed.cma,
                                                       .xpmem = s->agreed.xpmem,
                                                       .gpu = s->agreed.gpu,
                                                       .oversubscribed = s->agreed.oversubscribed,
                                                       .remote_blocks = remote_blocks,
                                                       .remote_rndv_min = remote_rndv_min});
}

/* Everything but the regions, if all ranks have been set up together before. */
static bool prepare_familiar(setup_t *s)
{
    if (!coll_rdma_familiar_find(&s->visit, s->parameters, s->peers, &s->agreed)) {
        return false;
    }
    s->nnodes = 1; /* and s->node is zero everywhere */
    if (CRDMA_OK != finish(s, 0, 0)) {
        fail(s, "no preregistered memory left (coll_rdma_memory_limit)");
        release_peers(s);
    }
    return s->ok;
}

/* After the words of all ranks: ready? If not, as if nothing had been known. */
static bool all_familiar(setup_t *s)
{
    const bool all = coll_rdma_familiar_wait(&s->visit, s->regions, s->agreed.oversubscribed);

    if (all) {
        crdma_group_set_regions(s->group, s->regions);
    } else {
        drop_peers(s);
        s->nnodes = 0;
    }
    return all;
}

/* The caller holds the context's lock. */
static const char *no_slab(void)
{
    static char reason[128];

    snprintf(reason, sizeof(reason), "no preregistered memory: %s", strerror(errno));
    return reason;
}

static void prepare(setup_t *s, ompi_communicator_t *comm)
{
    const size_t n = (size_t) s->size;
    const char *complaint = coll_rdma_params_complaint();
    coll_rdma_card_t *mine;
    char name[32];
    bool ready;

    s->cards = calloc(n, sizeof(*s->cards));
    s->peers = calloc(n, sizeof(*s->peers));
    s->regions = calloc(n, sizeof(*s->regions));
    s->node = calloc(n, sizeof(*s->node));
    if (NULL == s->cards || NULL == s->peers || NULL == s->regions || NULL == s->node) {
        return;
    }
    s->ok = true;
    if (NULL != complaint) {
        fail(s, complaint);
    } else if (CRDMA_OK != coll_rdma_context_slab(&s->slab)) {
        fail(s, no_slab());
    } else {
        snprintf(name, sizeof(name), "cid %u", coll_rdma_cid(comm));
        if (CRDMA_OK != crdma_group_begin(s->slab, s->rank, s->size, name, &s->group)) {
            fail(s, "no preregistered memory left (coll_rdma_memory_limit)");
        }
    }
    mine = &s->cards[s->rank];
    s->parameters = hash_parameters();
    coll_rdma_familiar_begin(&s->visit, comm, s->slab);
    s->visiting = true;
    ready = s->ok && prepare_familiar(s);
    coll_rdma_familiar_leave_word(&s->visit, ready ? s->group->region_addr : 0);
    mine->doors = coll_rdma_familiar_doors(&s->visit);
    if (s->ok) {
        crdma_shm_card_fill(s->slab, &mine->shm);
        if (0 != mine->shm.segment) {
            coll_rdma_memory_watch(); /* attachments are kept only if somebody tells what goes */
        }
        mine->region = s->group->region_addr;
    }
    if (0 < coll_rdma_ranks_per_host) {
        mine->shm.host = mix(mine->shm.host, 1 + (uint64_t) (s->rank / coll_rdma_ranks_per_host));
    }
    mine->parameters = s->parameters;
    mine->ok = s->ok;
}

/* Ranks of this communicator on this machine, in whichever containers they are. */
static long ranks_here(const setup_t *s)
{
    long here = 0;

    for (int r = 0; r < s->size; ++r) {
        here += s->cards[r].shm.machine == s->cards[s->rank].shm.machine;
    }
    return here;
}

/* More ranks than processors on this machine? Those of the job that the launcher put on this host
 * count too. */
static bool is_oversubscribed(const setup_t *s)
{
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);

    return 0 < processors
           && (ranks_here(s) > processors
               || (long) opal_process_info.num_local_peers + 1 > processors);
}

/* Steps 2 and the local half of 3. */
static void attach_direct(setup_t *s)
{
    const coll_rdma_card_t *mine = &s->cards[s->rank];

    s->shm_ok = true;
    s->agreed.cma = CRDMA_SINGLE_NONE != crdma_params.single_copy;
    s->agreed.xpmem = CRDMA_SINGLE_AUTO == crdma_params.single_copy
                      || CRDMA_SINGLE_XPMEM == crdma_params.single_copy;
    if (CRDMA_OK != crdma_map_number(&s->cards[0].shm.host, sizeof(s->cards[0]), s->size, s->node,
                                     &s->nnodes)) {
        fail(s, "no memory");
        return;
    }
    for (int r = 0; r < s->size; ++r) {
        const coll_rdma_card_t *card = &s->cards[r];

        if (!card->ok) {
            fail(s, other_rank);
            return;
        }
        if (card->parameters != mine->parameters) {
            fail(s, "ranks have different values of coll_rdma parameters");
            return;
        }
        s->regions[r] = card->region;
        if (r == s->rank) {
            continue;
        }
        if (card->shm.host != mine->shm.host || CRDMA_TRANSPORT_UCP == crdma_params.transport
            || CRDMA_TRANSPORT_VERBS == crdma_params.transport) {
            s->need_remote = true;
        } else if (CRDMA_OK != coll_rdma_context_direct_peer(card, &s->peers[r])) {
            s->shm_ok = false;
        } else {
            s->agreed.cma = s->agreed.cma && s->peers[r]->cma;
            s->agreed.xpmem = s->agreed.xpmem && NULL != s->peers[r]->xpmem;
        }
    }
    if (s->need_remote && CRDMA_TRANSPORT_SHM == crdma_params.transport) {
        fail(s, "ranks are on several hosts and coll_rdma_transport is shm");
    }
    if (!s->shm_ok && CRDMA_TRANSPORT_SHM == crdma_params.transport) {
        fail(s, "the memory of a rank on this host cannot be mapped");
    }
}

int coll_rdma_agree(coll_rdma_module_t *module, ompi_communicator_t *comm, int *values, int n)
{
    return module->lower.allreduce(MPI_IN_PLACE, values, n, MPI_INT, MPI_MIN, comm,
                                   module->lower.allreduce_module);
}

/* Is everybody able? Learns which rank is to tell the user why not. */
static int agree_on_failer(setup_t *s, coll_rdma_module_t *module, ompi_communicator_t *comm)
{
    s->failer = !s->ok && other_rank != s->reason ? s->rank : s->size;
    return coll_rdma_agree(module, comm, &s->failer, 1);
}

/* A rank on another host, as near as possible after this one: each host is then asked by another. */
static crdma_peer_t *neighbour(const setup_t *s)
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
static int sharing(const setup_t *s)
{
    const long processors = sysconf(_SC_NPROCESSORS_ONLN), here = ranks_here(s);

    return 0 >= processors || here <= processors ? 1 : (int) ((here + processors - 1) / processors);
}

/* What messages between hosts cost: what the parameters say, else the rules file, else the best that was
 * measured. */
static int agree_on_network(setup_t *s, coll_rdma_module_t *module, ompi_communicator_t *comm)
{
    enum { FAILER, LATENCY, OVERHEAD, GAP, SHARING, NVALUES };
    crdma_peer_t *peer = neighbour(s);
    crdma_network_t *n = &module->network;
    int values[NVALUES], ret;

    if (NULL != peer && CRDMA_OK != coll_rdma_measure(s->slab, peer, n)) {
        fail(s, "a rank on another host does not answer");
    }
    values[FAILER] = s->ok ? s->size : s->rank;
    values[LATENCY] = NULL != peer && n->latency_ns < INT32_MAX ? (int) n->latency_ns : INT32_MAX;
    values[OVERHEAD] = NULL != peer ? (int) n->overhead_ns : INT32_MAX;
    values[GAP] = NULL != peer && n->gap_ps < INT32_MAX ? (int) n->gap_ps : INT32_MAX;
    values[SHARING] = -sharing(s);
    ret = coll_rdma_agree(module, comm, values, NVALUES);
    s->failer = values[FAILER];
    if (OMPI_SUCCESS != ret || s->failer < s->size) {
        fail(s, other_rank);
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

/* All are ready: the next communicator of these processes will need no cards. */
static void introduce(setup_t *s)
{
    bool all = true;

    for (int r = 0; r < s->size; ++r) {
        all = all && 0 != s->cards[r].doors;
        s->regions[r] = s->cards[r].doors;
    }
    if (all) {
        coll_rdma_context_lock();
        coll_rdma_familiar_open(&s->visit, s->parameters, s->peers, s->regions, &s->agreed);
        coll_rdma_context_unlock();
    }
}

static int exchange(setup_t *s, coll_rdma_module_t *module, ompi_communicator_t *comm)
{
    enum { FAILER, ONE_HOST, SHM, CMA, XPMEM, NO_GPU, ALONE, NFLAGS };
    int flags[NFLAGS];
    size_t rndv_min = 0;
    int ret, blocks = 0;

    coll_rdma_context_lock();
    prepare(s, comm);
    coll_rdma_context_unlock();
    if (NULL == s->node) {
        return OMPI_ERR_OUT_OF_RESOURCE; /* not even room for the cards: nothing to agree with */
    }
    if (all_familiar(s)) {
        s->failer = s->size;
        return OMPI_SUCCESS;
    }
    ret = module->lower.allgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, s->cards,
                                  (int) sizeof(*s->cards), MPI_BYTE, comm,
                                  module->lower.allgather_module);
    if (OMPI_SUCCESS != ret) {
        return ret;
    }
    coll_rdma_context_lock();
    coll_rdma_familiar_seal(&s->visit);
    attach_direct(s);
    coll_rdma_context_unlock();

    flags[FAILER] = !s->ok && other_rank != s->reason ? s->rank : s->size;
    flags[ONE_HOST] = !s->need_remote;
    flags[SHM] = s->shm_ok;
    flags[CMA] = s->agreed.cma;
    flags[XPMEM] = s->agreed.xpmem;
    flags[NO_GPU] = !crdma_cuda_expected();
    flags[ALONE] = !is_oversubscribed(s);
    ret = coll_rdma_agree(module, comm, flags, NFLAGS);
    s->failer = flags[FAILER];
    coll_rdma_familiar_clear(&s->visit);
    if (OMPI_SUCCESS != ret || s->failer < s->size) {
        fail(s, other_rank);
        return ret;
    }
    if (!flags[SHM]) {
        drop_peers(s); /* somebody cannot map its neighbour: nobody uses shared memory */
    }
    if (!flags[ONE_HOST] || !flags[SHM]) {
        const char *reason;

        ret = coll_rdma_wireup(module, comm, s->cards, s->peers, &reason);
        if (OMPI_SUCCESS != ret || NULL != reason) {
            fail(s, OMPI_SUCCESS == ret ? reason : other_rank);
            s->failer = 0; /* all know */
            return ret;
        }
        ret = agree_on_network(s, module, comm);
        if (OMPI_SUCCESS != ret || !s->ok) {
            return ret;
        }
    }
    if (!flags[ONE_HOST] || !flags[SHM]) {
        blocks = crdma_network_blocks(&module->network, BLOCKS_LEAST, BLOCKS_MOST);
        rndv_min = module->network.rndv_min;
    }
    /* What cannot be attached goes by CMA, so there is none of the one without the other. */
    s->agreed = (coll_rdma_agreed_t) {
        .cma = flags[CMA] && (flags[XPMEM] || CRDMA_SINGLE_XPMEM != crdma_params.single_copy),
        .xpmem = flags[CMA] && flags[XPMEM], .gpu = !flags[NO_GPU], .oversubscribed = !flags[ALONE]};
    if (CRDMA_OK != finish(s, blocks, rndv_min)) {
        fail(s, "no preregistered memory left (coll_rdma_memory_limit)");
    }
    ret = agree_on_failer(s, module, comm);
    if (OMPI_SUCCESS == ret && s->failer < s->size) {
        fail(s, other_rank);
    }
    if (OMPI_SUCCESS == ret && s->ok && s->group->all_direct && 1 == s->nnodes) {
        introduce(s);
    }
    return ret;
}

int coll_rdma_setup(coll_rdma_module_t *module, ompi_communicator_t *comm)
{
    setup_t s = {.rank = ompi_comm_rank(comm), .size = ompi_comm_size(comm)};
    int ret;

    module->state = COLL_RDMA_DECLINED;
    ret = exchange(&s, module, comm);
    if (OMPI_SUCCESS == ret && s.ok) {
        module->group = s.group;
        module->state = COLL_RDMA_READY;
        if (!s.group->all_direct) {
            const crdma_network_t *n = &module->network;

            crdma_log(CRDMA_LOG_SETUP,
                      "%s: between hosts %.1f us one way, %.1f us of processor time for a message, "
                      "%.3f ns per byte, %d ranks per processor; rendezvous from %zu B, %u blocks",
                      s.group->name, 1e-3 * (double) n->latency_ns, 1e-3 * (double) n->overhead_ns,
                      1e-3 * (double) n->gap_ps, (int) n->sharing, s.group->rndv_remote.min,
                      (unsigned) s.group->remote.block_count);
        }
        crdma_log(CRDMA_LOG_SETUP, "%s (%s): rank %d/%d ready, %d node%s, %s%s%s%s", s.group->name,
                  comm->c_name, s.rank, s.size, s.nnodes, 1 == s.nnodes ? "" : "s",
                  s.group->all_direct ? "shm" : "shm and ", coll_rdma_remote_name(s.group),
                  SIZE_MAX == s.group->rndv_direct[CRDMA_ALLREDUCE].min
                      ? ", no rendezvous within the host"
                      : s.group->rndv_direct[CRDMA_ALLREDUCE].mapped ? ", xpmem" : "",
                  s.group->oversubscribed ? ", more ranks than processors" : "");
    } else {
        if (OMPI_SUCCESS == ret) {
            /* one line for the user, from one rank, once for each reason */
            static const char *said;
            const bool tell = s.failer == s.rank && said != s.reason;

            crdma_log(tell ? CRDMA_LOG_ERROR : CRDMA_LOG_SETUP,
                      "%s (cid %u) is left to other components: %s (rank %d of %d)", comm->c_name,
                      coll_rdma_cid(comm), s.reason, s.rank, s.size);
            said = tell ? s.reason : said;
        }
        drop_peers(&s);
        coll_rdma_context_lock();
        crdma_group_free(s.group);
        coll_rdma_context_unlock();
    }
    if (s.visiting) {
        coll_rdma_context_lock();
        coll_rdma_familiar_end(&s.visit);
        coll_rdma_context_unlock();
    }
    setup_free(&s);
    return ret;
}
