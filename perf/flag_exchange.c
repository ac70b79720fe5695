/*
 * flag_exchange: what two processes can do at best through shared memory, and how
 * far above it MPI's small collectives are. Run with two ranks on two cores:
 *
 *   mpirun -n 2 --bind-to core flag_exchange
 *
 * Idea. Everything is measured in batches of back-to-back operations, and batches
 * of all kinds take turns many times over, so that they meet the same noise:
 *
 *   lock-step     each rank stores its flag word, then polls the other's: the
 *                 least that an allreduce or a barrier of two ranks can take
 *   one way       flags alternate (ping-pong); half a round trip: the least that
 *                 a broadcast can take
 *   one-shot S    both ranks store S bytes and then their flag, poll, and copy the
 *                 other's bytes out: the least for an exchange of S bytes
 *   allreduce     MPI_Allreduce of one long, sum
 *   barrier       MPI_Barrier
 *   bcast         MPI_Bcast of 8 bytes whose root alternates, so that no rank can
 *                 run ahead: each call costs at least one way
 *
 * "above raw" is the median of allreduce and barrier minus that of lock-step, and
 * of bcast minus that of one way. Times are per operation, of the slower rank.
 *
 * Invariants of the raw part: a rank writes only its own lines, the flag by a
 * release store after the payload, the reader polls with acquire loads. Numbers
 * only grow, so a flag never returns to an earlier value. One-shot alternates
 * between two slots: a rank that has seen flag n + 1 knows that the other has read
 * slot n, so the slot can be written again for n + 2.
 */
#include "perf/timing.h"

#include <getopt.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <mpi.h>

#define APART           256 /* bytes between lines of different writers, beyond prefetch pairs */
#define MOST_SHOT       (64u << 10)
#define WARM_UP_SECONDS 2.0
#define LIMIT_SECONDS   20.0  /* reached only when the two cores are not ours */
#define PATIENCE        20000 /* polls: far beyond any exchange, the other rank is not running */
#define MOST_ROUNDS     100000

/* Flag and payload share a line while they fit, as a protocol would lay them out. */
struct slot {
    _Alignas(APART) _Atomic unsigned long flag;
    unsigned char payload[MOST_SHOT];
};

struct side {
    _Alignas(APART) _Atomic unsigned long flag;
    struct slot slot[2];
};

enum kind { LOCK_STEP, ONE_WAY, ONE_SHOT, ALLREDUCE, BARRIER, BCAST };

struct measure {
    enum kind kind;
    size_t bytes;
    const char *name;
};

static const struct measure measures[] = {
    {LOCK_STEP, 8, "flags, lock-step"},
    {ONE_WAY, 8, "flags, one way"},
    {ALLREDUCE, 8, "MPI_Allreduce"},
    {BARRIER, 0, "MPI_Barrier"},
    {BCAST, 8, "MPI_Bcast"},
    {ONE_SHOT, 8, "one-shot"},
    {ONE_SHOT, 64, "one-shot"},
    {ONE_SHOT, 1024, "one-shot"},
    {ONE_SHOT, 4096, "one-shot"},
    {ONE_SHOT, 16384, "one-shot"},
    {ONE_SHOT, 65536, "one-shot"},
};

#define MEASURES (sizeof(measures) / sizeof(measures[0]))

struct pair {
    struct side *mine;
    struct side *other;
    unsigned long flags; /* last number stored in mine->flag */
    unsigned long shots; /* last number stored in a slot */
    unsigned char *source;
    unsigned char *target;
    int rank;
    long batch;
    bool wrong;
};

static inline void await(_Atomic unsigned long *flag, unsigned long number)
{
    long polls = 0;

    /* pairs with the release store of the other rank's `post` */
    while (atomic_load_explicit(flag, memory_order_acquire) < number) {
        if (++polls > PATIENCE) {
            sched_yield();
        }
    }
}

static inline void post(_Atomic unsigned long *flag, unsigned long number)
{
    /* pairs with the acquire load of the other rank's `await` */
    atomic_store_explicit(flag, number, memory_order_release);
}

static void lock_step(struct pair *p)
{
    for (long i = 0; i < p->batch; i++) {
        post(&p->mine->flag, ++p->flags);
        await(&p->other->flag, p->flags);
    }
}

/* Every operation is one message; even ones go from rank 0 to 1, odd ones back. */
static void one_way(struct pair *p)
{
    for (long i = 0; i < p->batch; i++) {
        p->flags++;
        if (i % 2 == p->rank) {
            post(&p->mine->flag, p->flags);
        } else {
            await(&p->other->flag, p->flags);
        }
    }
}

static void one_shot(struct pair *p, size_t bytes)
{
    for (long i = 0; i < p->batch; i++) {
        unsigned long number = ++p->shots;
        struct slot *to = &p->mine->slot[number % 2], *from = &p->other->slot[number % 2];

        memcpy(to->payload, p->source, bytes);
        post(&to->flag, number);
        await(&from->flag, number);
        memcpy(p->target, from->payload, bytes);
    }
}

/* This rank's time per operation of one batch, ns. */
static double sample(struct pair *p, const struct measure *m)
{
    long one = p->rank + 1, sum = 0;
    int64_t begin;

    memcpy(p->source, &p->shots, sizeof(p->shots));
    MPI_Barrier(MPI_COMM_WORLD);
    lock_step(p);
    begin = perf_now();
    switch (m->kind) {
    case LOCK_STEP:
        lock_step(p);
        break;
    case ONE_WAY:
        one_way(p);
        break;
    case ONE_SHOT:
        one_shot(p, m->bytes);
        break;
    case ALLREDUCE:
        for (long i = 0; i < p->batch; i++) {
            MPI_Allreduce(&one, &sum, 1, MPI_LONG, MPI_SUM, MPI_COMM_WORLD);
        }
        p->wrong |= 3 != sum;
        break;
    case BARRIER:
        for (long i = 0; i < p->batch; i++) {
            MPI_Barrier(MPI_COMM_WORLD);
        }
        break;
    default:
        for (long i = 0; i < p->batch; i++) {
            sum += i % 2 == p->rank;
            MPI_Bcast(&sum, sizeof(sum), MPI_BYTE, (int)(i % 2), MPI_COMM_WORLD);
        }
        /* the ranks count in turn, so the last value has counted every call */
        p->wrong |= p->batch != sum;
        break;
    }
    return (double)(perf_now() - begin) / (double)p->batch;
}

/* Whether rank 0 finds that it has taken long enough; the same answer on both ranks. */
static bool over_time(int64_t begin, double seconds)
{
    int over = (double)(perf_now() - begin) > seconds * 1e9;

    MPI_Bcast(&over, 1, MPI_INT, 0, MPI_COMM_WORLD);
    return over;
}

/*
 * All kinds in turn, forwards and backwards, after a tenth of the rounds to warm
 * up. times[kind * rounds + round] is the slower rank's; returns how many rounds
 * there were, fewer than wanted if other work kept the cores busy.
 */
static long collect(struct pair *p, double *times, long rounds)
{
    int64_t begin = perf_now();
    long done = 0;

    for (long round = -rounds / 10; round < rounds; round++) {
        for (size_t k = 0; k < MEASURES; k++) {
            size_t which = round % 2 ? MEASURES - 1 - k : k;
            double time = sample(p, &measures[which]);

            if (round >= 0) {
                times[which * (size_t)rounds + (size_t)round] = time;
                done = round + 1;
            }
        }
        if (round < 0 && over_time(begin, WARM_UP_SECONDS)) {
            round = -1;
        } else if (round >= 0 && over_time(begin, LIMIT_SECONDS)) {
            break;
        }
    }
    for (size_t k = 0; k < MEASURES; k++) {
        MPI_Allreduce(MPI_IN_PLACE, times + k * (size_t)rounds, (int)done, MPI_DOUBLE, MPI_MAX,
                      MPI_COMM_WORLD);
    }
    return done;
}

/* `times` has room for `rounds` samples of each kind, of which `done` were taken. */
static void report(double *times, long rounds, long done, long batch, bool csv)
{
    double medians[MEASURES];
    size_t n = (size_t)done;

    if (csv) {
        printf("what,bytes,low_ns,median_ns,high_ns,above_raw_ns\n");
    } else {
        printf("# ns per operation, %ld rounds of batches of %ld, slower of two ranks\n", done,
               batch);
        printf("%-18s %8s %10s %10s %10s %12s\n", "what", "bytes", "lowest 5%", "median", "75 %",
               "above raw");
    }
    for (size_t k = 0; k < MEASURES; k++) {
        const struct measure *m = &measures[k];
        double *mine = times + k * (size_t)rounds, raw;
        char above[32] = "-";

        perf_sort(mine, n);
        medians[k] = perf_quantile(mine, n, 0.5);
        raw = BCAST == m->kind ? medians[1] : medians[0];
        if (m->kind >= ALLREDUCE) {
            snprintf(above, sizeof(above), "%.1f", medians[k] - raw);
        }
        printf(csv ? "%s,%zu,%.1f,%.1f,%.1f,%s\n" : "%-18s %8zu %10.1f %10.1f %10.1f %12s\n",
               m->name, m->bytes, perf_quantile(mine, n, 0.05), medians[k],
               perf_quantile(mine, n, 0.75), above);
    }
}

/* Memory that both ranks map; the window is returned to be freed. */
static MPI_Win map(struct pair *p)
{
    MPI_Aint size = sizeof(struct side) + APART;
    void *bases[2];
    MPI_Win window;
    int unit;

    MPI_Win_allocate_shared(size, 1, MPI_INFO_NULL, MPI_COMM_WORLD, &bases[0], &window);
    for (int r = 0; r < 2; r++) {
        uintptr_t at;

        MPI_Win_shared_query(window, r, &size, &unit, &bases[r]);
        /* mappings start at page boundaries on all ranks, so both round up alike */
        at = ((uintptr_t)bases[r] + APART - 1) / APART * APART;
        bases[r] = (void *)at;
    }
    p->mine = bases[p->rank];
    p->other = bases[1 - p->rank];
    memset((void *)p->mine, 0, sizeof(*p->mine));
    MPI_Barrier(MPI_COMM_WORLD);
    return window;
}

int main(int argc, char **argv)
{
    static struct pair pair = {.batch = 100};
    long rounds = 500;
    bool csv = false, usable = true;
    int ranks, letter, status = 0;

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &pair.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    opterr = 0;
    while (-1 != (letter = getopt(argc, argv, "r:b:C"))) {
        switch (letter) {
        case 'r':
            rounds = strtol(optarg, NULL, 10);
            break;
        case 'b':
            pair.batch = strtol(optarg, NULL, 10);
            break;
        case 'C':
            csv = true;
            break;
        default:
            usable = false;
        }
    }
    if (!usable || 2 != ranks || rounds < 10 || rounds > MOST_ROUNDS || pair.batch < 2) {
        if (0 == pair.rank) {
            fprintf(stderr, "usage: mpirun -n 2 --bind-to core flag_exchange [-r ROUNDS] "
                            "[-b BATCH] [-C for comma-separated values]\n");
        }
        status = 2;
    } else {
        double *times = calloc(MEASURES * (size_t)rounds, sizeof(double));
        MPI_Win window = map(&pair);
        long done;

        pair.source = calloc(1, MOST_SHOT);
        pair.target = calloc(1, MOST_SHOT);
        if (NULL == times || NULL == pair.source || NULL == pair.target) {
            MPI_Abort(MPI_COMM_WORLD, 1);
        }
        done = collect(&pair, times, rounds);
        if (0 == pair.rank) {
            report(times, rounds, done, pair.batch, csv);
        }
        if (pair.wrong) {
            fprintf(stderr, "flag_exchange: rank %d: a collective gave a wrong result\n",
                    pair.rank);
            status = 1;
        }
        MPI_Win_free(&window);
        free(pair.source);
        free(pair.target);
        free(times);
    }
    MPI_Finalize();
    return status;
}
