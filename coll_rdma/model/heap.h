/*
 * A heap of ranks by time, four children to a node: half as deep as a binary one, and the children
 * share a cache line. Equal times leave in the order of ranks, so that a walk gives the same result
 * every time.
 */
#ifndef CRDMA_MODEL_HEAP_H
#define CRDMA_MODEL_HEAP_H

#include <float.h>
#include <stdlib.h>

#include "coll_rdma/base/status.h"

typedef struct crdma_heap_entry {
    double at;
    int rank;
} crdma_heap_entry_t;

typedef struct crdma_heap {
    crdma_heap_entry_t *entry;
    int n;
} crdma_heap_t;

/* Room for one entry per rank. */
static inline crdma_status_t crdma_heap_create(crdma_heap_t *heap, int ranks)
{
    heap->n = 0;
    heap->entry = malloc((size_t) ranks * sizeof(*heap->entry));
    return NULL != heap->entry ? CRDMA_OK : CRDMA_ERR_NOMEM;
}

static inline void crdma_heap_destroy(crdma_heap_t *heap)
{
    free(heap->entry);
}

static inline int crdma_heap_before(const crdma_heap_entry_t *a, const crdma_heap_entry_t *b)
{
    return a->at < b->at || (!(a->at > b->at) && a->rank < b->rank);
}

static inline void crdma_heap_push(crdma_heap_t *heap, double at, int rank)
{
    const crdma_heap_entry_t mine = {at, rank};
    int i = heap->n++;

    while (i > 0 && crdma_heap_before(&mine, &heap->entry[(i - 1) / 4])) {
        heap->entry[i] = heap->entry[(i - 1) / 4];
        i = (i - 1) / 4;
    }
    heap->entry[i] = mine;
}

/* The rank with the least time; heap->n > 0. */
static inline int crdma_heap_pop(crdma_heap_t *heap)
{
    const int rank = heap->entry[0].rank;
    const crdma_heap_entry_t moved = heap->entry[--heap->n];
    int i = 0;

    for (int child = 1; child < heap->n; child = 4 * i + 1) {
        const int end = child + 4 < heap->n ? child + 4 : heap->n;

        for (int other = child + 1; other < end; ++other) {
            child = crdma_heap_before(&heap->entry[other], &heap->entry[child]) ? other : child;
        }
        if (!crdma_heap_before(&heap->entry[child], &moved)) {
            break;
        }
        heap->entry[i] = heap->entry[child];
        i = child;
    }
    if (0 < heap->n) {
        heap->entry[i] = moved;
    }
    return rank;
}

/* The least time, DBL_MAX if there is none. */
static inline double crdma_heap_least(const crdma_heap_t *heap)
{
    return 0 < heap->n ? heap->entry[0].at : DBL_MAX;
}

#endif
