/*
 * The UCP transport between two processes on this host, without MPI.
 *
 *   test_ucp                          everything, for each list of transports that UCX offers here
 *   test_ucp TLS [ORDER [SCENARIO]]   part of it: TLS as in UCX_TLS or "default", ORDER a name
 * below test_ucp --latency TLS ORDER      one-way time of put_flagged by size, minimum of round
 * trips / 2
 *
 * Each scenario runs in two fresh processes (rank 0 and rank 1) that share one anonymous page: it
 * carries the cards and the turns of a barrier. A scenario that does not end within a minute has
 * failed. Exit status 77: UCX is not built in or has no usable transport.
 *
 * What the scenarios would catch:
 *   hunt     a flag seen before the whole payload; the orders "none" and "reversed" show that
 *            the hunt can see it (reversed must be caught; none only breaks where puts overtake)
 *   bulk     get, get_user, put_user_flagged up to 16 MB; keys of buffers that were freed and
 *            exposed again; thousands of operations in flight
 *   threads  entry points called by several threads at once
 *   kill     a peer killed with work under way: errors instead of a hang, a close in bounded time,
 *            nothing left in /dev/shm or among the SysV segments
 *   leave    a peer that closed long before us
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "coll_rdma/transport/ucp.h"

enum {
    SKIP = 77,
    CARD_MAX = 4096,
    RING = 8,
    SLOT = 65536 + 4096,
    BULK = 1 << 20,
    TIME_LIMIT = 60 /* s */
};

static struct shared {
    int card_length[2];
    char card[2][CARD_MAX];
    int turn[2];
    int64_t note[8];
} * shared;

static crdma_slab_t *slab;
static crdma_addr_t ring, flags, acks, area;
static crdma_peer_t peer;
static int me;
static long hunt_puts = 100000;
static char shm_directory[] = "/dev/shm/crdma-test-XXXXXX";

#define REQUIRE(what)                                                                              \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            fprintf(stderr, "rank %d, %s:%d: not true: %s\n", me, __FILE__, __LINE__, #what);      \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void poll_once(void)
{
    static __thread unsigned polls;

    if (0 == crdma_ucp_transport()->progress() && 0 == ++polls % 64) {
        sched_yield();
    }
}

static void barrier(void)
{
    int turn = __atomic_add_fetch(&shared->turn[me], 1, __ATOMIC_SEQ_CST);

    while (__atomic_load_n(&shared->turn[1 - me], __ATOMIC_SEQ_CST) < turn) {
        poll_once();
    }
}

static void finish(crdma_tx_t *tx)
{
    while (0 < __atomic_load_n(&tx->pending, __ATOMIC_ACQUIRE)) {
        poll_once();
    }
    REQUIRE(CRDMA_OK == tx->status);
}

static uint64_t read_word(crdma_addr_t addr)
{
    return __atomic_load_n((uint64_t *)crdma_slab_at(slab, addr), __ATOMIC_ACQUIRE);
}

static uint64_t pattern(uint64_t seq, size_t i)
{
    return (seq * 0x9e3779b97f4a7c15u) ^ (i * 0xc2b2ae3d27d4eb4fu);
}

static void fill(uint64_t *words, size_t bytes, uint64_t seq)
{
    for (size_t i = 0; i < bytes / 8; ++i) {
        words[i] = pattern(seq, i);
    }
}

static bool intact(const uint64_t *words, size_t bytes, uint64_t seq)
{
    for (size_t i = 0; i < bytes / 8; ++i) {
        if (__atomic_load_n(&words[i], __ATOMIC_RELAXED) != pattern(seq, i)) {
            return false;
        }
    }
    return true;
}

static int set_up(void)
{
    const size_t size = 64u << 20;
    const void *card;
    size_t length;

    REQUIRE(CRDMA_OK == crdma_slab_create(size, &slab));
    REQUIRE(CRDMA_OK == crdma_slab_alloc(slab, RING * SLOT, &ring));
    REQUIRE(CRDMA_OK == crdma_slab_alloc(slab, 4096, &flags));
    REQUIRE(CRDMA_OK == crdma_slab_alloc(slab, 4096, &acks));
    REQUIRE(CRDMA_OK == crdma_slab_alloc(slab, 17u << 20, &area));
    if (CRDMA_OK != crdma_ucp_open(slab)) {
        return SKIP;
    }
    REQUIRE(CRDMA_OK == crdma_ucp_open(slab));
    REQUIRE(CRDMA_OK == crdma_ucp_card(&card, &length));
    REQUIRE(CARD_MAX >= length);
    memcpy(shared->card[me], card, length);
    shared->card_length[me] = (int)length;
    barrier();
    REQUIRE(CRDMA_ERR_PARAM == crdma_ucp_attach(&peer, card, 7));
    REQUIRE(CRDMA_OK ==
            crdma_ucp_attach(&peer, shared->card[1 - me], (size_t)shared->card_length[1 - me]));
    REQUIRE(crdma_ucp_alive(&peer));
    return 0;
}

static void tear_down(void)
{
    double start;

    if (NULL != peer.endpoint) { /* as when one communicator ends and the next begins */
        crdma_ucp_detach(&peer);
        REQUIRE(CRDMA_OK ==
                crdma_ucp_attach(&peer, shared->card[1 - me], (size_t)shared->card_length[1 - me]));
        crdma_ucp_detach(&peer);
    }
    start = now();
    crdma_ucp_close();
    crdma_ucp_close();
    REQUIRE(5 > now() - start);
    crdma_slab_destroy(slab);
}

/* ---- hunt: whoever sees the flag must see the payload --------------------------------------- */

static const size_t hunt_sizes[] = {8,    64,   120,  248,  512,   1024,  1032,  2048, 2056,
                                    4096, 4104, 8000, 8192, 12288, 16392, 32768, 65536};

static size_t hunt_size(uint64_t seq)
{
    /* mostly small: a long one in 16, so that short ones can overtake it */
    return hunt_sizes[0 == seq % 16 ? (seq / 16) % 17 : seq % 13];
}

static void hunt_send(void)
{
    static uint64_t source[RING][SLOT / 8];
    static crdma_tx_t tx[RING];

    for (uint64_t seq = 1; seq <= (uint64_t)hunt_puts; ++seq) {
        size_t slot = seq % RING, size = hunt_size(seq);
        /* how far the sender runs ahead varies, so that lanes are full and empty in turn */
        uint64_t ahead = 0 == (seq >> 10) % 2 ? RING : 1;

        while (read_word(acks) + ahead < seq) {
            poll_once();
        }
        finish(&tx[slot]);
        fill(source[slot], size, seq);
        REQUIRE(CRDMA_OK == peer.transport->put_flagged(&peer, source[slot], ring + slot * SLOT,
                                                        size, &seq, flags + slot * 64, &tx[slot]));
    }
    for (int slot = 0; slot < RING; ++slot) {
        finish(&tx[slot]);
    }
    while (read_word(acks) < (uint64_t)hunt_puts) {
        poll_once();
    }
}

static long hunt_receive(void)
{
    static uint64_t ack;
    crdma_tx_t tx = {0};
    long torn = 0;

    for (uint64_t seq = 1; seq <= (uint64_t)hunt_puts; ++seq) {
        size_t slot = seq % RING;

        while (seq != read_word(flags + slot * 64)) {
            poll_once();
        }
        if (!intact(crdma_slab_at(slab, ring + slot * SLOT), hunt_size(seq), seq)) {
            ++torn;
            /* let it arrive, so that the count goes on with a known state */
            while (!intact(crdma_slab_at(slab, ring + slot * SLOT), hunt_size(seq), seq)) {
                poll_once();
            }
        }
        finish(&tx);
        ack = seq;
        REQUIRE(CRDMA_OK == peer.transport->put(&peer, &ack, acks, sizeof(ack), &tx));
    }
    finish(&tx);
    return torn;
}

static void run_hunt(void)
{
    if (0 == me) {
        hunt_send();
    } else {
        shared->note[0] = hunt_receive();
    }
    barrier();
}

/* ---- bulk -------------------------------------------------------------------------------------
 */

static void expose_to_peer(void *buffer, size_t size, void **handle)
{
    crdma_exposed_t *out = crdma_slab_at(slab, area);

    REQUIRE(CRDMA_OK == peer.transport->expose(buffer, size, out, handle));
}

/* One rendezvous of `size` bytes each way; rank 1 owns the buffer, which is fresh every time. */
static void bulk_exchange(size_t size, uint64_t round)
{
    uint64_t *buffer = malloc(size + 64);
    crdma_tx_t tx = {0};
    void *handle;

    REQUIRE(NULL != buffer);
    if (1 == me) {
        fill(buffer, size, round);
        expose_to_peer(buffer, size, &handle);
        barrier(); /* rank 0 reads key and data, then writes the inverse */
        while (round != read_word(flags)) {
            poll_once();
        }
        REQUIRE(intact(buffer, size, ~round));
        barrier();
        peer.transport->conceal(handle);
    } else {
        crdma_exposed_t exposed;

        barrier();
        REQUIRE(CRDMA_OK == peer.transport->get(&peer, &exposed, area, sizeof(exposed), &tx));
        finish(&tx);
        memset(buffer, 0, size);
        REQUIRE(CRDMA_OK == peer.transport->get_user(&peer, buffer, &exposed, 0, size / 2, &tx));
        REQUIRE(CRDMA_OK == peer.transport->get_user(&peer, (char *)buffer + size / 2, &exposed,
                                                     size / 2, size - size / 2, &tx));
        finish(&tx);
        REQUIRE(intact(buffer, size, round));
        fill(buffer, size, ~round);
        REQUIRE(CRDMA_OK == peer.transport->put_user_flagged(&peer, buffer, &exposed, 0, size,
                                                             &round, flags, &tx));
        finish(&tx);
        memset(buffer, 0x55, size); /* the source is ours again */
        barrier();
    }
    free(buffer);
}

static void bulk_many(void)
{
    enum { MANY = 4000, STRIDE = 2048 };
    static uint64_t source[MANY], back[MANY];
    crdma_tx_t tx = {0};

    for (uint64_t i = 0; i < MANY; ++i) {
        source[i] = pattern(77, i);
        REQUIRE(CRDMA_OK == peer.transport->put(&peer, &source[i], area + i * STRIDE, 8, &tx));
    }
    finish(&tx);
    barrier(); /* puts and messages of one peer keep their order, so the reads below come after */
    for (uint64_t i = 0; i < MANY; ++i) {
        REQUIRE(CRDMA_OK == peer.transport->get(&peer, &back[i], area + i * STRIDE, 8, &tx));
    }
    finish(&tx);
    for (uint64_t i = 0; i < MANY; ++i) {
        REQUIRE(source[i] == back[i]);
    }
    barrier();
}

static void run_bulk(void)
{
    static const size_t sizes[] = {8,       4096,    8200,          65536,   100000 / 8 * 8,
                                   1 << 20, 4 << 20, (4 << 20) + 8, 16 << 20};
    uint64_t round = 0;

    for (int again = 0; again < 3; ++again) {
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); ++i) {
            bulk_exchange(sizes[i], ++round);
        }
    }
    for (int i = 0; i < 200; ++i) { /* more keys than an endpoint keeps */
        bulk_exchange(4096u + 512u * (unsigned)i, ++round);
    }
    bulk_many();
}

/* ---- threads ----------------------------------------------------------------------------------
 */

/* Threads of one number talk to each other; two slots each, since a side may be one ahead. */
static void *thread_main(void *arg)
{
    enum { ROUNDS = 2000, SIZE = 3000 / 8 * 8 };
    size_t number = (size_t)(uintptr_t)arg;
    uint64_t *source = malloc(SIZE);
    crdma_tx_t tx = {0};

    for (uint64_t seq = 1; seq <= ROUNDS; ++seq) {
        size_t slot = 2 * number + seq % 2;

        fill(source, SIZE, seq + number);
        REQUIRE(CRDMA_OK == peer.transport->put_flagged(&peer, source, ring + slot * SLOT, SIZE,
                                                        &seq, flags + slot * 64, &tx));
        finish(&tx);
        while (seq != read_word(flags + slot * 64)) {
            poll_once();
        }
        REQUIRE(intact(crdma_slab_at(slab, ring + slot * SLOT), SIZE, seq + number));
    }
    free(source);
    return NULL;
}

static void run_threads(void)
{
    pthread_t threads[3];

    for (size_t i = 0; i < 3; ++i) {
        REQUIRE(0 == pthread_create(&threads[i], NULL, thread_main, (void *)(uintptr_t)i));
    }
    for (size_t i = 0; i < 3; ++i) {
        pthread_join(threads[i], NULL);
    }
    barrier();
}

/* ---- kill and leave ---------------------------------------------------------------------------
 */

/* Put, to slab and user memory, until the peer is known to be gone; everything must have come to an
 * end by then. */
static void put_until_failure(const crdma_exposed_t *there)
{
    static uint64_t source[BULK / 8];
    crdma_tx_t tx = {0};
    crdma_status_t rc = CRDMA_OK;
    const double limit = now() + 10;
    double check = 0;
    uint64_t seq = 0;

    while (CRDMA_OK == rc) {
        REQUIRE(now() < limit);
        if (16 > __atomic_load_n(&tx.pending, __ATOMIC_ACQUIRE)) {
            ++seq;
            rc = 0 == seq % 8 ? peer.transport->put_user_flagged(&peer, source, there, 0, BULK,
                                                                 &seq, flags, &tx)
                              : peer.transport->put_flagged(&peer, source, ring,
                                                            hunt_sizes[seq % 17], &seq, flags, &tx);
        }
        poll_once();
        if (now() > check) {
            (void)crdma_ucp_alive(&peer);
            check = now() + 0.2; /* s, as coll_rdma_check_interval */
        }
    }
    REQUIRE(CRDMA_ERR_PEER == rc);
    while (0 < __atomic_load_n(&tx.pending, __ATOMIC_ACQUIRE)) {
        REQUIRE(now() < limit);
        poll_once();
    }
    REQUIRE(!crdma_ucp_alive(&peer));
}

static void run_kill(void)
{
    static uint64_t target[BULK / 8];
    crdma_exposed_t there;
    crdma_tx_t tx = {0};
    void *handle;

    if (1 == me) {
        expose_to_peer(target, BULK, &handle);
        barrier();
        while (200 > read_word(flags)) {
            poll_once();
        }
        kill(getpid(), SIGKILL);
    }
    barrier();
    REQUIRE(CRDMA_OK == peer.transport->get(&peer, &there, area, sizeof(there), &tx));
    finish(&tx);
    put_until_failure(&there);
    crdma_ucp_detach(&peer);
    REQUIRE(CRDMA_ERR_PEER ==
            crdma_ucp_attach(&peer, shared->card[1], (size_t)shared->card_length[1]));
    peer.endpoint = NULL;
}

static void run_leave(void)
{
    static uint64_t source[1024];
    crdma_tx_t tx = {0};
    uint64_t seq = 1;

    REQUIRE(CRDMA_OK == peer.transport->put_flagged(&peer, source, ring, 8192, &seq, flags, &tx));
    finish(&tx);
    while (seq != read_word(flags)) {
        poll_once();
    }
    barrier();
    if (0 == me) {
        usleep(300000);
        for (; seq < 100; ++seq) { /* towards a process that has closed or ended */
            if (CRDMA_OK !=
                peer.transport->put_flagged(&peer, source, ring, 4096, &seq, flags, &tx)) {
                break;
            }
        }
    }
}

/* ---- running ----------------------------------------------------------------------------------
 */

static const struct scenario {
    const char *name;
    void (*run)(void);
} scenarios[] = {{"hunt", run_hunt},
                 {"bulk", run_bulk},
                 {"threads", run_threads},
                 {"kill", run_kill},
                 {"leave", run_leave}};

enum { NSCENARIOS = sizeof(scenarios) / sizeof(scenarios[0]) };

static const char *const orders[] = {"auto",    "weak", "flush",   "ep_based",
                                     "message", "none", "reversed"};

enum { NORDERS = sizeof(orders) / sizeof(orders[0]) };

/* Round trips of `size` bytes, to the slab or to the buffer that the peer has exposed. */
static void measure(size_t size, int rounds, void *source, const crdma_exposed_t *there)
{
    static uint64_t seq;
    crdma_tx_t tx = {0};
    double best = 1e9;

    for (int i = 0; i < rounds; ++i) {
        double start = now();

        ++seq;
        for (int turn = 0; turn < 2; ++turn) {
            if (turn != me) {
                while (seq != read_word(flags)) {
                    poll_once();
                }
                continue;
            }
            REQUIRE(CRDMA_OK ==
                    (NULL == there
                         ? peer.transport->put_flagged(&peer, source, ring, size, &seq, flags, &tx)
                         : peer.transport->put_user_flagged(&peer, source, there, 0, size, &seq,
                                                            flags, &tx)));
            finish(&tx);
        }
        if (now() - start < best) {
            best = now() - start;
        }
    }
    if (0 == me) {
        printf("%-4s %9zu B %10.2f us %8.2f GB/s\n", NULL == there ? "slab" : "user", size,
               0.5e6 * best, 2e-9 * (double)size / best);
    }
}

static void latency(void)
{
    const size_t most = 16u << 20;
    void *source = calloc(1, most), *target = calloc(1, most), *handle;
    crdma_exposed_t there;
    crdma_tx_t tx = {0};

    REQUIRE(NULL != source && NULL != target);
    expose_to_peer(target, most, &handle);
    barrier();
    REQUIRE(CRDMA_OK == peer.transport->get(&peer, &there, area, sizeof(there), &tx));
    finish(&tx);
    for (size_t size = 8; size <= 65536; size *= 2) {
        measure(size, 3000, source, NULL);
    }
    for (size_t size = 16384; size <= most; size *= 4) {
        measure(size, 1 << 20 > size ? 500 : 30, source, &there);
    }
    barrier();
    peer.transport->conceal(handle);
    free(source);
    free(target);
}

static void rank_main(int rank, const char *tls, int order, void (*run)(void))
{
    int rc;

    me = rank;
    crdma_ucp_force_order = (crdma_ucp_order_t)order;
    if (0 == strcmp(tls, "default")) {
        unsetenv("UCX_TLS");
    } else {
        setenv("UCX_TLS", tls, 1);
    }
    rc = set_up();
    if (0 == rc) {
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

/* 0: as it should be; 1: failed; SKIP. */
static int run_pair(const char *tls, int order, const char *name, void (*run)(void))
{
    bool killed = run == run_kill, broken = 0 == strcmp("reversed", orders[order]);
    bool open_order = 0 == strcmp("none", orders[order]);
    double start = now();
    pid_t ranks[2], all[2];
    int worst = 0;

    memset(shared, 0, sizeof(*shared));
    for (int rank = 0; rank < 2; ++rank) {
        ranks[rank] = fork();
        if (0 == ranks[rank]) {
            rank_main(rank, tls, order, run);
        }
        all[rank] = ranks[rank];
    }
    for (int left = 2; 0 < left;) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG);

        if (0 < pid) {
            int rc = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);

            --left;
            if (!(killed && pid == ranks[1] && 128 + SIGKILL == rc)) {
                worst = 0 != worst ? worst : rc; /* the first is the cause */
            }
            for (int rank = 0; rank < 2; ++rank) {
                if (pid == ranks[rank]) {
                    ranks[rank] = 0;
                } else if (0 != rc && !killed && 0 != ranks[rank]) {
                    kill(ranks[rank], SIGKILL); /* the other would wait for it */
                }
            }
        } else if (TIME_LIMIT < now() - start) {
            fprintf(stderr, "no end after %d s\n", TIME_LIMIT);
            worst = 1;
            for (int rank = 0; rank < 2; ++rank) {
                if (0 != ranks[rank]) {
                    kill(ranks[rank], SIGKILL);
                }
            }
            start = now();
        } else {
            usleep(1000);
        }
    }
    if (0 < count_leftovers(all)) {
        fprintf(stderr, "something was left in /dev/shm or among the SysV segments\n");
        worst = 1;
    }
    if (0 == worst && run == run_hunt) {
        long torn = shared->note[0];

        worst = open_order ? 0 : (0 < torn) != broken;
        printf("%-8s %-22s %-9s %.1f s, %ld of %ld torn%s\n", name, tls, orders[order],
               now() - start, torn, hunt_puts,
               0 != worst ? ": FAILED" : (broken ? " (as it must be)" : ""));
    } else {
        printf("%-8s %-22s %-9s %.1f s%s\n", name, tls, orders[order], now() - start,
               0 == worst ? "" : (SKIP == worst ? ": skipped" : ": FAILED"));
    }
    fflush(stdout);
    return worst;
}

int main(int argc, char **argv)
{
    static const char *const lists[] = {"posix,self", "sysv,self",   "sm,self",
                                        "tcp,self",   "tcp,sm,self", "default"};
    const char *puts = getenv("CRDMA_TEST_UCP_PUTS");
    int failed = 0, passed = 0;

    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (MAP_FAILED == shared || NULL == crdma_ucp_transport()) {
        fprintf(stderr, "skipped: built without UCX\n");
        return SKIP;
    }
    if (NULL == mkdtemp(shm_directory)) {
        perror(shm_directory);
        return 1;
    }
    setenv("UCX_POSIX_DIR", shm_directory, 1);
    hunt_puts = NULL != puts ? atol(puts) : hunt_puts;
    if (4 == argc && 0 == strcmp(argv[1], "--latency")) {
        for (int o = 0; o < NORDERS; ++o) {
            if (0 == strcmp(argv[3], orders[o])) {
                failed = run_pair(argv[2], o, "latency", latency);
            }
        }
        rmdir(shm_directory);
        return failed;
    }
    for (size_t l = 0; l < sizeof(lists) / sizeof(lists[0]); ++l) {
        const char *tls = 1 < argc ? argv[1] : lists[l];

        for (int o = 0; o < NORDERS; ++o) {
            if (2 < argc && 0 != strcmp(argv[2], orders[o])) {
                continue;
            }
            for (int s = 0; s < NSCENARIOS; ++s) {
                int rc;

                if ((3 < argc && 0 != strcmp(argv[3], scenarios[s].name)) ||
                    (3 >= argc && CRDMA_UCP_ORDER_AUTO != o && 0 != s &&
                     !(CRDMA_UCP_ORDER_FLUSH == o && 1 == s))) {
                    continue; /* forced orders: the hunt; flush also in bulk */
                }
                rc = run_pair(tls, o, scenarios[s].name, scenarios[s].run);
                failed += 0 != rc && SKIP != rc;
                passed += 0 == rc;
            }
        }
        if (1 < argc) {
            break;
        }
    }
    rmdir(shm_directory);
    if (0 < failed) {
        fprintf(stderr, "%d failed\n", failed);
        return 1;
    }
    return 0 < passed ? 0 : SKIP;
}
