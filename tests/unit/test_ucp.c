/*
 * The UCP transport between two processes on this host, without MPI.
 *
 * Usage: test_ucp [SETTING [ORDER [SCENARIO]]]
 *     SETTING   "TLS NAME=VALUE..": UCX_TLS, or "default", then UCX_NAME=VALUE; left out: each of
 *               `settings`
 *     ORDER     how the flag is kept behind the payload: a name of `orders`; left out: each
 *     SCENARIO  one of those below, or "latency": one-way times, minimum of round trips / 2
 * CRDMA_TEST_UCP_PUTS in the environment: flagged puts per hunt.
 * Exit status 77: UCX is not built in or has no usable transport.
 *
 * What the scenarios would catch:
 *   hunt     a flag seen before its whole payload, or before what was put before it. The broken
 *            order "reversed" shows that the hunt would see it
 *   bulk     get, get_user, put_user_flagged up to 16 MB; keys of buffers that were freed and
 *            exposed again; thousands of operations in flight
 *   threads  entry points called by several threads at once
 *   kill     a peer killed with work under way: errors instead of a hang, a close in bounded time,
 *            nothing left in /dev/shm or among the SysV segments
 *   leave    a peer that closed long before us
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/ucp_pair.h"

enum { BULK = 1 << 20 /* bytes */ };

static long hunt_puts = 20000, hunt_puts_rare = 4000;

/* ---- hunt: whoever sees the flag must see the payload --------------------------------------- */

static const size_t hunt_sizes[] = {8,    64,   120,  248,  512,   1024,  1032,  2048, 2056,
                                    4096, 4104, 8000, 8192, 12288, 16392, 32768, 65536};

static size_t hunt_size(uint64_t seq)
{
    /* mostly small: a long one in 16, so that short ones can overtake it */
    return hunt_sizes[0 == seq % 16 ? (seq / 16) % 17 : seq % 13];
}

/* Before one put in four a word of its own is put, which must be there when the flag is: the
 * rendezvous relies on it. */
static bool hunt_leads(uint64_t seq)
{
    return 1 == seq % 4 || 0 == seq % 16;
}

static void hunt_send(void)
{
    static uint64_t source[RING][SLOT / 8], lead[RING];
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
        if (hunt_leads(seq)) {
            lead[slot] = seq;
            REQUIRE(CRDMA_OK ==
                    peer.transport->put(&peer, &lead[slot], area + slot * 64, 8, &tx[slot]));
        }
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

static bool hunt_arrived(uint64_t seq)
{
    size_t slot = seq % RING;

    return intact(crdma_slab_at(slab, ring + slot * SLOT), hunt_size(seq), seq) &&
           (!hunt_leads(seq) || seq == read_word(area + slot * 64));
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
        if (!hunt_arrived(seq)) {
            ++torn;
            /* let it arrive, so that the count goes on with a known state */
            while (!hunt_arrived(seq)) {
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
        pair_shared->note[0] = hunt_receive();
    }
    barrier();
}

/* ---- bulk -------------------------------------------------------------------------------------
 */

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
        fetch_exposed(&exposed);
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
    fetch_exposed(&there);
    put_until_failure(&there);
    crdma_ucp_detach(&peer);
    REQUIRE(CRDMA_ERR_PEER ==
            crdma_ucp_attach(&peer, pair_shared->card[1], (size_t)pair_shared->card_length[1]));
    peer.endpoint = NULL;
}

static void run_leave(void)
{
    static uint64_t source[1024];
    static crdma_tx_t tx; /* still pending when this function returns */
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

    REQUIRE(NULL != source && NULL != target);
    expose_to_peer(target, most, &handle);
    barrier();
    fetch_exposed(&there);
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

/* What to run without being told: each order on each setting as far as that can differ. */
static const struct setting {
    const char *text; /* as SETTING above */
    bool all; /* every scenario in the order that the transport chooses; else hunts and bulk */
} settings[] = {
    {"posix,self", true},
    {"sysv,self", true},
    {"sm,self", true},
    {"tcp,self", true},
    {"tcp,sm,self", true},
    {"default", true},
    {"posix,cma,self", false},
    {"tcp,cma,self", false},
    /* the protocols that are not this version's choice */
    {"posix,self PROTO_ENABLE=y", false},
    {"posix,self PROTO_ENABLE=n", false},
    {"tcp,self PROTO_ENABLE=y", false},
    {"tcp,self PROTO_ENABLE=n", false},
    /* several lanes that carry data: the network devices of this machine, however unequal */
    {"tcp,self PROTO_ENABLE=y MAX_EAGER_LANES=4 MAX_RNDV_LANES=4 MAX_RMA_LANES=4 "
     "MULTI_LANE_MAX_RATIO=1000000",
     false},
    {"tcp,self PROTO_ENABLE=n MAX_EAGER_LANES=4 MAX_RNDV_LANES=4 MULTI_LANE_MAX_RATIO=1000000",
     false},
    /* no store without a system call: rings that are always full, messages in many pieces */
    {"tcp,self TCP_TX_SEG_SIZE=1k TCP_RX_SEG_SIZE=2k", false},
    {"posix,self POSIX_FIFO_SIZE=8 POSIX_SEG_SIZE=256", false},
};

enum { NSETTINGS = sizeof(settings) / sizeof(settings[0]) };

/* May the hunt find torn messages? "none" loses order only where payload and flag can take
 * different lanes, and so does the weak fence with UCX's protocols v2. */
static bool may_tear(int order)
{
    return CRDMA_UCP_ORDER_NONE == order || CRDMA_UCP_ORDER_REVERSED == order ||
           (CRDMA_UCP_ORDER_WEAK == order && NULL != strstr(pair_shared->transport, "v2"));
}

/* One row of the report; 0, 1 or PAIR_SKIP. */
static int report(const char *setting, int order, const struct scenario *scenario)
{
    double start = now();
    bool killed = run_kill == scenario->run;
    int aborts = 0, rc;
    long torn;

    do {
        rc = pair_run(setting, (crdma_ucp_order_t)order, killed, scenario->run);
    } while (PAIR_UCX_ABORT == rc && 5 > ++aborts);
    torn = (long)pair_shared->note[0];
    printf("%-8s %-9s %5.1f s  %s", scenario->name, orders[order], now() - start, setting);
    if (0 < aborts) {
        printf(", %d times aborted by UCX (uct_tcp_ep_sendv, see doc/decisions.md)", aborts);
    }
    if (0 == rc && run_hunt == scenario->run) {
        bool broken = CRDMA_UCP_ORDER_REVERSED == order;

        rc = 0 < torn ? !may_tear(order) : broken;
        printf(", %ld of %ld torn%s  [%s]", torn, hunt_puts, 0 == rc && broken ? " (must be)" : "",
               pair_shared->transport);
    }
    printf("%s\n", 0 == rc ? "" : (PAIR_SKIP == rc ? ": skipped" : ": FAILED"));
    fflush(stdout);
    return rc;
}

/* Without being named, forced orders run the hunt only, flush also bulk. */
static bool usual(const struct setting *setting, int order, const struct scenario *scenario)
{
    if (run_hunt == scenario->run) {
        return true;
    }
    if (run_bulk == scenario->run) {
        return CRDMA_UCP_ORDER_AUTO == order || (setting->all && CRDMA_UCP_ORDER_FLUSH == order);
    }
    return setting->all && CRDMA_UCP_ORDER_AUTO == order;
}

int main(int argc, char **argv)
{
    static const struct scenario timing = {"latency", latency};
    const struct setting named = {1 < argc ? argv[1] : NULL, true};
    const struct setting *first = 1 < argc ? &named : settings;
    const char *puts = getenv("CRDMA_TEST_UCP_PUTS");
    int failed = 0, passed = 0;

    if (!pair_prepare()) {
        return PAIR_SKIP;
    }
    hunt_puts = NULL != puts ? atol(puts) : hunt_puts;
    for (const struct setting *s = first; s < first + (1 < argc ? 1 : NSETTINGS); ++s) {
        if (!s->all && NULL == puts) {
            hunt_puts = hunt_puts_rare;
        }
        for (int o = 0; o < NORDERS; ++o) {
            if (2 < argc && 0 != strcmp(argv[2], orders[o])) {
                continue;
            }
            if (3 < argc && 0 == strcmp(argv[3], timing.name)) {
                failed += 0 != report(s->text, o, &timing);
                ++passed;
            }
            for (int i = 0; i < NSCENARIOS; ++i) {
                int rc;

                if (3 < argc ? 0 != strcmp(argv[3], scenarios[i].name)
                             : !usual(s, o, &scenarios[i])) {
                    continue;
                }
                rc = report(s->text, o, &scenarios[i]);
                failed += 0 != rc && PAIR_SKIP != rc;
                passed += 0 == rc;
            }
        }
    }
    pair_cleanup();
    if (0 < failed) {
        fprintf(stderr, "%d failed\n", failed);
        return 1;
    }
    return 0 < passed ? 0 : PAIR_SKIP;
}
