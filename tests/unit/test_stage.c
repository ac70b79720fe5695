/*
 * The stage (protocol/stage.h) and the copies into it (device/host_copy.h), without peers: an edge is
 * here a credit word that the test itself advances. tests/unit/test_engine runs whole
 * collectives through it.
 */
#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "coll_rdma/base/params.h"
#include "coll_rdma/protocol/stage.h"
#include "tests/unit/run_suite.h"

#define ENTRY 4096

typedef struct bench {
    crdma_slab_t *slab;
    crdma_stage_t stage;
    uint64_t credit[2]; /* what the peers have consumed */
    crdma_edge_t edge[2];
} bench_t;

static void bench_open(bench_t *b)
{
    memset(b, 0, sizeof(*b));
    ck_assert_int_eq(CRDMA_OK, crdma_slab_create((size_t)64 << 20, &b->slab));
    crdma_stage_init(&b->stage, b->slab, ENTRY);
    for (int i = 0; i < 2; ++i) {
        b->edge[i].credit_in = &b->credit[i];
    }
}

static void bench_close(bench_t *b)
{
    crdma_stage_free(&b->stage);
    ck_assert_uint_eq(0, b->slab->in_use);
    ck_assert_uint_eq(0, b->slab->reserved);
    crdma_slab_destroy(b->slab);
}

static char payload[ENTRY];

static crdma_addr_t put(bench_t *b, int edge, uint64_t position, uint64_t token)
{
    memset(payload, (int)position, sizeof(payload));
    return crdma_stage_put(&b->stage, &b->edge[edge], position, token, payload, sizeof(payload));
}

/* Invariant 1: nothing is overwritten before its credit, and nothing waits for one. */
START_TEST(overwriting)
{
    bench_t b;
    crdma_addr_t first;
    uint64_t position = 1;

    bench_open(&b);
    first = put(&b, 0, position++, 0);
    ck_assert_uint_ne(0, first);
    for (uint32_t i = 1; i < b.stage.limit; ++i) {
        ck_assert_uint_ne(0, put(&b, 0, position++, 0));
    }
    ck_assert_uint_eq(0, put(&b, 0, position, 0));
    ck_assert_int_eq(1, *(const char *)crdma_slab_at(b.slab, first));
    b.credit[0] = 1;
    ck_assert_uint_eq(first, put(&b, 0, position, 0));
    ck_assert_int_eq((char)position, *(const char *)crdma_slab_at(b.slab, first));
    ck_assert_uint_eq(0, put(&b, 0, position + 1, 0));
    bench_close(&b);
}
END_TEST

/* Invariant 2, and that an entry of two peers waits for both. */
START_TEST(sharing)
{
    bench_t b;
    crdma_addr_t a;

    bench_open(&b);
    a = put(&b, 0, 7, 5);
    ck_assert_uint_eq(a, put(&b, 1, 7, 5));
    ck_assert_uint_ne(a, put(&b, 1, 8, 6));
    ck_assert_uint_ne(a, put(&b, 1, 9, 0));
    ck_assert_uint_ne(put(&b, 0, 9, 0), put(&b, 0, 10, 0));
    while (0 != b.stage.next) {
        (void)put(&b, 0, 11, 0);
    }
    b.credit[0] = 100; /* one of the two */
    ck_assert_uint_eq(0, put(&b, 0, 12, 0));
    b.credit[1] = 7;
    ck_assert_uint_eq(a, put(&b, 0, 12, 0));
    bench_close(&b);
}
END_TEST

/* It grows lap by lap, never beyond its memory, and then goes round. */
START_TEST(growth)
{
    bench_t b;
    uint32_t limit = 0;
    uint64_t laps = 0, position = 1;

    bench_open(&b);
    while (laps < 40) {
        ck_assert_uint_ne(0, put(&b, 0, position, 0));
        b.credit[0] = position++;
        ck_assert_uint_le(limit, b.stage.limit);
        ck_assert_uint_lt(b.stage.next, b.stage.limit);
        limit = b.stage.limit;
        laps += 0 == b.stage.next;
    }
    ck_assert_uint_eq(b.stage.nentries, limit);
    ck_assert_uint_le((size_t)limit * ENTRY, b.stage.size);
    bench_close(&b);
}
END_TEST

/* Small messages leave no trace; a slab without room, or too many stages, turns it off. */
START_TEST(memory)
{
    bench_t b[CRDMA_STAGES + 1];
    crdma_slab_t *full;
    crdma_stage_t none;

    for (int i = 0; i <= CRDMA_STAGES; ++i) {
        bench_open(&b[i]);
        ck_assert_uint_eq(0, b[i].slab->in_use);
        ck_assert((CRDMA_STAGES > i) == (0 != put(&b[i], 0, 1, 0)));
    }
    for (int i = 0; i <= CRDMA_STAGES; ++i) {
        bench_close(&b[i]);
    }
    ck_assert_int_eq(CRDMA_OK, crdma_slab_create((size_t)1 << 20, &full));
    crdma_stage_init(&none, full, ENTRY);
    ck_assert_uint_eq(0, crdma_stage_put(&none, &b[0].edge[0], 1, 0, payload, ENTRY));
    ck_assert_uint_eq(0, crdma_stage_put(&none, &b[0].edge[0], 2, 0, payload, ENTRY));
    crdma_stage_free(&none);
    ck_assert_uint_eq(0, full->reserved);
    crdma_slab_destroy(full);
}
END_TEST

/* ---- the fence behind stores past the caches ---- */

enum { LEN = 8192 - 16, ROUNDS = 20000 };

static _Alignas(64) char shared[LEN];
static uint64_t said, heard;

static void *reader(void *arg)
{
    long *torn = arg;

    for (uint64_t round = 1; round <= ROUNDS; ++round) {
        while (__atomic_load_n(&said, __ATOMIC_ACQUIRE) != round) {
            sched_yield();
        }
        /* the bytes stored last are those that a flag could overtake */
        for (int i = LEN - 1; 0 <= i; i -= 16) {
            *torn += (char)round != *(volatile char *)&shared[i];
        }
        __atomic_store_n(&heard, round, __ATOMIC_RELEASE);
    }
    return NULL;
}

START_TEST(fence)
{
    static char from[LEN];
    crdma_copier_t copier = {{0}, 0, false};
    pthread_t thread;
    long torn = 0;

    said = heard = 0;
    ck_assert_int_eq(0, pthread_create(&thread, NULL, reader, &torn));
    for (uint64_t round = 1; round <= ROUNDS; ++round) {
        memset(from, (int)round, sizeof(from));
        if (0 == _i) {
            crdma_copy_stream(shared, from, LEN);
        } else {
            crdma_copy_to_reader(&copier, shared, from, LEN);
        }
        __atomic_store_n(&said, round, __ATOMIC_RELEASE);
        while (__atomic_load_n(&heard, __ATOMIC_ACQUIRE) != round) {
            sched_yield();
        }
    }
    pthread_join(thread, NULL);
    ck_assert_int_eq(0, torn);
}
END_TEST

/* Both ways are tried again and again, so that the sender notices when its processor was moved. */
START_TEST(trials)
{
    static _Alignas(64) char to[ENTRY];
    crdma_copier_t copier = {{0}, 0, false};

    for (int i = 0; i < 300; ++i) {
        crdma_copy_to_reader(&copier, to, payload, sizeof(to));
    }
#if defined(__x86_64__)
    ck_assert_uint_ne(0, copier.cost[0]);
    ck_assert_uint_ne(0, copier.cost[1]);
    copier.cost[0] = 1 << 30;
    copier.stream = true;
    for (int i = 0; copier.stream; ++i) {
        ck_assert_int_lt(i, 10000); /* one slow copy long ago does not count for ever */
        crdma_copy_to_reader(&copier, to, payload, sizeof(to));
    }
#endif
    ck_assert_mem_eq(to, payload, sizeof(to));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("stage");
    TCase *tcase = tcase_create("stage");

    tcase_add_test(tcase, overwriting);
    tcase_add_test(tcase, sharing);
    tcase_add_test(tcase, growth);
    tcase_add_test(tcase, memory);
    tcase_add_loop_test(tcase, fence, 0, 2);
    tcase_add_test(tcase, trials);
    tcase_set_timeout(tcase, 60);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_NORMAL);
}
