/*
 * Stands in for a header of Open MPI that ompi/op/op.h includes and no installation ships. The
 * conversions are trivial where Fortran's INTEGER is an int, and only ompi_op_reduce with a
 * user's Fortran function makes use of them.
 */
#ifndef COLL_RDMA_SHIM_FINT_2_INT_H
#define COLL_RDMA_SHIM_FINT_2_INT_H

#define OMPI_INT_2_FINT(a) ((MPI_Fint)(a))
#define OMPI_FINT_2_INT(a) ((int)(a))

#endif
