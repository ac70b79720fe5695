/*
 * Rendezvous of data in GPU memory; the numbers are those of rendezvous.h.
 *
 * What is released before what:
 *   - the flag (5.) is stored when the data at src is complete in GPU memory: the engine sends from
 *     nothing that work still under way is writing (engine/device.c, invariant 1);
 *   - dst = STAGED (7.) is stored when the driver has said that the copy to host memory is
 *     complete;
 *   - `done` and the credit (6.) follow the driver's word that the receiver's work is complete.
 * A driver's word is an event that was queried: by then the writes of that work are visible to
 * whoever starts to read later, on this device or another, and the release store orders the message
 * behind it.
 */
#include "coll_rdma/protocol/rendezvous.h"

#include <string.h>

#include "coll_rdma/base/log.h"

_Static_assert(CRDMA_LINE + sizeof(crdma_cuda_name_t) <= CRDMA_SLOT_STRIDE, "a slot holds a name");

static crdma_status_t post(crdma_send_t *send, crdma_slot_t *slot)
{
    crdma_edge_t *edge = send->edge;
    crdma_cuda_name_t name;

    if (!crdma_edge_has_credit(edge, send->position, edge->tx_geometry->slot_count)) {
        return CRDMA_AGAIN;
    }
    crdma_cuda_call_name(send->device, send->src, &name);
    memcpy(crdma_slot_payload(slot), &name, sizeof(name));
    slot->sig = send->sig;
    slot->src = 0;
    slot->len = send->len;
    slot->dst = slot->next = slot->done = slot->failed = 0;
    __atomic_store_n(&slot->flag, send->position << 32 | CRDMA_RNDV_ON_DEVICE,
                     __ATOMIC_RELEASE); /* 5. */
    send->posted = true;
    return CRDMA_AGAIN;
}

/* Into host memory. CRDMA_OK when the copy is complete. */
static crdma_status_t copy_out(crdma_send_t *send)
{
    crdma_cuda_call_t *call = send->device;

    if (NULL == send->stage) {
        send->stage = crdma_cuda_stage_get(send->len, call->on_device);
        if (NULL == send->stage) {
            crdma_log(CRDMA_LOG_ERROR, "no host memory for %zu bytes of GPU data", send->len);
            return CRDMA_ERR_NOMEM;
        }
        send->ticket = crdma_cuda_work_copy(call->pipe, send->stage->data, send->src, send->len);
    }
    return crdma_cuda_work_poll(call->pipe, send->ticket);
}

crdma_status_t crdma_send_fetch(crdma_send_t *send)
{
    crdma_status_t status = CRDMA_OK;

    if (!send->staged) {
        status = copy_out(send);
        send->staged = CRDMA_OK == status;
        if (send->staged) {
            send->src = send->stage->data;
        }
    }
    return status;
}

/* 7. */
static crdma_status_t stage(crdma_send_t *send, crdma_slot_t *slot)
{
    crdma_status_t status = copy_out(send);

    if (CRDMA_OK != status) {
        return status;
    }
    send->staged = true;
    slot->src = (uint64_t)(uintptr_t)send->stage->data;
    /* Pairs with crdma_rndv_want. */
    __atomic_store_n(&slot->dst, CRDMA_RNDV_STAGED, __ATOMIC_RELEASE);
    return CRDMA_AGAIN;
}

crdma_status_t crdma_rndv_send_device(crdma_send_t *send)
{
    crdma_edge_t *edge = send->edge;
    crdma_slot_t *slot = crdma_edge_tx_block(edge, send->position);
    uint64_t wanted;

    if (!send->posted) {
        return post(send, slot);
    }
    if (crdma_edge_is_consumed(edge, send->position)) {
        crdma_rndv_send_release(send);
        return CRDMA_OK;
    }
    if (0 != __atomic_load_n(&slot->failed, __ATOMIC_RELAXED)) {
        return CRDMA_ERR_PEER;
    }
    wanted = __atomic_load_n(&slot->dst, __ATOMIC_ACQUIRE);
    if (0 == wanted || send->staged) {
        return CRDMA_AGAIN;
    }
    if (CRDMA_RNDV_REFUSED == wanted) {
        send->device->refused = true;
    }
    return stage(send, slot);
}

crdma_status_t crdma_rndv_send_enter(crdma_send_t *send)
{
    const crdma_peer_t *peer = send->edge->peer;
    const crdma_transport_t *t = peer->transport;

    if (NULL != send->memory) {
        return CRDMA_OK;
    }
    if (NULL == send->stage && NULL != t->device_enter &&
        CRDMA_OK == t->device_enter(peer, send->src, send->len, &send->memory)) {
        return CRDMA_OK;
    }
    return crdma_send_fetch(send);
}

bool crdma_rndv_recv_enter(crdma_recv_t *recv, void *dst)
{
    const crdma_peer_t *peer = recv->edge->peer;
    const crdma_transport_t *t = peer->transport;

    return NULL != recv->memory ||
           (NULL != t->device_enter &&
            CRDMA_OK == t->device_enter(peer, dst, recv->len, &recv->memory));
}

void crdma_rndv_recv_leave(crdma_recv_t *recv)
{
    recv->edge->peer->transport->device_leave(recv->memory);
    recv->memory = NULL;
}

bool crdma_rndv_send_is_open(const crdma_send_t *send)
{
    return CRDMA_PROTOCOL_RNDV == send->protocol && send->edge->remote &&
           (send->posted && !send->rndv->sender_copies ? true : 0 != send->tx.pending);
}

bool crdma_rndv_recv_is_open(const crdma_recv_t *recv)
{
    return NULL != recv->edge && CRDMA_PROTOCOL_RNDV == recv->protocol && recv->edge->remote &&
           (NULL != recv->grant || 0 != recv->tx.pending);
}

void crdma_rndv_send_release(crdma_send_t *send)
{
    if (NULL != send->memory) {
        send->edge->peer->transport->device_leave(send->memory);
        send->memory = NULL;
    }
    if (NULL != send->stage) {
        crdma_cuda_stage_put(send->stage);
        send->stage = NULL;
    }
}

crdma_status_t crdma_rndv_want(crdma_recv_t *recv, crdma_slot_t *slot)
{
    const uint64_t state = __atomic_load_n(&slot->dst, __ATOMIC_ACQUIRE);

    if (0 == state) {
        __atomic_store_n(&slot->dst, CRDMA_RNDV_WANTED, __ATOMIC_RELEASE);
    }
    recv->staged = CRDMA_RNDV_STAGED == state;
    return recv->staged ? CRDMA_OK : CRDMA_AGAIN;
}

crdma_status_t crdma_rndv_look(crdma_recv_t *recv, const crdma_cuda_name_t **name)
{
    crdma_slot_t *slot;
    crdma_status_t status = crdma_rndv_descriptor(recv, &slot);

    if (CRDMA_OK == status) {
        *name = CRDMA_RNDV_ON_DEVICE == (uint32_t)slot->flag
                    ? (const crdma_cuda_name_t *)crdma_slot_payload(slot)
                    : NULL;
    }
    return status;
}

static crdma_slot_t *slot_of(const crdma_recv_t *recv)
{
    return crdma_edge_rx_block(recv->edge, recv->position);
}

void crdma_rndv_refuse(crdma_recv_t *recv)
{
    __atomic_store_n(&slot_of(recv)->dst, CRDMA_RNDV_REFUSED, __ATOMIC_RELEASE);
}

crdma_status_t crdma_rndv_take(crdma_recv_t *recv)
{
    /* Pairs with withdraw in rendezvous.c: it takes what is left, here all or nothing. */
    if (0 != __atomic_fetch_add(&slot_of(recv)->next, recv->len, __ATOMIC_ACQ_REL)) {
        return CRDMA_ERR_PEER;
    }
    recv->seen = true;
    return CRDMA_OK;
}

crdma_status_t crdma_rndv_taken(crdma_recv_t *recv)
{
    crdma_slot_t *slot = slot_of(recv);

    __atomic_fetch_add(&slot->done, recv->len, __ATOMIC_RELEASE);
    return 0 == __atomic_load_n(&slot->failed, __ATOMIC_ACQUIRE) ? CRDMA_OK : CRDMA_ERR_PEER;
}
