/*
 * The GPU kernels as functions of the host: the same lines (coll_rdma/kernels/reduce_kernel.h), compiled by
 * the host's compiler, one thread of a launch per call.
 */
#ifndef TESTS_FAKECUDA_KERNELS_H
#define TESTS_FAKECUDA_KERNELS_H

#include "coll_rdma/kernels/reduce_args.h"

/* What thread `thread` of `nthreads` does. */
typedef void (*fakecuda_kernel_t)(const crdma_kernel_args_t *args, uint64_t thread,
                                  uint64_t nthreads);

/* The kernel "crdma_reduce_sum_f32" etc., or NULL. */
fakecuda_kernel_t fakecuda_kernel_find(const char *name);

#endif
