/*
 * Rendezvous; the numbers in the comments are those of rendezvous.h.
 */
#include "coll_rdma/protocol/rendezvous.h"

#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include "coll_rdma/transport/shm.h"

/* Bytes that one side copies at a time: large enough to amortise a system call (about 0.5 us),
 * small enough that both sides finish together. */
static size_t chunk_of(size_t len)
{
    size_t chunk = len / 4;

    if (chunk > 256 * 1024) {
        chunk = 256 * 1024;
    } else if (chunk < 8 * 1024) {
        chunk = 8 * 1024;
    }
    return (chunk + 4095) & ~(size_t) 4095;
}

/* Step 3. Returns bytes copied by this call, or sets `failed`. */
static void copy_chunks(crdma_slot_t *slot, const crdma_peer_t *peer, char *local, uint64_t remote,
                        bool to_peer)
{
    const size_t len = slot->len;
    const size_t chunk = chunk_of(len);

    for (;;) {
        const uint64_t off = __atomic_fetch_add(&slot->next, chunk, __ATOMIC_RELAXED);
        crdma_status_t status;
        size_t n;

        if (off >= len) {
            return;
        }
        n = len - off < chunk ? len - off : chunk;
        status = to_peer ? crdma_shm_write(peer, local + off, remote + off, n)
                         : crdma_shm_read(peer, local + off, remote + off, n);
        if (CRDMA_OK != status) {
            __atomic_store_n(&slot->failed, 1, __ATOMIC_RELAXED);
        }
        __atomic_fetch_add(&slot->done, n, __ATOMIC_RELEASE);
    }
}

static crdma_status_t send_direct(crdma_send_t *send)
{
    crdma_edge_t *edge = send->edge;
    crdma_slot_t *slot = crdma_edge_tx_block(edge, send->position);
    uint64_t dst;

    if (!send->posted) {
        if (!crdma_edge_has_credit(edge, send->position, edge->geometry->slot_count)) {
            return CRDMA_AGAIN;
        }
        slot->sig = send->sig;
        slot->src = (uint64_t) (uintptr_t) send->src;
        slot->len = send->len;
        slot->dst = slot->next = slot->done = slot->failed = 0;
        __atomic_store_n(&slot->flag, send->position << 32, __ATOMIC_RELEASE); /* 1. */
        send->posted = true;
        return CRDMA_AGAIN;
    }
    if (crdma_edge_is_consumed(edge, send->position)) {
        return CRDMA_OK;
    }
    dst = __atomic_load_n(&slot->dst, __ATOMIC_ACQUIRE);
    if (0 == dst) {
        return CRDMA_AGAIN;
    }
    if (__atomic_load_n(&slot->next, __ATOMIC_RELAXED) < send->len) {
        copy_chunks(slot, edge->peer, (char *) send->src, dst, true);
    }
    if (__atomic_load_n(&slot->done, __ATOMIC_ACQUIRE) < send->len) {
        return CRDMA_AGAIN;
    }
    return 0 == __atomic_load_n(&slot->failed, __ATOMIC_RELAXED) ? CRDMA_OK : CRDMA_ERR_PEER;
}

static crdma_status_t send_remote_read(crdma_send_t *send)
{
    crdma_edge_t *edge = send->edge;
    const crdma_transport_t *t = edge->peer->transport;
    crdma_slot_t *slot = crdma_edge_tx_block(edge, send->position);
    crdma_addr_t there = edge->tx_addr + (crdma_addr_t) ((char *) slot - edge->tx_ring);
    crdma_exposed_t *descriptor = (crdma_exposed_t *) crdma_slot_payload(slot);
    crdma_status_t status;
    size_t len;

    if (!send->posted) {
        if (!crdma_edge_has_credit(edge, send->position, edge->geometry->slot_count)) {
            return CRDMA_AGAIN;
        }
        status = t->expose((void *) (uintptr_t) send->src, send->len, descriptor, &send->exposed);
        if (CRDMA_OK != status) {
            return status;
        }
        slot->sig = send->sig;
        slot->len = send->len;
        slot->flag = send->position << 32;
        len = CRDMA_LINE + offsetof(crdma_exposed_t, key) + descriptor->key_length;
        send->posted = true;
        status = t->put_flagged(edge->peer, &slot->sig, there + offsetof(crdma_slot_t, sig),
                                len - offsetof(crdma_slot_t, sig), &slot->flag, there, &send->tx);
        if (0 > status) {
            return status;
        }
    }
    if (!crdma_edge_is_consumed(edge, send->position) || 0 != send->tx.pending) {
        return CRDMA_AGAIN;
    }
    t->conceal(send->exposed);
    send->exposed = NULL;
    return send->tx.status;
}

static crdma_status_t send_remote_write(crdma_send_t *send)
{
    crdma_edge_t *edge = send->edge;
    const crdma_ring_geometry_t *g = edge->geometry;
    const crdma_transport_t *t = edge->peer->transport;
    crdma_slot_t *slot = crdma_edge_tx_block(edge, send->position);
    crdma_addr_t there = edge->tx_addr + (crdma_addr_t) ((char *) slot - edge->tx_ring);
    uint64_t *grant = (uint64_t *) (edge->rx_ring + crdma_ring_grant(g, send->position));
    crdma_status_t status;

    if (!send->posted) {
        if (!crdma_edge_has_credit(edge, send->position, edge->geometry->slot_count)) {
            return CRDMA_AGAIN;
        }
        slot->sig = send->sig;
        slot->len = send->len;
        slot->flag = send->position << 32;
        send->posted = true;
    }
    if (!send->written) {
        if (__atomic_load_n(grant, __ATOMIC_ACQUIRE) >> 32 != (uint32_t) send->position) {
            return CRDMA_AGAIN;
        }
        if (grant[1] != send->sig || grant[2] != send->len) { /* not a buffer for this message */
            edge->seen_sig = grant[1];
            return CRDMA_ERR_MISMATCH;
        }
        /* Cleared before the peer can know of the data and grant again. */
        *grant = crdma_ring_never(send->position);
        /* put_flagged orders its flag after every earlier put to that peer, this one included */
        status = t->put(edge->peer, &slot->sig, there + offsetof(crdma_slot_t, sig),
                        offsetof(crdma_slot_t, dst) - offsetof(crdma_slot_t, sig),
                        &send->tx);
        if (0 <= status) {
            status = t->put_user_flagged(edge->peer, send->src, (crdma_exposed_t *) (grant + 8), 0,
                                         send->len, &slot->flag, there, &send->tx);
        }
        if (0 > status) {
            return status;
        }
        send->written = true;
    }
    return 0 != send->tx.pending ? CRDMA_AGAIN : send->tx.status;
}

crdma_status_t crdma_rndv_send(crdma_send_t *send)
{
    crdma_status_t status;

    if (!send->edge->remote) {
        return NULL != send->device ? crdma_rndv_send_device(send) : send_direct(send);
    }
    if (NULL != send->device) {
        status = crdma_rndv_send_enter(send);
        if (CRDMA_OK != status) {
            return status;
        }
    }
    status = send->rndv->sender_copies ? send_remote_write(send) : send_remote_read(send);
    if (CRDMA_OK == status && NULL != send->device) {
        crdma_rndv_send_release(send);
    }
    return status;
}

crdma_status_t crdma_rndv_descriptor(crdma_recv_t *recv, crdma_slot_t **out)
{
    crdma_edge_t *edge = recv->edge;
    crdma_slot_t *slot = crdma_edge_rx_block(edge, recv->position);
    const uint64_t flag = __atomic_load_n(&slot->flag, __ATOMIC_ACQUIRE); /* 2. */

    if (flag >> 32 != (uint32_t) recv->position) {
        return CRDMA_AGAIN;
    }
    if (slot->sig != recv->sig || slot->len != recv->len) {
        edge->seen_sig = slot->sig;
        return CRDMA_ERR_MISMATCH;
    }
    *out = slot;
    return CRDMA_OK;
}

/* As that, once the data can be read by the host. */
static crdma_status_t see(crdma_recv_t *recv, crdma_slot_t **out)
{
    crdma_status_t status = crdma_rndv_descriptor(recv, out);

    if (CRDMA_OK == status && CRDMA_RNDV_ON_DEVICE == (uint32_t) (*out)->flag) {
        status = crdma_rndv_want(recv, *out);
    }
    recv->seen = CRDMA_OK == status;
    return status;
}

static crdma_status_t recv_direct(crdma_recv_t *recv, char *dst)
{
    crdma_slot_t *slot = crdma_edge_rx_block(recv->edge, recv->position);
    crdma_status_t status;

    if (!recv->seen) {
        status = see(recv, &slot);
        if (CRDMA_OK != status) {
            return status;
        }
        if (recv->rndv->sender_copies && !recv->staged) {
            __atomic_store_n(&slot->dst, (uint64_t) (uintptr_t) dst, __ATOMIC_RELEASE);
        }
    }
    if ((recv->rndv->receiver_copies || recv->staged)
        && __atomic_load_n(&slot->next, __ATOMIC_RELAXED) < recv->len) {
        copy_chunks(slot, recv->edge->peer, dst, slot->src, false);
    }
    if (__atomic_load_n(&slot->done, __ATOMIC_ACQUIRE) < recv->len) {
        return CRDMA_AGAIN;
    }
    if (0 != __atomic_load_n(&slot->failed, __ATOMIC_RELAXED)) {
        return CRDMA_ERR_PEER;
    }
    return crdma_recv_finish(recv); /* 4. */
}

static crdma_status_t recv_remote_read(crdma_recv_t *recv, char *dst)
{
    crdma_edge_t *edge = recv->edge;
    crdma_slot_t *slot = NULL;
    crdma_status_t status;

    if (!recv->requested) {
        status = see(recv, &slot);
        if (CRDMA_OK != status) {
            return status;
        }
        recv->requested = true;
        status = edge->peer->transport->get_user(
            edge->peer, dst, (const crdma_exposed_t *) crdma_slot_payload(slot), 0, recv->len,
            &recv->tx);
        if (0 > status) {
            return status;
        }
    }
    if (0 != recv->tx.pending) {
        return CRDMA_AGAIN;
    }
    return CRDMA_OK != recv->tx.status ? recv->tx.status : crdma_recv_finish(recv);
}

static crdma_status_t recv_remote_write(crdma_recv_t *recv, char *dst)
{
    crdma_edge_t *edge = recv->edge;
    const crdma_transport_t *t = edge->peer->transport;
    crdma_slot_t *slot;
    crdma_status_t status;

    if (!recv->granted) {
        uint64_t *grant;
        crdma_addr_t there;

        status = crdma_edge_open(edge);
        if (CRDMA_OK != status) {
            return status;
        }
        if (recv->position > edge->rx_consumed + edge->geometry->slot_count) {
            return CRDMA_AGAIN; /* the peer may not have used the last grant in this place */
        }
        grant = calloc(1, CRDMA_GRANT_STRIDE);
        if (NULL == grant) {
            return CRDMA_ERR_NOMEM;
        }
        status = t->expose(dst, recv->len, (crdma_exposed_t *) (grant + 8), &recv->exposed);
        if (CRDMA_OK != status) {
            free(grant);
            return status;
        }
        grant[0] = recv->position << 32;
        grant[1] = recv->sig;
        grant[2] = recv->len;
        there = edge->tx_addr + crdma_ring_grant(edge->geometry, recv->position);
        recv->granted = true;
        recv->grant = grant;
        status = t->put_flagged(edge->peer, grant + 1, there + sizeof(*grant),
                                7 * sizeof(*grant) + offsetof(crdma_exposed_t, key)
                                    + ((crdma_exposed_t *) (grant + 8))->key_length,
                                grant, there, &recv->tx);
        if (0 > status) {
            return status;
        }
    }
    status = see(recv, &slot);
    if (CRDMA_OK != status) {
        return status;
    }
    if (0 != recv->tx.pending) {
        return CRDMA_AGAIN;
    }
    t->conceal(recv->exposed);
    free(recv->grant);
    recv->exposed = NULL;
    recv->grant = NULL;
    return CRDMA_OK != recv->tx.status ? recv->tx.status : crdma_recv_finish(recv);
}

crdma_status_t crdma_rndv_recv(crdma_recv_t *recv, char *dst)
{
    if (!recv->edge->remote) {
        return recv_direct(recv, dst);
    }
    return recv->rndv->sender_copies ? recv_remote_write(recv, dst) : recv_remote_read(recv, dst);
}

crdma_status_t crdma_recv_ready(crdma_recv_t *recv)
{
    crdma_slot_t *slot;

    return recv->seen ? CRDMA_OK : see(recv, &slot);
}

crdma_status_t crdma_recv_read(crdma_recv_t *recv, char *dst, size_t off, size_t len)
{
    crdma_edge_t *edge = recv->edge;
    crdma_slot_t *slot = crdma_edge_rx_block(edge, recv->position);

    crdma_status_t status = crdma_shm_read(edge->peer, dst, slot->src + off, len);

    /* Pairs with crdma_send_withdraw: what was read before it is the message. */
    if (CRDMA_OK == status && 0 != __atomic_load_n(&slot->failed, __ATOMIC_ACQUIRE)) {
        status = CRDMA_ERR_PEER;
    }
    return status;
}

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t) t.tv_sec * 1000000000u + (uint64_t) t.tv_nsec;
}

/* Take all chunks that nobody has taken, and wait for those that the peer is copying: microseconds,
 * unless it has died or been stopped with one in hand. */
static void withdraw(crdma_slot_t *slot, const crdma_peer_t *peer, size_t len)
{
    const uint64_t give_up = now_ns() + 2000000000u;
    uint64_t off;

    __atomic_store_n(&slot->failed, 1, __ATOMIC_SEQ_CST);
    off = __atomic_fetch_add(&slot->next, len, __ATOMIC_ACQ_REL);
    if (off < len) {
        __atomic_fetch_add(&slot->done, len - off, __ATOMIC_RELEASE);
    }
    while (__atomic_load_n(&slot->done, __ATOMIC_ACQUIRE) < len && crdma_shm_alive(peer)
           && now_ns() < give_up) {
        sched_yield();
    }
}

void crdma_send_withdraw(crdma_send_t *send)
{
    crdma_edge_t *edge = send->edge;

    if (CRDMA_PROTOCOL_RNDV == send->protocol && !edge->remote && send->posted
        && !crdma_edge_is_consumed(edge, send->position)) {
        withdraw(crdma_edge_tx_block(edge, send->position), edge->peer,
                 send->len);
    }
}

void crdma_recv_withdraw(crdma_recv_t *recv)
{
    crdma_edge_t *edge = recv->edge;

    if (CRDMA_PROTOCOL_RNDV == recv->protocol && !edge->remote && recv->seen
        && recv->position > edge->rx_consumed) {
        withdraw(crdma_edge_rx_block(edge, recv->position), edge->peer,
                 recv->len);
    }
}

crdma_status_t crdma_recv_finish(crdma_recv_t *recv)
{
    return crdma_edge_consume(recv->edge, recv->position, true);
}
