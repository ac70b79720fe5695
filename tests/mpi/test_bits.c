/*
 * Identical bits: floating-point sums of badly conditioned data.
 *
 * Catches: ranks that combine in different orders (a result that is "only" differently rounded on
 * one rank makes distributed programs diverge), a choice of order that depends on arrival or on the
 * buffer's alignment, and any lost or doubled contribution, which the error bound reveals.
 *
 * The summands span 40 binary orders of magnitude with alternating signs, so nearly every
 * change of order changes the last bits. Every call runs several times into other buffers with
 * other alignments on each rank; the digests of all results are compared through MPI_Allgather. The
 * sum is compared with one in long double within the bound for recursive summation.
 */
#include "tests/mpi/common.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PERIOD 8191 /* elements until the data repeat */

typedef struct number {
    const char *name;
    MPI_Datatype type;
    size_t bytes;
    int parts; /* a complex number has two */
    double epsilon;
} number_t;

static const number_t numbers[4] = {
    {"MPI_FLOAT", MPI_FLOAT, 4, 1, FLT_EPSILON},
    {"MPI_DOUBLE", MPI_DOUBLE, 8, 1, DBL_EPSILON},
    {"MPI_C_FLOAT_COMPLEX", MPI_C_FLOAT_COMPLEX, 8, 2, FLT_EPSILON},
    {"MPI_C_DOUBLE_COMPLEX", MPI_C_DOUBLE_COMPLEX, 16, 2, DBL_EPSILON},
};

/* Part i (of count * parts) of a rank's input, exactly representable in single precision. */
static double summand(uint64_t call, int rank, size_t i)
{
    uint64_t hash = test_hash(test_opt.seed, call, (uint64_t)rank, i % PERIOD);
    double mantissa = 1.0 + (double)(hash >> 44 & 0x3fffff) / 4194304.0;

    return ldexp(0 == (hash & 1) ? mantissa : -mantissa, (int)(hash >> 8 & 0xff) % 41 - 20);
}

static void set_part(const number_t *number, void *data, size_t i, double value)
{
    if (FLT_EPSILON == number->epsilon) {
        ((float *)data)[i] = (float)value;
    } else {
        ((double *)data)[i] = value;
    }
}

static double get_part(const number_t *number, const void *data, size_t i)
{
    return FLT_EPSILON == number->epsilon ? ((const float *)data)[i] : ((const double *)data)[i];
}

static void fill(const number_t *number, uint64_t call, size_t parts, void *data)
{
    size_t first = parts < PERIOD ? parts : PERIOD;
    size_t part_bytes = number->bytes / (size_t)number->parts;

    for (size_t i = 0; i < first; ++i) {
        set_part(number, data, i, summand(call, test_rank, i));
    }
    if (parts > first) {
        test_pattern_fill((char *)data + first * part_bytes, (parts - first) * part_bytes, data,
                          first * part_bytes);
    }
}

static void check_bound(const number_t *number, uint64_t call, size_t parts, const void *data)
{
    /* a sample: which element went wrong does not matter, that bits agree was checked for all */
    for (size_t i = 0; i < parts; i += 1 + parts / 97) {
        long double sum = 0, magnitude = 0;
        double got = get_part(number, data, i);

        for (int rank = 0; rank < test_size; ++rank) {
            long double value = summand(call, rank, i);

            sum += value;
            magnitude += fabsl(value);
        }
        if (!(fabsl(sum - got) <= 2 * test_size * number->epsilon * magnitude)) {
            test_fail("part %zu: expected %.17Lg +- %.3Lg, got %.17g", i, sum,
                      2 * test_size * number->epsilon * magnitude, got);
        }
    }
}

/* All ranks must hold the same bits; returns them as a digest. */
static uint64_t agree(const void *data, size_t bytes, const number_t *number)
{
    uint64_t mine = test_digest(data, bytes), *all = malloc(8 * (size_t)test_size);
    unsigned char *theirs;

    MPI_Allgather(&mine, 1, MPI_UINT64_T, all, 1, MPI_UINT64_T, MPI_COMM_WORLD);
    for (int rank = 1; rank < test_size; ++rank) {
        if (all[rank] == all[0]) {
            continue;
        }
        /* Find where: all ranks take part, the first one that differs reports. */
        theirs = malloc(bytes);
        if (0 == test_rank) {
            MPI_Send(data, (int)bytes, MPI_BYTE, rank, 0, MPI_COMM_WORLD);
        } else if (rank == test_rank) {
            size_t i = 0;

            MPI_Recv(theirs, (int)bytes, MPI_BYTE, 0, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
            while (i + 1 < bytes && theirs[i] == ((const unsigned char *)data)[i]) {
                ++i;
            }
            i /= number->bytes / (size_t)number->parts;
            test_fail("part %zu: rank 0 has %a, this rank %a", i, get_part(number, theirs, i),
                      get_part(number, data, i));
        }
        test_delay(2000000); /* the rank that differs ends the job */
        test_fail("ranks 0 and %d differ", rank);
    }
    mine = all[0];
    free(all);
    return mine;
}

static void try_count(const number_t *number, size_t count)
{
    static uint64_t call;
    size_t bytes = count * number->bytes, parts = count * (size_t)number->parts;
    test_buffer_t input = test_buffer_new(bytes, 0), output = test_buffer_new(bytes, 0);
    uint64_t first = 0, in_place_first = 0, reduced = 0;
    int repetitions = bytes > ((size_t)1 << 20) ? 2 : 5;

    ++call;
    for (int again = 0; again < repetitions; ++again) {
        uint64_t digest;
        int root = (int)(call % (uint64_t)test_size);

        test_note("MPI_Allreduce(%zu x %s, MPI_SUM), repetition %d", count, number->name, again);
        test_buffer_place(&input, bytes, (size_t)(test_rank + again) % 4 * 16);
        test_buffer_place(&output, bytes, (size_t)(3 * test_rank + again) % 8 * 8);
        fill(number, call, parts, input.data);
        memset(output.data, 0xee, bytes);
        if (0 == test_hash(test_opt.seed, call, (uint64_t)test_rank, (uint64_t)again) % 7) {
            test_delay(200); /* another order of arrival */
        }
        MPI_Allreduce(input.data, output.data, (int)count, number->type, MPI_SUM, MPI_COMM_WORLD);
        digest = agree(output.data, bytes, number);
        if (0 == again) {
            check_bound(number, call, parts, output.data);
            first = digest;
        } else if (digest != first) {
            test_fail("other bits than in repetition 0");
        }

        test_note("MPI_Allreduce(%zu x %s, MPI_SUM) in place, repetition %d", count, number->name,
                  again);
        memcpy(output.data, input.data, bytes);
        MPI_Allreduce(MPI_IN_PLACE, output.data, (int)count, number->type, MPI_SUM, MPI_COMM_WORLD);
        digest = agree(output.data, bytes, number);
        in_place_first = 0 == again ? digest : in_place_first;
        if (digest != in_place_first) {
            test_fail("other bits than in repetition 0");
        }

        test_note("MPI_Reduce(%zu x %s, MPI_SUM, root %d), repetition %d", count, number->name,
                  root, again);
        MPI_Reduce(input.data, output.data, (int)count, number->type, MPI_SUM, root,
                   MPI_COMM_WORLD);
        if (test_rank == root) {
            digest = test_digest(output.data, bytes);
            reduced = 0 == again ? digest : reduced;
            if (digest != reduced) {
                test_fail("other bits than in repetition 0");
            }
            check_bound(number, call, parts, output.data);
        }
        test_buffer_check(&input, "input buffer");
        test_buffer_check(&output, "result");
        test_passed();
    }
    test_buffer_free(&input);
    test_buffer_free(&output);
}

int main(int argc, char **argv)
{
    size_t most;

    test_begin(&argc, &argv, "test_bits", MPI_THREAD_SINGLE);
    most = test_opt.quick ? 65536 : 1048576;
    for (int n = 0; n < 4; ++n) {
        for (size_t count = 1; count <= most; count *= 2) {
            if (count <= most / (size_t)numbers[n].parts) {
                try_count(&numbers[n], count);
                if (!test_opt.quick) {
                    try_count(&numbers[n], count + count / 3 + 1);
                }
            }
        }
    }
    return test_end();
}
