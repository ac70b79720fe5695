/*
 * MPI_Bcast. Ranks may describe the data by different datatypes of one signature: what
 * counts is the number of packed bytes.
 */
#include "coll_rdma/component/convert.h"
#include "coll_rdma/component/gpu.h"

static int run(coll_rdma_module_t *module, void *buf, int count, ompi_datatype_t *dtype, int root,
               bool is_root)
{
    crdma_op_args_t args = {.elsize = 1};
    size_t elsize;
    char *data;
    int ret;

    ompi_datatype_type_size(dtype, &elsize);
    args.count = elsize * (size_t) count;
    if (0 == args.count) {
        return OMPI_SUCCESS; /* MPI_Bcast returns before it gets here if count is 0: so do we, for
                              * a rank that describes nothing by elements of size 0 */
    }
    data = coll_rdma_contiguous(buf, (size_t) count, dtype);
    args.out = NULL != data ? data : coll_rdma_stage(module, 1, args.count);
    if (NULL == args.out) {
        return OMPI_ERR_OUT_OF_RESOURCE;
    }
    if (NULL == data && is_root) {
        ret = coll_rdma_pack(buf, (size_t) count, dtype, args.out, args.count);
        if (OMPI_SUCCESS != ret) {
            return ret;
        }
    }
    args.in = args.out;
    ret = coll_rdma_run(module, CRDMA_BCAST, root, false, &args, CRDMA_OP_NONE, CRDMA_TYPE_NONE);
    if (OMPI_SUCCESS == ret && NULL != data && ompi_datatype_is_predefined(dtype)) {
        coll_rdma_remember(module, CRDMA_BCAST, dtype, NULL, count, root, &args);
    }
    if (OMPI_SUCCESS == ret && NULL == data && !is_root) {
        ret = coll_rdma_unpack(buf, (size_t) count, dtype, args.out, args.count);
    }
    return ret;
}

/* Not the call before once more; see allreduce.c. */
static COLL_RDMA_APART int bcast(void *buf, int count, ompi_datatype_t *dtype, int root,
                                 ompi_communicator_t *comm, mca_coll_base_module_t *base)
{
    coll_rdma_module_t *module = (coll_rdma_module_t *) base;
    int ret = OMPI_SUCCESS;

    if (coll_rdma_serves(module, comm, &ret)) {
        ret = run(module, buf, count, dtype, root, root == ompi_comm_rank(comm));
        if (OPAL_LIKELY(OMPI_ERR_NOT_SUPPORTED != ret)) {
            return ret;
        }
    } else if (OMPI_SUCCESS != ret) {
        return ret;
    }
    coll_rdma_gpu_settle(module);
    return module->lower.bcast(buf, count, dtype, root, comm, module->lower.bcast_module);
}

int coll_rdma_host_bcast(void *buf, int count, ompi_datatype_t *dtype, int root,
                         ompi_communicator_t *comm, mca_coll_base_module_t *base)
{
    coll_rdma_module_t *module = (coll_rdma_module_t *) base;
    crdma_op_args_t *again = coll_rdma_recall(module, CRDMA_BCAST, dtype, NULL, count, root);

    if (OPAL_LIKELY(NULL != again)) {
        again->in = again->out = buf;
        return coll_rdma_rerun(module, again);
    }
    return bcast(buf, count, dtype, root, comm, base);
}

int coll_rdma_bcast(void *buf, int count, ompi_datatype_t *dtype, int root,
                    ompi_communicator_t *comm, mca_coll_base_module_t *base)
{
    if (crdma_cuda_possible()) {
        return coll_rdma_gpu_bcast(buf, count, dtype, root, comm, base);
    }
    return coll_rdma_host_bcast(buf, count, dtype, root, comm, base);
}
