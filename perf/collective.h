/*
 * Which collective, element type and reduction a tool measures, and the one
 * place that calls it.
 *
 * Idea: a measured call is a small struct prepared outside of the timed region;
 * running it is one switch. Nothing here knows coll/rdma: the tools work with
 * any MPI library.
 */
#ifndef PERF_COLLECTIVE_H
#define PERF_COLLECTIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <mpi.h>

enum perf_collective {
    PERF_BCAST,
    PERF_REDUCE,
    PERF_ALLREDUCE,
    PERF_BARRIER,
    PERF_COLLECTIVES /* how many */
};

enum perf_kind { PERF_BYTES, PERF_SIGNED, PERF_UNSIGNED, PERF_FLOATING };

struct perf_type {
    const char *name;
    enum perf_kind kind; /* PERF_BYTES cannot be reduced */
    size_t size;         /* bytes of one element */
};

enum perf_op_id {
    PERF_SUM,
    PERF_PROD,
    PERF_MIN,
    PERF_MAX,
    PERF_LAND,
    PERF_LOR,
    PERF_LXOR,
    PERF_BAND,
    PERF_BOR,
    PERF_BXOR
};

struct perf_op {
    const char *name;
    enum perf_op_id id;
    bool integers_only;
};

/* One call, ready to run. Broadcast uses `out` only, barrier neither buffer. */
struct perf_call {
    enum perf_collective collective;
    const void *in;
    void *out;
    int count;
    MPI_Datatype type;
    MPI_Op op;
};

/* Lower-case name for the command line and tables. */
const char *perf_collective_name(enum perf_collective collective);

/* Name in the title line: "Broadcast", "Allreduce", ... */
const char *perf_collective_title(enum perf_collective collective);

/* Whether `name` (bcast, reduce, allreduce, barrier) exists; sets *collective. */
bool perf_collective_find(const char *name, enum perf_collective *collective);

/* Whether the collective combines values (reduce, allreduce). */
bool perf_collective_reduces(enum perf_collective collective);

/* Whether the collective has a root (bcast, reduce). */
bool perf_collective_rooted(enum perf_collective collective);

/* What turns bytes/time into the bus bandwidth of nccl-tests. */
double perf_collective_bus_factor(enum perf_collective collective, int ranks);

/* NULL when there is no such name. */
const struct perf_type *perf_type_find(const char *name);
const struct perf_op *perf_op_find(const char *name);

MPI_Datatype perf_type_mpi(const struct perf_type *type);
MPI_Op perf_op_mpi(const struct perf_op *op);

/* char for a broadcast, float for a reduction. */
const struct perf_type *perf_type_default(enum perf_collective collective);

/* Whether MPI allows this type for this collective and reduction. */
bool perf_type_allowed(enum perf_collective collective, const struct perf_type *type,
                       const struct perf_op *op);

/* Whether all ranks of `comm` are on one host, whose clock they share. Collective. */
bool perf_one_host(MPI_Comm comm);

/*
 * Whether a barrier held: no rank left before the last one had entered. `entered`
 * and `left` are this rank's instants (ns, perf_now) on one host. Collective.
 */
bool perf_barrier_held(int64_t entered, int64_t left, MPI_Comm comm);

static inline void perf_call_run(const struct perf_call *call, int root, MPI_Comm comm)
{
    switch (call->collective) {
    case PERF_BCAST:
        MPI_Bcast(call->out, call->count, call->type, root, comm);
        break;
    case PERF_REDUCE:
        MPI_Reduce(call->in, call->out, call->count, call->type, call->op, root, comm);
        break;
    case PERF_ALLREDUCE:
        MPI_Allreduce(call->in, call->out, call->count, call->type, call->op, comm);
        break;
    default:
        MPI_Barrier(comm);
        break;
    }
}

#endif
