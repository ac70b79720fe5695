/*
 * The verbs transport between processes of this host, without MPI: wherever there is an active
 * InfiniBand or RoCE port, soft-RoCE included; else exit status 77. With two ports the ranks use
 * different ones.
 *
 * In the environment: CRDMA_TEST_VERBS_PUTS, flagged puts per hunt; CRDMA_TEST_VERBS_PORTS, how
 * many ports to use (4); CRDMA_TEST_VERBS_ONLY, the only test to run.
 *
 * What the tests would catch:
 *   hunt        a flag seen before the whole payload; that it would see it is shown by the broken
 * order flood       more puts than the send queue holds; lost or reordered ones bulk        get,
 * get_user, put_user_flagged; buffers that were freed and exposed again chunks      memory of the
 * slab that was registered after the peers connected; writes across the border of two chunks; all
 * of the slab being pinned storm       connections made from both sides at once threads     entry
 * points called by several threads at once forked      a fork of the application with work under
 * way and what goes wrong: verbs_failures.c.
 */
#define _GNU_SOURCE
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "coll_rdma/base/params.h"
#include "tests/unit/put_scenarios.h"
#include "tests/unit/verbs_failures.h"
#include "tests/unit/verbs_ranks.h"

/* ---- hunt ---------------------------------------------------------------------------------- */

START_TEST(hunt)
{
    static const struct {
        size_t inline_max;
        int signal;
    } cases[] = {{220, 32}, {0, 1}, {220, 256}, {64, 7}};

    crdma_params.verbs_inline = cases[_i].inline_max;
    crdma_params.verbs_signal = cases[_i].signal;
    ck_assert(ranks_run(2, -1, run_hunt));
    ck_assert_int_eq(0, ranks_shared->note[0]);
}
END_TEST

START_TEST(hunt_reversed)
{
    crdma_verbs_force_order = CRDMA_VERBS_ORDER_REVERSED;
    ck_assert(ranks_run(2, -1, run_hunt));
    ck_assert_int_lt(0, ranks_shared->note[0]);
}
END_TEST

/* ---- flood -------------------------------------------------------------------------------- */

static void run_flood(void)
{
    enum { MANY = 3000, STRIDE = 136 };
    static uint64_t source[MANY], back[MANY];
    crdma_tx_t tx = {0};

    for (uint64_t i = 0; i < MANY; ++i) { /* both sides; without waiting for anything */
        source[i] = pattern(77 + (uint64_t)me, i);
        REQUIRE(CRDMA_OK == tested->put(&peer, &source[i], ring + i * STRIDE, 8, &tx));
    }
    for (uint64_t i = 1; i <= MANY; ++i) {
        REQUIRE(CRDMA_OK == tested->put_flagged(&peer, NULL, 0, 0, &i, flags, &tx));
    }
    for (uint64_t i = 0; i < MANY; ++i) {
        REQUIRE(CRDMA_OK == tested->get(&peer, &back[i], ring + i * STRIDE, 8, &tx));
    }
    finish(&tx);
    for (uint64_t i = 0; i < MANY; ++i) {
        REQUIRE(source[i] == back[i]); /* reads come after the writes before them */
    }
    for (uint64_t seen = 0; MANY != seen;) {
        const uint64_t word = read_word(flags);

        REQUIRE(word >= seen); /* flags stay in order */
        seen = word;
        poll_once();
    }
    barrier();
}

START_TEST(flood)
{
    crdma_params.verbs_inline = 0 == _i ? 220 : 0;
    ck_assert(ranks_run(2, -1, run_flood));
}
END_TEST

/* ---- bulk --------------------------------------------------------------------------------- */

/* Memory that may not be written is a source like any other. */
static void bulk_constant(void)
{
    static const uint64_t constant[1024] = {1, 2, 3};
    crdma_tx_t tx = {0};

    if (0 == me) {
        REQUIRE(CRDMA_OK == tested->put(&peer, constant, ring, sizeof(constant), &tx));
        finish(&tx);
    }
    barrier();
    if (1 == me) {
        while (3 != read_word(ring + 16)) {
            poll_once();
        }
    }
}

static void run_bulk(void)
{
    static const size_t sizes[] = {8, 4096, 4104, 65536, 100000 / 8 * 8, BULK, (4 << 20) + 8};
    uint64_t round = 0;

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); ++i) {
        bulk_exchange(sizes[i], ++round);
        bulk_exchange(sizes[i], ++round);
    }
    for (int i = 0; i < 20; ++i) {
        bulk_exchange(4096u + 512u * (unsigned)i, ++round);
    }
    bulk_constant();
}

START_TEST(bulk)
{
    ck_assert(ranks_run(2, -1, run_bulk));
}
END_TEST

/* ---- chunks ------------------------------------------------------------------------------- */

/* kB that are pinned for devices. */
static long pinned(void)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    long kb = -1;

    while (NULL != file && NULL != fgets(line, sizeof(line), file)) {
        (void)sscanf(line, "VmPin: %ld", &kb);
    }
    if (NULL != file) {
        fclose(file);
    }
    return kb;
}

static void run_chunks(void)
{
    enum { PART = 1 << 20, PARTS = 24 };
    static uint64_t source[65536 / 8];
    uint64_t *large = malloc(PART);
    crdma_addr_t part[PARTS];
    crdma_tx_t tx = {0};
    uint64_t seq = 1;

    REQUIRE(pinned() < 2 * (CHUNK >> 10)); /* the first chunk and some buffers */
    REQUIRE(CRDMA_OK == tested->put_flagged(&peer, source, ring, 64, &seq, flags, &tx));
    finish(&tx);
    while (seq != read_word(flags)) {
        poll_once();
    }
    barrier();
    for (int i = 0; i < PARTS; ++i) { /* the same on both sides */
        REQUIRE(CRDMA_OK == crdma_slab_alloc(slab, PART, &part[i], NULL));
    }
    barrier();
    for (int i = 0; i < PARTS; ++i) { /* each crosses a border if it is where chunks meet */
        fill(large, PART, ++seq);
        REQUIRE(CRDMA_OK == tested->put_flagged(&peer, large, part[i], PART, &seq, flags, &tx));
        finish(&tx);
    }
    for (crdma_addr_t border = CHUNK; border < part[PARTS - 1]; border += CHUNK) {
        fill(source, 4096 + 8, ++seq); /* also small ones */
        REQUIRE(CRDMA_OK ==
                tested->put_flagged(&peer, source, border - 2048, 4096 + 8, &seq, flags, &tx));
        finish(&tx);
        fill(source, 64, ++seq);
        REQUIRE(CRDMA_OK == tested->put_flagged(&peer, source, border - 32, 64, &seq, flags, &tx));
        finish(&tx);
    }
    while (seq != read_word(flags)) {
        poll_once();
    }
    for (crdma_addr_t border = CHUNK; border < part[PARTS - 1]; border += CHUNK) {
        uint64_t number = 1 + PARTS + 2 * (border / CHUNK);

        REQUIRE(intact(crdma_slab_at(slab, border - 32), 64, number));
        /* around it what was put before; what it covers counts from its own start */
        REQUIRE(pattern(number - 1, 512) == read_word(border + 2048));
        REQUIRE(pattern(number - 1, 0) == read_word(border - 2048));
    }
    REQUIRE(intact(crdma_slab_at(slab, part[0]), 2 << 20 > part[0] ? 65536 : 8, 2));
    REQUIRE(pinned() < (SLAB >> 10) * 3 / 4); /* not all of the slab */
    barrier();
    free(large);
}

START_TEST(chunks)
{
    ck_assert(ranks_run(2, -1, run_chunks));
}
END_TEST

/* ---- storm -------------------------------------------------------------------------------- */

static void run_storm(void)
{
    static uint64_t source[RANKS_MAX][100];
    crdma_tx_t tx = {0};

    barrier();
    for (int i = 1; i < nranks; ++i) {
        const int r = (me + i) % nranks;

        for (uint64_t seq = 1; seq <= 40; ++seq) {
            fill(source[me], 800, seq);
            REQUIRE(CRDMA_OK == tested->put_flagged(&peers[r], source[me],
                                                    ring + (crdma_addr_t)me * SLOT, 800, &seq,
                                                    flags + (crdma_addr_t)me * 64, &tx));
            if (0 == seq % 8) {
                finish(&tx);
            }
        }
    }
    finish(&tx);
    for (int r = 0; r < nranks; ++r) {
        while (r != me && 40 != read_word(flags + (crdma_addr_t)r * 64)) {
            poll_once();
        }
    }
    barrier();
}

START_TEST(storm)
{
    ck_assert(ranks_run(0 == _i % 2 ? RANKS_MAX : 2, -1, run_storm));
}
END_TEST

/* ---- threads ------------------------------------------------------------------------------ */

static void run_some_threads(void)
{
    run_threads(200);
}

START_TEST(threads)
{
    ck_assert(ranks_run(2, -1, run_some_threads));
}
END_TEST

/* ---- forked ------------------------------------------------------------------------------- */

static void run_forked(void)
{
    uint64_t *buffer = malloc(BULK);
    crdma_tx_t tx = {0};

    for (uint64_t round = 1; round <= 6; ++round) {
        crdma_exposed_t exposed;
        int status = 0;
        void *handle;
        pid_t child;

        memset(buffer, 0, BULK);
        expose_to_peer(buffer, BULK, &handle);
        barrier();
        fetch_exposed(&exposed);
        barrier();
        fill(crdma_slab_at(slab, ring), 65536, round);
        REQUIRE(CRDMA_OK == tested->put_user_flagged(&peer, crdma_slab_at(slab, ring), &exposed, 0,
                                                     65536, &round, flags, &tx));
        child = fork();
        if (0 == child) { /* its own copy, whatever arrives at the parent */
            char *more = malloc(BULK);

            memset(more, 1, BULK);
            free(more);
            _exit(0);
        }
        REQUIRE(0 < child);
        memset((char *)buffer + 65536, 0x77, BULK - 65536); /* writes after the fork */
        while (round != read_word(flags)) {
            poll_once();
        }
        REQUIRE(intact(buffer, 65536, round)); /* it came into our pages, not into a copy */
        finish(&tx);
        REQUIRE(child == waitpid(child, &status, 0));
        REQUIRE(WIFEXITED(status) && 0 == WEXITSTATUS(status));
        barrier();
        tested->conceal(handle);
    }
    free(buffer);
}

START_TEST(forked)
{
    ck_assert(ranks_run(2, -1, run_forked));
}
END_TEST

/* ---- running ------------------------------------------------------------------------------ */

static Suite *verbs_suite(void)
{
    const verbs_test_t all[] = {VERBS_TEST(hunt, 4),    VERBS_TEST(hunt_reversed, 1),
                                VERBS_TEST(flood, 2),   VERBS_TEST(bulk, 1),
                                VERBS_TEST(chunks, 1),  VERBS_TEST(storm, 4),
                                VERBS_TEST(threads, 1), VERBS_TEST(forked, 1)};
    Suite *suite = suite_create("verbs");
    TCase *tcase = tcase_create("verbs");

    verbs_add_tests(tcase, all, sizeof(all) / sizeof(all[0]));
    verbs_add_failures(tcase);
    tcase_set_timeout(tcase, 4 * TIME_LIMIT);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    const char *puts = getenv("CRDMA_TEST_VERBS_PUTS");
    const char *reason = verbs_prepare();
    SRunner *runner;
    int failed;

    if (NULL != reason) {
        printf("skipped: %s\n", reason);
        return 77;
    }
    hunt_puts = NULL != puts ? atol(puts) : 2000;
    runner = srunner_create(verbs_suite());
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return 0 == failed ? EXIT_SUCCESS : EXIT_FAILURE;
}
