/*
 * Waiting, and finding out why it takes long.
 *
 * A rank that waits for a peer longer than coll_rdma_check_interval looks at the history that
 * the peer keeps in its region. With n the number of this call on the communicator:
 *
 *   peer has failed (poison)                 give up
 *   a call up to the n-th of the peer has    the ranks disagree: both calls are known, report
 *   another signature than ours
 *   peer has left or died before call n      report
 *   peer has left or died in call n, or is   what it sent is there (direct peers): report if a
 *   many calls ahead                         whole interval later we still wait for it
 *   otherwise                                it is late, or waits itself: keep waiting
 *
 * This finds every disagreement: of the ranks that wait for ever in call n, each waits for one
 * that disagrees (found), or for one with the same signature that waits itself, or that
 * has finished call n, which means that its message is under way. Ranks with equal signatures
 * alone cannot wait in a circle, because schedules are free of deadlock.
 */
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include "coll_rdma/base/params.h"
#include "coll_rdma/engine/op_internal.h"
#include "coll_rdma/transport/shm.h"

void (*crdma_idle)(void);

/* Polls between two calls of crdma_idle, and between two looks at the clock, powers of two. */
#define POLLS_PER_IDLE 128
#define POLLS_PER_CLOCK 4096
/* Default polls before the processor is yielded, if there is one for every rank. */
#define SPIN_ALONE 20000
/* ... and if ranks share processors. */
#define SPIN_SHARED 1
#define YIELDS_PER_IDLE 16
#define YIELDS_PER_CLOCK 64

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t) t.tv_sec * 1000000000u + (uint64_t) t.tv_nsec;
}

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

static void progress_remote(const crdma_group_t *g)
{
    for (int r = 0; r < g->size; ++r) {
        if (r != g->rank && NULL != g->peers[r]->transport) {
            g->peers[r]->transport->progress();
            return; /* one worker serves all peers */
        }
    }
}

crdma_status_t crdma_op_wait(crdma_op_t *op, crdma_edge_t *edge)
{
    crdma_group_t *g = op->group;
    const uint64_t spin = 0 != crdma_params.spin ? (uint64_t) crdma_params.spin
                          : g->oversubscribed    ? SPIN_SHARED
                                                 : SPIN_ALONE;
    const uint64_t polls = ++op->polls;
    uint64_t now;

    if (!g->all_direct) {
        progress_remote(g);
    }
    if (polls < spin) {
        relax();
        if (0 != polls % POLLS_PER_IDLE) {
            return CRDMA_OK;
        }
        if (NULL != crdma_idle) {
            crdma_idle();
        }
        if (0 != polls % POLLS_PER_CLOCK) {
            return CRDMA_OK;
        }
    } else {
        sched_yield();
        if (0 == polls % YIELDS_PER_IDLE && NULL != crdma_idle) {
            crdma_idle();
        }
        if (0 != polls % YIELDS_PER_CLOCK) {
            return CRDMA_OK;
        }
    }
    now = now_ns();
    if (0 == op->since) {
        op->since = op->checked = now;
        op->suspect = NULL;
        return CRDMA_OK;
    }
    if (now - op->checked < (uint64_t) crdma_params.check_interval * 1000000u) {
        return CRDMA_OK;
    }
    op->checked = now;
    if (0 != crdma_params.timeout
        && now - op->since > (uint64_t) crdma_params.timeout * 1000000000u) {
        return crdma_op_fail(op, edge, CRDMA_ERR_TIMEOUT);
    }
    return crdma_watch(op, edge);
}

enum verdict {
    FINE,
    FAILED,    /* it has reported an error */
    DISAGREES, /* its call with this number is another one */
    ABSENT,    /* it will never make this call */
    DONE       /* it has done all that it will do for this call */
};

/* What the region of a peer tells. `ended` (it has left or died) must have been found out before:
 * then the history is its last word.
 *
 * All calls that both histories hold are compared, not only this one: in the call in which ranks
 * disagreed perhaps nobody had to wait. An entry is read as seq, sig and believed if the peer has
 * not come near to writing it again: pairs with crdma_op_start, where each store is a release. */
static enum verdict judge(crdma_op_t *op, const crdma_region_t *theirs, bool ended, uint64_t *sig)
{
    const crdma_region_t *mine = op->group->region;
    uint64_t seq[CRDMA_HISTORY], sigs[CRDMA_HISTORY], last = 0;

    if (0 != __atomic_load_n(&theirs->poison, __ATOMIC_ACQUIRE)) {
        return FAILED;
    }
    for (int i = 0; i < CRDMA_HISTORY; ++i) {
        seq[i] = __atomic_load_n(&theirs->history[i].seq, __ATOMIC_ACQUIRE);
        sigs[i] = __atomic_load_n(&theirs->history[i].sig, __ATOMIC_ACQUIRE);
    }
    for (int i = 0; i < CRDMA_HISTORY; ++i) {
        const uint64_t now = __atomic_load_n(&theirs->history[i].seq, __ATOMIC_ACQUIRE);

        last = now > last ? now : last;
    }
    op->odd_seq = 0;
    for (int i = 0; i < CRDMA_HISTORY; ++i) {
        if (0 != seq[i] && seq[i] == mine->history[i].seq && seq[i] + CRDMA_HISTORY > last + 1
            && sigs[i] != mine->history[i].sig && (0 == op->odd_seq || seq[i] < op->odd_seq)) {
            op->odd_seq = seq[i];
            op->odd_sig = mine->history[i].sig;
            *sig = sigs[i];
        }
    }
    if (0 != op->odd_seq) {
        return DISAGREES;
    }
    if (last < op->seq) {
        return ended ? ABSENT : FINE;
    }
    return ended || last >= op->seq + CRDMA_HISTORY ? DONE : FINE;
}

/* Act on a verdict. `sure`: one look is enough. */
static crdma_status_t act(crdma_op_t *op, crdma_edge_t *edge, enum verdict verdict, uint64_t sig,
                          bool sure)
{
    if (FINE == verdict) {
        op->suspect = NULL;
        return CRDMA_OK;
    }
    if (!sure && edge != op->suspect) {
        op->suspect = edge;
        op->odd_seq = 0;
        return CRDMA_OK;
    }
    if (DISAGREES == verdict) {
        edge->seen_sig = sig;
        return crdma_op_fail(op, edge, CRDMA_ERR_MISMATCH);
    }
    return crdma_op_fail(op, edge, CRDMA_ERR_PEER);
}

static crdma_status_t look_direct(crdma_op_t *op, crdma_edge_t *edge, bool waiting)
{
    crdma_group_t *g = op->group;
    const crdma_region_t *theirs = (const crdma_region_t *) (edge->peer->map
                                                             + crdma_group_region_of(g, edge->rank));
    const bool ended = 0 != __atomic_load_n(&theirs->left, __ATOMIC_ACQUIRE)
                       || !crdma_shm_alive(edge->peer);
    uint64_t sig = 0;
    const enum verdict verdict = judge(op, theirs, ended, &sig);

    if (!waiting && (FINE == verdict || DONE == verdict)) {
        return CRDMA_OK;
    }
    return act(op, edge, verdict, sig, DONE != verdict);
}

crdma_status_t crdma_watch_compare(crdma_op_t *op, crdma_edge_t *edge)
{
    uint64_t sig = 0;
    const enum verdict verdict =
        judge(op,
              (const crdma_region_t *) (edge->peer->map
                                        + crdma_group_region_of(op->group, edge->rank)),
              false, &sig);

    return DISAGREES == verdict ? act(op, edge, verdict, sig, true) : CRDMA_OK;
}

/* The same from a copy of the region, which is fetched from one look to the next. What the peer has
 * sent may be on its way for any time, so DONE says nothing; and the words of a copy may be of
 * different ages, so two copies must agree. */
static crdma_status_t look_remote(crdma_op_t *op, crdma_edge_t *edge)
{
    crdma_group_t *g = op->group;
    const crdma_transport_t *t = edge->peer->transport;

    if (!t->alive(edge->peer)) {
        return crdma_op_fail(op, edge, CRDMA_ERR_PEER);
    }
    if (0 != g->probe_tx.pending) {
        return CRDMA_OK;
    }
    if (edge->rank == g->probe_rank) {
        uint64_t sig = 0;
        enum verdict verdict;
        crdma_status_t status;

        if (CRDMA_OK != g->probe_tx.status) {
            return crdma_op_fail(op, edge, CRDMA_ERR_PEER);
        }
        verdict = judge(op, g->probe, 0 != g->probe->left, &sig);
        status = act(op, edge, DONE == verdict ? FINE : verdict, sig, FAILED == verdict);
        if (CRDMA_OK != status) {
            return status;
        }
    }
    if (NULL == g->probe) {
        g->probe = malloc(sizeof(*g->probe));
        if (NULL == g->probe) {
            return CRDMA_OK; /* the wait goes on, and so do the looks */
        }
    }
    g->probe_rank = edge->rank;
    return 0 > t->get(edge->peer, g->probe, crdma_group_region_of(g, edge->rank), sizeof(*g->probe),
                      &g->probe_tx)
               ? crdma_op_fail(op, edge, CRDMA_ERR_PEER)
               : CRDMA_OK;
}

/* At every look the edge that is waited for, and in turn one other of the plan: what we wait
 * for may be late because of it. */
crdma_status_t crdma_watch(crdma_op_t *op, crdma_edge_t *edge)
{
    const crdma_plan_t *plan = op->args.plan;
    crdma_status_t status = CRDMA_OK;
    crdma_edge_t *other;

    if (0 != __atomic_load_n(&op->group->region->poison, __ATOMIC_RELAXED)) {
        return crdma_op_fail(op, edge, CRDMA_ERR_PEER);
    }
    if (NULL == edge && NULL != op->pending) {
        edge = op->pending->send.edge;
    }
    if (NULL != edge) {
        status = edge->remote ? look_remote(op, edge) : look_direct(op, edge, true);
    }
    if (CRDMA_OK == status && 0 < plan->sched->npeers) {
        other = plan->edges[(unsigned) op->turn++ % (unsigned) plan->sched->npeers];
        if (NULL != other && edge != other && !other->remote) {
            status = look_direct(op, other, false);
        }
    }
    return status;
}
