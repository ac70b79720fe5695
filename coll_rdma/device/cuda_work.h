/*
 * Work for a device, done in order, about whose progress the host asks without waiting: copies and
 * reductions of one call, in the first stream of a pipe (cuda.h). Each has a ticket; tickets are
 * done in order. A ticket that is done is complete: its results are in memory, and may be told to
 * other processes (engine/device.c says why that suffices).
 *
 * Errors stay: every later question returns CRDMA_ERR_DEVICE, and what was asked for is not done.
 */
#ifndef CRDMA_DEVICE_CUDA_WORK_H
#define CRDMA_DEVICE_CUDA_WORK_H

#include <stdint.h>

#include "coll_rdma/device/cuda_share.h"

/* A ticket for all that was asked for before, also of the legacy default stream. Never 0. */
uint64_t crdma_cuda_work_mark(crdma_cuda_pipe_t *pipe);
/* Tickets for a copy between any two kinds of memory, and for a reduction as
 * crdma_cuda_queue_reduce. */
uint64_t crdma_cuda_work_copy(crdma_cuda_pipe_t *pipe, void *dst, const void *src, size_t bytes);
uint64_t crdma_cuda_work_reduce(crdma_cuda_pipe_t *pipe, crdma_op_id_t op, crdma_type_id_t type,
                                void *dst, const void *const *src, int nsrc, size_t count,
                                void *partial);
/* The last ticket: when that is done, all are. */
uint64_t crdma_cuda_work_last(const crdma_cuda_pipe_t *pipe);
/* CRDMA_OK: done; CRDMA_AGAIN: not yet; an error: never. */
crdma_status_t crdma_cuda_work_poll(crdma_cuda_pipe_t *pipe, uint64_t ticket);
/* Wait for everything, also after an error. */
void crdma_cuda_work_wait(crdma_cuda_pipe_t *pipe);

/*
 * A call that works in GPU memory: where its work is done, and the memory from which messages are
 * sent, which peers may open: input, output, partial results.
 */
typedef struct crdma_cuda_area {
    const char *start;
    size_t bytes;
    crdma_cuda_name_t name;
} crdma_cuda_area_t;

enum { CRDMA_CUDA_AREAS = 3 };

typedef struct crdma_cuda_call {
    crdma_cuda_pipe_t *pipe;
    const void *on_device; /* any address of that device */
    crdma_op_id_t op;      /* CRDMA_OP_NONE: no reduction */
    crdma_type_id_t type;
    crdma_cuda_area_t areas[CRDMA_CUDA_AREAS];
    int nareas;
    bool refused; /* this process or a peer could not open the other's memory */
    bool exposed; /* after an error: adapters may still read or write its memory */
} crdma_cuda_call_t;

/* Let peers read [start, start + bytes) during the call. CRDMA_ERR_UNSUPPORTED if that cannot be.
 */
crdma_status_t crdma_cuda_call_share(crdma_cuda_call_t *call, const void *start, size_t bytes);
/* What peers open for p, which is in one of the areas. */
void crdma_cuda_call_name(const crdma_cuda_call_t *call, const void *p, crdma_cuda_name_t *name);

#endif
