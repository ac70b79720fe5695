/*
 * A broken MPI library on purpose: preloaded into a test program, it spoils one thing, and the
 * program must notice. tests/mpi/selftest runs every test program against it.
 *
 * A test that cannot fail is worth nothing. Each mode is a mistake that an implementation of
 * collectives really makes; the wrapper calls the true function through the profiling interface
 * and then (or before) does the damage.
 *
 * Environment: TEST_BREAK=MODE, TEST_BREAK_AFTER=N (calls left alone first, 20).
 * The damage happens on the last rank of MPI_COMM_WORLD where one rank is enough.
 *   - byte: one byte of a result is flipped
 *   - stale: a broadcast leaves the buffer as it was
 *   - overrun: the byte behind a result is overwritten
 *   - input: a byte of the send buffer is overwritten
 *   - gap: the gaps of derived types are zeroed
 *   - root: reduce also writes at ranks that are not the root
 *   - order: the operands of non-commutative operations are combined in reverse
 *   - op: LXOR computes LOR, MINLOC computes MAXLOC
 *   - bit: the lowest bit of one float or double is flipped
 *   - early: barriers return at once
 *   - memory: 512 bytes leak per duplicated communicator
 *   - file: a descriptor leaks per duplicated communicator
 *   - hang: one rank stays in its call
 *   - crash: one rank exits in its call
 *   - delay: random ranks are late; no damage, tests must pass
 */
#include <mpi.h>

#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static atomic_long calls;

static bool mode_is(const char *mode)
{
    const char *set = getenv("TEST_BREAK");

    return NULL != set && 0 == strcmp(set, mode);
}

static bool last_rank(void)
{
    int rank, size;

    PMPI_Comm_rank(MPI_COMM_WORLD, &rank);
    PMPI_Comm_size(MPI_COMM_WORLD, &size);
    return rank == size - 1;
}

static void pause_for(long microseconds)
{
    struct timespec pause = {microseconds / 1000000, microseconds % 1000000 * 1000};

    nanosleep(&pause, NULL);
}

/* Counts a call, does what does not depend on it; true if this call is to be spoiled. */
static bool spoil(void)
{
    const char *after = getenv("TEST_BREAK_AFTER");
    long call = atomic_fetch_add(&calls, 1);

    if (call < (NULL == after ? 20 : atol(after))) {
        return false;
    }
    if (mode_is("hang") && last_rank()) {
        pause_for(1000000000);
    }
    if (mode_is("crash") && last_rank()) {
        _exit(9);
    }
    if (mode_is("delay") && 0 == (call * 7919 + getpid()) % 97) {
        pause_for(2000);
    }
    return true;
}

/* The bytes that a buffer's elements touch. */
static unsigned char *span(void *buffer, int count, MPI_Datatype type, size_t *bytes)
{
    MPI_Aint lb, extent, true_lb, true_extent;
    int size;

    PMPI_Type_size(type, &size);
    PMPI_Type_get_extent(type, &lb, &extent);
    PMPI_Type_get_true_extent(type, &true_lb, &true_extent);
    *bytes = 0 < count && 0 < size ? (size_t)(extent * (count - 1) + true_extent) : 0;
    return (unsigned char *)buffer + true_lb;
}

static void spoil_result(void *buffer, int count, MPI_Datatype type, MPI_Comm comm)
{
    size_t bytes;
    unsigned char *data = span(buffer, count, type, &bytes);

    if (0 == bytes || !last_rank()) {
        return;
    }
    if (mode_is("byte")) {
        data[0] ^= 4;
    } else if (mode_is("overrun")) {
        data[bytes] ^= 1;
    } else if (mode_is("bit") && (MPI_FLOAT == type || MPI_DOUBLE == type)) {
        data[bytes - (MPI_FLOAT == type ? 4 : 8)] ^= 1;
    } else if (mode_is("gap")) {
        int size, position = 0;
        char *packed;

        PMPI_Pack_size(count, type, comm, &size);
        packed = malloc((size_t)size);
        PMPI_Pack(buffer, count, type, packed, size, &position, comm);
        memset(data, 0, bytes);
        size = position;
        position = 0;
        PMPI_Unpack(packed, size, &position, buffer, count, type, comm);
        free(packed);
    }
}

static void spoil_input(const void *buffer, int count, MPI_Datatype type)
{
    size_t bytes;
    unsigned char *data;

    if (MPI_IN_PLACE != buffer && mode_is("input") && last_rank()) {
        data = span((void *)buffer, count, type, &bytes);
        if (0 < bytes) {
            data[bytes - 1] ^= 1;
        }
    }
}

static MPI_Op spoil_op(MPI_Op op, bool now)
{
    if (now && mode_is("op")) {
        op = MPI_LXOR == op ? MPI_LOR : MPI_MINLOC == op ? MPI_MAXLOC : op;
    }
    return op;
}

int MPI_Bcast(void *buffer, int count, MPI_Datatype type, int root, MPI_Comm comm)
{
    bool now = spoil();
    size_t bytes;
    unsigned char *data = span(buffer, count, type, &bytes), *old = NULL;
    int rank, rc;

    PMPI_Comm_rank(comm, &rank);
    if (now && mode_is("stale") && rank != root && 0 < bytes) {
        old = malloc(bytes);
        memcpy(old, data, bytes);
    }
    rc = PMPI_Bcast(buffer, count, type, root, comm);
    if (NULL != old) {
        memcpy(data, old, bytes);
        free(old);
    }
    if (now && rank != root) {
        spoil_result(buffer, count, type, comm);
    }
    return rc;
}

/* The same ranks in reverse, or MPI_COMM_NULL if the mode or the operation do not ask for it. */
static MPI_Comm reversed(bool now, MPI_Op op, MPI_Comm comm)
{
    MPI_Comm other = MPI_COMM_NULL;
    int commutes, rank;

    PMPI_Op_commutative(op, &commutes);
    if (now && mode_is("order") && !commutes) {
        PMPI_Comm_rank(comm, &rank);
        PMPI_Comm_split(comm, 0, -rank, &other);
    }
    return other;
}

int MPI_Reduce(const void *send, void *recv, int count, MPI_Datatype type, MPI_Op op, int root,
               MPI_Comm comm)
{
    bool now = spoil();
    MPI_Comm other = reversed(now, op, comm);
    int rank, size, rc;

    PMPI_Comm_rank(comm, &rank);
    PMPI_Comm_size(comm, &size);
    if (MPI_COMM_NULL != other) {
        rc = PMPI_Reduce(send, recv, count, type, op, size - 1 - root, other);
        PMPI_Comm_free(&other);
        return rc;
    }
    if (now && mode_is("root") && MPI_IN_PLACE != send && 1 < size && NULL != recv) {
        size_t bytes;
        unsigned char *data = span(recv, count, type, &bytes);

        rc = PMPI_Reduce(send, recv, count, type, op, root, comm);
        if (rank != root && 0 < bytes) {
            data[0] ^= 1; /* a result that nobody asked for */
        }
        return rc;
    }
    rc = PMPI_Reduce(send, recv, count, type, spoil_op(op, now), root, comm);
    if (now) {
        spoil_input(send, count, type);
        if (rank == root) {
            spoil_result(recv, count, type, comm);
        }
    }
    return rc;
}

int MPI_Allreduce(const void *send, void *recv, int count, MPI_Datatype type, MPI_Op op,
                  MPI_Comm comm)
{
    bool now = spoil();
    MPI_Comm other = reversed(now, op, comm);
    int rc;

    if (MPI_COMM_NULL != other) {
        rc = PMPI_Allreduce(send, recv, count, type, op, other);
        PMPI_Comm_free(&other);
        return rc;
    }
    rc = PMPI_Allreduce(send, recv, count, type, spoil_op(op, now), comm);
    if (now) {
        spoil_input(send, count, type);
        spoil_result(recv, count, type, comm);
    }
    return rc;
}

int MPI_Barrier(MPI_Comm comm)
{
    return spoil() && mode_is("early") ? MPI_SUCCESS : PMPI_Barrier(comm);
}

int MPI_Comm_dup(MPI_Comm comm, MPI_Comm *copy)
{
    if (spoil()) {
        if (mode_is("memory")) {
            memset(malloc(512), 1, 512);
        }
        if (mode_is("file") && 0 > open("/dev/null", O_RDONLY)) {
            abort();
        }
    }
    return PMPI_Comm_dup(comm, copy);
}
