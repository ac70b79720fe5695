/*
 * What every rank of a communicator keeps in its slab for all others to read or write: the
 * history of its calls (for finding out who disagrees), and its mailbox.
 *
 * Writers: the owner writes history, left and board; board_left is counted up by all others
 * (group.c); rank r alone writes mailbox[r]. poison is written by the owner when a call of its has
 * failed, so that whoever waits for it can see that, and by ranks with an open edge to the owner,
 * so that it need not wait: all values mean "failed". Nobody else may write: without an edge the
 * memory may long have been recycled (edge.h, invariant 4), unless the group has a board and the
 * writer has not counted itself out.
 */
#ifndef CRDMA_ENGINE_REGION_H
#define CRDMA_ENGINE_REGION_H

#include <stdint.h>

#define CRDMA_HISTORY 64
#define CRDMA_NO_BOARD ((uint64_t) 1)

typedef struct crdma_call {
    uint64_t seq; /* number of the call on this communicator, from 1; written last */
    uint64_t sig;
} crdma_call_t;

typedef struct crdma_region {
    uint64_t poison; /* 1 + rank that reported a failure */
    uint64_t left;   /* nonzero: the owner has freed the communicator or called MPI_Finalize */
    uint64_t board;      /* of rank 0: where its slab holds the board, or CRDMA_NO_BOARD; set before
                            the group's first call */
    uint64_t board_left; /* of a group with a board: ranks that will not touch this region again, nor
                            the board if it is rank 0's */
    uint64_t pad[4];
    crdma_call_t history[CRDMA_HISTORY];
    uint64_t mailbox[]; /* by rank: see protocol/edge.h */
} crdma_region_t;

#endif
