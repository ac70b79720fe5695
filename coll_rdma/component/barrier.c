/*
 * MPI_Barrier: notifications without data.
 */
#include "coll_rdma/component/coll_rdma.h"

/* Not once more; see allreduce.c. */
static COLL_RDMA_APART int barrier(ompi_communicator_t *comm, mca_coll_base_module_t *base)
{
    coll_rdma_module_t *module = (coll_rdma_module_t *) base;
    crdma_op_args_t args = {.elsize = 1};
    int ret = OMPI_SUCCESS;

    if (coll_rdma_serves(module, comm, &ret)) {
        ret = coll_rdma_run(module, CRDMA_BARRIER, 0, false, &args, CRDMA_OP_NONE,
                            CRDMA_TYPE_NONE);
        if (OMPI_SUCCESS == ret) {
            coll_rdma_remember(module, CRDMA_BARRIER, MPI_BYTE, NULL, 0, 0, &args);
        }
        if (OPAL_LIKELY(OMPI_ERR_NOT_SUPPORTED != ret)) {
            return ret;
        }
    } else if (OMPI_SUCCESS != ret) {
        return ret;
    }
    return module->lower.barrier(comm, module->lower.barrier_module);
}

int coll_rdma_barrier(ompi_communicator_t *comm, mca_coll_base_module_t *base)
{
    coll_rdma_module_t *module = (coll_rdma_module_t *) base;
    crdma_op_args_t *again = coll_rdma_recall(module, CRDMA_BARRIER, MPI_BYTE, NULL, 0, 0);

    return OPAL_LIKELY(NULL != again) ? coll_rdma_rerun(module, again) : barrier(comm, base);
}
