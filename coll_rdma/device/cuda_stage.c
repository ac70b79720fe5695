/*
 * Host memory through which GPU data passes, kept from call to call.
 *
 * The pages are ours and the driver only pins them (cuMemHostRegister): if the application destroys
 * the context in which that happened, the pages stay and copies go on, pageable and slower, until the
 * next registration. Memory of cuMemHostAlloc would be gone.
 *
 * Sizes are rounded up, so that a program which works with growing messages pins a few times only. At most
 * MAX_FREE pieces wait for the next call; of more the smallest goes.
 */
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "coll_rdma/device/cuda_internal.h"

#define SMALLEST ((size_t) 64 << 10)
#define STEP     ((size_t) 16 << 20) /* powers of two up to here, multiples above */
enum { MAX_FREE = 8 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static crdma_cuda_stage_t *stages; /* free ones */

static size_t rounded(size_t bytes)
{
    size_t size = SMALLEST;

    if (bytes > STEP) {
        return bytes > SIZE_MAX - STEP ? 0 : (bytes + STEP - 1) / STEP * STEP;
    }
    while (size < bytes) {
        size *= 2;
    }
    return size;
}

static void pin(crdma_cuda_stage_t *stage, const void *on_device)
{
    const crdma_cu_api_t *cu = crdma_cuda_api();
    const unsigned generation = crdma_cuda_generation();
    crdma_cu_device_t device;
    crdma_cu_context_t context;
    bool pushed;

    if (generation == stage->generation) {
        return; /* pinned, or refused */
    }
    context = crdma_cuda_context_of(cu, on_device, &device);
    if (NULL == context || CRDMA_CU_SUCCESS != crdma_cuda_enter(cu, context, &pushed)) {
        return;
    }
    if (stage->pinned) { /* maybe by a context that is gone */
        (void) cu->mem_host_unregister(stage->data);
    }
    stage->pinned = CRDMA_CU_SUCCESS
                    == cu->mem_host_register(stage->data, stage->bytes, CRDMA_CU_REGISTER_PORTABLE);
    stage->generation = generation;
    crdma_cuda_leave(cu, pushed);
}

static void destroy(const crdma_cu_api_t *cu, crdma_cuda_stage_t *stage)
{
    if (stage->pinned) {
        (void) cu->mem_host_unregister(stage->data);
    }
    munmap(stage->data, stage->bytes);
    free(stage);
}

/* The smallest free one that is large enough, out of the list. */
static crdma_cuda_stage_t *take(size_t bytes)
{
    crdma_cuda_stage_t **best = NULL, *stage = NULL;

    pthread_mutex_lock(&lock);
    for (crdma_cuda_stage_t **at = &stages; NULL != *at; at = &(*at)->next) {
        if ((*at)->bytes >= bytes && (NULL == best || (*at)->bytes < (*best)->bytes)) {
            best = at;
        }
    }
    if (NULL != best) {
        stage = *best;
        *best = stage->next;
    }
    pthread_mutex_unlock(&lock);
    return stage;
}

crdma_cuda_stage_t *crdma_cuda_stage_get(size_t bytes, const void *on_device)
{
    crdma_cuda_stage_t *stage = take(bytes);
    const size_t size = rounded(bytes);

    if (NULL == stage) {
        stage = 0 == size ? NULL : malloc(sizeof(*stage));
        if (NULL == stage) {
            return NULL;
        }
        *stage = (crdma_cuda_stage_t) {.bytes = size, .generation = crdma_cuda_generation() - 1};
        stage->data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (MAP_FAILED == stage->data) {
            free(stage);
            return NULL;
        }
    }
    pin(stage, on_device);
    return stage;
}

void crdma_cuda_stage_put(crdma_cuda_stage_t *stage)
{
    crdma_cuda_stage_t **smallest = &stages, *excess = NULL;
    int n = 0;

    pthread_mutex_lock(&lock);
    stage->next = stages;
    stages = stage;
    for (crdma_cuda_stage_t **at = &stages; NULL != *at; at = &(*at)->next) {
        ++n;
        if ((*at)->bytes < (*smallest)->bytes) {
            smallest = at;
        }
    }
    if (MAX_FREE < n) {
        excess = *smallest;
        *smallest = excess->next;
    }
    pthread_mutex_unlock(&lock);
    if (NULL != excess) {
        destroy(crdma_cuda_api(), excess);
    }
}

void crdma_cuda_close_stages(const crdma_cu_api_t *cu)
{
    while (NULL != stages) {
        crdma_cuda_stage_t *stage = stages;

        stages = stage->next;
        destroy(cu, stage);
    }
}
