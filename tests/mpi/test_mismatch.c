/*
 * Ranks that disagree about a call: an error that names ranks and calls, never a hang.
 *
 * Catches: a mismatch of root, operation, size or kind of collective, or a call that one rank
 * leaves out, that ends in a hang, in silence or in a crash. Only meaningful where the component
 * serves the calls: MPI itself leaves erroneous programs undefined, and stock modules hang.
 *
 * --mode root | op | size | coll | missing, each with `-fatal` appended or not. Rank 1 (of at
 * least 2) is the one that disagrees, in a call on a duplicate of MPI_COMM_WORLD, after some
 * correct calls. A rank may see the mismatch in that very call or, where a broadcast let it run
 * ahead, in one of the barriers that follow.
 *   - With MPI_ERRORS_RETURN the ranks then report over another communicator, one that declined
 *     the component: at least one rank must have an MPI error, every rank must have come back.
 *   - With -fatal the default error handler aborts the job: the program prints how it was
 *     called and must not reach its end (the runner looks for the component's message).
 */
#include "tests/mpi/common.h"

#include <stdio.h>
#include <string.h>

#define COUNT  40
#define REPORT 77 /* tag */

static int disagreeing_call(const char *mode, MPI_Comm comm)
{
    static double data[2 * COUNT], result[2 * COUNT];
    bool odd = 1 == test_rank;
    int other = odd ? 1 : 0;

    if (0 == strcmp(mode, "root")) {
        test_note("MPI_Bcast(%d x MPI_DOUBLE, root %d), rank 1 has root 1", COUNT, other);
        return MPI_Bcast(data, COUNT, MPI_DOUBLE, other, comm);
    }
    if (0 == strcmp(mode, "op")) {
        test_note("MPI_Allreduce(%d x MPI_DOUBLE), rank 1 has MPI_MAX, others MPI_SUM", COUNT);
        return MPI_Allreduce(data, result, COUNT, MPI_DOUBLE, odd ? MPI_MAX : MPI_SUM, comm);
    }
    if (0 == strcmp(mode, "size")) {
        int count = odd ? 2 * COUNT : COUNT;

        test_note("MPI_Allreduce(%d x MPI_DOUBLE), rank 1 has %d", count, 2 * COUNT);
        return MPI_Allreduce(data, result, count, MPI_DOUBLE, MPI_SUM, comm);
    }
    if (0 == strcmp(mode, "coll")) {
        test_note("rank 1 calls MPI_Allreduce, others MPI_Bcast, both %d x MPI_DOUBLE", COUNT);
        if (odd) {
            return MPI_Allreduce(data, result, COUNT, MPI_DOUBLE, MPI_SUM, comm);
        }
        return MPI_Bcast(data, COUNT, MPI_DOUBLE, 0, comm);
    }
    test_note("rank 1 leaves out an MPI_Allreduce of %d x MPI_DOUBLE", COUNT);
    return odd ? MPI_SUCCESS : MPI_Allreduce(data, result, COUNT, MPI_DOUBLE, MPI_SUM, comm);
}

/* The correct calls before: plans exist, sequence numbers are past the first. */
static void warm_up(MPI_Comm comm)
{
    double data[COUNT] = {0}, result[COUNT];

    for (int i = 0; i < 5; ++i) {
        test_note("correct calls, round %d", i);
        test_success(MPI_Allreduce(data, result, COUNT, MPI_DOUBLE, MPI_SUM, comm),
                     "MPI_Allreduce");
        test_success(MPI_Bcast(data, COUNT, MPI_DOUBLE, i % test_size, comm), "MPI_Bcast");
        test_success(MPI_Barrier(comm), "MPI_Barrier");
    }
}

/* Every rank tells rank 0, outside the component, whether it saw an error. */
static void report(int error, MPI_Comm aside)
{
    int seen = MPI_SUCCESS != error, total = seen;
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;

    if (seen) {
        MPI_Error_string(error, text, &length);
        printf("test_mismatch: rank %d got: %s\n", test_rank, text);
        fflush(stdout);
    }
    test_note("the report of all ranks (some rank did not come back from its call)");
    if (0 != test_rank) {
        MPI_Send(&seen, 1, MPI_INT, 0, REPORT, aside);
        return;
    }
    for (int rank = 1; rank < test_size; ++rank) {
        int theirs;

        MPI_Recv(&theirs, 1, MPI_INT, rank, REPORT, aside, MPI_STATUS_IGNORE);
        total += theirs;
    }
    printf("test_mismatch: %d of %d ranks got an error\n", total, test_size);
    if (0 == total) {
        test_note("mismatch");
        test_fail("no rank got an MPI error");
    }
    test_passed();
}

int main(int argc, char **argv)
{
    static const char *modes[] = {"root", "op", "size", "coll", "missing"};
    char mode[32] = "root";
    char *suffix;
    bool fatal, known = false;
    MPI_Comm victim, aside;
    MPI_Info info;
    int error;

    test_opt.limit = 30;
    test_begin(&argc, &argv, "test_mismatch", MPI_THREAD_SINGLE);
    if (test_size < 2) {
        test_skip("needs two ranks that can disagree");
    }
    snprintf(mode, sizeof(mode), "%s", NULL == test_opt.mode ? "root" : test_opt.mode);
    suffix = strstr(mode, "-fatal");
    fatal = NULL != suffix;
    if (fatal) {
        *suffix = '\0';
    }
    for (size_t m = 0; m < sizeof(modes) / sizeof(modes[0]); ++m) {
        known = known || 0 == strcmp(mode, modes[m]);
    }
    if (!known) {
        test_fail("unknown mode %s", mode);
    }

    MPI_Info_create(&info);
    MPI_Info_set(info, "coll_rdma", "false");
    MPI_Comm_dup_with_info(MPI_COMM_WORLD, info, &aside);
    MPI_Info_free(&info);
    MPI_Comm_dup(MPI_COMM_WORLD, &victim);
    if (!fatal) {
        MPI_Comm_set_errhandler(victim, MPI_ERRORS_RETURN);
    }
    warm_up(victim);
    error = disagreeing_call(mode, victim);
    for (int i = 0; i < 3 && MPI_SUCCESS == error; ++i) {
        test_note("MPI_Barrier number %d after the mismatch", i + 1);
        error = MPI_Barrier(victim);
    }
    if (fatal) {
        test_note("mode %s-fatal", mode);
        /* A rank that comes here waits for the job to be aborted by the others. */
        for (int i = 0; i < 200; ++i) {
            int flag;

            MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, aside, &flag, MPI_STATUS_IGNORE);
            test_delay(50000);
        }
        test_fail("no rank aborted the job");
    }
    report(error, aside);
    return test_end();
}
