/*
 * setup_cost: what an MPI library and its components cost before the first message, in time and
 * memory. perf/setup starts it, with and without the component.
 *
 *   mpirun -n 2 setup_cost empty            MPI_Init, MPI_Finalize
 *   mpirun -n 2 setup_cost allreduce        the same with one MPI_Allreduce of 8 bytes in between
 *   mpirun -n 2 setup_cost dup COUNT        COUNT times MPI_Comm_dup and a first MPI_Allreduce on
 * it
 *
 * Every rank prints one line (written at once, so that lines of ranks do not mix):
 *
 *   setup,MODE,RANK,INIT_US,FIRST_US,FINALIZE_US,RSS_KB,PSS_KB
 *
 * INIT and FINALIZE are the two calls, FIRST is the first collective (0 in an empty program). RSS
 * and PSS are read just before MPI_Finalize; PSS counts a shared page once for all who map it. Rank
 * 0 of `dup` adds one line, the times of the slowest rank of each communicator:
 *
 *   dup,COUNT,DUP_US,FIRST_US,SUM_US,FIRST_TEN_US,LAST_TEN_US,RSS_KB,PSS_KB,FREE_US
 *
 * DUP, FIRST and their SUM are medians over the communicators, FIRST_TEN and LAST_TEN the medians
 * of SUM over the first and the last ten (does it grow?), RSS and PSS what COUNT communicators
 * added to this rank. All communicators stay in use until the end; FREE is the mean time of an
 * MPI_Comm_free.
 */
#include "perf/timing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <mpi.h>

#define MOST_COMMUNICATORS 100000
#define ENDS               10 /* communicators at either end whose median is shown */

struct memory {
    long rss;
    long pss; /* kB */
};

static struct memory memory_now(void)
{
    struct memory memory = {0, 0};
    char line[256];
    FILE *file = fopen("/proc/self/smaps_rollup", "r");

    while (NULL != file && NULL != fgets(line, sizeof(line), file)) {
        (void)sscanf(line, "Rss: %ld kB", &memory.rss);
        (void)sscanf(line, "Pss: %ld kB", &memory.pss);
    }
    if (NULL != file) {
        fclose(file);
    }
    return memory;
}

static double us_since(int64_t begin)
{
    return 1e-3 * (double)(perf_now() - begin);
}

static double first_allreduce(MPI_Comm comm)
{
    const int64_t begin = perf_now();
    long one = 1, sum = 0;
    int ranks;

    MPI_Allreduce(&one, &sum, 1, MPI_LONG, MPI_SUM, comm);
    MPI_Comm_size(comm, &ranks);
    if (ranks != sum) {
        fprintf(stderr, "setup_cost: MPI_Allreduce gave %ld for %d ranks\n", sum, ranks);
        MPI_Abort(comm, 1);
    }
    return us_since(begin);
}

static double median(const double *values, long n)
{
    double *copy = malloc((size_t)n * sizeof(*copy)), result;

    if (NULL == copy) {
        MPI_Abort(MPI_COMM_WORLD, 1);
        return 0.0;
    }
    memcpy(copy, values, (size_t)n * sizeof(*copy));
    result = perf_median_of(copy, (size_t)n).value;
    free(copy);
    return result;
}

/* times: dup, first collective and their sum of each communicator, one after the other. */
static void report_dup(const double *times, long n, struct memory before, struct memory after,
                       double free_us)
{
    const double *sum = times + 2 * n;
    const long ends = n < ENDS ? n : ENDS;

    printf("dup,%ld,%.1f,%.1f,%.1f,%.1f,%.1f,%ld,%ld,%.1f\n", n, median(times, n),
           median(times + n, n), median(sum, n), median(sum, ends), median(sum + n - ends, ends),
           after.rss - before.rss, after.pss - before.pss, free_us);
}

static void many(long n, int rank)
{
    MPI_Comm *comms = malloc((size_t)n * sizeof(*comms));
    double *times = calloc(3 * (size_t)n, sizeof(*times)), free_us;
    struct memory before, after;
    int64_t begin;

    if (NULL == comms || NULL == times) {
        MPI_Abort(MPI_COMM_WORLD, 1);
        return;
    }
    (void)first_allreduce(MPI_COMM_WORLD); /* what the process pays once is not counted here */
    before = memory_now();
    for (long i = 0; i < n; i++) {
        MPI_Barrier(MPI_COMM_WORLD);
        begin = perf_now();
        MPI_Comm_dup(MPI_COMM_WORLD, &comms[i]);
        times[i] = us_since(begin);
        times[n + i] = first_allreduce(comms[i]);
        times[2 * n + i] = times[i] + times[n + i];
    }
    after = memory_now();
    MPI_Allreduce(MPI_IN_PLACE, times, (int)(3 * n), MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    begin = perf_now();
    for (long i = 0; i < n; i++) {
        MPI_Comm_free(&comms[i]);
    }
    free_us = us_since(begin) / (double)n;
    if (0 == rank) {
        report_dup(times, n, before, after, free_us);
        fflush(stdout);
    }
    free(times);
    free(comms);
}

int main(int argc, char **argv)
{
    const int64_t begin = perf_now();
    const char *mode = argc > 1 ? argv[1] : "";
    const long n = argc > 2 ? strtol(argv[2], NULL, 10) : 0;
    struct memory memory;
    double init_us, first_us = 0.0;
    int64_t ending;
    char line[256];
    int rank, length;

    MPI_Init(&argc, &argv);
    init_us = us_since(begin);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (0 == strcmp(mode, "allreduce")) {
        first_us = first_allreduce(MPI_COMM_WORLD);
    } else if (0 == strcmp(mode, "dup") && n > 0 && n <= MOST_COMMUNICATORS) {
        many(n, rank);
    } else if (0 != strcmp(mode, "empty")) {
        if (0 == rank) {
            fprintf(stderr, "usage: setup_cost empty | allreduce | dup COUNT\n");
        }
        MPI_Finalize();
        return 2;
    }
    memory = memory_now();
    ending = perf_now();
    MPI_Finalize();
    length = snprintf(line, sizeof(line), "setup,%s,%d,%.1f,%.1f,%.1f,%ld,%ld\n", mode, rank,
                      init_us, first_us, us_since(ending), memory.rss, memory.pss);
    return length == write(STDOUT_FILENO, line, (size_t)length) ? 0 : 1;
}
