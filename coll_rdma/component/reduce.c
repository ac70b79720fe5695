/*
 * MPI_Reduce.
 */
#include "coll_rdma/component/convert.h"
#include "coll_rdma/component/gpu.h"

/* Not the call before once more; see allreduce.c. */
static COLL_RDMA_APART int reduce(const void *sbuf, void *rbuf, int count, ompi_datatype_t *dtype,
                                  ompi_op_t *op, int root, ompi_communicator_t *comm,
                                  mca_coll_base_module_t *base)
{
    coll_rdma_module_t *module = (coll_rdma_module_t *) base;
    const bool is_root = root == ompi_comm_rank(comm);
    coll_rdma_reduction_t r;
    int ret = OMPI_SUCCESS;

    if (coll_rdma_serves(module, comm, &ret)) {
        if (0 == coll_rdma_bytes(count, dtype)) {
            return OMPI_SUCCESS; /* as the MPI layer does for count 0 */
        }
        ret = coll_rdma_reduction_begin(module, sbuf, rbuf, count, dtype, op, is_root, &r);
        if (OMPI_SUCCESS == ret) {
            ret = coll_rdma_run(module, CRDMA_REDUCE, root, !ompi_op_is_commute(op), &r.args, r.op,
                                r.type);
            if (OMPI_SUCCESS == ret && r.repeatable) {
                coll_rdma_remember(module, CRDMA_REDUCE, dtype, op, count, root, &r.args);
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
    return module->lower.reduce(sbuf, rbuf, count, dtype, op, root, comm,
                                module->lower.reduce_module);
}

int coll_rdma_host_reduce(const void *sbuf, void *rbuf, int count, ompi_datatype_t *dtype,
                          ompi_op_t *op, int root, ompi_communicator_t *comm,
                          mca_coll_base_module_t *base)
{
    coll_rdma_module_t *module = (coll_rdma_module_t *) base;
    crdma_op_args_t *again = coll_rdma_recall(module, CRDMA_REDUCE, dtype, op, count, root);

    if (OPAL_LIKELY(NULL != again)) {
        again->in = MPI_IN_PLACE == sbuf ? rbuf : sbuf;
        again->out = root == ompi_comm_rank(comm) ? rbuf : NULL;
        return coll_rdma_rerun(module, again);
    }
    return reduce(sbuf, rbuf, count, dtype, op, root, comm, base);
}

int coll_rdma_reduce(const void *sbuf, void *rbuf, int count, ompi_datatype_t *dtype,
                     ompi_op_t *op, int root, ompi_communicator_t *comm,
                     mca_coll_base_module_t *base)
{
    if (crdma_cuda_possible()) {
        return coll_rdma_gpu_reduce(sbuf, rbuf, count, dtype, op, root, comm, base);
    }
    return coll_rdma_host_reduce(sbuf, rbuf, count, dtype, op, root, comm, base);
}
