/*
 * GPU memory of CUDA: which buffers are in it, and copies between it and the host.
 *
 * A process that never loads libcuda.so.1 cannot hold a device pointer. So nothing here opens the
 * driver: crdma_cuda_possible asks whether the application has loaded it, for the price of
 * two loads, and everything else is for processes that have.
 *
 * Thread safe. Functions make the pointer's context current for their own calls and restore the
 * thread's. The application must have finished with a buffer when it hands it over, except for work
 * in the legacy default stream, behind which copies queue.
 */
#ifndef CRDMA_DEVICE_CUDA_H
#define CRDMA_DEVICE_CUDA_H

#include <stdbool.h>
#include <stddef.h>

#include "coll_rdma/base/status.h"
#include "coll_rdma/device/reduce.h"

typedef enum crdma_memory_kind {
    CRDMA_MEMORY_HOST = 0, /* not CUDA's */
    CRDMA_MEMORY_PINNED,   /* host memory that CUDA has allocated or registered: as good as host */
    CRDMA_MEMORY_MANAGED,  /* migrates; the host must not touch it while a kernel may */
    CRDMA_MEMORY_DEVICE
} crdma_memory_kind_t;

/* "host", "pinned", ...; never NULL. */
const char *crdma_memory_kind_name(crdma_memory_kind_t kind);

/*
 * *crdma_cuda_watched is NULL as long as libcuda cannot have been loaded (cuda_load.c says why that
 * is certain). The application's loading of it happens before its call of MPI, so that relaxed
 * order suffices.
 */
extern void *const *crdma_cuda_watched;
bool crdma_cuda_look(void);

/* Could a pointer be a device pointer? */
static inline bool crdma_cuda_possible(void)
{
    void *const *watched = __atomic_load_n(&crdma_cuda_watched, __ATOMIC_ACQUIRE);

    return __builtin_expect(NULL != __atomic_load_n(watched, __ATOMIC_RELAXED), 0)
           && crdma_cuda_look();
}

/* Could one ever be, as far as can be told now? The driver is there, or a device of it: applications often
 * load the driver at their first call of the runtime only. */
bool crdma_cuda_expected(void);

/* Where the byte at p is. NULL is host memory. */
crdma_memory_kind_t crdma_cuda_kind(const void *p);

/* True if the host must not touch the bytes at p: device or managed memory. */
static inline bool crdma_cuda_owns(const void *p)
{
    return CRDMA_MEMORY_MANAGED <= crdma_cuda_kind(p);
}

/*
 * Work for a device, done in order and waited for together: begin with the pointer that is on the
 * device, then any number of copies and reductions, then end. end waits for all, also after
 * an error, and returns the first error of the three, which has been logged. A thread of its own
 * for each queue; both cost what the driver's calls cost.
 */
typedef struct crdma_cuda_queue {
    void *context; /* whose stream */
    void *stream;
    bool fresh;    /* the stream is known to be alive */
    bool pushed;
    crdma_status_t status;
} crdma_cuda_queue_t;

void crdma_cuda_queue_begin(crdma_cuda_queue_t *queue, const void *on_device);
/* Between any two kinds of memory. */
void crdma_cuda_queue_copy(crdma_cuda_queue_t *queue, void *dst, const void *src, size_t bytes);
/* As crdma_reduce_fn_t (reduce.h), of memory that the device reaches; any number of sources. partial: memory
 * for `count` more elements, if crdma_cuda_needs_partial says so, else NULL. */
void crdma_cuda_queue_reduce(crdma_cuda_queue_t *queue, crdma_op_id_t op, crdma_type_id_t type,
                             void *dst, const void *const *src, int nsrc, size_t count,
                             void *partial);
bool crdma_cuda_needs_partial(const void *dst, const void *const *src, int nsrc);
crdma_status_t crdma_cuda_queue_end(crdma_cuda_queue_t *queue);

/* Has this build a kernel for (op, type)? */
bool crdma_cuda_can_reduce(crdma_op_id_t op, crdma_type_id_t type);

/*
 * A large buffer that is copied from a device while its first part is already used, and to a
 * device while its last part is not final yet. get: streams of their own for the memory at
 * on_device; NULL if there are none (logged), then a queue will do. read and write start copies; arrived
 * says whether the first `bytes` of what is read are there (CRDMA_OK, CRDMA_AGAIN, an error). put
 * waits for everything and returns the first error.
 */
typedef struct crdma_cuda_pipe crdma_cuda_pipe_t;

crdma_cuda_pipe_t *crdma_cuda_pipe_get(const void *on_device);
void crdma_cuda_pipe_read(crdma_cuda_pipe_t *pipe, void *dst, const void *src, size_t bytes);
crdma_status_t crdma_cuda_pipe_arrived(crdma_cuda_pipe_t *pipe, size_t bytes);
void crdma_cuda_pipe_write(crdma_cuda_pipe_t *pipe, void *dst, const void *src, size_t bytes);
crdma_status_t crdma_cuda_pipe_put(crdma_cuda_pipe_t *pipe);

/* Are both worked with in the same context? */
bool crdma_cuda_same_context(const void *p, const void *q);

/*
 * Memory of ours on the device of `on_device`, at least `bytes`, from a cache after the first time.
 * NULL: there is none (not logged; staging will do). Memory that has been shared with
 * other processes (cuda_share.h) is kept until the process ends.
 */
typedef struct crdma_cuda_block {
    void *data;
    size_t bytes;
    void *context;
    unsigned long long id; /* of the context */
    bool shared;
    struct crdma_cuda_block *next;
} crdma_cuda_block_t;

crdma_cuda_block_t *crdma_cuda_block_get(size_t bytes, const void *on_device);
void crdma_cuda_block_put(crdma_cuda_block_t *block);
/* Put, never to be used again: somebody may still read or write it. */
void crdma_cuda_block_abandon(crdma_cuda_block_t *block);

/*
 * Host memory of at least `bytes`, pinned if the driver agrees, for copies from and to the
 * device of `on_device`. From a cache after the first time. NULL: out of memory.
 */
typedef struct crdma_cuda_stage {
    void *data;
    size_t bytes;
    bool pinned;
    unsigned generation;
    struct crdma_cuda_stage *next;
} crdma_cuda_stage_t;

crdma_cuda_stage_t *crdma_cuda_stage_get(size_t bytes, const void *on_device);
void crdma_cuda_stage_put(crdma_cuda_stage_t *stage);

/* Give everything back. The driver may already have shut down. */
void crdma_cuda_close(void);

#endif
