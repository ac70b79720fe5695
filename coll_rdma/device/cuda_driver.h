/*
 * The part of the CUDA driver API that is used here, declared by ourselves: the build needs no CUDA
 * headers, and one binary runs with and without a driver.
 *
 * Names, values and signatures are those of libcuda's ABI, which NVIDIA keeps stable by versioned
 * symbols (cuMemHostRegister_v2); CUDA 11.2 has everything that is not marked optional. Types have
 * names of our own, so that a file that does see cuda.h could include this too.
 */
#ifndef CRDMA_DEVICE_CUDA_DRIVER_H
#define CRDMA_DEVICE_CUDA_DRIVER_H

#include <stddef.h>
#include <stdint.h>

typedef int crdma_cu_result_t;
typedef int crdma_cu_device_t;
typedef uint64_t crdma_cu_ptr_t;
typedef struct crdma_cu_context *crdma_cu_context_t;
typedef struct crdma_cu_stream *crdma_cu_stream_t;
typedef struct crdma_cu_event *crdma_cu_event_t;
typedef struct crdma_cu_module *crdma_cu_module_t;
typedef struct crdma_cu_function *crdma_cu_function_t;

enum {
    CRDMA_CU_SUCCESS = 0,
    CRDMA_CU_INVALID_VALUE = 1,
    CRDMA_CU_OUT_OF_MEMORY = 2,
    CRDMA_CU_NOT_INITIALIZED = 3,
    CRDMA_CU_DEINITIALIZED = 4,
    CRDMA_CU_INVALID_DEVICE = 101,
    CRDMA_CU_INVALID_IMAGE = 200,
    CRDMA_CU_INVALID_CONTEXT = 201,
    CRDMA_CU_MAP_FAILED = 205,
    CRDMA_CU_PEER_ACCESS_UNSUPPORTED = 217,
    CRDMA_CU_INVALID_HANDLE = 400,
    CRDMA_CU_NOT_FOUND = 500,
    CRDMA_CU_NOT_READY = 600,
    CRDMA_CU_CONTEXT_IS_DESTROYED = 709,
    CRDMA_CU_ALREADY_REGISTERED = 712,
    CRDMA_CU_NOT_REGISTERED = 713,
    CRDMA_CU_LAUNCH_FAILED = 719,
    CRDMA_CU_NOT_SUPPORTED = 801
};

/* Pointer attributes. */
enum {
    CRDMA_CU_POINTER_CONTEXT = 1,        /* crdma_cu_context_t; NULL for virtual memory and pools */
    CRDMA_CU_POINTER_MEMORY_TYPE = 2,    /* unsigned: below; 0: CUDA does not know the address */
    CRDMA_CU_POINTER_BUFFER_ID = 7,      /* unsigned long long: of an allocation, used once only */
    CRDMA_CU_POINTER_IS_MANAGED = 8,     /* unsigned */
    CRDMA_CU_POINTER_DEVICE_ORDINAL = 9, /* int */
    CRDMA_CU_POINTER_RANGE_START = 11,   /* crdma_cu_ptr_t */
    CRDMA_CU_POINTER_RANGE_SIZE = 12     /* size_t */
};

enum { CRDMA_CU_MEMORY_HOST = 1, CRDMA_CU_MEMORY_DEVICE = 2 };

enum {
    CRDMA_CU_STREAM_DEFAULT = 0, /* ordered with the legacy default stream */
    CRDMA_CU_EVENT_DISABLE_TIMING = 2,
    CRDMA_CU_MEM_ATTACH_GLOBAL = 1,
    CRDMA_CU_REGISTER_PORTABLE = 1, /* pinned for all contexts */
    CRDMA_CU_MULTIPROCESSOR_COUNT = 16,
    CRDMA_CU_IPC_LAZY_PEER_ACCESS = 1 /* the only flag of cuIpcOpenMemHandle, and it must be given */
};

/* Network adapters that read and write GPU memory: attributes of devices, and what they may be. */
enum {
    CRDMA_CU_RDMA_SUPPORTED = 116,
    CRDMA_CU_RDMA_FLUSH_OPTIONS = 117,
    CRDMA_CU_RDMA_ORDERING = 118,
    CRDMA_CU_DMA_BUF_SUPPORTED = 124,
    CRDMA_CU_FLUSH_BY_HOST = 1,       /* a bit of the options: cuFlushGPUDirectRDMAWrites works */
    CRDMA_CU_ORDERED_FOR_ALL = 200,   /* what adapters write is seen by later work of any device */
    CRDMA_CU_FLUSH_OF_CONTEXT = 0,    /* whose memory: the current context's device */
    CRDMA_CU_FLUSH_FOR_ALL = 200,     /* who sees it then: work of any device */
    CRDMA_CU_HANDLE_DMA_BUF = 1
};

/* Names an allocation to other processes of the host. */
typedef struct crdma_cu_ipc_handle {
    char bytes[64];
} crdma_cu_ipc_handle_t;

/*
 * X(name of the function pointer, exported symbol, arguments). All return crdma_cu_result_t.
 * X for what every driver has, Y for what may be missing (NULL then).
 */
#define CRDMA_CU_FUNCTIONS(X, Y)                                                                   \
    X(get_error_name, cuGetErrorName, (crdma_cu_result_t, const char **))                          \
    X(pointer_get_attributes, cuPointerGetAttributes,                                              \
      (unsigned, const int *, void **, crdma_cu_ptr_t))                                            \
    X(ctx_get_current, cuCtxGetCurrent, (crdma_cu_context_t *))                                    \
    X(ctx_get_device, cuCtxGetDevice, (crdma_cu_device_t *))                                       \
    X(ctx_push, cuCtxPushCurrent_v2, (crdma_cu_context_t))                                         \
    X(ctx_pop, cuCtxPopCurrent_v2, (crdma_cu_context_t *))                                         \
    X(primary_ctx_retain, cuDevicePrimaryCtxRetain, (crdma_cu_context_t *, crdma_cu_device_t))     \
    X(primary_ctx_release, cuDevicePrimaryCtxRelease_v2, (crdma_cu_device_t))                      \
    X(device_get_attribute, cuDeviceGetAttribute, (int *, int, crdma_cu_device_t))                 \
    X(mem_host_register, cuMemHostRegister_v2, (void *, size_t, unsigned))                         \
    X(mem_host_unregister, cuMemHostUnregister, (void *))                                          \
    X(memcpy_async, cuMemcpyAsync, (crdma_cu_ptr_t, crdma_cu_ptr_t, size_t, crdma_cu_stream_t))    \
    X(stream_create, cuStreamCreate, (crdma_cu_stream_t *, unsigned))                              \
    X(stream_destroy, cuStreamDestroy_v2, (crdma_cu_stream_t))                                     \
    X(stream_synchronize, cuStreamSynchronize, (crdma_cu_stream_t))                                \
    X(stream_query, cuStreamQuery, (crdma_cu_stream_t))                                            \
    X(event_create, cuEventCreate, (crdma_cu_event_t *, unsigned))                                 \
    X(event_destroy, cuEventDestroy_v2, (crdma_cu_event_t))                                        \
    X(event_record, cuEventRecord, (crdma_cu_event_t, crdma_cu_stream_t))                          \
    X(event_query, cuEventQuery, (crdma_cu_event_t))                                               \
    X(module_load_data, cuModuleLoadData, (crdma_cu_module_t *, const void *))                     \
    X(module_unload, cuModuleUnload, (crdma_cu_module_t))                                          \
    X(module_get_function, cuModuleGetFunction,                                                    \
      (crdma_cu_function_t *, crdma_cu_module_t, const char *))                                    \
    X(launch_kernel, cuLaunchKernel,                                                               \
      (crdma_cu_function_t, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,  \
       crdma_cu_stream_t, void **, void **))                                                       \
    X(mem_alloc, cuMemAlloc_v2, (crdma_cu_ptr_t *, size_t))                                        \
    X(mem_free, cuMemFree_v2, (crdma_cu_ptr_t))                                                    \
    X(ipc_get_handle, cuIpcGetMemHandle, (crdma_cu_ipc_handle_t *, crdma_cu_ptr_t))                \
    X(ipc_open_handle, cuIpcOpenMemHandle_v2,                                                      \
      (crdma_cu_ptr_t *, crdma_cu_ipc_handle_t, unsigned))                                         \
    X(ipc_close_handle, cuIpcCloseMemHandle, (crdma_cu_ptr_t))                                     \
    Y(ctx_get_id, cuCtxGetId, (crdma_cu_context_t, unsigned long long *))                          \
    Y(mem_get_handle, cuMemGetHandleForAddressRange,                                               \
      (void *, crdma_cu_ptr_t, size_t, int, unsigned long long))                                   \
    Y(flush_rdma_writes, cuFlushGPUDirectRDMAWrites, (int, int))

#define CRDMA_CU_POINTER(name, symbol, arguments) crdma_cu_result_t(*name) arguments;
typedef struct crdma_cu_api {
    CRDMA_CU_FUNCTIONS(CRDMA_CU_POINTER, CRDMA_CU_POINTER)
} crdma_cu_api_t;
#undef CRDMA_CU_POINTER

#endif
