/*
 * The board: memory of one rank of a group on one host, in which every rank leaves what it gives to
 * a collective and from which whoever needs it reads. For ranks that share processors: there a call
 * costs as many hand-overs of a processor as ranks must run one after the other, and each of them
 * starts with cold caches. Through the board a call needs one visit of every rank, whatever its
 * size, and a visit touches a few neighbouring lines instead of a ring per peer.
 *
 * Calls (segments of long ones) have numbers, equal on all ranks, from 1. In a rooted call
 * (broadcast, reduce) some ranks go on while others have not come; in a common one (allreduce,
 * barrier) all wait for all.
 *
 *   done[r]   the last number that rank r has finished with
 *   cards     a line per rank: number, signature, a hash of the signatures of the calls before (a rank
 *             that took itself for the root of a broadcast leaves nothing behind that somebody would take),
 *             where the payload is, and the payload if it is tiny; 64 generations for rooted calls, so
 *             far a root runs ahead, 2 for common ones
 *   slots     larger payloads: of three sizes each rank has 8, 4 and 2, which it takes in turn
 *
 * A little board has 8 generations, and 2 slots of the smallest size.
 *
 * and for common calls
 *
 *   arrivals  counts the ranks that have come
 *   release   a card: the number of the last call that is complete, and its result
 *   claim     number << 32 | next piece of a result that nobody computes yet
 *   pieces    pieces of it that are computed
 *
 * Invariants:
 * 1. Cards and slots of r are written by r alone, but for results: the payload of rank 0 becomes
 * the result, written by who has claimed a piece (engine/run_board.c).
 * 2. A card or slot is written only when all ranks have finished the call that it was used for
 * before: the acquire loads of done pair with the release stores of those who have read it. Cards
 * of common calls need no look: everybody has come to the last one, so nobody is still in the one
 * before.
 * 3. The number of a card is stored last (release) and loaded first (acquire): then the rest of it
 * and the payload are those of this call.
 * 4. arrivals grows by exactly the number of ranks per common call, because nobody passes one
 * before it is complete. So whoever adds the last one sees all cards: each addition is a release
 * and an acquire.
 * 5. The memory returns to its owner's slab when all others have left the group (engine/group.c).
 */
#ifndef CRDMA_PROTOCOL_BOARD_H
#define CRDMA_PROTOCOL_BOARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "coll_rdma/memory/slab.h"

#define CRDMA_BOARD_RANKS  128 /* at most */
#define CRDMA_BOARD_TINY   32  /* bytes of payload in a card */
#define CRDMA_BOARD_KINDS  3   /* of slots */
#define CRDMA_BOARD_SLOTS  8   /* at most, of a rank and kind */

typedef struct crdma_board_card {
    uint64_t number;
    uint64_t sig;
    uint64_t past;
    uint64_t where; /* offset of the payload from the board's beginning */
    char data[CRDMA_BOARD_TINY];
} crdma_board_card_t;

_Static_assert(sizeof(crdma_board_card_t) == 64, "a card is one line");

typedef struct crdma_board_head {
    _Alignas(64) uint64_t arrivals;
    _Alignas(64) crdma_board_card_t release;
    _Alignas(64) uint64_t claim;
    uint64_t pieces;
} crdma_board_head_t;

/* One rank's view of it. */
typedef struct crdma_board {
    crdma_board_head_t *head; /* the beginning of the board */
    uint64_t *done;
    crdma_board_card_t *rooted, *common; /* cards by generation, then rank */
    uint64_t number;                     /* of the last call */
    uint64_t nrooted, ncommon;
    uint64_t past;   /* of my calls */
    uint64_t credit; /* all ranks are known to have finished this number */
    uint64_t generations; /* of rooted cards */
    int rank, size;
    bool little;
    /* my slots, by kind: where the first is, from one to the next, which is the next, the last
     * calls that each was used for */
    uint64_t slot[CRDMA_BOARD_KINDS], stride[CRDMA_BOARD_KINDS];
    unsigned next[CRDMA_BOARD_KINDS];
    uint64_t used[CRDMA_BOARD_KINDS][CRDMA_BOARD_SLOTS];
} crdma_board_t;

/* Bytes of a board for so many ranks; the first *clear of them must be zero at the beginning. */
size_t crdma_board_size(int ranks, bool little, size_t *clear);

/* Largest payload of one call. */
size_t crdma_board_most(int ranks, bool little);

void crdma_board_attach(crdma_board_t *board, int rank, int size, bool little, void *memory);

/* All ranks have finished with call `number`; else *behind is one that has not. */
bool crdma_board_finished(crdma_board_t *board, uint64_t number, int *behind);

/* Invariant 2, for a payload of len bytes of the next call, whose number is counted already: the
 * last call that must be finished. */
uint64_t crdma_board_before(const crdma_board_t *board, bool rooted, size_t len);

/* Where this payload goes, which is then in use for call `number`: an offset. */
uint64_t crdma_board_take_slot(crdma_board_t *board, size_t len);

static inline void *crdma_board_at(const crdma_board_t *b, uint64_t where)
{
    return (char *)b->head + where;
}

/* The card of `rank` in the call counted last. */
static inline crdma_board_card_t *crdma_board_card(const crdma_board_t *b, bool rooted, int rank)
{
    return rooted
               ? &b->rooted[(b->nrooted % b->generations) * (uint64_t)b->size + (uint64_t)rank]
               : &b->common[(b->ncommon % 2) * (uint64_t)b->size + (uint64_t)rank];
}

/* I have finished with the last call: pairs with crdma_board_finished. */
static inline void crdma_board_finish(crdma_board_t *b)
{
    __atomic_store_n(&b->done[b->rank], b->number, __ATOMIC_RELEASE);
}

#endif
