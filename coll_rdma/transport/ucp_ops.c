/*
 * The operations over UCP: the transport's entry points.
 *
 * put and get are UCX's. put_flagged keeps the flag behind the payload in one of these ways
 * (ucp_order.c says which, and why it is right):
 *
 *   weak, ep_based   put payload; fence; put flag
 *   flush            put payload; flush; when that has completed, progress() puts the flag
 *   message          one active message with payload and flag; ucp_message.c says when and why
 *
 * Until an endpoint has settled, UCX may still move it from the lanes of the handshake to its final
 * lanes, and operations queued in between are replayed lane by lane. Until then only flush
 * is used; the first operation on an endpoint starts a flush whose end says that it has settled.
 */
#include "coll_rdma/transport/ucp_internal.h"

static int ucp_progress(void)
{
    crdma_ucp_state_t *s = &crdma_ucp_state;
    int events = 0;

    if (!s->open || 0 != pthread_mutex_trylock(&s->lock)) {
        return 0; /* another thread is at it, or this one further up its stack */
    }
    if (s->open) {
        events = (int)ucp_worker_progress(s->worker);
        if (NULL != s->todo_first || NULL != s->landings || s->reap) {
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
    *out = crdma_ucp_op_get(e, tx);
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

    rc = crdma_ucp_op_leave(op, rc);
    if (CRDMA_OK == rc && !e->settling) {
        crdma_ucp_settle(e);
    }
    pthread_mutex_unlock(&crdma_ucp_state.lock);
    return rc;
}

static crdma_status_t put(crdma_peer_t *peer, const void *src, crdma_addr_t dst, size_t len,
                          crdma_tx_t *tx)
{
    crdma_ucp_op_t *op;
    crdma_status_t rc = begin(peer, tx, NULL, &op);

    if (CRDMA_OK != rc) {
        return rc;
    }
    if (crdma_ucp_by_message(op->endpoint)) {
        op->message = (crdma_ucp_message_t){.dst = dst};
        return finish(op, crdma_ucp_issue_message(op, src, len));
    }
    return finish(op, crdma_ucp_issue_payload(op, src, op->endpoint->base + dst,
                                              op->endpoint->slab_rkey, len));
}

static crdma_ucp_order_t order_now(const crdma_ucp_endpoint_t *e, const crdma_ucp_rkey_t *rkey)
{
    crdma_ucp_order_t order = crdma_ucp_state.order;

    if (0 < e->deferred && CRDMA_UCP_ORDER_REVERSED != order && CRDMA_UCP_ORDER_NONE != order) {
        return CRDMA_UCP_ORDER_FLUSH; /* flags stay in order: behind the one that still waits */
    }
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
    if (CRDMA_UCP_ORDER_REVERSED == order) {
        rc = crdma_ucp_issue_flag(op);
        return CRDMA_OK == rc && 0 < len ? crdma_ucp_issue_payload(op, src, address, rkey, len) : rc;
    }
    /* A flag alone still follows all that was put before. */
    rc = 0 < len ? crdma_ucp_issue_payload(op, src, address, rkey, len) : CRDMA_OK;
    if (CRDMA_OK != rc) {
        return rc;
    }
    if (CRDMA_UCP_ORDER_FLUSH == order) {
        rc = crdma_ucp_issue_flush(op, CRDMA_UCP_STEP_FLAG, &complete);
        op->endpoint->deferred += CRDMA_OK == rc && !complete;
        return CRDMA_OK == rc && complete ? crdma_ucp_issue_fenced_flag(op) : rc;
    }
    return CRDMA_UCP_ORDER_NONE == order ? crdma_ucp_issue_flag(op)
                                         : crdma_ucp_issue_fenced_flag(op);
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
    if (crdma_ucp_by_message(op->endpoint)) {
        return finish(op, crdma_ucp_issue_message(op, src, len));
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
    crdma_status_t rc = begin(peer, tx, NULL, &op);

    if (CRDMA_OK != rc) {
        return rc;
    }
    op->message = (crdma_ucp_message_t){
        .dst = dst->address + offset, .flag_dst = flag_dst, .flag = *flag_src, .to_user = true};
    if (crdma_ucp_by_message(op->endpoint)) {
        return finish(op, crdma_ucp_issue_message(op, src, len));
    }
    rc = crdma_ucp_rkey_get(op->endpoint, dst, &op->rkey);
    if (CRDMA_OK == rc) {
        rc = ordered_puts(op, src, op->message.dst, op->rkey->handle, len);
    }
    return finish(op, rc);
}

static crdma_status_t issue_get(crdma_ucp_op_t *op, void *dst, uint64_t address, ucp_rkey_h rkey,
                                size_t len)
{
    ucp_request_param_t param = crdma_ucp_callback(op, crdma_ucp_on_source);
    ucs_status_ptr_t request;

    crdma_ucp_gpu_local(dst, &param);
    request = ucp_get_nbx(op->endpoint->ep, dst, len, address, rkey, &param);
    op->source_busy = UCS_PTR_IS_PTR(request);
    return crdma_ucp_started(op, request);
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

/* By tcp with its system calls (UCX 1.13, AMD EPYC, 16 emulated hosts: what fits best, select/network.c),
 * and by a network adapter (UCX's own estimate). */
static uint64_t overhead(const crdma_peer_t *peer)
{
    const crdma_ucp_endpoint_t *e = peer->endpoint;

    return e->emulated ? 14000 : 500;
}

static const crdma_transport_t operations = {.name = "ucp",
                                             .caps = CRDMA_CAP_GET | CRDMA_CAP_TARGET_PROGRESS,
                                             .open = crdma_ucp_open,
                                             .close = crdma_ucp_close,
                                             .card = crdma_ucp_card,
                                             .describe = crdma_ucp_describe,
                                             .attach = crdma_ucp_attach,
                                             .detach = crdma_ucp_detach,
                                             .put = put,
                                             .put_flagged = put_flagged,
                                             .put_user_flagged = put_user_flagged,
                                             .get = get,
                                             .get_user = get_user,
                                             .expose = crdma_ucp_expose,
                                             .conceal = crdma_ucp_conceal,
                                             .device_possible = crdma_ucp_device_possible,
                                             .device_enter = crdma_ucp_device_enter,
                                             .device_leave = crdma_ucp_device_leave,
                                             .progress = ucp_progress,
                                             .alive = crdma_ucp_alive,
                                             .overhead = overhead};

const crdma_transport_t *crdma_ucp_transport(void)
{
    return &operations;
}
