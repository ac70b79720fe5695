/*
 * A second, naive definition of every reduction, written from the MPI standard and not from the
 * kernels: one element at a time through memcpy, all integers as 64 bits. Also random operands.
 */
#ifndef TESTS_UNIT_REDUCE_ORACLE_H
#define TESTS_UNIT_REDUCE_ORACLE_H

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "coll_rdma/device/reduce.h"

enum oracle_class { SIGNED, UNSIGNED, REAL, BYTES, LOGICAL, COMPLEX, PAIR, NOTHING };

/* A type is a class and one or two parts: 'f', 'd', 'L' floats of rising size, 'i' and 'l' int and
 * long, 's' short, '1' '2' '4' '8' integers of that many bytes. */
static const struct oracle_type {
    enum oracle_class class;
    char first, second;
} oracle_types[CRDMA_NTYPES] = {
    [CRDMA_TYPE_NONE] = {NOTHING, 0, 0},         [CRDMA_TYPE_INT8] = {SIGNED, '1', 0},
    [CRDMA_TYPE_INT16] = {SIGNED, '2', 0},       [CRDMA_TYPE_INT32] = {SIGNED, '4', 0},
    [CRDMA_TYPE_INT64] = {SIGNED, '8', 0},       [CRDMA_TYPE_UINT8] = {UNSIGNED, '1', 0},
    [CRDMA_TYPE_UINT16] = {UNSIGNED, '2', 0},    [CRDMA_TYPE_UINT32] = {UNSIGNED, '4', 0},
    [CRDMA_TYPE_UINT64] = {UNSIGNED, '8', 0},    [CRDMA_TYPE_FLOAT] = {REAL, 'f', 0},
    [CRDMA_TYPE_DOUBLE] = {REAL, 'd', 0},        [CRDMA_TYPE_LDOUBLE] = {REAL, 'L', 0},
    [CRDMA_TYPE_BYTE] = {BYTES, '1', 0},         [CRDMA_TYPE_BOOL] = {LOGICAL, '1', 0},
    [CRDMA_TYPE_LOGICAL1] = {LOGICAL, '1', 0},   [CRDMA_TYPE_LOGICAL2] = {LOGICAL, '2', 0},
    [CRDMA_TYPE_LOGICAL4] = {LOGICAL, '4', 0},   [CRDMA_TYPE_LOGICAL8] = {LOGICAL, '8', 0},
    [CRDMA_TYPE_CFLOAT] = {COMPLEX, 'f', 'f'},   [CRDMA_TYPE_CDOUBLE] = {COMPLEX, 'd', 'd'},
    [CRDMA_TYPE_CLDOUBLE] = {COMPLEX, 'L', 'L'}, [CRDMA_TYPE_FLOAT_INT] = {PAIR, 'f', 'i'},
    [CRDMA_TYPE_DOUBLE_INT] = {PAIR, 'd', 'i'},  [CRDMA_TYPE_LONG_INT] = {PAIR, 'l', 'i'},
    [CRDMA_TYPE_2INT] = {PAIR, 'i', 'i'},        [CRDMA_TYPE_SHORT_INT] = {PAIR, 's', 'i'},
    [CRDMA_TYPE_LDOUBLE_INT] = {PAIR, 'L', 'i'}, [CRDMA_TYPE_2FLOAT] = {PAIR, 'f', 'f'},
    [CRDMA_TYPE_2DOUBLE] = {PAIR, 'd', 'd'},
};

static inline size_t oracle_part_size(char part)
{
    switch (part) {
    case '1':
        return 1;
    case '2':
        return 2;
    case '4':
        return 4;
    case '8':
        return 8;
    case 's':
        return sizeof(short);
    case 'i':
        return sizeof(int);
    case 'l':
        return sizeof(long);
    case 'f':
        return sizeof(float);
    case 'd':
        return sizeof(double);
    case 'L':
        return sizeof(long double);
    }
    return 0;
}

static inline size_t oracle_size(crdma_type_id_t type)
{
    return oracle_part_size(oracle_types[type].first) + oracle_part_size(oracle_types[type].second);
}

/* Does MPI define this operation on this type? */
static inline bool oracle_allowed(crdma_op_id_t op, crdma_type_id_t type)
{
    const enum oracle_class class = oracle_types[type].class;
    const bool integer = SIGNED == class || UNSIGNED == class;
    switch (op) {
    case CRDMA_OP_MAX:
    case CRDMA_OP_MIN:
        return integer || REAL == class;
    case CRDMA_OP_SUM:
    case CRDMA_OP_PROD:
        return integer || REAL == class || COMPLEX == class;
    case CRDMA_OP_LAND:
    case CRDMA_OP_LOR:
    case CRDMA_OP_LXOR:
        return integer || LOGICAL == class;
    case CRDMA_OP_BAND:
    case CRDMA_OP_BOR:
    case CRDMA_OP_BXOR:
        return integer || BYTES == class;
    case CRDMA_OP_MAXLOC:
    case CRDMA_OP_MINLOC:
        return PAIR == class;
    default:
        return false;
    }
}

/* Integers of any size as the 64 bits of their two's complement. */
static inline uint64_t oracle_load(const void *p, size_t size, bool is_signed)
{
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++) {
        value |= (uint64_t)((const unsigned char *)p)[i] << (8 * i);
    }
    if (is_signed && size < 8 && 0 != (value >> (8 * size - 1))) {
        value |= UINT64_MAX << (8 * size);
    }
    return value;
}

static inline void oracle_store(void *p, size_t size, uint64_t value)
{
    for (size_t i = 0; i < size; i++) {
        ((unsigned char *)p)[i] = (unsigned char)(value >> (8 * i));
    }
}

static inline void oracle_integer(crdma_op_id_t op, size_t size, bool is_signed, void *out,
                                  const void *a, const void *b)
{
    const uint64_t x = oracle_load(a, size, is_signed), y = oracle_load(b, size, is_signed);
    const bool greater = is_signed ? (int64_t)x > (int64_t)y : x > y;
    uint64_t r = 0;
    switch (op) {
    case CRDMA_OP_MAX:
        r = greater ? x : y;
        break;
    case CRDMA_OP_MIN:
        r = greater ? y : x;
        break;
    case CRDMA_OP_SUM:
        r = x + y;
        break;
    case CRDMA_OP_PROD:
        r = x * y;
        break;
    case CRDMA_OP_LAND:
        r = x && y;
        break;
    case CRDMA_OP_LOR:
        r = x || y;
        break;
    case CRDMA_OP_LXOR:
        r = !x != !y;
        break;
    case CRDMA_OP_BAND:
        r = x & y;
        break;
    case CRDMA_OP_BOR:
        r = x | y;
        break;
    case CRDMA_OP_BXOR:
        r = x ^ y;
        break;
    default:
        break;
    }
    oracle_store(out, size, r);
}

/*
 * NaN rules of the kernels: a sum or product keeps the left NaN, made quiet; MAX and MIN keep the
 * right operand whenever the comparison is false. volatile keeps the compiler from contracting.
 */
#define ORACLE_REAL(name, type, value_bytes)                                                       \
    static inline type oracle_get_##name(const void *p)                                            \
    {                                                                                              \
        type value;                                                                                \
        memcpy(&value, p, sizeof(value));                                                          \
        return value;                                                                              \
    }                                                                                              \
    static inline void oracle_put_##name(void *p, type value)                                      \
    {                                                                                              \
        memset(p, 0, sizeof(value));                                                               \
        memcpy(p, &value, value_bytes);                                                            \
    }                                                                                              \
    static inline type oracle_quiet_##name(type x)                                                 \
    {                                                                                              \
        volatile type v = x;                                                                       \
        return v + v;                                                                              \
    }                                                                                              \
    static inline type oracle_add_##name(type a, type b)                                           \
    {                                                                                              \
        volatile type x = a, y = b;                                                                \
        return isnan(a) ? oracle_quiet_##name(a) : isnan(b) ? oracle_quiet_##name(b) : x + y;      \
    }                                                                                              \
    static inline type oracle_mul_##name(type a, type b)                                           \
    {                                                                                              \
        volatile type x = a, y = b;                                                                \
        return isnan(a) ? oracle_quiet_##name(a) : isnan(b) ? oracle_quiet_##name(b) : x * y;      \
    }                                                                                              \
    static inline void oracle_real_##name(crdma_op_id_t op, void *out, const void *a,              \
                                          const void *b)                                           \
    {                                                                                              \
        const type x = oracle_get_##name(a), y = oracle_get_##name(b);                             \
        if (CRDMA_OP_SUM == op || CRDMA_OP_PROD == op) {                                           \
            oracle_put_##name(out, CRDMA_OP_SUM == op ? oracle_add_##name(x, y)                    \
                                                      : oracle_mul_##name(x, y));                  \
        } else {                                                                                   \
            const bool left = CRDMA_OP_MAX == op ? isgreater(x, y) : isless(x, y);                 \
            memmove(out, left ? a : b, value_bytes);                                               \
            memset((char *)out + value_bytes, 0, sizeof(type) - value_bytes);                      \
        }                                                                                          \
    }                                                                                              \
    static inline void oracle_complex_##name(crdma_op_id_t op, void *out, const void *a,           \
                                             const void *b)                                        \
    {                                                                                              \
        const size_t n = sizeof(type);                                                             \
        const type ar = oracle_get_##name(a), ai = oracle_get_##name((const char *)a + n);         \
        const type br = oracle_get_##name(b), bi = oracle_get_##name((const char *)b + n);         \
        volatile type rr = oracle_mul_##name(ar, br), ii = oracle_mul_##name(ai, bi);              \
        volatile type ri = oracle_mul_##name(ar, bi), ir = oracle_mul_##name(ai, br);              \
        oracle_put_##name(out, CRDMA_OP_SUM == op ? oracle_add_##name(ar, br) : rr - ii);          \
        oracle_put_##name((char *)out + n, CRDMA_OP_SUM == op ? oracle_add_##name(ai, bi)          \
                                                              : oracle_add_##name(ri, ir));        \
    }

ORACLE_REAL(float, float, sizeof(float))
ORACLE_REAL(double, double, sizeof(double))
ORACLE_REAL(ldouble, long double, (64 == LDBL_MANT_DIG ? 10 : sizeof(long double)))

/* -1, 0, 1 as *a is below, equal to, above *b. */
static inline int oracle_compare(char part, const void *a, const void *b)
{
    if ('f' == part || 'd' == part || 'L' == part) {
        const long double x = 'f' == part   ? oracle_get_float(a)
                              : 'd' == part ? oracle_get_double(a)
                                            : oracle_get_ldouble(a);
        const long double y = 'f' == part   ? oracle_get_float(b)
                              : 'd' == part ? oracle_get_double(b)
                                            : oracle_get_ldouble(b);
        return (x > y) - (x < y);
    }
    const int64_t x = (int64_t)oracle_load(a, oracle_part_size(part), true);
    const int64_t y = (int64_t)oracle_load(b, oracle_part_size(part), true);
    return (x > y) - (x < y);
}

/* out may be a or b. */
static inline void oracle_apply(crdma_op_id_t op, crdma_type_id_t type, void *out, const void *a,
                                const void *b)
{
    const struct oracle_type *t = &oracle_types[type];
    const size_t size = oracle_part_size(t->first);

    if (PAIR == t->class) {
        const int order = oracle_compare(t->first, a, b) * (CRDMA_OP_MINLOC == op ? -1 : 1);
        const int index = oracle_compare(t->second, (const char *)a + size, (const char *)b + size);
        const bool left = order > 0 || (0 == order && index < 0);
        unsigned char r[64];
        memcpy(r, order > 0 ? a : b, size);
        if ('L' == t->first && 64 == LDBL_MANT_DIG) {
            memset(r + 10, 0, size - 10);
        }
        memcpy(r + size, (const char *)(left ? a : b) + size, oracle_part_size(t->second));
        memcpy(out, r, oracle_size(type));
    } else if ('f' == t->first) {
        (COMPLEX == t->class ? oracle_complex_float : oracle_real_float)(op, out, a, b);
    } else if ('d' == t->first) {
        (COMPLEX == t->class ? oracle_complex_double : oracle_real_double)(op, out, a, b);
    } else if ('L' == t->first) {
        (COMPLEX == t->class ? oracle_complex_ldouble : oracle_real_ldouble)(op, out, a, b);
    } else {
        oracle_integer(op, size, SIGNED == t->class, out, a, b);
    }
}

/* ---- operands ---- */

static inline uint64_t oracle_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Products of 17 such numbers neither overflow nor vanish, sums round, and some are equal. */
static inline void oracle_fill_part(char part, bool few_values, unsigned char *p, uint64_t *state)
{
    const uint64_t bits = oracle_random(state);
    const size_t size = oracle_part_size(part);
    long double x = (long double)(int64_t)oracle_random(state) * 0x1p-62L;
    if (few_values) {
        x = (long double)(bits % 3) - 1;
    } else if (fabsl(x) < 0.25L) {
        x += 1;
    }
    oracle_store(p, size < 8 ? size : 8, few_values ? bits % 3 - 1 : bits);
    if ('f' == part) {
        oracle_put_float(p, (float)x);
    } else if ('d' == part) {
        oracle_put_double(p, (double)x);
    } else if ('L' == part) {
        memset(p, (int)(bits & 0xff), size);
        memcpy(p, &x, 64 == LDBL_MANT_DIG ? 10 : size);
    }
}

static inline void oracle_fill(crdma_type_id_t type, unsigned char *p, size_t count,
                               uint64_t *state)
{
    const struct oracle_type *t = &oracle_types[type];
    const size_t size = oracle_size(type);
    for (size_t i = 0; i < count; i++, p += size) {
        const bool few = PAIR == t->class || LOGICAL == t->class ? 0 != oracle_random(state) % 4
                                                                 : 0 == oracle_random(state) % 8 &&
                                                                       COMPLEX != t->class;
        oracle_fill_part(t->first, few, p, state);
        oracle_fill_part(t->second, few, p + oracle_part_size(t->first), state);
    }
}

#endif
