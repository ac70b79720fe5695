/*
 * The engine over direct peers: every collective and algorithm against an oracle.
 *
 *   pairs     each (collective, algorithm) x degrees x sizes around the thresholds x in place or
 * not x segments, N = 2 .. 8, the smallest ring there is, positions that pass 2^31 and 2^32 random
 * long random sequences on two groups, ranks delayed at random, several geometries and rendezvous
 * modes, one and two levels ahead     a root that runs ahead of a slow receiver is held back by
 * credits and overwrites nothing threads   ranks as threads: CK_RUN_CASE=threads CK_FORK=no under
 * the thread sanitizer
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coll_rdma/base/params.h"
#include "tests/unit/calls.h"
#include "tests/unit/run_suite.h"

/* Tests can be made longer: CRDMA_TEST_SCALE=10. */
static int scaled(int n)
{
    const char *scale = getenv("CRDMA_TEST_SCALE");

    return NULL == scale ? n : n * atoi(scale);
}

static void run_one(ranks_t *me, crdma_group_t *g, const call_t *c)
{
    char text[256];
    crdma_status_t status = call_run(me, g, c);

    RANKS_REQUIRE(CRDMA_OK == status, "(%s: %s)", call_describe(c, text, sizeof(text)),
                  crdma_status_string(status));
}

/* ---- pairs ---- */

static const size_t starts[] = {1, ((size_t)1 << 31) - 5, ((size_t)1 << 32) - 10};

static void tiny_ring(void)
{
    crdma_params.ll_max = 16;
    crdma_params.block_size = 64;
    crdma_params.block_count = 2;
    crdma_params.rendezvous_min = 4096;
}

static void all_pairs(ranks_t *me, void *arg)
{
    static const size_t sizes[] = {4, 16, 20, 64, 132, 1000, 4092, 4096, 70000};
    crdma_group_t *g = ranks_group(me);
    const int n = me->size, degrees[] = {1, 2, n - 1};
    uint64_t seed = 7;
    call_t c;

    (void)arg;
    for (int p = 0; call_pair(p, &c.coll, &c.alg, &c.ordered); ++p) {
        const bool orders = c.ordered;

        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); ++i) {
            for (int k = 0; k < 3; ++k) {
                const int variant = (int)(ranks_next(&seed) % 12);

                c = (call_t){.coll = c.coll,
                             .alg = c.alg,
                             .levels = 1,
                             .degree = degrees[k] < n ? degrees[k] : n - 1,
                             .root = (int)(ranks_next(&seed) % (unsigned)n),
                             .ordered = orders && 0 == variant % 3,
                             .in_place = 0 != variant % 2,
                             .elsize = 4,
                             .seed = ranks_next(&seed)};
                if (CRDMA_BCAST == c.coll || CRDMA_BARRIER == c.coll) {
                    c.elsize = 1;
                } else if (c.ordered) {
                    c.elsize = 0 == variant % 2 ? 8 : 40;
                }
                c.count = CRDMA_BARRIER == c.coll ? 0 : (sizes[i] + c.elsize - 1) / c.elsize;
                c.segment = 0 == variant % 4 ? sizes[i] / 3 + 1 : 0;
                ranks_delay(me, 50);
                run_one(me, g, &c);
            }
        }
    }
    crdma_group_free(g);
}

START_TEST(pairs)
{
    const ranks_setup_t setup = {.size = 2 + _i % 7};

    tiny_ring();
    crdma_params.board_max = _i < 7; /* by messages, then by the board where there is one */
    crdma_params.sequence_start = starts[_i % 3];
    ck_assert_int_eq(0, ranks_run(&setup, all_pairs, NULL));
}
END_TEST

/* ---- random ---- */

typedef struct shape {
    int size, nnodes, node[RANKS_MAX];
    int ll_max, block_size, block_count, rendezvous, rendezvous_min;
    size_t start, most;
    bool no_cma;
} shape_t;

static const shape_t shapes[] = {
    {2, 1, {0}, 128, 8192, 16, CRDMA_RNDV_AUTO, 0, 1, 300000, false},
    {3, 1, {0}, 16, 64, 2, CRDMA_RNDV_READ, 512, ((size_t)1 << 32) - 10, 20000, false},
    {4, 1, {0}, 16, 64, 2, CRDMA_RNDV_WRITE, 512, ((size_t)1 << 31) - 5, 20000, false},
    {5, 2, {0, 0, 1, 1, 1}, 128, 512, 4, CRDMA_RNDV_AUTO, 2000, 1, 40000, false},
    {7,
     3,
     {0, 1, 0, 2, 1, 0, 2},
     0,
     64,
     4,
     CRDMA_RNDV_AUTO,
     1000,
     ((size_t)1 << 32) - 10,
     9000,
     false},
    {8, 2, {0, 0, 0, 0, 1, 1, 1, 1}, 64, 128, 2, CRDMA_RNDV_OFF, 0, 5, 5000, true},
    {4, 1, {0}, 4096, 4096, 2, CRDMA_RNDV_READ, 1, ((size_t)1 << 32) - 10, 300000, false},
    {2, 1, {0}, 16, 8192, 2, CRDMA_RNDV_AUTO, 0, ((size_t)1 << 32) - 10, 300000, false},
    {3, 1, {0}, 16, 8192, 2, CRDMA_RNDV_OFF, 0, ((size_t)1 << 31) - 5, 100000, false},
};

enum { NSHAPES = sizeof(shapes) / sizeof(shapes[0]) };

static bool ranks_are_ordered(const shape_t *s)
{
    for (int r = 1; r < s->size; ++r) {
        if (s->node[r] < s->node[r - 1]) {
            return false;
        }
    }
    return true;
}

static void random_calls(ranks_t *me, void *arg)
{
    const shape_t *shape = arg;
    crdma_group_t *g[2] = {ranks_group(me), ranks_group(me)};
    uint64_t state = 99 + (uint64_t)(shape - shapes);

    for (int i = 0; i < scaled(400); ++i) {
        call_t c = call_random(&state, me->size, shape->nnodes, shape->most);

        if (2 == c.levels && c.ordered && !ranks_are_ordered(shape)) {
            c.ordered = false;
            c.elsize = 4;
        }
        ranks_delay(me, 100);
        run_one(me, g[ranks_next(&state) % 2], &c);
    }
    crdma_group_free(g[1]);
    crdma_group_free(g[0]);
    ranks_settle(me);
    RANKS_REQUIRE(0 == crdma_group_reap(me->slab));
    RANKS_REQUIRE(0 == me->slab->in_use && 0 == me->slab->reserved);
}

static void apply(const shape_t *s)
{
    crdma_params.ll_max = s->ll_max;
    crdma_params.block_size = s->block_size;
    crdma_params.block_count = s->block_count;
    crdma_params.rendezvous = s->rendezvous;
    crdma_params.rendezvous_min = (size_t)s->rendezvous_min;
    crdma_params.sequence_start = s->start;
    ck_assert_ptr_null(crdma_params_check(&crdma_params));
}

START_TEST(random_sequences)
{
    const shape_t *s = &shapes[_i % NSHAPES];
    const ranks_setup_t setup = {.size = s->size,
                                 .node = s->node,
                                 .nnodes = s->nnodes,
                                 .no_cma = s->no_cma,
                                 .time_limit = scaled(60)};

    apply(s);
    crdma_params.board_max = _i < NSHAPES;
    ck_assert_int_eq(0, ranks_run(&setup, random_calls, (void *)(uintptr_t)s));
}
END_TEST

/* ---- ahead ---- */

/* The root makes broadcasts as fast as it can; others are slow, now one, now the other. */
static void run_ahead(ranks_t *me, void *arg)
{
    crdma_group_t *g = ranks_group(me);
    uint64_t *made = ranks_notes(me), seed = 3;
    const size_t bytes = *(const size_t *)arg;

    for (int i = 0; i < 200; ++i) {
        const call_t c = {.coll = CRDMA_BCAST,
                          .alg = CRDMA_ALG_TREE,
                          .levels = 1,
                          .degree = me->size - 1,
                          .elsize = 1,
                          .count = bytes,
                          .seed = ranks_next(&seed)};

        if (0 == me->rank) {
            __atomic_store_n(&made[0], (uint64_t)i, __ATOMIC_RELEASE);
        } else if (i % 20 == 10 * me->rank) {
            usleep(3000);
            /* at most a ring, or what the board holds, ahead of me, and the one it is waiting with */
            const unsigned most = NULL == g->board.head ? (8 == bytes ? CRDMA_CELLS : 4)
                                  : 8 == bytes          ? (unsigned) g->board.generations
                                                        : CRDMA_BOARD_SLOTS;

            RANKS_REQUIRE(__atomic_load_n(&made[0], __ATOMIC_ACQUIRE) <= (uint64_t)i + most);
        }
        run_one(me, g, &c);
    }
    crdma_group_free(g);
}

START_TEST(root_ahead)
{
    static const size_t sizes[] = {8, 60, 64};
    const ranks_setup_t setup = {.size = 2 + _i % 2};

    tiny_ring();
    crdma_params.block_count = 4;
    crdma_params.board_max = _i < 3;
    ck_assert_int_eq(0, ranks_run(&setup, run_ahead, (void *)(uintptr_t)&sizes[_i % 3]));
}
END_TEST

/* ---- threads ---- */

START_TEST(as_threads)
{
    const shape_t *s = &shapes[(const int[]){0, 2, 5, 7}[_i]];
    const ranks_setup_t setup = {.size = s->size,
                                 .threads = true,
                                 .node = s->node,
                                 .nnodes = s->nnodes,
                                 .no_cma = s->no_cma};

    apply(s);
    ck_assert_int_eq(0, ranks_run(&setup, random_calls, (void *)(uintptr_t)s));
}
END_TEST

static Suite *engine_suite(void)
{
    Suite *suite = suite_create("engine");
    TCase *tcase = tcase_create("direct"), *threads = tcase_create("threads");

    tcase_add_loop_test(tcase, pairs, 0, 14);
    tcase_add_loop_test(tcase, random_sequences, 0, 2 * NSHAPES);
    tcase_add_loop_test(tcase, root_ahead, 0, 6);
    tcase_add_loop_test(threads, as_threads, 0, 4);
    tcase_set_timeout(tcase, 100 * scaled(1));
    tcase_set_timeout(threads, 100 * scaled(1));
    suite_add_tcase(suite, tcase);
    suite_add_tcase(suite, threads);
    return suite;
}

int main(void)
{
    return run_suite(engine_suite(), CK_ENV);
}
