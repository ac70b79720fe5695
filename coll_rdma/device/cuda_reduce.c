/*
 * Reductions by the GPU: the kernel for an operation and a type, and its launch.
 *
 * The module with all kernels is loaded once per context, a kernel looked up when it is first needed.
 * More than CRDMA_KERNEL_FANIN sources are folded in several launches, which the stream keeps in
 * order; the result so far is the first source of the next one. A kernel combines its sources from the first to
 * the last, so the order of operations, and with it every bit, is that of one pass over all of them, which
 * is the host's. Where dst is a source of a later launch, the result so far is kept in `partial`.
 */
#define CRDMA_NO_LONG_DOUBLE /* what GPUs do not have */

#include <pthread.h>
#include <stdlib.h>

#include "coll_rdma/device/cuda_internal.h"
#include "coll_rdma/kernels/reduce_args.h"
#include "coll_rdma/kernels/reduce_ops.h"

enum { MAX_MODULES = 16, BLOCKS_PER_PROCESSOR = 8 };

#define ROW(OP, TYPE, op, tag) [CRDMA_OP_##OP][CRDMA_TYPE_##TYPE] = "crdma_reduce_" #op "_" #tag,
static const char *const kernel_names[CRDMA_NOPS][CRDMA_NTYPES] = {CRDMA_REDUCE_TABLE(ROW)};

typedef struct module {
    crdma_cu_context_t context; /* NULL: free */
    unsigned long long id;
    crdma_cu_module_t handle; /* NULL: cannot be loaded here */
    unsigned most_blocks;
    crdma_cu_function_t functions[CRDMA_NOPS][CRDMA_NTYPES];
} module_t;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static module_t *modules[MAX_MODULES];

bool crdma_cuda_can_reduce(crdma_op_id_t op, crdma_type_id_t type)
{
    return NULL != crdma_cuda_kernels() && (unsigned) op < CRDMA_NOPS
           && (unsigned) type < CRDMA_NTYPES && NULL != kernel_names[op][type];
}

static crdma_cu_result_t load(const crdma_cu_api_t *cu, module_t *module)
{
    crdma_cu_device_t device = 0;
    int processors = 0;
    crdma_cu_result_t result = cu->module_load_data(&module->handle, crdma_cuda_kernels());

    if (CRDMA_CU_SUCCESS == result) {
        result = cu->ctx_get_device(&device);
    }
    if (CRDMA_CU_SUCCESS == result) {
        result = cu->device_get_attribute(&processors, CRDMA_CU_MULTIPROCESSOR_COUNT, device);
    }
    module->most_blocks = (unsigned) (0 < processors ? processors : 1) * BLOCKS_PER_PROCESSOR;
    return result;
}

/* The module of the context, which is current. The lock is held. */
static crdma_cu_result_t module_of(const crdma_cu_api_t *cu, crdma_cu_context_t context,
                                   module_t **found)
{
    const unsigned long long id = crdma_cuda_context_id(cu, context);
    module_t **slot = NULL, *module;
    crdma_cu_result_t result;

    for (int i = 0; i < MAX_MODULES; ++i) {
        if (NULL != modules[i] && modules[i]->context == context) {
            if (modules[i]->id == id) {
                *found = modules[i];
                return CRDMA_CU_SUCCESS;
            }
            free(modules[i]); /* the module went with its context */
            modules[i] = NULL;
        }
        if (NULL == slot && NULL == modules[i]) {
            slot = &modules[i];
        }
    }
    module = NULL == slot ? NULL : calloc(1, sizeof(*module));
    if (NULL == module) {
        return CRDMA_CU_OUT_OF_MEMORY;
    }
    module->context = context;
    module->id = id;
    result = load(cu, module);
    if (CRDMA_CU_SUCCESS != result) {
        free(module);
        return result;
    }
    *found = *slot = module;
    return CRDMA_CU_SUCCESS;
}

static crdma_cu_result_t find(const crdma_cu_api_t *cu, crdma_cu_context_t context,
                              crdma_op_id_t op, crdma_type_id_t type,
                              crdma_cu_function_t *function, unsigned *most_blocks)
{
    module_t *module = NULL;
    crdma_cu_result_t result;

    pthread_mutex_lock(&lock);
    result = module_of(cu, context, &module);
    if (CRDMA_CU_SUCCESS == result && NULL == module->functions[op][type]) {
        result = cu->module_get_function(&module->functions[op][type], module->handle,
                                         kernel_names[op][type]);
    }
    if (CRDMA_CU_SUCCESS == result) {
        *function = module->functions[op][type];
        *most_blocks = module->most_blocks;
    }
    pthread_mutex_unlock(&lock);
    return result;
}

static crdma_cu_result_t launch(const crdma_cu_api_t *cu, crdma_cu_function_t function,
                                unsigned most_blocks, crdma_cu_stream_t stream,
                                crdma_kernel_args_t *args, size_t size)
{
    const uint64_t threads = crdma_kernel_layout(args, size);
    const uint64_t blocks = (threads + CRDMA_KERNEL_THREADS - 1) / CRDMA_KERNEL_THREADS;
    void *parameters[] = {args};

    return cu->launch_kernel(function, (unsigned) (blocks < most_blocks ? blocks : most_blocks), 1,
                             1, CRDMA_KERNEL_THREADS, 1, 1, 0, stream, parameters, NULL);
}

bool crdma_cuda_needs_partial(const void *dst, const void *const *src, int nsrc)
{
    for (int i = CRDMA_KERNEL_FANIN; i < nsrc; ++i) {
        if (src[i] == dst) {
            return true;
        }
    }
    return false;
}

void crdma_cuda_queue_reduce(crdma_cuda_queue_t *queue, crdma_op_id_t op, crdma_type_id_t type,
                             void *dst, const void *const *src, int nsrc, size_t count,
                             void *partial)
{
    const crdma_cu_api_t *cu = crdma_cuda_api();
    void *so_far = crdma_cuda_needs_partial(dst, src, nsrc) ? partial : dst;
    crdma_cu_function_t function = NULL;
    crdma_cu_result_t result = CRDMA_CU_INVALID_VALUE;
    unsigned most_blocks = 1;
    int next = 0;

    if (CRDMA_OK != queue->status || 0 == count) {
        return;
    }
    if (crdma_cuda_can_reduce(op, type) && 1 <= nsrc && NULL != so_far) {
        result = find(cu, queue->context, op, type, &function, &most_blocks);
    }
    while (CRDMA_CU_SUCCESS == result && next < nsrc) {
        crdma_kernel_args_t args = {.count = count};

        if (0 < next) {
            args.src[args.nsrc++] = so_far;
        }
        while (args.nsrc < CRDMA_KERNEL_FANIN && next < nsrc) {
            args.src[args.nsrc++] = src[next++];
        }
        args.dst = next < nsrc ? so_far : dst;
        result = launch(cu, function, most_blocks, queue->stream, &args, crdma_type_size(type));
    }
    if (CRDMA_CU_SUCCESS != result) {
        crdma_cuda_queue_fail(queue, "reduction", result);
    }
}

void crdma_cuda_close_modules(const crdma_cu_api_t *cu)
{
    for (int i = 0; i < MAX_MODULES; ++i) {
        bool pushed;

        if (NULL == modules[i]) {
            continue;
        }
        if (crdma_cuda_context_id(cu, modules[i]->context) == modules[i]->id
            && CRDMA_CU_SUCCESS == crdma_cuda_enter(cu, modules[i]->context, &pushed)) {
            (void) cu->module_unload(modules[i]->handle);
            crdma_cuda_leave(cu, pushed);
        }
        free(modules[i]);
        modules[i] = NULL;
    }
}
