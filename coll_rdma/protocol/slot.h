/*
 * Slot messages to a direct peer: writing one and taking one.
 *
 * The flag word of slot p is stored last (release) and looked at first (acquire). It comes with the
 * payload, if that is small, else with word of where that is:
 *
 *   up to inline_max bytes    in the slot, behind the header's first words
 *   src < block_count         in this block of the receiver's ring
 *   else                      at src in the sender's slab (stage.h)
 *
 * A block of the ring is taken in turn, when the last position that used it has been consumed. With two
 * of them, written and read alternately, payloads stay in the first caches: alternating messages of 4 KB
 * 393 ns in 2 blocks, 573 in 4, 581 in 8; 1 KB 104, 143, 167 (two processors that share a cache, a flag
 * 33 ns; raw copies, no MPI).
 *
 * Blocks go to messages in the order of positions: a later message that took the last one would wait for
 * ever to be read, because the receiver waits for the earlier one, which has none. So messages are written in
 * order (crdma_send_t, turn), although a credit may come between two attempts.
 *
 * So few blocks need credits soon, and a credit word is a line that both sides fetch. Therefore:
 * 1. Every message says what its sender has consumed of the other direction (ack). The loads of those
 *    messages come before the release store of the flag, the acquire load of the flag before whatever
 *    the receiver writes because of it: as good as a credit. It never replaces one (edge.h,
 *    invariant 3), since nobody need ever read this message to send.
 * 2. A sender that does not know that its next block is free, or had to look for the last one in the credit word, says
 *    so (CRDMA_SLOT_PLEASE): then the credit goes out as soon as this message has been read. Where messages
 *    alternate, nobody asks.
 */
#ifndef CRDMA_PROTOCOL_SLOT_H
#define CRDMA_PROTOCOL_SLOT_H

#include <string.h>

#include "coll_rdma/protocol/edge.h"
#include "coll_rdma/protocol/stage.h"

/* In the flag word, beside the length (at most a block, 2^24). */
#define CRDMA_SLOT_PLEASE ((uint64_t) 1 << 31)

/* Write a message of n bytes, n <= block_size, at its position; all slot messages before it have been written. False:
 * there is no credit for it. token: as for crdma_stage_put. */
static inline bool crdma_slot_put(crdma_edge_t *edge, uint64_t position, uint64_t token, uint64_t sig,
                                  const char *src, size_t n, bool staged)
{
    const crdma_ring_geometry_t *g = edge->tx_geometry;
    crdma_slot_t *slot = crdma_edge_tx_block(edge, position);
    uint64_t flag = position << 32 | n;

    if (!crdma_edge_has_credit(edge, position, g->slot_count)) {
        return false;
    }
    if (n <= g->inline_max) {
        if (0 < n) { /* src may be NULL */
            memcpy((char *) slot + CRDMA_SLOT_INLINE_AT, src, n);
        }
    } else {
        uint64_t where = staged ? crdma_stage_put(edge->stage, edge, position, token, src, n) : 0;

        if (0 == where) {
            where = edge->tx_block;
            if (edge->tx_users[where] > edge->tx_consumed) {
                edge->tx_asks = true;
                if (!crdma_edge_is_consumed(edge, edge->tx_users[where])) {
                    return false;
                }
            }
            crdma_copy_to_block(&edge->distance, crdma_ring_payload(g, edge->tx_blocks, where), src, n);
            edge->tx_users[where] = position;
            edge->tx_block = (uint32_t) (where + 1) & (g->block_count - 1);
            if (edge->tx_asks || edge->tx_users[edge->tx_block] > edge->tx_consumed) {
                flag |= CRDMA_SLOT_PLEASE;
            }
        }
        /* Only now: a line that the receiver polls is fetched once if it is written in one go. */
        slot->src = where;
    }
    ++edge->tx_written;
    slot->sig = sig;
    slot->ack = edge->rx_consumed;
    /* Pairs with the load in crdma_slot_look. */
    __atomic_store_n(&slot->flag, flag, __ATOMIC_RELEASE);
    return true;
}

/* The message of n bytes at `position`, which stays where it is until crdma_slot_take. CRDMA_AGAIN: it is
 * not there yet. *flag: for crdma_slot_take. */
static inline crdma_status_t crdma_slot_look(crdma_edge_t *edge, uint64_t position, uint64_t sig,
                                             size_t n, const char **data, uint64_t *flag)
{
    const crdma_ring_geometry_t *g = edge->geometry;
    crdma_slot_t *slot = crdma_edge_rx_block(edge, position);
    const uint64_t seen = __atomic_load_n(&slot->flag, __ATOMIC_ACQUIRE);

    if (seen >> 32 != (uint32_t) position) {
        return CRDMA_AGAIN;
    }
    /* Equal signatures, but another length: another size of elements. */
    if (slot->sig != sig || ((uint32_t) seen & ~(uint32_t) CRDMA_SLOT_PLEASE) != n) {
        edge->seen_sig = slot->sig;
        return CRDMA_ERR_MISMATCH;
    }
    if (slot->ack > edge->tx_consumed) {
        edge->tx_consumed = slot->ack;
        edge->tx_asks = false;
    }
    *data = n <= g->inline_max      ? (const char *) slot + CRDMA_SLOT_INLINE_AT
            : slot->src < g->block_count ? crdma_ring_payload(g, edge->rx_blocks, slot->src)
                                         : edge->peer->map + slot->src;
    *flag = seen;
    return CRDMA_OK;
}

/* The message has been read. */
static inline crdma_status_t crdma_slot_take(crdma_edge_t *edge, uint64_t position, uint64_t flag)
{
    const crdma_ring_geometry_t *g = edge->geometry;
    bool credit_now = 0 != (flag & CRDMA_SLOT_PLEASE);

    if (((uint32_t) flag & ~(uint32_t) CRDMA_SLOT_PLEASE) > g->inline_max
        && crdma_edge_rx_block(edge, position)->src < g->block_count) {
        credit_now = ++edge->rx_read >= g->credit_blocks || credit_now;
    }
    return crdma_edge_consume(edge, position, credit_now);
}

#endif
