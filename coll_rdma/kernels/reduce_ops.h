/*
 * What every reduction does to one pair of elements: the one place that defines each
 * operation on each type, for host and CUDA kernels alike.
 *
 * Three things are here:
 *   1. the element types, crdma_<tag>_t: u8..u64, i8..i64, f32, f64, ldb (long double), their
 *      complex numbers (cf32, cf64, cldb) and the {value, index} pairs, all packed;
 *   2. crdma_<op>_<tag>(a, b), where a is the operand of the lower rank;
 *   3. two lists that the kernels' authors expand: CRDMA_REDUCE_KERNELS(X), every distinct
 *      X(op, tag), and CRDMA_REDUCE_TABLE(X), which of them serves which
 *      X(CRDMA_OP_ suffix, CRDMA_TYPE_ suffix, op, tag).
 *
 * Invariants:
 *   - The same operands give the same bits in scalar code, in vector code and in every
 *     instruction set. Hence compile with -ffp-contract=off and without -ffast-math.
 *   - Integers wrap around: the arithmetic is unsigned and never narrower than int.
 *   - Where both operands of a sum or product are NaN, the left one survives. The processor would
 *     keep the first operand of its instruction, but a compiler may swap the operands of + and *,
 *     differently in each loop; crdma_left_nan_ leaves it nothing to swap.
 *   - MAX and MIN are a > b ? a : b and a < b ? a : b: with a NaN, or with zeros of both signs,
 *     the right operand survives.
 *   - Logical operations yield 0 or 1; any nonzero operand is true, in Fortran too.
 */
#ifndef CRDMA_KERNELS_REDUCE_OPS_H
#define CRDMA_KERNELS_REDUCE_OPS_H

#include <math.h>
#include <stdint.h>

#ifdef __CUDACC__
#define CRDMA_INLINE static __host__ __device__ __forceinline__
#else
#define CRDMA_INLINE static inline __attribute__((always_inline))
#endif
/* Device code would treat it as double. A file for the host that speaks of the device's kernels
 * defines CRDMA_NO_LONG_DOUBLE. */
#if defined(__CUDACC__) || defined(CRDMA_NO_LONG_DOUBLE)
#define CRDMA_LONG_DOUBLE(...)
#else
#define CRDMA_LONG_DOUBLE(...) __VA_ARGS__
#endif

/* ---- 1. element types ---- */

/* crdma_<tag>_mem_t is the same type as it lies in a buffer of bytes, at any address. */
#define CRDMA_SCALAR_TYPE(tag, type)                                                               \
    typedef type crdma_##tag##_t;                                                                  \
    typedef type crdma_##tag##_mem_t __attribute__((aligned(1), may_alias));

CRDMA_SCALAR_TYPE(u8, uint8_t)
CRDMA_SCALAR_TYPE(u16, uint16_t)
CRDMA_SCALAR_TYPE(u32, uint32_t)
CRDMA_SCALAR_TYPE(u64, uint64_t)
CRDMA_SCALAR_TYPE(i8, int8_t)
CRDMA_SCALAR_TYPE(i16, int16_t)
CRDMA_SCALAR_TYPE(i32, int32_t)
CRDMA_SCALAR_TYPE(i64, int64_t)
CRDMA_SCALAR_TYPE(f32, float)
CRDMA_SCALAR_TYPE(f64, double)
CRDMA_LONG_DOUBLE(CRDMA_SCALAR_TYPE(ldb, long double))

#define CRDMA_STRUCT_TYPE(tag, first_type, first, second_type, second)                             \
    typedef struct __attribute__((packed, may_alias)) {                                            \
        first_type first;                                                                          \
        second_type second;                                                                        \
    } crdma_##tag##_t;                                                                             \
    typedef crdma_##tag##_t crdma_##tag##_mem_t;

#define CRDMA_COMPLEX_TYPE(tag, part)      CRDMA_STRUCT_TYPE(tag, part, re, part, im)
#define CRDMA_PAIR_TYPE(tag, value, index) CRDMA_STRUCT_TYPE(tag, value, v, index, k)

CRDMA_COMPLEX_TYPE(cf32, float)
CRDMA_COMPLEX_TYPE(cf64, double)
CRDMA_LONG_DOUBLE(CRDMA_COMPLEX_TYPE(cldb, long double))

CRDMA_PAIR_TYPE(float_int, float, int)
CRDMA_PAIR_TYPE(double_int, double, int)
CRDMA_PAIR_TYPE(long_int, long, int)
CRDMA_PAIR_TYPE(2int, int, int)
CRDMA_PAIR_TYPE(short_int, short, int)
CRDMA_LONG_DOUBLE(CRDMA_PAIR_TYPE(ldb_int, long double, int))
CRDMA_PAIR_TYPE(2float, float, float)
CRDMA_PAIR_TYPE(2double, double, double)

/* ---- 2. operations ---- */

/* Defines crdma_<op>_<tag>(a, b) as the value of an expression in a and b. */
#define CRDMA_OP(op, tag, expression)                                                              \
    CRDMA_INLINE crdma_##tag##_t crdma_##op##_##tag(crdma_##tag##_t a, crdma_##tag##_t b)          \
    {                                                                                              \
        return (crdma_##tag##_t)(expression);                                                      \
    }

#define CRDMA_ORDERED_OPS(tag)                                                                     \
    CRDMA_OP(max, tag, a > b ? a : b)                                                              \
    CRDMA_OP(min, tag, a < b ? a : b)

/* Signed and unsigned integers of one width share everything but MAX and MIN. */
#define CRDMA_INTEGER_OPS(utag, itag, wide)                                                        \
    CRDMA_ORDERED_OPS(utag)                                                                        \
    CRDMA_ORDERED_OPS(itag)                                                                        \
    CRDMA_OP(sum, utag, (wide)a + (wide)b)                                                         \
    CRDMA_OP(prod, utag, ((wide)a * (wide)b))                                                      \
    CRDMA_OP(band, utag, (a & b))                                                                  \
    CRDMA_OP(bor, utag, a | b)                                                                     \
    CRDMA_OP(bxor, utag, a ^ b)                                                                    \
    CRDMA_OP(land, utag, (a != 0) & (b != 0))                                                      \
    CRDMA_OP(lor, utag, (a != 0) | (b != 0))                                                       \
    CRDMA_OP(lxor, utag, (a != 0) ^ (b != 0))

CRDMA_INTEGER_OPS(u8, i8, uint32_t)
CRDMA_INTEGER_OPS(u16, i16, uint32_t)
CRDMA_INTEGER_OPS(u32, i32, uint32_t)
CRDMA_INTEGER_OPS(u64, i64, uint64_t)

/* crdma_left_nan_<tag>(a, b) is the right operand to use beside a: b, or a itself when a is NaN. */
#define CRDMA_FLOAT_OPS(tag)                                                                       \
    CRDMA_ORDERED_OPS(tag)                                                                         \
    CRDMA_OP(left_nan, tag, a != a ? a : b)                                                        \
    CRDMA_OP(sum, tag, a + crdma_left_nan_##tag(a, b))                                             \
    CRDMA_OP(prod, tag, a *crdma_left_nan_##tag(a, b))

CRDMA_FLOAT_OPS(f32)
CRDMA_FLOAT_OPS(f64)
CRDMA_LONG_DOUBLE(CRDMA_FLOAT_OPS(ldb))

/*
 * Complex products follow ISO C (Annex G): the schoolbook formula, and where it gives NaN for both
 * parts although an operand or a partial product is infinite, an infinity of the right direction.
 */
#define CRDMA_COMPLEX_OPS(tag, ptag, f)                                                            \
    CRDMA_INLINE crdma_##ptag##_t crdma_box_##tag(crdma_##ptag##_t x)                              \
    {                                                                                              \
        return copysign##f((crdma_##ptag##_t)(isinf(x) ? 1 : 0), x);                               \
    }                                                                                              \
    CRDMA_INLINE crdma_##ptag##_t crdma_unnan_##tag(crdma_##ptag##_t x)                            \
    {                                                                                              \
        return x != x ? copysign##f((crdma_##ptag##_t)0, x) : x;                                   \
    }                                                                                              \
    CRDMA_INLINE crdma_##tag##_t crdma_prod_infinite_##tag(crdma_##tag##_t a, crdma_##tag##_t b,   \
                                                           crdma_##tag##_t r)                      \
    {                                                                                              \
        const int ainf = isinf(a.re) || isinf(a.im);                                               \
        const int binf = isinf(b.re) || isinf(b.im);                                               \
        const int partial =                                                                        \
            isinf(a.re * b.re) || isinf(a.im * b.im) || isinf(a.re * b.im) || isinf(a.im * b.re);  \
        if (!(ainf || binf || partial)) {                                                          \
            return r;                                                                              \
        }                                                                                          \
        if (ainf) {                                                                                \
            a.re = crdma_box_##tag(a.re);                                                          \
            a.im = crdma_box_##tag(a.im);                                                          \
        }                                                                                          \
        if (binf) {                                                                                \
            b.re = crdma_box_##tag(b.re);                                                          \
            b.im = crdma_box_##tag(b.im);                                                          \
        }                                                                                          \
        if (binf || !ainf) {                                                                       \
            a.re = crdma_unnan_##tag(a.re);                                                        \
            a.im = crdma_unnan_##tag(a.im);                                                        \
        }                                                                                          \
        if (ainf || !binf) {                                                                       \
            b.re = crdma_unnan_##tag(b.re);                                                        \
            b.im = crdma_unnan_##tag(b.im);                                                        \
        }                                                                                          \
        r.re = (crdma_##ptag##_t)INFINITY * (a.re * b.re - a.im * b.im);                           \
        r.im = (crdma_##ptag##_t)INFINITY * (a.re * b.im + a.im * b.re);                           \
        return r;                                                                                  \
    }                                                                                              \
    CRDMA_INLINE crdma_##tag##_t crdma_sum_##tag(crdma_##tag##_t a, crdma_##tag##_t b)             \
    {                                                                                              \
        crdma_##tag##_t r;                                                                         \
        r.re = crdma_sum_##ptag(a.re, b.re);                                                       \
        r.im = crdma_sum_##ptag(a.im, b.im);                                                       \
        return r;                                                                                  \
    }                                                                                              \
    CRDMA_INLINE crdma_##tag##_t crdma_prod_##tag(crdma_##tag##_t a, crdma_##tag##_t b)            \
    {                                                                                              \
        crdma_##tag##_t r;                                                                         \
        r.re = crdma_prod_##ptag(a.re, b.re) - crdma_prod_##ptag(a.im, b.im);                      \
        r.im = crdma_sum_##ptag(crdma_prod_##ptag(a.re, b.im), crdma_prod_##ptag(a.im, b.re));     \
        return r.re != r.re && r.im != r.im ? crdma_prod_infinite_##tag(a, b, r) : r;              \
    }

CRDMA_COMPLEX_OPS(cf32, f32, f)
CRDMA_COMPLEX_OPS(cf64, f64, )
CRDMA_LONG_DOUBLE(CRDMA_COMPLEX_OPS(cldb, ldb, l))

/* The index of the better value; of equal values, the lower index. */
#define CRDMA_PAIR_OP(op, tag, better)                                                             \
    CRDMA_INLINE crdma_##tag##_t crdma_##op##_##tag(crdma_##tag##_t a, crdma_##tag##_t b)          \
    {                                                                                              \
        const int left = a.v better b.v || (a.v == b.v && a.k < b.k);                              \
        crdma_##tag##_t r;                                                                         \
        r.v = a.v better b.v ? a.v : b.v;                                                          \
        r.k = left ? a.k : b.k;                                                                    \
        return r;                                                                                  \
    }

#define CRDMA_PAIR_OPS(tag)                                                                        \
    CRDMA_PAIR_OP(maxloc, tag, >)                                                                  \
    CRDMA_PAIR_OP(minloc, tag, <)

CRDMA_PAIR_OPS(float_int)
CRDMA_PAIR_OPS(double_int)
CRDMA_PAIR_OPS(long_int)
CRDMA_PAIR_OPS(2int)
CRDMA_PAIR_OPS(short_int)
CRDMA_LONG_DOUBLE(CRDMA_PAIR_OPS(ldb_int))
CRDMA_PAIR_OPS(2float)
CRDMA_PAIR_OPS(2double)

/* ---- 3. the lists ---- */

#define CRDMA_INTEGER_KERNELS(X, utag, itag)                                                       \
    X(max, utag)                                                                                   \
    X(max, itag)                                                                                   \
    X(min, utag)                                                                                   \
    X(min, itag)                                                                                   \
    X(sum, utag)                                                                                   \
    X(prod, utag) X(band, utag) X(bor, utag) X(bxor, utag) X(land, utag) X(lor, utag) X(lxor, utag)
#define CRDMA_FLOAT_KERNELS(X, tag)   X(max, tag) X(min, tag) X(sum, tag) X(prod, tag)
#define CRDMA_COMPLEX_KERNELS(X, tag) X(sum, tag) X(prod, tag)
#define CRDMA_PAIR_KERNELS(X, tag)    X(maxloc, tag) X(minloc, tag)

#define CRDMA_REDUCE_KERNELS(X)                                                                    \
    CRDMA_INTEGER_KERNELS(X, u8, i8)                                                               \
    CRDMA_INTEGER_KERNELS(X, u16, i16)                                                             \
    CRDMA_INTEGER_KERNELS(X, u32, i32)                                                             \
    CRDMA_INTEGER_KERNELS(X, u64, i64)                                                             \
    CRDMA_FLOAT_KERNELS(X, f32)                                                                    \
    CRDMA_FLOAT_KERNELS(X, f64)                                                                    \
    CRDMA_LONG_DOUBLE(CRDMA_FLOAT_KERNELS(X, ldb))                                                 \
    CRDMA_COMPLEX_KERNELS(X, cf32)                                                                 \
    CRDMA_COMPLEX_KERNELS(X, cf64)                                                                 \
    CRDMA_LONG_DOUBLE(CRDMA_COMPLEX_KERNELS(X, cldb))                                              \
    CRDMA_PAIR_KERNELS(X, float_int)                                                               \
    CRDMA_PAIR_KERNELS(X, double_int)                                                              \
    CRDMA_PAIR_KERNELS(X, long_int)                                                                \
    CRDMA_PAIR_KERNELS(X, 2int)                                                                    \
    CRDMA_PAIR_KERNELS(X, short_int)                                                               \
    CRDMA_LONG_DOUBLE(CRDMA_PAIR_KERNELS(X, ldb_int))                                              \
    CRDMA_PAIR_KERNELS(X, 2float)                                                                  \
    CRDMA_PAIR_KERNELS(X, 2double)

#define CRDMA_ORDERED_ROWS(X, TYPE, tag)                                                           \
    X(MAX, TYPE, max, tag)                                                                         \
    X(MIN, TYPE, min, tag)
#define CRDMA_ARITHMETIC_ROWS(X, TYPE, tag)                                                        \
    X(SUM, TYPE, sum, tag)                                                                         \
    X(PROD, TYPE, prod, tag)
#define CRDMA_LOGICAL_ROWS(X, TYPE, tag)                                                           \
    X(LAND, TYPE, land, tag)                                                                       \
    X(LOR, TYPE, lor, tag)                                                                         \
    X(LXOR, TYPE, lxor, tag)
#define CRDMA_BITWISE_ROWS(X, TYPE, tag)                                                           \
    X(BAND, TYPE, band, tag)                                                                       \
    X(BOR, TYPE, bor, tag)                                                                         \
    X(BXOR, TYPE, bxor, tag)
#define CRDMA_INTEGER_ROWS(X, TYPE, utag, tag)                                                     \
    CRDMA_ORDERED_ROWS(X, TYPE, tag)                                                               \
    CRDMA_ARITHMETIC_ROWS(X, TYPE, utag)                                                           \
    CRDMA_LOGICAL_ROWS(X, TYPE, utag)                                                              \
    CRDMA_BITWISE_ROWS(X, TYPE, utag)
#define CRDMA_FLOAT_ROWS(X, TYPE, tag)                                                             \
    CRDMA_ORDERED_ROWS(X, TYPE, tag)                                                               \
    CRDMA_ARITHMETIC_ROWS(X, TYPE, tag)
#define CRDMA_PAIR_ROWS(X, TYPE, tag)                                                              \
    X(MAXLOC, TYPE, maxloc, tag)                                                                   \
    X(MINLOC, TYPE, minloc, tag)

#define CRDMA_REDUCE_TABLE(X)                                                                      \
    CRDMA_INTEGER_ROWS(X, INT8, u8, i8)                                                            \
    CRDMA_INTEGER_ROWS(X, UINT8, u8, u8)                                                           \
    CRDMA_INTEGER_ROWS(X, INT16, u16, i16)                                                         \
    CRDMA_INTEGER_ROWS(X, UINT16, u16, u16)                                                        \
    CRDMA_INTEGER_ROWS(X, INT32, u32, i32)                                                         \
    CRDMA_INTEGER_ROWS(X, UINT32, u32, u32)                                                        \
    CRDMA_INTEGER_ROWS(X, INT64, u64, i64)                                                         \
    CRDMA_INTEGER_ROWS(X, UINT64, u64, u64)                                                        \
    CRDMA_FLOAT_ROWS(X, FLOAT, f32)                                                                \
    CRDMA_FLOAT_ROWS(X, DOUBLE, f64)                                                               \
    CRDMA_LONG_DOUBLE(CRDMA_FLOAT_ROWS(X, LDOUBLE, ldb))                                           \
    CRDMA_BITWISE_ROWS(X, BYTE, u8)                                                                \
    CRDMA_LOGICAL_ROWS(X, BOOL, u8)                                                                \
    CRDMA_LOGICAL_ROWS(X, LOGICAL1, u8)                                                            \
    CRDMA_LOGICAL_ROWS(X, LOGICAL2, u16)                                                           \
    CRDMA_LOGICAL_ROWS(X, LOGICAL4, u32)                                                           \
    CRDMA_LOGICAL_ROWS(X, LOGICAL8, u64)                                                           \
    CRDMA_ARITHMETIC_ROWS(X, CFLOAT, cf32)                                                         \
    CRDMA_ARITHMETIC_ROWS(X, CDOUBLE, cf64)                                                        \
    CRDMA_LONG_DOUBLE(CRDMA_ARITHMETIC_ROWS(X, CLDOUBLE, cldb))                                    \
    CRDMA_PAIR_ROWS(X, FLOAT_INT, float_int)                                                       \
    CRDMA_PAIR_ROWS(X, DOUBLE_INT, double_int)                                                     \
    CRDMA_PAIR_ROWS(X, LONG_INT, long_int)                                                         \
    CRDMA_PAIR_ROWS(X, 2INT, 2int)                                                                 \
    CRDMA_PAIR_ROWS(X, SHORT_INT, short_int)                                                       \
    CRDMA_LONG_DOUBLE(CRDMA_PAIR_ROWS(X, LDOUBLE_INT, ldb_int))                                    \
    CRDMA_PAIR_ROWS(X, 2FLOAT, 2float)                                                             \
    CRDMA_PAIR_ROWS(X, 2DOUBLE, 2double)

#endif
