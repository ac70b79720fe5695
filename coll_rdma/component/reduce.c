/*
 * MPI_Reduce.
 */
#include "coll_rdma/component/convert.h"

int coll_rdma_reduce(const void *sbuf, void *rbuf, int count, ompi_datatype_t *dtype,
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
            ret = coll_rdma_reduction_end(&r, rbuf, count, ret);
        }
        if (OPAL_LIKELY(OMPI_ERR_NOT_SUPPORTED != ret)) {
            return ret;
        }
    } else if (OMPI_SUCCESS != ret) {
        return ret;
    }
    return module->lower.reduce(sbuf, rbuf, count, dtype, op, root, comm,
                                module->lower.reduce_module);
}
