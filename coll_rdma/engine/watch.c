/*
 * Waiting, and finding out why it takes long.
 *
 * A rank that waits for a peer longer than coll_rdma_check_interval looks at the history that
 * the peer keeps in its region. With n the number of this call on the communicator:
 *
 *   a call up to n with another signature    the ranks disagree: both calls are known, report
 *   peer has left, or its process is gone    report
 *   otherwise                                it is late, or waits itself: keep waiting
 *
 * (Up to n: two ranks that both believe to be the root of a broadcast have finished it before they
 * wait for each other in a later call.)
 *
 * This finds every disagreement: of the ranks that wait for ever in call n, each waits for one
 * that disagrees (found), or for one with the same signature that waits itself, or that
 * has finished call n, which means that its message is under way. Ranks with equal signatures
 * alone cannot wait in a circle, because schedules are free of deadlock.
 */
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <time.h>

#include "coll_rdma/base/log.h"
#include "coll_rdma/base/params.h"
#include "coll_rdma/engine/op_internal.h"
#include "coll_rdma/protocol/signature.h"
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

/* The calls that both ranks remember, oldest first. */
static crdma_status_t compare(crdma_op_t *op, crdma_edge_t *edge, const crdma_call_t *theirs)
{
    const crdma_call_t *mine = op->group->region->history;
    const uint64_t first = op->seq < CRDMA_HISTORY ? 1 : op->seq - CRDMA_HISTORY + 1;

    for (uint64_t n = first; n <= op->seq; ++n) {
        const size_t i = n % CRDMA_HISTORY;
        const uint64_t seq = __atomic_load_n(&theirs[i].seq, __ATOMIC_ACQUIRE);
        const uint64_t sig = __atomic_load_n(&theirs[i].sig, __ATOMIC_RELAXED);

        /* read twice: the owner may be writing a later call over it */
        if (seq == n && sig != mine[i].sig
            && n == __atomic_load_n(&theirs[i].seq, __ATOMIC_ACQUIRE)) {
            op->args.sig = mine[i].sig;
            op->seq = n;
            edge->seen_sig = sig;
            return crdma_op_fail(op, edge, CRDMA_ERR_MISMATCH);
        }
    }
    return CRDMA_OK;
}

static crdma_status_t watch_remote(crdma_op_t *op, crdma_edge_t *edge)
{
    crdma_group_t *g = op->group;
    const crdma_transport_t *t = edge->peer->transport;
    crdma_status_t status;

    if (0 != g->probe_tx.pending) {
        return CRDMA_OK;
    }
    if (edge->rank == g->probe_rank) {
        g->probe_rank = -1;
        if (CRDMA_OK != g->probe_tx.status) {
            return crdma_op_fail(op, edge, CRDMA_ERR_PEER);
        }
        return compare(op, edge, g->probe);
    }
    g->probe_rank = edge->rank;
    status = t->get(edge->peer, g->probe,
                    g->regions[edge->rank] + offsetof(crdma_region_t, history), sizeof(g->probe),
                    &g->probe_tx);
    return 0 > status ? crdma_op_fail(op, edge, CRDMA_ERR_PEER) : CRDMA_OK;
}

crdma_status_t crdma_watch(crdma_op_t *op, crdma_edge_t *edge)
{
    crdma_group_t *g = op->group;
    const crdma_region_t *theirs;
    uint64_t seq;

    if (0 != __atomic_load_n(&g->region->poison, __ATOMIC_RELAXED)) {
        return crdma_op_fail(op, edge, CRDMA_ERR_PEER);
    }
    if (NULL == edge) {
        return CRDMA_OK;
    }
    if (edge->remote) {
        return watch_remote(op, edge);
    }
    theirs = (const crdma_region_t *) (edge->peer->map + g->regions[edge->rank]);
    seq = __atomic_load_n(&theirs->history[op->seq % CRDMA_HISTORY].seq, __ATOMIC_ACQUIRE);
    if (seq < op->seq
        && (0 != __atomic_load_n(&theirs->left, __ATOMIC_RELAXED)
            || !crdma_shm_alive(edge->peer))) {
        return crdma_op_fail(op, edge, CRDMA_ERR_PEER);
    }
    return compare(op, edge, theirs->history);
}

static void tell_others(crdma_group_t *g)
{
    g->poison_out = (uint64_t) g->rank + 1;
    for (int r = 0; r < g->size; ++r) {
        crdma_peer_t *peer = g->peers[r];

        if (r == g->rank) {
            continue;
        }
        if (NULL != peer->map) {
            crdma_region_t *theirs = (crdma_region_t *) (peer->map + g->regions[r]);

            __atomic_store_n(&theirs->poison, g->poison_out, __ATOMIC_RELAXED);
        } else if (NULL != g->edges[r]) {
            (void) peer->transport->put(peer, &g->poison_out,
                                        g->regions[r] + offsetof(crdma_region_t, poison),
                                        sizeof(uint64_t), &g->probe_tx);
        }
    }
}

crdma_status_t crdma_op_fail(crdma_op_t *op, crdma_edge_t *edge, crdma_status_t status)
{
    crdma_group_t *g = op->group;
    char mine[160], theirs[160];

    crdma_sig_describe(op->args.sig, mine, sizeof(mine));
    if (CRDMA_ERR_MISMATCH == status && NULL != edge) {
        crdma_log(CRDMA_LOG_ERROR,
                  "%s, call %" PRIu64 ": rank %d called %s, but rank %d called %s", g->name,
                  op->seq, g->rank, mine, edge->rank,
                  crdma_sig_describe(edge->seen_sig, theirs, sizeof(theirs)));
    } else if (0 != g->region->poison) {
        crdma_log(CRDMA_LOG_ERROR,
                  "%s, call %" PRIu64 ": rank %d in %s gives up: rank %d reported an error",
                  g->name, op->seq, g->rank, mine, (int) g->region->poison - 1);
    } else if (NULL != edge) {
        crdma_log(CRDMA_LOG_ERROR, "%s, call %" PRIu64 ": rank %d in %s: %s (rank %d)", g->name,
                  op->seq, g->rank, mine,
                  CRDMA_ERR_PEER == status      ? "the peer has left or its process is gone"
                  : CRDMA_ERR_TIMEOUT == status ? "coll_rdma_timeout elapsed while waiting"
                                                : crdma_status_string(status),
                  edge->rank);
    } else {
        crdma_log(CRDMA_LOG_ERROR, "%s, call %" PRIu64 ": rank %d in %s: %s", g->name, op->seq,
                  g->rank, mine, crdma_status_string(status));
    }
    g->failed = true;
    if (NULL != g->region && 0 == g->region->poison) {
        tell_others(g);
    }
    return status;
}
