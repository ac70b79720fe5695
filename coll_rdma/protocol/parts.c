/*
 * Messages of reductions by parts; the numbers are those of parts.h.
 */
#include "coll_rdma/protocol/parts.h"

#include "coll_rdma/protocol/rendezvous.h"
#include "coll_rdma/transport/shm.h"

static crdma_slot_t *slot_of(const crdma_recv_t *recv)
{
    return crdma_edge_rx_block(recv->edge, recv->position);
}

void crdma_parts_send(crdma_send_t *send, crdma_edge_t *edge, const crdma_rndv_mode_t *rndv,
                      const void *in, void *out, size_t len, uint64_t sig)
{
    *send = (crdma_send_t){.edge = edge,
                           .rndv = rndv,
                           .src = in,
                           .out = out,
                           .by_parts = true,
                           .len = len,
                           .sig = sig,
                           .protocol = CRDMA_PROTOCOL_RNDV,
                           .position = edge->tx_next++};
}

void crdma_parts_recv(crdma_recv_t *recv, crdma_edge_t *edge, const crdma_rndv_mode_t *rndv,
                      size_t len, uint64_t sig)
{
    *recv = (crdma_recv_t){.edge = edge,
                           .rndv = rndv,
                           .len = len,
                           .sig = sig,
                           .protocol = CRDMA_PROTOCOL_RNDV,
                           .position = edge->rx_next++};
}

/* 1. */
crdma_status_t crdma_parts_post(crdma_send_t *send)
{
    crdma_edge_t *edge = send->edge;
    crdma_slot_t *slot = crdma_edge_tx_block(edge, send->position);

    if (send->posted) {
        if (crdma_edge_is_consumed(edge, send->position)) {
            return CRDMA_OK;
        }
        return 0 == __atomic_load_n(&slot->failed, __ATOMIC_RELAXED) ? CRDMA_AGAIN : CRDMA_ERR_PEER;
    }
    if (!crdma_edge_has_credit(edge, send->position, edge->tx_geometry->slot_count)) {
        return CRDMA_AGAIN;
    }
    slot->sig = send->sig;
    slot->src = (uint64_t)(uintptr_t)send->src;
    slot->dst = (uint64_t)(uintptr_t)send->out;
    slot->len = send->len;
    slot->next = slot->done = slot->failed = 0;
    if (send->rndv->mapped) {
        crdma_rndv_pages_t *pages = crdma_rndv_pages_of(slot);

        crdma_xpmem_expose(send->src, send->len, &pages->src);
        pages->dst = pages->src; /* one memory, one attachment: reductions allow no other overlap */
        if (send->out != send->src) {
            crdma_xpmem_expose(send->out, NULL != send->out ? send->len : 0, &pages->dst);
        }
    }
    __atomic_store_n(&slot->flag, send->position << 32, __ATOMIC_RELEASE);
    send->posted = true;
    return CRDMA_AGAIN;
}

crdma_status_t crdma_parts_claim(crdma_recv_t *recv)
{
    crdma_slot_t *slot;
    crdma_status_t status;

    if (recv->seen) {
        return CRDMA_OK;
    }
    status = crdma_rndv_descriptor(recv, &slot);
    if (CRDMA_OK == status) {
        status = crdma_rndv_take(recv); /* 2. */
    }
    if (CRDMA_OK == status && recv->rndv->mapped) {
        const crdma_rndv_pages_t *pages = crdma_rndv_pages_of(slot);

        recv->attachment = crdma_xpmem_attach(recv->edge->peer, &pages->src);
        recv->target = crdma_xpmem_attach(recv->edge->peer, &pages->dst);
    }
    return status;
}

bool crdma_parts_valid(const crdma_recv_t *recv)
{
    return 0 == __atomic_load_n(&slot_of(recv)->failed, __ATOMIC_ACQUIRE);
}

const char *crdma_parts_map(const crdma_recv_t *recv, size_t off, size_t len)
{
    return NULL == recv->attachment
               ? NULL
               : crdma_xpmem_at(recv->attachment, slot_of(recv)->src + off, len);
}

crdma_status_t crdma_parts_get(const crdma_recv_t *recv, char *dst, size_t off, size_t len)
{
    return crdma_shm_read(recv->edge->peer, dst, slot_of(recv)->src + off, len);
}

crdma_status_t crdma_parts_put(crdma_recv_t *recv, const char *src, size_t off, size_t len)
{
    const uint64_t dst = slot_of(recv)->dst;

    if (0 == dst || crdma_rndv_store(recv->edge, recv->target, dst + off, src, len)) {
        return CRDMA_OK;
    }
    return crdma_shm_write(recv->edge->peer, src, dst + off, len);
}

static void detach(crdma_recv_t *recv)
{
    crdma_xpmem_detach(recv->edge->peer, recv->attachment);
    crdma_xpmem_detach(recv->edge->peer, recv->target);
    recv->attachment = recv->target = NULL;
}

crdma_status_t crdma_parts_finish(crdma_recv_t *recv)
{
    crdma_status_t status = crdma_rndv_taken(recv); /* 3. */

    detach(recv);
    return CRDMA_OK == status ? crdma_edge_consume(recv->edge, recv->position, true) : status;
}

void crdma_parts_abandon(crdma_recv_t *recv)
{
    if (recv->seen && recv->position > recv->edge->rx_consumed) {
        __atomic_store_n(&slot_of(recv)->failed, 1, __ATOMIC_RELEASE);
        (void)crdma_rndv_taken(recv);
        recv->seen = false;
    }
    detach(recv);
}
