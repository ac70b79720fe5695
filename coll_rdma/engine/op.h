/*
 * An operation: one call of a collective, running a plan over the user's data. Progress never
 * blocks, so blocking, nonblocking and persistent calls are one code with three ways of waiting.
 *
 * Buffers are packed bytes; count elements of elsize bytes. Datatypes, MPI_IN_PLACE and ops
 * of MPI are the caller's.
 */
#ifndef CRDMA_ENGINE_OP_H
#define CRDMA_ENGINE_OP_H

#include "coll_rdma/device/reduce.h"
#include "coll_rdma/engine/plan.h"

/* How operands are combined: dst = src[0] op ... op src[nsrc-1], in that order, count elements.
 * dst may be one of src. `kernel` if set, else `call` with `context`. */
typedef struct crdma_reducer {
    crdma_reduce_fn_t kernel;
    void (*call)(void *context, void *dst, const void *const *src, int nsrc, size_t count);
    void *context;
} crdma_reducer_t;

/* What the caller wants. */
typedef struct crdma_op_args {
    crdma_plan_t *plan;
    const void *in; /* may be equal to out */
    void *out;      /* reduce: only touched at the root, may be NULL elsewhere */
    size_t count;   /* elements (bcast: bytes) */
    size_t elsize;  /* bytes per element (bcast, barrier: 1) */
    size_t segment; /* bytes per segment, 0: one segment */
    uint64_t sig;
    crdma_reducer_t reducer;
    /* in and out are in GPU memory, and crdma_device_fits has said yes (device.h). Else NULL. A reducer is
     * set all the same. */
    crdma_cuda_call_t *device;
    uint32_t small; /* of crdma_op_prepare; 0: not prepared, or not a small call of two ranks */
} crdma_op_args_t;

typedef struct crdma_op crdma_op_t;

crdma_op_t *crdma_op_create(crdma_group_t *group);
void crdma_op_destroy(crdma_op_t *op);
/* True if a transport may still write to the operation or its buffers (after an error only). */
bool crdma_op_is_busy(const crdma_op_t *op);

/* Called whenever a wait has lasted a while: lets everything else in the process progress.
 * Set by the component (opal_progress), NULL in tests. */
extern void (*crdma_idle)(void);

/* A call of this plan goes through the board. */
bool crdma_board_serves(crdma_group_t *group, const crdma_plan_t *plan, size_t bytes,
                        size_t elsize, size_t segment);

/* Start a call on the group: every rank must start the same calls in the same order. */
crdma_status_t crdma_op_start(crdma_op_t *op, const crdma_op_args_t *args);
/* CRDMA_OK when finished, CRDMA_AGAIN, or an error (reported once, the group is then failed). */
crdma_status_t crdma_op_progress(crdma_op_t *op);
/* Start and wait, with the group's own operation. */
crdma_status_t crdma_op_run(crdma_group_t *group, const crdma_op_args_t *args);

/* Once everything but the buffers is set: what a call need not find out again if it is repeated with other
 * buffers. */
void crdma_op_prepare(const crdma_group_t *group, crdma_op_args_t *args);
/* run_pair.c: the whole call, if args->small is not 0 and nothing is in the way; CRDMA_AGAIN: nothing was done,
 * crdma_op_run does it. */
crdma_status_t crdma_op_run_small(crdma_group_t *group, const crdma_op_args_t *args);

#endif
