/*
 * late_call: calls one collective so that the rank of interest never waits inside, for counting
 * instructions (perf/instructions starts it under callgrind). Two ranks:
 *
 *   mpirun -n 2 late_call COLLECTIVE CALLS BYTES
 *
 * Idea. Instructions of a polling loop count the other rank's slowness. Here the rank of interest
 * comes late on purpose: its partner has sent long before, so every poll succeeds at once.
 * Rank 1 is late (root 0; of a reduce rank 0, the root). Only calls inside `counted` are to be
 * collected (callgrind: --toggle-collect=counted); the first ones, which set up plans, are outside.
 */
#include "perf/collective.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WARM_UP    40
#define LATE_NS    10000000 /* a few times what the partner may wait for its processor */
#define MOST_BYTES 65536

/* Not static and not inlined: callgrind knows it by name. */
void counted(const struct perf_call *call);

__attribute__((noinline)) void counted(const struct perf_call *call)
{
    perf_call_run(call, 0, MPI_COMM_WORLD);
}

static void sleep_late(void)
{
    const struct timespec late = {0, LATE_NS};

    nanosleep(&late, NULL);
}

int main(int argc, char **argv)
{
    static unsigned char in[MOST_BYTES], out[MOST_BYTES];
    enum perf_collective collective;
    const long calls = argc > 3 ? strtol(argv[2], NULL, 10) : 0;
    const long bytes = argc > 3 ? strtol(argv[3], NULL, 10) : -1;
    int rank, ranks, late, status = 0;

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    if (calls < 1 || bytes < 0 || bytes > MOST_BYTES || 2 != ranks ||
        !perf_collective_find(argv[1], &collective)) {
        if (0 == rank) {
            fprintf(stderr, "usage: mpirun -n 2 late_call COLLECTIVE CALLS BYTES (up to %d)\n",
                    MOST_BYTES);
        }
        status = 2;
    } else {
        const struct perf_call call = {.collective = collective,
                                       .in = in,
                                       .out = out,
                                       .count = (int)(bytes / (long)sizeof(double)),
                                       .type = MPI_DOUBLE,
                                       .op = MPI_SUM};

        late = PERF_REDUCE == collective ? 0 : 1;
        for (long i = 0; i < WARM_UP; i++) {
            perf_call_run(&call, 0, MPI_COMM_WORLD);
        }
        for (long i = 0; i < calls; i++) {
            if (rank == late) {
                sleep_late();
                counted(&call);
            } else {
                perf_call_run(&call, 0, MPI_COMM_WORLD);
            }
            /* a broadcast's root and the leaves of a reduce must not run ahead */
            MPI_Barrier(MPI_COMM_WORLD);
        }
    }
    MPI_Finalize();
    return status;
}
