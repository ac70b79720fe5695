/*
 * Copies between the host and GPUs.
 *
 * One stream per context, made at first need and kept. It is an ordinary ("blocking") stream: what it
 * does is ordered behind what the application has queued in the legacy default stream, so a
 * cudaMemcpy from pageable memory, whose last part may still be on its way when it returns, or a kernel of
 * a PyTorch program has finished before we read. It does not wait for other streams of the
 * application, so computation there overlaps with communication.
 *
 * Contexts may be destroyed, and another one may get the same address. Where the driver numbers
 * contexts (cuCtxGetId, CUDA 12) the number tells; elsewhere a copy that fails with one of
 * the errors for dead handles is tried once more with a new stream.
 */
#include <pthread.h>

#include "coll_rdma/base/log.h"
#include "coll_rdma/device/cuda_internal.h"

enum { MAX_STREAMS = 32 };

typedef struct entry {
    crdma_cu_context_t context; /* NULL: free */
    unsigned long long id;
    crdma_cu_stream_t stream;
} entry_t;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static entry_t entries[MAX_STREAMS];
static int next_victim;
static unsigned generation;

unsigned crdma_cuda_generation(void)
{
    return __atomic_load_n(&generation, __ATOMIC_RELAXED);
}

static bool is_dead_handle(crdma_cu_result_t result)
{
    return CRDMA_CU_INVALID_HANDLE == result || CRDMA_CU_INVALID_CONTEXT == result
           || CRDMA_CU_CONTEXT_IS_DESTROYED == result;
}

unsigned long long crdma_cuda_context_id(const crdma_cu_api_t *cu, crdma_cu_context_t context)
{
    unsigned long long id = 0;

    if (NULL != cu->ctx_get_id && CRDMA_CU_SUCCESS != cu->ctx_get_id(context, &id)) {
        id = 0;
    }
    return id;
}

/* The stream of the context, which is current. *made: only now. */
static crdma_cu_result_t stream_of(const crdma_cu_api_t *cu, crdma_cu_context_t context,
                                   crdma_cu_stream_t *stream, bool *made)
{
    const unsigned long long id = crdma_cuda_context_id(cu, context);
    crdma_cu_result_t result = CRDMA_CU_SUCCESS;
    entry_t *entry = NULL;

    *made = false;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < MAX_STREAMS; ++i) {
        if (entries[i].context == context) {
            entry = &entries[i];
            if (entry->id != id) { /* another context at the address of one that is gone */
                entry->context = NULL;
                ++generation;
            }
            break;
        }
        if (NULL == entry && NULL == entries[i].context) {
            entry = &entries[i];
        }
    }
    if (NULL == entry) {
        entry = &entries[next_victim]; /* its stream goes with its context */
        next_victim = (next_victim + 1) % MAX_STREAMS;
        entry->context = NULL;
    }
    if (NULL == entry->context) {
        result = cu->stream_create(&entry->stream, CRDMA_CU_STREAM_DEFAULT);
        if (CRDMA_CU_SUCCESS == result) {
            entry->context = context;
            entry->id = id;
            *made = true;
        }
    }
    *stream = entry->stream;
    pthread_mutex_unlock(&lock);
    return result;
}

static void forget(crdma_cu_context_t context)
{
    pthread_mutex_lock(&lock);
    for (int i = 0; i < MAX_STREAMS; ++i) {
        if (entries[i].context == context) {
            entries[i].context = NULL;
            ++generation;
        }
    }
    pthread_mutex_unlock(&lock);
}

void crdma_cuda_queue_fail(crdma_cuda_queue_t *queue, const char *what, crdma_cu_result_t result)
{
    if (CRDMA_OK == queue->status) {
        queue->status = CRDMA_ERR_DEVICE;
        crdma_cuda_complain(crdma_cuda_api(), what, result);
    }
}

void crdma_cuda_queue_begin(crdma_cuda_queue_t *queue, const void *on_device)
{
    const crdma_cu_api_t *cu = crdma_cuda_api();
    crdma_cu_device_t device;
    crdma_cu_stream_t stream = NULL;
    crdma_cu_result_t result;
    crdma_cu_context_t context;

    *queue = (crdma_cuda_queue_t) {.status = CRDMA_OK};
    context = NULL == cu ? NULL : crdma_cuda_context_of(cu, on_device, &device);
    if (NULL == context) {
        queue->status = CRDMA_ERR_DEVICE;
        crdma_log(CRDMA_LOG_ERROR, "GPU: no context for the memory at %p", on_device);
        return;
    }
    result = crdma_cuda_enter(cu, context, &queue->pushed);
    if (CRDMA_CU_SUCCESS != result) {
        crdma_cuda_queue_fail(queue, "cuCtxPushCurrent", result);
        return;
    }
    result = stream_of(cu, context, &stream, &queue->fresh);
    if (CRDMA_CU_SUCCESS != result) {
        crdma_cuda_queue_fail(queue, "cuStreamCreate", result);
        return;
    }
    queue->context = context;
    queue->stream = stream;
}

void crdma_cuda_queue_copy(crdma_cuda_queue_t *queue, void *dst, const void *src, size_t bytes)
{
    const crdma_cu_api_t *cu = crdma_cuda_api();
    const crdma_cu_ptr_t to = (crdma_cu_ptr_t) (uintptr_t) dst;
    const crdma_cu_ptr_t from = (crdma_cu_ptr_t) (uintptr_t) src;
    crdma_cu_stream_t stream = queue->stream;
    crdma_cu_result_t result;

    if (CRDMA_OK != queue->status || 0 == bytes) {
        return;
    }
    result = cu->memcpy_async(to, from, bytes, stream);
    if (is_dead_handle(result) && !queue->fresh) {
        forget(queue->context);
        result = stream_of(cu, queue->context, &stream, &queue->fresh);
        queue->stream = CRDMA_CU_SUCCESS == result ? stream : NULL;
        if (CRDMA_CU_SUCCESS == result) {
            result = cu->memcpy_async(to, from, bytes, stream);
        }
    }
    queue->fresh = true; /* it has worked once */
    if (CRDMA_CU_SUCCESS != result) {
        crdma_cuda_queue_fail(queue, "cuMemcpyAsync", result);
    }
}

crdma_status_t crdma_cuda_queue_end(crdma_cuda_queue_t *queue)
{
    const crdma_cu_api_t *cu = crdma_cuda_api();

    if (NULL != queue->stream) {
        /* After an error too: the caller reuses its host memory. */
        const crdma_cu_result_t result = cu->stream_synchronize(queue->stream);

        if (CRDMA_CU_SUCCESS != result) {
            crdma_cuda_queue_fail(queue, "cuStreamSynchronize", result);
        }
    }
    if (NULL != cu) {
        crdma_cuda_leave(cu, queue->pushed);
    }
    return queue->status;
}

void crdma_cuda_close_streams(const crdma_cu_api_t *cu)
{
    for (int i = 0; i < MAX_STREAMS; ++i) {
        entry_t *entry = &entries[i];
        bool pushed;

        /* A stream of a context that is gone went with it. */
        if (NULL != entry->context && crdma_cuda_context_id(cu, entry->context) == entry->id
            && CRDMA_CU_SUCCESS == crdma_cuda_enter(cu, entry->context, &pushed)) {
            (void) cu->stream_destroy(entry->stream);
            crdma_cuda_leave(cu, pushed);
        }
        entry->context = NULL;
    }
}
