/*
 * Buffers of every kind of memory; see buffers.h.
 */
#include "tests/gpu/buffers.h"

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coll_rdma/device/cuda_driver.h"
#include "tests/mpi/common.h"

enum { GUARD = 64, GUARD_BYTE = 0xc3 };

typedef crdma_cu_result_t result_t;

static struct {
    result_t (*init)(unsigned);
    result_t (*device_count)(int *);
    result_t (*retain)(crdma_cu_context_t *, int);
    result_t (*set_current)(crdma_cu_context_t);
    result_t (*synchronize)(void);
    result_t (*alloc)(crdma_cu_ptr_t *, size_t);
    result_t (*alloc_managed)(crdma_cu_ptr_t *, size_t, unsigned);
    result_t (*alloc_of_pool)(crdma_cu_ptr_t *, size_t, void *);
    result_t (*free)(crdma_cu_ptr_t);
    result_t (*host_alloc)(void **, size_t, unsigned);
    result_t (*host_free)(void *);
    result_t (*copy)(crdma_cu_ptr_t, crdma_cu_ptr_t, size_t);
    result_t (*fill_later)(crdma_cu_ptr_t, unsigned char, size_t, void *);
    void (*guard)(int);
    long (*calls)(const char *);
    void (*break_call)(const char *, long);
} cu;

static void check(result_t result, const char *call)
{
    if (0 != result) {
        test_fail("%s: CUDA error %d", call, result);
    }
}

#define CU(name, ...) check(cu.name(__VA_ARGS__), #name)

const char *gpu_open(int device)
{
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    crdma_cu_context_t context;
    int count = 0;

    if (NULL == library) {
        return "no libcuda.so.1 (without a GPU: tests/gpu/run --emulated)";
    }
#define GET(name, symbol) *(void **) &cu.name = dlsym(library, symbol)
    GET(init, "cuInit");
    GET(device_count, "cuDeviceGetCount");
    GET(retain, "cuDevicePrimaryCtxRetain");
    GET(set_current, "cuCtxSetCurrent");
    GET(synchronize, "cuCtxSynchronize");
    GET(alloc, "cuMemAlloc_v2");
    GET(alloc_managed, "cuMemAllocManaged");
    GET(alloc_of_pool, "cuMemAllocAsync");
    GET(free, "cuMemFree_v2");
    GET(host_alloc, "cuMemHostAlloc");
    GET(host_free, "cuMemFreeHost");
    GET(copy, "cuMemcpy");
    GET(fill_later, "cuMemsetD8Async");
    GET(guard, "fakecuda_guard");
    GET(calls, "fakecuda_calls");
    GET(break_call, "fakecuda_fail");
#undef GET
    if (0 != cu.init(0) || 0 != cu.device_count(&count) || 0 == count) {
        return "the driver has no GPU";
    }
    CU(retain, &context, device % count);
    CU(set_current, context);
    return NULL;
}

bool gpu_is_emulated(void)
{
    return NULL != cu.guard;
}

const char *gpu_kind_name(gpu_kind_t kind)
{
    static const char *const names[GPU_NKINDS] = {"host", "pinned", "managed", "device", "pool"};

    return names[kind];
}

void gpu_copy(void *to, const void *from, size_t bytes)
{
    CU(copy, (crdma_cu_ptr_t) (uintptr_t) to, (crdma_cu_ptr_t) (uintptr_t) from, bytes);
}

static void guards(const gpu_buffer_t *buffer, bool write)
{
    unsigned char expected[GUARD], found[GUARD];

    memset(expected, GUARD_BYTE, GUARD);
    for (int side = 0; side < 2; ++side) {
        char *at = 0 == side ? buffer->data - GUARD : buffer->data + buffer->bytes;

        if (write) {
            gpu_copy(at, expected, GUARD);
        } else {
            gpu_copy(found, at, GUARD);
            if (0 != memcmp(found, expected, GUARD)) {
                test_fail("bytes %s a buffer in %s memory were written",
                          0 == side ? "before" : "behind", gpu_kind_name(buffer->kind));
            }
        }
    }
}

gpu_buffer_t gpu_buffer_new(gpu_kind_t kind, size_t bytes, size_t offset)
{
    const size_t total = bytes + 2 * GUARD + 64;
    gpu_buffer_t buffer = {.kind = kind, .bytes = bytes};
    crdma_cu_ptr_t p = 0;
    void *host = NULL;

    switch (kind) {
    case GPU_PINNED: CU(host_alloc, &host, total, 0); break;
    case GPU_MANAGED: CU(alloc_managed, &p, total, CRDMA_CU_MEM_ATTACH_GLOBAL); break;
    case GPU_POOL:
        if (NULL != cu.alloc_of_pool && 0 == cu.alloc_of_pool(&p, total, NULL)) {
            CU(synchronize);
            break;
        }
        /* fall through */
    case GPU_DEVICE: CU(alloc, &p, total); break;
    default: host = aligned_alloc(64, (total + 63) / 64 * 64); break;
    }
    buffer.block = NULL != host ? host : (char *) (uintptr_t) p;
    if (NULL == buffer.block) {
        test_fail("out of memory");
    }
    buffer.data = buffer.block + GUARD + offset % 64;
    guards(&buffer, true);
    return buffer;
}

void gpu_buffer_free(gpu_buffer_t *buffer)
{
    switch (buffer->kind) {
    case GPU_HOST: free(buffer->block); break;
    case GPU_PINNED: CU(host_free, buffer->block); break;
    default: CU(free, (crdma_cu_ptr_t) (uintptr_t) buffer->block); break;
    }
    buffer->block = NULL;
}

void gpu_put(const gpu_buffer_t *buffer, const void *from)
{
    gpu_copy(buffer->data, from, buffer->bytes);
}

void gpu_get(const gpu_buffer_t *buffer, void *to)
{
    guards(buffer, false);
    gpu_copy(to, buffer->data, buffer->bytes);
}

void gpu_fill_later(const gpu_buffer_t *buffer, unsigned char value)
{
    if (GPU_MANAGED <= buffer->kind) {
        CU(fill_later, (crdma_cu_ptr_t) (uintptr_t) buffer->data, value, buffer->bytes, NULL);
    } else {
        memset(buffer->data, value, buffer->bytes);
    }
}

void gpu_guard(bool guarded)
{
    if (NULL != cu.guard) {
        cu.guard(guarded);
    }
}

long gpu_calls(const char *name)
{
    return NULL != cu.calls ? cu.calls(name) : 0;
}

void gpu_break_call(const char *name, long number)
{
    if (NULL != cu.break_call) {
        cu.break_call(name, number);
    }
}
