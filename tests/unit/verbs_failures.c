/*
 * The verbs transport when something goes wrong; part of test_verbs, which says what it needs.
 *
 *   killed      a peer killed with work under way, or silently: errors instead of a hang
 *   leaving     closing with traffic under way: nothing is lost, nobody waits
 *   refused     wrong device, too little locked memory: one line that says so
 */
#define _GNU_SOURCE
#include "tests/unit/verbs_failures.h"

#include <grp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "coll_rdma/base/params.h"
#include "coll_rdma/transport/ucp.h"
#include "tests/unit/put_scenarios.h"
#include "tests/unit/verbs_ranks.h"

/* ---- killed ------------------------------------------------------------------------------- */

static void run_killed_busy(void)
{
    run_killed(40, 30);
}

/* Nothing under way, or a connection that is just being asked for. */
static void run_killed_silently(void)
{
    static uint64_t word;
    const double limit = now() + 10;
    crdma_tx_t tx = {0};

    if (0 == ranks_shared->note[1]) {
        REQUIRE(CRDMA_OK == tested->put(&peer, &word, ring, 8, &tx));
        finish(&tx);
        barrier();
    }
    if (1 == me) {
        kill(getpid(), SIGKILL);
    }
    while (tested->alive(&peer)) {
        REQUIRE(now() < limit);
        poll_once();
    }
    REQUIRE(CRDMA_ERR_PEER == tested->put(&peer, &word, ring, 8, &tx));
    REQUIRE(0 == tx.pending);
}

static void run_killed_early(void)
{
    static uint64_t word;
    const double limit = now() + 10;
    crdma_tx_t tx = {0};

    if (1 == me) {
        usleep(200000); /* without progress: the other is not answered */
        kill(getpid(), SIGKILL);
    }
    REQUIRE(CRDMA_OK == tested->put(&peer, &word, ring, 8, &tx));
    while (0 < __atomic_load_n(&tx.pending, __ATOMIC_ACQUIRE)) {
        REQUIRE(now() < limit);
        poll_once();
        (void)tested->alive(&peer);
    }
    REQUIRE(CRDMA_ERR_PEER == tx.status);
}

START_TEST(killed)
{
    ck_assert(ranks_run(2, 1,
                        0 == _i   ? run_killed_busy
                        : 1 == _i ? run_killed_silently
                                  : run_killed_early));
}
END_TEST

/* ---- leaving ------------------------------------------------------------------------------ */

/* Rank 0 closes with all of it under way; rank 1 looks only later. */
static void run_leaving(void)
{
    enum { MANY = 300 };
    static uint64_t source[MANY][1024];
    static crdma_tx_t tx; /* still pending when this function returns */
    uint64_t word = 1;

    REQUIRE(CRDMA_OK == tested->put(&peer, &word, acks, 8, &tx));
    finish(&tx);
    while (1 != read_word(acks)) {
        poll_once();
    }
    barrier();
    if (0 == me) {
        for (uint64_t seq = 1; seq <= MANY; ++seq) {
            fill(source[seq - 1], 8192, seq);
            REQUIRE(CRDMA_OK == tested->put_flagged(&peer, source[seq - 1],
                                                    ring + (seq % RING) * SLOT,
                                                    0 == seq % 2 ? 8192 : 64, &seq, flags, &tx));
        }
        return;
    }
    usleep(100000);
    while (MANY != read_word(flags)) {
        poll_once();
    }
    REQUIRE(intact(crdma_slab_at(slab, ring + (MANY % RING) * SLOT), 8192, MANY));
    usleep(300000);
    for (word = 0; word < 100; ++word) { /* towards a process that has closed or ended */
        if (CRDMA_OK != tested->put_flagged(&peer, source[0], ring, 4096, &word, flags, &tx)) {
            break;
        }
    }
}

START_TEST(leaving)
{
    ck_assert(ranks_run(2, -1, run_leaving));
}
END_TEST

/* ---- refused ------------------------------------------------------------------------------ */

/* Open in a process of its own: the status that it gave and what it printed. */
static crdma_status_t open_alone(const char *device, long locked, char *text, size_t size)
{
    int channel[2], status;
    ssize_t n, used = 0;
    pid_t child;

    ck_assert_int_eq(0, pipe(channel));
    child = fork();
    if (0 == child) {
        struct rlimit limit = {(rlim_t)locked, (rlim_t)locked};
        crdma_status_t rc;

        dup2(channel[1], STDERR_FILENO);
        close(channel[0]);
        close(channel[1]);
        crdma_params.verbs_device = (char *)(uintptr_t)device;
        if (0 <= locked) {
            REQUIRE(0 == setrlimit(RLIMIT_MEMLOCK, &limit));
            if (0 == getuid()) { /* root has no limit */
                REQUIRE(0 == setgroups(0, NULL) && 0 == setgid(65534) && 0 == setuid(65534));
            }
        }
        REQUIRE(CRDMA_OK == crdma_slab_create(SLAB, &slab));
        rc = tested->open(slab);
        tested->close();
        crdma_ucp_close();
        crdma_slab_destroy(slab);
        _exit(-(int)rc);
    }
    close(channel[1]);
    while (0 < (n = read(channel[0], text + used, size - 1 - (size_t)used))) {
        used += n;
    }
    text[used] = '\0';
    close(channel[0]);
    ck_assert_int_eq(child, waitpid(child, &status, 0));
    ck_assert(WIFEXITED(status));
    return (crdma_status_t)-WEXITSTATUS(status);
}

START_TEST(refused)
{
    char text[4096], port[80];

    ck_assert(crdma_verbs_port_name(0, port, sizeof(port)));
    ck_assert_int_eq(CRDMA_OK, open_alone(port, -1, text, sizeof(text)));
    ck_assert_int_eq(CRDMA_OK, open_alone("", -1, text, sizeof(text)));

    ck_assert_int_eq(CRDMA_ERR_TRANSPORT, open_alone("nosuch7", -1, text, sizeof(text)));
    ck_assert_msg(NULL != strstr(text, "nosuch7"), "%s", text);
    *strchr(port, ':') = '\0'; /* the line names what there is */
    ck_assert_msg(NULL != strstr(text, port), "%s", text);

    ck_assert_int_eq(CRDMA_ERR_TRANSPORT, open_alone(port, 1 << 20, text, sizeof(text)));
    ck_assert_msg(NULL != strstr(text, port) && NULL != strstr(text, "locked memory is 1.0 MiB"),
                  "%s", text);

    crdma_params.verbs_gid_index = 200;
    ck_assert_int_eq(CRDMA_ERR_TRANSPORT, open_alone(port, -1, text, sizeof(text)));
    ck_assert_msg(NULL != strstr(text, "index 200"), "%s", text);
}
END_TEST

/* ---- running ------------------------------------------------------------------------------ */

void verbs_add_tests(TCase *tcase, const verbs_test_t *tests, size_t count)
{
    const char *only = getenv("CRDMA_TEST_VERBS_ONLY");

    for (size_t i = 0; i < count; ++i) {
        if (NULL == only || 0 == strcmp(only, tests[i].name)) {
            tcase_add_loop_test(tcase, tests[i].test, 0, tests[i].cases);
        }
    }
}

void verbs_add_failures(TCase *tcase)
{
    const verbs_test_t all[] = {VERBS_TEST(killed, 3), VERBS_TEST(leaving, 1),
                                VERBS_TEST(refused, 1)};

    verbs_add_tests(tcase, all, sizeof(all) / sizeof(all[0]));
}
