/*
 * Running a schedule (schedule.h defines the order of steps and segments).
 *
 * 1. Positions are taken when a step starts; steps start in schedule order on every rank, so the
 *    n-th message sent on an edge is the n-th expected, whatever the timing.
 * 2. Sends complete in the background (`pending`). Before memory is written, the pending sends
 *    that read from it are waited for. A REDUCE takes its operands before it waits: two ranks that
 *    exchange and reduce in place each need the other to take its message first.
 * 3. A step that cannot go on returns CRDMA_AGAIN and is resumed where it was.
 * 4. After an error nothing of the group is reused: transports may still write to it.
 */
#include <stdlib.h>
#include <string.h>

#include "coll_rdma/engine/op_internal.h"
#include "coll_rdma/engine/parts.h"
#include "coll_rdma/protocol/signature.h"

crdma_op_t *crdma_op_create(crdma_group_t *group)
{
    crdma_op_t *op = calloc(1, sizeof(*op));

    if (NULL != op) {
        op->group = group;
        op->pending_end = &op->pending;
    }
    return op;
}

bool crdma_op_is_busy(const crdma_op_t *op)
{
    for (const crdma_send_item_t *item = op->pending; NULL != item; item = item->next) {
        if (0 != item->send.tx.pending) {
            return true;
        }
    }
    for (int i = 0; i < op->capacity; ++i) {
        if (0 != op->recvs[i].tx.pending) {
            return true;
        }
    }
    return false;
}

static void free_items(crdma_send_item_t *item)
{
    while (NULL != item) {
        crdma_send_item_t *next = item->next;

        free(item);
        item = next;
    }
}

void crdma_op_destroy(crdma_op_t *op)
{
    if (NULL == op) {
        return;
    }
    free_items(op->pending);
    free_items(op->unused);
    free(op->recvs);
    free(op->srcs);
    free(op->landings);
    free(op);
}

static crdma_status_t reserve(crdma_op_t *op, int npeers)
{
    if (op->capacity < npeers) {
        const size_t n = (size_t) npeers;
        crdma_recv_t *recvs = calloc(n, sizeof(*recvs));
        const void **srcs = malloc(n * sizeof(*srcs));

        if (NULL == recvs || NULL == srcs) {
            free(recvs);
            free(srcs);
            return CRDMA_ERR_NOMEM;
        }
        free(op->recvs);
        free(op->srcs);
        op->recvs = recvs;
        op->srcs = srcs;
        op->capacity = npeers;
    }
    return CRDMA_OK;
}

void crdma_op_adopt(crdma_op_t *op, const crdma_op_args_t *args, uint64_t seq, uint64_t sig)
{
    op->args = *args;
    op->args.sig = sig;
    op->seq = seq;
    op->waiting = NULL;
    op->by_parts = false;
    op->since = 0;
    op->polls = 0;
}

crdma_status_t crdma_op_start(crdma_op_t *op, const crdma_op_args_t *args)
{
    crdma_group_t *g = op->group;
    const crdma_sched_t *sched = args->plan->sched;
    const crdma_cut_t cut = crdma_op_cut(args);
    crdma_status_t status;
    uint64_t seq, sig;

    sig = crdma_group_count_call(g, args->sig, &seq);
    crdma_op_adopt(op, args, seq, sig);

    op->grain = cut.grain;
    op->seg_count = cut.seg_count;
    op->nseg = cut.nseg;
    op->t = 0;
    op->step = 0;
    op->started = false;
    op->by_parts = crdma_parts_serves(g, args);
    if (op->by_parts) {
        return reserve(op, g->size);
    }
    status = reserve(op, args->plan->widest);
    if (CRDMA_OK == status && sched->uses_tmp) {
        op->tmp_depth = crdma_op_tmp_depth(args, &cut);
        if (NULL != args->device) {
            op->tmp = op->tmp_block->data;
        } else {
            status = crdma_group_tmp(g, op->seg_count * args->elsize * (size_t) op->tmp_depth + 1,
                                     &op->tmp);
        }
    }
    return status;
}

/* The memory of blocks [block, block + n) of segment `seg`. */
char *crdma_op_locate(const crdma_op_t *op, int buf, size_t seg, int block, int n, size_t *len)
{
    const size_t first = seg * op->seg_count;
    const size_t count = op->args.count - first < op->seg_count ? op->args.count - first
                                                                : op->seg_count;
    const size_t elsize = op->args.elsize;
    size_t begin = 0, end = 0;
    char *base;

    if (1 == op->args.plan->sched->nblocks && 1 == n) {
        end = count;
    } else if (0 < n) {
        crdma_sched_range(count, op->grain, op->args.plan->sched->nblocks, block, n, &begin, &end);
    }
    *len = (end - begin) * elsize;
    if (CRDMA_BUF_TMP == buf) {
        base = op->tmp + (seg % (size_t) op->tmp_depth) * op->seg_count * elsize;
    } else {
        base = CRDMA_BUF_IN == buf ? (char *) (uintptr_t) op->args.in : op->args.out;
        if (NULL == base) {
            return NULL; /* count is 0, or nothing but notifications */
        }
        base += first * elsize;
    }
    return base + begin * elsize;
}

crdma_area_t crdma_op_area(const crdma_op_t *op, const void *at)
{
    const size_t len = op->args.count * op->args.elsize;
    const char *in = op->args.in, *out = op->args.out, *p = at;

    if (NULL != out && p >= out && p < out + len) {
        return (crdma_area_t) {out, len};
    }
    if (NULL != in && p >= in && p < in + len) {
        return (crdma_area_t) {in, len};
    }
    return (crdma_area_t) {NULL, 0};
}

/* Invariant 2: true if a pending send still reads from [dst, dst + len). (`off` grows as the
 * chunks of a slot message go out; for other messages it is 0.) */
bool crdma_op_is_sending(const crdma_op_t *op, const char *dst, size_t len)
{
    for (const crdma_send_item_t *item = op->pending; NULL != item; item = item->next) {
        const crdma_send_t *send = &item->send;

        if (send->src + send->off < dst + len && dst < send->src + send->len) {
            return true;
        }
    }
    return false;
}

crdma_status_t crdma_op_new_item(crdma_op_t *op, crdma_send_item_t **out)
{
    crdma_send_item_t *item = op->unused;

    if (NULL == item) {
        item = malloc(sizeof(*item));
        if (NULL == item) {
            return CRDMA_ERR_NOMEM;
        }
    } else {
        op->unused = item->next;
    }
    *out = item;
    return CRDMA_OK;
}

crdma_status_t crdma_op_push(crdma_op_t *op, crdma_send_item_t *item)
{
    crdma_status_t status = crdma_send_progress(&item->send);

    if (CRDMA_AGAIN == status) {
        item->next = NULL;
        *op->pending_end = item;
        op->pending_end = &item->next;
        return CRDMA_OK;
    }
    item->next = op->unused;
    op->unused = item;
    if (CRDMA_OK != status) {
        op->waiting = item->send.edge;
    }
    return status;
}

static crdma_status_t push_send(crdma_op_t *op, crdma_edge_t *edge, const char *src, size_t len,
                                uint64_t token)
{
    crdma_send_item_t *item;
    crdma_status_t status = crdma_op_new_item(op, &item);

    if (CRDMA_OK != status) {
        return status;
    }
    crdma_send_start(&item->send, edge, crdma_group_rndv(op->group, edge, op->args.plan->key.coll), src, len,
                     crdma_op_chunk(op, len), op->args.sig);
    item->send.device = 0 != len ? op->args.device : NULL;
    item->send.token = token;
    item->send.area = crdma_op_area(op, src);
    return crdma_op_push(op, item);
}

static crdma_status_t progress_sends(crdma_op_t *op)
{
    crdma_send_item_t **link = &op->pending;

    while (NULL != *link) {
        crdma_send_item_t *item = *link;
        crdma_status_t status = crdma_send_progress(&item->send);

        if (CRDMA_AGAIN == status) {
            link = &item->next;
            continue;
        }
        if (CRDMA_OK != status) {
            op->waiting = item->send.edge;
            return status;
        }
        *link = item->next;
        item->next = op->unused;
        op->unused = item;
    }
    op->pending_end = link;
    return CRDMA_OK;
}

static crdma_status_t step_send(crdma_op_t *op, const crdma_step_t *step, size_t seg)
{
    const crdma_plan_t *plan = op->args.plan;
    const uint64_t token = 1 < step->npeers && 0 == step->stride ? ++op->group->token : 0;

    for (int i = 0; i < step->npeers; ++i) {
        size_t len;
        const char *src = crdma_op_locate(op, step->src, seg, step->src_block + i * step->stride,
                                 step->nblocks, &len);
        crdma_status_t status = push_send(op, plan->edges[step->first + i], src, len, token);

        if (CRDMA_OK != status) {
            return status;
        }
    }
    return CRDMA_OK;
}

static crdma_status_t step_recv(crdma_op_t *op, const crdma_step_t *step, size_t seg)
{
    const crdma_plan_t *plan = op->args.plan;
    bool all = true;

    if (!op->started) {
        for (int i = 0; i < step->npeers; ++i) {
            size_t len;
            char *dst = crdma_op_locate(op, step->dst, seg, step->dst_block + i * step->stride,
                               step->nblocks, &len);

            if (0 != len && crdma_op_is_sending(op, dst, len)) {
                op->waiting = NULL;
                return CRDMA_AGAIN;
            }
        }
        for (int i = 0; i < step->npeers; ++i) {
            crdma_edge_t *edge = plan->edges[step->first + i];
            size_t len;

            crdma_op_locate(op, step->dst, seg, step->dst_block + i * step->stride, step->nblocks, &len);
            crdma_recv_start(&op->recvs[i], edge, crdma_group_rndv(op->group, edge, op->args.plan->key.coll), len,
                             crdma_op_chunk(op, len), op->args.sig);
            op->recvs[i].area = crdma_op_area(op, op->args.out);
        }
        op->started = true;
        if (NULL != op->args.device) {
            crdma_device_begin_step(op, step->npeers);
        }
    }
    for (int i = 0; i < step->npeers; ++i) {
        crdma_recv_t *recv = &op->recvs[i];
        crdma_status_t status;
        size_t len;
        char *dst;

        if (recv->complete) {
            continue;
        }
        dst = crdma_op_locate(op, step->dst, seg, step->dst_block + i * step->stride, step->nblocks, &len);
        status = NULL != op->args.device ? crdma_device_recv(op, i, dst)
                                         : crdma_recv_progress(recv, dst);
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
    return all ? CRDMA_OK : CRDMA_AGAIN;
}

static crdma_status_t step_copy(crdma_op_t *op, const crdma_step_t *step, size_t seg)
{
    size_t len;
    char *dst = crdma_op_locate(op, step->dst, seg, step->dst_block, step->nblocks, &len);
    const char *src = crdma_op_locate(op, step->src, seg, step->src_block, step->nblocks, &len);

    if (dst != src && 0 != len) {
        if (crdma_op_is_sending(op, dst, len)) {
            op->waiting = NULL;
            return CRDMA_AGAIN;
        }
        if (NULL != op->args.device) {
            op->waiting = NULL;
            return crdma_device_copy(op, dst, src, len);
        }
        memcpy(dst, src, len);
    }
    return CRDMA_OK;
}

/* Puts to remote peers must have left this process: the caller may go where nothing progresses the
 * transport (a blocking call of the run-time system, a long computation), and a put that still
 * waits for its connection, or a flag that waits for its payload, would wait with it. */
static crdma_status_t drain(crdma_op_t *op)
{
    const crdma_plan_t *plan = op->args.plan;

    for (int i = 0; i < plan->sched->npeers; ++i) {
        crdma_edge_t *edge = plan->edges[i];

        if (NULL != edge && 0 != edge->tx.pending) {
            op->waiting = edge;
            return CRDMA_AGAIN;
        }
        if (NULL != edge && CRDMA_OK != edge->tx.status) {
            return crdma_op_fail(op, edge, edge->tx.status);
        }
    }
    return CRDMA_OK;
}

/* The bytes of segments 0 .. seg. */
static size_t through_segment(const crdma_op_t *op, size_t seg)
{
    return (seg + 1 < op->nseg ? (seg + 1) * op->seg_count : op->args.count) * op->args.elsize;
}

crdma_status_t crdma_op_progress(crdma_op_t *op)
{
    const crdma_sched_t *sched = op->args.plan->sched;
    const size_t most_lag = (size_t) sched->skew[sched->nphases - 1];
    crdma_flow_t *flow = op->group->flow;
    const size_t slots = op->nseg + most_lag;
    crdma_status_t status = CRDMA_OK;

    if (NULL != op->pending) {
        status = progress_sends(op);
        if (CRDMA_OK != status) {
            return crdma_op_fail(op, op->waiting, status);
        }
    }
    if (op->by_parts) {
        status = crdma_parts_progress(op);
        return CRDMA_OK == status || CRDMA_AGAIN == status ? status : crdma_op_fail(op, op->waiting, status);
    }
    for (; op->t < slots; ++op->t, op->step = 0) {
        /* Nobody reads segment t before turn t. */
        if (NULL != flow && 0 == op->step && !op->started) {
            status = flow->arrived(flow, through_segment(op, op->t));
            if (CRDMA_OK != status) {
                op->waiting = NULL;
                return CRDMA_AGAIN == status ? status : crdma_op_fail(op, NULL, status);
            }
        }
        for (; op->step < sched->nsteps; ++op->step, op->started = false) {
            const crdma_step_t *step = &sched->steps[op->step];
            const size_t lag = (size_t) sched->skew[step->phase];
            const size_t seg = op->t - lag;

            if (op->t < lag || seg >= op->nseg) {
                continue;
            }
            switch (step->kind) {
            case CRDMA_STEP_SEND:
                status = step_send(op, step, seg);
                break;
            case CRDMA_STEP_RECV:
                status = step_recv(op, step, seg);
                break;
            case CRDMA_STEP_REDUCE:
                status = crdma_op_reduce(op, step, seg);
                break;
            default:
                status = step_copy(op, step, seg);
                break;
            }
            if (CRDMA_AGAIN == status) {
                return status;
            }
            if (CRDMA_OK != status) {
                return crdma_op_fail(op, op->waiting, status);
            }
        }
        /* The last phase has done with segment t - most_lag, and so have those before it. */
        if (NULL != flow && most_lag <= op->t) {
            flow->finished(flow, through_segment(op, op->t - most_lag));
        }
    }
    if (NULL != op->pending) {
        op->waiting = op->pending->send.edge;
        return CRDMA_AGAIN;
    }
    return op->group->all_direct ? CRDMA_OK : drain(op);
}

crdma_status_t crdma_op_run(crdma_group_t *g, const crdma_op_args_t *args)
{
    crdma_op_t *op = g->op;
    crdma_status_t status;

    if (g->failed || 0 != __atomic_load_n(&g->region->poison, __ATOMIC_RELAXED)) {
        return crdma_group_refuse(g);
    }
    if (0 != args->small) {
        status = crdma_op_run_small(g, args);
        if (CRDMA_AGAIN != status) {
            return status;
        }
    }
    if (NULL != args->plan->pair.edge && crdma_op_run_pair(g, args, &status)) {
        return status;
    }
    if (args->plan->flat && crdma_op_run_board(g, args, &status)) {
        return status;
    }
    status = crdma_plan_connect(g, args->plan);
    if (CRDMA_OK != status) {
        return status;
    }
    status = crdma_op_start(op, args);
    if (CRDMA_OK != status) {
        return crdma_op_fail(op, NULL, status);
    }
    if (g->all_direct && 1 == op->nseg && args->count * args->elsize < g->direct.ll_below) {
        return crdma_op_run_ll(op);
    }
    for (;;) {
        const size_t t = op->t, off = op->off;
        const int step = op->step;

        status = crdma_op_progress(op);
        if (CRDMA_AGAIN != status) {
            return status;
        }
        if (t != op->t || step != op->step || off != op->off) {
            op->polls = 0; /* it moved: a new wait */
            op->since = 0;
        }
        status = crdma_op_wait(op, op->waiting);
        if (CRDMA_OK != status) {
            return status;
        }
    }
}
