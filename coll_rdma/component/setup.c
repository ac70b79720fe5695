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
#include "coll_rdma/component/setup.h"

#include <stdlib.h>
#include <string.h>

#include "coll_rdma/device/cuda.h"

static void setup_free(coll_rdma_setup_t *s)
{
    free(s->cards);
    free(s->peers);
    free(s->regions);
    free(s->node);
}

static void drop_peers(coll_rdma_setup_t *s)
{
    coll_rdma_context_lock();
    coll_rdma_setup_release_peers(s);
    coll_rdma_context_unlock();
}

/* After the words of all ranks: ready? If not, as if nothing had been known. */
static bool all_familiar(coll_rdma_setup_t *s)
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

int coll_rdma_agree(coll_rdma_module_t *module, ompi_communicator_t *comm, int *values, int n)
{
    return module->lower.allreduce(MPI_IN_PLACE, values, n, MPI_INT, MPI_MIN, comm,
                                   module->lower.allreduce_module);
}

/* Is everybody able? Learns which rank is to tell the user why not. */
static int agree_on_failer(coll_rdma_setup_t *s, coll_rdma_module_t *module, ompi_communicator_t *comm)
{
    s->failer = !s->ok && coll_rdma_other_rank != s->reason ? s->rank : s->size;
    return coll_rdma_agree(module, comm, &s->failer, 1);
}

/* All are ready: the next communicator of these processes will need no cards. */
static void introduce(coll_rdma_setup_t *s)
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

static int exchange(coll_rdma_setup_t *s, coll_rdma_module_t *module, ompi_communicator_t *comm)
{
    enum { FAILER, ONE_HOST, SHM, CMA, XPMEM, NO_GPU, ALONE, NFLAGS };
    int flags[NFLAGS];
    size_t rndv_min = 0;
    int ret, blocks = 0;

    coll_rdma_context_lock();
    coll_rdma_setup_prepare(s, comm);
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
    coll_rdma_setup_attach(s);
    coll_rdma_context_unlock();

    flags[FAILER] = !s->ok && coll_rdma_other_rank != s->reason ? s->rank : s->size;
    flags[ONE_HOST] = !s->need_remote;
    flags[SHM] = s->shm_ok;
    flags[CMA] = s->agreed.cma;
    flags[XPMEM] = s->agreed.xpmem;
    flags[NO_GPU] = !crdma_cuda_expected();
    flags[ALONE] = !coll_rdma_setup_is_oversubscribed(s);
    ret = coll_rdma_agree(module, comm, flags, NFLAGS);
    s->failer = flags[FAILER];
    coll_rdma_familiar_clear(&s->visit);
    if (OMPI_SUCCESS != ret || s->failer < s->size) {
        coll_rdma_setup_fail(s, coll_rdma_other_rank);
        return ret;
    }
    if (!flags[SHM]) {
        drop_peers(s); /* somebody cannot map its neighbour: nobody uses shared memory */
    }
    if (!flags[ONE_HOST] || !flags[SHM]) {
        const char *reason;

        ret = coll_rdma_wireup(module, comm, s->cards, s->peers, &reason);
        if (OMPI_SUCCESS != ret || NULL != reason) {
            coll_rdma_setup_fail(s, OMPI_SUCCESS == ret ? reason : coll_rdma_other_rank);
            s->failer = 0; /* all know */
            return ret;
        }
        ret = coll_rdma_setup_network(s, module, comm);
        if (OMPI_SUCCESS != ret || !s->ok) {
            return ret;
        }
    }
    if (!flags[ONE_HOST] || !flags[SHM]) {
        blocks = coll_rdma_setup_network_blocks(&module->network);
        rndv_min = module->network.rndv_min;
    }
    /* What cannot be attached goes by CMA, so there is none of the one without the other. */
    s->agreed = (coll_rdma_agreed_t) {
        .cma = flags[CMA] && (flags[XPMEM] || CRDMA_SINGLE_XPMEM != crdma_params.single_copy),
        .xpmem = flags[CMA] && flags[XPMEM], .gpu = !flags[NO_GPU], .oversubscribed = !flags[ALONE]};
    if (CRDMA_OK != coll_rdma_setup_finish(s, blocks, rndv_min)) {
        coll_rdma_setup_fail(s, "no preregistered memory left (coll_rdma_memory_limit)");
    }
    ret = agree_on_failer(s, module, comm);
    if (OMPI_SUCCESS == ret && s->failer < s->size) {
        coll_rdma_setup_fail(s, coll_rdma_other_rank);
    }
    if (OMPI_SUCCESS == ret && s->ok && s->group->all_direct && 1 == s->nnodes) {
        introduce(s);
    }
    return ret;
}

int coll_rdma_setup(coll_rdma_module_t *module, ompi_communicator_t *comm)
{
    coll_rdma_setup_t s = {.rank = ompi_comm_rank(comm), .size = ompi_comm_size(comm)};
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
            const bool tell = s.failer == s.rank
                              && (NULL == said || 0 != strcmp(said, s.reason));

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
