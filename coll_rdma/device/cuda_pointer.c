/*
 * What the driver knows about an address: kind of memory, device, context.
 *
 * One call of cuPointerGetAttributes answers all questions, without a context of the thread. It
 * succeeds for any address; what CUDA does not know has memory type 0. Before the application has
 * called cuInit it fails, and then there is no device memory either.
 */
#include <pthread.h>

#include "coll_rdma/device/cuda_internal.h"

enum { MAX_DEVICES = 64 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static crdma_cu_context_t primary[MAX_DEVICES]; /* retained by us */

const char *crdma_memory_kind_name(crdma_memory_kind_t kind)
{
    static const char *const names[] = {"host", "pinned", "managed", "device"};

    return (unsigned) kind < sizeof(names) / sizeof(names[0]) ? names[kind] : "unknown";
}

static crdma_memory_kind_t kind_of(unsigned type, unsigned managed)
{
    if (0 == type) {
        return CRDMA_MEMORY_HOST;
    }
    if (0 != managed) {
        return CRDMA_MEMORY_MANAGED;
    }
    return CRDMA_CU_MEMORY_HOST == type ? CRDMA_MEMORY_PINNED : CRDMA_MEMORY_DEVICE;
}

crdma_memory_kind_t crdma_cuda_kind(const void *p)
{
    static const int wanted[] = {CRDMA_CU_POINTER_MEMORY_TYPE, CRDMA_CU_POINTER_IS_MANAGED};
    const crdma_cu_api_t *cu = crdma_cuda_api();
    unsigned type = 0, managed = 0;
    void *values[] = {&type, &managed};

    if (NULL == cu || NULL == p
        || CRDMA_CU_SUCCESS
               != cu->pointer_get_attributes(2, wanted, values, (crdma_cu_ptr_t) (uintptr_t) p)) {
        return CRDMA_MEMORY_HOST;
    }
    return kind_of(type, managed);
}

static crdma_cu_context_t primary_of(const crdma_cu_api_t *cu, crdma_cu_device_t device)
{
    crdma_cu_context_t context = NULL;
    crdma_cu_result_t result;

    if (0 > device || MAX_DEVICES <= device) {
        return NULL;
    }
    pthread_mutex_lock(&lock);
    if (NULL == primary[device]) {
        result = cu->primary_ctx_retain(&primary[device], device);
        if (CRDMA_CU_SUCCESS != result) {
            primary[device] = NULL;
            crdma_cuda_complain(cu, "cuDevicePrimaryCtxRetain", result);
        }
    }
    context = primary[device];
    pthread_mutex_unlock(&lock);
    return context;
}

crdma_cu_context_t crdma_cuda_context_of(const crdma_cu_api_t *cu, const void *p,
                                         crdma_cu_device_t *device)
{
    static const int wanted[] = {CRDMA_CU_POINTER_MEMORY_TYPE, CRDMA_CU_POINTER_CONTEXT,
                                 CRDMA_CU_POINTER_DEVICE_ORDINAL};
    crdma_cu_context_t context = NULL, current = NULL;
    crdma_cu_device_t ordinal = -1, here = -1;
    unsigned type = 0;
    void *values[] = {&type, &context, &ordinal};

    if (CRDMA_CU_SUCCESS
            != cu->pointer_get_attributes(3, wanted, values, (crdma_cu_ptr_t) (uintptr_t) p)
        || 0 == type) {
        return NULL;
    }
    *device = ordinal;
    if (NULL != context) {
        return context;
    }
    if (CRDMA_CU_SUCCESS == cu->ctx_get_current(&current) && NULL != current
        && CRDMA_CU_SUCCESS == cu->ctx_get_device(&here) && here == ordinal) {
        return current;
    }
    return primary_of(cu, ordinal);
}

bool crdma_cuda_find_allocation(const crdma_cu_api_t *cu, const void *p, size_t bytes,
                                crdma_cuda_allocation_t *a)
{
    static const int wanted[] = {CRDMA_CU_POINTER_MEMORY_TYPE, CRDMA_CU_POINTER_IS_MANAGED,
                                 CRDMA_CU_POINTER_CONTEXT,     CRDMA_CU_POINTER_BUFFER_ID,
                                 CRDMA_CU_POINTER_RANGE_START, CRDMA_CU_POINTER_RANGE_SIZE};
    const crdma_cu_ptr_t at = (crdma_cu_ptr_t) (uintptr_t) p;
    unsigned type = 0, managed = 0;
    void *values[] = {&type, &managed, &a->context, &a->number, &a->base, &a->bytes};

    *a = (crdma_cuda_allocation_t) {0};
    return CRDMA_CU_SUCCESS == cu->pointer_get_attributes(6, wanted, values, at)
           && CRDMA_CU_MEMORY_DEVICE == type && 0 == managed && NULL != a->context
           && 0 != a->number && at >= a->base && a->bytes >= at - a->base
           && a->bytes - (at - a->base) >= bytes;
}

bool crdma_cuda_same_context(const void *p, const void *q)
{
    const crdma_cu_api_t *cu = crdma_cuda_api();
    crdma_cu_device_t device;

    return NULL != cu
           && crdma_cuda_context_of(cu, p, &device) == crdma_cuda_context_of(cu, q, &device);
}

void crdma_cuda_release_contexts(const crdma_cu_api_t *cu)
{
    for (int i = 0; i < MAX_DEVICES; ++i) {
        if (NULL != primary[i]) {
            (void) cu->primary_ctx_release(i);
            primary[i] = NULL;
        }
    }
}

crdma_cu_result_t crdma_cuda_enter(const crdma_cu_api_t *cu, crdma_cu_context_t context,
                                   bool *pushed)
{
    crdma_cu_context_t current = NULL;
    crdma_cu_result_t result = cu->ctx_get_current(&current);

    *pushed = false;
    if (CRDMA_CU_SUCCESS == result && current != context) {
        result = cu->ctx_push(context);
        *pushed = CRDMA_CU_SUCCESS == result;
    }
    return result;
}

void crdma_cuda_leave(const crdma_cu_api_t *cu, bool pushed)
{
    crdma_cu_context_t context;

    if (pushed) {
        (void) cu->ctx_pop(&context);
    }
}
