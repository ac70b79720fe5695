/*
 * Every predefined reduction operation and every predefined type that MPI allows for it, with an
 * oracle: the same reduction of single elements, written without MPI.
 *
 * MPI's table of allowed pairs (MPI 3.1, section 5.9.2) is expressed with groups: an operation
 * names the groups it accepts, a type the groups it belongs to.
 *
 * The values are chosen such that the result does not depend on the order or grouping of
 * the ranks: floating point stays in a range where every intermediate result is exact.
 * Integers use their whole range and wrap around.
 */
#ifndef TESTS_MPI_TYPES_H
#define TESTS_MPI_TYPES_H

#include "tests/mpi/common.h"

/* What an element is in C. */
typedef enum test_kind {
    KIND_I8,
    KIND_U8,
    KIND_I16,
    KIND_U16,
    KIND_I32,
    KIND_U32,
    KIND_I64,
    KIND_U64,
    KIND_FLOAT,
    KIND_DOUBLE,
    KIND_LDOUBLE,
    KIND_CFLOAT,
    KIND_CDOUBLE,
    KIND_CLDOUBLE,
    KIND_BOOL,     /* values 0 and 1 only */
    KIND_LOGICAL1, /* Fortran LOGICAL of 1, 2, 4, 8 bytes: values 0 and 1 only */
    KIND_LOGICAL2,
    KIND_LOGICAL4,
    KIND_LOGICAL8,
    KIND_FLOAT_INT, /* pairs {value, index} */
    KIND_DOUBLE_INT,
    KIND_LONG_INT,
    KIND_2INT,
    KIND_SHORT_INT,
    KIND_LDOUBLE_INT,
    KIND_2FLOAT,
    KIND_2DOUBLE,
    KIND_COUNT
} test_kind_t;

typedef enum test_op_code {
    OP_MAX,
    OP_MIN,
    OP_SUM,
    OP_PROD,
    OP_LAND,
    OP_BAND,
    OP_LOR,
    OP_BOR,
    OP_LXOR,
    OP_BXOR,
    OP_MAXLOC,
    OP_MINLOC
} test_op_code_t;

enum test_group {
    GROUP_C_INTEGER = 1,
    GROUP_FORTRAN_INTEGER = 2,
    GROUP_FLOATING = 4,
    GROUP_LOGICAL = 8,
    GROUP_COMPLEX = 16,
    GROUP_BYTE = 32,
    GROUP_MULTI = 64, /* MPI_AINT, MPI_OFFSET, MPI_COUNT */
    GROUP_PAIR = 128
};

typedef struct test_type {
    const char *name;
    MPI_Datatype type;
    test_kind_t kind;
    unsigned group;
} test_type_t;

typedef struct test_op {
    const char *name;
    MPI_Op op;
    test_op_code_t code;
    unsigned groups;
} test_op_t;

/* The types this MPI library really has (a Fortran type may be missing), and all operations.
 * Valid after MPI_Init. */
const test_type_t *test_types(int *count);
const test_op_t *test_ops(int *count);

/* Bytes from one element to the next, as in a C array. */
size_t test_kind_extent(test_kind_t kind);

/* The element that belongs to `hash`, made for the operation. `safe` avoids what Open MPI 4.1.4
 * itself gets wrong: sums and products of 8- and 16-bit integers that overflow over 16 ranks
 * (op/avx saturates), and 64-bit maxima with the top bit set (unsigned long compares signed there,
 * MPI_OFFSET unsigned). */
void test_element_make(test_kind_t kind, test_op_code_t op, uint64_t hash, bool safe,
                       void *element);

/* inout = left op inout */
void test_element_reduce(test_kind_t kind, test_op_code_t op, const void *left, void *inout);

/* Compares values, not padding. */
bool test_element_equal(test_kind_t kind, const void *a, const void *b);

/* Writes the value as text; returns `text`. */
char *test_element_print(test_kind_t kind, const void *element, char *text, size_t bytes);

#endif
