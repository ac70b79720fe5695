/*
 * Work for a device, done in order, about whose progress the host asks without waiting: copies and
 * reductions of one call, in the first stream of a pipe (cuda.h). Each has a ticket; tickets are done in
 * order. A ticket that is done is complete: its results are in memory, and may be told to other processes
 * (engine/device.c says why that suffices).
 *
 * Errors stay: every later question returns CRDMA_ERR_DEVICE, and what was asked for is not done.
 */
#ifndef CRDMA_DEVICE_CUDA_WORK_H
#define CRDMA_DEVICE_CUDA_WORK_H

#include <stdint.h>

#include "coll_rdma/device/cuda.h"

/* A ticket for all that was asked for before, also of the legacy default stream. Never 0. */
uint64_t crdma_cuda_work_mark(crdma_cuda_pipe_t *pipe);
/* Tickets for a copy between any two kinds of memory, and for a reduction as crdma_cuda_queue_reduce. */
uint64_t crdma_cuda_work_copy(crdma_cuda_pipe_t *pipe, void *dst, const void *src, size_t bytes);
uint64_t crdma_cuda_work_reduce(crdma_cuda_pipe_t *pipe, crdma_op_id_t op, crdma_type_id_t type,
                                void *dst, const void *const *src, int nsrc, size_t count);
/* CRDMA_OK: done; CRDMA_AGAIN: not yet; an error: never. */
crdma_status_t crdma_cuda_work_poll(crdma_cuda_pipe_t *pipe, uint64_t ticket);
/* Wait for everything, also after an error. */
void crdma_cuda_work_wait(crdma_cuda_pipe_t *pipe);

#endif
