/*
 * The GPU kernels for the host; see kernels.h.
 */
#define CRDMA_NO_LONG_DOUBLE /* as on a GPU */

#include "tests/fakecuda/kernels.h"

#include <string.h>

#include "coll_rdma/kernels/reduce_kernel.h"

#define DEFINE(op, tag)                                                                            \
    static void kernel_##op##_##tag(const crdma_kernel_args_t *args, uint64_t thread,              \
                                    uint64_t nthreads)                                             \
    {                                                                                              \
        crdma_fold_##op##_##tag(args, thread, nthreads);                                           \
    }
CRDMA_REDUCE_KERNELS(DEFINE)

#define ROW(op, tag) {"crdma_reduce_" #op "_" #tag, kernel_##op##_##tag},
static const struct {
    const char *name;
    fakecuda_kernel_t kernel;
} kernels[] = {CRDMA_REDUCE_KERNELS(ROW)};

fakecuda_kernel_t fakecuda_kernel_find(const char *name)
{
    for (size_t i = 0; i < sizeof(kernels) / sizeof(kernels[0]); ++i) {
        if (0 == strcmp(kernels[i].name, name)) {
            return kernels[i].kernel;
        }
    }
    return NULL;
}
