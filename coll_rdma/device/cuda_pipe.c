/*
 * Copies of large buffers in pieces, beside other work.
 *
 *     in stream    | piece 0 | event | piece 1 | event | ...       all queued at once
 *     out stream             | first part | second part | ...      queued as parts become final
 *
 * Two streams, because a device copies in both directions at once. An event behind each piece tells
 * that it has arrived. Streams and events are kept for the next call where the driver numbers contexts
 * (cuCtxGetId, CUDA 12), which tells whether they are still alive; elsewhere they are made anew.
 *
 * PIECE_LEAST has not been measured on a GPU: it is some ten microseconds of a PCIe link, above what
 * starting a copy costs.
 */
#include <pthread.h>
#include <stdlib.h>

#include "coll_rdma/base/log.h"
#include "coll_rdma/device/cuda_internal.h"

#define PIECE_LEAST ((size_t) 128 << 10)
enum { PIECES = CRDMA_CUDA_EVENTS, MAX_FREE = 8 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static crdma_cuda_pipe_t *pipes; /* free ones */

void crdma_cuda_pipe_fail(crdma_cuda_pipe_t *pipe, const char *what, crdma_cu_result_t result)
{
    if (CRDMA_CU_SUCCESS == pipe->result && CRDMA_CU_SUCCESS != result) {
        pipe->result = result;
        crdma_cuda_complain(crdma_cuda_api(), what, result);
    }
}

/* Its context is current. */
static void destroy(const crdma_cu_api_t *cu, crdma_cuda_pipe_t *pipe)
{
    for (int i = 0; i < PIECES; ++i) {
        if (NULL != pipe->events[i]) {
            (void) cu->event_destroy(pipe->events[i]);
        }
    }
    if (NULL != pipe->in) {
        (void) cu->stream_destroy(pipe->in);
    }
    if (NULL != pipe->out) {
        (void) cu->stream_destroy(pipe->out);
    }
    free(pipe);
}

static crdma_cuda_pipe_t *create(const crdma_cu_api_t *cu, crdma_cu_context_t context,
                                 unsigned long long id)
{
    crdma_cuda_pipe_t *pipe = calloc(1, sizeof(*pipe));
    crdma_cu_result_t result;

    if (NULL == pipe) {
        return NULL;
    }
    pipe->context = context;
    pipe->id = id;
    result = cu->stream_create(&pipe->in, CRDMA_CU_STREAM_DEFAULT);
    if (CRDMA_CU_SUCCESS == result) {
        result = cu->stream_create(&pipe->out, CRDMA_CU_STREAM_DEFAULT);
    }
    for (int i = 0; i < PIECES && CRDMA_CU_SUCCESS == result; ++i) {
        result = cu->event_create(&pipe->events[i], CRDMA_CU_EVENT_DISABLE_TIMING);
    }
    if (CRDMA_CU_SUCCESS != result) {
        crdma_cuda_complain(cu, "streams and events", result);
        destroy(cu, pipe);
        return NULL;
    }
    return pipe;
}

/* A free one of the context, out of the list. Those of an earlier context at its address are dropped:
 * their handles went with it. */
static crdma_cuda_pipe_t *take(crdma_cu_context_t context, unsigned long long id)
{
    crdma_cuda_pipe_t *found = NULL;

    pthread_mutex_lock(&lock);
    for (crdma_cuda_pipe_t **at = &pipes; NULL == found && NULL != *at;) {
        crdma_cuda_pipe_t *pipe = *at;

        if (pipe->context != context) {
            at = &pipe->next;
            continue;
        }
        *at = pipe->next;
        if (pipe->id == id) {
            found = pipe;
        } else {
            free(pipe);
        }
    }
    pthread_mutex_unlock(&lock);
    return found;
}

crdma_cuda_pipe_t *crdma_cuda_pipe_get(const void *on_device)
{
    const crdma_cu_api_t *cu = crdma_cuda_api();
    crdma_cuda_pipe_t *pipe = NULL;
    crdma_cu_context_t context;
    crdma_cu_device_t device;
    unsigned long long id;
    bool pushed;

    context = NULL == cu ? NULL : crdma_cuda_context_of(cu, on_device, &device);
    if (NULL == context || CRDMA_CU_SUCCESS != crdma_cuda_enter(cu, context, &pushed)) {
        return NULL;
    }
    id = crdma_cuda_context_id(cu, context);
    pipe = take(context, id);
    if (NULL == pipe) {
        pipe = create(cu, context, id);
    }
    crdma_cuda_leave(cu, pushed);
    if (NULL != pipe) {
        pipe->piece = 0;
        pipe->started = pipe->arrived = 0;
        pipe->asked = pipe->done = 0;
        pipe->result = CRDMA_CU_SUCCESS;
    }
    return pipe;
}

void crdma_cuda_pipe_read(crdma_cuda_pipe_t *pipe, void *dst, const void *src, size_t bytes)
{
    const crdma_cu_api_t *cu = crdma_cuda_api();
    size_t piece = (bytes + PIECES - 1) / PIECES;
    bool pushed = false;

    piece = piece < PIECE_LEAST ? PIECE_LEAST : (piece + 4095) / 4096 * 4096;
    pipe->piece = piece;
    crdma_cuda_pipe_fail(pipe, "cuCtxPushCurrent", crdma_cuda_enter(cu, pipe->context, &pushed));
    for (size_t off = 0; off < bytes && CRDMA_CU_SUCCESS == pipe->result; off += piece) {
        const size_t n = bytes - off < piece ? bytes - off : piece;

        crdma_cuda_pipe_fail(pipe, "cuMemcpyAsync",
             cu->memcpy_async((uintptr_t) dst + off, (uintptr_t) src + off, n, pipe->in));
        crdma_cuda_pipe_fail(pipe, "cuEventRecord", cu->event_record(pipe->events[pipe->started], pipe->in));
        ++pipe->started;
    }
    crdma_cuda_leave(cu, pushed);
}

crdma_status_t crdma_cuda_pipe_arrived(crdma_cuda_pipe_t *pipe, size_t bytes)
{
    const crdma_cu_api_t *cu = crdma_cuda_api();
    bool pushed;

    while (CRDMA_CU_SUCCESS == pipe->result && pipe->arrived < pipe->started
           && (size_t) pipe->arrived * pipe->piece < bytes) {
        crdma_cu_result_t result = crdma_cuda_enter(cu, pipe->context, &pushed);

        if (CRDMA_CU_SUCCESS == result) {
            result = cu->event_query(pipe->events[pipe->arrived]);
            crdma_cuda_leave(cu, pushed);
        }
        if (CRDMA_CU_NOT_READY == result) {
            return CRDMA_AGAIN;
        }
        crdma_cuda_pipe_fail(pipe, "cuEventQuery", result);
        ++pipe->arrived;
    }
    return CRDMA_CU_SUCCESS == pipe->result ? CRDMA_OK : CRDMA_ERR_DEVICE;
}

void crdma_cuda_pipe_write(crdma_cuda_pipe_t *pipe, void *dst, const void *src, size_t bytes)
{
    const crdma_cu_api_t *cu = crdma_cuda_api();
    bool pushed = false;

    if (0 != bytes && CRDMA_CU_SUCCESS == pipe->result) {
        crdma_cuda_pipe_fail(pipe, "cuCtxPushCurrent", crdma_cuda_enter(cu, pipe->context, &pushed));
        crdma_cuda_pipe_fail(pipe, "cuMemcpyAsync",
             cu->memcpy_async((uintptr_t) dst, (uintptr_t) src, bytes, pipe->out));
        crdma_cuda_leave(cu, pushed);
    }
}

crdma_status_t crdma_cuda_pipe_put(crdma_cuda_pipe_t *pipe)
{
    const crdma_cu_api_t *cu = crdma_cuda_api();
    crdma_cuda_pipe_t *excess = pipe;
    crdma_status_t status;
    bool pushed = false;
    int n = 0;

    crdma_cuda_pipe_fail(pipe, "cuCtxPushCurrent", crdma_cuda_enter(cu, pipe->context, &pushed));
    crdma_cuda_pipe_fail(pipe, "cuStreamSynchronize", cu->stream_synchronize(pipe->in));
    crdma_cuda_pipe_fail(pipe, "cuStreamSynchronize", cu->stream_synchronize(pipe->out));
    status = CRDMA_CU_SUCCESS == pipe->result ? CRDMA_OK : CRDMA_ERR_DEVICE;
    if (CRDMA_OK == status && 0 != pipe->id) {
        pthread_mutex_lock(&lock);
        for (const crdma_cuda_pipe_t *p = pipes; NULL != p; p = p->next) {
            ++n;
        }
        if (n < MAX_FREE) {
            pipe->next = pipes;
            pipes = pipe;
            excess = NULL;
        }
        pthread_mutex_unlock(&lock);
    }
    if (NULL != excess) {
        destroy(cu, excess);
    }
    crdma_cuda_leave(cu, pushed);
    return status;
}

void crdma_cuda_close_pipes(const crdma_cu_api_t *cu)
{
    while (NULL != pipes) {
        crdma_cuda_pipe_t *pipe = pipes;
        bool pushed;

        pipes = pipe->next;
        if (crdma_cuda_context_id(cu, pipe->context) == pipe->id
            && CRDMA_CU_SUCCESS == crdma_cuda_enter(cu, pipe->context, &pushed)) {
            destroy(cu, pipe);
            crdma_cuda_leave(cu, pushed);
        } else {
            free(pipe);
        }
    }
}
