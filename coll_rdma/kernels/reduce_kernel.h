/*
 * The one reduction kernel, as a macro over operation and type: what a thread of many does. Compiled by
 * nvcc for GPUs (reduce.cu) and by the host's compiler for the tests, from these lines.
 *
 *     thread t of n:   units t, t + n, t + 2n, ..   then single elements t, t + n, ..
 *
 *     dst   |..head..|unit|unit|unit|unit| .. |unit|..tail..|       head + tail: single elements
 *
 * Conditions:
 *   1. An element is read from all sources and then written by one thread, and no other thread
 *      touches it: dst may be one of the sources.
 *   2. Nothing is assumed about addresses but what `width` says.
 *   3. Folds go from the left (device/reduce.h), so bits are those of the host's kernels; nvcc must not
 *      contract a * b + c (-fmad=false). A NaN is a NaN, but GPUs do not keep its bits.
 *
 * Vectors of 16 bytes with 2 to 4 sources, the common case, are a loop of their own for each number of
 * sources, whose loads are all under way before the first one is used.
 */
#ifndef CRDMA_KERNELS_REDUCE_KERNEL_H
#define CRDMA_KERNELS_REDUCE_KERNEL_H

#include "coll_rdma/kernels/reduce_args.h"
#include "coll_rdma/kernels/reduce_ops.h"

#ifdef __CUDACC__
#define CRDMA_WORD(type) type
#define CRDMA_UNROLL     _Pragma("unroll")
typedef uint4 crdma_vector_t;
#else
#define CRDMA_WORD(type) type __attribute__((may_alias))
#define CRDMA_UNROLL
typedef struct __attribute__((aligned(16), may_alias)) {
    uint32_t x, y, z, w;
} crdma_vector_t;
#endif

typedef CRDMA_WORD(uint64_t) crdma_word8_t;
typedef CRDMA_WORD(uint32_t) crdma_word4_t;
typedef CRDMA_WORD(unsigned char) crdma_word1_t;

/* Copies between memory and registers, in words of `width` bytes; `bytes` is a constant. */
#define CRDMA_COPY_WORDS(word, to, from, bytes)                                                    \
    CRDMA_UNROLL                                                                                   \
    for (unsigned i = 0; i < (bytes) / sizeof(word); ++i) {                                        \
        ((word *)(to))[i] = ((const word *)(from))[i];                                             \
    }

CRDMA_INLINE void crdma_copy_unit(void *to, const void *from, const unsigned bytes,
                                  const uint32_t width)
{
    if (16 == width) {
        CRDMA_COPY_WORDS(crdma_vector_t, to, from, bytes)
    } else if (8 == width) {
        CRDMA_COPY_WORDS(crdma_word8_t, to, from, bytes)
    } else if (4 == width) {
        CRDMA_COPY_WORDS(crdma_word4_t, to, from, bytes)
    } else {
        CRDMA_COPY_WORDS(crdma_word1_t, to, from, bytes)
    }
}

#define CRDMA_DEFINE_FOLD(op, tag)                                                                 \
    enum { CRDMA_FOLD_UNIT_##op##_##tag = CRDMA_KERNEL_UNIT(sizeof(crdma_##tag##_t)) };            \
    typedef union {                                                                                \
        crdma_vector_t vector[CRDMA_FOLD_UNIT_##op##_##tag / CRDMA_KERNEL_VECTOR];                 \
        crdma_##tag##_t e[CRDMA_FOLD_UNIT_##op##_##tag / sizeof(crdma_##tag##_t)];                 \
    } crdma_fold_unit_##op##_##tag##_t;                                                            \
                                                                                                   \
    CRDMA_INLINE void crdma_fold_units_##op##_##tag(const crdma_kernel_args_t *a, uint64_t thread, \
                                                    uint64_t nthreads, const uint32_t nsrc,        \
                                                    const uint32_t width)                          \
    {                                                                                              \
        const unsigned size = sizeof(crdma_##tag##_t), unit = CRDMA_FOLD_UNIT_##op##_##tag;        \
        const uint64_t units = (a->count - a->head) * size / unit;                                 \
                                                                                                   \
        for (uint64_t u = thread; u < units; u += nthreads) {                                      \
            const uint64_t at = a->head * size + u * unit;                                         \
            crdma_fold_unit_##op##_##tag##_t acc, x;                                               \
                                                                                                   \
            crdma_copy_unit(&acc, (const char *)a->src[0] + at, unit, width);                      \
            CRDMA_UNROLL                                                                           \
            for (uint32_t s = 1; s < nsrc; ++s) {                                                  \
                crdma_copy_unit(&x, (const char *)a->src[s] + at, unit, width);                    \
                CRDMA_UNROLL                                                                       \
                for (unsigned i = 0; i < unit / size; ++i) {                                       \
                    acc.e[i] = crdma_##op##_##tag(acc.e[i], x.e[i]);                               \
                }                                                                                  \
            }                                                                                      \
            crdma_copy_unit((char *)a->dst + at, &acc, unit, width);                               \
        }                                                                                          \
    }                                                                                              \
                                                                                                   \
    CRDMA_INLINE void crdma_fold_##op##_##tag(const crdma_kernel_args_t *a, uint64_t thread,       \
                                              uint64_t nthreads)                                   \
    {                                                                                              \
        const unsigned size = sizeof(crdma_##tag##_t), unit = CRDMA_FOLD_UNIT_##op##_##tag;        \
        const uint64_t in_units = (a->count - a->head) * size / unit * (unit / size);              \
                                                                                                   \
        if (16 != a->width) {                                                                      \
            crdma_fold_units_##op##_##tag(a, thread, nthreads, a->nsrc, a->width);                 \
        } else if (2 == a->nsrc) {                                                                 \
            crdma_fold_units_##op##_##tag(a, thread, nthreads, 2, 16);                             \
        } else if (3 == a->nsrc) {                                                                 \
            crdma_fold_units_##op##_##tag(a, thread, nthreads, 3, 16);                             \
        } else if (4 == a->nsrc) {                                                                 \
            crdma_fold_units_##op##_##tag(a, thread, nthreads, 4, 16);                             \
        } else {                                                                                   \
            crdma_fold_units_##op##_##tag(a, thread, nthreads, a->nsrc, 16);                       \
        }                                                                                          \
        for (uint64_t i = thread; i < a->count - in_units; i += nthreads) {                        \
            const uint64_t at = (i < a->head ? i : i + in_units) * size;                           \
            crdma_##tag##_t acc, x;                                                                \
                                                                                                   \
            crdma_copy_unit(&acc, (const char *)a->src[0] + at, size, 1);                          \
            for (uint32_t s = 1; s < a->nsrc; ++s) {                                               \
                crdma_copy_unit(&x, (const char *)a->src[s] + at, size, 1);                        \
                acc = crdma_##op##_##tag(acc, x);                                                  \
            }                                                                                      \
            crdma_copy_unit((char *)a->dst + at, &acc, size, 1);                                   \
        }                                                                                          \
    }

CRDMA_REDUCE_KERNELS(CRDMA_DEFINE_FOLD)

#endif
