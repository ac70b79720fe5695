/*
 * Host reductions against a naive oracle: every operation on every type, 1 to 17 inputs, all small
 * counts and some that span several strips, all misalignments, in place with each input; and the
 * same bits from every instruction set and every cut of the range, NaNs and zeros included.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "coll_rdma/device/host_reduce.h"
#include "tests/unit/reduce_oracle.h"
#include "tests/unit/run_suite.h"

enum {
    MAX_SRC = 17,
    SMALL = 70,
    LARGE = 5000,
    MAX_SIZE = 32,
    GUARD = 64, /* bytes around a result that must stay as they were */
    ROOM = LARGE * MAX_SIZE + 16
};

static unsigned char *inputs[MAX_SRC];   /* as generated, never modified */
static unsigned char *shifted[MAX_SRC];  /* at odd addresses, may be overwritten */
static unsigned char *expected[MAX_SRC]; /* the fold of inputs[0 .. n] */
static unsigned char *result;

static void setup(void)
{
    for (int s = 0; s < MAX_SRC; s++) {
        inputs[s] = malloc(ROOM);
        shifted[s] = malloc(ROOM + 2 * GUARD);
        expected[s] = malloc(ROOM);
        ck_assert(NULL != inputs[s] && NULL != shifted[s] && NULL != expected[s]);
    }
    result = malloc(ROOM + 2 * GUARD);
    ck_assert(NULL != result);
}

static void teardown(void)
{
    for (int s = 0; s < MAX_SRC; s++) {
        free(inputs[s]);
        free(shifted[s]);
        free(expected[s]);
    }
    free(result);
}

/* Extends expected[] for count elements of inputs[]. */
static void expect(crdma_op_id_t op, crdma_type_id_t type, size_t count)
{
    const size_t size = oracle_size(type);
    memcpy(expected[0], inputs[0], count * size);
    for (int s = 1; s < MAX_SRC; s++) {
        for (size_t i = 0; i < count; i++) {
            oracle_apply(op, type, expected[s] + i * size, expected[s - 1] + i * size,
                         inputs[s] + i * size);
        }
    }
}

static void generate(crdma_op_id_t op, crdma_type_id_t type, size_t count)
{
    uint64_t state = (uint64_t)op * CRDMA_NTYPES + (uint64_t)type;
    for (int s = 0; s < MAX_SRC; s++) {
        oracle_fill(type, inputs[s], count, &state);
    }
    expect(op, type, count);
}

/* Copies the inputs to addresses that are misaligned by shift and differ from each other. */
static void place(const void **src, size_t bytes, unsigned shift)
{
    for (unsigned s = 0; s < MAX_SRC; s++) {
        src[s] = memcpy(shifted[s] + GUARD + ((shift + s * shift) & 15), inputs[s], bytes);
    }
}

/* Every ck_assert writes to a file, so the many checks here are plain comparisons. */
static void check_call(crdma_reduce_fn_t fn, const char *what, unsigned char *dst,
                       const void *const *src, int nsrc, size_t bytes, size_t count)
{
    unsigned char untouched[GUARD];
    memset(untouched, 0xa5, GUARD);
    memcpy(dst - GUARD, untouched, GUARD);
    memcpy(dst + bytes, untouched, GUARD);
    fn(dst, src, nsrc, count);
    if (0 != memcmp(dst, expected[nsrc - 1], bytes)) {
        size_t i = 0;
        while (dst[i] == expected[nsrc - 1][i]) {
            i++;
        }
        ck_abort_msg("%s: nsrc %d count %zu: byte %zu of %zu is %02x, not %02x", what, nsrc, count,
                     i, bytes, dst[i], expected[nsrc - 1][i]);
    }
    if (0 != memcmp(dst - GUARD, untouched, GUARD) || 0 != memcmp(dst + bytes, untouched, GUARD)) {
        ck_abort_msg("%s: nsrc %d count %zu wrote outside dst", what, nsrc, count);
    }
}

static void check_kernel(crdma_reduce_fn_t fn, const char *what, size_t size)
{
    static const size_t large[] = {255, 1000, 1025, 4097, LARGE};
    const void *src[MAX_SRC];

    for (unsigned shift = 0; shift < 16; shift++) {
        place(src, SMALL * size, shift);
        for (int nsrc = 1; nsrc <= MAX_SRC; nsrc++) {
            for (size_t count = 0; count <= SMALL; count++) {
                /* All counts at every alignment where the loops differ, a third elsewhere. */
                if (nsrc <= 5 || 0 == (count + shift) % 3) {
                    check_call(fn, what, result + GUARD + ((shift * 5) & 15), src, nsrc,
                               count * size, count);
                }
            }
        }
    }
    for (size_t c = 0; c < sizeof(large) / sizeof(large[0]); c++) {
        place(src, large[c] * size, c & 1 ? 0 : 3);
        for (int nsrc = 1; nsrc <= MAX_SRC; nsrc++) {
            check_call(fn, what, result + GUARD + c, src, nsrc, large[c] * size, large[c]);
        }
    }
}

static void check_in_place(crdma_reduce_fn_t fn, const char *what, size_t size)
{
    static const size_t counts[] = {0, 1, 2, 3, 7, 8, 16, 31, 33, SMALL, 1025, LARGE};
    const void *src[MAX_SRC];

    for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
        const size_t count = counts[c];
        for (int nsrc = 1; nsrc <= MAX_SRC; nsrc += count > SMALL && nsrc > 5 ? 4 : 1) {
            for (int k = 0; k < nsrc; k++) {
                place(src, count * size, (unsigned)(k & 15));
                check_call(fn, what, (unsigned char *)src[k], src, nsrc, count * size, count);
            }
        }
    }
}

static const char *describe(crdma_op_id_t op, crdma_type_id_t type, crdma_isa_t isa)
{
    static char text[64];
    snprintf(text, sizeof(text), "%s of %s with %s", crdma_op_name(op), crdma_type_name(type),
             crdma_isa_name(isa));
    return text;
}

/* Loop test: _i is the type. */
START_TEST(every_operation_matches_the_oracle)
{
    const crdma_type_id_t type = (crdma_type_id_t)_i;
    const size_t size = oracle_size(type);

    ck_assert_uint_eq(crdma_type_size(type), size);
    for (int op = 0; op < CRDMA_NOPS; op++) {
        crdma_reduce_fn_t best = crdma_reduce_lookup(op, type);
        ck_assert_int_eq(NULL != best, oracle_allowed(op, type));
        if (NULL == best) {
            continue;
        }
        ck_assert(best == crdma_reduce_lookup_isa(op, type, crdma_isa_best()));
        generate(op, type, LARGE);
        for (int isa = 0; isa < CRDMA_NISAS; isa++) {
            crdma_reduce_fn_t fn = crdma_reduce_lookup_isa(op, type, isa);
            ck_assert_int_eq(NULL != fn, isa <= (int)crdma_isa_best());
            if (NULL != fn) {
                check_kernel(fn, describe(op, type, isa), size);
                check_in_place(fn, describe(op, type, isa), size);
            }
        }
    }
}
END_TEST

/* ---- special values ---- */

/* NaNs of both signs and several payloads, one of them signalling; zeros, infinities, subnormals,
 * numbers whose products and sums overflow, underflow and round. */
static const uint32_t special_floats[] = {
    0x00000000, 0x80000000, 0x7fc00000, 0xffc00000, 0x7fc01234, 0xffc04321,
    0x7fa00001, 0x7f800000, 0xff800000, 0x3f800000, 0xbf800000, 0x00000001,
    0x807fffff, 0x7f7fffff, 0x3eaaaaab, 0xc0490fdb, 0x00800000};
enum { NSPECIAL = sizeof(special_floats) / sizeof(special_floats[0]) };

static void put_special(char part, size_t which, unsigned char *p)
{
    const uint32_t bits = special_floats[which % NSPECIAL];
    float x;
    memcpy(&x, &bits, sizeof(x));
    if ('f' == part) {
        memcpy(p, &bits, sizeof(bits));
    } else if ('d' == part) {
        const double y = 0x7f7fffff == bits ? DBL_MAX : 1 == bits ? 0x1p-1074 : x;
        memcpy(p, &y, sizeof(y));
    } else if ('L' == part) {
        oracle_put_ldouble(p, 0x7f7fffff == bits ? LDBL_MAX : x);
    } else {
        oracle_store(p, oracle_part_size(part), which % 5);
    }
}

/* Every pair of specials meets in inputs 0 and 1; further inputs are arbitrary ones. */
static size_t generate_specials(crdma_type_id_t type)
{
    const struct oracle_type *t = &oracle_types[type];
    const size_t size = oracle_size(type), count = 4 * NSPECIAL * NSPECIAL;
    uint64_t state = (uint64_t)type;
    for (size_t i = 0; i < count; i++) {
        for (size_t s = 0; s < MAX_SRC; s++) {
            const uint64_t any = oracle_random(&state);
            const size_t which = 0 == s ? i : 1 == s ? i / NSPECIAL : any;
            put_special(t->first, which, inputs[s] + i * size);
            if (0 != t->second) {
                put_special(t->second, any >> 32,
                            inputs[s] + i * size + oracle_part_size(t->first));
            }
        }
    }
    return count;
}

static bool has_float(crdma_type_id_t type)
{
    return NULL != strchr("fdL", oracle_types[type].first) && 0 != oracle_types[type].first;
}

START_TEST(special_values_give_the_same_bits_everywhere)
{
    const crdma_type_id_t type = (crdma_type_id_t)_i;
    const size_t size = oracle_size(type);
    if (!has_float(type)) {
        return;
    }
    const size_t count = generate_specials(type);
    for (int op = 0; op < CRDMA_NOPS; op++) {
        crdma_reduce_fn_t base = crdma_reduce_lookup_isa(op, type, CRDMA_ISA_BASE);
        if (NULL == base) {
            continue;
        }
        const bool by_oracle = PAIR != oracle_types[type].class &&
                               !(COMPLEX == oracle_types[type].class && CRDMA_OP_PROD == op);
        if (by_oracle) {
            expect(op, type, count);
        } else {
            for (int s = 0; s < MAX_SRC; s++) {
                base(expected[s], (const void *const *)inputs, s + 1, count);
            }
        }
        for (int isa = 0; isa <= (int)crdma_isa_best(); isa++) {
            crdma_reduce_fn_t fn = crdma_reduce_lookup_isa(op, type, isa);
            const void *src[MAX_SRC];
            uint64_t state = 1;

            place(src, count * size, 0);
            for (int nsrc = 1; nsrc <= MAX_SRC; nsrc++) {
                check_call(fn, describe(op, type, isa), result + GUARD, src, nsrc, count * size,
                           count);
                /* The same range in pieces of 1 .. 40 elements. */
                for (size_t from = 0, n; from < count; from += n) {
                    const void *piece[MAX_SRC];
                    n = 1 + oracle_random(&state) % 40;
                    n = n < count - from ? n : count - from;
                    for (int s = 0; s < nsrc; s++) {
                        piece[s] = inputs[s] + from * size;
                    }
                    fn(result + GUARD + from * size, piece, nsrc, n);
                }
                if (0 != memcmp(result + GUARD, expected[nsrc - 1], count * size)) {
                    ck_abort_msg("%s: nsrc %d differs when cut", describe(op, type, isa), nsrc);
                }
            }
        }
    }
}
END_TEST

/* Complex products of infinities agree with the compiler's C arithmetic, whatever the NaN bits. */
START_TEST(complex_products_follow_c)
{
    crdma_reduce_fn_t fn = crdma_reduce_lookup(CRDMA_OP_PROD, CRDMA_TYPE_CDOUBLE);
    static const double values[] = {0.0, -0.0, 1.0, -2.5, DBL_MAX, INFINITY, -INFINITY, NAN};
    enum { N = sizeof(values) / sizeof(values[0]) };
    for (int i = 0; i < N * N * N * N; i++) {
        const double a[2] = {values[i % N], values[i / N % N]};
        const double b[2] = {values[i / N / N % N], values[i / N / N / N]};
        const void *const src[2] = {a, b};
        double got[2], want[2];
        _Complex double x, y;
        memcpy(&x, a, sizeof(x));
        memcpy(&y, b, sizeof(y));
        x *= y;
        memcpy(want, &x, sizeof(want));
        fn(got, src, 2, 1);
        for (int p = 0; p < 2; p++) {
            if (!(isnan(got[p]) && isnan(want[p])) &&
                0 != memcmp(&got[p], &want[p], sizeof(got[p]))) {
                ck_abort_msg("(%g,%g)*(%g,%g): part %d is %g, not %g", a[0], a[1], b[0], b[1], p,
                             got[p], want[p]);
            }
        }
    }
}
END_TEST

/* Saturating vector instructions exist for 8 and 16 bits; they must not be used. */
#define CHECK_WRAP(type_id, type, op, a_value, b_value, wanted)                                    \
    do {                                                                                           \
        type a[SMALL], b[SMALL], r[SMALL];                                                         \
        const void *const src[2] = {a, b};                                                         \
        for (int i = 0; i < SMALL; i++) {                                                          \
            a[i] = (type)(a_value);                                                                \
            b[i] = (type)(b_value);                                                                \
        }                                                                                          \
        for (int isa = 0; isa <= (int)crdma_isa_best(); isa++) {                                   \
            crdma_reduce_lookup_isa(CRDMA_OP_##op, CRDMA_TYPE_##type_id, isa)(r, src, 2, SMALL);   \
            for (int i = 0; i < SMALL; i++) {                                                      \
                ck_assert(r[i] == (type)(wanted));                                                 \
            }                                                                                      \
        }                                                                                          \
    } while (0)

START_TEST(integers_wrap_around)
{
    CHECK_WRAP(INT8, int8_t, SUM, 127, 1, -128);
    CHECK_WRAP(INT8, int8_t, PROD, -128, -1, -128);
    CHECK_WRAP(UINT8, uint8_t, SUM, 255, 2, 1);
    CHECK_WRAP(UINT8, uint8_t, PROD, 255, 255, 1);
    CHECK_WRAP(INT16, int16_t, SUM, 32767, 1, -32768);
    CHECK_WRAP(INT16, int16_t, SUM, -32768, -1, 32767);
    CHECK_WRAP(INT16, int16_t, PROD, 300, 300, 24464);
    CHECK_WRAP(UINT16, uint16_t, SUM, 65535, 1, 0);
    CHECK_WRAP(UINT16, uint16_t, PROD, 65535, 65535, 1);
    CHECK_WRAP(INT32, int32_t, SUM, INT32_MAX, 1, INT32_MIN);
    CHECK_WRAP(INT32, int32_t, PROD, INT32_MIN, -1, INT32_MIN);
    CHECK_WRAP(UINT32, uint32_t, SUM, UINT32_MAX, 1, 0);
    CHECK_WRAP(INT64, int64_t, SUM, INT64_MAX, 1, INT64_MIN);
    CHECK_WRAP(INT64, int64_t, PROD, INT64_MIN, -1, INT64_MIN);
    CHECK_WRAP(UINT64, uint64_t, SUM, UINT64_MAX, 1, 0);
}
END_TEST

START_TEST(equal_values_keep_the_lower_index)
{
    const struct __attribute__((packed)) {
        double value;
        int index;
    } a[3] = {{1.0, 7}, {2.0, 7}, {3.0, 1}}, b[3] = {{1.0, 3}, {1.0, 3}, {3.0, 5}};
    const void *const src[2] = {a, b};
    typeof(a[0]) up[3], down[3];
    crdma_reduce_lookup(CRDMA_OP_MAXLOC, CRDMA_TYPE_DOUBLE_INT)((void *)up, src, 2, 3);
    crdma_reduce_lookup(CRDMA_OP_MINLOC, CRDMA_TYPE_DOUBLE_INT)((void *)down, src, 2, 3);
    ck_assert(1.0 == up[0].value && 3 == up[0].index);
    ck_assert(2.0 == up[1].value && 7 == up[1].index);
    ck_assert(3.0 == up[2].value && 1 == up[2].index);
    ck_assert(1.0 == down[0].value && 3 == down[0].index);
    ck_assert(1.0 == down[1].value && 3 == down[1].index);
    ck_assert(3.0 == down[2].value && 1 == down[2].index);
}
END_TEST

START_TEST(ids_out_of_range_are_harmless)
{
    ck_assert(NULL == crdma_reduce_lookup(CRDMA_NOPS, CRDMA_TYPE_FLOAT));
    ck_assert(NULL == crdma_reduce_lookup(CRDMA_OP_SUM, CRDMA_NTYPES));
    ck_assert(NULL == crdma_reduce_lookup_isa(CRDMA_OP_SUM, CRDMA_TYPE_FLOAT, CRDMA_NISAS));
    ck_assert_uint_eq(0, crdma_type_size(CRDMA_TYPE_NONE));
    ck_assert_uint_eq(0, crdma_type_size(CRDMA_NTYPES));
    for (int op = 0; op <= CRDMA_NOPS; op++) {
        ck_assert_ptr_nonnull(crdma_op_name(op));
    }
    for (int type = 0; type <= CRDMA_NTYPES; type++) {
        ck_assert_ptr_nonnull(crdma_type_name(type));
    }
    for (int isa = 0; isa <= CRDMA_NISAS; isa++) {
        ck_assert_ptr_nonnull(crdma_isa_name(isa));
    }
    ck_assert_str_eq("sum", crdma_op_name(CRDMA_OP_SUM));
    ck_assert_str_eq("float", crdma_type_name(CRDMA_TYPE_FLOAT));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("reduce");
    TCase *tcase = tcase_create("host");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 300);
    tcase_add_loop_test(tcase, every_operation_matches_the_oracle, 0, CRDMA_NTYPES);
    tcase_add_loop_test(tcase, special_values_give_the_same_bits_everywhere, 0, CRDMA_NTYPES);
    tcase_add_test(tcase, complex_products_follow_c);
    tcase_add_test(tcase, integers_wrap_around);
    tcase_add_test(tcase, equal_values_keep_the_lower_index);
    tcase_add_test(tcase, ids_out_of_range_are_harmless);
    suite_add_tcase(suite, tcase);

    return run_suite(suite, CK_NORMAL);
}
