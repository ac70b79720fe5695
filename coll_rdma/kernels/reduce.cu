/*
 * The reduction kernels for GPUs: crdma_reduce_<op>_<tag>, one for each operation and type of
 * reduce_ops.h, started with CRDMA_KERNEL_THREADS threads per block and as many blocks as one likes.
 */
#include "coll_rdma/kernels/reduce_kernel.h"

/* The argument stays where the launch has put it, so that the array in it can be indexed there. */
#if __CUDACC_VER_MAJOR__ * 100 + __CUDACC_VER_MINOR__ >= 1107
#define CRDMA_ARGUMENT const __grid_constant__ crdma_kernel_args_t
#else
#define CRDMA_ARGUMENT const crdma_kernel_args_t
#endif

#define CRDMA_DEFINE_GLOBAL(op, tag)                                                               \
    extern "C" __global__ void __launch_bounds__(CRDMA_KERNEL_THREADS)                             \
        crdma_reduce_##op##_##tag(CRDMA_ARGUMENT args)                                             \
    {                                                                                              \
        crdma_fold_##op##_##tag(&args, (uint64_t)blockIdx.x * blockDim.x + threadIdx.x,            \
                                (uint64_t)gridDim.x * blockDim.x);                                 \
    }

CRDMA_REDUCE_KERNELS(CRDMA_DEFINE_GLOBAL)
