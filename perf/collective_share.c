/*
 * collective_share: preloaded into an MPI program, tells how long it ran and what part of it lay in
 * collectives.
 *
 * Idea: MPI's profiling interface. Each wrapper adds up calls and time; MPI_Finalize prints means
 * over the ranks, on standard error of rank 0, one line each:
 *
 *   share,total,RANKS,SECONDS                 MPI_Init to MPI_Finalize, the slowest rank
 *   share,COLLECTIVE,CALLS,SECONDS            calls and seconds per rank
 *
 * Fortran programs reach the C functions by their profiling names in Open MPI, so the Fortran
 * symbols are wrapped too; they pass all arguments on by address. Not thread safe in its sums,
 * which is enough for funneled programs.
 */
#include <mpi.h>
#include <stdio.h>
#include <time.h>

enum { ALLREDUCE, BCAST, REDUCE, BARRIER, ALLTOALL, ALLTOALLV, ALLGATHER, KINDS };

static const char *const names[KINDS] = {"allreduce", "bcast",     "reduce",   "barrier",
                                         "alltoall",  "alltoallv", "allgather"};
static double seconds[KINDS], begun;
static double calls[KINDS];

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int add(int kind, double since, int status)
{
    seconds[kind] += now() - since;
    calls[kind] += 1.0;
    return status;
}

int MPI_Allreduce(const void *in, void *out, int count, MPI_Datatype type, MPI_Op op, MPI_Comm comm)
{
    double since = now();

    return add(ALLREDUCE, since, PMPI_Allreduce(in, out, count, type, op, comm));
}

int MPI_Bcast(void *buffer, int count, MPI_Datatype type, int root, MPI_Comm comm)
{
    double since = now();

    return add(BCAST, since, PMPI_Bcast(buffer, count, type, root, comm));
}

int MPI_Reduce(const void *in, void *out, int count, MPI_Datatype type, MPI_Op op, int root,
               MPI_Comm comm)
{
    double since = now();

    return add(REDUCE, since, PMPI_Reduce(in, out, count, type, op, root, comm));
}

int MPI_Barrier(MPI_Comm comm)
{
    double since = now();

    return add(BARRIER, since, PMPI_Barrier(comm));
}

int MPI_Alltoall(const void *in, int count, MPI_Datatype type, void *out, int out_count,
                 MPI_Datatype out_type, MPI_Comm comm)
{
    double since = now();

    return add(ALLTOALL, since, PMPI_Alltoall(in, count, type, out, out_count, out_type, comm));
}

int MPI_Alltoallv(const void *in, const int counts[], const int at[], MPI_Datatype type, void *out,
                  const int out_counts[], const int out_at[], MPI_Datatype out_type, MPI_Comm comm)
{
    double since = now();

    return add(ALLTOALLV, since,
               PMPI_Alltoallv(in, counts, at, type, out, out_counts, out_at, out_type, comm));
}

int MPI_Allgather(const void *in, int count, MPI_Datatype type, void *out, int out_count,
                  MPI_Datatype out_type, MPI_Comm comm)
{
    double since = now();

    return add(ALLGATHER, since, PMPI_Allgather(in, count, type, out, out_count, out_type, comm));
}

/* What Fortran calls: the last argument is the status. */
#define FORTRAN(kind, name, parameters, arguments)                                                 \
    void pmpi_##name##_ parameters;                                                                \
    void mpi_##name##_ parameters;                                                                 \
    void mpi_##name##_ parameters                                                                  \
    {                                                                                              \
        double since = now();                                                                      \
                                                                                                   \
        pmpi_##name##_ arguments;                                                                  \
        (void)add(kind, since, 0);                                                                 \
    }

#pragma weak pmpi_allreduce_
#pragma weak pmpi_bcast_
#pragma weak pmpi_reduce_
#pragma weak pmpi_barrier_
#pragma weak pmpi_alltoall_
#pragma weak pmpi_alltoallv_
#pragma weak pmpi_allgather_
#pragma weak pmpi_init_
#pragma weak pmpi_init_thread_
#pragma weak pmpi_finalize_

FORTRAN(ALLREDUCE, allreduce, (void *a, void *b, void *c, void *d, void *e, void *f, void *g),
        (a, b, c, d, e, f, g))
FORTRAN(BCAST, bcast, (void *a, void *b, void *c, void *d, void *e, void *f), (a, b, c, d, e, f))
FORTRAN(REDUCE, reduce, (void *a, void *b, void *c, void *d, void *e, void *f, void *g, void *h),
        (a, b, c, d, e, f, g, h))
FORTRAN(BARRIER, barrier, (void *a, void *b), (a, b))
FORTRAN(ALLTOALL, alltoall,
        (void *a, void *b, void *c, void *d, void *e, void *f, void *g, void *h),
        (a, b, c, d, e, f, g, h))
FORTRAN(ALLTOALLV, alltoallv,
        (void *a, void *b, void *c, void *d, void *e, void *f, void *g, void *h, void *i, void *j),
        (a, b, c, d, e, f, g, h, i, j))
FORTRAN(ALLGATHER, allgather,
        (void *a, void *b, void *c, void *d, void *e, void *f, void *g, void *h),
        (a, b, c, d, e, f, g, h))

int MPI_Init(int *argc, char ***argv)
{
    int status = PMPI_Init(argc, argv);

    begun = now();
    return status;
}

int MPI_Init_thread(int *argc, char ***argv, int wanted, int *given)
{
    int status = PMPI_Init_thread(argc, argv, wanted, given);

    begun = now();
    return status;
}

static void print(void)
{
    double total = now() - begun, sums[2 * KINDS], slowest = 0.0;
    int rank, ranks;

    PMPI_Comm_rank(MPI_COMM_WORLD, &rank);
    PMPI_Comm_size(MPI_COMM_WORLD, &ranks);
    for (int k = 0; k < KINDS; k++) {
        sums[k] = calls[k] / ranks;
        sums[KINDS + k] = seconds[k] / ranks;
    }
    PMPI_Allreduce(MPI_IN_PLACE, sums, 2 * KINDS, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    PMPI_Allreduce(&total, &slowest, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    if (0 != rank) {
        return;
    }
    fprintf(stderr, "share,total,%d,%.6f\n", ranks, slowest);
    for (int k = 0; k < KINDS; k++) {
        if (sums[k] > 0.0) {
            fprintf(stderr, "share,%s,%.0f,%.6f\n", names[k], sums[k], sums[KINDS + k]);
        }
    }
    fflush(stderr);
}

int MPI_Finalize(void)
{
    print();
    return PMPI_Finalize();
}

void mpi_init_(int *status);
void mpi_init_thread_(int *wanted, int *given, int *status);
void mpi_finalize_(int *status);
void pmpi_init_(int *status);
void pmpi_init_thread_(int *wanted, int *given, int *status);
void pmpi_finalize_(int *status);

void mpi_init_(int *status)
{
    pmpi_init_(status);
    begun = now();
}

void mpi_init_thread_(int *wanted, int *given, int *status)
{
    pmpi_init_thread_(wanted, given, status);
    begun = now();
}

void mpi_finalize_(int *status)
{
    print();
    pmpi_finalize_(status);
}
