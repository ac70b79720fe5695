/*
 * LL and slot messages, and the choice between them and rendezvous.
 *
 * Slot, direct peer: the sender copies into the peer's block, or larger chunks into its own stage
 * (stage.h), then stores the flag (release); the receiver loads the flag (acquire) and reads the
 * chunk where it is. Remote peer: the sender
 * builds the block in its shadow and puts payload and flag in the order that put_flagged
 * guarantees. Shadow blocks need no completion count: a block is reused only when the receiver
 * has consumed it, so the put that read it is over.
 */
#include "coll_rdma/protocol/message.h"

#include <string.h>

#include "coll_rdma/protocol/ll.h"
#include "coll_rdma/protocol/rendezvous.h"
#include "coll_rdma/protocol/stage.h"

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

static crdma_status_t send_slots(crdma_send_t *send)
{
    crdma_edge_t *edge = send->edge;

    while (send->off < send->len) {
        const size_t left = send->len - send->off;
        const size_t n = left < send->chunk ? left : send->chunk;
        const uint64_t flag = send->position << 32 | n;
        crdma_slot_t *slot;

        if (!crdma_edge_has_credit(edge, send->position, edge->tx_geometry->block_count)) {
            return CRDMA_AGAIN;
        }
        slot = crdma_edge_tx_block(edge, send->position);
        slot->src = send->len >= edge->stage_min
                        ? crdma_stage_put(edge->stage, edge, send->position, send->token,
                                          send->src + send->off, n)
                        : 0;
        if (0 == slot->src) {
            memcpy(crdma_slot_payload(slot), send->src + send->off, n);
        }
        slot->sig = send->sig;
        if (edge->remote) {
            const crdma_addr_t there = edge->tx_addr
                                       + (crdma_addr_t) ((char *) slot - edge->tx_ring);
            crdma_status_t status;

            slot->flag = flag;
            status = edge->peer->transport->put_flagged(
                edge->peer, &slot->sig, there + offsetof(crdma_slot_t, sig),
                CRDMA_LINE - offsetof(crdma_slot_t, sig) + n, &slot->flag, there, &edge->tx);
            if (0 > status) {
                return status;
            }
        } else {
            __atomic_store_n(&slot->flag, flag, __ATOMIC_RELEASE);
        }
        send->off += n;
        ++send->position;
    }
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
    slot = crdma_edge_rx_block(edge, recv->position);
    flag = __atomic_load_n(&slot->flag, __ATOMIC_ACQUIRE);
    if (flag >> 32 != (uint32_t) recv->position) {
        return CRDMA_AGAIN;
    }
    if (slot->sig != recv->sig) {
        edge->seen_sig = slot->sig;
        return CRDMA_ERR_MISMATCH;
    }
    *len = recv->len - recv->off < recv->chunk ? recv->len - recv->off : recv->chunk;
    if (*len != (uint32_t) flag) { /* equal signatures, but another size of elements */
        edge->seen_sig = slot->sig;
        return CRDMA_ERR_MISMATCH;
    }
    *data = edge->remote || 0 == slot->src ? crdma_slot_payload(slot)
                                           : edge->peer->map + slot->src;
    return CRDMA_OK;
}

crdma_status_t crdma_recv_pop(crdma_recv_t *recv, size_t len)
{
    recv->off += len;
    return crdma_edge_consume(recv->edge, recv->position++, false);
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
        if (CRDMA_PROTOCOL_SLOT == recv->protocol) {
            memcpy(dst + recv->off, data, len);
        }
        status = crdma_recv_pop(recv, len);
        if (CRDMA_OK != status && CRDMA_AGAIN != status) {
            return status;
        }
    } while (recv->off < recv->len);
    return CRDMA_OK;
}
