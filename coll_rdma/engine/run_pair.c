/*
 * The straight way: a call of two ranks is one message out, or in, or both (plan.h, crdma_pair_t), through
 * slots. No state of an operation is set up unless the call has to wait or fails; history, positions,
 * chunks and credits are as in op.c, so calls of all kinds mix freely.
 *
 * crdma_op_run_small is for messages that lie in their slots, and for repeated calls: what does not depend on the
 * buffers is in the arguments (crdma_op_prepare). crdma_op_run_pair takes all other sizes of slot messages.
 */
#include "coll_rdma/engine/op_internal.h"
#include "coll_rdma/protocol/slot.h"

/* Polls of a flag before the general wait, about 1 us, as in run_ll.c. */
#define FAST_POLLS 200

static inline char *buffer(const crdma_op_args_t *args, int buf)
{
    return CRDMA_BUF_IN == buf ? (char *) (uintptr_t) args->in : args->out;
}

/* `count` elements of the peer, at `data`, into the result behind its first `off` bytes. */
static inline void combine(const crdma_op_args_t *args, const char *data, size_t off, size_t count)
{
    const crdma_pair_t *pair = &args->plan->pair;
    char *dst = buffer(args, pair->dst) + off;
    const char *self = buffer(args, pair->self) + off;
    const void *srcs[2] = {pair->peer_first ? data : self, pair->peer_first ? self : data};

    if (NULL != args->reducer.kernel) {
        args->reducer.kernel(dst, srcs, 2, count);
    } else {
        args->reducer.call(args->reducer.context, dst, srcs, 2, count);
    }
}

/* ---- one message inside a slot ---- */

/* args->small: 1 + bytes of the message. */
void crdma_op_prepare(const crdma_group_t *g, crdma_op_args_t *args)
{
    const crdma_pair_t *pair = &args->plan->pair;
    const size_t bytes = args->count * args->elsize, len = pair->empty ? 0 : bytes;
    const crdma_ring_geometry_t *geometry = &g->direct;

    args->small = 0;
    if (NULL != pair->edge && NULL == args->device && len >= geometry->ll_below
        && len <= geometry->inline_max && len < g->rndv_direct[args->plan->key.coll].min
        && len <= crdma_chunk_of(g, args->elsize, len)
        && (0 == args->segment || args->segment >= bytes)) {
        args->small = (uint32_t) len + 1;
    }
}

/* crdma_ring_slot, of a direct ring. */
static inline crdma_slot_t *slot_at(const crdma_ring_geometry_t *g, char *slots, uint64_t position)
{
    return (crdma_slot_t *) (slots + (size_t) (position & (g->slot_count - 1)) * CRDMA_SLOT_STRIDE);
}

static inline void copy_small(char *dst, const char *src, size_t n)
{
    if (8 == n) {
        memcpy(dst, src, 8);
    } else if (0 != n) {
        memcpy(dst, src, n);
    }
}

/* The message is not there at once, or is not what it should be. */
static __attribute__((noinline)) crdma_status_t wait_small(crdma_group_t *g, const crdma_op_args_t *args,
                                                           uint64_t seq, uint64_t sig,
                                                           uint64_t position, size_t len)
{
    const int patience = g->oversubscribed ? 1 : FAST_POLLS;
    crdma_edge_t *edge = args->plan->pair.edge;
    const char *data;
    int polls = 0;

    for (;;) {
        uint64_t flag;
        crdma_status_t status = crdma_slot_look(edge, position, sig, len, &data, &flag);

        if (CRDMA_OK == status) {
            return CRDMA_OK;
        }
        if (CRDMA_AGAIN == status && ++polls <= patience) {
            continue;
        }
        if (CRDMA_AGAIN != status || polls == patience + 1) {
            crdma_op_adopt(g->op, args, seq, sig);
        }
        status = CRDMA_AGAIN != status ? crdma_op_fail(g->op, edge, status)
                                       : crdma_op_wait(g->op, edge);
        if (CRDMA_OK != status) {
            return status;
        }
    }
}

/*
 * Fewer looks than crdma_op_run_pair, because between calls nothing is under way (every call waits for its
 * messages): all positions are consumed in order, none is ahead, all slot messages that were started are written.
 */
crdma_status_t crdma_op_run_small(crdma_group_t *g, const crdma_op_args_t *args)
{
    const crdma_pair_t *pair = &args->plan->pair;
    crdma_edge_t *edge = pair->edge;
    const size_t len = args->small - 1;
    const uint64_t seq = g->seq + 1, sig = crdma_sig_at_call(args->sig, seq);
    uint64_t position;

    if (__builtin_expect(g->failed || NULL != g->flow
                             || 0 != __atomic_load_n(&g->region->poison, __ATOMIC_RELAXED),
                         0)) {
        return CRDMA_AGAIN;
    }
    if (pair->send) {
        const crdma_ring_geometry_t *geometry = edge->tx_geometry;
        const uint64_t at = edge->tx_next;
        crdma_slot_t *slot;

        if (__builtin_expect(!edge->open
                                 || !crdma_edge_has_credit(edge, at, geometry->slot_count),
                             0)) {
            return CRDMA_AGAIN;
        }
        edge->tx_next = at + 1;
        slot = slot_at(geometry, edge->tx_slots, at);
        copy_small((char *) slot + CRDMA_SLOT_INLINE_AT, buffer(args, pair->sent), len);
        slot->ack = edge->rx_consumed;
        slot->sig = sig;
        /* Pairs with the load below and in crdma_slot_look. */
        __atomic_store_n(&slot->flag, at << 32 | len, __ATOMIC_RELEASE);
    }
    /* What the peer waits for has gone first. */
    crdma_group_set_call(g, sig, seq);
    if (!pair->recv) {
        return CRDMA_OK;
    }
    position = edge->rx_next++;
    {
        const crdma_slot_t *slot = slot_at(edge->geometry, edge->rx_slots, position);
        const char *data = (const char *) slot + CRDMA_SLOT_INLINE_AT;
        const uint64_t flag = position << 32 | len;
        int polls = g->oversubscribed ? 1 : FAST_POLLS;

        while (flag != __atomic_load_n(&slot->flag, __ATOMIC_ACQUIRE) && 0 < --polls) {
        }
        if (__builtin_expect(0 == polls || sig != slot->sig, 0)) {
            const crdma_status_t status = wait_small(g, args, seq, sig, position, len);

            if (CRDMA_OK != status) {
                return status;
            }
        } else if (slot->ack > edge->tx_consumed) {
            edge->tx_consumed = slot->ack;
        }
        if (pair->reduce) {
            combine(args, data, 0, args->count);
        } else {
            copy_small(buffer(args, pair->dst), data, len);
        }
    }
    return crdma_edge_consume_next(edge, position);
}

/* ---- any slot message ---- */

/*
 * Chunk by chunk, out and in taking turns, because with few blocks the peer's credit for the next chunk may
 * come only when it has got on with ours. A chunk is received after ours of the same bytes has been sent, since
 * its result may overwrite them. What comes is read, or reduced, where it lies.
 */
static crdma_status_t run_slots(crdma_group_t *g, const crdma_op_args_t *args, size_t len)
{
    const crdma_pair_t *pair = &args->plan->pair;
    const size_t chunk = crdma_chunk_of(g, args->elsize, len);
    const uint64_t chunks = len <= chunk ? 1 : (len + chunk - 1) / chunk;
    const int patience = g->oversubscribed ? 1 : FAST_POLLS;
    crdma_edge_t *edge = pair->edge;
    const bool staged = pair->send && crdma_edge_stages(edge, len);
    size_t out = pair->send ? 0 : len, in = pair->recv ? 0 : len;
    uint64_t tx = edge->tx_next, rx = edge->rx_next, seq;
    const uint64_t sig = crdma_group_count_call(g, args->sig, &seq);
    int polls = 0;

    if (pair->send) {
        edge->tx_next += chunks;
        edge->tx_started += chunks;
    }
    edge->rx_next += pair->recv ? chunks : 0;
    while (out < len || in < len) {
        if (out < len) {
            const size_t n = len - out < chunk ? len - out : chunk;

            if (crdma_slot_put(edge, tx, 0, sig, buffer(args, pair->sent) + out, n, staged)) {
                ++tx;
                out += n;
                polls = 0;
            }
        }
        if (in < len && in < out) {
            const size_t n = len - in < chunk ? len - in : chunk;
            const char *data;
            uint64_t flag;
            crdma_status_t status = crdma_slot_look(edge, rx, sig, n, &data, &flag);

            if (CRDMA_OK == status) {
                if (pair->reduce) {
                    combine(args, data, in, n / args->elsize);
                } else {
                    memcpy(buffer(args, pair->dst) + in, data, n);
                }
                status = crdma_slot_take(edge, rx++, flag);
                in += n;
                polls = 0;
            }
            if (0 > status) {
                crdma_op_adopt(g->op, args, seq, sig);
                return crdma_op_fail(g->op, edge, status);
            }
        }
        if (++polls > patience) {
            crdma_status_t status;

            if (polls == patience + 1) {
                crdma_op_adopt(g->op, args, seq, sig);
            }
            status = crdma_op_wait(g->op, edge);
            if (CRDMA_OK != status) {
                return status;
            }
        }
    }
    return CRDMA_OK;
}

bool crdma_op_run_pair(crdma_group_t *g, const crdma_op_args_t *args, crdma_status_t *result)
{
    const crdma_pair_t *pair = &args->plan->pair;
    const size_t bytes = args->count * args->elsize;
    const size_t len = pair->empty ? 0 : bytes;
    const crdma_edge_t *edge = pair->edge;

    if (NULL != args->device || NULL != g->flow || (0 != args->segment && args->segment < bytes)
        || (pair->send && !edge->open) || 0 == len || len < edge->geometry->ll_below
        || len >= g->rndv_direct[args->plan->key.coll].min) {
        return false;
    }
    *result = run_slots(g, args, len);
    return true;
}
