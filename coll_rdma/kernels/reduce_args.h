/*
 * What a reduction kernel is called with, and how its host side lays out the work.
 *
 * dst[i] = (..(src[0][i] op src[1][i]) op ..) op src[nsrc-1][i] for i < count: as the host's kernels
 * (device/reduce.h), of packed elements at any address; dst may be exactly one of the sources.
 *
 * Work is cut into units of whole elements and whole 16-byte vectors: one vector where the size of an
 * element divides 16, three for elements of 6 and 12 bytes. `head` elements come first, one by
 * one, so that dst is aligned behind them; the units are then loaded and stored in words of `width`
 * bytes, the alignment that all addresses have there; what is left is done one by one again.
 */
#ifndef CRDMA_KERNELS_REDUCE_ARGS_H
#define CRDMA_KERNELS_REDUCE_ARGS_H

#include <stddef.h>
#include <stdint.h>

enum {
    CRDMA_KERNEL_FANIN = 16, /* sources of one launch */
    CRDMA_KERNEL_VECTOR = 16, /* bytes */
    CRDMA_KERNEL_THREADS = 256
};

typedef struct crdma_kernel_args {
    void *dst;
    const void *src[CRDMA_KERNEL_FANIN];
    uint64_t count;
    uint32_t nsrc;  /* 1 .. CRDMA_KERNEL_FANIN */
    uint32_t head;  /* elements */
    uint32_t width; /* 16, 8, 4 or 1 */
} crdma_kernel_args_t;

/* Bytes of a unit of elements of this size. */
#define CRDMA_KERNEL_UNIT(size) (0 == CRDMA_KERNEL_VECTOR % (size) ? 16 : 48)

/* Fill in head and width; returns the number of threads that find work at once. */
static inline uint64_t crdma_kernel_layout(crdma_kernel_args_t *a, size_t size)
{
    const size_t unit = CRDMA_KERNEL_UNIT(size);
    uintptr_t bits;
    uint64_t units, rest;

    a->head = 0;
    for (uint32_t k = 0; k < CRDMA_KERNEL_VECTOR; ++k) {
        if (0 == ((uintptr_t) a->dst + k * size) % CRDMA_KERNEL_VECTOR) {
            a->head = k;
            break;
        }
    }
    if (a->head > a->count) {
        a->head = (uint32_t) a->count;
    }
    bits = (uintptr_t) a->dst + a->head * size;
    for (uint32_t s = 0; s < a->nsrc; ++s) {
        bits |= (uintptr_t) a->src[s] + a->head * size;
    }
    a->width = 0 == bits % 16 ? 16 : 0 == bits % 8 ? 8 : 0 == bits % 4 ? 4 : 1;
    units = (a->count - a->head) * size / unit;
    rest = a->count - units * (unit / size);
    return units > rest ? units : rest;
}

#endif
