/*
 * Operation records: what one call of the transport has under way in UCX, and the pieces
 * that operations are made of (payload, flag, flush).
 *
 * A record counts the UCX requests that name it, plus one while the call that started
 * it is still running. UCX's callbacks let go of the caller's tx and of the record; what has to
 * follow a flush is queued for progress() (todo), so that UCX is never called from a callback.
 */
#include "coll_rdma/transport/ucp_internal.h"

#include <stdlib.h>

enum { OPS_PER_CHUNK = 64 };

struct crdma_ucp_chunk {
    struct crdma_ucp_chunk *next;
    crdma_ucp_op_t ops[OPS_PER_CHUNK];
};

crdma_status_t crdma_ucp_status(const crdma_ucp_endpoint_t *e, ucs_status_t status)
{
    if (UCS_OK == status) {
        return CRDMA_OK;
    }
    if (NULL != e && e->failed) {
        return CRDMA_ERR_PEER;
    }
    switch (status) {
    case UCS_ERR_NO_MEMORY:
        return CRDMA_ERR_NOMEM;
    case UCS_ERR_CANCELED:
    case UCS_ERR_CONNECTION_RESET:
    case UCS_ERR_NOT_CONNECTED:
    case UCS_ERR_ENDPOINT_TIMEOUT:
    case UCS_ERR_UNREACHABLE:
        return CRDMA_ERR_PEER;
    default:
        return CRDMA_ERR_TRANSPORT;
    }
}

void crdma_ucp_tx_finish(crdma_ucp_op_t *op, crdma_status_t status)
{
    crdma_tx_t *tx = op->tx;

    if (NULL != tx) {
        op->tx = NULL;
        if (CRDMA_OK != status) {
            tx->status = status;
        }
        __atomic_sub_fetch(&tx->pending, 1, __ATOMIC_RELEASE);
    }
}

crdma_ucp_op_t *crdma_ucp_op_get(crdma_ucp_endpoint_t *e, crdma_tx_t *tx)
{
    crdma_ucp_state_t *s = &crdma_ucp_state;
    crdma_ucp_op_t *op;

    if (NULL == s->free_ops) {
        struct crdma_ucp_chunk *chunk = malloc(sizeof(*chunk));

        if (NULL == chunk) {
            return NULL;
        }
        chunk->next = s->chunks;
        s->chunks = chunk;
        for (int i = 0; i < OPS_PER_CHUNK; ++i) {
            chunk->ops[i].next = s->free_ops;
            s->free_ops = &chunk->ops[i];
        }
    }
    op = s->free_ops;
    s->free_ops = op->next;
    *op = (crdma_ucp_op_t){.endpoint = e, .tx = tx, .requests = 1, .next = e->inflight};
    if (NULL != e->inflight) {
        e->inflight->previous = op;
    }
    e->inflight = op;
    if (NULL != tx) {
        __atomic_add_fetch(&tx->pending, 1, __ATOMIC_RELAXED);
    }
    return op;
}

void crdma_ucp_op_release(crdma_ucp_op_t *op)
{
    if (0 != --op->requests) {
        return;
    }
    if (NULL != op->previous) {
        op->previous->next = op->next;
    } else {
        op->endpoint->inflight = op->next;
    }
    if (NULL != op->next) {
        op->next->previous = op->previous;
    }
    if (NULL != op->rkey) {
        crdma_ucp_rkey_put(op->rkey);
    }
    op->next = crdma_ucp_state.free_ops;
    crdma_ucp_state.free_ops = op;
}

void crdma_ucp_ops_release(void)
{
    crdma_ucp_state_t *s = &crdma_ucp_state;

    while (NULL != s->chunks) {
        struct crdma_ucp_chunk *chunk = s->chunks;

        s->chunks = chunk->next;
        free(chunk);
    }
    s->free_ops = NULL;
}

/* The source may be reused (puts, messages) or holds the data (gets). */
void crdma_ucp_on_source(void *request, ucs_status_t status, void *arg)
{
    crdma_ucp_op_t *op = arg;

    ucp_request_free(request);
    op->source_busy = false;
    if (UCS_OK != status || !op->flag_due) {
        crdma_ucp_tx_finish(op, crdma_ucp_status(op->endpoint, status));
    }
    crdma_ucp_op_release(op);
}

static void on_flag(void *request, ucs_status_t status, void *arg)
{
    ucp_request_free(request);
    if (UCS_OK != status) {
        crdma_ucp_tx_finish(arg, crdma_ucp_status(((crdma_ucp_op_t *)arg)->endpoint, status));
    }
    crdma_ucp_op_release(arg);
}

static void on_flush(void *request, ucs_status_t status, void *arg)
{
    crdma_ucp_state_t *s = &crdma_ucp_state;
    crdma_ucp_op_t *op = arg;

    ucp_request_free(request);
    if (UCS_OK != status) {
        op->endpoint->deferred -= CRDMA_UCP_STEP_FLAG == op->step;
        crdma_ucp_tx_finish(op, crdma_ucp_status(op->endpoint, status));
        crdma_ucp_op_release(op);
        return;
    }
    op->todo = NULL;
    *s->todo_last = op;
    s->todo_last = &op->todo;
}

/* Account for what a UCX call returned: a request that `op` waits for, done, or an error. */
crdma_status_t crdma_ucp_started(crdma_ucp_op_t *op, ucs_status_ptr_t request)
{
    if (UCS_PTR_IS_PTR(request)) {
        ++op->requests;
        return CRDMA_OK;
    }
    return crdma_ucp_status(op->endpoint, UCS_PTR_STATUS(request));
}

ucp_request_param_t crdma_ucp_callback(crdma_ucp_op_t *op, ucp_send_nbx_callback_t function)
{
    return (ucp_request_param_t){.op_attr_mask =
                                     UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA,
                                 .cb.send = function,
                                 .user_data = op};
}

crdma_status_t crdma_ucp_issue_payload(crdma_ucp_op_t *op, const void *src, uint64_t address,
                                       ucp_rkey_h rkey, size_t len)
{
    ucp_request_param_t param = crdma_ucp_callback(op, crdma_ucp_on_source);
    ucs_status_ptr_t request;

    crdma_ucp_gpu_local(src, &param);
    request = ucp_put_nbx(op->endpoint->ep, src, len, address, rkey, &param);
    op->source_busy = UCS_PTR_IS_PTR(request);
    return crdma_ucp_started(op, request);
}

crdma_status_t crdma_ucp_issue_flag(crdma_ucp_op_t *op)
{
    crdma_ucp_endpoint_t *e = op->endpoint;
    ucp_request_param_t param = crdma_ucp_callback(op, on_flag);

    op->flag_due = false;
    return crdma_ucp_started(op, ucp_put_nbx(e->ep, &op->message.flag, sizeof(op->message.flag),
                                             e->base + op->message.flag_dst, e->slab_rkey, &param));
}

crdma_status_t crdma_ucp_issue_fenced_flag(crdma_ucp_op_t *op)
{
    ucs_status_t status = ucp_worker_fence(crdma_ucp_state.worker);

    return UCS_OK == status ? crdma_ucp_issue_flag(op) : crdma_ucp_status(op->endpoint, status);
}

crdma_status_t crdma_ucp_issue_flush(crdma_ucp_op_t *op, enum crdma_ucp_step step, bool *complete)
{
    ucp_request_param_t param = crdma_ucp_callback(op, on_flush);
    ucs_status_ptr_t request = ucp_ep_flush_nbx(op->endpoint->ep, &param);

    op->step = step;
    *complete = NULL == request;
    return crdma_ucp_started(op, request);
}

/* The caller's part of an operation is over: finish it now unless a callback will. */
crdma_status_t crdma_ucp_op_leave(crdma_ucp_op_t *op, crdma_status_t rc)
{
    if (CRDMA_OK != rc) {
        crdma_tx_t *tx = op->tx;

        /* The caller gets the status as the result, so tx must look as before. */
        if (NULL != tx) {
            op->tx = NULL;
            __atomic_sub_fetch(&tx->pending, 1, __ATOMIC_RELEASE);
        }
    } else if (!op->source_busy && !op->flag_due) {
        crdma_ucp_tx_finish(op, CRDMA_OK);
    }
    crdma_ucp_op_release(op);
    return rc;
}

void crdma_ucp_settle(crdma_ucp_endpoint_t *e)
{
    crdma_ucp_op_t *op;
    bool complete;

    if (e->settling || NULL == (op = crdma_ucp_op_get(e, NULL))) {
        return;
    }
    e->settling = true;
    if (CRDMA_OK == crdma_ucp_issue_flush(op, CRDMA_UCP_STEP_SETTLED, &complete) && complete) {
        crdma_ucp_endpoint_settled(e);
    }
    crdma_ucp_op_release(op);
}

/* All that was sent so far has been stored by the peer when tx drops. A flush waits for puts only,
 * so a put follows the messages, in whose lane it is. */
void crdma_ucp_drain(crdma_ucp_endpoint_t *e, crdma_tx_t *tx)
{
    static const uint64_t zero;
    crdma_ucp_op_t *op = crdma_ucp_op_get(e, tx);
    crdma_status_t rc = CRDMA_OK;
    bool complete = true;

    if (NULL == op) {
        return;
    }
    if (e->messages && NULL != e->slab_rkey) {
        rc = crdma_ucp_issue_payload(op, &zero, e->base + CRDMA_UCP_SCRATCH, e->slab_rkey,
                                     sizeof(zero));
        e->messages = false;
    }
    op->flag_due = true; /* the end of the flush, not of the put, finishes tx */
    if (CRDMA_OK == rc) {
        rc = crdma_ucp_issue_flush(op, CRDMA_UCP_STEP_NONE, &complete);
    }
    if (CRDMA_OK != rc || complete) {
        op->flag_due = false;
        op->source_busy = false;
    }
    (void)crdma_ucp_op_leave(op, rc);
}

/* Do what flushes that have completed were for. */
void crdma_ucp_todo_run(void)
{
    crdma_ucp_state_t *s = &crdma_ucp_state;

    while (NULL != s->todo_first) {
        crdma_ucp_op_t *op = s->todo_first;
        crdma_status_t rc = CRDMA_OK;

        s->todo_first = op->todo;
        if (NULL == s->todo_first) {
            s->todo_last = &s->todo_first;
        }
        op->endpoint->deferred -= CRDMA_UCP_STEP_FLAG == op->step;
        if (op->endpoint->failed) {
            rc = CRDMA_ERR_PEER;
        } else if (CRDMA_UCP_STEP_FLAG == op->step) {
            rc = crdma_ucp_issue_fenced_flag(op);
        } else if (CRDMA_UCP_STEP_SETTLED == op->step) {
            crdma_ucp_endpoint_settled(op->endpoint);
        } else {
            op->flag_due = false;
        }
        if (CRDMA_OK != rc || (!op->source_busy && !op->flag_due)) {
            crdma_ucp_tx_finish(op, rc);
        }
        crdma_ucp_op_release(op);
    }
    crdma_ucp_landings_run();
    if (s->reap) {
        crdma_ucp_endpoints_reap();
    }
}
