/*
 * Broadcast, reduce, allreduce and barrier over the whole range of sizes, from every root.
 *
 * Catches: wrong data at any size (around each power of two up to 4 MB and at odd sizes,
 * where protocols and segment counts change), stale data of an earlier call, a shifted or
 * swapped segment, a wrong root, writes outside the buffer, writes into the input, trouble with
 * unaligned buffers, a result written at a rank that is not the root, and a barrier that
 * lets a rank through before the last one came.
 *
 * The data of a rank are a pattern of 251 elements (a prime, so that no block boundary agrees
 * with it) that is new for every call; the result is the reduction of the patterns.
 */
#include "tests/mpi/common.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PERIOD 251
#define MOST   ((size_t)4 << 20)

/* One element type with its operation, both exact: the sum of doubles adds small integers. */
typedef struct element {
    const char *name;
    MPI_Datatype type;
    MPI_Op op;
    const char *op_name;
    size_t bytes;
} element_t;

typedef struct world {
    MPI_Comm comm;
    int rank, size;
    uint64_t call;
    test_buffer_t input, output;
    bool one_host;
} world_t;

static void make_pattern(const element_t *element, uint64_t call, int rank, void *pattern)
{
    for (int i = 0; i < PERIOD; ++i) {
        uint64_t hash = test_hash(test_opt.seed, call, (uint64_t)rank, (uint64_t)i);

        if (1 == element->bytes) {
            ((uint8_t *)pattern)[i] = (uint8_t)hash;
        } else if (4 == element->bytes) {
            ((uint32_t *)pattern)[i] = (uint32_t)hash;
        } else {
            ((double *)pattern)[i] = (double)(hash % 100003) - 50000.0;
        }
    }
}

static void make_result(const element_t *element, uint64_t call, int size, void *result)
{
    double pattern[PERIOD];

    make_pattern(element, call, 0, result);
    for (int rank = 1; rank < size; ++rank) {
        make_pattern(element, call, rank, pattern);
        for (int i = 0; i < PERIOD; ++i) {
            if (1 == element->bytes) {
                ((uint8_t *)result)[i] ^= ((uint8_t *)pattern)[i];
            } else if (4 == element->bytes) {
                ((uint32_t *)result)[i] += ((uint32_t *)pattern)[i];
            } else {
                ((double *)result)[i] += pattern[i];
            }
        }
    }
}

static void compare(const element_t *element, const test_buffer_t *buffer, const void *pattern,
                    const char *what)
{
    size_t at = test_pattern_find(buffer->data, buffer->bytes, pattern, PERIOD * element->bytes);

    if (TEST_NOWHERE != at) {
        size_t index = at / element->bytes;
        uint64_t expected = 0, got = 0;

        memcpy(&expected, (const char *)pattern + index % PERIOD * element->bytes, element->bytes);
        memcpy(&got, buffer->data + index * element->bytes, element->bytes);
        test_fail("%s: index %zu of %zu: expected bits 0x%llx, got 0x%llx", what, index,
                  buffer->bytes / element->bytes, (unsigned long long)expected,
                  (unsigned long long)got);
    }
    test_buffer_check(buffer, what);
    test_passed();
}

/* An offset that leaves the element naturally aligned, and nothing more, most of the time. */
static size_t offset_of(const element_t *element, uint64_t call, int salt)
{
    return test_hash(test_opt.seed, call, (uint64_t)salt, (uint64_t)test_rank) % 8 * element->bytes;
}

static void try_bcast(world_t *world, const element_t *element, size_t bytes, int root)
{
    double pattern[PERIOD];
    uint64_t call = ++world->call;

    make_pattern(element, call, root, pattern);
    test_buffer_place(&world->output, bytes, offset_of(element, call, 0));
    if (world->rank == root) {
        test_pattern_fill(world->output.data, bytes, pattern, PERIOD * element->bytes);
    } else {
        memset(world->output.data, 0xee, bytes);
    }
    test_note("MPI_Bcast(%zu x %s, root %d)", bytes / element->bytes, element->name, root);
    MPI_Bcast(world->output.data, (int)(bytes / element->bytes), element->type, root, world->comm);
    compare(element, &world->output, pattern, world->rank == root ? "root's buffer" : "buffer");
}

/* root < 0: allreduce */
static void try_reduce(world_t *world, const element_t *element, size_t bytes, int root,
                       bool in_place)
{
    double mine[PERIOD], result[PERIOD];
    uint64_t call = ++world->call;
    int count = (int)(bytes / element->bytes);
    bool gets = root < 0 || root == world->rank;

    in_place = in_place && gets;
    make_pattern(element, call, world->rank, mine);
    make_result(element, call, world->size, result);
    test_buffer_place(&world->input, bytes, offset_of(element, call, 1));
    test_buffer_place(&world->output, bytes, offset_of(element, call, 2));
    test_pattern_fill(world->input.data, bytes, mine, PERIOD * element->bytes);
    if (in_place) {
        test_pattern_fill(world->output.data, bytes, mine, PERIOD * element->bytes);
    } else {
        memset(world->output.data, 0xee, bytes);
    }
    if (root < 0) {
        test_note("MPI_Allreduce(%d x %s, %s)%s", count, element->name, element->op_name,
                  in_place ? " in place" : "");
        MPI_Allreduce(in_place ? MPI_IN_PLACE : world->input.data, world->output.data, count,
                      element->type, element->op, world->comm);
    } else {
        bool null = !gets && 0 == call % 2; /* elsewhere the receive buffer means nothing */

        test_note("MPI_Reduce(%d x %s, %s, root %d)%s", count, element->name, element->op_name,
                  root, in_place ? " in place" : "");
        MPI_Reduce(in_place ? MPI_IN_PLACE : world->input.data, null ? NULL : world->output.data,
                   count, element->type, element->op, root, world->comm);
    }
    compare(element, &world->input, mine, "input buffer");
    if (gets) {
        compare(element, &world->output, result, "result");
    } else if (TEST_NOWHERE != test_byte_find(world->output.data, bytes, 0xee)) {
        test_fail("receive buffer written at a rank that is not the root, byte %zu",
                  test_byte_find(world->output.data, bytes, 0xee));
    }
}

/* MPI_Wtime may count from another origin in each process. */
static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* On one host all ranks read the same clock: nobody may leave before everybody came. */
static void try_barrier(world_t *world, int late)
{
    double came, left, *all = malloc(sizeof(double) * (size_t)world->size);

    if (world->rank == late) {
        test_delay(3000);
    }
    test_note("MPI_Barrier, rank %d is late", late);
    came = seconds();
    MPI_Barrier(world->comm);
    left = seconds();
    MPI_Allgather(&came, 1, MPI_DOUBLE, all, 1, MPI_DOUBLE, world->comm);
    for (int r = 0; r < world->size && world->one_host; ++r) {
        if (left < all[r]) {
            test_fail("left %.1f us before rank %d came", 1e6 * (all[r] - left), r);
        }
    }
    test_passed();
    free(all);
}

static void try_size(world_t *world, size_t bytes)
{
    const element_t elements[] = {
        {"MPI_UINT8_T", MPI_UINT8_T, MPI_BXOR, "MPI_BXOR", 1},
        {"MPI_UINT32_T", MPI_UINT32_T, MPI_SUM, "MPI_SUM", 4},
        {"MPI_DOUBLE", MPI_DOUBLE, MPI_SUM, "MPI_SUM", 8},
    };
    bool small = bytes <= (test_opt.quick ? 256 : 4200);
    int roots = small ? world->size : world->size < 2 ? world->size : 2;

    for (int i = 0; i < roots; ++i) {
        int root =
            (int)((size_t)(small ? i : i * (world->size / 2) + (int)(bytes % 3))) % world->size;

        try_bcast(world, &elements[0], bytes, root);
        for (int e = 0; e < 3; ++e) {
            if (0 == bytes % elements[e].bytes && (small || 0 == (bytes + (size_t)e) % 2)) {
                try_bcast(world, &elements[e], bytes, root);
                try_reduce(world, &elements[e], bytes, root, 0 != (i + e) % 2);
            }
        }
    }
    for (int e = 0; e < 3; ++e) {
        if (0 == bytes % elements[e].bytes) {
            try_reduce(world, &elements[e], bytes, -1, false);
            try_reduce(world, &elements[e], bytes, -1, true);
        }
    }
}

int main(int argc, char **argv)
{
    static const size_t odd[] = {1000, 3073, 5121, 12345, 100003, 300000, 1000001, 3000000};
    world_t world = {.comm = MPI_COMM_WORLD};
    MPI_Comm host;
    int local;
    size_t most;

    test_begin(&argc, &argv, "test_basic", MPI_THREAD_SINGLE);
    world.rank = test_rank;
    world.size = test_size;
    world.input = test_buffer_new(MOST, 0);
    world.output = test_buffer_new(MOST, 0);
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &host);
    MPI_Comm_size(host, &local);
    world.one_host = local == test_size;
    MPI_Comm_free(&host);

    most = test_opt.quick ? (size_t)256 << 10 : MOST;
    try_size(&world, 0);
    for (size_t power = 1; power <= most; power *= 2) {
        size_t near[] = {power - 1, power, power + 1};

        for (int i = 0; i < 3; ++i) {
            if (0 < near[i] && near[i] <= most && (3 < power || 1 == i)) {
                try_size(&world, near[i]);
            }
        }
        try_barrier(&world, (int)(world.call % (uint64_t)world.size));
    }
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); ++i) {
        if (odd[i] <= most) {
            try_size(&world, odd[i]);
        }
    }
    test_buffer_free(&world.input);
    test_buffer_free(&world.output);
    return test_end();
}
