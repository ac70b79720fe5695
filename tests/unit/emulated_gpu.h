/*
 * The emulated driver as an application of a test uses it: loaded by itself, under the component's
 * feet, with calls that the component has no use for.
 */
#ifndef TESTS_UNIT_EMULATED_GPU_H
#define TESTS_UNIT_EMULATED_GPU_H

#include <check.h>
#include <dlfcn.h>
#include <stdint.h>

#include "coll_rdma/device/cuda.h"
#include "coll_rdma/device/cuda_driver.h"

/* below the build tree's top, where tests run */
#define EMULATED_GPU_LIBRARY "tests/fakecuda/libcuda.so.1"

typedef crdma_cu_result_t result_t;

static struct {
    result_t (*init)(unsigned);
    result_t (*retain)(crdma_cu_context_t *, int);
    result_t (*create)(crdma_cu_context_t *, unsigned, int);
    result_t (*destroy)(crdma_cu_context_t);
    result_t (*set_current)(crdma_cu_context_t);
    result_t (*get_current)(crdma_cu_context_t *);
    result_t (*alloc)(crdma_cu_ptr_t *, size_t);
    result_t (*alloc_of_pool)(crdma_cu_ptr_t *, size_t, void *);
    result_t (*alloc_managed)(crdma_cu_ptr_t *, size_t, unsigned);
    result_t (*free)(crdma_cu_ptr_t);
    result_t (*host_alloc)(void **, size_t, unsigned);
    result_t (*copy)(crdma_cu_ptr_t, crdma_cu_ptr_t, size_t);
    result_t (*fill_later)(crdma_cu_ptr_t, unsigned char, size_t, void *);
    result_t (*get_handle)(crdma_cu_ipc_handle_t *, crdma_cu_ptr_t);
    result_t (*open)(crdma_cu_ptr_t *, crdma_cu_ipc_handle_t, unsigned);
    result_t (*close)(crdma_cu_ptr_t);
    long (*calls)(const char *);
    void (*break_call)(const char *, long);
    crdma_cu_context_t primary; /* once emulated_gpu_start has been called */
} cu;

static inline void emulated_gpu_load(void)
{
    void *library = dlopen(EMULATED_GPU_LIBRARY, RTLD_NOW | RTLD_LOCAL);

    ck_assert_msg(NULL != library, "%s", dlerror());
#define GET(name, symbol) ck_assert(NULL != (*(void **) &cu.name = dlsym(library, symbol)))
    GET(init, "cuInit");
    GET(retain, "cuDevicePrimaryCtxRetain");
    GET(create, "cuCtxCreate_v2");
    GET(destroy, "cuCtxDestroy_v2");
    GET(set_current, "cuCtxSetCurrent");
    GET(get_current, "cuCtxGetCurrent");
    GET(alloc, "cuMemAlloc_v2");
    GET(alloc_of_pool, "cuMemAllocAsync");
    GET(alloc_managed, "cuMemAllocManaged");
    GET(free, "cuMemFree_v2");
    GET(host_alloc, "cuMemHostAlloc");
    GET(copy, "cuMemcpy");
    GET(fill_later, "cuMemsetD8Async");
    GET(get_handle, "cuIpcGetMemHandle");
    GET(open, "cuIpcOpenMemHandle_v2");
    GET(close, "cuIpcCloseMemHandle");
    GET(calls, "fakecuda_calls");
    GET(break_call, "fakecuda_fail");
#undef GET
}

/* What an application does before it has device memory. */
static inline void emulated_gpu_start(void)
{
    emulated_gpu_load();
    ck_assert_int_eq(0, cu.init(0));
    ck_assert_int_eq(0, cu.retain(&cu.primary, 0));
    ck_assert_int_eq(0, cu.set_current(cu.primary));
    ck_assert(crdma_cuda_possible());
}

static inline void *device_memory(size_t bytes)
{
    crdma_cu_ptr_t p = 0;

    ck_assert_int_eq(0, cu.alloc(&p, bytes));
    return (void *) (uintptr_t) p;
}

#endif
