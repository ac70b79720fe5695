/*
 * The shortest way: a tiny call of two ranks is one LL message out, or in, or both (plan.h, crdma_pair_t).
 * No state of an operation is set up unless the call has to wait or fails; history, positions and
 * credits are as in op.c and run_ll.c, so calls of all kinds mix freely.
 *
 * 8 bytes, by run_ll.c -> here: instructions of the engine in an allreduce 549 -> 250 (perf/instructions),
 * time 129 -> 106 ns, barrier 117 -> 100, broadcast 143 -> 124 (perf/flag_exchange, processors that share
 * a cache, flags 60 ns).
 */
#include "coll_rdma/engine/op_internal.h"
#include "coll_rdma/protocol/ll.h"

/* Payload that fits beside the signature into the first cache line, with room to spare. */
#define MOST 16
/* Polls of one word before the general wait, as in run_ll.c. */
#define FAST_POLLS 200

static char *buffer(const crdma_op_args_t *args, int buf)
{
    return CRDMA_BUF_IN == buf ? (char *) (uintptr_t) args->in : args->out;
}

/* The message has not come within FAST_POLLS, or is not what it should be. */
static crdma_status_t receive_slow(crdma_group_t *g, const crdma_op_args_t *args, uint64_t seq,
                                   uint64_t sig, const uint64_t *cell, uint64_t position, char *data,
                                   size_t len)
{
    crdma_edge_t *edge = args->plan->pair.edge;
    crdma_op_t *op = g->op;
    uint64_t seen = sig;

    crdma_op_adopt(op, args, seq, sig);
    while (!crdma_ll_decode(cell, position, &seen, data, len)) {
        const crdma_status_t status = crdma_op_wait(op, edge);

        if (CRDMA_OK != status) {
            return status;
        }
    }
    if (seen != sig) {
        edge->seen_sig = seen;
        return crdma_op_fail(op, edge, CRDMA_ERR_MISMATCH);
    }
    return CRDMA_OK;
}

/* The common case: the message comes soon, and is the right one. */
static inline bool receive(const uint64_t *cell, uint64_t position, uint64_t sig, char *data,
                           size_t len, int polls)
{
    const uint64_t *last = cell + crdma_ll_words(len) - 1;
    uint64_t seen = sig;

    while ((uint32_t) (__atomic_load_n(last, __ATOMIC_RELAXED) >> 32) != (uint32_t) position) {
        if (0 == --polls) {
            return false;
        }
    }
    return 8 == len ? crdma_ll_decode_8(cell, position, sig, data)
                    : crdma_ll_decode(cell, position, &seen, data, len) && seen == sig;
}

bool crdma_op_run_pair(crdma_group_t *g, const crdma_op_args_t *args, crdma_status_t *result)
{
    const crdma_pair_t *pair = &args->plan->pair;
    const size_t bytes = args->count * args->elsize;
    const size_t len = pair->empty ? 0 : bytes;
    crdma_edge_t *edge = pair->edge;
    const crdma_ring_geometry_t *geometry = edge->geometry;
    crdma_status_t status = CRDMA_OK;
    uint64_t seq, sig;

    if (len > MOST || len > geometry->ll_max || NULL != args->device
        || (0 != args->segment && args->segment < bytes)
        || (pair->send
            && (!edge->open
                || !crdma_edge_has_credit(edge, edge->tx_next, geometry->cell_count)))) {
        return false;
    }
    sig = crdma_group_count_call(g, args->sig, &seq);
    if (pair->send) {
        const uint64_t position = edge->tx_next++;
        uint64_t *cell = crdma_ring_cell(geometry, edge->tx_ring, position);

        if (8 == len) {
            crdma_ll_encode(cell, position, sig, buffer(args, pair->sent), 8);
        } else {
            crdma_ll_encode(cell, position, sig, buffer(args, pair->sent), len);
        }
    }
    if (pair->recv) {
        const uint64_t position = edge->rx_next++;
        const uint64_t *cell = crdma_ring_cell(geometry, edge->rx_ring, position);
        _Alignas(MOST) char operand[MOST];
        char *data = pair->reduce ? operand : buffer(args, pair->dst);

        if (!receive(cell, position, sig, data, len, g->oversubscribed ? 1 : FAST_POLLS)) {
            status = receive_slow(g, args, seq, sig, cell, position, data, len);
            if (CRDMA_OK != status) {
                *result = status;
                return true;
            }
        }
        status = crdma_edge_consume(edge, position, false);
        if (pair->reduce) {
            const void *self = buffer(args, pair->self);
            const void *srcs[2] = {pair->peer_first ? operand : self,
                                   pair->peer_first ? self : operand};

            if (NULL != args->reducer.kernel) {
                args->reducer.kernel(buffer(args, pair->dst), srcs, 2, args->count);
            } else {
                args->reducer.call(args->reducer.context, buffer(args, pair->dst), srcs, 2,
                                   args->count);
            }
        }
    }
    *result = status;
    return true;
}
