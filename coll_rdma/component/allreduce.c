/*
 * MPI_Allreduce.
 */
#include "coll_rdma/component/convert.h"
#include "coll_rdma/component/gpu.h"

/* Not the call before once more. Apart, so that the repeated call saves no registers for it. */
static COLL_RDMA_APART int allreduce(const void *sbuf, void *rbuf, int count, ompi_datatype_t *dtype,
                                     ompi_op_t *op, ompi_communicator_t *comm,
                                     mca_coll_base_module_t *base)
{
    coll_rdma_module_t *module = (coll_rdma_module_t *) base;
    coll_rdma_reduction_t r;
    int ret = OMPI_SUCCESS;

    if (coll_rdma_serves(module, comm, &ret)) {
        if (0 == coll_rdma_bytes(count, dtype)) {
            return OMPI_SUCCESS; /* as the MPI layer does for count 0 */
        }
        ret = coll_rdma_reduction_begin(module, sbuf, rbuf, count, dtype, op, true, &r);
        if (OMPI_SUCCESS == ret) {
            ret = coll_rdma_run(module, CRDMA_ALLREDUCE, 0, !ompi_op_is_commute(op), &r.args, r.op,
                                r.type);
            if (OMPI_SUCCESS == ret && r.repeatable) {
                coll_rdma_remember(module, CRDMA_ALLREDUCE, dtype, op, count, 0, &r.args);
            }
            ret = coll_rdma_reduction_end(&r, rbuf, count, ret);
        }
        if (OPAL_LIKELY(OMPI_ERR_NOT_SUPPORTED != ret)) {
            return ret;
        }
    } else if (OMPI_SUCCESS != ret) {
        return ret;
    }
    coll_rdma_gpu_settle(module);
    return module->lower.allreduce(sbuf, rbuf, count, dtype, op, comm,
                                   module->lower.allreduce_module);
}

int coll_rdma_host_allreduce(const void *sbuf, void *rbuf, int count, ompi_datatype_t *dtype,
                             ompi_op_t *op, ompi_communicator_t *comm, mca_coll_base_module_t *base)
{
    coll_rdma_module_t *module = (coll_rdma_module_t *) base;
    crdma_op_args_t *again = coll_rdma_recall(module, CRDMA_ALLREDUCE, dtype, op, count, 0);

    if (OPAL_LIKELY(NULL != again)) {
        again->in = MPI_IN_PLACE == sbuf ? rbuf : sbuf;
        again->out = rbuf;
        return coll_rdma_rerun(module, again);
    }
    return allreduce(sbuf, rbuf, count, dtype, op, comm, base);
}

int coll_rdma_allreduce(const void *sbuf, void *rbuf, int count, ompi_datatype_t *dtype,
                        ompi_op_t *op, ompi_communicator_t *comm, mca_coll_base_module_t *base)
{
    if (crdma_cuda_possible()) {
        return coll_rdma_gpu_allreduce(sbuf, rbuf, count, dtype, op, comm, base);
    }
    return coll_rdma_host_allreduce(sbuf, rbuf, count, dtype, op, comm, base);
}
