/*
 * GPU memory through the CUDA driver API, whose functions are looked up by name; see device.h.
 */
#include "perf/device.h"

#include <dlfcn.h>
#include <mpi.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static struct {
    int (*init)(unsigned);
    int (*count)(int *);
    int (*retain)(void **, int);
    int (*set_current)(void *);
    int (*alloc)(uint64_t *, size_t);
    int (*alloc_managed)(uint64_t *, size_t, unsigned);
    int (*alloc_host)(void **, size_t, unsigned);
    int (*copy)(uint64_t, uint64_t, size_t);
} cu;

static const struct {
    const char *symbol;
    void *function;
} table[] = {
    {"cuInit", &cu.init},
    {"cuDeviceGetCount", &cu.count},
    {"cuDevicePrimaryCtxRetain", &cu.retain},
    {"cuCtxSetCurrent", &cu.set_current},
    {"cuMemAlloc_v2", &cu.alloc},
    {"cuMemAllocManaged", &cu.alloc_managed},
    {"cuMemHostAlloc", &cu.alloc_host},
    {"cuMemcpy", &cu.copy},
};

int perf_device_find(const char *name, enum perf_device *device)
{
    static const char *const names[] = {"host", "cuda", "managed", "through"};

    for (int i = 0; i < 4; i++) {
        if (0 == strcmp(names[i], name)) {
            *device = (enum perf_device)i;
            return 1;
        }
    }
    return 0;
}

static void check(int result, const char *what)
{
    if (0 != result) {
        fprintf(stderr, "coll_rdma_perf: %s: CUDA error %d\n", what, result);
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
}

const char *perf_device_open(int index)
{
    void *library = dlopen("libcuda.so.1", RTLD_NOW), *context = NULL;
    int count = 0;

    if (NULL == library) {
        return "there is no libcuda.so.1, the driver of NVIDIA's GPUs";
    }
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        void *function = dlsym(library, table[i].symbol);

        if (NULL == function) {
            return "libcuda.so.1 is too old";
        }
        memcpy(table[i].function, &function, sizeof(function));
    }
    if (0 != cu.init(0) || 0 != cu.count(&count) || 0 == count) {
        return "the driver finds no GPU";
    }
    check(cu.retain(&context, index % count), "primary context");
    check(cu.set_current(context), "primary context");
    return NULL;
}

void *perf_device_new(enum perf_device device, size_t bytes)
{
    uint64_t memory = 0;
    void *host = NULL;

    if (PERF_HOST == device) {
        check(cu.alloc_host(&host, bytes, 0), "pinned memory");
        memset(host, 0, bytes);
        return host;
    }
    check(PERF_MANAGED == device ? cu.alloc_managed(&memory, bytes, 1) : cu.alloc(&memory, bytes),
          "GPU memory");
    return (void *)(uintptr_t)memory;
}

void perf_device_copy(void *to, const void *from, size_t bytes)
{
    check(cu.copy((uintptr_t)to, (uintptr_t)from, bytes), "copy");
}
