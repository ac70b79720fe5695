/*
 * The memory in which a rank receives the messages of one peer: its layout, and
 * the arithmetic of positions.
 *
 * Messages of an edge have consecutive 64-bit positions. Position p uses cell p % R of R =
 * cell_count (LL) or slot p % R of R = slot_count (slot, rendezvous); the sender may write it once
 * the receiver has consumed position p - R (credits). Both R are powers of two. What travels to
 * mark a cell or slot as written is the low 32 bits of p:
 *
 * 1. A cell holds p only if it held p - R, p - 2R, ... before: all differ from p in the low
 *    32 bits, unless they are 2^32 apart.
 * 2. A cell could keep a mark for 2^32 positions because LL and slot messages share positions
 *    but not memory. Therefore the receiver overwrites both the LL cell and the slot
 *    header of every position p with p % 2^31 < the larger R after it has consumed them
 *    (crdma_ring_scrub_cell, _slot), before the credit for p goes out: everything, once per 2^31 positions.
 *    Not for p < 2^31: what these leave behind is overwritten at 2^31, long before it could match, and
 *    a short-lived communicator would touch blocks that it never uses.
 * 3. The value it writes, and the value of fresh memory, is an index other than the cell's own;
 *    since R divides 2^32, no position of this cell has it as its low bits, so it never matches.
 *
 * Layout (all offsets multiples of 64; every line has one writer, the peer), in two parts:
 *
 *   head:
 *   credit  | 8 B: positions of mine (as sender) that the peer has consumed
 *   cells   | cell_count x cell_size: LL messages
 *   blocks:
 *   slots   | slot_count x slot_stride: flags, signatures, rendezvous descriptors
 *   payload | block_count x block_stride
 *
 * Direct peer: the two parts lie apart, so that the heads of several rings share a page: a communicator
 * of small messages touches nothing else. Where no message goes by LL, the head holds the slots instead of cells. A
 * slot has room for a small payload behind its header, so that flag and bytes come in
 * one pair of lines. Payload blocks belong to no position: the sender takes them in turn and says in the
 * slot which it took (slot.h), so few blocks, which stay in the first caches, serve many slots.
 * Remote peer: slot and payload are one piece, which one put fills; slot_count is block_count. The blocks follow
 * the head, and then
 *   shadow  | as credit, cells, slots, payload: my copy of what I put into the peer's ring, source of puts
 *   grants  | slot_count x CRDMA_GRANT_STRIDE: where the peer lets me write (rendezvous write); cleared by me
 *             after use
 */
#ifndef CRDMA_PROTOCOL_RING_H
#define CRDMA_PROTOCOL_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CRDMA_LINE 64
#define CRDMA_LINE_PAIR 128
#define CRDMA_GRANT_STRIDE 640
/* Few, so that the cells of many peers stay in the cache. */
#define CRDMA_CELLS 8
/* Slots of a direct ring: how far a sender may run ahead. */
#define CRDMA_SLOTS 8
/* Bytes of such a slot, whole pairs of lines: processors fetch a line's neighbour in a pair of 128 B with
 * it. 256 B of payload cost a message 61 ns in either place, 512 B 83 in eight slots and 76 in two blocks
 * (two processors that share a cache, flags 33 ns; adjacent header and payload, alternating senders). */
#define CRDMA_SLOT_STRIDE 384

/* Sizes and offsets in bytes, equal on all ranks of a communicator. */
typedef struct crdma_ring_geometry {
    uint32_t cell_count, slot_count, block_count;
    uint32_t window;        /* the largest of cell_count and slot_count: positions that can be under way */
    uint32_t credit_every;  /* positions consumed before a credit goes out */
    uint32_t credit_blocks; /* blocks read before a credit goes out; direct */
    uint32_t ll_max;     /* payload of an LL cell */
    uint32_t ll_below;   /* messages of fewer bytes go by LL: ll_max + 1, 0: none does */
    uint32_t block_size; /* payload of a block */
    uint32_t inline_max; /* payload that lies in its slot; direct */
    uint32_t cell_size;
    uint32_t slot_stride, block_stride;
    bool slots_in_head;
    size_t cells, slots;  /* offsets in their parts */
    size_t payload;       /* in the blocks */
    size_t grants;        /* in the ring of a remote peer */
    size_t head;          /* bytes of the head: where the blocks of a remote peer's ring begin */
    size_t blocks;        /* bytes of the blocks */
    size_t size;          /* head + blocks; the shadow starts here */
    size_t remote_size;   /* with shadow and grants */
} crdma_ring_geometry_t;

/* Header of a slot, 64 bytes. `flag` is written last and alone. */
typedef struct crdma_slot {
    uint64_t flag; /* position << 32 | bytes of payload */
    uint64_t sig;
    union {
        uint64_t ack;    /* direct, slot: positions of the receiver that the sender has consumed */
        uint64_t failed; /* rendezvous, nonzero: a copy failed */
    };
    uint64_t src;     /* direct peers, slot: where the payload is, unless it is here (slot.h) */
    /* rendezvous descriptor (direct peers), see rendezvous.h; there src is the sender's address */
    uint64_t len;     /* bytes */
    uint64_t dst;     /* receiver's address, 0 until granted; written by the receiver */
    uint64_t next;    /* next chunk to copy, taken by either side */
    uint64_t done;    /* bytes copied */
} crdma_slot_t;

/* Where a direct slot's own payload begins: behind flag, signature and ack, aligned as operands of user-defined
 * operations may need it; and its room. */
#define CRDMA_SLOT_INLINE_AT offsetof(crdma_slot_t, len)
#define CRDMA_SLOT_INLINE    (CRDMA_SLOT_STRIDE - CRDMA_SLOT_INLINE_AT)

_Static_assert(sizeof(crdma_slot_t) == CRDMA_LINE, "a block header is one line");

/* slots: slot_count of a direct ring; 0: a ring for a remote peer. */
void crdma_ring_geometry_init(crdma_ring_geometry_t *geometry, uint32_t slots, uint32_t block_count,
                              uint32_t ll_max, uint32_t block_size);

/* A direct ring without LL messages. */
void crdma_ring_geometry_drop_ll(crdma_ring_geometry_t *geometry);

/* Fill cells and headers with marks that never match a position from `start` on. Fresh memory is zero, which
 * only positions that are multiples of 2^32 match: if one comes before the first scrubbing (invariant
 * 2), cell and slot of index 0 are marked. The rest is not touched, so it costs no memory. */
void crdma_ring_clear_cells(const crdma_ring_geometry_t *geometry, char *head, uint64_t start, bool fresh);
void crdma_ring_clear_slots(const crdma_ring_geometry_t *geometry, char *slots, uint64_t start,
                            bool fresh);
/* The same for the grants of a remote peer's ring. */
void crdma_ring_clear_grants(const crdma_ring_geometry_t *geometry, char *ring, bool fresh);

static inline uint64_t crdma_ring_never(uint64_t position)
{
    return (position + 1) << 32;
}

/* Invariant 2: after consuming p. */
void crdma_ring_scrub_cell(const crdma_ring_geometry_t *geometry, char *head, uint64_t position);
void crdma_ring_scrub_slot(const crdma_ring_geometry_t *geometry, char *slots, uint64_t position);

static inline int crdma_ring_needs_scrub(const crdma_ring_geometry_t *geometry, uint64_t position)
{
    return (position & 0x7fffffffu) < geometry->window && 0 != position >> 31;
}

static inline uint64_t *crdma_ring_cell(const crdma_ring_geometry_t *g, char *head, uint64_t p)
{
    return (uint64_t *) (head + g->cells + (size_t) (p & (g->cell_count - 1)) * g->cell_size);
}

/* The slots of a ring whose parts are there. */
static inline char *crdma_ring_slots(const crdma_ring_geometry_t *g, char *head, char *blocks)
{
    return (g->slots_in_head ? head : blocks) + g->slots;
}

static inline crdma_slot_t *crdma_ring_slot(const crdma_ring_geometry_t *g, char *slots,
                                            uint64_t p)
{
    return (crdma_slot_t *) (slots + (size_t) (p & (g->slot_count - 1)) * g->slot_stride);
}

/* Payload block i of a direct ring. */
static inline char *crdma_ring_payload(const crdma_ring_geometry_t *g, char *blocks, uint64_t i)
{
    return blocks + g->payload + (size_t) i * g->block_stride;
}

/* Offset of a grant in its ring: a line of flag, signature, length, then a crdma_exposed_t. */
static inline size_t crdma_ring_grant(const crdma_ring_geometry_t *g, uint64_t p)
{
    return g->grants + (size_t) (p & (g->slot_count - 1)) * CRDMA_GRANT_STRIDE;
}

/* What follows the header: the payload (remote), a name of GPU memory (direct). */
static inline char *crdma_slot_payload(crdma_slot_t *slot)
{
    return (char *) slot + CRDMA_LINE;
}

#endif
