/*
 * The oracle of the reduction tests: types.h says what it promises.
 *
 * One small set of functions (make, reduce, equal, print) per class of C types, made by a
 * macro for each type of that class, collected in one table indexed by kind. The arithmetic is
 * what MPI defines and nothing else: integers wrap (computed unsigned), logical results are 0 or 1,
 * MAXLOC and MINLOC take the lower index of equal values.
 */
#include "tests/mpi/types.h"

#include <complex.h>
#include <stdio.h>
#include <string.h>

typedef struct kind_functions {
    size_t extent;
    void (*make)(test_op_code_t op, uint64_t hash, bool safe, void *element);
    void (*reduce)(test_op_code_t op, const void *left, void *inout);
    bool (*equal)(const void *a, const void *b);
    void (*print)(const void *element, char *text, size_t bytes);
} kind_functions_t;

/* --- integers: also logical types, which are integers that hold 0 or 1 --- */

static uint64_t integer_value(test_op_code_t op, uint64_t hash, size_t bytes, bool safe,
                              bool is_signed)
{
    if (safe && 2 < bytes) {
        /* 64 bits: the top bit clear, so that signed and unsigned order agree */
        return OP_MAX == op || OP_MIN == op ? hash >> 1 : integer_value(op, hash, bytes, false, 0);
    }
    switch (op) {
    case OP_SUM:
        return !safe ? hash : is_signed ? (hash >> 8) % 7 - 3 : (hash >> 8) % 4;
    case OP_PROD: /* odd: a product over many ranks must not degenerate to 0 */
        return !safe ? hash | 1 : 0 != (hash >> 8) % 32;
    case OP_LAND: /* nonzero mostly, also with a low byte of 0 */
        return 0 == hash % 16 ? 0 : 0 == hash % 3 ? hash & ~(uint64_t)0xff : hash;
    case OP_LOR:
        return 0 != hash % 16 ? 0 : hash >> 4;
    case OP_LXOR:
        return 0 == (hash & 256) ? 0 : hash;
    default:
        return hash;
    }
}

/* U: the unsigned type of the arithmetic, at least as wide as unsigned. */
#define DEFINE_INTEGER(name, T, U, is_signed, format, F, logical)                                  \
    static void make_##name(test_op_code_t op, uint64_t hash, bool safe, void *element)            \
    {                                                                                              \
        uint64_t value = integer_value(op, hash, sizeof(T), safe, is_signed);                      \
        *(T *)element = logical ? (T)(0 != value) : (T)value;                                      \
    }                                                                                              \
    static void reduce_##name(test_op_code_t op, const void *left, void *inout)                    \
    {                                                                                              \
        T a = *(const T *)left, b = *(T *)inout, r = b;                                            \
        switch (op) {                                                                              \
        case OP_MAX:                                                                               \
            r = a > b ? a : b;                                                                     \
            break;                                                                                 \
        case OP_MIN:                                                                               \
            r = a < b ? a : b;                                                                     \
            break;                                                                                 \
        case OP_SUM:                                                                               \
            r = (T)((U)a + (U)b);                                                                  \
            break;                                                                                 \
        case OP_PROD:                                                                              \
            r = (T)((U)a * (U)b);                                                                  \
            break;                                                                                 \
        case OP_LAND:                                                                              \
            r = (0 != a) && (0 != b);                                                              \
            break;                                                                                 \
        case OP_LOR:                                                                               \
            r = (0 != a) || (0 != b);                                                              \
            break;                                                                                 \
        case OP_LXOR:                                                                              \
            r = (0 != a) != (0 != b);                                                              \
            break;                                                                                 \
        case OP_BAND:                                                                              \
            r = (T)(a & b);                                                                        \
            break;                                                                                 \
        case OP_BOR:                                                                               \
            r = (T)(a | b);                                                                        \
            break;                                                                                 \
        case OP_BXOR:                                                                              \
            r = (T)(a ^ b);                                                                        \
            break;                                                                                 \
        default:                                                                                   \
            break;                                                                                 \
        }                                                                                          \
        *(T *)inout = r;                                                                           \
    }                                                                                              \
    static bool equal_##name(const void *a, const void *b)                                         \
    {                                                                                              \
        return 0 == memcmp(a, b, sizeof(T));                                                       \
    }                                                                                              \
    static void print_##name(const void *element, char *text, size_t bytes)                        \
    {                                                                                              \
        snprintf(text, bytes, format, (F) * (const T *)element);                                   \
    }

DEFINE_INTEGER(i8, int8_t, unsigned, true, "%lld", long long, false)
DEFINE_INTEGER(u8, uint8_t, unsigned, false, "%llu", unsigned long long, false)
DEFINE_INTEGER(i16, int16_t, unsigned, true, "%lld", long long, false)
DEFINE_INTEGER(u16, uint16_t, unsigned, false, "%llu", unsigned long long, false)
DEFINE_INTEGER(i32, int32_t, unsigned, true, "%lld", long long, false)
DEFINE_INTEGER(u32, uint32_t, unsigned, false, "%llu", unsigned long long, false)
DEFINE_INTEGER(i64, int64_t, uint64_t, true, "%lld", long long, false)
DEFINE_INTEGER(u64, uint64_t, uint64_t, false, "%llu", unsigned long long, false)
DEFINE_INTEGER(logical1, uint8_t, unsigned, false, "%llu", unsigned long long, true)
DEFINE_INTEGER(logical2, uint16_t, unsigned, false, "%llu", unsigned long long, true)
DEFINE_INTEGER(logical4, uint32_t, unsigned, false, "%llu", unsigned long long, true)
DEFINE_INTEGER(logical8, uint64_t, uint64_t, false, "%llu", unsigned long long, true)

/* --- floating point --- */

static double floating_value(test_op_code_t op, uint64_t hash)
{
    static const double factors[] = {1.0, -1.0, 2.0, 0.5, 1.0, -1.0, 1.0, -0.5};

    switch (op) {
    case OP_PROD:
        return factors[hash % 8];
    case OP_SUM: /* eighths up to 128: exact in single precision */
        return ((double)(hash % 2049) - 1024.0) / 8.0;
    default:
        return ((double)(hash % 2000003) - 1000001.0) / 4.0;
    }
}

#define DEFINE_FLOATING(name, T)                                                                   \
    static void make_##name(test_op_code_t op, uint64_t hash, bool safe, void *element)            \
    {                                                                                              \
        (void)safe;                                                                                \
        *(T *)element = (T)floating_value(op, hash);                                               \
    }                                                                                              \
    static void reduce_##name(test_op_code_t op, const void *left, void *inout)                    \
    {                                                                                              \
        T a = *(const T *)left, b = *(T *)inout;                                                   \
        *(T *)inout = OP_MAX == op   ? (a > b ? a : b)                                             \
                      : OP_MIN == op ? (a < b ? a : b)                                             \
                      : OP_SUM == op ? a + b                                                       \
                                     : a * b;                                                      \
    }                                                                                              \
    static bool equal_##name(const void *a, const void *b)                                         \
    {                                                                                              \
        return *(const T *)a == *(const T *)b;                                                     \
    }                                                                                              \
    static void print_##name(const void *element, char *text, size_t bytes)                        \
    {                                                                                              \
        snprintf(text, bytes, "%.21Lg", (long double)*(const T *)element);                         \
    }

DEFINE_FLOATING(float, float)
DEFINE_FLOATING(double, double)
DEFINE_FLOATING(ldouble, long double)

/* --- complex: sums of eighths, products of units and 1+i --- */

#define DEFINE_COMPLEX(name, T)                                                                    \
    static void make_##name(test_op_code_t op, uint64_t hash, bool safe, void *element)            \
    {                                                                                              \
        static const double re[] = {1, 0, -1, 0, 1, 1, 1, 0};                                      \
        static const double im[] = {0, 1, 0, -1, 1, 0, 0, 1};                                      \
        T *part = element;                                                                         \
        (void)safe;                                                                                \
        part[0] = (T)(OP_PROD == op ? re[hash % 8] : floating_value(op, hash));                    \
        part[1] = (T)(OP_PROD == op ? im[hash % 8] : floating_value(op, hash >> 24));              \
    }                                                                                              \
    static void reduce_##name(test_op_code_t op, const void *left, void *inout)                    \
    {                                                                                              \
        const T *a = left;                                                                         \
        T *b = inout;                                                                              \
        T re = OP_SUM == op ? a[0] + b[0] : a[0] * b[0] - a[1] * b[1];                             \
        T im = OP_SUM == op ? a[1] + b[1] : a[0] * b[1] + a[1] * b[0];                             \
        b[0] = re;                                                                                 \
        b[1] = im;                                                                                 \
    }                                                                                              \
    static bool equal_##name(const void *a, const void *b)                                         \
    {                                                                                              \
        const T *x = a, *y = b;                                                                    \
        return x[0] == y[0] && x[1] == y[1];                                                       \
    }                                                                                              \
    static void print_##name(const void *element, char *text, size_t bytes)                        \
    {                                                                                              \
        const T *part = element;                                                                   \
        snprintf(text, bytes, "%.21Lg%+.21Lgi", (long double)part[0], (long double)part[1]);       \
    }

DEFINE_COMPLEX(cfloat, float)
DEFINE_COMPLEX(cdouble, double)
DEFINE_COMPLEX(cldouble, long double)

/* --- pairs {value, index}: few different values, so that ties are common --- */

#define DEFINE_PAIR(name, V, I)                                                                    \
    typedef struct pair_##name {                                                                   \
        V value;                                                                                   \
        I index;                                                                                   \
    } pair_##name##_t;                                                                             \
    static void make_##name(test_op_code_t op, uint64_t hash, bool safe, void *element)            \
    {                                                                                              \
        pair_##name##_t *pair = element;                                                           \
        (void)op;                                                                                  \
        (void)safe;                                                                                \
        pair->value = (V)((int)(hash % 9) - 4);                                                    \
        pair->index = (I)((hash >> 32) % 10007);                                                   \
    }                                                                                              \
    static void reduce_##name(test_op_code_t op, const void *left, void *inout)                    \
    {                                                                                              \
        const pair_##name##_t *a = left;                                                           \
        pair_##name##_t *b = inout;                                                                \
        bool better = OP_MAXLOC == op ? a->value > b->value : a->value < b->value;                 \
        if (better || (a->value == b->value && a->index < b->index)) {                             \
            b->value = a->value;                                                                   \
            b->index = a->index;                                                                   \
        }                                                                                          \
    }                                                                                              \
    static bool equal_##name(const void *a, const void *b)                                         \
    {                                                                                              \
        const pair_##name##_t *x = a, *y = b;                                                      \
        return x->value == y->value && x->index == y->index;                                       \
    }                                                                                              \
    static void print_##name(const void *element, char *text, size_t bytes)                        \
    {                                                                                              \
        const pair_##name##_t *pair = element;                                                     \
        snprintf(text, bytes, "{%Lg, %Lg}", (long double)pair->value, (long double)pair->index);   \
    }

DEFINE_PAIR(float_int, float, int)
DEFINE_PAIR(double_int, double, int)
DEFINE_PAIR(long_int, long, int)
DEFINE_PAIR(2int, int, int)
DEFINE_PAIR(short_int, short, int)
DEFINE_PAIR(ldouble_int, long double, int)
DEFINE_PAIR(2float, float, float)
DEFINE_PAIR(2double, double, double)

#define ROW(name, extent)                                                                          \
    {                                                                                              \
        extent, make_##name, reduce_##name, equal_##name, print_##name                             \
    }
#define PAIR(name) ROW(name, sizeof(pair_##name##_t))

static const kind_functions_t kinds[KIND_COUNT] = {
    [KIND_I8] = ROW(i8, 1),
    [KIND_U8] = ROW(u8, 1),
    [KIND_I16] = ROW(i16, 2),
    [KIND_U16] = ROW(u16, 2),
    [KIND_I32] = ROW(i32, 4),
    [KIND_U32] = ROW(u32, 4),
    [KIND_I64] = ROW(i64, 8),
    [KIND_U64] = ROW(u64, 8),
    [KIND_FLOAT] = ROW(float, sizeof(float)),
    [KIND_DOUBLE] = ROW(double, sizeof(double)),
    [KIND_LDOUBLE] = ROW(ldouble, sizeof(long double)),
    [KIND_CFLOAT] = ROW(cfloat, sizeof(float complex)),
    [KIND_CDOUBLE] = ROW(cdouble, sizeof(double complex)),
    [KIND_CLDOUBLE] = ROW(cldouble, sizeof(long double complex)),
    [KIND_BOOL] = ROW(logical1, sizeof(bool)),
    [KIND_LOGICAL1] = ROW(logical1, 1),
    [KIND_LOGICAL2] = ROW(logical2, 2),
    [KIND_LOGICAL4] = ROW(logical4, 4),
    [KIND_LOGICAL8] = ROW(logical8, 8),
    [KIND_FLOAT_INT] = PAIR(float_int),
    [KIND_DOUBLE_INT] = PAIR(double_int),
    [KIND_LONG_INT] = PAIR(long_int),
    [KIND_2INT] = PAIR(2int),
    [KIND_SHORT_INT] = PAIR(short_int),
    [KIND_LDOUBLE_INT] = PAIR(ldouble_int),
    [KIND_2FLOAT] = PAIR(2float),
    [KIND_2DOUBLE] = PAIR(2double),
};

size_t test_kind_extent(test_kind_t kind)
{
    return kinds[kind].extent;
}

void test_element_make(test_kind_t kind, test_op_code_t op, uint64_t hash, bool safe, void *element)
{
    kinds[kind].make(op, hash, safe, element);
}

void test_element_reduce(test_kind_t kind, test_op_code_t op, const void *left, void *inout)
{
    kinds[kind].reduce(op, left, inout);
}

bool test_element_equal(test_kind_t kind, const void *a, const void *b)
{
    return kinds[kind].equal(a, b);
}

char *test_element_print(test_kind_t kind, const void *element, char *text, size_t bytes)
{
    kinds[kind].print(element, text, bytes);
    return text;
}
