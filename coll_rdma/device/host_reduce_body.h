/*
 * The host kernels, compiled once for each instruction set: the including file defines
 * CRDMA_ISA_SUFFIX and is compiled with that instruction set's flags.
 *
 * One function for each operation and type, with one loop for each of 2, 3 and 4 inputs, which the
 * compiler vectorises; other numbers of inputs go through crdma_reduce_strips.
 *
 * Why the loops are safe:
 *   1. Element i of dst depends on elements i of the inputs only, and dst is one of the inputs
 *      exactly or overlaps none: no iteration reads what another one writes. CRDMA_INDEPENDENT
 *      says so, which spares the loop its overlap checks and keeps the in-place case vectorised.
 *   2. Element types are aligned to 1 byte and may alias, so any address will do.
 *   3. Any cut of the range gives the same bits, as scalar and vector forms of an operation do
 *      (reduce_ops.h).
 */
#ifndef CRDMA_ISA_SUFFIX
#error "define CRDMA_ISA_SUFFIX before including this file"
#endif

#include <float.h>
#include <string.h>

#include "coll_rdma/device/host_reduce.h"
#include "coll_rdma/kernels/reduce_ops.h"

#if defined(__clang__)
#pragma clang diagnostic ignored "-Wpass-failed" /* some loops stay scalar, which is fine */
#define CRDMA_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define CRDMA_INDEPENDENT _Pragma("GCC ivdep")
#endif

#define CRDMA_PASTE_(a, b) a##b
#define CRDMA_PASTE(a, b)  CRDMA_PASTE_(a, b)

/*
 * An x87 long double fills 10 bytes of its 16 and a store leaves the rest as it was. Zeros there
 * make results the same bytes on all ranks, and defined ones.
 */
CRDMA_INLINE void crdma_clear_ldb(void *p)
{
#if LDBL_MANT_DIG == 64
    memset((char *)p + 10, 0, sizeof(long double) - 10);
#else
    (void)p;
#endif
}

CRDMA_INLINE void crdma_clear_cldb(void *p)
{
    crdma_clear_ldb(p);
    crdma_clear_ldb((char *)p + sizeof(long double));
}

CRDMA_INLINE void crdma_clear_nothing(void *p)
{
    (void)p;
}

/* clang-format off */
#define CRDMA_CLEAR_PADDING(p)                                                                     \
    _Generic(*(p),                                                                                 \
        crdma_ldb_t: crdma_clear_ldb,                                                              \
        crdma_ldb_int_t: crdma_clear_ldb,                                                          \
        crdma_cldb_t: crdma_clear_cldb,                                                            \
        default: crdma_clear_nothing)(p)
/* clang-format on */

#define CRDMA_LOOP(expression)                                                                     \
    CRDMA_INDEPENDENT                                                                              \
    for (size_t i = 0; i < count; i++) {                                                           \
        d[i] = expression;                                                                         \
        CRDMA_CLEAR_PADDING(&d[i]);                                                                \
    }

#define CRDMA_DEFINE_KERNEL(op, tag)                                                               \
    static void crdma_kernel_##op##_##tag(void *dst, const void *const *src, int nsrc,             \
                                          size_t count)                                            \
    {                                                                                              \
        crdma_##tag##_mem_t *d = dst;                                                              \
        if (2 == nsrc) {                                                                           \
            const crdma_##tag##_mem_t *s0 = src[0], *s1 = src[1];                                  \
            CRDMA_LOOP(crdma_##op##_##tag(s0[i], s1[i]))                                           \
        } else if (3 == nsrc) {                                                                    \
            const crdma_##tag##_mem_t *s0 = src[0], *s1 = src[1], *s2 = src[2];                    \
            CRDMA_LOOP(crdma_##op##_##tag(crdma_##op##_##tag(s0[i], s1[i]), s2[i]))                \
        } else if (4 == nsrc) {                                                                    \
            const crdma_##tag##_mem_t *s0 = src[0], *s1 = src[1], *s2 = src[2], *s3 = src[3];      \
            CRDMA_LOOP(crdma_##op##_##tag(                                                         \
                crdma_##op##_##tag(crdma_##op##_##tag(s0[i], s1[i]), s2[i]), s3[i]))               \
        } else {                                                                                   \
            crdma_reduce_strips(crdma_kernel_##op##_##tag, sizeof(crdma_##tag##_t), dst, src,      \
                                nsrc, count);                                                      \
        }                                                                                          \
    }

CRDMA_REDUCE_KERNELS(CRDMA_DEFINE_KERNEL)

#define CRDMA_TABLE_ROW(OP, TYPE, op, tag)                                                         \
    [CRDMA_OP_##OP][CRDMA_TYPE_##TYPE] = crdma_kernel_##op##_##tag,

const crdma_reduce_table_t CRDMA_PASTE(crdma_reduce_table_,
                                       CRDMA_ISA_SUFFIX) = {CRDMA_REDUCE_TABLE(CRDMA_TABLE_ROW)};
