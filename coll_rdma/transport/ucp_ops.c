/*
 * The operations over UCP.
 *
 * put and get are UCX's. put_flagged keeps the flag behind the payload in one of these ways
 * (ucp_order.c says which, and why it is right):
 *
 *   weak, ep_based   put payload; fence; put flag
 *   flush            put payload; flush; when that has completed, progress() puts the flag
 *   message          one active message with payload and flag; the target stores the one, then
 *                    the other
 *
 * Message is for endpoints without real remote writes (tcp, ud, shared memory that UCX did not
 * allocate). There UCX emulates each put by an active message anyway and has each acknowledged
 * by another, so that payload and flag as puts cost four messages instead of one.
 *
 * Until an endpoint has settled, UCX may still move it from the lanes of the handshake to its final
 * lanes, and operations queued in between are replayed lane by lane. Until then only flush
 * is used; the first operation on an endpoint starts a flush whose end says that it has settled.
 */
#include "coll_rdma/transport/ucp_internal.h"

#include <stdlib.h>
#include <string.h>

#include "coll_rdma/base/log.h"

enum {
    OPS_PER_CHUNK = 64,
    MESSAGE_MAX = 8192 /* bytes of payload */
};

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

static crdma_ucp_op_t *op_get(crdma_ucp_endpoint_t *e, crdma_tx_t *tx)
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

static void op_release(crdma_ucp_op_t *op)
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
static void on_source(void *request, ucs_status_t status, void *arg)
{
    crdma_ucp_op_t *op = arg;

    ucp_request_free(request);
    op->source_busy = false;
    if (UCS_OK != status || !op->flag_due) {
        crdma_ucp_tx_finish(op, crdma_ucp_status(op->endpoint, status));
    }
    op_release(op);
}

static void on_flag(void *request, ucs_status_t status, void *arg)
{
    ucp_request_free(request);
    if (UCS_OK != status) {
        crdma_ucp_tx_finish(arg, crdma_ucp_status(((crdma_ucp_op_t *)arg)->endpoint, status));
    }
    op_release(arg);
}

static void on_flush(void *request, ucs_status_t status, void *arg)
{
    crdma_ucp_state_t *s = &crdma_ucp_state;
    crdma_ucp_op_t *op = arg;

    ucp_request_free(request);
    if (UCS_OK != status) {
        crdma_ucp_tx_finish(op, crdma_ucp_status(op->endpoint, status));
        op_release(op);
        return;
    }
    op->todo = NULL;
    *s->todo_last = op;
    s->todo_last = &op->todo;
}

/* Account for what a UCX call returned: a request that `op` waits for, done, or an error. */
static crdma_status_t started(crdma_ucp_op_t *op, ucs_status_ptr_t request)
{
    if (UCS_PTR_IS_PTR(request)) {
        ++op->requests;
        return CRDMA_OK;
    }
    return crdma_ucp_status(op->endpoint, UCS_PTR_STATUS(request));
}

static ucp_request_param_t callback(crdma_ucp_op_t *op, ucp_send_nbx_callback_t function)
{
    return (ucp_request_param_t){.op_attr_mask =
                                     UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA,
                                 .cb.send = function,
                                 .user_data = op};
}

static crdma_status_t issue_payload(crdma_ucp_op_t *op, const void *src, uint64_t address,
                                    ucp_rkey_h rkey, size_t len)
{
    ucp_request_param_t param = callback(op, on_source);
    ucs_status_ptr_t request = ucp_put_nbx(op->endpoint->ep, src, len, address, rkey, &param);

    op->source_busy = UCS_PTR_IS_PTR(request);
    return started(op, request);
}

static crdma_status_t issue_flag(crdma_ucp_op_t *op)
{
    crdma_ucp_endpoint_t *e = op->endpoint;
    ucp_request_param_t param = callback(op, on_flag);

    op->flag_due = false;
    return started(op, ucp_put_nbx(e->ep, &op->message.flag, sizeof(op->message.flag),
                                   e->base + op->message.flag_dst, e->slab_rkey, &param));
}

static crdma_status_t issue_fenced_flag(crdma_ucp_op_t *op)
{
    ucs_status_t status = ucp_worker_fence(crdma_ucp_state.worker);

    return UCS_OK == status ? issue_flag(op) : crdma_ucp_status(op->endpoint, status);
}

static crdma_status_t issue_flush(crdma_ucp_op_t *op, enum crdma_ucp_step step, bool *complete)
{
    ucp_request_param_t param = callback(op, on_flush);
    ucs_status_ptr_t request = ucp_ep_flush_nbx(op->endpoint->ep, &param);

    op->step = step;
    *complete = NULL == request;
    return started(op, request);
}

static crdma_status_t issue_message(crdma_ucp_op_t *op, const void *src, size_t len)
{
    ucp_request_param_t param = callback(op, on_source);
    ucs_status_ptr_t request;

    param.op_attr_mask |= UCP_OP_ATTR_FIELD_FLAGS;
    param.flags = UCP_AM_SEND_FLAG_EAGER;
    request = ucp_am_send_nbx(op->endpoint->ep, CRDMA_UCP_MESSAGE_ID, &op->message,
                              sizeof(op->message), src, len, &param);
    op->source_busy = UCS_PTR_IS_PTR(request);
    op->endpoint->messages = true;
    return started(op, request);
}

/* The caller's part of an operation is over: finish it now unless a callback will. */
static crdma_status_t leave(crdma_ucp_op_t *op, crdma_status_t rc)
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
    op_release(op);
    return rc;
}

/* Store what a message brings. Words are stored whole, the flag after the payload. Pairs with
 * the acquiring load of the flag by whoever polls it. */
ucs_status_t crdma_ucp_message_receive(void *arg, const void *header, size_t header_length,
                                       void *data, size_t length, const ucp_am_recv_param_t *param)
{
    const crdma_slab_t *slab = crdma_ucp_state.slab;
    crdma_ucp_message_t m;

    (void)arg;
    (void)param;
    if (sizeof(m) != header_length) {
        return UCS_OK;
    }
    memcpy(&m, header, sizeof(m));
    if (m.dst > slab->size || length > slab->size - m.dst ||
        m.flag_dst > slab->size - sizeof(m.flag) || 0 != m.flag_dst % sizeof(m.flag)) {
        crdma_log(CRDMA_LOG_ERROR, "a message over UCX names memory that does not exist");
        return UCS_OK;
    }
    if (0 == m.dst % 8 && 0 == length % 8 && 256 >= length) {
        uint64_t *dst = crdma_slab_at(slab, m.dst);

        for (size_t i = 0; i < length / 8; ++i) {
            uint64_t word;

            memcpy(&word, (const char *)data + 8 * i, 8);
            __atomic_store_n(&dst[i], word, __ATOMIC_RELAXED);
        }
    } else if (0 < length) {
        memcpy(crdma_slab_at(slab, m.dst), data, length);
    }
    if (0 != m.flag_dst) {
        __atomic_store_n((uint64_t *)crdma_slab_at(slab, m.flag_dst), m.flag, __ATOMIC_RELEASE);
    }
    return UCS_OK;
}

void crdma_ucp_settle(crdma_ucp_endpoint_t *e)
{
    crdma_ucp_op_t *op;
    bool complete;

    if (e->settling || NULL == (op = op_get(e, NULL))) {
        return;
    }
    e->settling = true;
    if (CRDMA_OK == issue_flush(op, CRDMA_UCP_STEP_SETTLED, &complete) && complete) {
        crdma_ucp_endpoint_settled(e);
    }
    op_release(op);
}

/* All that was sent so far has been stored by the peer when tx drops. A flush waits for puts only,
 * so a put follows the messages, in whose lane it is. */
void crdma_ucp_drain(crdma_ucp_endpoint_t *e, crdma_tx_t *tx)
{
    static const uint64_t zero;
    crdma_ucp_op_t *op = op_get(e, tx);
    crdma_status_t rc = CRDMA_OK;
    bool complete = true;

    if (NULL == op) {
        return;
    }
    if (e->messages) {
        rc = issue_payload(op, &zero, e->base + CRDMA_UCP_SCRATCH, e->slab_rkey, sizeof(zero));
        e->messages = false;
    }
    op->flag_due = true; /* the end of the flush, not of the put, finishes tx */
    if (CRDMA_OK == rc) {
        rc = issue_flush(op, CRDMA_UCP_STEP_NONE, &complete);
    }
    if (CRDMA_OK != rc || complete) {
        op->flag_due = false;
        op->source_busy = false;
    }
    (void)leave(op, rc);
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
        if (op->endpoint->failed) {
            rc = CRDMA_ERR_PEER;
        } else if (CRDMA_UCP_STEP_FLAG == op->step) {
            rc = issue_fenced_flag(op);
        } else if (CRDMA_UCP_STEP_SETTLED == op->step) {
            crdma_ucp_endpoint_settled(op->endpoint);
        } else {
            op->flag_due = false;
        }
        if (CRDMA_OK != rc || (!op->source_busy && !op->flag_due)) {
            crdma_ucp_tx_finish(op, rc);
        }
        op_release(op);
    }
    if (s->reap) {
        crdma_ucp_endpoints_reap();
    }
}

static int ucp_progress(void)
{
    crdma_ucp_state_t *s = &crdma_ucp_state;
    int events = 0;

    if (!s->open || 0 != pthread_mutex_trylock(&s->lock)) {
        return 0; /* another thread is at it, or this one further up its stack */
    }
    if (s->open) {
        events = (int)ucp_worker_progress(s->worker);
        if (NULL != s->todo_first || s->reap) {
            crdma_ucp_todo_run();
        }
    }
    pthread_mutex_unlock(&s->lock);
    return events;
}

/* Lock, connect, take a record. On success the caller ends with finish(). */
static crdma_status_t begin(crdma_peer_t *peer, crdma_tx_t *tx, const crdma_exposed_t *exposed,
                            crdma_ucp_op_t **out)
{
    crdma_ucp_state_t *s = &crdma_ucp_state;
    crdma_ucp_endpoint_t *e = peer->endpoint;
    crdma_ucp_rkey_t *rkey = NULL;
    crdma_status_t rc = CRDMA_ERR_TRANSPORT;

    pthread_mutex_lock(&s->lock);
    if (!s->open) {
        goto fail;
    }
    rc = crdma_ucp_connect(e);
    if (CRDMA_OK == rc && NULL != exposed) {
        rc = crdma_ucp_rkey_get(e, exposed, &rkey);
    }
    if (CRDMA_OK != rc) {
        goto fail;
    }
    *out = op_get(e, tx);
    if (NULL == *out) {
        if (NULL != rkey) {
            crdma_ucp_rkey_put(rkey);
        }
        rc = CRDMA_ERR_NOMEM;
        goto fail;
    }
    (*out)->rkey = rkey;
    return CRDMA_OK;

fail:
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static crdma_status_t finish(crdma_ucp_op_t *op, crdma_status_t rc)
{
    crdma_ucp_endpoint_t *e = op->endpoint;

    rc = leave(op, rc);
    if (CRDMA_OK == rc && !e->settling) {
        crdma_ucp_settle(e);
    }
    pthread_mutex_unlock(&crdma_ucp_state.lock);
    return rc;
}

static bool by_message(const crdma_ucp_endpoint_t *e, size_t len)
{
    const crdma_ucp_state_t *s = &crdma_ucp_state;

    return s->use_messages && MESSAGE_MAX >= len &&
           ((e->settled && e->emulated) || s->only_messages);
}

static crdma_status_t put(crdma_peer_t *peer, const void *src, crdma_addr_t dst, size_t len,
                          crdma_tx_t *tx)
{
    crdma_ucp_op_t *op;
    crdma_status_t rc = begin(peer, tx, NULL, &op);

    if (CRDMA_OK != rc) {
        return rc;
    }
    if (by_message(op->endpoint, len)) {
        op->message = (crdma_ucp_message_t){.dst = dst};
        return finish(op, issue_message(op, src, len));
    }
    return finish(op,
                  issue_payload(op, src, op->endpoint->base + dst, op->endpoint->slab_rkey, len));
}

static crdma_ucp_order_t order_now(const crdma_ucp_endpoint_t *e, const crdma_ucp_rkey_t *rkey)
{
    crdma_ucp_order_t order = crdma_ucp_state.order;

    if (CRDMA_UCP_ORDER_WEAK == order && NULL != rkey && !rkey->slab_like) {
        return CRDMA_UCP_ORDER_FLUSH; /* payload and flag may take different lanes */
    }
    if ((CRDMA_UCP_ORDER_WEAK == order || CRDMA_UCP_ORDER_EP_BASED == order) &&
        (!e->settled || !e->closable)) {
        return CRDMA_UCP_ORDER_FLUSH; /* ep_based may block: never where the dead go unnoticed */
    }
    return order;
}

/* Payload as a put to address, then the flag in op->message. */
static crdma_status_t ordered_puts(crdma_ucp_op_t *op, const void *src, uint64_t address,
                                   ucp_rkey_h rkey, size_t len)
{
    crdma_ucp_order_t order = order_now(op->endpoint, op->rkey);
    crdma_status_t rc;
    bool complete;

    op->flag_due = true;
    if (0 == len) {
        return issue_flag(op);
    }
    if (CRDMA_UCP_ORDER_REVERSED == order) {
        rc = issue_flag(op);
        return CRDMA_OK == rc ? issue_payload(op, src, address, rkey, len) : rc;
    }
    rc = issue_payload(op, src, address, rkey, len);
    if (CRDMA_OK != rc) {
        return rc;
    }
    if (CRDMA_UCP_ORDER_FLUSH == order) {
        rc = issue_flush(op, CRDMA_UCP_STEP_FLAG, &complete);
        return CRDMA_OK == rc && complete ? issue_fenced_flag(op) : rc;
    }
    return CRDMA_UCP_ORDER_NONE == order ? issue_flag(op) : issue_fenced_flag(op);
}

static crdma_status_t put_flagged(crdma_peer_t *peer, const void *src, crdma_addr_t dst, size_t len,
                                  const uint64_t *flag_src, crdma_addr_t flag_dst, crdma_tx_t *tx)
{
    crdma_ucp_op_t *op;
    crdma_status_t rc = begin(peer, tx, NULL, &op);

    if (CRDMA_OK != rc) {
        return rc;
    }
    op->message = (crdma_ucp_message_t){.dst = dst, .flag_dst = flag_dst, .flag = *flag_src};
    if (by_message(op->endpoint, len)) {
        return finish(op, issue_message(op, src, len));
    }
    return finish(op,
                  ordered_puts(op, src, op->endpoint->base + dst, op->endpoint->slab_rkey, len));
}

static crdma_status_t put_user_flagged(crdma_peer_t *peer, const void *src,
                                       const crdma_exposed_t *dst, size_t offset, size_t len,
                                       const uint64_t *flag_src, crdma_addr_t flag_dst,
                                       crdma_tx_t *tx)
{
    crdma_ucp_op_t *op;
    crdma_status_t rc = begin(peer, tx, dst, &op);

    if (CRDMA_OK != rc) {
        return rc;
    }
    op->message = (crdma_ucp_message_t){.flag_dst = flag_dst, .flag = *flag_src};
    return finish(op, ordered_puts(op, src, dst->address + offset, op->rkey->handle, len));
}

static crdma_status_t issue_get(crdma_ucp_op_t *op, void *dst, uint64_t address, ucp_rkey_h rkey,
                                size_t len)
{
    ucp_request_param_t param = callback(op, on_source);
    ucs_status_ptr_t request = ucp_get_nbx(op->endpoint->ep, dst, len, address, rkey, &param);

    op->source_busy = UCS_PTR_IS_PTR(request);
    return started(op, request);
}

static crdma_status_t get(crdma_peer_t *peer, void *dst, crdma_addr_t src, size_t len,
                          crdma_tx_t *tx)
{
    crdma_ucp_op_t *op;
    crdma_status_t rc = begin(peer, tx, NULL, &op);

    if (CRDMA_OK != rc) {
        return rc;
    }
    return finish(op, issue_get(op, dst, op->endpoint->base + src, op->endpoint->slab_rkey, len));
}

static crdma_status_t get_user(crdma_peer_t *peer, void *dst, const crdma_exposed_t *src,
                               size_t offset, size_t len, crdma_tx_t *tx)
{
    crdma_ucp_op_t *op;
    crdma_status_t rc = begin(peer, tx, src, &op);

    if (CRDMA_OK != rc) {
        return rc;
    }
    return finish(op, issue_get(op, dst, src->address + offset, op->rkey->handle, len));
}

/* UCX keeps registrations in its own cache and drops them when the application gives the memory
 * back; a handle of ours lives as long as one operation. */
static crdma_status_t expose(void *address, size_t len, crdma_exposed_t *exposed, void **handle)
{
    crdma_ucp_state_t *s = &crdma_ucp_state;
    ucp_mem_map_params_t params = {.field_mask = UCP_MEM_MAP_PARAM_FIELD_ADDRESS |
                                                 UCP_MEM_MAP_PARAM_FIELD_LENGTH,
                                   .address = address,
                                   .length = len};
    crdma_status_t rc = CRDMA_ERR_TRANSPORT;
    ucp_mem_h memory = NULL;
    size_t key_length;
    ucs_status_t status;
    void *key;

    pthread_mutex_lock(&s->lock);
    if (!s->open) {
        goto unlock;
    }
    status = ucp_mem_map(s->context, &params, &memory);
    if (UCS_OK != status) {
        rc = crdma_ucp_status(NULL, status);
        goto unlock;
    }
    status = ucp_rkey_pack(s->context, memory, &key, &key_length);
    if (UCS_OK != status) {
        rc = crdma_ucp_status(NULL, status);
        goto unmap;
    }
    if (CRDMA_KEY_MAX < key_length) {
        crdma_log(CRDMA_LOG_ERROR, "a UCX key of %zu bytes is longer than %d", key_length,
                  CRDMA_KEY_MAX);
        ucp_rkey_buffer_release(key);
        goto unmap;
    }
    exposed->address = (uint64_t)(uintptr_t)address;
    exposed->key_length = (uint32_t)key_length;
    memcpy(exposed->key, key, key_length);
    ucp_rkey_buffer_release(key);
    *handle = memory;
    rc = CRDMA_OK;
    goto unlock;

unmap:
    (void)ucp_mem_unmap(s->context, memory);
unlock:
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static void conceal(void *handle)
{
    crdma_ucp_state_t *s = &crdma_ucp_state;

    pthread_mutex_lock(&s->lock);
    if (s->open && NULL != handle) {
        (void)ucp_mem_unmap(s->context, handle);
    }
    pthread_mutex_unlock(&s->lock);
}

static const crdma_transport_t operations = {.name = "ucp",
                                             .caps = CRDMA_CAP_GET | CRDMA_CAP_TARGET_PROGRESS,
                                             .put = put,
                                             .put_flagged = put_flagged,
                                             .put_user_flagged = put_user_flagged,
                                             .get = get,
                                             .get_user = get_user,
                                             .expose = expose,
                                             .conceal = conceal,
                                             .progress = ucp_progress};

const crdma_transport_t *crdma_ucp_transport(void)
{
    return &operations;
}
