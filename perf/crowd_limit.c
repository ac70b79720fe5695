/*
 * crowd_limit: what ranks that share processors can do at best, and how far above it MPI's small
 * collectives are. Run with more ranks than processors:
 *
 *   mpirun -n 16 --map-by slot:OVERSUBSCRIBE --bind-to none crowd_limit [-r ROUNDS]
 *
 * Idea. Such a call costs as many hand-overs of a processor as ranks must run one after the other, so the
 * limit is what the least synchronisation costs if every rank yields at every poll:
 *
 *   counter    one atomic counter, the last arrival stores a word that all poll: the least that a barrier
 *              or an allreduce can take
 *   line       the root stores a line, all others poll it; the root moves with every operation: the least
 *              that a broadcast can take. A ring of lines lets it run ahead.
 *
 * Batches of all kinds take turns. Per kind: us per operation, of the slowest rank, median and lowest 5 %; and
 * how often a rank gave up its processor per operation, mean over ranks and rounds (getrusage: a yield that
 * switches counts as involuntary).
 *
 * Invariant: a line is written again only after as many counter operations or broadcasts as the ring has lines,
 * the end of a batch included, by when everybody has passed a barrier: a batch is no longer than the ring.
 */
#include "perf/timing.h"

#include <getopt.h>
#include <mpi.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#define BATCH  64 /* operations, and lines */
#define ROUNDS 100

struct line {
    _Alignas(64) _Atomic unsigned long number;
};

struct shared {
    struct line counter, release, ring[BATCH];
};

enum kind { COUNTER, LINE, BARRIER, ALLREDUCE, BCAST, KINDS };

static const char *const names[KINDS] = {"counter", "line", "MPI_Barrier", "MPI_Allreduce of 8 B",
                                         "MPI_Bcast of 8 B"};

static void wait_for(const struct line *line, unsigned long number)
{
    while (atomic_load_explicit(&line->number, memory_order_acquire) < number) {
        sched_yield();
    }
}

/* The n-th operation of its kind in all, from 1. */
static void run(enum kind kind, struct shared *s, unsigned long n, int rank, int ranks)
{
    const int root = (int)(n % (unsigned long)ranks);
    struct line *line = &s->ring[n % BATCH];
    long in = 1, out = 0;

    switch (kind) {
    case COUNTER:
        if (n * (unsigned long)ranks == 1 + atomic_fetch_add(&s->counter.number, 1)) {
            atomic_store_explicit(&s->release.number, n, memory_order_release);
        } else {
            wait_for(&s->release, n);
        }
        break;
    case LINE:
        if (rank == root) {
            atomic_store_explicit(&line->number, n, memory_order_release);
        } else {
            wait_for(line, n);
        }
        break;
    case BARRIER:
        MPI_Barrier(MPI_COMM_WORLD);
        break;
    case ALLREDUCE:
        MPI_Allreduce(&in, &out, 1, MPI_LONG, MPI_SUM, MPI_COMM_WORLD);
        break;
    default:
        MPI_Bcast(&out, 1, MPI_LONG, root, MPI_COMM_WORLD);
        break;
    }
}

static long switches(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_nvcsw + usage.ru_nivcsw;
}

int main(int argc, char **argv)
{
    long rounds = ROUNDS;
    double *times, mean[KINDS], given[KINDS] = {0};
    struct shared *s;
    MPI_Win window;
    MPI_Aint size;
    int rank, ranks, unit, letter;

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    while (-1 != (letter = getopt(argc, argv, "r:"))) {
        rounds = 'r' == letter ? strtol(optarg, NULL, 10) : 0;
        if (rounds < 1 || rounds > 100000) {
            fprintf(stderr, "usage: crowd_limit [-r ROUNDS]\n");
            MPI_Abort(MPI_COMM_WORLD, 2);
        }
    }
    times = malloc((size_t)(KINDS * rounds) * sizeof(*times));
    MPI_Win_allocate_shared(0 == rank ? sizeof(*s) : 0, 1, MPI_INFO_NULL, MPI_COMM_WORLD, &s,
                            &window);
    MPI_Win_shared_query(window, 0, &size, &unit, &s);
    if (NULL == times || NULL == s) {
        MPI_Abort(MPI_COMM_WORLD, 1);
        return 1;
    }
    if (0 == rank) {
        *s = (struct shared){0};
    }
    MPI_Barrier(MPI_COMM_WORLD);
    for (long round = -1; round < rounds; round++) { /* the first warms up */
        for (int kind = 0; kind < KINDS; kind++) {
            unsigned long n = (unsigned long)(round + 1) * BATCH;
            long before;
            int64_t begin;

            MPI_Barrier(MPI_COMM_WORLD);
            before = switches();
            begin = perf_now();
            for (int i = 0; i < BATCH; i++) {
                run(kind, s, ++n, rank, ranks);
            }
            if (round >= 0) {
                times[kind * rounds + round] = 1e-3 * (double)(perf_now() - begin) / BATCH;
                given[kind] += (double)(switches() - before) / (double)(BATCH * rounds);
            }
        }
    }
    MPI_Allreduce(MPI_IN_PLACE, times, (int)(KINDS * rounds), MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    MPI_Reduce(given, mean, KINDS, MPI_DOUBLE, MPI_SUM, 0, MPI_COMM_WORLD);
    if (0 == rank) {
        printf("%d ranks, us per operation, median (lowest 5 %%), switches per rank\n", ranks);
    }
    for (int kind = 0; 0 == rank && kind < KINDS; kind++) {
        double *of = times + kind * rounds;

        perf_sort(of, (size_t)rounds);
        printf("%-22s %8.2f (%.2f) %8.2f\n", names[kind], perf_quantile(of, (size_t)rounds, 0.5),
               perf_quantile(of, (size_t)rounds, 0.05), mean[kind] / ranks);
    }
    free(times);
    MPI_Win_free(&window);
    MPI_Finalize();
    return 0;
}
