/*
 * LL and slot messages, and the choice between them and rendezvous.
 *
 * Slot, direct peer: slot.h. Remote peer: the sender
 * builds the block in its shadow and puts payload and flag in the order that put_flagged
 * guarantees. Shadow blocks need no completion count: a block is reused only when the receiver
 * has consumed it, so the put that read it is over.
 */
#include "coll_rdma/protocol/message.h"

#include <string.h>

#include "coll_rdma/protocol/ll.h"
#include "coll_rdma/protocol/rendezvous.h"
#include "coll_rdma/protocol/slot.h"

const char *crdma_protocol_name(crdma_protocol_t protocol)
{
    static const char *const names[] = {"ll", "slot", "rendezvous"};

    return (unsigned) protocol < 3 ? names[protocol] : "unknown";
}

void crdma_send_start(crdma_send_t *send, crdma_edge_t *edge, const crdma_rndv_mode_t *rndv,
                      const void *src, size_t len, size_t chunk, uint64_t sig)
{
    *send = (crdma_send_t) {.edge = edge,
                            .rndv = rndv,
                            .src = src,
                            .len = len,
                            .chunk = chunk,
                            .sig = sig,
                            .protocol = crdma_protocol_of(edge->geometry, rndv, len),
                            .position = edge->tx_next};
    edge->tx_next += crdma_message_positions(send->protocol, len, chunk);
    if (CRDMA_PROTOCOL_SLOT == send->protocol) {
        send->turn = edge->tx_started;
        edge->tx_started += edge->tx_next - send->position;
    }
}

static crdma_status_t send_ll(crdma_send_t *send)
{
    crdma_edge_t *edge = send->edge;
    uint64_t *cell;

    if (!crdma_edge_has_credit(edge, send->position, edge->geometry->cell_count)) {
        return CRDMA_AGAIN;
    }
    cell = crdma_ring_cell(edge->geometry, edge->tx_ring, send->position);
    crdma_ll_encode(cell, send->position, send->sig, send->src, send->len);
    if (edge->remote) {
        return edge->peer->transport->put(
            edge->peer, cell, edge->tx_addr + (crdma_addr_t) ((char *) cell - edge->tx_ring),
            crdma_ll_words(send->len) * sizeof(*cell), &edge->tx);
    }
    return CRDMA_OK;
}

static crdma_status_t put_remote_slot(crdma_send_t *send, const char *src, size_t n)
{
    crdma_edge_t *edge = send->edge;
    crdma_slot_t *slot = crdma_edge_tx_block(edge, send->position);
    const crdma_addr_t there = edge->tx_addr + (crdma_addr_t) ((char *) slot - edge->tx_ring);

    if (!crdma_edge_has_credit(edge, send->position, edge->tx_geometry->slot_count)) {
        return CRDMA_AGAIN;
    }
    if (0 < n) { /* src may be NULL */
        memcpy(crdma_slot_payload(slot), src, n);
    }
    slot->sig = send->sig;
    slot->flag = send->position << 32 | n;
    return edge->peer->transport->put_flagged(
        edge->peer, &slot->sig, there + offsetof(crdma_slot_t, sig),
        CRDMA_LINE - offsetof(crdma_slot_t, sig) + n, &slot->flag, there, &edge->tx);
}

static crdma_status_t send_slots(crdma_send_t *send)
{
    crdma_edge_t *edge = send->edge;

    do {
        const size_t left = send->len - send->off;
        const size_t n = left < send->chunk ? left : send->chunk;
        const char *src = send->src + send->off;

        if (edge->remote) {
            const crdma_status_t status = put_remote_slot(send, src, n);

            if (0 > status || CRDMA_AGAIN == status) {
                return status;
            }
        } else if (send->turn != edge->tx_written
                   || !crdma_slot_put(edge, send->position, send->token, send->sig, src, n,
                                      crdma_edge_stages(edge, send->len))) {
            return CRDMA_AGAIN;
        }
        ++send->turn;
        send->off += n;
        ++send->position;
    } while (send->off < send->len);
    return CRDMA_OK;
}

crdma_status_t crdma_send_progress(crdma_send_t *send)
{
    crdma_status_t status = crdma_edge_open(send->edge);

    if (CRDMA_OK != status) {
        return status;
    }
    if (CRDMA_OK != send->edge->tx.status) {
        return send->edge->tx.status;
    }
    if (NULL != send->device && CRDMA_PROTOCOL_RNDV != send->protocol) {
        status = crdma_send_fetch(send);
        if (CRDMA_OK != status) {
            return status;
        }
    }
    switch (send->protocol) {
    case CRDMA_PROTOCOL_LL:
        status = send_ll(send);
        break;
    case CRDMA_PROTOCOL_SLOT:
        status = send_slots(send);
        break;
    default:
        return crdma_rndv_send(send);
    }
    if (CRDMA_OK == status && NULL != send->stage) {
        crdma_rndv_send_release(send);
    }
    return 0 > status || CRDMA_AGAIN == status ? status : CRDMA_OK;
}

void crdma_recv_start(crdma_recv_t *recv, crdma_edge_t *edge, const crdma_rndv_mode_t *rndv,
                      size_t len, size_t chunk, uint64_t sig)
{
    *recv = (crdma_recv_t) {.edge = edge,
                            .rndv = rndv,
                            .len = len,
                            .chunk = chunk,
                            .sig = sig,
                            .protocol = crdma_protocol_of(edge->geometry, rndv, len),
                            .position = edge->rx_next};
    edge->rx_next += crdma_message_positions(recv->protocol, len, chunk);
}

crdma_status_t crdma_recv_peek(crdma_recv_t *recv, char *scratch, const char **data, size_t *len)
{
    crdma_edge_t *edge = recv->edge;
    crdma_slot_t *slot;
    uint64_t flag;

    if (CRDMA_PROTOCOL_LL == recv->protocol) {
        uint64_t sig = recv->sig;

        if (!crdma_ll_decode(crdma_ring_cell(edge->geometry, edge->rx_ring, recv->position),
                             recv->position, &sig, scratch, recv->len)) {
            return CRDMA_AGAIN;
        }
        if (sig != recv->sig) {
            edge->seen_sig = sig;
            return CRDMA_ERR_MISMATCH;
        }
        *data = scratch;
        *len = recv->len;
        return CRDMA_OK;
    }
    *len = recv->len - recv->off < recv->chunk ? recv->len - recv->off : recv->chunk;
    if (!edge->remote) {
        return crdma_slot_look(edge, recv->position, recv->sig, *len, data, &recv->flag);
    }
    slot = crdma_edge_rx_block(edge, recv->position);
    flag = __atomic_load_n(&slot->flag, __ATOMIC_ACQUIRE);
    if (flag >> 32 != (uint32_t) recv->position) {
        return CRDMA_AGAIN;
    }
    /* equal signatures, but another length: another size of elements */
    if (slot->sig != recv->sig || *len != (uint32_t) flag) {
        edge->seen_sig = slot->sig;
        return CRDMA_ERR_MISMATCH;
    }
    *data = crdma_slot_payload(slot);
    return CRDMA_OK;
}

crdma_status_t crdma_recv_pop(crdma_recv_t *recv, size_t len)
{
    crdma_edge_t *edge = recv->edge;
    const uint64_t position = recv->position++;

    recv->off += len;
    return edge->remote || CRDMA_PROTOCOL_SLOT != recv->protocol
               ? crdma_edge_consume(edge, position, false)
               : crdma_slot_take(edge, position, recv->flag);
}

crdma_status_t crdma_recv_progress(crdma_recv_t *recv, char *dst)
{
    if (CRDMA_PROTOCOL_RNDV == recv->protocol) {
        return crdma_rndv_recv(recv, dst);
    }
    do {
        const char *data;
        size_t len;
        crdma_status_t status = crdma_recv_peek(recv, dst, &data, &len);

        if (CRDMA_OK != status) {
            return status;
        }
        if (CRDMA_PROTOCOL_SLOT == recv->protocol && 0 < len) {
            memcpy(dst + recv->off, data, len);
        }
        status = crdma_recv_pop(recv, len);
        if (CRDMA_OK != status && CRDMA_AGAIN != status) {
            return status;
        }
    } while (recv->off < recv->len);
    return CRDMA_OK;
}
