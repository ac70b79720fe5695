/*
 * What every rank of a communicator keeps in its slab for all others to read or write: the
 * history of its calls (for finding out who disagrees), and its mailbox.
 *
 * Writers: the owner writes history and left; rank r alone writes mailbox[r]; poison may be written
 * by any rank, any number of times: the first nonzero value counts, all mean "failed".
 */
#ifndef CRDMA_ENGINE_REGION_H
#define CRDMA_ENGINE_REGION_H

#include <stdint.h>

#define CRDMA_HISTORY 64

typedef struct crdma_call {
    uint64_t seq; /* number of the call on this communicator, from 1; written last */
    uint64_t sig;
} crdma_call_t;

typedef struct crdma_region {
    uint64_t poison; /* 1 + rank that reported a failure */
    uint64_t left;   /* nonzero: the owner has freed the communicator or called MPI_Finalize */
    uint64_t pad[6];
    crdma_call_t history[CRDMA_HISTORY];
    uint64_t mailbox[]; /* by rank: see protocol/edge.h */
} crdma_region_t;

#endif
