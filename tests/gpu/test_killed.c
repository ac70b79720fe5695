/*
 * A rank is killed while calls on GPU memory are under way: on a GPU or on its stand-in
 * (tests/fakecuda).
 *
 * Catches: survivors that wait for ever, for the dead rank or for work of their GPU that reads its
 * memory; a survivor that gets no error, or none in its later calls; memory that cannot be used or
 * freed any more afterwards. What is left in /dev/shm is the runner's to check (tests/gpu/run).
 *
 * Modes:
 *   waiting   (default) the last rank dies between two calls: the others are, or soon will be,
 *             waiting for it
 *   flight    it dies at some moment of its calls, with copies and kernels under way in its GPU,
 *             and others reading its memory
 *   first     as flight, but rank 0
 *
 * The runner lets the survivors live (mpirun --enable-recovery): they must find out by themselves.
 * Each prints a line when it got its error.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/gpu/buffers.h"
#include "tests/mpi/common.h"

enum { COUNT = 300000, ROUNDS = 100000, BEFORE = 6 };

static void *die_later(void *argument)
{
    const long us = *(const long *)argument;
    struct timespec pause = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};

    nanosleep(&pause, NULL);
    kill(getpid(), SIGKILL);
    return NULL;
}

/* One round of calls; the first error. */
static int calls(MPI_Comm comm, const gpu_buffer_t *in, const gpu_buffer_t *out, int round)
{
    int rc = MPI_Allreduce(in->data, out->data, COUNT, MPI_INT, MPI_SUM, comm);

    if (MPI_SUCCESS == rc) {
        rc = MPI_Bcast(in->data, COUNT, MPI_INT, round % test_size, comm);
    }
    if (MPI_SUCCESS == rc) {
        rc = MPI_Reduce(in->data, out->data, COUNT, MPI_INT, MPI_MAX, round % test_size, comm);
    }
    return rc;
}

int main(int argc, char **argv)
{
    const char *mode, *reason;
    bool flight;
    int victim, rc = MPI_SUCCESS, one = 1;
    gpu_buffer_t in, out;
    pthread_t thread;
    MPI_Comm comm;
    long us;

    test_begin(&argc, &argv, "test_killed", MPI_THREAD_SINGLE);
    mode = NULL == test_opt.mode ? "waiting" : test_opt.mode;
    flight = 0 != strcmp(mode, "waiting");
    victim = 0 == strcmp(mode, "first") ? 0 : test_size - 1;
    if (test_size < 2) {
        test_skip("needs a survivor");
    }
    reason = gpu_open(0);
    if (NULL != reason) {
        test_skip("%s", reason);
    }
    in = gpu_buffer_new(GPU_DEVICE, COUNT * sizeof(int), 0);
    out = gpu_buffer_new(GPU_DEVICE, COUNT * sizeof(int), 0);
    MPI_Comm_dup(MPI_COMM_WORLD, &comm);
    MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
    for (int round = 0; MPI_SUCCESS == rc && round < ROUNDS; ++round) {
        test_note("round %d, rank %d dies in or after round %d", round, victim, BEFORE);
        if (BEFORE == round && victim == test_rank) {
            us = flight ? (long)(test_hash(test_opt.seed, 1, 2, 3) % 100000) : 0;
            if (!flight) {
                kill(getpid(), SIGKILL);
            }
            if (0 != pthread_create(&thread, NULL, die_later, &us)) {
                test_fail("no thread");
            }
        }
        rc = calls(comm, &in, &out, round);
    }
    if (MPI_SUCCESS == rc) {
        test_fail("all rounds done although a rank was killed");
    }
    test_note("a call after the error");
    if (MPI_SUCCESS == MPI_Allreduce(&one, &one, 1, MPI_INT, MPI_SUM, comm)) {
        test_fail("no error in a later call");
    }
    if (gpu_is_emulated() && NULL == getenv("FAKECUDA_IPC")) {
        /* On a GPU the dead rank's memory may take the context along (doc/gpu.md). */
        gpu_copy(in.data, out.data, COUNT * sizeof(int));
        gpu_buffer_free(&in);
        gpu_buffer_free(&out);
    }
    printf("test_killed: survivor %d of %d got its error\n", test_rank, test_size);
    fflush(stdout);
    _exit(0); /* MPI_Finalize would wait for the dead rank */
}
