/*
 * The operation signature: fields do not touch each other, different calls have different
 * signatures, and the text that users see names what they called.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "coll_rdma/protocol/signature.h"
#include "tests/unit/run_suite.h"

typedef struct call {
    crdma_coll_t coll;
    crdma_op_id_t op;
    size_t elsize;
    int root;
    uint64_t bytes;
} call_t;

static uint64_t sig_of(const call_t *c)
{
    return crdma_sig_make(c->coll, c->op, c->elsize, c->root, c->bytes);
}

START_TEST(differences)
{
    static const size_t elsizes[] = {0, 1, 2, 4, 8, 12, 16, 20, 32, 254};
    static const int roots[] = {0, 1, 2, 255, 256, 65535, (1 << 19) - 1};
    static const uint64_t sizes[] = {0,       1,         4,          128,        129,
                                     65536,   134217727, 134217728,  134217732,  268435456,
                                     1 << 30, 1u << 31,  4294967296, 4294967300, 1ull << 40};
    const call_t base = {CRDMA_REDUCE, CRDMA_OP_SUM, 4, 3, 1024};
    uint64_t seen[256];
    int n = 0;

    seen[n++] = sig_of(&base);
    for (int coll = 0; coll < CRDMA_NCOLLS; ++coll) {
        call_t c = base;
        c.coll = (crdma_coll_t)coll;
        if (CRDMA_REDUCE != coll) {
            seen[n++] = sig_of(&c);
        }
    }
    for (int op = 0; op < CRDMA_NOPS; ++op) {
        call_t c = base;
        c.op = (crdma_op_id_t)op;
        if (CRDMA_OP_SUM != op) {
            seen[n++] = sig_of(&c);
        }
    }
    for (size_t i = 0; i < sizeof(elsizes) / sizeof(elsizes[0]); ++i) {
        call_t c = base;
        c.elsize = elsizes[i];
        if (4 != elsizes[i]) {
            seen[n++] = sig_of(&c);
        }
    }
    for (size_t i = 0; i < sizeof(roots) / sizeof(roots[0]); ++i) {
        call_t c = base;
        c.root = roots[i];
        seen[n++] = sig_of(&c);
    }
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); ++i) {
        call_t c = base;
        c.bytes = sizes[i];
        seen[n++] = sig_of(&c);
    }
    ck_assert_int_lt(n, 256);
    for (int i = 0; i < n; ++i) {
        for (int j = 0; j < i; ++j) {
            ck_assert_msg(seen[i] != seen[j], "%d and %d", i, j);
        }
        ck_assert_uint_eq(0, seen[i] >> 59 & 3); /* left to the number of the call */
    }
    ck_assert_uint_eq(sig_of(&base), seen[0]);
}
END_TEST

/* No field spills into another, whatever its value. */
START_TEST(saturation)
{
    const call_t base = {CRDMA_REDUCE, CRDMA_OP_SUM, 255, 0, 0};
    call_t c = base;

    for (size_t elsize = 255; elsize < 100000; elsize += 333) {
        c.elsize = elsize;
        ck_assert_uint_eq(sig_of(&base), sig_of(&c));
    }
    c = base;
    c.root = 1 << 19;
    ck_assert_uint_eq(sig_of(&base), sig_of(&c));
    for (uint64_t bytes = 1; 0 != bytes; bytes <<= 1) {
        c = base;
        c.bytes = bytes;
        ck_assert_uint_eq(sig_of(&base) >> 28, sig_of(&c) >> 28);
        c.bytes = bytes - 1;
        ck_assert_uint_eq(sig_of(&base) >> 28, sig_of(&c) >> 28);
    }
}
END_TEST

/* Sizes of 128 MiB and more: a hash, so some collide, but not many and not neighbours. */
START_TEST(large_sizes)
{
    uint64_t before = 0;

    for (uint64_t bytes = (uint64_t)1 << 27; bytes < ((uint64_t)1 << 27) + 100000; bytes += 4) {
        uint64_t sig = crdma_sig_make(CRDMA_BCAST, CRDMA_OP_NONE, 0, 0, bytes);

        ck_assert_uint_ne(before, sig);
        before = sig;
    }
}
END_TEST

START_TEST(calls)
{
    const uint64_t sig = crdma_sig_make(CRDMA_ALLREDUCE, CRDMA_OP_USER, 8, 0, 800);
    char a[160], b[160];

    crdma_sig_describe(sig, a, sizeof(a));
    for (uint64_t seq = 0; seq < 20; ++seq) {
        const uint64_t at = crdma_sig_at_call(sig, seq);

        ck_assert(crdma_sig_same_call(at, seq));
        ck_assert(crdma_sig_same_call(at, seq + 4));
        for (uint64_t other = seq + 1; other < seq + 4; ++other) {
            ck_assert(!crdma_sig_same_call(at, other));
            ck_assert_uint_ne(at, crdma_sig_at_call(sig, other));
        }
        ck_assert_str_eq(a, crdma_sig_describe(at, b, sizeof(b)));
    }
}
END_TEST

START_TEST(texts)
{
    static const struct {
        call_t call;
        const char *text;
    } rows[] = {
        {{CRDMA_BARRIER, CRDMA_OP_NONE, 0, 0, 0}, "barrier"},
        {{CRDMA_BCAST, CRDMA_OP_NONE, 0, 3, 1024}, "bcast of 1024 B (root 3)"},
        {{CRDMA_REDUCE, CRDMA_OP_SUM, 4, 3, 1024}, "reduce of 1024 B (sum, 4 B elements, root 3)"},
        {{CRDMA_ALLREDUCE, CRDMA_OP_MAXLOC, 12, 0, 24},
         "allreduce of 24 B (maxloc, 12 B elements)"},
        {{CRDMA_ALLREDUCE, CRDMA_OP_USER, 1, 0, 134217727},
         "allreduce of 134217727 B (user, 1 B elements)"},
    };
    char text[160], small[12];

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); ++i) {
        const uint64_t sig = sig_of(&rows[i].call);

        ck_assert_str_eq(rows[i].text, crdma_sig_describe(sig, text, sizeof(text)));
        crdma_sig_describe(sig, small, sizeof(small)); /* cut, never overrun */
        ck_assert_int_eq(0, strncmp(rows[i].text, small, sizeof(small) - 1));
    }
    crdma_sig_describe(crdma_sig_make(CRDMA_BCAST, CRDMA_OP_NONE, 0, 0, 1ull << 33), text,
                       sizeof(text));
    ck_assert_ptr_nonnull(strstr(text, "128 MiB or more"));
    for (uint64_t garbage = 1; 0 != garbage; garbage <<= 1) { /* what broken memory may say */
        ck_assert_int_lt(0, (int)strlen(crdma_sig_describe(~garbage, text, sizeof(text))));
    }
}
END_TEST

static Suite *signature_suite(void)
{
    Suite *suite = suite_create("signature");
    TCase *tcase = tcase_create("signature");

    tcase_add_test(tcase, differences);
    tcase_add_test(tcase, saturation);
    tcase_add_test(tcase, large_sizes);
    tcase_add_test(tcase, calls);
    tcase_add_test(tcase, texts);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(signature_suite(), CK_ENV);
}
