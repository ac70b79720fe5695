/*
 * More than 2 GiB in one call.
 *
 * Catches: byte counts, offsets and segment numbers kept in 32 bits. The count stays below 2^31
 * elements (MPI's int), the bytes do not: 2^29 + 12345 ints, and a broadcast of few elements
 * of a large derived type.
 *
 * Needs about 5 GiB per rank; the runner skips it where memory is short. The data are a
 * pattern whose length is a prime, so that data from 4 GiB (2^32) further or nearer differ.
 */
#include "tests/mpi/common.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COUNT  (((size_t)1 << 29) + 12345)
#define PERIOD 1021

static void make_pattern(uint64_t call, int rank, uint32_t *pattern)
{
    for (int i = 0; i < PERIOD; ++i) {
        pattern[i] = (uint32_t)test_hash(test_opt.seed, call, (uint64_t)rank, (uint64_t)i);
    }
}

static void compare(const uint32_t *data, size_t count, const uint32_t *pattern)
{
    size_t at = test_pattern_find(data, 4 * count, pattern, 4 * PERIOD);

    if (TEST_NOWHERE != at) {
        at /= 4;
        test_fail("index %zu: expected 0x%x, got 0x%x", at, pattern[at % PERIOD], data[at]);
    }
    test_passed();
}

/* Rank 0 looks at this host's free memory for all ranks on it. */
static void skip_without_memory(void)
{
    long kib = 0, need = 5L * 1024 * 1024 * test_size;
    char line[128];
    FILE *file = fopen("/proc/meminfo", "r");

    while (NULL != file && NULL != fgets(line, sizeof(line), file)) {
        sscanf(line, "MemAvailable: %ld", &kib);
    }
    if (NULL != file) {
        fclose(file);
    }
    MPI_Bcast(&kib, 1, MPI_LONG, 0, MPI_COMM_WORLD);
    if (kib < need) {
        test_skip("needs %ld MiB of memory, %ld are available", need / 1024, kib / 1024);
    }
}

int main(int argc, char **argv)
{
    static uint32_t mine[PERIOD], other[PERIOD], result[PERIOD];
    uint32_t *data, *out;
    MPI_Datatype block;
    int root;

    test_begin(&argc, &argv, "test_big", MPI_THREAD_SINGLE);
    skip_without_memory();
    root = test_size - 1;
    data = malloc(4 * COUNT);
    out = malloc(4 * COUNT);
    if (NULL == data || NULL == out) {
        test_fail("out of memory");
    }

    make_pattern(1, root, other);
    if (test_rank == root) {
        test_pattern_fill(data, 4 * COUNT, other, sizeof(other));
    } else {
        memset(data, 0xee, 4 * COUNT);
    }
    test_note("MPI_Bcast(%zu x MPI_UINT32_T, root %d)", COUNT, root);
    MPI_Bcast(data, (int)COUNT, MPI_UINT32_T, root, MPI_COMM_WORLD);
    compare(data, COUNT, other);

    make_pattern(2, test_rank, mine);
    make_pattern(2, 0, result);
    for (int rank = 1; rank < test_size; ++rank) {
        make_pattern(2, rank, other);
        for (int i = 0; i < PERIOD; ++i) {
            result[i] += other[i];
        }
    }
    test_pattern_fill(data, 4 * COUNT, mine, sizeof(mine));
    memset(out, 0xee, 4 * COUNT);
    test_note("MPI_Allreduce(%zu x MPI_UINT32_T, MPI_SUM)", COUNT);
    MPI_Allreduce(data, out, (int)COUNT, MPI_UINT32_T, MPI_SUM, MPI_COMM_WORLD);
    compare(data, COUNT, mine);
    compare(out, COUNT, result);

    test_note("MPI_Reduce(%zu x MPI_UINT32_T, MPI_SUM, root 0)", COUNT);
    memset(out, 0xee, 4 * COUNT);
    MPI_Reduce(data, out, (int)COUNT, MPI_UINT32_T, MPI_SUM, 0, MPI_COMM_WORLD);
    if (0 == test_rank) {
        compare(out, COUNT, result);
    }

    /* 64 elements of 32 MiB + 4 bytes: the count is small, the bytes are not. */
    MPI_Type_contiguous((8 << 20) + 1, MPI_UINT32_T, &block);
    MPI_Type_commit(&block);
    make_pattern(3, 0, other);
    if (0 == test_rank) {
        test_pattern_fill(data, 4 * COUNT, other, sizeof(other));
    } else {
        memset(data, 0xee, 4 * COUNT);
    }
    test_note("MPI_Bcast(64 x 32 MiB + 4, root 0)");
    MPI_Bcast(data, 64, block, 0, MPI_COMM_WORLD);
    compare(data, 64 * (((size_t)8 << 20) + 1), other);
    MPI_Type_free(&block);
    free(data);
    free(out);
    return test_end();
}
