/*
 * Ring layout and scrubbing; see ring.h for the invariants.
 */
#include "coll_rdma/protocol/ring.h"

#include "coll_rdma/protocol/ll.h"

static size_t round_up(size_t value, size_t unit)
{
    return (value + unit - 1) / unit * unit;
}

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

void crdma_ring_geometry_init(crdma_ring_geometry_t *g, uint32_t slots, uint32_t block_count,
                              uint32_t ll_max, uint32_t block_size)
{
    const bool direct = 0 != slots;

    g->block_count = block_count;
    g->cell_count = CRDMA_CELLS;
    g->slot_count = direct ? slots : block_count;
    g->window = g->slot_count > CRDMA_CELLS ? g->slot_count : CRDMA_CELLS;
    /* half of the smaller ring, so that no sender is stuck */
    g->credit_every = smaller(g->slot_count, CRDMA_CELLS) / 2;
    /* Of two blocks both: whoever needs one earlier asks for it (slot.h). */
    g->credit_blocks = 2 < block_count ? block_count / 2 : block_count;
    g->ll_max = ll_max;
    g->ll_below = ll_max + 1;
    g->block_size = block_size;
    g->inline_max = direct ? smaller(CRDMA_SLOT_INLINE, block_size / 2) : 0;
    g->cell_size = (uint32_t) round_up(crdma_ll_words(ll_max) * sizeof(uint64_t), CRDMA_LINE);
    g->cells = direct ? CRDMA_LINE_PAIR : CRDMA_LINE;
    g->head = g->cells + (size_t) g->cell_count * g->cell_size;
    g->slots_in_head = false;
    g->slots = 0;
    g->slot_stride = direct ? CRDMA_SLOT_STRIDE : CRDMA_LINE + block_size;
    g->block_stride = direct ? block_size : g->slot_stride;
    g->payload = direct ? (size_t) g->slot_count * g->slot_stride : CRDMA_LINE;
    g->blocks = (direct ? g->payload : 0) + (size_t) block_count * g->block_stride;
    g->size = g->head + g->blocks;
    g->grants = 2 * g->size;
    g->remote_size = g->grants + (size_t) g->slot_count * CRDMA_GRANT_STRIDE;
}

void crdma_ring_geometry_drop_ll(crdma_ring_geometry_t *g)
{
    g->ll_below = 0;
    g->slots_in_head = true;
    g->slots = CRDMA_LINE_PAIR;
    g->head = g->slots + (size_t) g->slot_count * g->slot_stride;
    g->payload = 0;
    g->blocks = (size_t) g->block_count * g->block_stride;
    g->size = g->head + g->blocks;
}

void crdma_ring_scrub_cell(const crdma_ring_geometry_t *g, char *head, uint64_t position)
{
    uint64_t *cell = crdma_ring_cell(g, head, position);

    for (uint32_t i = 0; i < g->cell_size / sizeof(*cell); ++i) {
        __atomic_store_n(&cell[i], crdma_ring_never(position), __ATOMIC_RELAXED);
    }
}

void crdma_ring_scrub_slot(const crdma_ring_geometry_t *g, char *slots, uint64_t position)
{
    __atomic_store_n(&crdma_ring_slot(g, slots, position)->flag, crdma_ring_never(position),
                     __ATOMIC_RELAXED);
}

/* How many of `count` must be cleared. */
static uint32_t to_clear(uint32_t count, uint64_t start, bool fresh)
{
    const uint32_t low = (uint32_t) start;

    if (!fresh) {
        return count;
    }
    return 0 == low || low > 0x80000000u ? 1 : 0;
}

void crdma_ring_clear_cells(const crdma_ring_geometry_t *g, char *head, uint64_t start, bool fresh)
{
    for (uint32_t i = 0; !g->slots_in_head && i < to_clear(g->cell_count, start, fresh); ++i) {
        crdma_ring_scrub_cell(g, head, i);
    }
}

void crdma_ring_clear_slots(const crdma_ring_geometry_t *g, char *slots, uint64_t start, bool fresh)
{
    for (uint32_t i = 0; i < to_clear(g->slot_count, start, fresh); ++i) {
        crdma_ring_scrub_slot(g, slots, i);
    }
}

void crdma_ring_clear_grants(const crdma_ring_geometry_t *g, char *ring, bool fresh)
{
    for (uint32_t i = 0; i < (fresh ? 1 : g->slot_count); ++i) {
        *(uint64_t *) (ring + crdma_ring_grant(g, i)) = crdma_ring_never(i);
    }
}
