/*
 * What happens when ranks disagree, leave or die: an error on every rank within seconds, never a
 * hang, never wrong data with a good status.
 *
 *   mismatch   one rank makes another call; then all go on with barriers until they learn of it
 *   again      a message that nobody took is not taken by the same call made once more
 *   absent     a rank leaves instead of making the call
 *   killed     a rank dies between calls, or at any moment of one
 *   timeout    coll_rdma_timeout; the buffer of a call that gave up is not read as data
 *   no memory  one rank cannot make an edge
 *
 * The first four again where direct ranks share a board.
 */
#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "coll_rdma/base/params.h"
#include "tests/unit/calls.h"
#include "tests/unit/fake_transport.h"
#include "tests/unit/run_suite.h"

enum { SMALL = 12, MIDDLE = 600, LARGE = 40000 };

static void parameters(void)
{
    crdma_params.ll_max = 64;
    crdma_params.block_size = 1024;
    crdma_params.block_count = 4;
    crdma_params.rendezvous_min = 8192;
    crdma_params.check_interval = 20;
    crdma_params.board_max = 1;
}

static void parameters_of_board(void)
{
    parameters();
    crdma_params.board_max = 0;
}

static call_t make_call(crdma_coll_t coll, crdma_alg_t alg, int degree, size_t bytes)
{
    call_t c = {
        .coll = coll, .alg = alg, .degree = degree, .levels = 1, .elsize = 4, .seed = bytes};

    if (CRDMA_BCAST == coll || CRDMA_BARRIER == coll) {
        c.elsize = 1;
    }
    c.count = CRDMA_BARRIER == coll ? 0 : bytes / c.elsize;
    return c;
}

static crdma_status_t try(ranks_t *me, crdma_group_t *g, const call_t *c)
{
    char text[256];
    bool right;
    crdma_status_t status = call_try(me, g, c, &right);

    RANKS_REQUIRE(right, "(%s)", call_describe(c, text, sizeof(text)));
    return status;
}

/* Barriers until they fail, which they must soon. */
static crdma_status_t learn(ranks_t *me, crdma_group_t *g, crdma_status_t status)
{
    /* with a board, those that go through it: what the component calls there */
    const call_t barrier = make_call(CRDMA_BARRIER, CRDMA_ALG_EXCHANGE,
                                     0 == crdma_params.board_max ? me->size - 1 : 1, 0);

    for (int i = 0; CRDMA_OK == status && i < 4; ++i) {
        status = try(me, g, &barrier);
    }
    RANKS_REQUIRE(0 > status);
    RANKS_REQUIRE(CRDMA_ERR_PEER == try(me, g, &barrier), "(a failed group serves again)");
    return status;
}

/* ---- mismatch ---- */

typedef struct disagreement {
    const char *name;
    call_t common, odd;
    int who;
    const char *says; /* some rank says so */
} disagreement_t;

#define CALL(c, a, k, size, bytes)                                                                 \
    {                                                                                              \
        .coll = CRDMA_##c, .alg = CRDMA_ALG_##a, .degree = k, .levels = 1, .elsize = size,         \
        .count = (bytes) / size, .seed = 1                                                         \
    }
#define BCAST(bytes)     CALL(BCAST, TREE, 7, 1, bytes)
#define ALLREDUCE(bytes) CALL(ALLREDUCE, EXCHANGE, 1, 4, bytes)
#define REDUCE(bytes)    CALL(REDUCE, TREE, 2, 4, bytes)

static disagreement_t cases[] = {
    {"bytes, small", BCAST(SMALL), BCAST(SMALL + 4), 1, "16 B"},
    {"bytes, other protocol", BCAST(SMALL), BCAST(MIDDLE), 1, "600 B"},
    {"bytes, sender large", BCAST(SMALL), BCAST(LARGE), 0, "40000 B"},
    {"bytes, receiver large", BCAST(SMALL), BCAST(LARGE), 2, "40000 B"},
    {"bytes of slots", ALLREDUCE(MIDDLE), ALLREDUCE(MIDDLE + 4), 1, "604 B"},
    {"bytes of rendezvous", ALLREDUCE(LARGE), ALLREDUCE(LARGE + 4), 1, "40004 B"},
    {"four times the bytes", ALLREDUCE(LARGE), ALLREDUCE(4 * LARGE), 1, "160000 B"},
    {"root of reduce", REDUCE(MIDDLE), REDUCE(MIDDLE), 2, "root 2"},
    {"root of large reduce", REDUCE(LARGE), REDUCE(LARGE), 1, "root 1"},
    {"root of bcast", BCAST(MIDDLE), BCAST(MIDDLE), 1, "root 1"},
    {"root of large bcast", BCAST(LARGE), BCAST(LARGE), 2, "root 2"},
    {"operation", ALLREDUCE(SMALL), ALLREDUCE(SMALL), 0, "user"},
    {"operation, large", ALLREDUCE(LARGE), ALLREDUCE(LARGE), 0, "user"},
    {"collective", BCAST(SMALL), ALLREDUCE(SMALL), 2, "allreduce"},
    {"collective, large", REDUCE(LARGE), BCAST(LARGE), 0, "bcast"},
};

enum { NCASES = sizeof(cases) / sizeof(cases[0]) };

/* Two ranks and tiny messages: engine/run_pair.c. */
static disagreement_t pair_cases[] = {
    {"operation, two ranks", ALLREDUCE(8), ALLREDUCE(8), 0, "user"},
    {"collective, two ranks", BCAST(8), ALLREDUCE(8), 1, "allreduce"},
    {"bytes, two ranks", ALLREDUCE(8), ALLREDUCE(12), 1, "12 B"},
};

enum { NPAIRS = sizeof(pair_cases) / sizeof(pair_cases[0]) };

static void disagree(ranks_t *me, void *arg)
{
    const disagreement_t *d = arg;
    call_t c = me->rank == d->who ? d->odd : d->common;
    crdma_group_t *g = ranks_group(me);
    const call_t warm = make_call(CRDMA_ALLREDUCE, CRDMA_ALG_RSAG, 2, 64);
    uint64_t *disagreed = ranks_notes(me);
    bool right;
    crdma_status_t status;

    RANKS_REQUIRE(CRDMA_OK == try(me, g, &warm));
    if (me->rank == d->who && 0 == strncmp("root", d->name, 4)) {
        c.root = d->who;
    } else if (me->rank == d->who && 0 == strncmp("operation", d->name, 9)) {
        c.ordered = true;
        c.elsize = 8;
        c.count /= 2;
    }
    /* a rank that depends on nobody (the root of a broadcast) may succeed with its own data */
    status = call_try(me, g, &c, &right);
    /* of two ranks, each reads what the other has signed: nothing is left for a later wait to find */
    RANKS_REQUIRE(2 != me->size || CRDMA_ALLREDUCE != c.coll || 0 > status, "(%s)", d->name);
    status = learn(me, g, status);
    if (CRDMA_ERR_MISMATCH == status) {
        __atomic_add_fetch(disagreed, 1, __ATOMIC_RELAXED);
    }
    ranks_barrier(me);
    RANKS_REQUIRE(0 != *disagreed);
    crdma_group_free(g);
}

static void run_case(const disagreement_t *d, ranks_wire_t wire, int size, void (*set)(void))
{
    const ranks_setup_t setup = {
        .size = size, .time_limit = 20, .capture = true, .wire = wire, .fake = FAKE_TARGET_PROGRESS};

    set();
    ck_assert_msg(0 == ranks_run(&setup, disagree, (void *)(uintptr_t)d), "%s", d->name);
    ck_assert_msg(NULL != strstr(ranks_said(), d->says), "%s: '%s' does not name %s", d->name,
                  ranks_said(), d->says);
    ck_assert_msg(NULL != strstr(ranks_said(), ", but rank "), "%s: %s", d->name, ranks_said());
}

START_TEST(mismatch_direct)
{
    run_case(&cases[_i], RANKS_DIRECT, 3, parameters);
}
END_TEST

START_TEST(mismatch_board)
{
    run_case(&cases[_i], RANKS_DIRECT, 3, parameters_of_board);
}
END_TEST

START_TEST(mismatch_pair)
{
    run_case(&pair_cases[_i], RANKS_DIRECT, 2, parameters);
}
END_TEST

START_TEST(mismatch_remote)
{
    run_case(&cases[_i], RANKS_REMOTE, 3, parameters);
}
END_TEST

/* ---- again ---- */

/* Call 1: rank 1 alone takes itself for the root, and nobody waits for it. Call 2: it is the root,
 * and what it sent in call 1 has the same shape. */
static void same_again(ranks_t *me, void *arg)
{
    crdma_group_t *g = ranks_group(me);
    call_t c = make_call(CRDMA_BCAST, CRDMA_ALG_TREE, 2, *(const size_t *)arg);
    crdma_status_t status;
    bool right;

    c.root = 1 == me->rank ? 1 : 0;
    status = call_try(me, g, &c, &right);
    c.root = 1;
    c.seed = 2;
    if (CRDMA_OK == status) {
        status = call_try(me, g, &c, &right);
        RANKS_REQUIRE(CRDMA_OK != status || right, "(took the message of another call)");
    }
    (void)learn(me, g, status);
    crdma_group_free(g);
}

START_TEST(again)
{
    static const size_t sizes[] = {SMALL, MIDDLE};
    const ranks_setup_t setup = {.size = 3, .time_limit = 20, .capture = true};

    (_i < 2 ? parameters : parameters_of_board)();
    ck_assert_int_eq(0, ranks_run(&setup, same_again, (void *)(uintptr_t)&sizes[_i % 2]));
}
END_TEST

/* ---- absent ---- */

static void leave_early(ranks_t *me, void *arg)
{
    crdma_group_t *g = ranks_group(me);
    const call_t c = make_call(CRDMA_ALLREDUCE, CRDMA_ALG_EXCHANGE,
                               0 == crdma_params.board_max ? me->size - 1 : 1,
                               *(const size_t *)arg);

    RANKS_REQUIRE(CRDMA_OK == try(me, g, &c));
    if (2 != me->rank) {
        RANKS_REQUIRE(CRDMA_ERR_PEER == try(me, g, &c));
    }
    crdma_group_free(g);
}

START_TEST(absent)
{
    static const size_t sizes[] = {SMALL, MIDDLE, LARGE};
    const ranks_setup_t setup = {.size = 4,
                                 .time_limit = 20,
                                 .capture = true,
                                 .wire = 1 == _i / 3 ? RANKS_REMOTE : RANKS_DIRECT};

    (_i < 6 ? parameters : parameters_of_board)();
    ck_assert_int_eq(0, ranks_run(&setup, leave_early, (void *)(uintptr_t)&sizes[_i % 3]));
}
END_TEST

/* ---- killed ---- */

enum { VICTIM = 1 };

static void until_dead(ranks_t *me, void *arg)
{
    const bool at_any_moment = NULL != arg;
    crdma_group_t *g = ranks_group(me);
    uint64_t state = 17;
    crdma_status_t status = CRDMA_OK;

    if (VICTIM == me->rank && at_any_moment) {
        struct itimerval soon = {.it_value.tv_usec = 2000 + (suseconds_t)(*(int *)arg * 1777)};

        signal(SIGALRM, SIG_DFL);
        setitimer(ITIMER_REAL, &soon, NULL); /* SIGALRM ends the process */
    }
    for (int i = 0; CRDMA_OK == status; ++i) {
        call_t c = call_random(&state, me->size, 1, 200000);

        if (VICTIM == me->rank && !at_any_moment && 20 == i) {
            (void)raise(SIGKILL);
        }
        status = try(me, g, &c);
    }
    RANKS_REQUIRE(CRDMA_ERR_PEER == status, "(%s)", crdma_status_string(status));
    crdma_group_free(g);
}

START_TEST(killed)
{
    const ranks_setup_t setup = {.size = 3,
                                 .time_limit = 20,
                                 .capture = true,
                                 .dies = 1u << VICTIM,
                                 .wire = _i < 12 && 0 == _i % 3 ? RANKS_REMOTE : RANKS_DIRECT};

    (_i < 12 ? parameters : parameters_of_board)();
    ck_assert_int_eq(0, ranks_run(&setup, until_dead, 0 == _i ? NULL : &_i));
}
END_TEST

/* ---- timeout ---- */

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void too_late(ranks_t *me, void *arg)
{
    const size_t bytes = *(const size_t *)arg;
    const call_t reduce = make_call(CRDMA_REDUCE, CRDMA_ALG_TREE, 1, bytes);
    const call_t bcast = make_call(CRDMA_BCAST, CRDMA_ALG_TREE, 1, bytes);
    const bool receiver = SMALL == bytes; /* else the sender gives up */
    crdma_group_t *g = ranks_group(me);
    const double since = now();

    if (0 == me->rank) {
        RANKS_REQUIRE(CRDMA_ERR_TIMEOUT == try(me, g, receiver ? &reduce : &bcast));
        RANKS_REQUIRE(now() - since > 0.9 && now() - since < 3.0);
    }
    ranks_barrier(me);
    if (1 == me->rank) { /* rank 0's buffer has other data now */
        RANKS_REQUIRE(0 > try(me, g, receiver ? &reduce : &bcast));
    }
    crdma_group_free(g);
}

START_TEST(timeout)
{
    static const size_t sizes[] = {SMALL, LARGE};
    const ranks_setup_t setup = {.size = 2, .time_limit = 20, .capture = true};

    parameters();
    crdma_params.timeout = 1;
    ck_assert_int_eq(0, ranks_run(&setup, too_late, (void *)(uintptr_t)&sizes[_i]));
    ck_assert_ptr_nonnull(strstr(ranks_said(), "coll_rdma_timeout"));
}
END_TEST

/* ---- no memory ---- */

static void exhausted(ranks_t *me, void *arg)
{
    crdma_group_t *g = ranks_group(me);
    const call_t c = make_call(CRDMA_ALLREDUCE, CRDMA_ALG_EXCHANGE, 1, SMALL);
    crdma_status_t status;
    crdma_addr_t addr;

    (void)arg;
    if (0 == me->rank) {
        while (CRDMA_OK == crdma_slab_alloc(me->slab, 4096, &addr, NULL)) {
        }
    }
    status = try(me, g, &c);
    RANKS_REQUIRE((0 == me->rank ? CRDMA_ERR_NOMEM : CRDMA_ERR_PEER) == status, "(%s)",
                  crdma_status_string(status));
    ranks_barrier(me); /* they learn of it while rank 0 is still there, and has no edge to them */
    crdma_group_free(g);
}

START_TEST(no_memory)
{
    const ranks_setup_t setup = {
        .size = 4, .time_limit = 20, .capture = true, .slab = (size_t)1 << 20};

    parameters();
    ck_assert_int_eq(0, ranks_run(&setup, exhausted, NULL));
}
END_TEST

static Suite *failures_suite(void)
{
    Suite *suite = suite_create("failures");
    TCase *tcase = tcase_create("failures");

    tcase_add_loop_test(tcase, mismatch_direct, 0, NCASES);
    tcase_add_loop_test(tcase, mismatch_board, 0, NCASES);
    tcase_add_loop_test(tcase, mismatch_pair, 0, NPAIRS);
    tcase_add_loop_test(tcase, mismatch_remote, 0, NCASES);
    tcase_add_loop_test(tcase, again, 0, 4);
    tcase_add_loop_test(tcase, absent, 0, 9);
    tcase_add_loop_test(tcase, killed, 0, 20);
    tcase_add_loop_test(tcase, timeout, 0, 2);
    tcase_add_test(tcase, no_memory);
    tcase_set_timeout(tcase, 60);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(failures_suite(), CK_ENV);
}
