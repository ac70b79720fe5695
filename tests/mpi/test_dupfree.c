/*
 * 10,000 times: duplicate a communicator, use it, free it. Memory and file descriptors stay flat.
 *
 * Catches: memory, file descriptors, shared-memory mappings or threads that a communicator leaves
 * behind when it is freed, used or never used, and a slab that only grows.
 *
 * After a warm-up of a tenth of the iterations the resident set (/proc/self/statm), the number of
 * open descriptors (/proc/self/fd), of mappings (/proc/self/maps) and of entries in /dev/shm
 * are noted, and compared at the end. Allowed growth: 256 KiB + 16 bytes per iteration, which
 * fragmentation may take and a leaked communicator cannot hide in; no descriptors; 16 mappings.
 */
#include "tests/mpi/common.h"

#include <dirent.h>
#include <stdio.h>
#include <unistd.h>

typedef struct usage {
    long resident; /* bytes */
    long descriptors, mappings, shm_entries;
} usage_t;

static long entries(const char *folder)
{
    DIR *dir = opendir(folder);
    long found = 0;

    while (NULL != dir && NULL != readdir(dir)) {
        ++found;
    }
    if (NULL != dir) {
        closedir(dir);
    }
    return found;
}

static usage_t measure(void)
{
    usage_t usage = {0};
    FILE *file = fopen("/proc/self/statm", "r");
    int c;

    if (NULL == file || 1 != fscanf(file, "%*d %ld", &usage.resident)) {
        test_fail("cannot read /proc/self/statm");
    }
    fclose(file);
    usage.resident *= sysconf(_SC_PAGESIZE);
    file = fopen("/proc/self/maps", "r");
    while (NULL != file && EOF != (c = fgetc(file))) {
        usage.mappings += '\n' == c;
    }
    if (NULL != file) {
        fclose(file);
    }
    usage.descriptors = entries("/proc/self/fd");
    usage.shm_entries = entries("/dev/shm");
    return usage;
}

static void one_round(int i)
{
    MPI_Comm comm;
    long value[64], sum[64];

    test_note("MPI_Comm_dup number %d", i);
    MPI_Comm_dup(MPI_COMM_WORLD, &comm);
    for (int k = 0; k < 64; ++k) {
        value[k] = (long)i * 100 + test_rank + k;
    }
    switch (i % 5) {
    case 0:
        test_note("MPI_Allreduce on dup number %d", i);
        MPI_Allreduce(value, sum, 64, MPI_LONG, MPI_MAX, comm);
        break;
    case 1:
        test_note("MPI_Bcast on dup number %d", i);
        for (int k = 0; k < 64; ++k) {
            sum[k] = value[k];
        }
        MPI_Bcast(sum, 64, MPI_LONG, test_size - 1, comm);
        break;
    case 2:
        test_note("MPI_Barrier on dup number %d", i);
        MPI_Barrier(comm);
        break;
    case 3: /* together an allreduce, as two calls */
        test_note("MPI_Reduce and MPI_Bcast on dup number %d", i);
        MPI_Reduce(value, sum, 64, MPI_LONG, MPI_MAX, 0, comm);
        MPI_Bcast(sum, 64, MPI_LONG, 0, comm);
        break;
    default: /* never used */
        break;
    }
    for (int k = 0; k < 64 && (0 == i % 5 || 1 == i % 5 || 3 == i % 5); ++k) {
        long expected = (long)i * 100 + test_size - 1 + k;

        if (expected != sum[k]) {
            test_fail("index %d: expected %ld, got %ld", k, expected, sum[k]);
        }
    }
    test_passed();
    MPI_Comm_free(&comm);
}

int main(int argc, char **argv)
{
    usage_t before = {0}, after;
    int iterations;
    long allowed;

    test_begin(&argc, &argv, "test_dupfree", MPI_THREAD_SINGLE);
    iterations = 0 < test_opt.iterations ? test_opt.iterations : test_opt.quick ? 2000 : 10000;
    for (int i = 0; i < iterations; ++i) {
        if (i == iterations / 10) {
            MPI_Barrier(MPI_COMM_WORLD);
            before = measure();
        }
        one_round(i);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    after = measure();
    MPI_Barrier(MPI_COMM_WORLD); /* nobody removes its files before all have counted */
    test_note("%d communicators made and freed", iterations);
    allowed = (256L << 10) + 16L * iterations;
    if (after.resident - before.resident > allowed) {
        test_fail("resident memory grew from %ld to %ld bytes, %ld bytes per communicator",
                  before.resident, after.resident,
                  (after.resident - before.resident) / (iterations - iterations / 10));
    }
    if (after.descriptors > before.descriptors) {
        test_fail("open descriptors grew from %ld to %ld", before.descriptors, after.descriptors);
    }
    if (after.mappings > before.mappings + 16) {
        test_fail("memory mappings grew from %ld to %ld", before.mappings, after.mappings);
    }
    if (after.shm_entries > before.shm_entries + 16) { /* other jobs may come and go */
        test_fail("entries of /dev/shm grew from %ld to %ld", before.shm_entries,
                  after.shm_entries);
    }
    if (0 == test_rank) {
        printf("test_dupfree: resident %+ld bytes, descriptors %+ld, mappings %+ld\n",
               after.resident - before.resident, after.descriptors - before.descriptors,
               after.mappings - before.mappings);
    }
    return test_end();
}
