/*
 * Reductions of host memory: every predefined operation on every predefined
 * type that MPI allows for it, any number of inputs in one pass over memory.
 *
 * Elements are packed: no padding between or inside them (MPI_DOUBLE_INT has 12 bytes
 * here), any alignment.
 */
#ifndef CRDMA_DEVICE_REDUCE_H
#define CRDMA_DEVICE_REDUCE_H

#include <stddef.h>

typedef enum crdma_op_id {
    CRDMA_OP_NONE = 0, /* no reduction (bcast, barrier) */
    CRDMA_OP_MAX,
    CRDMA_OP_MIN,
    CRDMA_OP_SUM,
    CRDMA_OP_PROD,
    CRDMA_OP_LAND,
    CRDMA_OP_BAND,
    CRDMA_OP_LOR,
    CRDMA_OP_BOR,
    CRDMA_OP_LXOR,
    CRDMA_OP_BXOR,
    CRDMA_OP_MAXLOC,
    CRDMA_OP_MINLOC,
    CRDMA_OP_REPLACE,
    CRDMA_OP_NO_OP,
    CRDMA_OP_USER, /* user-defined: no kernel here */
    CRDMA_NOPS
} crdma_op_id_t;

typedef enum crdma_type_id {
    CRDMA_TYPE_NONE = 0, /* not a type that kernels know */
    CRDMA_TYPE_INT8,
    CRDMA_TYPE_UINT8,
    CRDMA_TYPE_INT16,
    CRDMA_TYPE_UINT16,
    CRDMA_TYPE_INT32,
    CRDMA_TYPE_UINT32,
    CRDMA_TYPE_INT64,
    CRDMA_TYPE_UINT64,
    CRDMA_TYPE_FLOAT,
    CRDMA_TYPE_DOUBLE,
    CRDMA_TYPE_LDOUBLE,
    CRDMA_TYPE_BYTE,     /* MPI_BYTE: bitwise operations only */
    CRDMA_TYPE_BOOL,     /* C and C++ bool: logical operations only */
    CRDMA_TYPE_LOGICAL1, /* Fortran LOGICAL of 1, 2, 4, 8 bytes: logical operations only */
    CRDMA_TYPE_LOGICAL2,
    CRDMA_TYPE_LOGICAL4,
    CRDMA_TYPE_LOGICAL8,
    CRDMA_TYPE_CFLOAT,
    CRDMA_TYPE_CDOUBLE,
    CRDMA_TYPE_CLDOUBLE,
    CRDMA_TYPE_FLOAT_INT, /* pairs {value, index}: MAXLOC and MINLOC only */
    CRDMA_TYPE_DOUBLE_INT,
    CRDMA_TYPE_LONG_INT,
    CRDMA_TYPE_2INT, /* also MPI_2INTEGER */
    CRDMA_TYPE_SHORT_INT,
    CRDMA_TYPE_LDOUBLE_INT,
    CRDMA_TYPE_2FLOAT, /* MPI_2REAL */
    CRDMA_TYPE_2DOUBLE, /* MPI_2DOUBLE_PRECISION */
    CRDMA_NTYPES
} crdma_type_id_t;

/*
 * dst[i] = (..(src[0][i] op src[1][i]) op ..) op src[nsrc-1][i] for i < count, always folded from
 * the left, so that equal inputs in equal order give equal bits on every rank. nsrc >= 1.
 * dst may be exactly one of the src (same address), never overlap one partially.
 * Integers wrap around. MAXLOC and MINLOC take the lower index of equal values.
 */
typedef void (*crdma_reduce_fn_t)(void *dst, const void *const *src, int nsrc, size_t count);

/* The kernel for (op, type), or NULL if MPI does not allow that combination. Picks the best
 * instruction set of this processor; safe to call from several threads. */
crdma_reduce_fn_t crdma_reduce_lookup(crdma_op_id_t op, crdma_type_id_t type);

/* Packed bytes of one element; 0 for CRDMA_TYPE_NONE. */
size_t crdma_type_size(crdma_type_id_t type);

/* "sum", "float", ...; never NULL. */
const char *crdma_op_name(crdma_op_id_t op);
const char *crdma_type_name(crdma_type_id_t type);

#endif
