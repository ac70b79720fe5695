/*
 * What the files of device/cuda share: the driver's functions and contexts.
 */
#ifndef CRDMA_DEVICE_CUDA_INTERNAL_H
#define CRDMA_DEVICE_CUDA_INTERNAL_H

#include "coll_rdma/device/cuda.h"
#include "coll_rdma/device/cuda_driver.h"

/* cuda_load.c: the driver's functions; NULL as long as the application has not loaded it. */
const crdma_cu_api_t *crdma_cuda_api(void);

/* Log a failed call of the driver. */
void crdma_cuda_complain(const crdma_cu_api_t *cu, const char *what, crdma_cu_result_t result);

/*
 * cuda_pointer.c: the context in which to work with the memory at p, and its device. The one that
 * allocated it; memory without (virtual memory management, pools) is reached from the
 * thread's own context if that is on the same device, else from the device's primary one.
 * NULL if p is host memory or there is no context to be had.
 */
crdma_cu_context_t crdma_cuda_context_of(const crdma_cu_api_t *cu, const void *p,
                                         crdma_cu_device_t *device);
void crdma_cuda_release_contexts(const crdma_cu_api_t *cu);

/* The allocation of device memory that [p, p + bytes) is in: its number, which the driver never uses
 * again. False: it is in none that can be told apart (pools, virtual memory management, managed). */
typedef struct crdma_cuda_allocation {
    unsigned long long number;
    crdma_cu_context_t context;
    crdma_cu_ptr_t base;
    size_t bytes;
} crdma_cuda_allocation_t;

bool crdma_cuda_find_allocation(const crdma_cu_api_t *cu, const void *p, size_t bytes,
                                crdma_cuda_allocation_t *allocation);

/* Make a context the thread's; *pushed: crdma_cuda_leave must take it away again. */
crdma_cu_result_t crdma_cuda_enter(const crdma_cu_api_t *cu, crdma_cu_context_t context,
                                   bool *pushed);
void crdma_cuda_leave(const crdma_cu_api_t *cu, bool pushed);

/* cuda_copy.c: counts the contexts that went away; what was registered before is registered no more. */
unsigned crdma_cuda_generation(void);
/* A number that tells a context from an earlier one at its address; 0 if the driver has none. */
unsigned long long crdma_cuda_context_id(const crdma_cu_api_t *cu, crdma_cu_context_t context);
/* The first error of a queue: logged, and its status from then on. */
void crdma_cuda_queue_fail(crdma_cuda_queue_t *queue, const char *what, crdma_cu_result_t result);
void crdma_cuda_close_streams(const crdma_cu_api_t *cu);

/* cuda_pipe.c. Two streams, events for what is asked about, and the first error. */
enum { CRDMA_CUDA_EVENTS = 16 };

struct crdma_cuda_pipe {
    crdma_cu_context_t context;
    unsigned long long id;
    crdma_cu_stream_t in, out;
    crdma_cu_event_t events[CRDMA_CUDA_EVENTS];
    size_t piece;         /* bytes */
    int started, arrived; /* pieces */
    uint64_t asked, done; /* cuda_work.c: tickets */
    crdma_cu_result_t result;
    struct crdma_cuda_pipe *next;
};

/* Keeps the first error, and logs it. */
void crdma_cuda_pipe_fail(crdma_cuda_pipe_t *pipe, const char *what, crdma_cu_result_t result);
void crdma_cuda_close_pipes(const crdma_cu_api_t *cu);

/* cuda_kernels.c: the compiled kernels, or NULL. */
const void *crdma_cuda_kernels(void);

/* cuda_reduce.c */
void crdma_cuda_close_modules(const crdma_cu_api_t *cu);

/* cuda_share.c, cuda_block.c */
void crdma_cuda_close_shares(const crdma_cu_api_t *cu);
void crdma_cuda_close_blocks(const crdma_cu_api_t *cu);

/* cuda_stage.c */
void crdma_cuda_close_stages(const crdma_cu_api_t *cu);

#endif
