/*
 * MPI_THREAD_MULTIPLE: several threads, each with collectives on a communicator of its own.
 *
 * Catches: process-wide state (slab, plans, progress, statistics, the pending-error slot) touched
 * without protection, a lock held while waiting for another rank (threads of two ranks then wait
 * for each other in a circle), progress that serves only the thread that entered it.
 *
 * Threads of one rank run at different speeds, and their order differs between ranks: thread t of
 * one rank may be far ahead of thread t of another. Concurrent collectives on one communicator
 * would be erroneous, so every thread has its own; it also duplicates and frees one now and then.
 */
#include "tests/mpi/common.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define THREADS 4
#define MOST    20000

static int iterations;
static MPI_Comm comms[THREADS];

static long input_value(int thread, int i, int rank, int index)
{
    return (long)(test_hash(test_opt.seed, (uint64_t)(thread * 1000000 + i), (uint64_t)rank,
                            (uint64_t)index % 101) >>
                  8);
}

static void one_call(int thread, int i, MPI_Comm comm, long *data, long *result)
{
    uint64_t choice = test_hash(test_opt.seed, (uint64_t)thread, (uint64_t)i, 1);
    int count = (int)(choice % MOST >> choice / 65536 % 15) + 1;
    int root = (int)(choice >> 40) % test_size;
    int action = (int)(choice >> 50) % 4;

    for (int k = 0; k < count; ++k) {
        data[k] = input_value(thread, i, test_rank, k);
        result[k] = test_rank == root && 0 == action ? data[k] : -1;
    }
    test_note("thread %d, call %d: %s of %d x MPI_LONG, root %d", thread, i,
              0 == action   ? "bcast"
              : 1 == action ? "reduce"
              : 2 == action ? "allreduce"
                            : "barrier",
              count, root);
    if (0 == action) {
        MPI_Bcast(result, count, MPI_LONG, root, comm);
    } else if (1 == action) {
        MPI_Reduce(data, result, count, MPI_LONG, MPI_BXOR, root, comm);
    } else if (2 == action) {
        MPI_Allreduce(data, result, count, MPI_LONG, MPI_BXOR, comm);
    } else {
        MPI_Barrier(comm);
    }
    for (int k = 0; k < count && (0 == action || 2 == action || (1 == action && test_rank == root));
         ++k) {
        long expected = 0;

        for (int rank = 0; rank < test_size; ++rank) {
            if (0 != action || rank == root) {
                expected ^= input_value(thread, i, rank, k);
            }
        }
        if (expected != result[k]) {
            test_fail("index %d: expected %ld, got %ld", k, expected, result[k]);
        }
    }
    test_passed();
}

static void *work(void *argument)
{
    int thread = (int)(intptr_t)argument;
    long *data = malloc(sizeof(long) * (MOST + 1)), *result = malloc(sizeof(long) * (MOST + 1));

    for (int i = 0; i < iterations; ++i) {
        if (0 == test_hash(test_opt.seed, (uint64_t)thread, (uint64_t)i, 10 + (uint64_t)test_rank) %
                     50) {
            test_delay(500);
        }
        one_call(thread, i, comms[thread], data, result);
        if (0 == i % 40) {
            MPI_Comm mine;

            test_note("thread %d, call %d: MPI_Comm_dup", thread, i);
            MPI_Comm_dup(comms[thread], &mine);
            one_call(thread, i + 500000, mine, data, result);
            MPI_Comm_free(&mine);
        }
    }
    free(data);
    free(result);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[THREADS];
    int provided = test_begin(&argc, &argv, "test_threads", MPI_THREAD_MULTIPLE);

    if (provided < MPI_THREAD_MULTIPLE) {
        test_skip("this MPI library provides thread level %d, not MPI_THREAD_MULTIPLE", provided);
    }
    iterations = 0 < test_opt.iterations ? test_opt.iterations : test_opt.quick ? 60 : 300;
    for (int t = 0; t < THREADS; ++t) {
        MPI_Comm_dup(MPI_COMM_WORLD, &comms[t]);
    }
    for (int t = 0; t < THREADS; ++t) {
        int thread = (t + test_rank) % THREADS; /* not started in the same order everywhere */

        if (0 != pthread_create(&threads[thread], NULL, work, (void *)(intptr_t)thread)) {
            test_fail("pthread_create failed");
        }
    }
    test_note("the threads' end");
    for (int t = 0; t < THREADS; ++t) {
        pthread_join(threads[t], NULL);
    }
    for (int t = 0; t < THREADS; ++t) {
        MPI_Comm_free(&comms[t]);
    }
    return test_end();
}
