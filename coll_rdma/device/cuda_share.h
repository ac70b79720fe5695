/*
 * GPU memory that processes of one host read from one another (CUDA IPC).
 *
 * The owner describes a piece of its memory by a name, plain bytes that travel in a message; the
 * reader opens it. Both sides remember what they have described and opened, by the number that the
 * driver gives an allocation (CU_POINTER_ATTRIBUTE_BUFFER_ID) and never uses again: memory that is
 * freed and allocated anew at the same address has another number, so the reader closes what it had
 * there and opens the new memory. Where the driver cannot tell (memory of pools, virtual memory
 * management, managed memory), memory is not shared.
 *
 * Thread safe, like all of device/cuda.
 */
#ifndef CRDMA_DEVICE_CUDA_SHARE_H
#define CRDMA_DEVICE_CUDA_SHARE_H

#include <stdint.h>

#include "coll_rdma/device/cuda.h"

/* A piece of GPU memory, for other processes. */
typedef struct crdma_cuda_name {
    char handle[64];      /* of the allocation */
    uint64_t allocation;  /* the owner's number of it */
    uint64_t base, bytes; /* where it is in the owner, and how large */
    uint64_t offset;      /* of the piece in it */
} crdma_cuda_name_t;

/* The name of [p, p + bytes). CRDMA_ERR_UNSUPPORTED if it cannot be shared (not logged). */
crdma_status_t crdma_cuda_share(const void *p, size_t bytes, crdma_cuda_name_t *name);

/* An open allocation of another process. It stays open while it is used; get and put pair. */
typedef struct crdma_cuda_view crdma_cuda_view_t;

/* The memory behind a name of process `owner` (any number that tells processes apart), for work of
 * this pipe; *p is this process's address. CRDMA_ERR_UNSUPPORTED if it cannot be opened, for which
 * the reason is logged once per owner. */
crdma_status_t crdma_cuda_view_get(uint64_t owner, const crdma_cuda_name_t *name,
                                   const crdma_cuda_pipe_t *pipe, crdma_cuda_view_t **view,
                                   void **p);
void crdma_cuda_view_put(crdma_cuda_view_t *view);

#endif
