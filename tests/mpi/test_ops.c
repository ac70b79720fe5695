/*
 * Every predefined operation on every predefined type that MPI allows for it.
 *
 * Catches: a missing or wrong kernel for any pair, a tail that a vector kernel forgets (counts 1,
 * 3, 17, 1000), 8- and 16-bit integers that saturate instead of wrapping around, logical
 * results other than 0 and 1, the wrong index for equal values in MAXLOC and MINLOC, padding of
 * pair types counted as data, a type of which only the size was looked at.
 *
 * The expected result is computed element by element by the oracle in types.c. --stock picks values
 * that avoid the known wrong results of Open MPI 4.1 itself (test_element_make in types.h).
 */
#include "tests/mpi/types.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_COUNT 1000

static uint64_t call_number;
static bool known_bug; /* leave out what Open MPI 4.1 gets wrong */

static void fill(const test_type_t *type, const test_op_t *op, int rank, int count,
                 unsigned char *to)
{
    size_t extent = test_kind_extent(type->kind);

    for (int i = 0; i < count; ++i) {
        uint64_t hash = test_hash(test_opt.seed, call_number, (uint64_t)rank, (uint64_t)i);

        test_element_make(type->kind, op->code, hash, known_bug, to + (size_t)i * extent);
    }
}

static void compare(const test_type_t *type, const test_buffer_t *buffer,
                    const unsigned char *expected, int count, const char *what)
{
    size_t extent = test_kind_extent(type->kind);

    for (int i = 0; i < count; ++i) {
        const unsigned char *e = expected + (size_t)i * extent;
        const unsigned char *g = buffer->data + (size_t)i * extent;
        char expected_text[96], got_text[96];

        if (!test_element_equal(type->kind, e, g)) {
            test_fail("%s: index %d: expected %s, got %s", what, i,
                      test_element_print(type->kind, e, expected_text, sizeof(expected_text)),
                      test_element_print(type->kind, g, got_text, sizeof(got_text)));
        }
    }
    test_buffer_check(buffer, what);
    test_passed();
}

/* root < 0: allreduce */
static void try_pair(const test_type_t *type, const test_op_t *op, int count, int root,
                     bool in_place)
{
    size_t extent = test_kind_extent(type->kind);
    size_t bytes = (size_t)count * extent;
    static unsigned char mine[MOST_COUNT * 32], other[MOST_COUNT * 32], expected[MOST_COUNT * 32];
    bool gets = root < 0 || root == test_rank;
    size_t offset = 16; /* natural alignment of the widest type */
    test_buffer_t input = test_buffer_new(bytes, offset);
    test_buffer_t output = test_buffer_new(bytes, 0);

    ++call_number;
    memset(input.data, 0, bytes); /* padding too */
    memset(mine, 0, bytes);
    fill(type, op, 0, count, expected);
    for (int rank = 1; rank < test_size; ++rank) {
        fill(type, op, rank, count, other);
        for (int i = 0; i < count; ++i) {
            /* inout = left op inout, so the fold so far is the left operand */
            test_element_reduce(type->kind, op->code, expected + (size_t)i * extent,
                                other + (size_t)i * extent);
        }
        memcpy(expected, other, bytes);
    }
    fill(type, op, test_rank, count, mine);
    memcpy(input.data, mine, bytes);
    if (in_place && gets) {
        memcpy(output.data, mine, bytes);
    } else {
        memset(output.data, 0xee, bytes);
    }

    test_note("%s(%d x %s, %s, root %d)%s", root < 0 ? "MPI_Allreduce" : "MPI_Reduce", count,
              type->name, op->name, root, in_place ? " in place" : "");
    if (root < 0) {
        MPI_Allreduce(in_place ? MPI_IN_PLACE : input.data, output.data, count, type->type, op->op,
                      MPI_COMM_WORLD);
    } else {
        MPI_Reduce(in_place && gets ? MPI_IN_PLACE : input.data, output.data, count, type->type,
                   op->op, root, MPI_COMM_WORLD);
    }

    compare(type, &input, mine, count, "input buffer");
    if (gets) {
        compare(type, &output, expected, count, "result");
    }
    test_buffer_free(&input);
    test_buffer_free(&output);
}

int main(int argc, char **argv)
{
    static const int counts[] = {1, 3, 17, MOST_COUNT};
    int ntypes, nops, pairs = 0;
    const test_type_t *types;
    const test_op_t *ops;

    test_begin(&argc, &argv, "test_ops", MPI_THREAD_SINGLE);
    known_bug = test_opt.stock;
    types = test_types(&ntypes);
    ops = test_ops(&nops);
    for (int o = 0; o < nops; ++o) {
        for (int t = 0; t < ntypes; ++t) {
            if (0 == (ops[o].groups & types[t].group)) {
                continue;
            }
            ++pairs;
            for (int c = test_opt.quick ? 2 : 0; c < (test_opt.quick ? 3 : 4); ++c) {
                int root = (o + t + c) % test_size;

                try_pair(&types[t], &ops[o], counts[c], -1, false);
                try_pair(&types[t], &ops[o], counts[c], -1, true);
                try_pair(&types[t], &ops[o], counts[c], root, 0 == c % 2);
            }
        }
    }
    if (0 == test_rank) {
        printf("test_ops: %d types, %d operations, %d allowed pairs\n", ntypes, nops, pairs);
    }
    return test_end();
}
