/*
 * Reductions by parts, in one step: how the engine runs reduce-scatter + allgather (reduce-scatter
 * + gather) with everybody (K = N - 1) where ranks can read and write each other's user buffers.
 *
 *     N = 3, allreduce        rank 0          rank 1          rank 2
 *     inputs                  a0 a1 a2        b0 b1 b2        c0 c1 c2
 *     tells                   here are my input and my output           (to all)
 *     computes                a0+b0+c0        a1+b1+c1        a2+b2+c2
 *     stores it               part 0 of all outputs, and so on
 *     tells                   done with your buffers                    (to all)
 *
 * The schedule's two rounds become one: the sum is stored where the allgather would have brought
 * it, by the rank that has it in its cache. Every input byte is read once, every output byte
 * written once.
 *
 * 1. Part r of any buffer is touched by rank r only, between the owner's message and its own end
 *    (protocol/parts.h). So in place or not makes no difference, and nothing has an order but each
 *    rank's own pieces.
 * 2. All operands of a piece are in hand, mapped or copied, before its result is stored anywhere.
 * 3. Operands are combined in rank order, by one rank: any operation, the same bits everywhere.
 * 4. Whether a call runs like this depends on what is equal on all ranks only. How a rank reaches a
 *    buffer, mapped or through the kernel, it decides alone, for each buffer.
 */
#include "coll_rdma/engine/parts.h"

#include <string.h>

#include "coll_rdma/protocol/parts.h"

/* Bytes of all operands of a piece. Mapped: the result is still in the first cache when it is
 * stored to the others. Through the kernel: enough for a system call of some us. */
#define PIECE_MAPPED (64 * 1024)
#define PIECE_COPIED (256 * 1024)

enum { TELL = 0, HEAR, WORK, END };

bool crdma_parts_serves(const crdma_group_t *g, const crdma_op_args_t *args)
{
    const crdma_plan_key_t *key = &args->plan->key;

    return (CRDMA_ALLREDUCE == key->coll || CRDMA_REDUCE == key->coll) &&
           CRDMA_ALG_RSAG == (crdma_alg_t)key->alg && 1 == key->levels &&
           g->size - 1 <= key->degree && args->count * args->elsize >= g->parts_min[key->coll] &&
           (0 == args->segment || args->segment >= args->count * args->elsize);
}

static crdma_status_t tell(crdma_op_t *op)
{
    crdma_group_t *g = op->group;
    const size_t len = op->args.count * op->args.elsize;
    const int coll = op->args.plan->key.coll;

    /* From the next rank on, so that not all tell rank 0 first. */
    for (int i = 1; i < g->size; ++i) {
        const int r = (g->rank + i) % g->size;
        crdma_send_item_t *item;
        crdma_status_t status = crdma_group_edge(g, r, &g->edges[r]);

        if (CRDMA_OK == status) {
            status = crdma_op_new_item(op, &item);
        }
        if (CRDMA_OK != status) {
            return status;
        }
        crdma_parts_recv(&op->recvs[r], g->edges[r], &g->rndv_direct[coll], len, op->args.sig);
        crdma_parts_send(&item->send, g->edges[r], &g->rndv_direct[coll], op->args.in, op->args.out,
                         len, op->args.sig);
        status = crdma_op_push(op, item);
        if (CRDMA_OK != status) {
            return status;
        }
    }
    return CRDMA_OK;
}

static crdma_status_t hear(crdma_op_t *op)
{
    const crdma_group_t *g = op->group;

    for (; op->ready < g->size; ++op->ready) {
        crdma_status_t status =
            op->ready == g->rank ? CRDMA_OK : crdma_parts_claim(&op->recvs[op->ready]);

        if (CRDMA_OK != status) {
            op->waiting = g->edges[op->ready];
            return status;
        }
    }
    return CRDMA_OK;
}

typedef struct combine {
    const crdma_op_t *op;
    void *dst;
    size_t count;
} combine_t;

static void combine(void *argument)
{
    const combine_t *c = argument;

    crdma_op_combine(c->op, c->dst, c->op->srcs, c->op->group->size, c->count);
}

/* Invariant 2: operands [off, off + n) into op->srcs; *mapped: some are others' memory. */
static crdma_status_t fetch(crdma_op_t *op, size_t off, size_t n, char *scratch, bool *mapped)
{
    const crdma_group_t *g = op->group;

    *mapped = false;
    for (int r = 0; r < g->size; ++r) {
        crdma_recv_t *recv = &op->recvs[r];
        crdma_status_t status;

        if (r == g->rank) {
            op->srcs[r] = (const char *)op->args.in + off;
            continue;
        }
        /* A user-defined operation gets copies: it may hold anything when it faults. */
        op->srcs[r] = NULL != op->args.reducer.kernel ? crdma_parts_map(recv, off, n) : NULL;
        if (NULL != op->srcs[r]) {
            *mapped = true;
            continue;
        }
        op->srcs[r] = scratch + (size_t)r * n;
        status = crdma_parts_get(recv, scratch + (size_t)r * n, off, n);
        if (CRDMA_OK != status) {
            op->waiting = recv->edge;
            return status;
        }
    }
    return CRDMA_OK;
}

/* The peer whose memory went away under a load: the one that has withdrawn, or any. */
static crdma_status_t lost(crdma_op_t *op)
{
    const crdma_group_t *g = op->group;

    for (int r = 0; r < g->size; ++r) {
        if (r != g->rank && (NULL == op->waiting || !crdma_parts_valid(&op->recvs[r]))) {
            op->waiting = op->recvs[r].edge;
        }
    }
    return CRDMA_ERR_PEER;
}

static crdma_status_t piece(crdma_op_t *op, size_t off, size_t n, char *scratch)
{
    const crdma_group_t *g = op->group;
    char *result = NULL != op->args.out ? op->args.out + off : scratch + (size_t)g->rank * n;
    combine_t c = {op, result, n / op->args.elsize};
    crdma_status_t status;
    bool mapped;

    for (int r = 0; r < g->size; ++r) {
        if (r != g->rank && !crdma_parts_valid(&op->recvs[r])) {
            op->waiting = op->recvs[r].edge;
            return CRDMA_ERR_PEER;
        }
    }
    status = fetch(op, off, n, scratch, &mapped);
    if (CRDMA_OK != status) {
        return status;
    }
    if (!mapped) {
        combine(&c);
    } else if (!crdma_xpmem_guard(combine, &c)) {
        op->waiting = NULL;
        return lost(op);
    }
    for (int i = 1; i < g->size; ++i) {
        crdma_recv_t *recv = &op->recvs[(g->rank + i) % g->size];

        status = crdma_parts_put(recv, result, off, n);
        if (CRDMA_OK != status) {
            op->waiting = recv->edge;
            return status;
        }
    }
    return CRDMA_OK;
}

static crdma_status_t work(crdma_op_t *op)
{
    crdma_group_t *g = op->group;
    const size_t elsize = op->args.elsize, size = (size_t)g->size;
    size_t most = (g->rndv_direct[op->args.plan->key.coll].mapped ? PIECE_MAPPED : PIECE_COPIED) /
                  size,
           begin, end, n;
    crdma_status_t status;
    char *scratch;

    crdma_sched_range(op->args.count, op->grain, g->size, g->rank, 1, &begin, &end);
    begin *= elsize;
    end *= elsize;
    most = most / elsize / op->grain * op->grain * elsize;
    if (0 == most) {
        most = op->grain * elsize;
    }
    n = end - begin - op->off < most ? end - begin - op->off : most;
    status = crdma_group_scratch(g, size * most, &scratch);
    if (CRDMA_OK == status && 0 < n) {
        status = piece(op, begin + op->off, n, scratch);
    }
    if (CRDMA_OK != status) {
        return status;
    }
    op->off += n;
    if (op->off < end - begin) {
        op->waiting = NULL;
        return CRDMA_AGAIN; /* between pieces messages that wait for credit get their turn */
    }
    for (int r = 0; r < g->size; ++r) {
        if (r != g->rank) {
            status = crdma_parts_finish(&op->recvs[r]);
            if (0 > status) {
                op->waiting = op->recvs[r].edge;
                return status;
            }
        }
    }
    return CRDMA_OK;
}

crdma_status_t crdma_parts_progress(crdma_op_t *op)
{
    crdma_flow_t *flow = op->group->flow;
    const size_t len = op->args.count * op->args.elsize;
    crdma_status_t status = CRDMA_OK;

    if (TELL == op->step) {
        status = NULL != flow ? flow->arrived(flow, len) : CRDMA_OK;
        if (CRDMA_OK != status) {
            op->waiting = NULL;
            return status;
        }
        op->ready = 0;
        op->off = 0;
        status = tell(op);
        op->step = CRDMA_OK == status ? HEAR : TELL;
    }
    if (HEAR == op->step && CRDMA_OK == status) {
        status = hear(op);
        op->step = CRDMA_OK == status ? WORK : HEAR;
    }
    if (WORK == op->step && CRDMA_OK == status) {
        status = work(op);
        op->step = CRDMA_OK == status ? END : WORK;
    }
    if (CRDMA_OK == status && NULL != op->pending) {
        op->waiting = op->pending->send.edge;
        return CRDMA_AGAIN;
    }
    if (CRDMA_OK == status && NULL != flow) {
        flow->finished(flow, len);
    }
    return status;
}

void crdma_parts_withdraw(crdma_op_t *op)
{
    for (int r = 0; TELL < op->step && r < op->group->size; ++r) {
        if (r != op->group->rank) {
            crdma_parts_abandon(&op->recvs[r]);
        }
    }
}
