/*
 * The end of a group: one call has failed, so none can succeed any more.
 *
 * The rank says so in its own region, where everybody who waits for it looks (watch.c), and stores
 * it into the regions of the peers that have an edge to it, so that they need not look. The
 * first rank that finds something wrong prints what; the others that they give up because of it.
 *
 * The caller's buffers are its own again when a call returns, also with an error: transfers
 * with direct peers are withdrawn first. (What a transport was told to do with a remote peer
 * cannot be taken back.)
 */
#include <inttypes.h>

#include "coll_rdma/base/log.h"
#include "coll_rdma/engine/op_internal.h"
#include "coll_rdma/engine/parts.h"
#include "coll_rdma/protocol/rendezvous.h"
#include "coll_rdma/protocol/signature.h"

void crdma_group_fail(crdma_group_t *g)
{
    uint64_t none = 0;

    g->failed = true;
    g->poison_out = (uint64_t) g->rank + 1;
    if (!__atomic_compare_exchange_n(&g->region->poison, &none, g->poison_out, false,
                                     __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
        return; /* another rank was first, and tells */
    }
    for (int r = 0; r < g->size; ++r) {
        crdma_edge_t *edge = g->edges[r];
        const crdma_addr_t there = crdma_group_region_of(g, r) + offsetof(crdma_region_t, poison);

        /* Only while the peer waits for our CRDMA_MAIL_LEFT its region is certain to be there. */
        if (NULL == edge || 0 == __atomic_load_n(edge->mail, __ATOMIC_ACQUIRE)) {
            continue;
        }
        if (!edge->remote) {
            __atomic_store_n((uint64_t *) (edge->peer->map + there), g->poison_out,
                             __ATOMIC_RELAXED);
        } else {
            (void) edge->peer->transport->put(edge->peer, &g->poison_out, there, sizeof(uint64_t),
                                              &g->probe_tx);
        }
    }
}

crdma_status_t crdma_group_refuse(crdma_group_t *g)
{
    if (!g->failed) {
        g->failed = true;
        crdma_log(CRDMA_LOG_ERROR,
                  "%s, call %" PRIu64 ": rank %d gives up: rank %d reported an error",
                  g->name, g->seq + 1, g->rank,
                  (int) __atomic_load_n(&g->region->poison, __ATOMIC_RELAXED) - 1);
    }
    return CRDMA_ERR_PEER;
}

static void report(const crdma_op_t *op, const crdma_edge_t *edge, crdma_status_t status)
{
    const crdma_group_t *g = op->group;
    const uint64_t poison = __atomic_load_n(&g->region->poison, __ATOMIC_RELAXED);
    const bool earlier = CRDMA_ERR_MISMATCH == status && 0 != op->odd_seq;
    const uint64_t seq = earlier ? op->odd_seq : op->seq;
    char mine[160], theirs[160];

    crdma_sig_describe(earlier ? op->odd_sig : op->args.sig, mine, sizeof(mine));
    if (CRDMA_ERR_MISMATCH == status && NULL != edge) {
        crdma_log(CRDMA_LOG_ERROR,
                  "%s, call %" PRIu64 ": rank %d called %s, but rank %d called %s%s", g->name, seq,
                  g->rank, mine, edge->rank,
                  crdma_sig_describe(edge->seen_sig, theirs, sizeof(theirs)),
                  crdma_sig_same_call(edge->seen_sig, seq) ? "" : " (in another call)");
    } else if (0 != poison) {
        crdma_log(CRDMA_LOG_ERROR,
                  "%s, call %" PRIu64 ": rank %d in %s gives up: rank %d reported an error",
                  g->name, op->seq, g->rank, mine, (int) poison - 1);
    } else if (NULL != edge) {
        crdma_log(CRDMA_LOG_ERROR, "%s, call %" PRIu64 ": rank %d in %s: %s (rank %d)", g->name,
                  op->seq, g->rank, mine,
                  CRDMA_ERR_PEER == status
                      ? "the peer has failed, left or gone on without us"
                  : CRDMA_ERR_TIMEOUT == status ? "coll_rdma_timeout elapsed while waiting"
                                                : crdma_status_string(status),
                  edge->rank);
    } else {
        crdma_log(CRDMA_LOG_ERROR, "%s, call %" PRIu64 ": rank %d in %s: %s", g->name, op->seq,
                  g->rank, mine, crdma_status_string(status));
    }
}

static void withdraw(crdma_op_t *op)
{
    const crdma_sched_t *sched = op->args.plan->sched;

    for (crdma_send_item_t *item = op->pending; NULL != item; item = item->next) {
        crdma_send_withdraw(&item->send);
    }
    if (op->by_parts) {
        crdma_parts_withdraw(op);
    } else if (op->started && op->step < sched->nsteps) {
        const crdma_step_t *step = &sched->steps[op->step];

        for (int i = 0; i < step->npeers; ++i) {
            if (CRDMA_SELF != sched->peers[step->first + i]) {
                crdma_recv_withdraw(&op->recvs[i]);
            }
        }
    }
}

crdma_status_t crdma_op_fail(crdma_op_t *op, crdma_edge_t *edge, crdma_status_t status)
{
    /* A rank that gives up says so before it returns, and then its caller may free the buffer that we read
     * (crdma_recv_read, which nobody can take back): that copy has failed because of the peer. */
    if (CRDMA_ERR_SYSTEM == status
        && 0 != __atomic_load_n(&op->group->region->poison, __ATOMIC_ACQUIRE)) {
        status = CRDMA_ERR_PEER;
    }
    report(op, edge, status);
    crdma_group_fail(op->group);
    if (NULL != op->args.device) {
        crdma_device_quiet(op);
    }
    withdraw(op);
    if (NULL != op->args.device) {
        crdma_device_release(op);
    }
    return status;
}
