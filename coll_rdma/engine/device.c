/*
 * Steps on data in GPU memory: the same schedules and messages as for host memory, executed by the
 * GPU.
 *
 *     SEND     tells the name of the block's memory
 *     RECV     copies from the peer's GPU memory into our own
 *     REDUCE   one kernel that reads all operands where they are, in the peers' memory and in ours
 *
 * With peers on other hosts the network adapter reads and writes GPU memory (GPUDirect RDMA):
 *
 *     SEND     is put from the block's memory, or read there
 *     RECV     is written into our own memory
 *     REDUCE   operands are written to a place of ours first
 *
 * With reduce-scatter + allgather of degree N - 1, which large reductions on a host take, every
 * rank thus starts one kernel with N sources for its part, and copies the other parts from those
 * who made them.
 *
 * Invariants:
 * 1. A step ends when the driver says that its work is complete. So whatever a later SEND names is
 *    complete in memory before the name's flag is stored, and whatever a message is acknowledged
 *    for has been read. Input is complete before the first step (crdma_flow_t: an event behind the
 *    default stream).
 * 2. Work of a call is one stream, so operands that are copied to a place of ours need not be
 *    waited for before the kernel that reads them is started.
 * 3. A kernel that overwrites what peers still have to read waits for them, and first takes their
 *    data out of their memory: they may be waiting for us in the same way (op.c, invariant 2).
 * 4. Between the news that an adapter has written to our GPU and the first work that reads it there
 *    is a flush (device/cuda_rdma.h): `unflushed`.
 *
 * Small messages, which only the last segment of a call has (crdma_device_fits), and
 * operands and messages of peers that are in host memory, or in GPU memory that cannot be opened,
 * come through pinned host memory, are copied to the GPU, and are reduced there with the others.
 * For one such peer that is less traffic than reducing on the host: the operand crosses the bus
 * instead of the result, and the host's memory is not read and written once more.
 */
#include "coll_rdma/engine/device.h"

#include <stdlib.h>
#include <string.h>

#include "coll_rdma/device/cuda_rdma.h"
#include "coll_rdma/engine/op_internal.h"
#include "coll_rdma/protocol/rendezvous.h"

/* A message on its way into our GPU. */
struct crdma_landing {
    crdma_cuda_view_t *view;   /* of the peer's memory */
    crdma_cuda_stage_t *stage; /* or where it arrives on the host */
    const char *operand;       /* where work may read it; NULL: not there yet */
    uint64_t ticket;           /* of its copy; 0: none */
    bool taken;                /* from the peer's memory, and not acknowledged */
    bool settled;
};

/* Is there a message of a whole segment that would not be a rendezvous? */
static bool has_small_message(const crdma_op_args_t *args, size_t count, size_t grain, size_t least)
{
    const int nblocks = args->plan->sched->nblocks;

    for (int b = 0; b < nblocks; ++b) {
        size_t begin, end, bytes;

        crdma_sched_range(count, grain, nblocks, b, 1, &begin, &end);
        bytes = (end - begin) * args->elsize;
        if (0 != bytes && bytes < least) {
            return true;
        }
    }
    return false;
}

/* Partial results, in memory of ours that peers may open. */
static crdma_status_t reserve_tmp(crdma_op_t *op, crdma_cuda_call_t *call, size_t bytes)
{
    op->tmp_block = crdma_cuda_block_get(bytes, call->on_device);
    if (NULL == op->tmp_block) {
        return CRDMA_ERR_UNSUPPORTED;
    }
    op->tmp_block->shared = true;
    return crdma_cuda_call_share(call, op->tmp_block->data, bytes);
}

bool crdma_device_possible(const crdma_group_t *g)
{
    return g->all_direct || (NULL != g->far->device_possible && g->far->device_possible());
}

/* Bytes from which messages of the call with all of this rank's peers are a rendezvous; SIZE_MAX:
 * never. */
static size_t rendezvous_from(const crdma_group_t *g, const crdma_plan_t *plan)
{
    size_t least = 0;

    for (int i = 0; i < plan->sched->npeers; ++i) {
        if (NULL != plan->edges[i]) {
            const size_t min = crdma_group_rndv(g, plan->edges[i], plan->key.coll)->min;

            least = min > least ? min : least;
        }
    }
    return least;
}

/* Can the adapter reach the memory of the call, for all peers on other hosts? Partial results and
 * operands that it cannot reach come and go through the host, but if the buffers themselves must,
 * the host should do it all. */
static bool is_reached(const crdma_plan_t *plan, const crdma_cuda_call_t *call)
{
    bool asked = false;

    for (int i = 0; i < plan->sched->npeers; ++i) {
        const crdma_edge_t *edge = plan->edges[i];

        if (NULL == edge || !edge->remote) {
            continue;
        }
        if (!asked && !crdma_cuda_rdma_possible(call->on_device)) {
            return false;
        }
        asked = true;
        for (int a = 0; a < call->nareas; ++a) {
            const crdma_transport_t *t = edge->peer->transport;
            const crdma_cuda_area_t *area = &call->areas[a];
            void *memory;

            if (NULL == t->device_enter ||
                CRDMA_OK != t->device_enter(edge->peer, area->start, area->bytes, &memory)) {
                return false;
            }
            t->device_leave(memory);
        }
    }
    return true;
}

crdma_status_t crdma_device_fits(crdma_group_t *g, const crdma_op_args_t *args)
{
    crdma_op_t *op = g->op;
    const crdma_sched_t *sched = args->plan->sched;
    const crdma_cut_t cut = crdma_op_cut(args);
    crdma_status_t status = CRDMA_OK;
    size_t least;

    /* What goes through the board does so on every rank, by size, also where the driver came after
     * the set-up and some ranks have none. */
    if (!crdma_device_possible(g) ||
        crdma_board_serves(g, args->plan, args->count * args->elsize, args->elsize,
                           args->segment) ||
        CRDMA_OK != crdma_plan_connect(g, args->plan)) {
        return CRDMA_ERR_UNSUPPORTED;
    }
    least = rendezvous_from(g, args->plan);
    if (SIZE_MAX == least || g->direct.block_size < sizeof(crdma_cuda_name_t) ||
        has_small_message(args, cut.seg_count, cut.grain, least) ||
        !is_reached(args->plan, args->device)) {
        return CRDMA_ERR_UNSUPPORTED;
    }
    if (op->nlandings < args->plan->widest) {
        struct crdma_landing *more = calloc((size_t)args->plan->widest, sizeof(*more));

        if (NULL == more) {
            return CRDMA_ERR_UNSUPPORTED;
        }
        free(op->landings);
        op->landings = more;
        op->nlandings = args->plan->widest;
    }
    memset(op->landings, 0, (size_t)op->nlandings * sizeof(*op->landings));
    if (sched->uses_tmp) {
        status = reserve_tmp(op, args->device,
                             cut.seg_count * args->elsize * (size_t)crdma_op_tmp_depth(args, &cut));
    }
    if (CRDMA_OK != status) {
        crdma_device_end(g, args);
    }
    return status;
}

static void put_block(crdma_cuda_block_t **block, bool exposed)
{
    if (NULL != *block) {
        if (exposed) {
            crdma_cuda_block_abandon(*block);
        } else {
            crdma_cuda_block_put(*block);
        }
        *block = NULL;
    }
}

void crdma_device_end(crdma_group_t *g, const crdma_op_args_t *args)
{
    put_block(&g->op->tmp_block, args->device->exposed);
    put_block(&g->op->operands, args->device->exposed); /* after an error */
}

void crdma_device_begin_step(crdma_op_t *op, int npeers)
{
    memset(op->landings, 0, (size_t)npeers * sizeof(*op->landings));
    op->ticket = 0;
    op->unflushed = false;
}

/* Acknowledge message i, whose data is not read any more where it came from. */
static crdma_status_t settle(crdma_op_t *op, int i)
{
    struct crdma_landing *l = &op->landings[i];
    crdma_status_t status = CRDMA_OK;

    if (l->settled) {
        return status;
    }
    l->settled = true;
    if (l->taken) {
        l->taken = false;
        status = crdma_rndv_taken(&op->recvs[i]);
        if (CRDMA_OK == status) {
            status = crdma_recv_finish(&op->recvs[i]);
        }
    }
    if (NULL != l->view) {
        crdma_cuda_view_put(l->view);
        l->view = NULL;
    }
    if (NULL != l->stage) {
        crdma_cuda_stage_put(l->stage);
        l->stage = NULL;
    }
    return status;
}

/* Where operand i of the REDUCE goes if it is moved, which is rare within a host; NULL: no memory.
 * The place behind the last one is for a partial result. */
static char *place(crdma_op_t *op, int i)
{
    if (NULL == op->operands) {
        op->operands = crdma_cuda_block_get((size_t)(op->noperands + 1) * op->operand_bytes,
                                            op->args.device->on_device);
    }
    /* Adapters write to it, so it is not freed while it is registered. */
    if (NULL != op->operands && !op->group->all_direct) {
        op->operands->shared = true;
    }
    return NULL == op->operands ? NULL : (char *)op->operands->data + (size_t)i * op->operand_bytes;
}

/* The message of a peer on another host, written to our GPU at `to` by the adapter.
 * CRDMA_ERR_UNSUPPORTED: it cannot, and nothing has happened. */
static crdma_status_t land(crdma_op_t *op, int i, char *to)
{
    crdma_recv_t *recv = &op->recvs[i];
    struct crdma_landing *l = &op->landings[i];
    crdma_status_t status;

    if (NULL != l->stage || CRDMA_PROTOCOL_RNDV != recv->protocol || !recv->edge->remote ||
        !crdma_rndv_recv_enter(recv, to)) {
        return CRDMA_ERR_UNSUPPORTED;
    }
    status = crdma_recv_progress(recv, to);
    if (CRDMA_OK == status) {
        crdma_rndv_recv_leave(recv);
        op->unflushed = true;
        l->operand = to;
    }
    return status;
}

/* Invariant 4. */
static crdma_status_t flush(crdma_op_t *op)
{
    crdma_status_t status = CRDMA_OK;

    if (op->unflushed) {
        status = crdma_cuda_rdma_flush(op->args.device->pipe);
        op->unflushed = CRDMA_OK != status;
    }
    return status;
}

/* Let work that is asked for from now on find message i at landings[i].operand: at `to` (NULL: its
 * place), or, if `keep`, in the peer's own memory if we can open that. */
static crdma_status_t fetch(crdma_op_t *op, int i, char *to, bool keep)
{
    crdma_cuda_call_t *call = op->args.device;
    crdma_recv_t *recv = &op->recvs[i];
    struct crdma_landing *l = &op->landings[i];
    const crdma_cuda_name_t *name = NULL;
    crdma_status_t status;
    void *p = NULL;

    if (recv->edge->remote) {
        to = NULL != to ? to : place(op, i);
        status = NULL == to ? CRDMA_ERR_NOMEM : land(op, i, to);
        if (CRDMA_ERR_UNSUPPORTED != status) {
            return status;
        }
    } else if (NULL == l->stage && CRDMA_PROTOCOL_RNDV == recv->protocol) {
        status = crdma_rndv_look(recv, &name);
        if (CRDMA_OK != status) {
            return status;
        }
        if (NULL != name && CRDMA_OK == crdma_cuda_view_get(recv->edge->peer->cookie, name,
                                                            call->pipe, &l->view, &p)) {
            status = crdma_rndv_take(recv);
            if (CRDMA_OK != status) {
                return status;
            }
            l->taken = true;
            if (keep) {
                l->operand = p;
                return CRDMA_OK;
            }
            to = NULL != to ? to : place(op, i);
            if (NULL == to) {
                return CRDMA_ERR_NOMEM;
            }
            l->ticket = crdma_cuda_work_copy(call->pipe, to, p, recv->len);
            l->operand = to;
            return CRDMA_OK;
        }
        if (NULL != name) {
            crdma_rndv_refuse(recv);
            call->refused = true;
        }
    }
    if (NULL == l->stage) {
        l->stage = crdma_cuda_stage_get(recv->len, call->on_device);
        if (NULL == l->stage) {
            return CRDMA_ERR_NOMEM;
        }
    }
    to = NULL != to ? to : place(op, i);
    status = NULL == to ? CRDMA_ERR_NOMEM : crdma_recv_progress(recv, l->stage->data);
    if (CRDMA_OK == status) {
        l->ticket = crdma_cuda_work_copy(call->pipe, to, l->stage->data, recv->len);
        l->operand = to;
    }
    return status;
}

crdma_status_t crdma_device_recv(crdma_op_t *op, int i, char *dst)
{
    struct crdma_landing *l = &op->landings[i];
    crdma_status_t status;

    if (0 == op->recvs[i].len) {
        return crdma_recv_progress(&op->recvs[i], NULL); /* a notification */
    }
    if (NULL == l->operand) {
        status = fetch(op, i, dst, false);
        if (CRDMA_OK == status) {
            status = flush(op);
        }
        if (CRDMA_OK != status) {
            return status;
        }
    }
    status = crdma_cuda_work_poll(op->args.device->pipe, l->ticket);
    return CRDMA_OK == status ? settle(op, i) : status;
}

crdma_status_t crdma_device_copy(crdma_op_t *op, char *dst, const char *src, size_t len)
{
    if (!op->started) {
        op->started = true;
        op->ticket = crdma_cuda_work_copy(op->args.device->pipe, dst, src, len);
    }
    return crdma_cuda_work_poll(op->args.device->pipe, op->ticket);
}

static bool takes_data(const crdma_op_t *op, const int32_t *peers, int i)
{
    return CRDMA_SELF != peers[i] && 0 != op->recvs[i].len;
}

/* All operands, as sources of the kernel. */
static crdma_status_t gather(crdma_op_t *op, const crdma_step_t *step, const char *self, size_t len)
{
    const int32_t *peers = &op->args.plan->sched->peers[step->first];
    bool all = true;

    op->noperands = step->npeers;
    op->operand_bytes = len;
    for (int i = 0; i < step->npeers; ++i) {
        crdma_recv_t *recv = &op->recvs[i];
        crdma_status_t status = CRDMA_OK;

        if (CRDMA_SELF == peers[i]) {
            op->srcs[i] = self;
            continue;
        }
        if (!takes_data(op, peers, i)) {
            status = recv->complete ? CRDMA_OK : crdma_recv_progress(recv, NULL);
            recv->complete = CRDMA_OK == status;
        } else if (NULL == op->landings[i].operand) {
            status = fetch(op, i, NULL, !op->gather);
        }
        if (CRDMA_AGAIN == status) {
            op->waiting = recv->edge;
            all = false;
        } else if (CRDMA_OK != status) {
            op->waiting = recv->edge;
            return status;
        }
        op->srcs[i] = op->landings[i].operand;
    }
    return all ? CRDMA_OK : CRDMA_AGAIN;
}

static crdma_status_t settle_all(crdma_op_t *op, const crdma_step_t *step)
{
    const int32_t *peers = &op->args.plan->sched->peers[step->first];

    for (int i = 0; i < step->npeers; ++i) {
        crdma_status_t status = takes_data(op, peers, i) ? settle(op, i) : CRDMA_OK;

        if (0 > status) {
            op->waiting = op->recvs[i].edge;
            return status;
        }
    }
    return CRDMA_OK;
}

crdma_status_t crdma_device_reduce(crdma_op_t *op, const crdma_step_t *step, char *dst,
                                   const char *self, size_t len)
{
    crdma_cuda_call_t *call = op->args.device;
    crdma_status_t status;
    char *partial = NULL;

    if (0 == op->ticket) {
        status = gather(op, step, self, len);
        if (CRDMA_OK != status) {
            return status;
        }
        if (0 == len) {
            return CRDMA_OK;
        }
        status = flush(op);
        if (CRDMA_OK != status) {
            return status;
        }
        if (op->gather) { /* invariant 3 */
            status = crdma_cuda_work_poll(call->pipe, crdma_cuda_work_last(call->pipe));
            if (CRDMA_OK == status) {
                status = settle_all(op, step);
            }
            if (CRDMA_OK != status) {
                return status;
            }
        }
        if (NULL != op->pending && crdma_op_is_sending(op, dst, len)) {
            op->waiting = op->pending->send.edge;
            return CRDMA_AGAIN;
        }
        if (crdma_cuda_needs_partial(dst, op->srcs, step->npeers)) {
            partial = place(op, op->noperands);
            if (NULL == partial) {
                return CRDMA_ERR_NOMEM;
            }
        }
        op->ticket = crdma_cuda_work_reduce(call->pipe, call->op, call->type, dst, op->srcs,
                                            step->npeers, len / op->args.elsize, partial);
    }
    status = crdma_cuda_work_poll(call->pipe, op->ticket);
    if (CRDMA_OK == status) {
        status = settle_all(op, step);
        put_block(&op->operands, false);
    }
    return status;
}

void crdma_device_quiet(crdma_op_t *op)
{
    crdma_cuda_work_wait(op->args.device->pipe);
    for (int i = 0; i < op->nlandings; ++i) {
        if (op->landings[i].taken) {
            (void)crdma_rndv_taken(&op->recvs[i]);
            op->landings[i].taken = false;
        }
    }
}

void crdma_device_release(crdma_op_t *op)
{
    crdma_cuda_call_t *call = op->args.device;

    /* What a peer on another host may still read or write is never used for anything else. */
    for (int i = 0; i < op->nlandings; ++i) {
        if (i < op->capacity && crdma_rndv_recv_is_open(&op->recvs[i])) {
            call->exposed = true;
            op->landings[i].stage = NULL;
        }
        (void)settle(op, i);
    }
    for (crdma_send_item_t *item = op->pending; NULL != item; item = item->next) {
        if (crdma_rndv_send_is_open(&item->send)) {
            call->exposed = true;
        } else {
            crdma_rndv_send_release(&item->send);
        }
    }
}
