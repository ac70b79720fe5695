/*
 * Ring layout and scrubbing; see ring.h for the invariants.
 */
#include "coll_rdma/protocol/ring.h"

#include "coll_rdma/protocol/ll.h"

static size_t round_up(size_t value, size_t unit)
{
    return (value + unit - 1) / unit * unit;
}

void crdma_ring_geometry_init(crdma_ring_geometry_t *g, uint32_t block_count,
                              uint32_t ll_max, uint32_t block_size)
{
    g->block_count = block_count;
    g->cell_count = CRDMA_CELLS;
    g->window = block_count > CRDMA_CELLS ? block_count : CRDMA_CELLS;
    /* half of the smaller ring, so that no sender is stuck */
    g->credit_every = (block_count < CRDMA_CELLS ? block_count : CRDMA_CELLS) / 2;
    g->ll_max = ll_max;
    g->block_size = block_size;
    g->cell_size = (uint32_t) round_up(crdma_ll_words(ll_max) * sizeof(uint64_t), CRDMA_LINE);
    g->block_stride = CRDMA_LINE + block_size;
    g->cells = CRDMA_LINE;
    g->head = g->cells + (size_t) g->cell_count * g->cell_size;
    g->blocks = (size_t) block_count * g->block_stride;
    g->size = g->head + g->blocks;
    g->grants = 2 * g->size;
    g->remote_size = g->grants + (size_t) block_count * CRDMA_GRANT_STRIDE;
}

void crdma_ring_scrub_cell(const crdma_ring_geometry_t *g, char *ring, uint64_t position)
{
    uint64_t *cell = crdma_ring_cell(g, ring, position);

    for (uint32_t i = 0; i < g->cell_size / sizeof(*cell); ++i) {
        __atomic_store_n(&cell[i], crdma_ring_never(position), __ATOMIC_RELAXED);
    }
}

void crdma_ring_scrub_block(const crdma_ring_geometry_t *g, char *blocks, uint64_t position)
{
    __atomic_store_n(&crdma_ring_block(g, blocks, position)->flag, crdma_ring_never(position),
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

void crdma_ring_clear_head(const crdma_ring_geometry_t *g, char *ring, uint64_t start, bool fresh)
{
    for (uint32_t i = 0; i < to_clear(g->cell_count, start, fresh); ++i) {
        crdma_ring_scrub_cell(g, ring, i);
    }
}

void crdma_ring_clear_blocks(const crdma_ring_geometry_t *g, char *blocks, uint64_t start, bool fresh)
{
    for (uint32_t i = 0; i < to_clear(g->block_count, start, fresh); ++i) {
        crdma_ring_scrub_block(g, blocks, i);
    }
}

void crdma_ring_clear_grants(const crdma_ring_geometry_t *g, char *ring, bool fresh)
{
    for (uint32_t i = 0; i < (fresh ? 1 : g->block_count); ++i) {
        *(uint64_t *) (ring + crdma_ring_grant(g, i)) = crdma_ring_never(i);
    }
}
