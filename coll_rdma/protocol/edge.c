/*
 * Making, opening and ending an edge; credits. See edge.h for the invariants.
 */
#include "coll_rdma/protocol/edge.h"

#include <stdlib.h>
#include <string.h>

#include "coll_rdma/base/log.h"

/* In the mail: the ring is a spare one. */
#define SPARE ((uint64_t) 1 << 32)

static crdma_addr_t line_of(uint64_t mail, int half)
{
    return (crdma_addr_t) (uint32_t) (mail >> 32 * half) * CRDMA_LINE;
}

static void free_ring(crdma_slab_t *slab, const crdma_edge_t *edge)
{
    crdma_slab_unreserve(slab, edge->reserved);
    crdma_slab_free(slab, edge->rx_addr, edge->rx_size);
    if (0 != edge->blocks_size) {
        crdma_slab_free(slab, edge->blocks_addr, edge->blocks_size);
    }
}

/* A full ring if the slab has room that it has not promised, else a spare one. */
static const crdma_ring_geometry_t *choose(crdma_slab_t *slab, crdma_edge_t *edge,
                                           const crdma_ring_geometry_t *full,
                                           const crdma_ring_geometry_t *spare)
{
    const size_t more = crdma_slab_promise_size(crdma_slab_block_size(full->blocks));

    if (NULL == spare || spare->block_count == full->block_count) {
        return full;
    }
    if (CRDMA_OK != crdma_slab_reserve(slab, more)) {
        return spare;
    }
    edge->reserved = more;
    return full;
}

static crdma_status_t make_ring(crdma_slab_t *slab, crdma_edge_t *edge, uint64_t start)
{
    const crdma_ring_geometry_t *g = edge->geometry;
    bool fresh, fresh_blocks;
    crdma_status_t status;

    edge->rx_size = edge->remote ? g->remote_size : g->head;
    edge->blocks_size = edge->remote ? 0 : g->blocks;
    status = crdma_slab_alloc(slab, edge->rx_size, &edge->rx_addr, &fresh);
    if (CRDMA_OK == status && edge->remote) {
        fresh_blocks = fresh;
        edge->blocks_addr = edge->rx_addr + g->head;
    } else if (CRDMA_OK == status) {
        status = crdma_slab_alloc(slab, edge->blocks_size, &edge->blocks_addr, &fresh_blocks);
        if (CRDMA_OK != status && 0 != edge->reserved) { /* enough in all, but in smaller pieces */
            crdma_slab_unreserve(slab, edge->reserved);
            edge->reserved = 0;
            g = edge->geometry = edge->geometries[1];
            edge->blocks_size = g->blocks;
            status = crdma_slab_alloc(slab, edge->blocks_size, &edge->blocks_addr, &fresh_blocks);
        }
        if (CRDMA_OK != status) {
            crdma_slab_free(slab, edge->rx_addr, edge->rx_size);
        }
    }
    if (CRDMA_OK != status) {
        crdma_log(CRDMA_LOG_ERROR,
                  "no preregistered memory left for the buffers of rank %d (%zu bytes; "
                  "coll_rdma_memory_limit is %zu)",
                  edge->rank, crdma_edge_slab_size(g, edge->remote), slab->size);
        return status;
    }
    edge->rx_ring = crdma_slab_at(slab, edge->rx_addr);
    edge->rx_blocks = crdma_slab_at(slab, edge->blocks_addr);
    edge->rx_slots = crdma_ring_slots(g, edge->rx_ring, edge->rx_blocks);
    crdma_ring_clear_cells(g, edge->rx_ring, start, fresh);
    crdma_ring_clear_slots(g, edge->rx_slots, start, g->slots_in_head ? fresh : fresh_blocks);
    if (edge->remote) {
        crdma_ring_clear_grants(g, edge->rx_ring, fresh);
    }
    return CRDMA_OK;
}

crdma_status_t crdma_edge_create(crdma_slab_t *slab, const crdma_ring_geometry_t *geometry,
                                 const crdma_ring_geometry_t *spare, crdma_peer_t *peer, int rank,
                                 const uint64_t *mail, crdma_addr_t mail_remote, uint64_t start,
                                 crdma_edge_t **out)
{
    const bool remote = NULL == peer->map;
    const size_t users = remote ? 0 : geometry->block_count;
    crdma_edge_t *edge = calloc(1, sizeof(*edge) + users * sizeof(uint64_t) + geometry->window);
    crdma_status_t status;

    if (NULL == edge) {
        return CRDMA_ERR_NOMEM;
    }
    edge->geometry = choose(slab, edge, geometry, spare);
    edge->geometries[0] = geometry;
    edge->geometries[1] = spare;
    edge->tx_geometry = geometry;
    edge->peer = peer;
    edge->rank = rank;
    edge->remote = remote;
    edge->stage_min = edge->stage_near = SIZE_MAX;
    edge->tx_users = (uint64_t *) (edge + 1);
    edge->rx_ahead = (uint8_t *) (edge->tx_users + users);
    for (size_t i = 0; i < users; ++i) {
        edge->tx_users[i] = start - 1;
    }
    status = make_ring(slab, edge, start);
    if (CRDMA_OK != status) {
        crdma_slab_unreserve(slab, edge->reserved);
        free(edge);
        return status;
    }
    edge->credit_in = (uint64_t *) edge->rx_ring;
    *edge->credit_in = start - 1;
    edge->tx_next = edge->rx_next = start;
    edge->tx_consumed = edge->rx_consumed = edge->rx_credited = start - 1;
    edge->mail = mail;
    edge->mail_remote = mail_remote;
    if (edge->remote) {
        edge->mail_out = edge->rx_addr;
        /* the sender's shadow of the peer's ring; its credit line is the source of credit puts */
        edge->tx_ring = edge->rx_ring + geometry->size;
        edge->tx_blocks = edge->tx_ring + geometry->head;
        edge->tx_slots = crdma_ring_slots(geometry, edge->tx_ring, edge->tx_blocks);
        edge->credit_out = (uint64_t *) edge->tx_ring;
        status = peer->transport->put(peer, &edge->mail_out, mail_remote, sizeof(uint64_t),
                                      &edge->tx);
        if (0 > status) {
            free_ring(slab, edge);
            free(edge);
            return status;
        }
    } else {
        edge->mail_out = (edge->blocks_addr / CRDMA_LINE | (edge->geometry == spare)) << 32
                         | edge->rx_addr / CRDMA_LINE;
        /* Release: the cleared ring is there before its address. Pairs with the acquire load in
         * crdma_edge_try_open of the peer. */
        __atomic_store_n((uint64_t *) (peer->map + mail_remote), edge->mail_out,
                         __ATOMIC_RELEASE);
    }
    *out = edge;
    return CRDMA_OK;
}

crdma_status_t crdma_edge_try_open(crdma_edge_t *edge)
{
    uint64_t address = __atomic_load_n(edge->mail, __ATOMIC_ACQUIRE);

    if (0 == address) {
        return CRDMA_AGAIN;
    }
    if (CRDMA_MAIL_LEFT == address) {
        return CRDMA_ERR_PEER;
    }
    if (edge->remote) {
        edge->tx_addr = address;
    } else {
        edge->tx_ring = edge->peer->map + line_of(address, 0);
        edge->tx_blocks = edge->peer->map + line_of(address & ~SPARE, 1);
        edge->tx_geometry = edge->geometries[0 != (address & SPARE)];
        edge->tx_slots = crdma_ring_slots(edge->tx_geometry, edge->tx_ring, edge->tx_blocks);
        edge->credit_out = (uint64_t *) edge->tx_ring;
    }
    edge->open = true;
    return CRDMA_OK;
}

void crdma_edge_leave(crdma_edge_t *edge)
{
    if (0 != edge->distance.cost) {
        crdma_log(CRDMA_LOG_SETUP, "copies to rank %d: %u cycles per KB, %s", edge->rank,
                  (unsigned) edge->distance.cost, edge->distance.far ? "far" : "near");
    }
    if (edge->remote) {
        /* Behind everything I have put, or a late credit would land in memory that the peer has
         * recycled. A word of its own: the put of the address may still be reading mail_out. */
        edge->leave_out = CRDMA_MAIL_LEFT;
        (void) edge->peer->transport->put_flagged(edge->peer, NULL, 0, 0, &edge->leave_out,
                                                  edge->mail_remote, &edge->tx);
    } else {
        /* Release: after my last store to the peer's ring. Pairs with crdma_edge_quiet. */
        __atomic_store_n((uint64_t *) (edge->peer->map + edge->mail_remote), CRDMA_MAIL_LEFT,
                         __ATOMIC_RELEASE);
    }
}

bool crdma_edge_quiet(const crdma_edge_t *edge)
{
    return CRDMA_MAIL_LEFT == __atomic_load_n(edge->mail, __ATOMIC_ACQUIRE)
           && 0 == edge->tx.pending;
}

void crdma_edge_free(crdma_slab_t *slab, crdma_edge_t *edge)
{
    free_ring(slab, edge);
    free(edge);
}

crdma_status_t crdma_edge_give_credit(crdma_edge_t *edge)
{
    while (!edge->open) {
        /* The peer has told its address before it sent what I have just read, but nothing
         * orders the two on the way: it arrives without further action of the peer. */
        if (CRDMA_ERR_PEER == crdma_edge_try_open(edge)) {
            /* It has finished its calls and left before I needed its address: nobody waits for
             * the credit. */
            edge->rx_credited = edge->rx_consumed;
            return CRDMA_OK;
        }
        if (!edge->open && edge->remote) {
            edge->peer->transport->progress();
        }
    }
    edge->rx_credited = edge->rx_consumed;
    edge->rx_read = 0;
    __atomic_store_n(edge->credit_out, edge->rx_credited, __ATOMIC_RELEASE); /* as in the header */
    if (edge->remote) {
        /* As a flag, because flags stay in order: an older credit that lands over a newer one would
         * hold the peer back for ever. */
        return edge->peer->transport->put_flagged(edge->peer, NULL, 0, 0, edge->credit_out,
                                                  edge->tx_addr, &edge->tx);
    }
    return CRDMA_OK;
}

crdma_status_t crdma_edge_consume_slow(crdma_edge_t *edge, uint64_t position, bool credit_now)
{
    const crdma_ring_geometry_t *g = edge->geometry;
    const uint64_t mask = g->window - 1;

    if (position != edge->rx_consumed + 1) {
        edge->rx_ahead[position & mask] = credit_now ? 2 : 1; /* another is read before it */
        return CRDMA_OK;
    }
    do {
        credit_now = credit_now || 2 == edge->rx_ahead[position & mask];
        edge->rx_ahead[position & mask] = 0;
        /* In order: scrubbed when it was consumed out of order, the cell or the block of this index
         * could hold an earlier message that has not been read, for their numbers differ. */
        if (crdma_ring_needs_scrub(g, position)) {
            if (!g->slots_in_head) {
                crdma_ring_scrub_cell(g, edge->rx_ring, position);
            }
            crdma_ring_scrub_slot(g, edge->rx_slots, position);
        }
        edge->rx_consumed = position++;
    } while (0 != edge->rx_ahead[position & mask]);

    return !credit_now && edge->rx_consumed - edge->rx_credited < g->credit_every
               ? CRDMA_OK
               : crdma_edge_give_credit(edge);
}
