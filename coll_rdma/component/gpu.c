/*
 * The collectives on buffers in GPU memory: within the GPU where that can be (gpu_direct.c), else image, host
 * path, image back.
 *
 *   1. Set the communicator up (as any first call does): from then on a failure of this rank can be told
 *      to the others.
 *   2. Copy what this rank contributes into the image.
 *   3. The host path, with the image in place of the buffers.
 *   4. Copy the result out of the image.
 *
 * One image per call: where input and output are both in GPU memory, the host path works in place.
 *
 * Large buffers without gaps are copied piece by piece beside step 3 (crdma_flow_t): the engine starts
 * a segment when its input is there, and a segment whose result is final is on its way to
 * the GPU while later ones are worked on. What goes over the wire is the same.
 *
 * A failure in 2 fails the group: the others are, or will be, waiting for this rank. A failure in 4
 * concerns this rank alone.
 */
#include "coll_rdma/component/gpu.h"

#include "coll_rdma/component/convert.h"
#include "coll_rdma/component/gpu_image.h"

/* Bytes from which copies and transfers overlap. Not measured on a GPU yet; above the largest ll_max,
 * whose calls do not look at a flow. */
#define FLOW_FROM ((size_t) 256 << 10)

/* A call on its way through the image. */
typedef struct passage {
    crdma_flow_t flow; /* first: the engine hands it back */
    coll_rdma_module_t *module;
    coll_rdma_image_t image;
    bool has_image;
    const void *from, *from_device; /* the buffer that is read, and an address of it on a device */
    void *to;                       /* the buffer that is written */
    const void *to_device;          /* NULL: none is */
    crdma_cuda_pipe_t *pipe;        /* copies run beside the call; else NULL */
    size_t written;                 /* bytes of the result that are under way */
} passage_t;

static crdma_status_t flow_arrived(crdma_flow_t *flow, size_t bytes)
{
    passage_t *p = (passage_t *) flow;

    return NULL == p->from_device ? CRDMA_OK : crdma_cuda_pipe_arrived(p->pipe, bytes);
}

static void flow_finished(crdma_flow_t *flow, size_t bytes)
{
    passage_t *p = (passage_t *) flow;

    if (NULL != p->to_device && p->written < bytes) {
        const ptrdiff_t at = p->image.gap + (ptrdiff_t) p->written;

        crdma_cuda_pipe_write(p->pipe, (char *) p->to + at, (char *) p->image.buf + at,
                              bytes - p->written);
        p->written = bytes;
    }
}

static bool can_flow(const passage_t *p)
{
    const coll_rdma_image_t *image = &p->image;

    return FLOW_FROM <= image->span && image->packed && NULL != image->stage
           && COLL_RDMA_READY == p->module->state
           && (NULL == p->from_device || MPI_BOTTOM != p->from)
           && (NULL == p->to_device || MPI_BOTTOM != p->to)
           && (NULL == p->from_device || NULL == p->to_device
               || crdma_cuda_same_context(p->from_device, p->to_device));
}

/* Step 1, and the call if it can stay in GPU memory. COLL_RDMA_NOT_DIRECT: go on with step 2. */
static int stay(const passage_t *p, crdma_coll_t coll, int root, int count, ompi_datatype_t *dtype,
                ompi_op_t *op, ompi_communicator_t *comm)
{
    const coll_rdma_direct_t call = {.coll = coll,
                                     .root = root,
                                     .count = count,
                                     .dtype = dtype,
                                     .op = op,
                                     .from = p->from,
                                     .from_device = p->from_device,
                                     .to = p->to,
                                     .to_device = p->to_device};
    int ret = OMPI_SUCCESS;

    if (!coll_rdma_serves(p->module, comm, &ret)) {
        return OMPI_SUCCESS != ret ? ret : COLL_RDMA_NOT_DIRECT;
    }
    return coll_rdma_gpu_direct(p->module, &call);
}

/* Step 2. end is due whatever it returns. */
static int begin(passage_t *p, int count, ompi_datatype_t *dtype)
{
    const void *on_device = NULL != p->to_device ? p->to_device : p->from_device;
    int ret;

    ret = coll_rdma_image_make(&p->image, count, dtype, on_device);
    p->has_image = OMPI_SUCCESS == ret;
    if (OMPI_SUCCESS == ret && can_flow(p)) {
        p->pipe = crdma_cuda_pipe_get(on_device);
    }
    if (NULL != p->pipe) {
        p->flow.arrived = flow_arrived;
        p->flow.finished = flow_finished;
        p->module->group->flow = &p->flow;
        if (NULL != p->from_device) {
            crdma_cuda_pipe_read(p->pipe, (char *) p->image.buf + p->image.gap,
                                 (const char *) p->from + p->image.gap, p->image.span);
        }
    } else if (OMPI_SUCCESS == ret && NULL != p->from_device) {
        ret = coll_rdma_image_read(&p->image, p->from, p->from_device);
    }
    if (OMPI_SUCCESS != ret && COLL_RDMA_READY == p->module->state && !p->module->group->failed) {
        crdma_group_fail(p->module->group);
    }
    return ret;
}

/* Step 4, if steps 1 to 3 have succeeded. */
static int end(passage_t *p, int ret)
{
    if (NULL != p->pipe) {
        p->module->group->flow = NULL;
        if (OMPI_SUCCESS == ret) {
            flow_finished(&p->flow, p->image.span); /* what the engine has not reported */
        }
        if (CRDMA_OK != crdma_cuda_pipe_put(p->pipe) && OMPI_SUCCESS == ret) {
            ret = MPI_ERR_OTHER;
        }
    } else if (OMPI_SUCCESS == ret && NULL != p->to_device) {
        ret = coll_rdma_image_write(&p->image, p->to, p->to_device);
    }
    if (p->has_image) {
        coll_rdma_image_free(&p->image);
    }
    return ret;
}

int coll_rdma_gpu_bcast(void *buf, int count, ompi_datatype_t *dtype, int root,
                        ompi_communicator_t *comm, mca_coll_base_module_t *base)
{
    const void *on_device = coll_rdma_gpu_address(buf, count, dtype);
    const bool is_root = root == ompi_comm_rank(comm);
    passage_t p = {.module = (coll_rdma_module_t *) base,
                   .from = is_root ? buf : NULL,
                   .from_device = is_root ? on_device : NULL,
                   .to = is_root ? NULL : buf,
                   .to_device = is_root ? NULL : on_device};
    int ret;

    if (NULL == on_device) {
        return coll_rdma_host_bcast(buf, count, dtype, root, comm, base);
    }
    ret = stay(&p, CRDMA_BCAST, root, count, dtype, NULL, comm);
    if (COLL_RDMA_NOT_DIRECT != ret) {
        return ret;
    }
    ret = begin(&p, count, dtype);
    if (OMPI_SUCCESS == ret) {
        ret = coll_rdma_host_bcast(p.image.buf, count, dtype, root, comm, base);
    }
    return end(&p, ret);
}

/* The buffers of a reduction, whose result this rank gets if has_result. */
static passage_t passage(mca_coll_base_module_t *base, const void *sbuf, void *rbuf,
                         bool has_result, int count, ompi_datatype_t *dtype)
{
    const void *in = MPI_IN_PLACE == sbuf ? NULL : coll_rdma_gpu_address(sbuf, count, dtype);
    const void *out = has_result ? coll_rdma_gpu_address(rbuf, count, dtype) : NULL;
    passage_t p = {.module = (coll_rdma_module_t *) base,
                   .from = sbuf,
                   .from_device = in,
                   .to = has_result ? rbuf : NULL,
                   .to_device = out};

    if (MPI_IN_PLACE == sbuf && NULL != out) {
        p.from = rbuf;
        p.from_device = out;
    }
    return p;
}

/* What the host path gets as input and output. `result` is the user's output, or NULL. */
static const void *input(const passage_t *p, const void *sbuf)
{
    return NULL == p->from_device ? sbuf : NULL != p->to_device ? MPI_IN_PLACE : p->image.buf;
}

static void *output(const passage_t *p, void *result)
{
    return NULL == p->to_device ? result : p->image.buf;
}

int coll_rdma_gpu_reduce(const void *sbuf, void *rbuf, int count, ompi_datatype_t *dtype,
                         ompi_op_t *op, int root, ompi_communicator_t *comm,
                         mca_coll_base_module_t *base)
{
    const bool is_root = root == ompi_comm_rank(comm);
    passage_t p = passage(base, sbuf, rbuf, is_root, count, dtype);
    void *result = is_root ? rbuf : NULL; /* elsewhere it has no meaning, and may be anything */
    int ret;

    if (NULL == p.from_device && NULL == p.to_device) {
        return coll_rdma_host_reduce(sbuf, result, count, dtype, op, root, comm, base);
    }
    ret = stay(&p, CRDMA_REDUCE, root, count, dtype, op, comm);
    if (COLL_RDMA_NOT_DIRECT != ret) {
        return ret;
    }
    ret = begin(&p, count, dtype);
    if (OMPI_SUCCESS == ret) {
        ret = coll_rdma_host_reduce(input(&p, sbuf), output(&p, result), count, dtype, op, root,
                                    comm, base);
    }
    return end(&p, ret);
}

int coll_rdma_gpu_allreduce(const void *sbuf, void *rbuf, int count, ompi_datatype_t *dtype,
                            ompi_op_t *op, ompi_communicator_t *comm, mca_coll_base_module_t *base)
{
    passage_t p = passage(base, sbuf, rbuf, true, count, dtype);
    int ret;

    if (NULL == p.from_device && NULL == p.to_device) {
        return coll_rdma_host_allreduce(sbuf, rbuf, count, dtype, op, comm, base);
    }
    ret = stay(&p, CRDMA_ALLREDUCE, 0, count, dtype, op, comm);
    if (COLL_RDMA_NOT_DIRECT != ret) {
        return ret;
    }
    ret = begin(&p, count, dtype);
    if (OMPI_SUCCESS == ret) {
        ret = coll_rdma_host_allreduce(input(&p, sbuf), output(&p, rbuf), count, dtype, op, comm,
                                       base);
    }
    return end(&p, ret);
}
