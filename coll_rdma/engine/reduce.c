/*
 * The REDUCE step: operands from peers and one's own are combined in one pass over memory, by the
 * way that suits how they arrive. All return CRDMA_AGAIN and are resumed where they were.
 *
 * Operands are taken before the result overwrites what peers still have to take (op.c, invariant 2).
 */
#include "coll_rdma/engine/op_internal.h"

/* Bytes that a reduction reads from a direct peer's user buffer at a time, and from all peers
 * together: they should stay in the second-level cache. (2 ranks, allreduce of 256 KB by exchange:
 * 33 us with pieces of 64 KB, 30 us with 256 KB, second-level caches of 1 MB.) */
#define PIECE (256 * 1024)
#define PIECES_TOTAL (512 * 1024)

/* Operands that arrive in chunks (LL: one chunk, copied out; slot: read in place). */
static crdma_status_t reduce_chunks(crdma_op_t *op, const crdma_step_t *step, char *dst,
                                    const char *self, char *scratch, size_t len)
{
    const int32_t *peers = &op->args.plan->sched->peers[step->first];
    const size_t stride = crdma_op_ll_stride(op);

    do {
        size_t n = len; /* if there is no operand but SELF */

        for (; op->ready < step->npeers; ++op->ready) {
            const int i = op->ready;
            crdma_recv_t *recv = &op->recvs[i];
            crdma_status_t status;
            const char *data;
            size_t got;

            if (CRDMA_SELF == peers[i]) {
                op->srcs[i] = self + op->off;
                continue;
            }
            status = crdma_recv_peek(recv, scratch + (size_t) i * stride, &data, &got);
            if (CRDMA_OK != status) {
                op->waiting = recv->edge;
                return status;
            }
            op->srcs[i] = data;
        }
        for (int i = 0; i < step->npeers; ++i) {
            if (CRDMA_SELF != peers[i]) {
                const size_t left = len - op->off;

                n = CRDMA_PROTOCOL_LL == op->recvs[i].protocol || left < op->recvs[i].chunk
                        ? left
                        : op->recvs[i].chunk;
                break;
            }
        }
        if (0 != n) {
            if (NULL != op->pending && crdma_op_is_sending(op, dst + op->off, n)) {
                op->waiting = op->pending->send.edge;
                return CRDMA_AGAIN;
            }
            crdma_op_combine(op, dst + op->off, op->srcs, step->npeers, n / op->args.elsize);
        }
        op->off += n;
        op->ready = 0;
        for (int i = 0; i < step->npeers; ++i) {
            if (CRDMA_SELF != peers[i]) {
                crdma_status_t status = crdma_recv_pop(&op->recvs[i], n);

                if (0 > status) {
                    return status;
                }
            }
        }
    } while (op->off < len);
    return CRDMA_OK;
}

typedef struct combine {
    const crdma_op_t *op;
    void *dst;
    int nsrc;
    size_t count;
} combine_t;

static void combine(void *argument)
{
    const combine_t *c = argument;

    crdma_op_combine(c->op, c->dst, c->op->srcs, c->nsrc, c->count);
}

/* Operands in the user buffers of direct peers: read where they are if they are mapped, else piece by piece
 * into the cache. A user-defined operation gets copies: it may hold anything when it faults. */
static crdma_status_t reduce_pieces(crdma_op_t *op, const crdma_step_t *step, char *dst,
                                    const char *self, char *scratch, size_t piece, size_t len)
{
    const int32_t *peers = &op->args.plan->sched->peers[step->first];
    const size_t n = len - op->off < piece ? len - op->off : piece;
    char *free_dst = dst != self ? dst + op->off : NULL;
    bool mapped = false;
    crdma_status_t status;

    for (; op->ready < step->npeers; ++op->ready) {
        if (CRDMA_SELF == peers[op->ready]) {
            continue;
        }
        status = crdma_recv_ready(&op->recvs[op->ready]);
        if (CRDMA_OK != status) {
            op->waiting = op->recvs[op->ready].edge;
            return status;
        }
    }
    for (int i = 0; i < step->npeers; ++i) {
        char *landing = scratch + (size_t) i * piece;

        if (CRDMA_SELF == peers[i]) {
            op->srcs[i] = self + op->off;
            continue;
        }
        op->srcs[i] = NULL != op->args.reducer.kernel ? crdma_recv_map(&op->recvs[i], op->off, n) : NULL;
        if (NULL != op->srcs[i]) {
            mapped = true;
            continue;
        }
        if (NULL != free_dst) {
            landing = free_dst; /* the result may overwrite one operand: less memory to touch */
            free_dst = NULL;
        }
        op->srcs[i] = landing;
        status = crdma_recv_read(&op->recvs[i], landing, op->off, n);
        if (CRDMA_OK != status) {
            op->waiting = op->recvs[i].edge;
            return status;
        }
    }
    if (!mapped) {
        crdma_op_combine(op, dst + op->off, op->srcs, step->npeers, n / op->args.elsize);
    } else {
        combine_t c = {op, dst + op->off, step->npeers, n / op->args.elsize};
        bool intact = crdma_xpmem_guard(combine, &c);

        for (int i = 0; i < step->npeers; ++i) {
            if (CRDMA_SELF != peers[i] && !(intact = intact && crdma_recv_intact(&op->recvs[i]))) {
                op->waiting = op->recvs[i].edge;
                return CRDMA_ERR_PEER;
            }
        }
    }
    op->off += n;
    if (op->off < len) {
        op->waiting = NULL;
        return CRDMA_AGAIN; /* between pieces the pending sends get their turn */
    }
    for (int i = 0; i < step->npeers; ++i) {
        if (CRDMA_SELF != peers[i]) {
            status = crdma_recv_finish(&op->recvs[i]);
            if (0 > status) {
                return status;
            }
        }
    }
    return CRDMA_OK;
}

/* Operands that must be fetched whole: remote rendezvous, different protocols in one step, or a
 * result that overwrites what the peers are still to take. */
static crdma_status_t reduce_gathered(crdma_op_t *op, const crdma_step_t *step, char *dst,
                                      const char *self, char *scratch, size_t len)
{
    const int32_t *peers = &op->args.plan->sched->peers[step->first];
    bool all = true;

    for (int i = 0; i < step->npeers; ++i) {
        crdma_recv_t *recv = &op->recvs[i];
        crdma_status_t status;

        if (CRDMA_SELF == peers[i]) {
            op->srcs[i] = self;
            continue;
        }
        op->srcs[i] = scratch + (size_t) i * len;
        if (recv->complete) {
            continue;
        }
        status = crdma_recv_progress(recv, scratch + (size_t) i * len);
        if (CRDMA_OK == status) {
            recv->complete = true;
            continue;
        }
        op->waiting = recv->edge;
        if (CRDMA_AGAIN != status) {
            return status;
        }
        all = false;
    }
    if (!all) {
        return CRDMA_AGAIN;
    }
    if (NULL != op->pending && crdma_op_is_sending(op, dst, len)) {
        op->waiting = op->pending->send.edge;
        return CRDMA_AGAIN;
    }
    crdma_op_combine(op, dst, op->srcs, step->npeers, len / op->args.elsize);
    return CRDMA_OK;
}

crdma_status_t crdma_op_reduce(crdma_op_t *op, const crdma_step_t *step, size_t seg)
{
    const crdma_plan_t *plan = op->args.plan;
    const int32_t *peers = &plan->sched->peers[step->first];
    const size_t n = (size_t) step->npeers;
    crdma_status_t status;
    size_t len;
    char *dst = crdma_op_locate(op, step->dst, seg, step->dst_block, step->nblocks, &len);
    const char *self = crdma_op_locate(op, step->src, seg, step->src_block, step->nblocks, &len);
    char *scratch;
    size_t piece;

    if (!op->started) {
        op->gather = false;
        op->whole = CRDMA_PROTOCOL_LL;
        for (int i = 0, first = 1; i < step->npeers; ++i) {
            crdma_edge_t *edge = plan->edges[step->first + i];

            if (CRDMA_SELF == peers[i]) {
                continue;
            }
            crdma_recv_start(&op->recvs[i], edge, crdma_group_rndv(op->group, edge, op->args.plan->key.coll), len,
                             crdma_op_chunk(op, len), op->args.sig);
            if (first) {
                op->whole = op->recvs[i].protocol;
            }
            op->gather = op->gather || op->recvs[i].protocol != op->whole
                         || (CRDMA_PROTOCOL_RNDV == op->recvs[i].protocol
                             && (edge->remote || crdma_op_is_sending(op, dst, len)));
            first = 0;
        }
        op->started = true;
        op->off = 0;
        op->ready = 0;
        if (NULL != op->args.device) {
            crdma_device_begin_step(op, step->npeers);
        }
    }
    if (NULL != op->args.device) {
        return crdma_device_reduce(op, step, dst, self, len);
    }
    if (op->gather) {
        status = crdma_group_scratch(op->group, n * len, &scratch);
        return CRDMA_OK != status ? status : reduce_gathered(op, step, dst, self, scratch, len);
    }
    if (CRDMA_PROTOCOL_RNDV != op->whole) {
        status = crdma_group_scratch(op->group, n * crdma_op_ll_stride(op), &scratch);
        return CRDMA_OK != status ? status
                                  : reduce_chunks(op, step, dst, self, scratch, len);
    }
    piece = PIECES_TOTAL / n < PIECE ? PIECES_TOTAL / n : PIECE;
    piece = piece / op->args.elsize / op->grain * op->grain * op->args.elsize;
    if (0 == piece) {
        piece = op->args.elsize;
    }
    status = crdma_group_scratch(op->group, n * piece, &scratch);
    return CRDMA_OK != status ? status
                              : reduce_pieces(op, step, dst, self, scratch, piece, len);
}
