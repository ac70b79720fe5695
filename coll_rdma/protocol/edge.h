/*
 * An edge: the message traffic with one peer of a communicator, both directions.
 *
 * I allocate the ring in which I receive and tell the peer its address by one 8-byte store
 * into my entry of its mailbox; the peer does the same. No reply is needed: an edge can send
 * once the peer's entry in my own mailbox is set. Mailbox entries are 0 (nothing yet), an
 * address, or CRDMA_MAIL_LEFT. The address of a direct ring is two: the line (64 bytes) of its head in the
 * low half, that of its blocks in the high half; these begin at pages, so the lowest bit there says
 * whether it is a spare ring.
 *
 * A spare ring has the fewest blocks that work. Only such rings are promised to a communicator by the slab; a
 * full one is taken while there is room. The two directions of an edge may differ.
 *
 * Who may write what:
 * 1. rx ring (in my slab): only the peer, except that I scrub cells whose credit I have not
 *    given yet, and the rendezvous fields of a slot, which both sides update atomically, and where I tell the
 *    pages of my buffer (rendezvous.h, 2.).
 * 2. tx ring: only me; for a remote peer it is the shadow, a local copy that puts read from.
 * 3. A position is written only if position <= consumed + R (of cells or of slots), and a payload block
 *    only if the last position that used it has been consumed, where `consumed` is the larger of
 *    the credit word in my rx ring, which only the peer writes, after it has read the position, and of
 *    what the peer's messages say (slot.h). Credit words go out every R / 2 positions, the smaller of
 *    both halves, and every credit_blocks blocks, whatever the messages say: a sender whose cells, slots
 *    or blocks are all in use gets one when the receiver has read them, even if it reads no message.
 * 4. My ring returns to the slab only after the peer has put CRDMA_MAIL_LEFT into my mailbox,
 *    which is its last store for this communicator. It may overwrite the address before I have
 *    looked at it: then I have nothing to tell the peer.
 */
#ifndef CRDMA_PROTOCOL_EDGE_H
#define CRDMA_PROTOCOL_EDGE_H

#include <stdbool.h>
#include <stdint.h>

#include "coll_rdma/device/host_copy.h"
#include "coll_rdma/protocol/ring.h"
#include "coll_rdma/transport/transport.h"

#define CRDMA_MAIL_LEFT ((uint64_t) 1)

typedef struct crdma_edge {
    const crdma_ring_geometry_t *geometry;    /* of rx_ring */
    const crdma_ring_geometry_t *tx_geometry; /* of tx_ring: differs in the numbers of slots and blocks */
    crdma_peer_t *peer;
    char *rx_ring;
    char *tx_ring;         /* NULL until the peer's address is known (direct) */
    char *rx_blocks, *tx_blocks, *rx_slots, *tx_slots;
    uint64_t *credit_in;   /* in rx_ring */
    uint64_t *credit_out;  /* direct: in tx_ring; remote: a local word that puts read from */
    uint64_t tx_next;      /* position of my next message */
    uint64_t tx_consumed;  /* the peer has consumed all positions up to this one */
    uint64_t *tx_users;    /* direct, by payload block: the last position that used it */
    uint32_t tx_block;     /* the next block to use */
    uint64_t tx_started, tx_written; /* chunks of slot messages that I have started, and written */
    bool tx_asks;          /* credits do not come with messages */
    uint32_t rx_read;      /* blocks read since the last credit */
    uint64_t rx_next;      /* position of the next message to expect */
    uint64_t rx_consumed;  /* all positions up to this one are consumed */
    uint64_t rx_credited;  /* last value stored to credit_out */
    uint8_t *rx_ahead;     /* window flags: consumed out of order, beyond rx_consumed; 2: the peer
                              waits for the credit */
    const uint64_t *mail;  /* my mailbox entry for this peer */
    crdma_addr_t mail_remote; /* its mailbox entry for me */
    uint64_t mail_out, leave_out; /* what I store there, first and last; sources of puts */
    uint64_t seen_sig;     /* signature of the message that did not match */
    crdma_copier_t copier; /* into user buffers that the copying side has mapped */
    crdma_addr_t rx_addr, blocks_addr; /* in my slab; direct: of head and blocks */
    size_t rx_size, blocks_size; /* of these; the geometry may go before they do. blocks_size: 0 if remote */
    const crdma_ring_geometry_t *geometries[2]; /* full, spare */
    size_t reserved;       /* promised by the slab to this edge, on top of what the group has been */
    crdma_addr_t tx_addr;  /* remote: of the ring in the peer's slab */
    crdma_tx_t tx;         /* remote: puts under way */
    crdma_distance_t distance; /* direct: of the peer */
    struct crdma_stage *stage; /* direct: where I leave larger messages */
    size_t stage_min, stage_near; /* bytes from which they go there if the peer is far, or anyway */
    int rank;              /* of the peer */
    bool remote;
    bool open;             /* the peer's ring address is known */
} crdma_edge_t;

/* Allocate the ring, of either geometry, and tell the peer. spare: NULL if the peer is remote. `mail` is my
 * mailbox entry for the peer, `mail_remote` the address of its entry for me. start: first position, in both
 * directions. */
crdma_status_t crdma_edge_create(crdma_slab_t *slab, const crdma_ring_geometry_t *geometry,
                                 const crdma_ring_geometry_t *spare, crdma_peer_t *peer, int rank, const uint64_t *mail,
                                 crdma_addr_t mail_remote, uint64_t start, crdma_edge_t **edge);

/* Say that I will not touch the peer's memory again. The edge itself stays until crdma_edge_free. */
void crdma_edge_leave(crdma_edge_t *edge);
/* Invariant 4: the ring may be returned. */
bool crdma_edge_quiet(const crdma_edge_t *edge);
void crdma_edge_free(crdma_slab_t *slab, crdma_edge_t *edge);

/* What an edge to such a peer takes of the slab. */
static inline size_t crdma_edge_slab_size(const crdma_ring_geometry_t *g, bool remote)
{
    return remote ? crdma_slab_block_size(g->remote_size)
                  : crdma_slab_block_size(g->head) + crdma_slab_block_size(g->blocks);
}

/* The slots of a position; the block in which it begins, remote. */
static inline crdma_slot_t *crdma_edge_tx_block(const crdma_edge_t *edge, uint64_t position)
{
    return crdma_ring_slot(edge->tx_geometry, edge->tx_slots, position);
}

static inline crdma_slot_t *crdma_edge_rx_block(const crdma_edge_t *edge, uint64_t position)
{
    return crdma_ring_slot(edge->geometry, edge->rx_slots, position);
}

/* CRDMA_OK once the edge can send. */
crdma_status_t crdma_edge_try_open(crdma_edge_t *edge);

static inline crdma_status_t crdma_edge_open(crdma_edge_t *edge)
{
    return edge->open ? CRDMA_OK : crdma_edge_try_open(edge);
}

/* True if the peer has consumed `position`. The acquire load pairs with the release store of the
 * credit: what the peer has read of the old message, it has read before. A message may have said more
 * than the credit word does (slot.h). */
static inline bool crdma_edge_is_consumed(crdma_edge_t *edge, uint64_t position)
{
    uint64_t credit;

    if (position <= edge->tx_consumed) {
        return true;
    }
    credit = __atomic_load_n(edge->credit_in, __ATOMIC_ACQUIRE);
    if (credit > edge->tx_consumed) {
        edge->tx_consumed = credit;
    }
    return position <= edge->tx_consumed;
}

/* True if `position` may be written now (invariant 3); depth: cell_count or slot_count. */
static inline bool crdma_edge_has_credit(crdma_edge_t *edge, uint64_t position,
                                         uint32_t depth)
{
    return position <= edge->tx_consumed + depth || crdma_edge_is_consumed(edge, position - depth);
}

/* Whether a message of so many bytes goes by the stage. */
static inline bool crdma_edge_stages(crdma_edge_t *edge, size_t len)
{
    return len >= edge->stage_min
           && (len >= edge->stage_near || crdma_distance_is_far(&edge->distance));
}

/* Out-of-line part of crdma_edge_consume. */
crdma_status_t crdma_edge_consume_slow(crdma_edge_t *edge, uint64_t position, bool credit_now);

/* Store the credit for all positions up to rx_consumed (remote: put it). */
crdma_status_t crdma_edge_give_credit(crdma_edge_t *edge);

/* I have read `position`. Credits go out every credit_every positions, or at once if credit_now. */
static inline crdma_status_t crdma_edge_consume(crdma_edge_t *edge, uint64_t position,
                                                bool credit_now)
{
    const crdma_ring_geometry_t *g = edge->geometry;

    if (position == edge->rx_consumed + 1 && !crdma_ring_needs_scrub(g, position)
        && 0 == edge->rx_ahead[(position + 1) & (g->window - 1)]) {
        edge->rx_consumed = position;
        if (!credit_now && position - edge->rx_credited < g->credit_every) {
            return CRDMA_OK;
        }
        if (edge->open && !edge->remote) {
            edge->rx_credited = position;
            edge->rx_read = 0;
            /* Release: my loads of the message come before the credit that lets it be
             * overwritten. Pairs with crdma_edge_has_credit and _is_consumed of the peer. */
            __atomic_store_n(edge->credit_out, position, __ATOMIC_RELEASE);
            return CRDMA_OK;
        }
        return crdma_edge_give_credit(edge);
    }
    return crdma_edge_consume_slow(edge, position, credit_now);
}

/* The same for a direct peer's next position, with none ahead of it. */
static inline crdma_status_t crdma_edge_consume_next(crdma_edge_t *edge, uint64_t position)
{
    const crdma_ring_geometry_t *g = edge->geometry;

    if (__builtin_expect(crdma_ring_needs_scrub(g, position), 0)) {
        return crdma_edge_consume_slow(edge, position, false);
    }
    edge->rx_consumed = position;
    return position - edge->rx_credited < g->credit_every ? CRDMA_OK
                                                          : crdma_edge_give_credit(edge);
}

#endif
