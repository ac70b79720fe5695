/*
 * Rendezvous; the numbers in the comments are those of rendezvous.h.
 */
#include "coll_rdma/protocol/rendezvous.h"

#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include "coll_rdma/transport/shm.h"

#define CHUNK_MOST (256 * 1024)

/* Bytes that one side copies at a time: large enough to amortise a system call (about 0.5 us),
 * small enough that both sides finish together. */
static size_t chunk_of(size_t len)
{
    size_t chunk = len / 4;

    if (chunk > CHUNK_MOST) {
        chunk = CHUNK_MOST;
    } else if (chunk < 8 * 1024) {
        chunk = 8 * 1024;
    }
    return (chunk + 4095) & ~(size_t) 4095;
}

typedef struct copy {
    crdma_copier_t *copier;
    char *dst;
    const char *src;
    size_t len;
} copy_t;

static void copy(void *argument)
{
    const copy_t *c = argument;

    crdma_copy_to_reader(c->copier, c->dst, c->src, c->len);
}

/* By loads and stores, if the peer's side is mapped and can be touched. */
static bool copy_mapped(crdma_edge_t *edge, const crdma_attachment_t *attachment, char *local,
                        uint64_t remote, size_t len, bool to_peer)
{
    char *there = NULL != attachment ? crdma_xpmem_at(attachment, remote, len) : NULL;
    copy_t c = {&edge->copier, to_peer ? there : local, to_peer ? local : there, len};

    return NULL != there && crdma_xpmem_guard(copy, &c);
}

bool crdma_rndv_store(crdma_edge_t *edge, const crdma_attachment_t *attachment, uint64_t to,
                      const char *src, size_t len)
{
    return copy_mapped(edge, attachment, (char *) (uintptr_t) src, to, len, true);
}

/* Step 3, or sets `failed`. */
static void copy_chunks(crdma_slot_t *slot, crdma_edge_t *edge, const crdma_attachment_t *attachment,
                        char *local, uint64_t remote, bool to_peer)
{
    const crdma_peer_t *peer = edge->peer;
    const size_t len = slot->len;
    const size_t chunk = chunk_of(len);

    for (;;) {
        const uint64_t off = __atomic_fetch_add(&slot->next, chunk, __ATOMIC_RELAXED);
        crdma_status_t status = CRDMA_OK;
        size_t n;

        if (off >= len) {
            return;
        }
        n = len - off < chunk ? len - off : chunk;
        if (!copy_mapped(edge, attachment, local + off, remote + off, n, to_peer)) {
            status = to_peer ? crdma_shm_write(peer, local + off, remote + off, n)
                             : crdma_shm_read(peer, local + off, remote + off, n);
        }
        if (CRDMA_OK != status) {
            __atomic_store_n(&slot->failed, 1, __ATOMIC_RELAXED);
        }
        __atomic_fetch_add(&slot->done, n, __ATOMIC_RELEASE);
    }
}

static void expose(const crdma_area_t *area, const char *at, size_t len, crdma_exposure_t *exposure)
{
    const char *start = area->start;

    if (0 != area->len && at >= start && at + len <= start + area->len) {
        crdma_xpmem_expose(area->start, area->len, exposure);
    } else {
        crdma_xpmem_expose(at, len, exposure);
    }
}

static void send_detach(crdma_send_t *send)
{
    crdma_xpmem_detach(send->edge->peer, send->attachment);
    send->attachment = NULL;
}

static crdma_status_t send_direct(crdma_send_t *send)
{
    crdma_edge_t *edge = send->edge;
    crdma_slot_t *slot = crdma_edge_tx_block(edge, send->position);
    uint64_t dst;

    if (!send->posted) {
        if (!crdma_edge_has_credit(edge, send->position, edge->tx_geometry->slot_count)) {
            return CRDMA_AGAIN;
        }
        slot->sig = send->sig;
        slot->src = (uint64_t) (uintptr_t) send->src;
        slot->len = send->len;
        slot->dst = slot->next = slot->done = slot->failed = 0;
        if (send->rndv->mapped) {
            expose(&send->area, send->src, send->len, &crdma_rndv_pages_of(slot)->src);
        }
        __atomic_store_n(&slot->flag, send->position << 32, __ATOMIC_RELEASE); /* 1. */
        send->posted = true;
        return CRDMA_AGAIN;
    }
    if (crdma_edge_is_consumed(edge, send->position)) {
        send_detach(send);
        return CRDMA_OK;
    }
    dst = __atomic_load_n(&slot->dst, __ATOMIC_ACQUIRE);
    if (0 == dst) {
        return CRDMA_AGAIN;
    }
    if (__atomic_load_n(&slot->next, __ATOMIC_RELAXED) < send->len) {
        if (send->rndv->mapped && !send->attached) {
            send->attached = true;
            send->attachment = crdma_xpmem_attach(edge->peer, &crdma_rndv_pages_of(slot)->dst);
        }
        copy_chunks(slot, edge, send->attachment, (char *) send->src, dst, true);
    }
    if (__atomic_load_n(&slot->done, __ATOMIC_ACQUIRE) < send->len) {
        return CRDMA_AGAIN;
    }
    send_detach(send);
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
        if (!crdma_edge_has_credit(edge, send->position, edge->tx_geometry->slot_count)) {
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
        if (!crdma_edge_has_credit(edge, send->position, edge->tx_geometry->slot_count)) {
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

    if (send->by_parts) {
        return crdma_parts_post(send);
    }
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
    if (recv->seen && recv->rndv->mapped && !recv->edge->remote && !recv->staged) {
        recv->attachment = crdma_xpmem_attach(recv->edge->peer, &crdma_rndv_pages_of(*out)->src);
    }
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
            if (recv->rndv->mapped) {
                expose(&recv->area, dst, recv->len, &crdma_rndv_pages_of(slot)->dst);
            }
            __atomic_store_n(&slot->dst, (uint64_t) (uintptr_t) dst, __ATOMIC_RELEASE);
        }
    }
    if ((recv->rndv->receiver_copies || recv->staged)
        && __atomic_load_n(&slot->next, __ATOMIC_RELAXED) < recv->len) {
        copy_chunks(slot, recv->edge, recv->attachment, dst, slot->src, false);
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

const char *crdma_recv_map(const crdma_recv_t *recv, size_t off, size_t len)
{
    const crdma_edge_t *edge = recv->edge;

    return NULL == recv->attachment
               ? NULL
               : crdma_xpmem_at(recv->attachment,
                                crdma_edge_rx_block(edge, recv->position)->src + off,
                                len);
}

bool crdma_recv_intact(const crdma_recv_t *recv)
{
    const crdma_edge_t *edge = recv->edge;

    /* Pairs with crdma_send_withdraw, as in crdma_recv_read. */
    return 0 == __atomic_load_n(&crdma_edge_rx_block(edge, recv->position)->failed,
                                __ATOMIC_ACQUIRE);
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
    send_detach(send);
}

static void recv_detach(crdma_recv_t *recv)
{
    crdma_xpmem_detach(recv->edge->peer, recv->attachment);
    recv->attachment = NULL;
}

void crdma_recv_withdraw(crdma_recv_t *recv)
{
    crdma_edge_t *edge = recv->edge;

    if (CRDMA_PROTOCOL_RNDV == recv->protocol && !edge->remote && recv->seen
        && recv->position > edge->rx_consumed) {
        withdraw(crdma_edge_rx_block(edge, recv->position), edge->peer,
                 recv->len);
    }
    recv_detach(recv);
}

crdma_status_t crdma_recv_finish(crdma_recv_t *recv)
{
    recv_detach(recv);
    return crdma_edge_consume(recv->edge, recv->position, true);
}
