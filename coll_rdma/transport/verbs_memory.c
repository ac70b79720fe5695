/*
 * Registration of memory with the device.
 *
 * The slab. Registering pins pages, so the slab is registered in chunks, as far as it is promised
 * or handed out (crdma_slab_set_grow). A chunk that cannot be registered makes the promise fail,
 * which communicators ask for at set-up, so all ranks learn it there. Peers need a key per
 * chunk. They find the keys in a table in page 0 of the slab, which they read by RDMA when they meet a
 * chunk that they have no key for; the key of chunk 0, which holds the table, is on the card.
 * That is enough, because an address in a chunk reaches a peer only after the allocation has
 * returned, and the key is in the table before that. It needs no message, and nothing from
 * the CPU of the owner. (A key never changes: chunks stay registered until the transport closes.)
 *
 * No registration allows relaxed ordering: memory that a CPU polls must be written in order.
 *
 * User buffers go through the registration cache.
 *
 * Small buffers that are neither in the slab nor fit into a work request are copied through buffers of
 * our own, which costs less than a registration, and registers no pages that others use too.
 */
#define _GNU_SOURCE
#include "coll_rdma/transport/verbs_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "coll_rdma/base/log.h"
#include "coll_rdma/base/params.h"

enum { CHUNK_MIN = 4 << 20, BOUNCES = 64, SLAB_PAGE = 4096 };

#define MIB 1048576.0

/* Why the last registration failed, in words that tell what to do. */
static void report(const char *what, size_t len)
{
    const int error = errno;
    struct rlimit locked = {.rlim_cur = RLIM_INFINITY};
    char limit[96] = "";

    if ((ENOMEM == error || EPERM == error || EAGAIN == error) &&
        0 == getrlimit(RLIMIT_MEMLOCK, &locked) && RLIM_INFINITY != locked.rlim_cur) {
        snprintf(limit, sizeof(limit),
                 "; the limit of locked memory is %.1f MiB: raise it (ulimit -l unlimited)",
                 (double)locked.rlim_cur / MIB);
    }
    crdma_log(CRDMA_LOG_ERROR, "verbs: port %s: %.1f MiB of %s cannot be registered: %s%s",
              crdma_verbs_state.port.name, (double)len / MIB, what, strerror(error), limit);
}

/* Under the slab's lock, not ours: invariant 1. */
static crdma_status_t slab_grow(crdma_slab_t *slab, size_t upto)
{
    crdma_verbs_state_t *s = &crdma_verbs_state;
    uint64_t *keys = (uint64_t *)(slab->base + CRDMA_VERBS_KEYS);

    for (int i = s->nregistered; (size_t)i * s->chunk_size < upto; ++i) {
        char *start = slab->base + (size_t)i * s->chunk_size;
        const size_t left = (size_t)(slab->base + slab->size - start);
        const size_t size = left < s->chunk_size ? left : s->chunk_size;

        s->chunks[i] = ibv_reg_mr(s->pd, start, size,
                                  IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE |
                                      IBV_ACCESS_REMOTE_READ);
        if (NULL == s->chunks[i]) {
            report("preregistered memory", size);
            return CRDMA_ERR_NOMEM;
        }
        __atomic_store_n(&keys[i], (uint64_t)1 << 32 | s->chunks[i]->rkey, __ATOMIC_RELEASE);
        /* Pairs with the acquire in crdma_verbs_local and in the queue. */
        __atomic_store_n(&s->nregistered, i + 1, __ATOMIC_RELEASE);
    }
    return CRDMA_OK;
}

static crdma_status_t user_enter(void *context, void *address, size_t len, bool writable,
                                 void **handle)
{
    crdma_verbs_state_t *s = context;
    struct ibv_mr *memory =
        ibv_reg_mr(s->pd, address, len,
                   IBV_ACCESS_REMOTE_READ |
                       (writable ? IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE : 0));

    if (NULL == memory) {
        return ENOMEM == errno ? CRDMA_ERR_NOMEM : CRDMA_ERR_TRANSPORT;
    }
    *handle = memory;
    return CRDMA_OK;
}

static void user_leave(void *context, void *handle)
{
    (void)context;
    (void)ibv_dereg_mr(handle);
}

static crdma_status_t user_get(const void *address, size_t len, bool write,
                               crdma_registration_t **memory)
{
    crdma_status_t rc =
        crdma_regcache_get(crdma_verbs_state.cache, address, len, write, memory);

    if (CRDMA_OK != rc) {
        report("user memory", len);
    }
    return rc;
}

static crdma_status_t bounce_open(crdma_verbs_state_t *s)
{
    const size_t size = (size_t)BOUNCES * CRDMA_VERBS_BOUNCE;

    /* Shared, so that a fork of the application does not copy it. */
    s->bounce = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (MAP_FAILED == s->bounce) {
        s->bounce = NULL;
        return CRDMA_ERR_NOMEM;
    }
    s->bounce_memory = ibv_reg_mr(s->pd, s->bounce, size, IBV_ACCESS_LOCAL_WRITE);
    if (NULL == s->bounce_memory) {
        report("buffers", size);
        return CRDMA_ERR_NOMEM;
    }
    s->bounce_free = NULL;
    for (int i = 0; i < BOUNCES; ++i) {
        crdma_verbs_bounce_put(s->bounce + (size_t)i * CRDMA_VERBS_BOUNCE);
    }
    return CRDMA_OK;
}

crdma_status_t crdma_verbs_memory_open(crdma_verbs_state_t *s)
{
    const crdma_regcache_ops_t ops = {.enter = user_enter, .leave = user_leave, .context = s};
    const size_t part = (s->slab->size + CRDMA_VERBS_CHUNKS_MAX - 1) / CRDMA_VERBS_CHUNKS_MAX;
    crdma_status_t rc;

    s->chunk_size = CHUNK_MIN > part ? CHUNK_MIN : (part + SLAB_PAGE - 1) / SLAB_PAGE * SLAB_PAGE;
    s->nregistered = 0;
    rc = crdma_regcache_create(&ops, crdma_params.verbs_cache, &s->cache);
    if (CRDMA_OK == rc) {
        rc = crdma_verbs_gpu_open(s);
    }
    if (CRDMA_OK == rc) {
        rc = bounce_open(s);
    }
    if (CRDMA_OK == rc) {
        rc = crdma_slab_set_grow(s->slab, slab_grow);
    }
    if (CRDMA_OK != rc) {
        crdma_verbs_memory_close(s);
    }
    return rc;
}

void crdma_verbs_memory_close(crdma_verbs_state_t *s)
{
    uint64_t gets, registrations;

    (void)crdma_slab_set_grow(s->slab, NULL);
    memset(s->slab->base + CRDMA_VERBS_KEYS, 0, CRDMA_VERBS_CHUNKS_MAX * sizeof(uint64_t));
    while (0 < s->nregistered) {
        (void)ibv_dereg_mr(s->chunks[--s->nregistered]);
    }
    if (NULL != s->cache) {
        crdma_regcache_counts(s->cache, &gets, &registrations);
        crdma_log(CRDMA_LOG_SETUP, "verbs: user buffers: %" PRIu64 " uses, %" PRIu64 " registrations",
                  gets, registrations);
    }
    crdma_regcache_destroy(s->cache);
    s->cache = NULL;
    crdma_verbs_gpu_close(s);
    if (NULL != s->bounce_memory) {
        (void)ibv_dereg_mr(s->bounce_memory);
        s->bounce_memory = NULL;
    }
    if (NULL != s->bounce) {
        munmap(s->bounce, (size_t)BOUNCES * CRDMA_VERBS_BOUNCE);
        s->bounce = NULL;
    }
}

char *crdma_verbs_bounce_get(void)
{
    char *buffer = crdma_verbs_state.bounce_free;

    if (NULL != buffer) {
        memcpy(&crdma_verbs_state.bounce_free, buffer, sizeof(buffer));
    }
    return buffer;
}

void crdma_verbs_bounce_put(char *buffer)
{
    memcpy(buffer, &crdma_verbs_state.bounce_free, sizeof(buffer));
    crdma_verbs_state.bounce_free = buffer;
}

crdma_status_t crdma_verbs_local(const void *address, size_t len, bool write,
                                 crdma_registration_t **memory)
{
    const crdma_verbs_state_t *s = &crdma_verbs_state;
    const uintptr_t base = (uintptr_t)s->slab->base, at = (uintptr_t)address;
    const size_t registered =
        (size_t)__atomic_load_n(&s->nregistered, __ATOMIC_ACQUIRE) * s->chunk_size;

    *memory = NULL;
    if (CRDMA_VERBS_BOUNCE >= len || (at >= base && at - base + len <= registered)) {
        return CRDMA_OK;
    }
    return user_get(address, len, write, memory);
}

crdma_status_t crdma_verbs_expose(void *address, size_t len, crdma_exposed_t *exposed,
                                  void **handle)
{
    crdma_verbs_state_t *s = &crdma_verbs_state;
    crdma_status_t rc = CRDMA_ERR_TRANSPORT;
    crdma_registration_t *memory = NULL;
    const struct ibv_mr *gpu = NULL;
    uint64_t key;

    pthread_mutex_lock(&s->lock);
    if (s->open) {
        gpu = crdma_verbs_gpu_memory(address);
    }
    if (NULL != gpu) {
        rc = CRDMA_OK;
    } else if (s->open) {
        /* For reading only, if that is all the memory allows: the device refuses what else a peer
         * may try. */
        rc = user_get(address, len, false, &memory);
    }
    if (CRDMA_OK == rc) {
        key = NULL != gpu ? gpu->rkey : ((const struct ibv_mr *)memory->handle)->rkey;
        exposed->address = (uint64_t)(uintptr_t)address;
        exposed->key_length = sizeof(key);
        memcpy(exposed->key, &key, sizeof(key));
        *handle = memory;
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

void crdma_verbs_conceal(void *handle)
{
    crdma_verbs_state_t *s = &crdma_verbs_state;

    pthread_mutex_lock(&s->lock);
    if (s->open && NULL != handle) { /* closing has deregistered everything */
        crdma_regcache_put(s->cache, handle);
    }
    pthread_mutex_unlock(&s->lock);
}
