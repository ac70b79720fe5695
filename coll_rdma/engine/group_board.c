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

/* Boards of a process: a communicator beyond them exchanges messages. */
#define BOARDS 8

static int boards;

/* Rank 0: memory for the board; without it the group has none. The others read the word in its
 * first call. */
static void make_board(crdma_group_t *g)
{
    uint64_t word = CRDMA_NO_BOARD;
    size_t clear;
    bool fresh;

    g->board_size = crdma_board_size(g->size, &clear);
    if (BOARDS < __atomic_add_fetch(&boards, 1, __ATOMIC_RELAXED)) {
        __atomic_sub_fetch(&boards, 1, __ATOMIC_RELAXED);
    } else if (CRDMA_OK != crdma_slab_reserve(g->slab, g->board_size)) {
        __atomic_sub_fetch(&boards, 1, __ATOMIC_RELAXED);
    } else if (CRDMA_OK != crdma_slab_alloc(g->slab, g->board_size, &g->board_addr, &fresh)) {
        crdma_slab_unreserve(g->slab, g->board_size);
        __atomic_sub_fetch(&boards, 1, __ATOMIC_RELAXED);
        g->board_addr = 0;
    } else {
        if (!fresh) {
            memset(crdma_slab_at(g->slab, g->board_addr), 0, clear);
        }
        word = g->board_addr;
    }
    /* Release: the cleared board is there before its address. Pairs with crdma_group_board. */
    __atomic_store_n(&g->region->board, word, __ATOMIC_RELEASE);
}

void crdma_board_release(crdma_slab_t *slab, crdma_addr_t addr, size_t size)
{
    if (0 != addr) {
        crdma_slab_free(slab, addr, size);
        crdma_slab_unreserve(slab, size);
        __atomic_sub_fetch(&boards, 1, __ATOMIC_RELAXED);
    }
}

crdma_region_t *crdma_group_first_region(const crdma_group_t *g)
{
    return 0 == g->rank ? g->region
                        : (crdma_region_t *)(g->peers[0]->map + crdma_group_region_of(g, 0));
}

bool crdma_group_board(crdma_group_t *g)
{
    const crdma_region_t *region;
    uint64_t addr;

    if (NULL != g->board.head) {
        return true;
    }
    if (!g->has_board) {
        return false;
    }
    region = crdma_group_first_region(g);
    /* Set before anybody makes a call, where groups are finished between collectives
     * (component/setup.c). */
    while (0 == (addr = __atomic_load_n(&region->board, __ATOMIC_ACQUIRE))) {
        sched_yield();
    }
    if (CRDMA_NO_BOARD == addr) {
        return false;
    }
    crdma_board_attach(&g->board, g->rank, g->size,
                       0 == g->rank ? crdma_slab_at(g->slab, addr) : g->peers[0]->map + addr);
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
