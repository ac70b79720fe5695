/*
 * Tickets: number n is done when event n % CRDMA_CUDA_EVENTS, recorded behind it, is. An event that
 * is needed again is of a ticket that many numbers earlier; while that is not done, the host waits
 * for it, which happens only if a step of a call has more peers than there are events.
 */
#include "coll_rdma/device/cuda_work.h"

#include <stdlib.h>

#include "coll_rdma/device/cuda_internal.h"

/* The pipe's context is current for each piece of work: the caller's thread keeps its own. */
static bool enter(crdma_cuda_pipe_t *pipe, bool *pushed)
{
    *pushed = false;
    if (CRDMA_CU_SUCCESS == pipe->result) {
        crdma_cuda_pipe_fail(pipe, "cuCtxPushCurrent",
                             crdma_cuda_enter(crdma_cuda_api(), pipe->context, pushed));
    }
    return CRDMA_CU_SUCCESS == pipe->result;
}

static uint64_t ticket(crdma_cuda_pipe_t *pipe, const crdma_cu_api_t *cu)
{
    if (CRDMA_CUDA_EVENTS <= pipe->asked - pipe->done) {
        crdma_cuda_pipe_fail(pipe, "cuStreamSynchronize", cu->stream_synchronize(pipe->in));
        pipe->done = pipe->asked;
    }
    ++pipe->asked;
    if (CRDMA_CU_SUCCESS == pipe->result) {
        crdma_cuda_pipe_fail(
            pipe, "cuEventRecord",
            cu->event_record(pipe->events[pipe->asked % CRDMA_CUDA_EVENTS], pipe->in));
    }
    return pipe->asked;
}

uint64_t crdma_cuda_work_mark(crdma_cuda_pipe_t *pipe)
{
    return crdma_cuda_work_copy(pipe, NULL, NULL, 0);
}

uint64_t crdma_cuda_work_copy(crdma_cuda_pipe_t *pipe, void *dst, const void *src, size_t bytes)
{
    const crdma_cu_api_t *cu = crdma_cuda_api();
    uint64_t number;
    bool pushed;

    if (enter(pipe, &pushed) && 0 != bytes) {
        crdma_cuda_pipe_fail(pipe, "cuMemcpyAsync",
                             cu->memcpy_async((crdma_cu_ptr_t)(uintptr_t)dst,
                                              (crdma_cu_ptr_t)(uintptr_t)src, bytes, pipe->in));
    }
    number = ticket(pipe, cu);
    crdma_cuda_leave(cu, pushed);
    return number;
}

uint64_t crdma_cuda_work_reduce(crdma_cuda_pipe_t *pipe, crdma_op_id_t op, crdma_type_id_t type,
                                void *dst, const void *const *src, int nsrc, size_t count,
                                void *partial)
{
    const crdma_cu_api_t *cu = crdma_cuda_api();
    uint64_t number;
    bool pushed;

    if (enter(pipe, &pushed)) {
        crdma_cuda_queue_t queue = {.context = pipe->context, .stream = pipe->in};

        crdma_cuda_queue_reduce(&queue, op, type, dst, src, nsrc, count, partial);
        if (CRDMA_OK != queue.status) { /* and logged */
            pipe->result = CRDMA_CU_LAUNCH_FAILED;
        }
    }
    number = ticket(pipe, cu);
    crdma_cuda_leave(cu, pushed);
    return number;
}

uint64_t crdma_cuda_work_last(const crdma_cuda_pipe_t *pipe)
{
    return pipe->asked;
}

crdma_status_t crdma_cuda_work_poll(crdma_cuda_pipe_t *pipe, uint64_t number)
{
    const crdma_cu_api_t *cu = crdma_cuda_api();
    bool pushed;

    while (pipe->done < number && enter(pipe, &pushed)) {
        const crdma_cu_result_t result =
            cu->event_query(pipe->events[(pipe->done + 1) % CRDMA_CUDA_EVENTS]);

        crdma_cuda_leave(cu, pushed);
        if (CRDMA_CU_NOT_READY == result) {
            return CRDMA_AGAIN;
        }
        crdma_cuda_pipe_fail(pipe, "cuEventQuery", result);
        if (CRDMA_CU_SUCCESS == result) {
            ++pipe->done;
        }
    }
    return CRDMA_CU_SUCCESS == pipe->result ? CRDMA_OK : CRDMA_ERR_DEVICE;
}

void crdma_cuda_work_wait(crdma_cuda_pipe_t *pipe)
{
    const crdma_cu_api_t *cu = crdma_cuda_api();
    bool pushed;

    if (CRDMA_CU_SUCCESS == crdma_cuda_enter(cu, pipe->context, &pushed)) {
        crdma_cuda_pipe_fail(pipe, "cuStreamSynchronize", cu->stream_synchronize(pipe->in));
        crdma_cuda_leave(cu, pushed);
    }
    pipe->done = pipe->asked;
}

crdma_status_t crdma_cuda_call_share(crdma_cuda_call_t *call, const void *start, size_t bytes)
{
    crdma_cuda_area_t *area = &call->areas[call->nareas];
    crdma_status_t status;

    if (CRDMA_CUDA_AREAS == call->nareas) {
        return CRDMA_ERR_UNSUPPORTED;
    }
    status = crdma_cuda_share(start, bytes, &area->name);
    if (CRDMA_OK == status) {
        area->start = start;
        area->bytes = bytes;
        ++call->nareas;
    }
    return status;
}

void crdma_cuda_call_name(const crdma_cuda_call_t *call, const void *p, crdma_cuda_name_t *name)
{
    const char *at = p;

    for (int i = 0; i < call->nareas; ++i) {
        const crdma_cuda_area_t *area = &call->areas[i];

        if (at >= area->start && at < area->start + area->bytes) {
            *name = area->name;
            name->offset += (uint64_t)(at - area->start);
            return;
        }
    }
    abort(); /* the engine sends from its buffers only */
}
