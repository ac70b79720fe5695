/*
 * Between what MPI programs pass (datatypes, ops) and what the engine works on: packed bytes, an
 * element size, a reducer.
 */
#ifndef COLL_RDMA_CONVERT_H
#define COLL_RDMA_CONVERT_H

#include "coll_rdma/component/coll_rdma.h"

/* Start of the data if [buf, count x dtype) is one contiguous piece, else NULL. */
static inline char *coll_rdma_contiguous(const void *buf, size_t count, ompi_datatype_t *dtype)
{
    if (!ompi_datatype_is_contiguous_memory_layout(dtype, (int32_t) count)) {
        return NULL;
    }
    return (char *) (uintptr_t) buf + dtype->super.true_lb;
}

static inline size_t coll_rdma_bytes(int count, ompi_datatype_t *dtype)
{
    size_t elsize;

    ompi_datatype_type_size(dtype, &elsize);
    return elsize * (size_t) count;
}

/* Copy between user layout and packed bytes. OMPI_SUCCESS or an Open MPI error. */
int coll_rdma_pack(const void *buf, size_t count, ompi_datatype_t *dtype, void *packed,
                   size_t bytes);
int coll_rdma_unpack(void *buf, size_t count, ompi_datatype_t *dtype, const void *packed,
                     size_t bytes);

/* Packed memory of the module, which = 0 (input) or 1 (output); NULL: out of memory. Contents are
 * not kept when it grows. */
char *coll_rdma_stage(coll_rdma_module_t *module, int which, size_t bytes);

/* The context of reducers that call MPI ops: user-defined, or without a kernel of ours. */
typedef struct coll_rdma_user_op {
    ompi_op_t *op;
    ompi_datatype_t *dtype;
    size_t elsize;     /* packed bytes */
    bool contiguous;   /* packed bytes are what the op expects */
    char *a, *b;       /* work space, grown on demand */
    size_t size;
} coll_rdma_user_op_t;

/* A crdma_reducer_t.call; see there. */
void coll_rdma_user_reduce(void *context, void *dst, const void *const *src, int nsrc,
                           size_t count);

/* What the reductions have in common: buffers, kernel or op, element size. */
typedef struct coll_rdma_reduction {
    crdma_op_args_t args;
    coll_rdma_user_op_t user;
    crdma_op_id_t op;
    crdma_type_id_t type;
    bool repeatable; /* an equal call may reuse args with other buffers */
    bool unpack; /* args.out is packed: copy to the user's buffer afterwards */
} coll_rdma_reduction_t;

/* need_out: this rank gets the result in rbuf. OMPI_ERR_NOT_SUPPORTED: leave it to the
 * lower module (the same on all ranks). */
int coll_rdma_reduction_begin(coll_rdma_module_t *module, const void *sbuf, void *rbuf, int count,
                              ompi_datatype_t *dtype, ompi_op_t *op, bool need_out,
                              coll_rdma_reduction_t *reduction);
/* Deliver the result if `ret` is success; returns ret or the error of the delivery. */
int coll_rdma_reduction_end(coll_rdma_reduction_t *reduction, void *rbuf, int count, int ret);

#endif
