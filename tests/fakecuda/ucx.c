/*
 * Stands between a program and UCX, for tests: a UCX without CUDA that seems to have it. With
 * rc_verbs over soft-RoCE (tests/rxe) UCX then moves the stand-in's GPU memory.
 *
 *   ucp_context_query      adds CUDA to the types of memory
 *   ucp_mem_map            of CUDA memory: maps the window (rdma.c), and UCX registers the mapping
 *   ucp_rkey_pack          puts in front of the key how far the mapping is from the address that
 *                          the program knows
 *   ucp_ep_rkey_unpack     takes that off again
 *   ucp_put_nbx, _get_nbx  add it to the remote address; a local buffer of memory type CUDA becomes
 *                          its place in the mapping. Without the type it stays as it is, and nobody
 *                          can touch it
 *
 * FAKEVERBS_REPORT=1: at the end a line tells how many registrations of GPU memory were made and
 * ended.
 */
#define _GNU_SOURCE /* RTLD_NEXT */

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucp/api/ucp.h>
#include <unistd.h>

#include "coll_rdma/device/cuda_driver.h"

#define PUBLIC     __attribute__((visibility("default")))
#define NEXT(name) (*(void **)&next = dlsym(RTLD_NEXT, name))

enum { MOST = 1024 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    ucp_mem_h memory; /* NULL: free */
    char *start, *map;
    size_t length;
} mapped[MOST];
static struct {
    ucp_rkey_h key; /* NULL: free */
    int64_t shift;
} keys[MOST];
static int made, ended;

PUBLIC ucs_status_t ucp_context_query(ucp_context_h context, ucp_context_attr_t *attr)
{
    ucs_status_t (*next)(ucp_context_h, ucp_context_attr_t *);
    ucs_status_t status;

    NEXT("ucp_context_query");
    status = next(context, attr);
    if (UCS_OK == status && 0 != (attr->field_mask & UCP_ATTR_FIELD_MEMORY_TYPES)) {
        attr->memory_types |= UCS_BIT(UCS_MEMORY_TYPE_CUDA);
    }
    return status;
}

static char *map_window(void *start, size_t length)
{
    crdma_cu_result_t (*handle)(void *, crdma_cu_ptr_t, size_t, int, unsigned long long);
    void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
    char *map = MAP_FAILED;
    int fd = -1;

    if (NULL == driver) {
        return NULL;
    }
    *(void **)&handle = dlsym(driver, "cuMemGetHandleForAddressRange");
    if (0 == handle(&fd, (uintptr_t)start, length, CRDMA_CU_HANDLE_DMA_BUF, 0)) {
        map = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd);
    }
    dlclose(driver);
    return MAP_FAILED == map ? NULL : map;
}

PUBLIC ucs_status_t ucp_mem_map(ucp_context_h context, const ucp_mem_map_params_t *params,
                                ucp_mem_h *memory)
{
    ucs_status_t (*next)(ucp_context_h, const ucp_mem_map_params_t *, ucp_mem_h *);
    ucp_mem_map_params_t changed = *params;
    ucs_status_t status;
    char *map;

    NEXT("ucp_mem_map");
    if (0 == (params->field_mask & UCP_MEM_MAP_PARAM_FIELD_MEMORY_TYPE) ||
        UCS_MEMORY_TYPE_CUDA != params->memory_type) {
        return next(context, params, memory);
    }
    map = map_window(params->address, params->length);
    if (NULL == map) {
        return UCS_ERR_UNSUPPORTED;
    }
    changed.address = map;
    changed.memory_type = UCS_MEMORY_TYPE_HOST;
    status = next(context, &changed, memory);
    pthread_mutex_lock(&lock);
    for (int i = 0; i < MOST && UCS_OK == status; ++i) {
        if (NULL == mapped[i].memory) {
            mapped[i].memory = *memory;
            mapped[i].start = params->address;
            mapped[i].map = map;
            mapped[i].length = params->length;
            ++made;
            break;
        }
    }
    pthread_mutex_unlock(&lock);
    return status;
}

PUBLIC ucs_status_t ucp_mem_unmap(ucp_context_h context, ucp_mem_h memory)
{
    ucs_status_t (*next)(ucp_context_h, ucp_mem_h);
    ucs_status_t status;

    NEXT("ucp_mem_unmap");
    pthread_mutex_lock(&lock);
    for (int i = 0; i < MOST; ++i) {
        if (memory == mapped[i].memory) {
            mapped[i].memory = NULL; /* the mapping stays: who reads it too late reads old data */
            ++ended;
            break;
        }
    }
    pthread_mutex_unlock(&lock);
    status = next(context, memory);
    return status;
}

PUBLIC ucs_status_t ucp_rkey_pack(ucp_context_h context, ucp_mem_h memory, void **buffer,
                                  size_t *size)
{
    ucs_status_t (*next)(ucp_context_h, ucp_mem_h, void **, size_t *);
    void (*release)(void *);
    int64_t shift = 0;
    ucs_status_t status;
    char *key = NULL;
    void *real;

    NEXT("ucp_rkey_pack");
    *(void **)&release = dlsym(RTLD_NEXT, "ucp_rkey_buffer_release");
    status = next(context, memory, &real, size);
    if (UCS_OK != status || NULL == (key = malloc(*size + sizeof(shift)))) {
        return status;
    }
    pthread_mutex_lock(&lock);
    for (int i = 0; i < MOST; ++i) {
        if (memory == mapped[i].memory) {
            shift = mapped[i].map - mapped[i].start;
        }
    }
    pthread_mutex_unlock(&lock);
    memcpy(key, &shift, sizeof(shift));
    memcpy(key + sizeof(shift), real, *size);
    release(real);
    *size += sizeof(shift);
    *buffer = key;
    return status;
}

PUBLIC void ucp_rkey_buffer_release(void *buffer)
{
    free(buffer);
}

PUBLIC ucs_status_t ucp_ep_rkey_unpack(ucp_ep_h ep, const void *buffer, ucp_rkey_h *key)
{
    ucs_status_t (*next)(ucp_ep_h, const void *, ucp_rkey_h *);
    ucs_status_t status;
    int64_t shift;

    NEXT("ucp_ep_rkey_unpack");
    memcpy(&shift, buffer, sizeof(shift));
    status = next(ep, (const char *)buffer + sizeof(shift), key);
    pthread_mutex_lock(&lock);
    for (int i = 0; i < MOST && UCS_OK == status && 0 != shift; ++i) {
        if (NULL == keys[i].key) {
            keys[i].key = *key;
            keys[i].shift = shift;
            break;
        }
    }
    pthread_mutex_unlock(&lock);
    return status;
}

PUBLIC void ucp_rkey_destroy(ucp_rkey_h key)
{
    void (*next)(ucp_rkey_h);

    NEXT("ucp_rkey_destroy");
    pthread_mutex_lock(&lock);
    for (int i = 0; i < MOST; ++i) {
        if (key == keys[i].key) {
            keys[i].key = NULL;
        }
    }
    pthread_mutex_unlock(&lock);
    next(key);
}

/* The local buffer, with its type taken off the parameters, and the remote address. */
static char *translate(const void *buffer, ucp_rkey_h key, uint64_t *remote,
                       ucp_request_param_t *param)
{
    char *at = (char *)(uintptr_t)buffer;
    const bool on_device = 0 != (param->op_attr_mask & UCP_OP_ATTR_FIELD_MEMORY_TYPE) &&
                           UCS_MEMORY_TYPE_CUDA == param->memory_type;

    pthread_mutex_lock(&lock);
    for (int i = 0; i < MOST; ++i) {
        if (NULL != keys[i].key && key == keys[i].key) {
            *remote += (uint64_t)keys[i].shift;
        }
        if (on_device && NULL != mapped[i].memory && (char *)(uintptr_t)buffer >= mapped[i].start &&
            (char *)(uintptr_t)buffer < mapped[i].start + mapped[i].length) {
            at = mapped[i].map + ((char *)(uintptr_t)buffer - mapped[i].start);
        }
    }
    pthread_mutex_unlock(&lock);
    if (on_device) {
        param->op_attr_mask &= ~(uint32_t)UCP_OP_ATTR_FIELD_MEMORY_TYPE;
    }
    return at;
}

PUBLIC ucs_status_ptr_t ucp_put_nbx(ucp_ep_h ep, const void *buffer, size_t count, uint64_t remote,
                                    ucp_rkey_h key, const ucp_request_param_t *param)
{
    ucs_status_ptr_t (*next)(ucp_ep_h, const void *, size_t, uint64_t, ucp_rkey_h,
                             const ucp_request_param_t *);
    ucp_request_param_t changed = *param;

    NEXT("ucp_put_nbx");
    buffer = translate(buffer, key, &remote, &changed);
    return next(ep, buffer, count, remote, key, &changed);
}

PUBLIC ucs_status_ptr_t ucp_get_nbx(ucp_ep_h ep, void *buffer, size_t count, uint64_t remote,
                                    ucp_rkey_h key, const ucp_request_param_t *param)
{
    ucs_status_ptr_t (*next)(ucp_ep_h, void *, size_t, uint64_t, ucp_rkey_h,
                             const ucp_request_param_t *);
    ucp_request_param_t changed = *param;

    NEXT("ucp_get_nbx");
    buffer = translate(buffer, key, &remote, &changed);
    return next(ep, buffer, count, remote, key, &changed);
}

__attribute__((destructor)) static void report(void)
{
    if (NULL != getenv("FAKEVERBS_REPORT") && 0 != made) {
        fprintf(stderr, "fakeucx: %d registrations of GPU memory, %d ended\n", made, ended);
    }
}
