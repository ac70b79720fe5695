/*
 * Collectives that stay in GPU memory: the ranks of a host open one another's memory, copy from it
 * and reduce from it (engine/device.h).
 *
 * What peers open is memory of ours (crdma_cuda_block_t): input is copied there, the call works in
 * place, and the result is copied out, both within the GPU. So every kind of GPU memory is served,
 * managed and of pools too, peers open a few blocks once, and nothing that they have open is ever
 * freed, which the driver's manual forbids. With coll_rdma_gpu = direct they open the application's
 * memory where it can be shared: two copies less, but applications free memory when they like.
 *
 * Whether a call is done so is this rank's own decision. It is not if
 *   - buffers are not in GPU memory, or of different contexts; the datatype has gaps; there is no
 *     kernel for the operation and type; the call is small;
 *   - the kernel does not let ranks of a host read each other's memory, or the network adapter cannot
 *     reach GPU memory for ranks on other hosts;
 *   - messages would be too small for a rendezvous, or operands too many for one kernel;
 *   - memory cannot be shared, or a peer could not open some earlier: gpu.c then goes through the
 *     host.
 */
#include "coll_rdma/component/convert.h"
#include "coll_rdma/component/coll_rdma_types.h"
#include "coll_rdma/component/gpu.h"
#include "coll_rdma/device/cuda_work.h"
#include "coll_rdma/engine/device.h"

typedef struct direct {
    crdma_flow_t flow; /* first: the engine hands it back */
    crdma_cuda_call_t call;
    const coll_rdma_direct_t *wanted;
    crdma_cuda_block_t *block; /* NULL: work in the application's memory */
    const char *from;          /* data; NULL: none */
    char *to;
    size_t bytes, written;
    uint64_t ready; /* ticket: input is complete; 0: not asked for yet */
} direct_t;

/* The engine starts no step before this: input is in the block, or complete where it is. */
static crdma_status_t flow_arrived(crdma_flow_t *flow, size_t bytes)
{
    direct_t *d = (direct_t *)flow;

    (void)bytes;
    if (0 == d->ready) {
        d->ready = NULL != d->block && NULL != d->from
                       ? crdma_cuda_work_copy(d->call.pipe, d->block->data, d->from, d->bytes)
                       : crdma_cuda_work_mark(d->call.pipe);
    }
    return crdma_cuda_work_poll(d->call.pipe, d->ready);
}

static void flow_finished(crdma_flow_t *flow, size_t bytes)
{
    direct_t *d = (direct_t *)flow;

    if (NULL != d->block && NULL != d->to && d->written < bytes) {
        (void)crdma_cuda_work_copy(d->call.pipe, d->to + d->written,
                                   (char *)d->block->data + d->written, bytes - d->written);
        d->written = bytes;
    }
}

static bool is_possible(const coll_rdma_module_t *module, const coll_rdma_direct_t *w, size_t bytes)
{
    const crdma_group_t *g = module->group;

    return CRDMA_GPU_STAGED != crdma_params.gpu && COLL_RDMA_READY == module->state &&
           !module->gpu_refused && crdma_device_possible(g) && bytes >= crdma_params.gpu_min && 0 < bytes &&
           ompi_datatype_is_contiguous_memory_layout(w->dtype, w->count) &&
           (NULL == w->from) == (NULL == w->from_device) /* MPI_BOTTOM is NULL */
           && (NULL == w->to) == (NULL == w->to_device);
}

/* What the call works on: the application's memory, or a block. False: neither can be shared. */
static bool share(direct_t *d, crdma_op_args_t *args)
{
    args->in = NULL != d->from ? d->from : d->to;
    args->out = NULL == d->wanted->op ? (void *)(uintptr_t)args->in : d->to;
    if (CRDMA_GPU_DIRECT == crdma_params.gpu &&
        CRDMA_OK == crdma_cuda_call_share(&d->call, args->in, d->bytes) &&
        (args->in == args->out || NULL == args->out ||
         CRDMA_OK == crdma_cuda_call_share(&d->call, args->out, d->bytes))) {
        return true;
    }
    d->call.nareas = 0;
    d->block = crdma_cuda_block_get(d->bytes, d->call.on_device);
    if (NULL == d->block || CRDMA_OK != crdma_cuda_call_share(&d->call, d->block->data, d->bytes)) {
        return false;
    }
    d->block->shared = true;
    args->in = args->out = d->block->data;
    return true;
}

static int run(coll_rdma_module_t *module, direct_t *d, crdma_op_args_t *args)
{
    const coll_rdma_direct_t *w = d->wanted;
    int ret;

    d->call.pipe = crdma_cuda_pipe_get(d->call.on_device);
    if (NULL == d->call.pipe) {
        return COLL_RDMA_NOT_DIRECT;
    }
    d->flow.arrived = flow_arrived;
    d->flow.finished = flow_finished;
    args->device = &d->call;
    module->group->flow = &d->flow;
    ret = coll_rdma_run(module, w->coll, w->root, NULL != w->op && !ompi_op_is_commute(w->op), args,
                        d->call.op, d->call.type);
    module->group->flow = NULL;
    if (OMPI_ERR_NOT_SUPPORTED == ret) { /* no schedule, before anything has happened */
        ret = COLL_RDMA_NOT_DIRECT;
    }
    if (OMPI_SUCCESS == ret) {
        flow_finished(&d->flow, d->bytes); /* what the engine has not reported */
    }
    if (CRDMA_OK != crdma_cuda_pipe_put(d->call.pipe) && OMPI_SUCCESS == ret) {
        ret = MPI_ERR_OTHER;
    }
    if (d->call.refused && !module->gpu_refused) {
        module->gpu_refused = true;
        crdma_log(
            CRDMA_LOG_SETUP,
            "%s: rank %d: GPU memory cannot be opened by other ranks, it goes through the host",
            module->group->name, module->group->rank);
    }
    return ret;
}

int coll_rdma_gpu_direct(coll_rdma_module_t *module, const coll_rdma_direct_t *w)
{
    size_t elsize;
    crdma_op_args_t args = {.elsize = 1};
    direct_t d = {.wanted = w};
    int ret = COLL_RDMA_NOT_DIRECT;

    ompi_datatype_type_size(w->dtype, &elsize);
    d.bytes = elsize * (size_t)w->count;
    if (!is_possible(module, w, d.bytes) ||
        (NULL != w->from_device && NULL != w->to_device &&
         !crdma_cuda_same_context(w->from_device, w->to_device))) {
        return ret;
    }
    d.call.on_device = NULL != w->to_device ? w->to_device : w->from_device;
    d.from = NULL == w->from ? NULL : (const char *)w->from + w->dtype->super.true_lb;
    d.to = NULL == w->to ? NULL : (char *)w->to + w->dtype->super.true_lb;
    args.count = d.bytes;
    if (NULL != w->op) {
        args.elsize = elsize;
        args.count = (size_t)w->count;
        d.call.op = coll_rdma_op_id(w->op);
        d.call.type = coll_rdma_type_id(w->dtype);
        if (elsize > crdma_group_element_max(module->group) ||
            !crdma_cuda_can_reduce(d.call.op, d.call.type)) {
            return ret;
        }
        args.reducer.kernel = crdma_reduce_lookup(d.call.op, d.call.type);
    }
    if (share(&d, &args)) {
        ret = run(module, &d, &args);
    }
    if (NULL != d.block && d.call.exposed) {
        crdma_cuda_block_abandon(d.block);
    } else if (NULL != d.block) {
        crdma_cuda_block_put(d.block);
    }
    return ret;
}
