/*
 * Devices and contexts of the stand-in.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/fakecuda/fakecuda.h"

enum { MAX_CONTEXTS = 64, MAX_DEVICES = 8, DEPTH = 16, MAX_NAMES = 64 };

pthread_mutex_t fake_lock = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t fake_changed = PTHREAD_COND_INITIALIZER;

static bool initialised;
static int ndevices = 2;
static fake_context_t contexts[MAX_CONTEXTS];
static unsigned long long last_id;
static _Thread_local fake_context_t *stack[DEPTH];
static _Thread_local int depth;

static struct {
    char name[32];
    long calls;
} counted[MAX_NAMES];
static char fail_name[32];
static long fail_number;
static uint64_t random_state;

bool fake_is_initialised(void)
{
    return initialised;
}

static int count_index(const char *name)
{
    for (int i = 0; i < MAX_NAMES; ++i) {
        if ('\0' == counted[i].name[0]) {
            snprintf(counted[i].name, sizeof(counted[i].name), "%s", name);
        }
        if (0 == strcmp(counted[i].name, name)) {
            return i;
        }
    }
    abort();
}

bool fake_count(const char *name)
{
    const int i = count_index(name);

    ++counted[i].calls;
    return 0 == strcmp(fail_name, name) && fail_number == counted[i].calls;
}

/* For tests: how often a function that is counted has been called. */
__attribute__((visibility("default"))) long fakecuda_calls(const char *name)
{
    long calls;

    pthread_mutex_lock(&fake_lock);
    calls = counted[count_index(name)].calls;
    pthread_mutex_unlock(&fake_lock);
    return calls;
}

/* For tests: from now on the call number `number` of `name` fails. */
__attribute__((visibility("default"))) void fakecuda_fail(const char *name, long number)
{
    pthread_mutex_lock(&fake_lock);
    snprintf(fail_name, sizeof(fail_name), "%s", name);
    fail_number = counted[count_index(name)].calls + number;
    pthread_mutex_unlock(&fake_lock);
}

unsigned fake_random(unsigned bound)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return 0 == bound ? 0 : (unsigned) (random_state >> 33) % bound;
}

FAKE_API cuInit(unsigned flags)
{
    const char *seed = getenv("FAKECUDA_SEED"), *devices = getenv("FAKECUDA_DEVICES");

    (void) flags;
    pthread_mutex_lock(&fake_lock);
    if (!initialised) {
        random_state = (NULL == seed ? 1 : strtoull(seed, NULL, 0)) * 7919 + (uint64_t) getpid();
        ndevices = NULL == devices ? 2 : atoi(devices);
        initialised = true;
    }
    pthread_mutex_unlock(&fake_lock);
    return CRDMA_CU_SUCCESS;
}

FAKE_API cuDriverGetVersion(int *version)
{
    *version = 12000;
    return CRDMA_CU_SUCCESS;
}

FAKE_API cuGetErrorName(crdma_cu_result_t error, const char **name)
{
    switch (error) {
    case CRDMA_CU_INVALID_VALUE: *name = "CUDA_ERROR_INVALID_VALUE"; break;
    case CRDMA_CU_OUT_OF_MEMORY: *name = "CUDA_ERROR_OUT_OF_MEMORY"; break;
    case CRDMA_CU_NOT_INITIALIZED: *name = "CUDA_ERROR_NOT_INITIALIZED"; break;
    case CRDMA_CU_INVALID_CONTEXT: *name = "CUDA_ERROR_INVALID_CONTEXT"; break;
    case CRDMA_CU_INVALID_HANDLE: *name = "CUDA_ERROR_INVALID_HANDLE"; break;
    case CRDMA_CU_MAP_FAILED: *name = "CUDA_ERROR_MAP_FAILED"; break;
    case CRDMA_CU_PEER_ACCESS_UNSUPPORTED: *name = "CUDA_ERROR_PEER_ACCESS_UNSUPPORTED"; break;
    case CRDMA_CU_NOT_SUPPORTED: *name = "CUDA_ERROR_NOT_SUPPORTED"; break;
    case FAKE_ILLEGAL_ADDRESS: *name = "CUDA_ERROR_ILLEGAL_ADDRESS"; break;
    case CRDMA_CU_LAUNCH_FAILED: *name = "CUDA_ERROR_LAUNCH_FAILED"; break;
    default: *name = NULL; return CRDMA_CU_INVALID_VALUE;
    }
    return CRDMA_CU_SUCCESS;
}

FAKE_API cuDeviceGetCount(int *count)
{
    *count = ndevices;
    return initialised ? CRDMA_CU_SUCCESS : CRDMA_CU_NOT_INITIALIZED;
}

FAKE_API cuDeviceGet(crdma_cu_device_t *device, int ordinal)
{
    *device = ordinal;
    return 0 <= ordinal && ordinal < ndevices ? CRDMA_CU_SUCCESS : CRDMA_CU_INVALID_DEVICE;
}

FAKE_API cuDeviceGetName(char *name, int size, crdma_cu_device_t device)
{
    snprintf(name, (size_t) size, "emulated GPU %d", device);
    return CRDMA_CU_SUCCESS;
}

FAKE_API cuDeviceGetAttribute(int *value, int attribute, crdma_cu_device_t device)
{
    (void) device;
    *value = CRDMA_CU_MULTIPROCESSOR_COUNT == attribute ? 2 : fake_rdma_attribute(attribute);
    return CRDMA_CU_SUCCESS;
}

/* The lock is held. */
static fake_context_t *context_new(crdma_cu_device_t device, bool primary)
{
    for (int i = 0; i < MAX_CONTEXTS; ++i) {
        fake_context_t *context = &contexts[i];

        if (!context->alive) {
            *context = (fake_context_t) {
                .alive = true, .primary = primary, .device = device, .id = ++last_id};
            context->null = fake_stream_new(context, true);
            return context;
        }
    }
    return NULL;
}

/* The lock is held. */
static void context_destroy(fake_context_t *context)
{
    fake_wait_context(context);
    fake_kill_streams(context);
    fake_forget_context(context);
    context->alive = false;
}

FAKE_API cuDevicePrimaryCtxRetain(fake_context_t **context, crdma_cu_device_t device)
{
    *context = NULL;
    pthread_mutex_lock(&fake_lock);
    for (int i = 0; i < MAX_CONTEXTS; ++i) {
        if (contexts[i].alive && contexts[i].primary && contexts[i].device == device) {
            *context = &contexts[i];
        }
    }
    if (NULL == *context) {
        *context = context_new(device, true);
    }
    ++(*context)->retained;
    pthread_mutex_unlock(&fake_lock);
    return CRDMA_CU_SUCCESS;
}

FAKE_API cuDevicePrimaryCtxRelease_v2(crdma_cu_device_t device)
{
    pthread_mutex_lock(&fake_lock);
    for (int i = 0; i < MAX_CONTEXTS; ++i) {
        if (contexts[i].alive && contexts[i].primary && contexts[i].device == device
            && 0 == --contexts[i].retained) {
            context_destroy(&contexts[i]);
        }
    }
    pthread_mutex_unlock(&fake_lock);
    return CRDMA_CU_SUCCESS;
}

FAKE_API cuCtxCreate_v2(fake_context_t **context, unsigned flags, crdma_cu_device_t device)
{
    (void) flags;
    pthread_mutex_lock(&fake_lock);
    *context = context_new(device, false);
    pthread_mutex_unlock(&fake_lock);
    if (NULL == *context || DEPTH == depth) {
        return CRDMA_CU_OUT_OF_MEMORY;
    }
    stack[depth++] = *context;
    return CRDMA_CU_SUCCESS;
}

FAKE_API cuCtxDestroy_v2(fake_context_t *context)
{
    if (0 < depth && stack[depth - 1] == context) {
        --depth;
    }
    pthread_mutex_lock(&fake_lock);
    context_destroy(context);
    pthread_mutex_unlock(&fake_lock);
    return CRDMA_CU_SUCCESS;
}

fake_context_t *fake_current(void)
{
    return 0 < depth && NULL != stack[depth - 1] && stack[depth - 1]->alive ? stack[depth - 1]
                                                                             : NULL;
}

FAKE_API cuCtxPushCurrent_v2(fake_context_t *context)
{
    if (NULL == context || !context->alive || DEPTH == depth) {
        return CRDMA_CU_INVALID_CONTEXT;
    }
    stack[depth++] = context;
    return CRDMA_CU_SUCCESS;
}

FAKE_API cuCtxPopCurrent_v2(fake_context_t **context)
{
    if (0 == depth) {
        return CRDMA_CU_INVALID_CONTEXT;
    }
    *context = stack[--depth];
    return CRDMA_CU_SUCCESS;
}

FAKE_API cuCtxSetCurrent(fake_context_t *context)
{
    depth = 0 < depth ? depth : 1;
    stack[depth - 1] = context;
    return CRDMA_CU_SUCCESS;
}

FAKE_API cuCtxGetCurrent(fake_context_t **context)
{
    *context = 0 < depth ? stack[depth - 1] : NULL;
    return initialised ? CRDMA_CU_SUCCESS : CRDMA_CU_NOT_INITIALIZED;
}

FAKE_API cuCtxGetDevice(crdma_cu_device_t *device)
{
    const fake_context_t *context = fake_current();

    if (NULL == context) {
        return CRDMA_CU_INVALID_CONTEXT;
    }
    *device = context->device;
    return CRDMA_CU_SUCCESS;
}

FAKE_API cuCtxGetId(fake_context_t *context, unsigned long long *id)
{
    *id = context->id;
    return context->alive ? CRDMA_CU_SUCCESS : CRDMA_CU_INVALID_CONTEXT;
}

FAKE_API cuCtxSynchronize(void)
{
    fake_context_t *context = fake_current();
    crdma_cu_result_t result = CRDMA_CU_INVALID_CONTEXT;

    if (NULL != context) {
        pthread_mutex_lock(&fake_lock);
        fake_wait_context(context);
        result = context->error;
        pthread_mutex_unlock(&fake_lock);
    }
    return result;
}
