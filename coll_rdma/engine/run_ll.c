/*
 * The short way for tiny calls: every message is one LL cell of a direct peer, sends complete at
 * once, there is one segment. The same schedule as in op.c without its bookkeeping; the
 * positions are the same too, so calls of both kinds mix freely.
 */
#include <string.h>

#include "coll_rdma/engine/op_internal.h"
#include "coll_rdma/protocol/ll.h"

/* Polls of one word before the general wait, about 1 us. */
#define FAST_POLLS 200

static crdma_status_t put_ll(crdma_op_t *op, crdma_edge_t *edge, const char *src, size_t len)
{
    const uint64_t position = edge->tx_next++;

    while (!edge->open || !crdma_edge_has_credit(edge, position, edge->geometry->cell_count)) {
        crdma_status_t status = crdma_edge_open(edge);

        if (0 > status) {
            return crdma_op_fail(op, edge, status);
        }
        status = crdma_op_wait(op, edge);
        if (CRDMA_OK != status) {
            return status;
        }
    }
    crdma_ll_encode(crdma_ring_cell(edge->geometry, edge->tx_ring, position), position,
                    op->args.sig, src, len);
    return CRDMA_OK;
}

static crdma_status_t get_ll(crdma_op_t *op, crdma_edge_t *edge, char *dst, size_t len)
{
    const uint64_t position = edge->rx_next++;
    const uint64_t *cell = crdma_ring_cell(edge->geometry, edge->rx_ring, position);
    uint64_t sig = op->args.sig;
    crdma_status_t status;

    while (!crdma_ll_decode(cell, position, &sig, dst, len)) {
        /* The common wait is as short as a cache miss: poll the last word for it alone, before
         * anything that costs as much as the wait itself. */
        const uint64_t *last = cell + crdma_ll_words(len) - 1;

        for (int i = op->group->oversubscribed ? 1 : FAST_POLLS; 0 < i; --i) {
            if ((uint32_t) (__atomic_load_n(last, __ATOMIC_RELAXED) >> 32)
                == (uint32_t) position) {
                break;
            }
            if (1 == i) {
                status = crdma_op_wait(op, edge);
                if (CRDMA_OK != status) {
                    return status;
                }
            }
        }
    }
    op->polls = 0;
    op->since = 0;
    if (__builtin_expect(sig != op->args.sig, 0)) {
        edge->seen_sig = sig;
        return crdma_op_fail(op, edge, CRDMA_ERR_MISMATCH);
    }
    status = crdma_edge_consume(edge, position, false);
    return 0 > status ? crdma_op_fail(op, edge, status) : CRDMA_OK;
}

/* One block is the whole; several blocks: the part that the step names. */
static char *part(const crdma_op_t *op, int buf, int block, int n, size_t *len)
{
    const crdma_sched_t *sched = op->args.plan->sched;
    const size_t elsize = op->args.elsize;
    size_t begin = 0, end = op->args.count;
    char *base = CRDMA_BUF_IN == buf    ? (char *) (uintptr_t) op->args.in
                 : CRDMA_BUF_OUT == buf ? op->args.out
                                        : op->tmp;

    if (1 != sched->nblocks || 1 != n) {
        end = 0;
        if (0 < n) {
            crdma_sched_range(op->args.count, op->grain, sched->nblocks, block, n, &begin, &end);
        }
    }
    *len = (end - begin) * elsize;
    return NULL == base ? NULL : base + begin * elsize;
}

static crdma_status_t reduce_ll(crdma_op_t *op, const crdma_step_t *step)
{
    const crdma_plan_t *plan = op->args.plan;
    const size_t stride = crdma_op_ll_stride(op);
    crdma_status_t status;
    char *scratch, *dst;
    const char *self;
    size_t len;

    status = crdma_group_scratch(op->group, (size_t) step->npeers * stride, &scratch);
    if (CRDMA_OK != status) {
        return crdma_op_fail(op, NULL, status);
    }
    dst = part(op, step->dst, step->dst_block, step->nblocks, &len);
    self = part(op, step->src, step->src_block, step->nblocks, &len);
    for (int i = 0; i < step->npeers; ++i) {
        crdma_edge_t *edge = plan->edges[step->first + i];

        if (NULL == edge) {
            op->srcs[i] = self;
            continue;
        }
        op->srcs[i] = scratch + (size_t) i * stride;
        status = get_ll(op, edge, scratch + (size_t) i * stride, len);
        if (CRDMA_OK != status) {
            return status;
        }
    }
    if (0 != len) {
        crdma_op_combine(op, dst, op->srcs, step->npeers, len / op->args.elsize);
    }
    return CRDMA_OK;
}

crdma_status_t crdma_op_run_ll(crdma_op_t *op)
{
    const crdma_plan_t *plan = op->args.plan;
    const crdma_sched_t *sched = plan->sched;

    for (const crdma_step_t *step = sched->steps; step < sched->steps + sched->nsteps; ++step) {
        crdma_status_t status = CRDMA_OK;
        size_t len;

        switch (step->kind) {
        case CRDMA_STEP_SEND:
            for (int i = 0; CRDMA_OK == status && i < step->npeers; ++i) {
                const char *src = part(op, step->src, step->src_block + i * step->stride,
                                       step->nblocks, &len);

                status = put_ll(op, plan->edges[step->first + i], src, len);
            }
            break;
        case CRDMA_STEP_RECV:
            for (int i = 0; CRDMA_OK == status && i < step->npeers; ++i) {
                char *dst = part(op, step->dst, step->dst_block + i * step->stride, step->nblocks,
                                 &len);

                status = get_ll(op, plan->edges[step->first + i], dst, len);
            }
            break;
        case CRDMA_STEP_REDUCE:
            status = reduce_ll(op, step);
            break;
        default: {
            char *dst = part(op, step->dst, step->dst_block, step->nblocks, &len);
            const char *src = part(op, step->src, step->src_block, step->nblocks, &len);

            if (dst != src && 0 != len) {
                memcpy(dst, src, len);
            }
            break;
        }
        }
        if (CRDMA_OK != status) {
            return status;
        }
    }
    return CRDMA_OK;
}
