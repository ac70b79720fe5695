/*
 * The layout of a board, and when its parts are free; see board.h.
 */
#include "coll_rdma/protocol/board.h"

#include "coll_rdma/protocol/ring.h"

/* Slots of a rank: few large ones, which should stay in the caches, more small ones, so that ranks
 * that do not wait for each other get more calls done before they yield. */
static const unsigned nslots[2][CRDMA_BOARD_KINDS] = {{CRDMA_BOARD_SLOTS, 4, 2}, {2, 0, 0}};
static const unsigned ngenerations[2] = {64, 8}; /* the second of both: of a little board */
#define SMALL  1024
#define MIDDLE (16 * 1024)
/* One large slot of all ranks together, and the limits of one. */
#define LARGE_ALL   (4u << 20)
#define LARGE_LEAST (32 * 1024)
#define LARGE_MOST  (1024 * 1024)
/* Between the slots of two ranks, so that operands of one reduction do not all fall on the same lines of a
 * cache: a few odd lines. */
#define APART (5 * CRDMA_LINE)

static size_t lines(size_t size)
{
    return (size + CRDMA_LINE - 1) / CRDMA_LINE * CRDMA_LINE;
}

static size_t large(int ranks)
{
    size_t size = LARGE_MOST;

    while (size > LARGE_LEAST && size * (size_t)ranks > LARGE_ALL) {
        size /= 2;
    }
    return size;
}

static size_t slot_size(int kind, int ranks)
{
    return 0 == kind ? SMALL : 1 == kind ? MIDDLE : large(ranks);
}

/* Common cards before rooted ones: with the head they are all that an allreduce of little touches.
 */
static size_t control_size(int ranks, bool little)
{
    return lines(sizeof(crdma_board_head_t)) + lines((size_t)ranks * sizeof(uint64_t)) +
           (2 + ngenerations[little]) * (size_t)ranks * sizeof(crdma_board_card_t);
}

static size_t pages(size_t size)
{
    return (size + 4095) & ~(size_t)4095;
}

size_t crdma_board_size(int ranks, bool little, size_t *clear)
{
    size_t size = pages(control_size(ranks, little));

    *clear = control_size(ranks, little);
    for (int kind = 0; kind < CRDMA_BOARD_KINDS; ++kind) {
        size += nslots[little][kind] * (size_t)ranks * (slot_size(kind, ranks) + APART);
    }
    return pages(size);
}

size_t crdma_board_most(int ranks, bool little)
{
    return little ? SMALL : large(ranks);
}

void crdma_board_attach(crdma_board_t *b, int rank, int size, bool little, void *memory)
{
    size_t at = pages(control_size(size, little));

    *b = (crdma_board_t){
        .rank = rank, .size = size, .little = little, .generations = ngenerations[little]};
    b->head = memory;
    b->done = crdma_board_at(b, lines(sizeof(crdma_board_head_t)));
    b->common = (crdma_board_card_t *)((char *)b->done + lines((size_t)size * sizeof(uint64_t)));
    b->rooted = b->common + 2 * size;
    for (int kind = 0; kind < CRDMA_BOARD_KINDS; ++kind) {
        const size_t each = slot_size(kind, size) + APART;

        /* the n-th slots of all ranks are neighbours */
        b->stride[kind] = each * (size_t)size;
        b->slot[kind] = at + each * (size_t)rank;
        at += nslots[little][kind] * b->stride[kind];
    }
}

static int kind_of(size_t len)
{
    return len <= SMALL ? 0 : len <= MIDDLE ? 1 : 2;
}

uint64_t crdma_board_before(const crdma_board_t *b, bool rooted, size_t len)
{
    uint64_t before = 0;

    if (rooted && b->number > b->generations) {
        before = b->number - b->generations;
    }
    if (len > CRDMA_BOARD_TINY) {
        const int kind = kind_of(len);
        const uint64_t used = b->used[kind][b->next[kind]];

        before = used > before ? used : before;
    }
    return before;
}

uint64_t crdma_board_take_slot(crdma_board_t *b, size_t len)
{
    const int kind = kind_of(len);
    const unsigned i = b->next[kind];

    b->used[kind][i] = b->number;
    b->next[kind] = (i + 1) % nslots[b->little][kind];
    return b->slot[kind] + i * b->stride[kind];
}

bool crdma_board_finished(crdma_board_t *b, uint64_t number, int *behind)
{
    uint64_t least = UINT64_MAX;

    if (number <= b->credit) {
        return true;
    }
    for (int r = 0; r < b->size; ++r) {
        const uint64_t done =
            r == b->rank ? b->number - 1 : __atomic_load_n(&b->done[r], __ATOMIC_ACQUIRE);

        if (done < least) {
            least = done;
            *behind = r;
        }
    }
    b->credit = least;
    return number <= least;
}
