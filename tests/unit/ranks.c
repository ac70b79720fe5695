/*
 * Ranks as processes or threads; see ranks.h. What they share is one anonymous page range:
 * cards, a barrier, and an array for exchanging words.
 */
#define _GNU_SOURCE
#include "tests/unit/ranks.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "coll_rdma/base/params.h"
#include "coll_rdma/memory/regcache.h"
#include "coll_rdma/transport/xpmem.h"
#include "tests/unit/fake_transport.h"

struct ranks_shared {
    crdma_shm_card_t card[RANKS_MAX];
    uint64_t word[RANKS_MAX];
    uint64_t note[16];
    uint64_t progressed[RANKS_MAX]; /* calls of progress, for the fake transport */
    int arrived, turn;
};

static char said[65536];

const char *ranks_said(void)
{
    return said;
}

uint64_t ranks_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u; /* splitmix64 */

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void ranks_fail(const ranks_t *me, const char *file, int line, const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    fprintf(stderr, "rank %d, %s:%d: not true: %s\n", me->rank, file, line, text);
    if (me->setup->threads) {
        exit(1);
    }
    _exit(1);
}

void ranks_delay(ranks_t *me, unsigned us)
{
    switch (ranks_random(me) % 8) {
    case 0:
        usleep((useconds_t)(ranks_random(me) % (us + 1)));
        break;
    case 1:
    case 2:
        for (unsigned i = ranks_random(me) % 8; 0 < i; --i) {
            sched_yield();
        }
        break;
    default:
        break;
    }
}

static void progress(const ranks_t *me)
{
    if (RANKS_DIRECT != me->setup->wire) {
        fake_transport()->progress();
    }
}

void ranks_barrier(ranks_t *me)
{
    struct ranks_shared *s = me->shared;
    const int turn = __atomic_load_n(&s->turn, __ATOMIC_ACQUIRE);

    if (me->size == __atomic_add_fetch(&s->arrived, 1, __ATOMIC_ACQ_REL)) {
        __atomic_store_n(&s->arrived, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&s->turn, turn + 1, __ATOMIC_RELEASE);
        return;
    }
    while (turn == __atomic_load_n(&s->turn, __ATOMIC_ACQUIRE)) {
        progress(me);
        sched_yield();
    }
}

void ranks_exchange(ranks_t *me, uint64_t mine, uint64_t *all)
{
    me->shared->word[me->rank] = mine;
    ranks_barrier(me);
    memcpy(all, me->shared->word, (size_t)me->size * sizeof(*all));
    ranks_barrier(me);
}

uint64_t *ranks_notes(ranks_t *me)
{
    return me->shared->note;
}

static bool is_remote(const ranks_setup_t *setup, int a, int b)
{
    return RANKS_REMOTE == setup->wire ||
           (RANKS_MIXED == setup->wire && setup->node[a] != setup->node[b]);
}

/* tests/fakexpmem, if it is preloaded, tells what free() gives back, as memory hooks do. */
static void watch_memory(void)
{
    void (**hook)(const void *, size_t);

    *(void **)&hook = dlsym(RTLD_DEFAULT, "fakexpmem_hook");
    if (NULL != hook) {
        *hook = crdma_regcache_invalidate;
        crdma_regcache_hooked = true;
    }
}

static void attach(ranks_t *me)
{
    struct ranks_shared *s = me->shared;

    watch_memory();
    crdma_shm_card_fill(me->slab, &s->card[me->rank]);
    ranks_barrier(me);
    for (int r = 0; r < me->size; ++r) {
        crdma_peer_t *peer;

        if (r == me->rank) {
            continue;
        }
        peer = me->peers[r] = calloc(1, sizeof(*peer));
        if (is_remote(me->setup, r, me->rank)) {
            RANKS_REQUIRE(CRDMA_OK == fake_attach(peer, &s->card[r], r));
        } else if (me->setup->threads) {
            /* the owner's own addresses: what the thread sanitizer can follow */
            *peer = (crdma_peer_t){.cookie = s->card[r].cookie,
                                   .map = (char *)(uintptr_t)s->card[r].base,
                                   .map_size = s->card[r].size,
                                   .cma = true,
                                   .pid = getpid()};
        } else {
            RANKS_REQUIRE(CRDMA_OK == crdma_shm_attach(peer, &s->card[r]));
            RANKS_REQUIRE(peer->cma, "(process_vm_readv is not allowed here)");
        }
    }
    ranks_barrier(me);
}

static void detach(ranks_t *me)
{
    for (int r = 0; r < me->size; ++r) {
        if (NULL == me->peers[r]) {
            continue;
        }
        if (NULL == me->peers[r]->map) {
            fake_detach(me->peers[r]);
        } else if (!me->setup->threads) {
            crdma_shm_detach(me->peers[r]);
        }
        free(me->peers[r]);
    }
}

crdma_group_t *ranks_group(ranks_t *me)
{
    static const int one_node[RANKS_MAX];
    const ranks_setup_t *setup = me->setup;
    uint64_t regions[RANKS_MAX];
    bool attachable = true, xpmem = !setup->no_cma && !setup->no_xpmem;
    crdma_group_t *g;

    for (int r = 0; r < me->size; ++r) {
        attachable = attachable
                     && (r == me->rank || (NULL != me->peers[r] && NULL != me->peers[r]->xpmem));
    }
    ranks_exchange(me, attachable || 1 == me->size, regions);
    for (int r = 0; r < me->size; ++r) {
        xpmem = xpmem && 0 != regions[r];
    }
    RANKS_REQUIRE(CRDMA_OK == crdma_group_begin(me->slab, me->rank, me->size, "test", &g));
    ranks_exchange(me, g->region_addr, regions);
    RANKS_REQUIRE(CRDMA_OK ==
                  crdma_group_finish(g, &(crdma_group_config_t){
                                            .peers = me->peers,
                                            .regions = regions,
                                            .node = NULL != setup->node ? setup->node : one_node,
                                            .nnodes = NULL != setup->node ? setup->nnodes : 1,
                                            .cma = !setup->no_cma,
                                            .xpmem = xpmem,
                                            .oversubscribed = true}));
    ranks_barrier(me);
    return g;
}

void ranks_settle(ranks_t *me)
{
    if (RANKS_DIRECT != me->setup->wire) {
        while (0 != fake_pending()) {
            progress(me);
            sched_yield();
        }
    }
    ranks_barrier(me);
}

typedef struct start {
    ranks_t me;
    ranks_body_t body;
    void *arg;
    pthread_t thread;
} start_t;

static void *run_rank(void *argument)
{
    start_t *start = argument;
    ranks_t *me = &start->me;
    const size_t slab = 0 != me->setup->slab ? me->setup->slab : (size_t)64 << 20;

    RANKS_REQUIRE(CRDMA_OK == crdma_slab_create(slab, &me->slab));
    if (RANKS_DIRECT != me->setup->wire) {
        fake_open(me->slab, me->setup->fake, me->rank, me->shared->progressed, me->random);
    }
    attach(me);
    start->body(me, start->arg);
    if (NULL != getenv("FAKEXPMEM_STATS")) {
        uint64_t made, found;

        crdma_xpmem_counts(&made, &found);
        printf("rank %d: %d attached, %d found again\n", me->rank, (int)made, (int)found);
    }
    if (0 == me->setup->dies) {
        ranks_settle(me);
        if (!me->setup->threads) {
            crdma_group_reap_all();
        }
        detach(me);
        if (RANKS_DIRECT != me->setup->wire) {
            fake_close();
        }
        ranks_barrier(me);
        crdma_slab_destroy(me->slab);
    }
    return NULL;
}

static start_t make_start(const ranks_setup_t *setup, struct ranks_shared *shared, int rank,
                          ranks_body_t body, void *arg)
{
    return (start_t){.me = {.rank = rank,
                            .size = setup->size,
                            .setup = setup,
                            .shared = shared,
                            .random = 12345 + 1000003u * (uint64_t)rank},
                     .body = body,
                     .arg = arg};
}

static int run_threads(const ranks_setup_t *setup, struct ranks_shared *shared, ranks_body_t body,
                       void *arg)
{
    start_t start[RANKS_MAX];
    crdma_shm_card_t card;

    crdma_shm_card_fill(&(crdma_slab_t){0}, &card); /* what it remembers, once */
    for (int r = 0; r < setup->size; ++r) {
        start[r] = make_start(setup, shared, r, body, arg);
    }
    for (int r = 0; r < setup->size; ++r) {
        if (0 != pthread_create(&start[r].thread, NULL, run_rank, &start[r])) {
            return setup->size;
        }
    }
    for (int r = 0; r < setup->size; ++r) {
        pthread_join(start[r].thread, NULL);
    }
    crdma_group_reap_all();
    return 0;
}

static int run_processes(const ranks_setup_t *setup, struct ranks_shared *shared, ranks_body_t body,
                         void *arg)
{
    double end = now() + (0 != setup->time_limit ? setup->time_limit : 60);
    const int log = setup->capture ? memfd_create("stderr", 0) : -1;
    pid_t pid[RANKS_MAX];
    int left = setup->size, failed = 0;

    fflush(NULL);
    for (int r = 0; r < setup->size; ++r) {
        pid[r] = fork();
        if (0 == pid[r]) {
            start_t start = make_start(setup, shared, r, body, arg);

            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (0 <= log) {
                dup2(log, STDERR_FILENO);
            }
            run_rank(&start);
            fflush(NULL);
            _exit(0);
        }
    }
    while (0 < left) {
        for (int r = 0; r < setup->size; ++r) {
            int status;

            if (0 >= pid[r]) {
                continue;
            }
            if (now() > end) {
                fprintf(stderr, "rank %d has not ended in time\n", r);
                kill(pid[r], SIGKILL);
                ++failed;
                waitpid(pid[r], &status, 0);
            } else if (pid[r] != waitpid(pid[r], &status, WNOHANG)) {
                continue;
            } else if (0 != (setup->dies >> r & 1)
                           ? !WIFSIGNALED(status)
                           : !WIFEXITED(status) || 0 != WEXITSTATUS(status)) {
                fprintf(stderr, "rank %d: wait status %#x\n", r, (unsigned)status);
                end = 0 == failed ? now() + 1 : end; /* the others wait for it in vain */
                ++failed;
            }
            pid[r] = 0;
            --left;
        }
        usleep(500);
    }
    if (0 <= log) {
        ssize_t n = pread(log, said, sizeof(said) - 1, 0);

        said[0 < n ? n : 0] = 0;
        close(log);
        if (0 != failed) {
            fputs(said, stderr);
        }
    }
    return failed;
}

int ranks_run(const ranks_setup_t *setup, ranks_body_t body, void *arg)
{
    struct ranks_shared *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int failed;

    if (MAP_FAILED == shared) {
        return setup->size;
    }
    failed = setup->threads ? run_threads(setup, shared, body, arg)
                            : run_processes(setup, shared, body, arg);
    munmap(shared, sizeof(*shared));
    return failed;
}
