/*
 * See verbs_ranks.h.
 */
#define _GNU_SOURCE
#include "tests/unit/verbs_ranks.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "coll_rdma/base/params.h"
#include "coll_rdma/transport/ucp.h"

struct ranks_shared *ranks_shared;
int me, nranks;
crdma_slab_t *slab;
crdma_peer_t peers[RANKS_MAX];
crdma_addr_t ring, flags, acks, area;

static char ports[RANKS_MAX][80];
static int nports;

const crdma_transport_t *verbs(void)
{
    return crdma_verbs_transport();
}

double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void poll_once(void)
{
    if (0 == verbs()->progress()) {
        sched_yield();
    }
}

void barrier(void)
{
    const int turn = __atomic_add_fetch(&ranks_shared->turn[me], 1, __ATOMIC_SEQ_CST);

    for (int r = 0; r < nranks; ++r) {
        while (__atomic_load_n(&ranks_shared->turn[r], __ATOMIC_SEQ_CST) < turn) {
            if (NULL != slab) {
                poll_once();
            }
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
    REQUIRE(CRDMA_OK == verbs()->expose(buffer, size, crdma_slab_at(slab, area), handle));
}

void fetch_exposed(crdma_exposed_t *exposed)
{
    crdma_tx_t tx = {0};

    REQUIRE(CRDMA_OK == verbs()->get(&peer, exposed, area, sizeof(*exposed), &tx));
    finish(&tx);
}

static void set_up(void)
{
    const void *card;
    size_t length;

    crdma_params.verbs_device = ports[me % nports];
    REQUIRE(CRDMA_OK == crdma_slab_create(SLAB, &slab));
    REQUIRE(CRDMA_OK == crdma_slab_alloc(slab, RING * SLOT, &ring, NULL));
    REQUIRE(CRDMA_OK == crdma_slab_alloc(slab, 4096, &flags, NULL));
    REQUIRE(CRDMA_OK == crdma_slab_alloc(slab, 4096, &acks, NULL));
    REQUIRE(CRDMA_OK == crdma_slab_alloc(slab, 4096, &area, NULL));
    REQUIRE(CRDMA_OK == verbs()->open(slab));
    REQUIRE(CRDMA_OK == verbs()->open(slab));
    REQUIRE(CRDMA_OK == verbs()->card(&card, &length));
    REQUIRE(CARD_MAX >= length);
    memcpy(ranks_shared->card[me], card, length);
    ranks_shared->card_length[me] = (int)length;
    barrier();
    for (int r = 0; r < nranks; ++r) {
        if (r != me) {
            REQUIRE(CRDMA_ERR_PARAM == verbs()->attach(&peers[r], card, 7));
            REQUIRE(CRDMA_OK == verbs()->attach(&peers[r], ranks_shared->card[r],
                                                (size_t)ranks_shared->card_length[r]));
            REQUIRE(verbs()->alive(&peers[r]));
        }
    }
    barrier();
}

static void tear_down(void)
{
    const double start = now();

    for (int r = 0; r < nranks; ++r) {
        if (NULL != peers[r].endpoint) {
            verbs()->detach(&peers[r]);
        }
    }
    verbs()->close();
    verbs()->close();
    crdma_ucp_close();
    REQUIRE(10 > now() - start);
    crdma_slab_destroy(slab);
}

static void rank_main(int rank, void (*run)(void))
{
    me = rank;
    slab = NULL;
    set_up();
    run();
    tear_down();
    fflush(stdout);
    _exit(0);
}

bool ranks_run(int n, int killed, void (*run)(void))
{
    double limit = now() + TIME_LIMIT;
    pid_t running[RANKS_MAX] = {0};
    int left = n;
    bool good = true;

    memset(ranks_shared, 0, sizeof(*ranks_shared));
    nranks = n;
    fflush(NULL);
    for (int rank = 0; rank < n; ++rank) {
        running[rank] = fork();
        if (0 == running[rank]) {
            rank_main(rank, run);
        }
    }
    while (0 < left) {
        int status, which = -1;
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
            if (which == killed ? WIFSIGNALED(status) && SIGKILL == WTERMSIG(status)
                                : WIFEXITED(status) && 0 == WEXITSTATUS(status)) {
                continue;
            }
            if (good) {
                fprintf(stderr, "rank %d ended with status %#x\n", which, (unsigned)status);
            }
        } else if (0 < pid) {
            continue;
        } else {
            fprintf(stderr, "no end after %d s\n", TIME_LIMIT);
            limit += TIME_LIMIT;
        }
        good = false;
        for (int rank = 0; rank < n; ++rank) {
            if (0 != running[rank]) {
                kill(running[rank], SIGKILL); /* it would wait for the others */
            }
        }
    }
    return good;
}

const char *ranks_prepare(void)
{
    const char *most = getenv("CRDMA_TEST_VERBS_PORTS");
    const int limit = NULL != most ? atoi(most) : RANKS_MAX;

    if (NULL == verbs()) {
        return "built without libibverbs or UCX";
    }
    while (nports < limit && crdma_verbs_port_name(nports, ports[nports], sizeof(ports[0]))) {
        ++nports;
    }
    if (0 == nports) {
        return "no active InfiniBand or RoCE port";
    }
    ranks_shared = mmap(NULL, sizeof(*ranks_shared), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (MAP_FAILED == ranks_shared) {
        return "no memory";
    }
    crdma_params.transport = CRDMA_TRANSPORT_VERBS;
    for (int i = 0; i < nports; ++i) {
        printf("%s%s", 0 == i ? "ports: " : ", ", ports[i]);
    }
    printf("\n");
    return NULL;
}
