/*
 * User-defined operations, commutative and not, on plain, gapped and shifted datatypes.
 *
 * Catches: operands of a non-commutative operation combined out of rank order or swapped
 * (source and target confused), a rotation when the root is not 0, gap bytes overwritten, a
 * temporary buffer that ignores a negative lower bound, an operation called with another
 * datatype handle than the user's or with a count beyond the buffer, a vector kernel used where
 * the user's function should have been called (user operations on predefined pair types).
 *
 * An element has four 32-bit fields. A layout says where these fields lie relative to the
 * element's address and how far elements are apart; the same layout makes the MPI datatype, fills
 * the buffers, and is what the operation works on. All bytes that belong to no field hold a
 * known value and must keep it.
 */
#include "tests/mpi/common.h"

#include <stdlib.h>
#include <string.h>

#define FIELDS 4
#define GAP    0x5a
#define PERIOD 1021 /* elements until the data repeat: the oracle stays cheap */

typedef struct layout {
    const char *name;
    ptrdiff_t offset[FIELDS];
    ptrdiff_t lb, extent; /* of the MPI datatype */
    MPI_Datatype type;
} layout_t;

typedef struct value {
    uint32_t f[FIELDS];
} value_t;

typedef struct operation {
    const char *name;
    int commutes;
    value_t (*combine)(value_t left, value_t right);
    MPI_Op op;
} operation_t;

/* What the running operation works on: MPI passes the function no context. */
static const layout_t *current_layout;
static const operation_t *current_operation;
static long calls_of_operation;

/* 2x2 matrix product modulo 2^32. */
static value_t matrix(value_t a, value_t b)
{
    value_t c = {{a.f[0] * b.f[0] + a.f[1] * b.f[2], a.f[0] * b.f[1] + a.f[1] * b.f[3],
                  a.f[2] * b.f[0] + a.f[3] * b.f[2], a.f[2] * b.f[1] + a.f[3] * b.f[3]}};

    return c;
}

/* Two affine maps x -> f0 x + f1 and x -> f2 x + f3, the left one applied last. */
static value_t affine(value_t a, value_t b)
{
    value_t c = {
        {a.f[0] * b.f[0], a.f[0] * b.f[1] + a.f[1], a.f[2] * b.f[2], a.f[2] * b.f[3] + a.f[3]}};

    return c;
}

/* Each field: the value of the last rank that wrote one; a multiple of 3 means not written. */
static value_t last_writer(value_t a, value_t b)
{
    for (int i = 0; i < FIELDS; ++i) {
        if (0 == b.f[i] % 3) {
            b.f[i] = a.f[i];
        }
    }
    return b;
}

/* Commutative and associative, but none of MPI's own: sum, xor, max, product of odd numbers. */
static value_t mixed(value_t a, value_t b)
{
    value_t c = {{a.f[0] + b.f[0], a.f[1] ^ b.f[1], a.f[2] > b.f[2] ? a.f[2] : b.f[2],
                  (a.f[3] | 1) * (b.f[3] | 1)}};

    return c;
}

static value_t load(const layout_t *layout, const unsigned char *element)
{
    value_t value;

    for (int i = 0; i < FIELDS; ++i) {
        memcpy(&value.f[i], element + layout->offset[i], sizeof(uint32_t));
    }
    return value;
}

static void store(const layout_t *layout, unsigned char *element, value_t value)
{
    for (int i = 0; i < FIELDS; ++i) {
        memcpy(element + layout->offset[i], &value.f[i], sizeof(uint32_t));
    }
}

static void user_function(void *in, void *inout, int *length, MPI_Datatype *type)
{
    const layout_t *layout = current_layout;

    if (*type != layout->type) {
        test_fail("the operation got another datatype than the call");
    }
    ++calls_of_operation;
    for (int i = 0; i < *length; ++i) {
        unsigned char *right = (unsigned char *)inout + i * layout->extent;
        value_t left = load(layout, (unsigned char *)in + i * layout->extent);

        store(layout, right, current_operation->combine(left, load(layout, right)));
    }
}

static operation_t operations[] = {{"matrix product", 0, matrix, MPI_OP_NULL},
                                   {"affine maps", 0, affine, MPI_OP_NULL},
                                   {"last writer", 0, last_writer, MPI_OP_NULL},
                                   {"mixed", 1, mixed, MPI_OP_NULL}};

static layout_t layouts[] = {
    {"contiguous", {0, 4, 8, 12}, 0, 16, MPI_DATATYPE_NULL},
    {"gapped", {0, 8, 16, 24}, 0, 28, MPI_DATATYPE_NULL},
    {"gap behind", {0, 4, 8, 12}, 0, 40, MPI_DATATYPE_NULL},
    {"reversed fields", {12, 8, 4, 0}, 0, 16, MPI_DATATYPE_NULL},
    {"negative displacements", {-24, -8, 4, 16}, -24, 44, MPI_DATATYPE_NULL},
    {"negative lower bound", {0, 4, 8, 12}, -16, 48, MPI_DATATYPE_NULL},
    {"positive lower bound", {32, 36, 44, 56}, 20, 48, MPI_DATATYPE_NULL},
};

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static void make_type(layout_t *layout)
{
    int lengths[FIELDS] = {1, 1, 1, 1};
    MPI_Aint displacements[FIELDS];
    MPI_Datatype types[FIELDS] = {MPI_UINT32_T, MPI_UINT32_T, MPI_UINT32_T, MPI_UINT32_T};
    MPI_Datatype bare;

    for (int i = 0; i < FIELDS; ++i) {
        displacements[i] = layout->offset[i];
    }
    MPI_Type_create_struct(FIELDS, lengths, displacements, types, &bare);
    MPI_Type_create_resized(bare, layout->lb, layout->extent, &layout->type);
    MPI_Type_commit(&layout->type);
    MPI_Type_free(&bare);
}

static value_t input_value(uint64_t call, int rank, int index)
{
    value_t value;

    for (int i = 0; i < FIELDS; ++i) {
        value.f[i] = (uint32_t)test_hash(test_opt.seed + (uint64_t)i, call, (uint64_t)rank,
                                         (uint64_t)index % 4099);
    }
    return value;
}

/* Room in front of the first element for negative displacements. */
#define FRONT 32

static unsigned char *element_at(const layout_t *layout, const test_buffer_t *buffer, int index)
{
    return buffer->data + FRONT + index * layout->extent;
}

static test_buffer_t make_buffer(const layout_t *layout, int count)
{
    test_buffer_t buffer = test_buffer_new(FRONT + (size_t)count * (size_t)layout->extent + 64, 0);

    memset(buffer.data, GAP, buffer.bytes);
    return buffer;
}

/* The fields hold `values`, every other byte its gap value. */
static void compare(const layout_t *layout, test_buffer_t *buffer, int count, const value_t *values,
                    const char *what)
{
    size_t gap;

    for (int i = 0; i < count; ++i) {
        value_t got = load(layout, element_at(layout, buffer, i));

        for (int f = 0; f < FIELDS; ++f) {
            if (got.f[f] != values[i].f[f]) {
                test_fail("%s: index %d field %d: expected %u, got %u", what, i, f, values[i].f[f],
                          got.f[f]);
            }
        }
    }
    for (int i = 0; i < count; ++i) {
        value_t blank;

        memset(&blank, GAP, sizeof(blank));
        store(layout, element_at(layout, buffer, i), blank);
    }
    gap = test_byte_find(buffer->data, buffer->bytes, GAP);
    if (TEST_NOWHERE != gap) {
        test_fail("%s: gap byte at %zd from the first element overwritten with 0x%02x", what,
                  (ptrdiff_t)gap - FRONT, buffer->data[gap]);
    }
    test_buffer_check(buffer, what);
    test_passed();
}

/* root < 0: allreduce */
static void try_reduce(const layout_t *layout, const operation_t *operation, int count, int root,
                       bool in_place)
{
    static uint64_t call;
    bool gets = root < 0 || root == test_rank;
    test_buffer_t input = make_buffer(layout, count), output = make_buffer(layout, count);
    value_t *mine = malloc(sizeof(value_t) * (size_t)(count + 1));
    value_t *expected = malloc(sizeof(value_t) * (size_t)(count + 1));
    void *send = element_at(layout, &input, 0), *recv = element_at(layout, &output, 0);

    ++call;
    in_place = in_place && gets;
    for (int i = 0; i < count; ++i) {
        mine[i] = i < PERIOD ? input_value(call, test_rank, i) : mine[i - PERIOD];
        expected[i] = i < PERIOD ? input_value(call, 0, i) : expected[i - PERIOD];
        for (int rank = 1; i < PERIOD && rank < test_size; ++rank) {
            expected[i] = operation->combine(expected[i], input_value(call, rank, i));
        }
        store(layout, element_at(layout, &input, i), mine[i]);
        if (in_place) {
            store(layout, element_at(layout, &output, i), mine[i]);
        }
    }
    current_layout = layout;
    current_operation = operation;
    test_note("%s(%d x %s, %s, root %d)%s", root < 0 ? "MPI_Allreduce" : "MPI_Reduce", count,
              layout->name, operation->name, root, in_place ? " in place" : "");
    if (root < 0) {
        MPI_Allreduce(in_place ? MPI_IN_PLACE : send, recv, count, layout->type, operation->op,
                      MPI_COMM_WORLD);
    } else {
        MPI_Reduce(in_place ? MPI_IN_PLACE : send, recv, count, layout->type, operation->op, root,
                   MPI_COMM_WORLD);
    }
    compare(layout, &input, count, mine, "input buffer");
    if (gets) {
        compare(layout, &output, count, expected, "result");
    } else {
        compare(layout, &output, 0, expected, "receive buffer of a rank that is not the root");
    }
    free(mine);
    free(expected);
    test_buffer_free(&input);
    test_buffer_free(&output);
}

/* A user operation on a predefined pair type: the sum of the values, the last rank's index. */
typedef struct pair {
    double value;
    int index;
} pair_t;

static void pair_function(void *in, void *inout, int *length, MPI_Datatype *type)
{
    (void)type;
    for (int i = 0; i < *length; ++i) {
        ((pair_t *)inout)[i].value += ((pair_t *)in)[i].value;
    }
}

static void try_pairs(int count)
{
    pair_t *mine = malloc(sizeof(pair_t) * (size_t)count);
    pair_t *result = malloc(sizeof(pair_t) * (size_t)count);
    MPI_Op op;

    MPI_Op_create(pair_function, 0, &op);
    for (int i = 0; i < count; ++i) {
        mine[i].value = (test_rank + 1) * (i % 1000);
        mine[i].index = 10 * test_rank + i;
    }
    test_note("MPI_Allreduce(%d x MPI_DOUBLE_INT, user operation)", count);
    MPI_Allreduce(mine, result, count, MPI_DOUBLE_INT, op, MPI_COMM_WORLD);
    for (int i = 0; i < count; ++i) {
        double value = test_size * (test_size + 1) / 2 * (double)(i % 1000);

        if (result[i].value != value || result[i].index != 10 * (test_size - 1) + i) {
            test_fail("index %d: expected {%g, %d}, got {%g, %d}", i, value,
                      10 * (test_size - 1) + i, result[i].value, result[i].index);
        }
    }
    test_passed();
    MPI_Op_free(&op);
    free(mine);
    free(result);
}

int main(int argc, char **argv)
{
    static const int counts[] = {0, 1, 2, 5, 33, 1000, 20011};

    test_begin(&argc, &argv, "test_userops", MPI_THREAD_SINGLE);
    for (size_t l = 0; l < COUNT_OF(layouts); ++l) {
        make_type(&layouts[l]);
    }
    for (size_t o = 0; o < COUNT_OF(operations); ++o) {
        MPI_Op_create(user_function, operations[o].commutes, &operations[o].op);
        for (size_t l = 0; l < COUNT_OF(layouts); ++l) {
            for (size_t c = 0; c < COUNT_OF(counts) - (test_opt.quick ? 2 : 0); ++c) {
                try_reduce(&layouts[l], &operations[o], counts[c], -1, 0 == (l + c) % 2);
                try_reduce(&layouts[l], &operations[o], counts[c], -1, 1 == (l + c) % 2);
                for (int root = 0; root < test_size; ++root) {
                    if (counts[c] <= 5 || 0 == (root + (int)(l + c)) % test_size) {
                        try_reduce(&layouts[l], &operations[o], counts[c], root,
                                   0 != (root + (int)c) % 2);
                    }
                }
            }
        }
        try_reduce(&layouts[o], &operations[o], test_opt.quick ? 30000 : 200000, -1, false);
    }
    try_pairs(1);
    try_pairs(5000);
    MPI_Allreduce(MPI_IN_PLACE, &calls_of_operation, 1, MPI_LONG, MPI_SUM, MPI_COMM_WORLD);
    if (1 < test_size && 0 == calls_of_operation) {
        test_note("all calls");
        test_fail("no rank ever called the user's operation");
    }
    for (size_t o = 0; o < COUNT_OF(operations); ++o) {
        MPI_Op_free(&operations[o].op);
    }
    for (size_t l = 0; l < COUNT_OF(layouts); ++l) {
        MPI_Type_free(&layouts[l].type);
    }
    return test_end();
}
