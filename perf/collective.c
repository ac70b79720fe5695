/*
 * Tables of the collectives, element types and reductions that the tools know.
 * Adding one is adding a row (and, for a type or an op, its MPI handle).
 */
#include "perf/collective.h"

#include <string.h>

static const struct {
    const char *name;
    const char *title;
    bool reduces;
    bool rooted;
} collectives[PERF_COLLECTIVES] = {
    [PERF_BCAST] = {"bcast", "Broadcast", false, true},
    [PERF_REDUCE] = {"reduce", "Reduce", true, true},
    [PERF_ALLREDUCE] = {"allreduce", "Allreduce", true, false},
    [PERF_BARRIER] = {"barrier", "Barrier", false, false},
};

static const struct perf_type types[] = {
    {"char", PERF_BYTES, 1},
    {"byte", PERF_BYTES, 1},
    {"int8", PERF_SIGNED, 1},
    {"uint8", PERF_UNSIGNED, 1},
    {"int16", PERF_SIGNED, 2},
    {"uint16", PERF_UNSIGNED, 2},
    {"int", PERF_SIGNED, sizeof(int)},
    {"unsigned", PERF_UNSIGNED, sizeof(unsigned)},
    {"long", PERF_SIGNED, sizeof(long)},
    {"uint64", PERF_UNSIGNED, 8},
    {"float", PERF_FLOATING, sizeof(float)},
    {"double", PERF_FLOATING, sizeof(double)},
};

static const struct perf_op ops[] = {
    {"sum", PERF_SUM, false},  {"prod", PERF_PROD, false}, {"min", PERF_MIN, false},
    {"max", PERF_MAX, false},  {"land", PERF_LAND, true},  {"lor", PERF_LOR, true},
    {"lxor", PERF_LXOR, true}, {"band", PERF_BAND, true},  {"bor", PERF_BOR, true},
    {"bxor", PERF_BXOR, true},
};

const char *perf_collective_name(enum perf_collective collective)
{
    return collectives[collective].name;
}

const char *perf_collective_title(enum perf_collective collective)
{
    return collectives[collective].title;
}

bool perf_collective_find(const char *name, enum perf_collective *collective)
{
    for (int i = 0; i < PERF_COLLECTIVES; i++) {
        if (0 == strcmp(name, collectives[i].name)) {
            *collective = (enum perf_collective)i;
            return true;
        }
    }
    return false;
}

bool perf_collective_reduces(enum perf_collective collective)
{
    return collectives[collective].reduces;
}

bool perf_collective_rooted(enum perf_collective collective)
{
    return collectives[collective].rooted;
}

double perf_collective_bus_factor(enum perf_collective collective, int ranks)
{
    return PERF_ALLREDUCE == collective ? 2.0 * (ranks - 1) / ranks : 1.0;
}

const struct perf_type *perf_type_find(const char *name)
{
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (0 == strcmp(name, types[i].name)) {
            return &types[i];
        }
    }
    return NULL;
}

const struct perf_op *perf_op_find(const char *name)
{
    for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
        if (0 == strcmp(name, ops[i].name)) {
            return &ops[i];
        }
    }
    return NULL;
}

MPI_Datatype perf_type_mpi(const struct perf_type *type)
{
    const MPI_Datatype handles[] = {
        MPI_CHAR, MPI_BYTE,     MPI_SIGNED_CHAR, MPI_UNSIGNED_CHAR, MPI_SHORT, MPI_UNSIGNED_SHORT,
        MPI_INT,  MPI_UNSIGNED, MPI_LONG,        MPI_UINT64_T,      MPI_FLOAT, MPI_DOUBLE,
    };

    return handles[type - types];
}

MPI_Op perf_op_mpi(const struct perf_op *op)
{
    const MPI_Op handles[] = {
        MPI_SUM, MPI_PROD, MPI_MIN,  MPI_MAX, MPI_LAND,
        MPI_LOR, MPI_LXOR, MPI_BAND, MPI_BOR, MPI_BXOR,
    };

    return handles[op - ops];
}

const struct perf_type *perf_type_default(enum perf_collective collective)
{
    return perf_type_find(perf_collective_reduces(collective) ? "float" : "char");
}

bool perf_type_allowed(enum perf_collective collective, const struct perf_type *type,
                       const struct perf_op *op)
{
    if (!perf_collective_reduces(collective)) {
        return true;
    }
    return PERF_BYTES != type->kind && !(op->integers_only && PERF_FLOATING == type->kind);
}

bool perf_one_host(MPI_Comm comm)
{
    MPI_Comm host;
    int here, all, everyone;

    MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &host);
    MPI_Comm_size(host, &here);
    MPI_Comm_size(comm, &all);
    MPI_Comm_free(&host);
    here = here == all;
    MPI_Allreduce(&here, &everyone, 1, MPI_INT, MPI_LAND, comm);
    return everyone;
}

bool perf_barrier_held(int64_t entered, int64_t left, MPI_Comm comm)
{
    int64_t last;

    MPI_Allreduce(&entered, &last, 1, MPI_INT64_T, MPI_MAX, comm);
    return left >= last;
}
