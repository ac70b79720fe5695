/*
 * From Open MPI's operations and datatypes to the ids of the reduction kernels.
 *
 * A predefined operation on a predefined type can run in a kernel if both ids are neither NONE nor
 * USER and crdma_reduce_lookup knows the pair; everything else goes to ompi_op_reduce. The lookups
 * are a few loads each, so a collective may do them on every call.
 */
#ifndef COLL_RDMA_TYPES_H
#define COLL_RDMA_TYPES_H

#include "coll_rdma/device/reduce.h"

struct ompi_datatype_t;
struct ompi_op_t;

/*
 * The kernels' id of a predefined datatype (C, C++, Fortran, MPI_Type_create_f90_*), by kind and
 * size; crdma_type_size of it is the packed size of the datatype. CRDMA_TYPE_NONE for derived and
 * duplicated types and for
 *   - types without reductions: MPI_PACKED, MPI_WCHAR, MPI_LB, MPI_UB, MPI_2COMPLEX,
 *     MPI_2DOUBLE_COMPLEX;
 *   - sizes without a kernel: INTEGER*16, REAL*2, COMPLEX*4 and their C forms, and REAL*16,
 *     COMPLEX*32 unless long double is a quadruple too.
 * As Open MPI does, MPI_CHAR counts as int8, MPI_CHARACTER and MPI_BYTE as uint8, and a LOGICAL*n
 * whose size is not LOGICAL's as an integer of n bytes.
 */
crdma_type_id_t coll_rdma_type_id(struct ompi_datatype_t *datatype);

/* The kernels' id of an operation: CRDMA_OP_USER for users' own, CRDMA_OP_NONE for MPI_OP_NULL. */
crdma_op_id_t coll_rdma_op_id(struct ompi_op_t *op);

#endif
