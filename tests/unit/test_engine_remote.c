/*
 * The engine over a transport that does the worst its contract allows (fake_transport.h): shadow
 * rings, rendezvous by reading and by writing, credits and mail that arrive late and out of order.
 *
 *   random    random calls; all peers remote, and mixed with direct ones
 *   slow      the same with long delays, which let anything overtake anything
 *   recycled  groups made and freed at once, so that what arrives late would hit recycled memory
 *   mutation  a transport whose flags do not follow their payload is noticed
 */
#include <check.h>
#include <stdlib.h>

#include "coll_rdma/base/params.h"
#include "tests/unit/calls.h"
#include "tests/unit/fake_transport.h"
#include "tests/unit/run_suite.h"

static int scaled(int n)
{
    const char *scale = getenv("CRDMA_TEST_SCALE");

    return NULL == scale ? n : n * atoi(scale);
}

typedef struct shape {
    int size, nnodes, node[RANKS_MAX];
    int block_size, block_count, rendezvous;
    size_t rendezvous_min, start, most;
    unsigned fake;
} shape_t;

static const shape_t shapes[] = {
    {2, 1, {0}, 1024, 2, CRDMA_RNDV_WRITE, 2000, 1, 30000, 0},
    {2, 1, {0}, 1024, 2, CRDMA_RNDV_READ, 2000, ((size_t)1 << 32) - 10, 30000, 0},
    {3, 1, {0}, 64, 2, CRDMA_RNDV_AUTO, 0, ((size_t)1 << 31) - 5, 2000, 0},
    {4, 1, {0}, 1024, 4, CRDMA_RNDV_AUTO, 1024, ((size_t)1 << 32) - 10, 9000, FAKE_TARGET_PROGRESS},
    {4, 2, {0, 0, 1, 1}, 1024, 2, CRDMA_RNDV_WRITE, 4000, 1, 20000, FAKE_TARGET_PROGRESS},
    {5, 3, {0, 1, 1, 2, 0}, 1024, 4, CRDMA_RNDV_READ, 4000, 1, 20000, FAKE_SLOW},
    {6,
     2,
     {0, 0, 0, 1, 1, 1},
     576,
     2,
     CRDMA_RNDV_AUTO,
     600,
     1,
     5000,
     FAKE_SLOW | FAKE_TARGET_PROGRESS},
};

enum { NSHAPES = sizeof(shapes) / sizeof(shapes[0]) };

static void apply(const shape_t *s)
{
    crdma_params.ll_max = 16;
    crdma_params.block_size = s->block_size;
    crdma_params.block_count = s->block_count;
    crdma_params.rendezvous = s->rendezvous;
    crdma_params.rendezvous_min = s->rendezvous_min;
    crdma_params.sequence_start = s->start;
    crdma_params.check_interval = 50;
    ck_assert_ptr_null(crdma_params_check(&crdma_params));
}

static ranks_setup_t setup_of(const shape_t *s)
{
    return (ranks_setup_t){.size = s->size,
                           .node = s->node,
                           .nnodes = s->nnodes,
                           .fake = s->fake,
                           .time_limit = scaled(40),
                           .wire = 1 == s->nnodes ? RANKS_REMOTE : RANKS_MIXED};
}

static void run_random(ranks_t *me, crdma_group_t *g, const shape_t *s, uint64_t *state)
{
    char text[256];
    crdma_status_t status;
    call_t c = call_random(state, me->size, s->nnodes, s->most);

    if (2 == c.levels && c.ordered) {
        c.ordered = false;
        c.elsize = 4;
    }
    ranks_delay(me, 100);
    status = call_run(me, g, &c);
    RANKS_REQUIRE(CRDMA_OK == status, "(%s: %s)", call_describe(&c, text, sizeof(text)),
                  crdma_status_string(status));
}

static void random_calls(ranks_t *me, void *arg)
{
    const shape_t *shape = arg;
    crdma_group_t *g[2] = {ranks_group(me), ranks_group(me)};
    uint64_t state = 1234 + (uint64_t)(shape - shapes);

    for (int i = 0; i < scaled(300); ++i) {
        run_random(me, g[ranks_next(&state) % 2], shape, &state);
    }
    crdma_group_free(g[0]);
    crdma_group_free(g[1]);
    ranks_settle(me);
    RANKS_REQUIRE(0 == crdma_group_reap(me->slab));
    RANKS_REQUIRE(0 == me->slab->in_use && 0 == me->slab->reserved);
}

START_TEST(random_sequences)
{
    const ranks_setup_t setup = setup_of(&shapes[_i]);

    apply(&shapes[_i]);
    ck_assert_int_eq(0, ranks_run(&setup, random_calls, (void *)(uintptr_t)&shapes[_i]));
}
END_TEST

/* A few calls on each of many short-lived groups. Memory of the last is recycled for the next. */
static void short_lives(ranks_t *me, void *arg)
{
    const shape_t *shape = arg;
    uint64_t state = 77;
    size_t top = 0;

    for (int i = 0; i < scaled(100); ++i) {
        crdma_group_t *g = ranks_group(me);

        for (int n = (int)(ranks_next(&state) % 12); 0 < n; --n) {
            run_random(me, g, shape, &state);
        }
        crdma_group_free(g);
        if (20 == i) {
            top = me->slab->top;
        }
    }
    ranks_settle(me);
    RANKS_REQUIRE(0 == crdma_group_reap(me->slab));
    RANKS_REQUIRE(me->slab->top <= 2 * top, "(%zu bytes, %zu after 20 groups)", me->slab->top, top);
}

START_TEST(recycled)
{
    const ranks_setup_t setup = setup_of(&shapes[_i]);

    apply(&shapes[_i]);
    crdma_params.check_interval = 1; /* looks at histories under way when a group ends */
    ck_assert_int_eq(0, ranks_run(&setup, short_lives, (void *)(uintptr_t)&shapes[_i]));
}
END_TEST

/* Slot messages break, as wrong data or as a wrong signature; LL needs no order and must survive.
 */
static void until_wrong(ranks_t *me, void *arg)
{
    crdma_group_t *g = ranks_group(me);
    const bool tiny = NULL != arg;
    uint64_t state = 5, *caught = ranks_notes(me);
    crdma_status_t status = CRDMA_OK;

    for (int i = 0; CRDMA_OK == status && i < 60; ++i) {
        const call_t c = {.coll = CRDMA_BCAST,
                          .alg = CRDMA_ALG_TREE,
                          .levels = 1,
                          .degree = 1,
                          .root = i % me->size,
                          .elsize = 1,
                          .count = tiny ? 12 : 900,
                          .seed = ranks_next(&state)};
        bool right;

        status = call_try(me, g, &c, &right);
        if (CRDMA_OK != status || !right) {
            __atomic_add_fetch(caught, 1, __ATOMIC_RELAXED);
        }
    }
    ranks_barrier(me);
    RANKS_REQUIRE(tiny == (0 == *caught), "(caught %d times)", (int)*caught);
    crdma_group_free(g);
}

START_TEST(flags_out_of_order)
{
    const ranks_setup_t setup = {
        .size = 2, .wire = RANKS_REMOTE, .fake = FAKE_UNORDERED, .capture = true, .time_limit = 20};
    int tiny;

    apply(&shapes[0]);
    crdma_params.rendezvous = CRDMA_RNDV_OFF;
    ck_assert_int_eq(0, ranks_run(&setup, until_wrong, NULL));
    ck_assert_int_eq(0, ranks_run(&setup, until_wrong, &tiny));
}
END_TEST

static Suite *remote_suite(void)
{
    Suite *suite = suite_create("engine_remote");
    TCase *tcase = tcase_create("remote");

    tcase_add_loop_test(tcase, random_sequences, 0, NSHAPES);
    tcase_add_loop_test(tcase, recycled, 0, NSHAPES);
    tcase_add_test(tcase, flags_out_of_order);
    tcase_set_timeout(tcase, 100 * scaled(1));
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(remote_suite(), CK_ENV);
}
