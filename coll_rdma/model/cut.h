/*
 * How a call's bytes are cut into segments and blocks: as engine/op.c does it.
 */
#ifndef CRDMA_MODEL_CUT_H
#define CRDMA_MODEL_CUT_H

#include <stddef.h>
#include <stdint.h>

#include "coll_rdma/schedule/schedule.h"

typedef struct crdma_cut {
    size_t elsize; /* bytes */
    size_t grain;  /* elements per cache line */
    size_t count;  /* elements of the call */
    size_t each;   /* elements of a segment but the last */
    int64_t nseg;
    int nblocks;
} crdma_cut_t;

/* segment 0: one; elsize 0: 4 bytes, or 1 where that does not divide `bytes`. */
static inline void crdma_cut_init(crdma_cut_t *c, size_t bytes, size_t segment, size_t elsize,
                                  int nblocks)
{
    c->elsize = 0 != elsize ? elsize : 0 == bytes % 4 ? 4 : 1;
    c->grain = c->elsize <= 64 && 0 == (c->elsize & (c->elsize - 1)) ? 64 / c->elsize : 1;
    c->count = bytes / c->elsize;
    c->each = c->count;
    c->nseg = 1;
    c->nblocks = nblocks;
    if (0 != segment && segment < bytes) {
        c->each = segment / c->elsize / c->grain * c->grain;
        c->each = 0 == c->each ? c->grain : c->each;
        c->nseg = (int64_t) ((c->count + c->each - 1) / c->each);
    }
}

/* Bytes of blocks [block, block + n) of segment `seg`. */
static inline size_t crdma_cut_length(const crdma_cut_t *c, int64_t seg, int block, int n)
{
    const size_t first = (size_t) seg * c->each;
    const size_t count = c->count - first < c->each ? c->count - first : c->each;
    size_t begin, end;

    if (0 == n) {
        return 0;
    }
    if (1 == c->nblocks) {
        return count * c->elsize;
    }
    crdma_sched_range(count, c->grain, c->nblocks, block, n, &begin, &end);
    return (end - begin) * c->elsize;
}

#endif
