/*
 * GPU memory of our own, kept from call to call: images of buffers that peers cannot open, partial
 * results, operands that came through the host.
 *
 * Sizes are powers of two, so that a program with growing messages holds at most twice what the
 * largest needs. What peers may have open (shared) is never freed: the driver's manual leaves
 * undefined what happens when memory is freed before those who opened it have closed it. Its
 * context takes it along.
 */
#include <pthread.h>
#include <stdlib.h>

#include "coll_rdma/device/cuda_internal.h"

#define SMALLEST ((size_t)64 << 10)
enum { MAX_FREE = 8 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static crdma_cuda_block_t *blocks; /* free ones */

static void destroy(const crdma_cu_api_t *cu, crdma_cuda_block_t *block)
{
    bool pushed;

    if (!block->shared && crdma_cuda_context_id(cu, block->context) == block->id &&
        CRDMA_CU_SUCCESS == crdma_cuda_enter(cu, block->context, &pushed)) {
        (void)cu->mem_free((crdma_cu_ptr_t)(uintptr_t)block->data);
        crdma_cuda_leave(cu, pushed);
    }
    free(block);
}

/* The smallest free one of the context that is large enough, out of the list. Those of an earlier
 * context at its address went with it. */
static crdma_cuda_block_t *take(size_t bytes, crdma_cu_context_t context, unsigned long long id)
{
    crdma_cuda_block_t **best = NULL, *block = NULL;

    pthread_mutex_lock(&lock);
    for (crdma_cuda_block_t **at = &blocks; NULL != *at;) {
        crdma_cuda_block_t *b = *at;

        if (b->context == context && b->id != id) {
            *at = b->next;
            free(b);
            continue;
        }
        if (b->context == context && b->bytes >= bytes &&
            (NULL == best || b->bytes < (*best)->bytes)) {
            best = at;
        }
        at = &b->next;
    }
    if (NULL != best) {
        block = *best;
        *best = block->next;
    }
    pthread_mutex_unlock(&lock);
    return block;
}

static crdma_cuda_block_t *create(const crdma_cu_api_t *cu, size_t bytes,
                                  crdma_cu_context_t context, unsigned long long id)
{
    crdma_cuda_block_t *block = malloc(sizeof(*block));
    crdma_cu_ptr_t p = 0;
    size_t size = SMALLEST;
    bool pushed, made = false;

    while (size < bytes && size <= SIZE_MAX / 4) {
        size *= 2;
    }
    if (NULL == block || size < bytes) {
        free(block);
        return NULL;
    }
    if (CRDMA_CU_SUCCESS == crdma_cuda_enter(cu, context, &pushed)) {
        made = CRDMA_CU_SUCCESS == cu->mem_alloc(&p, size);
        crdma_cuda_leave(cu, pushed);
    }
    if (!made) {
        free(block);
        return NULL;
    }
    *block = (crdma_cuda_block_t){
        .data = (void *)(uintptr_t)p, .bytes = size, .context = context, .id = id};
    return block;
}

crdma_cuda_block_t *crdma_cuda_block_get(size_t bytes, const void *on_device)
{
    const crdma_cu_api_t *cu = crdma_cuda_api();
    crdma_cu_device_t device;
    crdma_cu_context_t context = NULL == cu ? NULL : crdma_cuda_context_of(cu, on_device, &device);
    crdma_cuda_block_t *block;
    unsigned long long id;

    if (NULL == context) {
        return NULL;
    }
    id = crdma_cuda_context_id(cu, context);
    if (0 == id) {
        return NULL; /* the context may go away, and with it the block, without our noticing */
    }
    block = take(bytes, context, id);
    return NULL != block ? block : create(cu, bytes, context, id);
}

void crdma_cuda_block_put(crdma_cuda_block_t *block)
{
    crdma_cuda_block_t **smallest = NULL, *excess = NULL;
    int n = 0;

    pthread_mutex_lock(&lock);
    block->next = blocks;
    blocks = block;
    for (crdma_cuda_block_t **at = &blocks; NULL != *at; at = &(*at)->next) {
        ++n;
        if (!(*at)->shared && (NULL == smallest || (*at)->bytes < (*smallest)->bytes)) {
            smallest = at;
        }
    }
    if (MAX_FREE < n && NULL != smallest) {
        excess = *smallest;
        *smallest = excess->next;
    }
    pthread_mutex_unlock(&lock);
    if (NULL != excess) {
        destroy(crdma_cuda_api(), excess);
    }
}

void crdma_cuda_block_abandon(crdma_cuda_block_t *block)
{
    free(block); /* its context takes the memory along */
}

void crdma_cuda_close_blocks(const crdma_cu_api_t *cu)
{
    while (NULL != blocks) {
        crdma_cuda_block_t *block = blocks;

        blocks = block->next;
        destroy(cu, block);
    }
}
