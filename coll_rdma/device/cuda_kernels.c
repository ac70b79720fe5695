/*
 * The compiled kernels, as bytes inside the component: what nvcc made of kernels/reduce.cu, put in
 * by the assembler. A build without nvcc has none.
 */
#include "config.h"

#include "coll_rdma/device/cuda_internal.h"

#ifdef CRDMA_HAVE_CUDA_KERNELS
/* The path is relative to the top of the build tree, where make compiles. */
__asm__(".pushsection .rodata, \"a\"\n"
        ".balign 64\n"
        ".hidden crdma_cuda_kernels_begin\n"
        ".globl crdma_cuda_kernels_begin\n"
        "crdma_cuda_kernels_begin:\n"
        ".incbin \"coll_rdma/kernels/reduce.fatbin\"\n"
        ".popsection\n");
extern const char crdma_cuda_kernels_begin[];

const void *crdma_cuda_kernels(void)
{
    return crdma_cuda_kernels_begin;
}
#else
const void *crdma_cuda_kernels(void)
{
    return NULL;
}
#endif
