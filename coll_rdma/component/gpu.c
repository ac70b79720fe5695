/*
 * The collectives on buffers in GPU memory: image, host path, image back.
 *
 *   1. Set the communicator up (as any first call does): from then on a failure of this rank can be told
 *      to the others.
 *   2. Copy what this rank contributes into images.
 *   3. The host path, with the images in place of the buffers.
 *   4. Copy the result out of the image.
 *
 * A failure in 2 fails the group: the others are, or will be, waiting for this rank. A failure in 4
 * concerns this rank alone. Where input and output are both in GPU memory one image serves for
 * both, and the host path works in place.
 */
#include "coll_rdma/component/gpu.h"

#include "coll_rdma/component/convert.h"
#include "coll_rdma/component/gpu_image.h"

/* Step 2 has failed with `ret`. */
static int give_up(coll_rdma_module_t *module, int ret)
{
    if (COLL_RDMA_READY == module->state && !module->group->failed) {
        crdma_group_fail(module->group);
    }
    return ret;
}

int coll_rdma_gpu_bcast(void *buf, int count, ompi_datatype_t *dtype, int root,
                        ompi_communicator_t *comm, mca_coll_base_module_t *base)
{
    coll_rdma_module_t *module = (coll_rdma_module_t *) base;
    const void *on_device = coll_rdma_gpu_address(buf, count, dtype);
    const bool is_root = root == ompi_comm_rank(comm);
    coll_rdma_image_t image;
    int ret = OMPI_SUCCESS;

    if (NULL == on_device) {
        return coll_rdma_host_bcast(buf, count, dtype, root, comm, base);
    }
    if (!coll_rdma_serves(module, comm, &ret) && OMPI_SUCCESS != ret) {
        return ret;
    }
    ret = coll_rdma_image_make(&image, count, dtype, on_device);
    if (OMPI_SUCCESS != ret) {
        return give_up(module, ret);
    }
    ret = is_root ? coll_rdma_image_read(&image, buf, on_device) : OMPI_SUCCESS;
    if (OMPI_SUCCESS != ret) {
        (void) give_up(module, ret);
    } else {
        ret = coll_rdma_host_bcast(image.buf, count, dtype, root, comm, base);
        if (OMPI_SUCCESS == ret && !is_root) {
            ret = coll_rdma_image_write(&image, buf, on_device);
        }
    }
    coll_rdma_image_free(&image);
    return ret;
}

/* The buffers of a reduction as the host path gets them. */
typedef struct buffers {
    const void *sbuf;
    void *rbuf;
    bool has_in, has_out;
    coll_rdma_image_t in, out;
} buffers_t;

static void buffers_free(buffers_t *b)
{
    if (b->has_in) {
        coll_rdma_image_free(&b->in);
    }
    if (b->has_out) {
        coll_rdma_image_free(&b->out);
    }
}

/* in, out: addresses in GPU memory in sbuf and in rbuf, NULL if there are none; at least one is.
 * Also on failure buffers_free is due. */
static int buffers_make(buffers_t *b, const void *sbuf, void *rbuf, int count,
                        ompi_datatype_t *dtype, const void *in, const void *out)
{
    int ret;

    *b = (buffers_t) {.sbuf = sbuf, .rbuf = rbuf};
    if (NULL != out) {
        ret = coll_rdma_image_make(&b->out, count, dtype, out);
        b->has_out = OMPI_SUCCESS == ret;
        b->rbuf = b->out.buf;
        if (OMPI_SUCCESS == ret && MPI_IN_PLACE == sbuf) {
            ret = coll_rdma_image_read(&b->out, rbuf, out);
        } else if (OMPI_SUCCESS == ret && NULL != in) {
            ret = coll_rdma_image_read(&b->out, sbuf, in);
            b->sbuf = MPI_IN_PLACE;
        }
        return ret;
    }
    ret = coll_rdma_image_make(&b->in, count, dtype, in);
    b->has_in = OMPI_SUCCESS == ret;
    b->sbuf = b->in.buf;
    return OMPI_SUCCESS == ret ? coll_rdma_image_read(&b->in, sbuf, in) : ret;
}

int coll_rdma_gpu_reduce(const void *sbuf, void *rbuf, int count, ompi_datatype_t *dtype,
                         ompi_op_t *op, int root, ompi_communicator_t *comm,
                         mca_coll_base_module_t *base)
{
    coll_rdma_module_t *module = (coll_rdma_module_t *) base;
    const bool is_root = root == ompi_comm_rank(comm);
    const void *in = MPI_IN_PLACE == sbuf ? NULL : coll_rdma_gpu_address(sbuf, count, dtype);
    const void *out = is_root ? coll_rdma_gpu_address(rbuf, count, dtype) : NULL;
    void *result = is_root ? rbuf : NULL; /* elsewhere it has no meaning, and may be anything */
    buffers_t b;
    int ret = OMPI_SUCCESS;

    if (NULL == in && NULL == out) {
        return coll_rdma_host_reduce(sbuf, result, count, dtype, op, root, comm, base);
    }
    if (!coll_rdma_serves(module, comm, &ret) && OMPI_SUCCESS != ret) {
        return ret;
    }
    ret = buffers_make(&b, sbuf, result, count, dtype, in, out);
    if (OMPI_SUCCESS != ret) {
        (void) give_up(module, ret);
    } else {
        ret = coll_rdma_host_reduce(b.sbuf, b.rbuf, count, dtype, op, root, comm, base);
        if (OMPI_SUCCESS == ret && NULL != out) {
            ret = coll_rdma_image_write(&b.out, rbuf, out);
        }
    }
    buffers_free(&b);
    return ret;
}

int coll_rdma_gpu_allreduce(const void *sbuf, void *rbuf, int count, ompi_datatype_t *dtype,
                            ompi_op_t *op, ompi_communicator_t *comm, mca_coll_base_module_t *base)
{
    coll_rdma_module_t *module = (coll_rdma_module_t *) base;
    const void *in = MPI_IN_PLACE == sbuf ? NULL : coll_rdma_gpu_address(sbuf, count, dtype);
    const void *out = coll_rdma_gpu_address(rbuf, count, dtype);
    buffers_t b;
    int ret = OMPI_SUCCESS;

    if (NULL == in && NULL == out) {
        return coll_rdma_host_allreduce(sbuf, rbuf, count, dtype, op, comm, base);
    }
    if (!coll_rdma_serves(module, comm, &ret) && OMPI_SUCCESS != ret) {
        return ret;
    }
    ret = buffers_make(&b, sbuf, rbuf, count, dtype, in, out);
    if (OMPI_SUCCESS != ret) {
        (void) give_up(module, ret);
    } else {
        ret = coll_rdma_host_allreduce(b.sbuf, b.rbuf, count, dtype, op, comm, base);
        if (OMPI_SUCCESS == ret && NULL != out) {
            ret = coll_rdma_image_write(&b.out, rbuf, out);
        }
    }
    buffers_free(&b);
    return ret;
}
