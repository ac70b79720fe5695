/*
 * GPU memory that a network adapter reads and writes by itself (GPUDirect RDMA).
 *
 * Reading: what the driver has said is complete (cuda_work.h) is what the adapter reads.
 *
 * Writing is the difficult direction. An adapter writes the data to the GPU and then the news of
 * them, a flag or a completion, to host memory. Both are posted writes over the bus, and on a bus
 * posted writes to two different targets arrive in any order: the host may see the news while the
 * data are on their way to the GPU, or in front of it. It is no way out to let the receiver read
 * (RDMA read) instead of the sender write: the completion of a read is a write to host memory just
 * the same. Three things can be true of a device
 * (CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WRITES_ORDERING and _FLUSH_WRITES_OPTIONS):
 *
 *   1. it keeps the order for all devices: work that is started after the host has seen the news
 *      sees the data;
 *   2. it keeps it for itself only, or not at all, but the host can flush
 *      (cuFlushGPUDirectRDMAWrites): a read by the host that reaches the GPU behind the writes, and
 *      pushes them. Work that is started after the flush, on any device, sees the data. Owner-only
 *      order is flushed too, because other ranks of the host, with other devices, read the memory
 *      through CUDA IPC;
 *   3. neither: then adapters must not write to it, and data come through the host.
 *
 * So the order is: flag or completion seen (acquire), crdma_cuda_rdma_flush, then the first copy or
 * kernel that reads the data, and before anybody else is told of them.
 */
#ifndef CRDMA_DEVICE_CUDA_RDMA_H
#define CRDMA_DEVICE_CUDA_RDMA_H

#include <stdint.h>

#include "coll_rdma/device/cuda.h"

/* Is the memory at p on a device of kind 1 or 2? */
bool crdma_cuda_rdma_possible(const void *p);

/* All that adapters have written to the pipe's device, as far as the host has news of it, is seen
 * by work that is started from now on. */
crdma_status_t crdma_cuda_rdma_flush(const crdma_cuda_pipe_t *pipe);

/* An allocation of GPU memory; its number is never used again. */
typedef struct crdma_cuda_range {
    uint64_t number;
    uintptr_t base;
    size_t bytes;
} crdma_cuda_range_t;

/* The allocation that [p, p + bytes) is in. False: it is in none that can be told apart from
 * others. */
bool crdma_cuda_rdma_range(const void *p, size_t bytes, crdma_cuda_range_t *range);

/* A file descriptor by which the kernel finds the pages of [start, end), the caller's to close; -1:
 * there is none to be had. */
int crdma_cuda_rdma_dmabuf(uintptr_t start, uintptr_t end);

#endif
