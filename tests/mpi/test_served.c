/*
 * A few calls of each kind: the runner reads from the trace how they were served.
 *
 * Catches: tests that pass because the component declined and another one did the work. With
 * coll_rdma_verbose=2 every rank prints one line per call and rank, with the algorithm, degree,
 * protocol and transport; the runner compares these lines with what it forced by parameters.
 *
 * Sizes: 8 B, 1 KiB, 64 KiB and 1 MiB of doubles, --iterations rounds (1). Rank 0 prints the
 * number of calls that each rank made on MPI_COMM_WORLD, so that the runner knows how many
 * lines to expect. The results are checked too.
 */
#include "tests/mpi/common.h"

#include <stdio.h>
#include <stdlib.h>

#define MOST 131072

int main(int argc, char **argv)
{
    static const int counts[] = {1, 128, 8192, MOST};
    double *data = malloc(sizeof(double) * MOST), *result = malloc(sizeof(double) * MOST);
    int calls = 0, rounds;

    test_begin(&argc, &argv, "test_served", MPI_THREAD_SINGLE);
    rounds = 0 < test_opt.iterations ? test_opt.iterations : 1;
    for (int round = 0; round < rounds; ++round) {
        for (int c = 0; c < 4; ++c) {
            int count = counts[c], root = (round + c) % test_size;
            double sum = test_size * (test_size + 1) / 2.0;

            for (int i = 0; i < count; ++i) {
                data[i] = (test_rank + 1) * (double)(i % 1000 + c);
                result[i] = -1;
            }
            test_note("MPI_Allreduce(%d x MPI_DOUBLE, MPI_SUM)", count);
            MPI_Allreduce(data, result, count, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
            for (int i = 0; i < count; ++i) {
                if (result[i] != sum * (i % 1000 + c)) {
                    test_fail("index %d: expected %g, got %g", i, sum * (i % 1000 + c), result[i]);
                }
            }
            test_note("MPI_Reduce(%d x MPI_DOUBLE, MPI_MAX, root %d)", count, root);
            MPI_Reduce(data, result, count, MPI_DOUBLE, MPI_MAX, root, MPI_COMM_WORLD);
            for (int i = 0; i < count && test_rank == root; ++i) {
                if (result[i] != test_size * (double)(i % 1000 + c)) {
                    test_fail("index %d: expected %g, got %g", i,
                              test_size * (double)(i % 1000 + c), result[i]);
                }
            }
            test_note("MPI_Bcast(%d x MPI_DOUBLE, root %d)", count, root);
            MPI_Bcast(data, count, MPI_DOUBLE, root, MPI_COMM_WORLD);
            for (int i = 0; i < count; ++i) {
                if (data[i] != (root + 1) * (double)(i % 1000 + c)) {
                    test_fail("index %d: expected %g, got %g", i,
                              (root + 1) * (double)(i % 1000 + c), data[i]);
                }
            }
            test_note("MPI_Barrier");
            MPI_Barrier(MPI_COMM_WORLD);
            calls += 4;
            test_passed();
        }
    }
    if (0 == test_rank) {
        printf("test_served: %d calls on each of %d ranks\n", calls, test_size);
    }
    free(data);
    free(result);
    return test_end();
}
