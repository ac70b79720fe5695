/*
 * GPU memory for network adapters; cuda_rdma.h says what must be awaited, and why.
 *
 * What a device can do is asked once and kept by its number.
 */
#include "coll_rdma/device/cuda_rdma.h"

#include <unistd.h>

#include "coll_rdma/base/log.h"
#include "coll_rdma/device/cuda_internal.h"

enum { MAX_DEVICES = 64 };
enum { UNKNOWN = 0, IMPOSSIBLE, ORDERED, FLUSHED };

static int known[MAX_DEVICES]; /* threads that meet find the same */

static int attribute(const crdma_cu_api_t *cu, int which, crdma_cu_device_t device)
{
    int value = 0;

    return CRDMA_CU_SUCCESS == cu->device_get_attribute(&value, which, device) ? value : 0;
}

static int find_out(const crdma_cu_api_t *cu, crdma_cu_device_t device)
{
    const char *how = "flushed";
    int found = FLUSHED;

    if (0 == attribute(cu, CRDMA_CU_RDMA_SUPPORTED, device)) {
        how = "impossible";
        found = IMPOSSIBLE;
    } else if (CRDMA_CU_ORDERED_FOR_ALL <= attribute(cu, CRDMA_CU_RDMA_ORDERING, device)) {
        how = "in order";
        found = ORDERED;
    } else if (NULL == cu->flush_rdma_writes ||
               0 == (CRDMA_CU_FLUSH_BY_HOST & attribute(cu, CRDMA_CU_RDMA_FLUSH_OPTIONS, device))) {
        how = "neither in order nor to be flushed";
        found = IMPOSSIBLE;
    }
    crdma_log(CRDMA_LOG_SETUP, "GPU %d: writes of network adapters are %s", device, how);
    return found;
}

static int kind_of(const crdma_cu_api_t *cu, crdma_cu_device_t device)
{
    int kind;

    if (0 > device || MAX_DEVICES <= device) {
        return IMPOSSIBLE;
    }
    kind = __atomic_load_n(&known[device], __ATOMIC_RELAXED);
    if (UNKNOWN == kind) {
        kind = find_out(cu, device);
        __atomic_store_n(&known[device], kind, __ATOMIC_RELAXED);
    }
    return kind;
}

bool crdma_cuda_rdma_possible(const void *p)
{
    const crdma_cu_api_t *cu = crdma_cuda_api();
    crdma_cu_device_t device = -1;

    return NULL != cu && NULL != crdma_cuda_context_of(cu, p, &device) &&
           IMPOSSIBLE != kind_of(cu, device);
}

crdma_status_t crdma_cuda_rdma_flush(const crdma_cuda_pipe_t *pipe)
{
    const crdma_cu_api_t *cu = crdma_cuda_api();
    crdma_cu_device_t device = -1;
    bool pushed;
    crdma_cu_result_t result = crdma_cuda_enter(cu, pipe->context, &pushed);

    if (CRDMA_CU_SUCCESS == result) {
        result = cu->ctx_get_device(&device);
        if (CRDMA_CU_SUCCESS == result && ORDERED != kind_of(cu, device)) {
            result = cu->flush_rdma_writes(CRDMA_CU_FLUSH_OF_CONTEXT, CRDMA_CU_FLUSH_FOR_ALL);
        }
        crdma_cuda_leave(cu, pushed);
    }
    if (CRDMA_CU_SUCCESS != result) {
        crdma_cuda_complain(cu, "cuFlushGPUDirectRDMAWrites", result);
        return CRDMA_ERR_DEVICE;
    }
    return CRDMA_OK;
}

bool crdma_cuda_rdma_range(const void *p, size_t bytes, crdma_cuda_range_t *range)
{
    const crdma_cu_api_t *cu = crdma_cuda_api();
    crdma_cuda_allocation_t a;

    if (NULL == cu || !crdma_cuda_find_allocation(cu, p, bytes, &a)) {
        return false;
    }
    *range = (crdma_cuda_range_t){.number = a.number, .base = (uintptr_t)a.base, .bytes = a.bytes};
    return true;
}

int crdma_cuda_rdma_dmabuf(uintptr_t start, uintptr_t end)
{
    const crdma_cu_api_t *cu = crdma_cuda_api();
    crdma_cu_device_t device;
    crdma_cu_context_t context;
    bool pushed;
    int fd = -1;

    if (NULL == cu || NULL == cu->mem_get_handle) {
        return -1;
    }
    context = crdma_cuda_context_of(cu, (const void *)start, &device);
    if (NULL == context || 0 == attribute(cu, CRDMA_CU_DMA_BUF_SUPPORTED, device) ||
        CRDMA_CU_SUCCESS != crdma_cuda_enter(cu, context, &pushed)) {
        return -1;
    }
    if (CRDMA_CU_SUCCESS !=
        cu->mem_get_handle(&fd, start, end - start, CRDMA_CU_HANDLE_DMA_BUF, 0)) {
        fd = -1;
    }
    crdma_cuda_leave(cu, pushed);
    return fd;
}
