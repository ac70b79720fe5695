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
#include <stdlib.h>
#include <string.h>

#include "tests/unit/put_scenarios.h"
#include "tests/unit/ucp_pair.h"

static const long hunt_puts_rare = 4000;

/* ---- bulk ---------------------------------------------------------------------------------- */

static void bulk_many(void)
{
    enum { MANY = 4000, STRIDE = 2048 };
    static uint64_t source[MANY], back[MANY];
    crdma_tx_t tx = {0};

    for (uint64_t i = 0; i < MANY; ++i) {
        source[i] = pattern(77, i);
        REQUIRE(CRDMA_OK == tested->put(&peer, &source[i], area + i * STRIDE, 8, &tx));
    }
    finish(&tx);
    barrier(); /* puts and messages of one peer keep their order, so the reads below come after */
    for (uint64_t i = 0; i < MANY; ++i) {
        REQUIRE(CRDMA_OK == tested->get(&peer, &back[i], area + i * STRIDE, 8, &tx));
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

/* ---- what ends --------------------------------------------------------------------------------
 */

static void run_many_threads(void)
{
    run_threads(2000);
}

static void run_kill(void)
{
    run_killed(200, 10);
}

static void run_leave(void)
{
    static uint64_t source[1024];
    static crdma_tx_t tx; /* still pending when this function returns */
    uint64_t seq = 1;

    REQUIRE(CRDMA_OK == tested->put_flagged(&peer, source, ring, 8192, &seq, flags, &tx));
    finish(&tx);
    while (seq != read_word(flags)) {
        poll_once();
    }
    barrier();
    if (0 == me) {
        usleep(300000);
        for (; seq < 100; ++seq) { /* towards a process that has closed or ended */
            if (CRDMA_OK != tested->put_flagged(&peer, source, ring, 4096, &seq, flags, &tx)) {
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
                 {"threads", run_many_threads},
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
            REQUIRE(CRDMA_OK == (NULL == there ? tested->put_flagged(&peer, source, ring, size,
                                                                     &seq, flags, &tx)
                                               : tested->put_user_flagged(&peer, source, there, 0,
                                                                          size, &seq, flags, &tx)));
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
    tested->conceal(handle);
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
           (CRDMA_UCP_ORDER_WEAK == order && NULL != strstr(ranks_shared->transport, "v2"));
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
    torn = (long)ranks_shared->note[0];
    printf("%-8s %-9s %5.1f s  %s", scenario->name, orders[order], now() - start, setting);
    if (0 < aborts) {
        printf(", %d times aborted by UCX (uct_tcp_ep_sendv, see doc/decisions.md)", aborts);
    }
    if (0 == rc && run_hunt == scenario->run) {
        bool broken = CRDMA_UCP_ORDER_REVERSED == order;

        rc = 0 < torn ? !may_tear(order) : broken;
        printf(", %ld of %ld torn%s  [%s]", torn, hunt_puts, 0 == rc && broken ? " (must be)" : "",
               ranks_shared->transport);
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
    hunt_puts = NULL != puts ? atol(puts) : 20000;
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
