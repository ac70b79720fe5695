/*
 * See ucp_pair.h.
 *
 * One failure is not ours. When sending over tcp fails with a zero-copy operation under way, UCX
 * (1.12 to 1.22 at least) completes that operation twice: uct_tcp_ep_handle_send_err purges it,
 * then its caller uct_tcp_ep_sendv completes it again. Without assertions that is harmless, because
 * the counter of a request that is no longer used becomes -1; a UCX built with assertions, as that
 * of Debian 12, aborts the surviving process. So what the ranks of a kill print is kept and read.
 */
#define _GNU_SOURCE
#include "tests/unit/ucp_pair.h"

#include <dirent.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

struct pair_shared *pair_shared;
crdma_slab_t *slab;
crdma_addr_t ring, flags, acks, area;
crdma_peer_t peer;
int me;

static int output = -1; /* what the ranks print, if that is kept */
static char shm_directory[] = "/dev/shm/crdma-test-XXXXXX";

double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void poll_once(void)
{
    static __thread unsigned polls;

    if (0 == crdma_ucp_transport()->progress() && 0 == ++polls % 64) {
        sched_yield();
    }
}

void barrier(void)
{
    int turn = __atomic_add_fetch(&pair_shared->turn[me], 1, __ATOMIC_SEQ_CST);

    while (__atomic_load_n(&pair_shared->turn[1 - me], __ATOMIC_SEQ_CST) < turn) {
        poll_once();
    }
}

void finish(crdma_tx_t *tx)
{
    while (0 < __atomic_load_n(&tx->pending, __ATOMIC_ACQUIRE)) {
        poll_once();
    }
    REQUIRE(CRDMA_OK == tx->status);
}

uint64_t read_word(crdma_addr_t addr)
{
    return __atomic_load_n((uint64_t *)crdma_slab_at(slab, addr), __ATOMIC_ACQUIRE);
}

void expose_to_peer(void *buffer, size_t size, void **handle)
{
    REQUIRE(CRDMA_OK == peer.transport->expose(buffer, size, crdma_slab_at(slab, area), handle));
}

void fetch_exposed(crdma_exposed_t *exposed)
{
    crdma_tx_t tx = {0};

    REQUIRE(CRDMA_OK == peer.transport->get(&peer, exposed, area, sizeof(*exposed), &tx));
    finish(&tx);
}

static int set_up(void)
{
    const size_t size = 64u << 20;
    const void *card;
    size_t length;

    REQUIRE(CRDMA_OK == crdma_slab_create(size, &slab));
    REQUIRE(CRDMA_OK == crdma_slab_alloc(slab, RING * SLOT, &ring, NULL));
    REQUIRE(CRDMA_OK == crdma_slab_alloc(slab, 4096, &flags, NULL));
    REQUIRE(CRDMA_OK == crdma_slab_alloc(slab, 4096, &acks, NULL));
    REQUIRE(CRDMA_OK == crdma_slab_alloc(slab, 17u << 20, &area, NULL));
    if (CRDMA_OK != crdma_ucp_open(slab)) {
        return PAIR_SKIP;
    }
    REQUIRE(CRDMA_OK == crdma_ucp_open(slab));
    REQUIRE(CRDMA_OK == crdma_ucp_card(&card, &length));
    REQUIRE(PAIR_CARD_MAX >= length);
    memcpy(pair_shared->card[me], card, length);
    pair_shared->card_length[me] = (int)length;
    barrier();
    REQUIRE(CRDMA_ERR_PARAM == crdma_ucp_attach(&peer, card, 7));
    REQUIRE(CRDMA_OK == crdma_ucp_attach(&peer, pair_shared->card[1 - me],
                                         (size_t)pair_shared->card_length[1 - me]));
    REQUIRE(crdma_ucp_alive(&peer));
    return 0;
}

static void tear_down(void)
{
    double start;

    if (NULL != peer.endpoint) { /* as when one communicator ends and the next begins */
        crdma_ucp_detach(&peer);
        REQUIRE(CRDMA_OK == crdma_ucp_attach(&peer, pair_shared->card[1 - me],
                                             (size_t)pair_shared->card_length[1 - me]));
        crdma_ucp_detach(&peer);
    }
    start = now();
    crdma_ucp_close();
    crdma_ucp_close();
    REQUIRE(5 > now() - start);
    crdma_slab_destroy(slab);
}

static void apply(const char *setting)
{
    char copy[512], name[64], *word, *rest;

    snprintf(copy, sizeof(copy), "%s", setting);
    word = strtok_r(copy, " ", &rest);
    if (0 == strcmp(word, "default")) {
        unsetenv("UCX_TLS");
    } else {
        setenv("UCX_TLS", word, 1);
    }
    while (NULL != (word = strtok_r(NULL, " ", &rest))) {
        char *value = strchr(word, '=');

        REQUIRE(NULL != value);
        *value = '\0';
        snprintf(name, sizeof(name), "UCX_%s", word);
        setenv(name, value + 1, 1);
    }
}

static void rank_main(int rank, const char *setting, crdma_ucp_order_t order, void (*run)(void))
{
    int rc;

    me = rank;
    if (0 <= output) {
        (void)dup2(output, STDOUT_FILENO);
        (void)dup2(output, STDERR_FILENO);
    }
    crdma_ucp_force_order = order;
    apply(setting);
    rc = set_up();
    if (0 == rc) {
        if (0 == me) {
            snprintf(pair_shared->transport, sizeof(pair_shared->transport), "%s",
                     crdma_ucp_describe());
        }
        run();
        tear_down();
    }
    fflush(stdout);
    _exit(rc);
}

/* What the two processes could leave behind: segments of POSIX shared memory, which UCX makes in a
 * directory of ours, and SysV segments that they created. */
static int count_leftovers(const pid_t *ranks)
{
    DIR *dir = opendir(shm_directory);
    FILE *segments = fopen("/proc/sysvipc/shm", "r");
    char line[512];
    int count = 0;

    for (struct dirent *d; NULL != dir && NULL != (d = readdir(dir));) {
        count += '.' != d->d_name[0];
    }
    if (NULL != dir) {
        closedir(dir);
    }
    while (NULL != segments && NULL != fgets(line, sizeof(line), segments)) {
        int creator = 0;

        (void)sscanf(line, "%*s %*s %*s %*s %d", &creator);
        count += creator == ranks[0] || creator == ranks[1];
    }
    if (NULL != segments) {
        fclose(segments);
    }
    return count;
}

/* Print what the ranks printed, unless they ended by UCX's assertion. */
static bool output_shows_abort(void)
{
    static char text[65536];
    size_t length = 0;
    bool aborted;

    for (ssize_t n = 1; 0 < n && sizeof(text) - 1 > length; length += (size_t)(0 < n ? n : 0)) {
        n = pread(output, text + length, sizeof(text) - 1 - length, (off_t)length);
    }
    text[length] = '\0';
    aborted = NULL != strstr(text, "Assertion `comp->count > 0' failed");
    if (!aborted) {
        fputs(text, stderr);
    }
    close(output);
    output = -1;
    return aborted;
}

int pair_run(const char *setting, crdma_ucp_order_t order, bool killed, void (*run)(void))
{
    double limit = now() + PAIR_TIME_LIMIT;
    pid_t ranks[2], running[2];
    int result = 0;

    memset(pair_shared, 0, sizeof(*pair_shared));
    output = killed ? memfd_create("output", MFD_CLOEXEC) : -1;
    for (int rank = 0; rank < 2; ++rank) {
        ranks[rank] = fork();
        if (0 == ranks[rank]) {
            rank_main(rank, setting, order, run);
        }
        running[rank] = ranks[rank];
    }
    while (0 != running[0] || 0 != running[1]) {
        int status, rc, which;
        pid_t pid = waitpid(-1, &status, WNOHANG);

        if (0 >= pid && limit > now()) {
            usleep(1000);
            continue;
        }
        if (0 < pid) {
            which = pid == ranks[1];
            running[which] = 0;
            rc = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            if (0 == rc || (killed && 1 == which && 128 + SIGKILL == rc)) {
                continue;
            }
        } else {
            fprintf(stderr, "no end after %d s\n", PAIR_TIME_LIMIT);
            limit += PAIR_TIME_LIMIT;
            rc = 1;
        }
        result = 0 != result ? result : rc; /* the first is the cause */
        for (int rank = 0; rank < 2; ++rank) {
            if (0 != running[rank]) {
                kill(running[rank], SIGKILL); /* it would wait for the other */
            }
        }
    }
    if (0 < count_leftovers(ranks)) {
        fprintf(stderr, "something was left in /dev/shm or among the SysV segments\n");
        result = 1;
    }
    if (0 <= output && output_shows_abort()) {
        return PAIR_UCX_ABORT;
    }
    return 0 == result || PAIR_SKIP == result ? result : 1;
}

/* False: there is nothing to test. */
bool pair_prepare(void)
{
    pair_shared =
        mmap(NULL, sizeof(*pair_shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (MAP_FAILED == pair_shared || NULL == crdma_ucp_transport()) {
        fprintf(stderr, "skipped: built without UCX\n");
        return false;
    }
    if (NULL == mkdtemp(shm_directory)) {
        perror(shm_directory);
        return false;
    }
    setenv("UCX_POSIX_DIR", shm_directory, 1);
    return true;
}

void pair_cleanup(void)
{
    rmdir(shm_directory);
}
