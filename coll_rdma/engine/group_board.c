/*
 * Which groups have a board (protocol/board.h): ranks of one host that share processors. Its memory
 * is in rank 0's slab; rank 0 tells where in its region, before anybody can make a call, and
 * everybody attaches it at the first call. It goes with rank 0's region (group.c).
 */
#include <sched.h>
#include <string.h>

#include "coll_rdma/base/params.h"
#include "coll_rdma/engine/op_internal.h"

/* Calls of any size go through the board. Time against Open MPI's default in one job, by messages
 * -> by the board, 16 ranks on 2 processors: broadcast of 4 KB 0.80 -> 0.20, 256 KB 0.98 -> 0.49,
 * 16 MB 0.80 -> 0.68; reduce of 64 KB 1.33 -> 0.34, 1 MB 0.63 -> 0.29; allreduce of 16 KB 0.20 ->
 * 0.12, 1 MB 0.67 -> 0.52, 16 MB 0.92 -> 0.67; 4 and 8 ranks in doc/performance.md. */

/* Boards of a process: communicators beyond them get little ones, whose larger calls exchange
 * messages, as long as all of those take no more than a part of the slab. */
#define BOARDS      8
#define LITTLE_PART 8

/* In the word that tells where a board is; addresses are multiples of more. */
#define LITTLE 2u

static int boards;
static size_t little_bytes;

static void give_back(bool little, size_t size)
{
    if (little) {
        __atomic_sub_fetch(&little_bytes, size, __ATOMIC_RELAXED);
    } else {
        __atomic_sub_fetch(&boards, 1, __ATOMIC_RELAXED);
    }
}

/* Is there a board left of this kind? If so it is counted. */
static bool take(const crdma_slab_t *slab, bool little, size_t size)
{
    if (little && slab->size / LITTLE_PART >=
                      __atomic_add_fetch(&little_bytes, size, __ATOMIC_RELAXED)) {
        return true;
    }
    if (!little && BOARDS >= __atomic_add_fetch(&boards, 1, __ATOMIC_RELAXED)) {
        return true;
    }
    give_back(little, size);
    return false;
}

static bool try_board(crdma_group_t *g, bool little)
{
    size_t clear;
    bool fresh;

    g->board_size = crdma_board_size(g->size, little, &clear);
    if (!take(g->slab, little, g->board_size)) {
        return false;
    }
    if (CRDMA_OK == crdma_slab_reserve(g->slab, g->board_size)) {
        if (CRDMA_OK == crdma_slab_alloc(g->slab, g->board_size, &g->board_addr, &fresh)) {
            if (!fresh) {
                memset(crdma_slab_at(g->slab, g->board_addr), 0, clear);
            }
            g->board_addr |= little ? LITTLE : 0;
            return true;
        }
        crdma_slab_unreserve(g->slab, g->board_size);
    }
    give_back(little, g->board_size);
    g->board_addr = 0;
    return false;
}

/* Rank 0: memory for the board; without it the group has none. The others read the word in its
 * first call. */
static void make_board(crdma_group_t *g)
{
    const bool made = try_board(g, false) || try_board(g, true);

    /* Release: the cleared board is there before its address. Pairs with crdma_group_board. */
    __atomic_store_n(&g->region->board, made ? g->board_addr : CRDMA_NO_BOARD, __ATOMIC_RELEASE);
}

void crdma_board_release(crdma_slab_t *slab, crdma_addr_t addr, size_t size)
{
    if (0 != addr) {
        crdma_slab_free(slab, addr & ~(crdma_addr_t)LITTLE, size);
        crdma_slab_unreserve(slab, size);
        give_back(0 != (addr & LITTLE), size);
    }
}

crdma_region_t *crdma_group_peer_region(const crdma_group_t *g, int rank)
{
    return rank == g->rank
               ? g->region
               : (crdma_region_t *)(g->peers[rank]->map + crdma_group_region_of(g, rank));
}

bool crdma_group_board(crdma_group_t *g)
{
    const crdma_region_t *region;
    uint64_t addr;
    bool little;

    if (NULL != g->board.head) {
        return true;
    }
    if (!g->has_board) {
        return false;
    }
    region = crdma_group_peer_region(g, 0);
    /* Set before anybody makes a call, where groups are finished between collectives
     * (component/setup.c). */
    while (0 == (addr = __atomic_load_n(&region->board, __ATOMIC_ACQUIRE))) {
        sched_yield();
    }
    if (CRDMA_NO_BOARD == addr) {
        return false;
    }
    little = 0 != (addr & LITTLE);
    addr &= ~(uint64_t)LITTLE;
    crdma_board_attach(&g->board, g->rank, g->size, little,
                       0 == g->rank ? crdma_slab_at(g->slab, addr) : g->peers[0]->map + addr);
    for (int c = 0; little && c < CRDMA_NCOLLS; ++c) {
        const size_t most = crdma_board_most(g->size, true);

        g->board_max[c] = g->board_max[c] < most ? g->board_max[c] : most;
    }
    return true;
}

void crdma_group_set_board(crdma_group_t *g, bool wanted)
{
    g->has_board = g->oversubscribed && g->all_direct && 1 == g->nnodes && 2 < g->size &&
                   CRDMA_BOARD_RANKS >= g->size && wanted && 1 != crdma_params.board_max;
    for (int c = 0; c < CRDMA_NCOLLS; ++c) {
        g->board_max[c] = !g->has_board || CRDMA_BARRIER == c ? 0
                          : 0 != crdma_params.board_max       ? crdma_params.board_max
                                                              : SIZE_MAX;
        /* Who asks for rendezvous from some size on gets it. */
        if (0 != crdma_params.rendezvous_min && g->board_max[c] >= crdma_params.rendezvous_min) {
            g->board_max[c] = crdma_params.rendezvous_min - 1;
        }
    }
    if (g->has_board && 0 == g->rank) {
        make_board(g);
    }
}

void crdma_group_drop_board(crdma_group_t *g)
{
    crdma_board_release(g->slab, g->board_addr, g->board_size);
    g->board_addr = 0;
    g->has_board = false;
}
