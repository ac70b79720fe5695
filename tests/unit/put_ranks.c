/*
 * See put_ranks.h.
 */
#define _GNU_SOURCE
#include "tests/unit/put_ranks.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

const crdma_transport_t *tested;
int idle_polls = 64;
struct ranks_shared *ranks_shared;
int me, nranks;
crdma_slab_t *slab;
crdma_peer_t peers[RANKS_MAX];
crdma_addr_t ring, flags, acks, area;

double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void poll_once(void)
{
    static __thread int polls;

    if (0 == tested->progress() && idle_polls <= ++polls) {
        polls = 0;
        sched_yield();
    }
}

void barrier(void)
{
    const int turn = __atomic_add_fetch(&ranks_shared->turn[me], 1, __ATOMIC_SEQ_CST);

    for (int r = 0; r < nranks; ++r) {
        while (__atomic_load_n(&ranks_shared->turn[r], __ATOMIC_SEQ_CST) < turn) {
            poll_once();
        }
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
    REQUIRE(CRDMA_OK == tested->expose(buffer, size, crdma_slab_at(slab, area), handle));
}

void fetch_exposed(crdma_exposed_t *exposed)
{
    crdma_tx_t tx = {0};

    REQUIRE(CRDMA_OK == tested->get(&peer, exposed, area, sizeof(*exposed), &tx));
    finish(&tx);
}

bool ranks_open(size_t area_size)
{
    const void *card;
    size_t length;

    REQUIRE(CRDMA_OK == crdma_slab_create(SLAB, &slab));
    REQUIRE(CRDMA_OK == crdma_slab_alloc(slab, RING * SLOT, &ring, NULL));
    REQUIRE(CRDMA_OK == crdma_slab_alloc(slab, 4096, &flags, NULL));
    REQUIRE(CRDMA_OK == crdma_slab_alloc(slab, 4096, &acks, NULL));
    REQUIRE(CRDMA_OK == crdma_slab_alloc(slab, area_size, &area, NULL));
    if (CRDMA_OK != tested->open(slab)) {
        return false;
    }
    REQUIRE(CRDMA_OK == tested->open(slab));
    REQUIRE(CRDMA_OK == tested->card(&card, &length));
    REQUIRE(CARD_MAX >= length);
    memcpy(ranks_shared->card[me], card, length);
    ranks_shared->card_length[me] = (int)length;
    barrier();
    for (int r = 0; r < nranks; ++r) {
        if (r != me) {
            REQUIRE(CRDMA_ERR_PARAM == tested->attach(&peers[r], card, 7));
            REQUIRE(CRDMA_OK == tested->attach(&peers[r], ranks_shared->card[r],
                                               (size_t)ranks_shared->card_length[r]));
            REQUIRE(tested->alive(&peers[r]));
        }
    }
    barrier();
    return true;
}

void ranks_close(double seconds)
{
    const double start = now();

    for (int r = 0; r < nranks; ++r) {
        if (NULL != peers[r].endpoint) {
            tested->detach(&peers[r]);
        }
    }
    tested->close();
    tested->close();
    REQUIRE(seconds > now() - start);
}

bool ranks_prepare(void)
{
    ranks_shared = mmap(NULL, sizeof(*ranks_shared), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return MAP_FAILED != ranks_shared;
}

static void start(int n, int (*rank_main)(void), pid_t *running)
{
    memset(ranks_shared, 0, sizeof(*ranks_shared));
    nranks = n;
    fflush(NULL);
    for (int rank = 0; rank < n; ++rank) {
        running[rank] = fork();
        if (0 == running[rank]) {
            int rc;

            me = rank;
            rc = rank_main();
            fflush(stdout);
            _exit(rc);
        }
    }
}

int ranks_fork(int n, int killed, int seconds, int (*rank_main)(void), pid_t *pids)
{
    double limit = now() + seconds;
    pid_t running[RANKS_MAX] = {0};
    int result = 0;

    start(n, rank_main, running);
    if (NULL != pids) {
        memcpy(pids, running, (size_t)n * sizeof(*pids));
    }
    for (int left = n; 0 < left;) {
        int status, which = -1, rc = 1;
        const pid_t pid = waitpid(-1, &status, WNOHANG);

        if (0 >= pid && now() < limit) {
            usleep(1000);
            continue;
        }
        for (int rank = 0; 0 < pid && rank < n; ++rank) {
            which = running[rank] == pid ? rank : which;
        }
        if (0 <= which) {
            running[which] = 0;
            --left;
            rc = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            if ((which == killed ? 128 + SIGKILL : 0) == rc) {
                continue;
            }
            result = 0 != result ? result : 0 != rc ? rc : 1; /* the first is the cause */
        } else if (0 < pid) {
            continue;
        } else {
            fprintf(stderr, "no end after %d s\n", seconds);
            limit += seconds;
            result = 0 != result ? result : 1;
        }
        for (int rank = 0; rank < n; ++rank) {
            if (0 != running[rank]) {
                kill(running[rank], SIGKILL); /* it would wait for the others */
            }
        }
    }
    return result;
}
