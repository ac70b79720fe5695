/*
 * A rank is killed with SIGKILL in the middle of collectives.
 *
 * Catches: survivors that wait for ever for the dead rank, and what a process that cannot clean
 * up leaves in /dev/shm or /tmp. The runner checks both: that the job ends in time, and that
 * the folders hold the same entries as before.
 *
 * --mode first | last | middle: which rank dies; or start: the last one, before its first
 * collective, while others may already be setting up. It dies after --iterations rounds (200) of
 * calls of several sizes, so that every protocol has been used and calls are under way.
 */
#include "tests/mpi/common.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    static const int counts[] = {1, 100, 3000, 100000};
    double *data = calloc(100000, sizeof(double)), *result = calloc(100000, sizeof(double));
    int victim, rounds;
    const char *mode;

    test_begin(&argc, &argv, "test_kill", MPI_THREAD_SINGLE);
    if (test_size < 2) {
        test_skip("needs a survivor");
    }
    mode = NULL == test_opt.mode ? "last" : test_opt.mode;
    rounds = 0 == strcmp(mode, "start") ? 0 : 0 < test_opt.iterations ? test_opt.iterations : 200;
    victim = 0 == strcmp(mode, "first")    ? 0
             : 0 == strcmp(mode, "middle") ? test_size / 2
                                           : test_size - 1;
    for (int i = 0; i < 1000000; ++i) {
        int count = counts[i % 4];

        if (i == rounds && victim == test_rank) {
            kill(getpid(), SIGKILL);
        }
        test_note("round %d, rank %d dies in round %d", i, victim, rounds);
        MPI_Allreduce(data, result, count, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
        MPI_Bcast(data, count, MPI_DOUBLE, i % test_size, MPI_COMM_WORLD);
        MPI_Reduce(data, result, count, MPI_DOUBLE, MPI_MAX, i % test_size, MPI_COMM_WORLD);
        MPI_Barrier(MPI_COMM_WORLD);
    }
    test_fail("all rounds done although a rank was killed");
}
