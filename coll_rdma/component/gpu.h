/*
 * Collectives on buffers in GPU memory, for processes that have loaded the GPU's driver.
 *
 * The host path works on images of them in host memory (gpu_image.h): no device pointer reaches it or
 * the module below. What goes over the wire is the same, so ranks may have their buffers
 * anywhere.
 */
#ifndef COLL_RDMA_GPU_H
#define COLL_RDMA_GPU_H

#include "coll_rdma/component/coll_rdma.h"
#include "coll_rdma/device/cuda.h"

/* As the functions of the module, for buffers of any kind. */
int coll_rdma_gpu_bcast(void *buf, int count, ompi_datatype_t *dtype, int root,
                        ompi_communicator_t *comm, mca_coll_base_module_t *base);
int coll_rdma_gpu_reduce(const void *sbuf, void *rbuf, int count, ompi_datatype_t *dtype,
                         ompi_op_t *op, int root, ompi_communicator_t *comm,
                         mca_coll_base_module_t *base);
int coll_rdma_gpu_allreduce(const void *sbuf, void *rbuf, int count, ompi_datatype_t *dtype,
                            ompi_op_t *op, ompi_communicator_t *comm, mca_coll_base_module_t *base);

/*
 * gpu_direct.c: the call in GPU memory, if that can be: COLL_RDMA_NOT_DIRECT if not, then nothing has
 * happened. op: NULL for a broadcast. from, to: what this rank contributes and gets, NULL: nothing; both in
 * GPU memory if from_device, to_device say so. The module is set up.
 */
typedef struct coll_rdma_direct {
    crdma_coll_t coll;
    int root;
    int count;
    ompi_datatype_t *dtype;
    ompi_op_t *op;
    const void *from, *from_device;
    void *to;
    const void *to_device;
} coll_rdma_direct_t;

int coll_rdma_gpu_direct(coll_rdma_module_t *module, const coll_rdma_direct_t *call);

/* Before the module below gets an image: its data must be complete. */
static inline void coll_rdma_gpu_settle(coll_rdma_module_t *module)
{
    crdma_flow_t *flow = NULL == module->group ? NULL : module->group->flow;

    if (OPAL_UNLIKELY(NULL != flow)) {
        while (CRDMA_AGAIN == flow->arrived(flow, SIZE_MAX)) {
        }
        module->group->flow = NULL;
    }
}

/* bcast.c, reduce.c, allreduce.c: the same for buffers that the host may touch. */
int coll_rdma_host_bcast(void *buf, int count, ompi_datatype_t *dtype, int root,
                         ompi_communicator_t *comm, mca_coll_base_module_t *base);
int coll_rdma_host_reduce(const void *sbuf, void *rbuf, int count, ompi_datatype_t *dtype,
                          ompi_op_t *op, int root, ompi_communicator_t *comm,
                          mca_coll_base_module_t *base);
int coll_rdma_host_allreduce(const void *sbuf, void *rbuf, int count, ompi_datatype_t *dtype,
                             ompi_op_t *op, ompi_communicator_t *comm,
                             mca_coll_base_module_t *base);

#endif
