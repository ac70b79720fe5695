/*
 * A table: programs communicate from few allocations. The numbers are those of gpucache.h.
 */
#include "coll_rdma/memory/gpucache.h"

#include <stdlib.h>
#include <unistd.h>

enum { ENTRIES = 64 };

struct crdma_gpucache {
    crdma_gpucache_ops_t ops;
    crdma_gpu_registration_t entries[ENTRIES];
    int users; /* of all entries */
    int turn;  /* rule 3 */
    uint64_t clock, registrations;
};

crdma_status_t crdma_gpucache_create(const crdma_gpucache_ops_t *ops, crdma_gpucache_t **out)
{
    crdma_gpucache_t *cache = calloc(1, sizeof(*cache));

    if (NULL == cache) {
        return CRDMA_ERR_NOMEM;
    }
    cache->ops = *ops;
    *out = cache;
    return CRDMA_OK;
}

static void forget(crdma_gpucache_t *cache, crdma_gpu_registration_t *r)
{
    if (NULL != r->handle) {
        cache->ops.leave(cache->ops.context, r->handle);
    }
    *r = (crdma_gpu_registration_t){.users = 0};
}

void crdma_gpucache_destroy(crdma_gpucache_t *cache)
{
    if (NULL == cache) {
        return;
    }
    for (int i = 0; i < ENTRIES; ++i) {
        if (0 != cache->entries[i].range.bytes) {
            forget(cache, &cache->entries[i]);
        }
    }
    free(cache);
}

static void forget_if_freed(crdma_gpucache_t *cache, crdma_gpu_registration_t *r)
{
    crdma_cuda_range_t now;

    if (0 != r->range.bytes && 0 == r->users &&
        (!crdma_cuda_rdma_range((const void *)r->range.base, 1, &now) ||
         now.number != r->range.number)) {
        forget(cache, r);
    }
}

/* Rules 2 and 3; then a free place, the one that was not used for longest if need be, or NULL. */
static crdma_gpu_registration_t *make_room(crdma_gpucache_t *cache)
{
    crdma_gpu_registration_t *place = NULL;

    for (int i = 0; i < ENTRIES; ++i) {
        crdma_gpu_registration_t *r = &cache->entries[i];

        forget_if_freed(cache, r);
        if (0 == r->users && (NULL == place || (0 != place->range.bytes &&
                                                (0 == r->range.bytes || r->used < place->used)))) {
            place = r;
        }
    }
    if (NULL != place && 0 != place->range.bytes) {
        forget(cache, place);
    }
    return place;
}

static crdma_gpu_registration_t *enter(crdma_gpucache_t *cache, const crdma_cuda_range_t *range)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t start = range->base & ~(page - 1);
    const uintptr_t end = (range->base + range->bytes + page - 1) & ~(page - 1);
    crdma_gpu_registration_t *r = make_room(cache);

    if (NULL != r) {
        r->range = *range;
        ++cache->registrations;
        if (CRDMA_OK !=
            cache->ops.enter(cache->ops.context, (void *)start, end - start, &r->handle)) {
            r->handle = NULL;
        }
    }
    return r;
}

crdma_status_t crdma_gpucache_get(crdma_gpucache_t *cache, const void *address, size_t len,
                                  crdma_gpu_registration_t **out)
{
    crdma_gpu_registration_t *r = NULL;
    crdma_cuda_range_t range;

    if (!crdma_cuda_rdma_range(address, len, &range)) {
        return CRDMA_ERR_UNSUPPORTED;
    }
    for (int i = 0; i < ENTRIES && NULL == r; ++i) {
        if (cache->entries[i].range.number == range.number &&
            cache->entries[i].range.base == range.base) { /* rule 1 */
            r = &cache->entries[i];
        }
    }
    if (NULL == r) {
        r = enter(cache, &range);
    } else {
        cache->turn = (cache->turn + 1) % ENTRIES;
        if (&cache->entries[cache->turn] != r) {
            forget_if_freed(cache, &cache->entries[cache->turn]);
        }
    }
    if (NULL == r) {
        return CRDMA_ERR_UNSUPPORTED;
    }
    r->used = ++cache->clock;
    if (NULL == r->handle) {
        return CRDMA_ERR_UNSUPPORTED;
    }
    ++r->users;
    ++cache->users;
    *out = r;
    return CRDMA_OK;
}

void crdma_gpucache_put(crdma_gpucache_t *cache, crdma_gpu_registration_t *r)
{
    --r->users;
    --cache->users;
}

crdma_gpu_registration_t *crdma_gpucache_find(const crdma_gpucache_t *cache, const void *address)
{
    const uintptr_t at = (uintptr_t)address;

    if (NULL == cache || 0 == cache->users) {
        return NULL; /* the usual case, and all that host memory pays */
    }
    for (int i = 0; i < ENTRIES; ++i) {
        const crdma_gpu_registration_t *r = &cache->entries[i];

        if (0 != r->users && at >= r->range.base && at < r->range.base + r->range.bytes) {
            return (crdma_gpu_registration_t *)(uintptr_t)r;
        }
    }
    return NULL;
}

void crdma_gpucache_counts(const crdma_gpucache_t *cache, uint64_t *gets, uint64_t *registrations)
{
    *gets = cache->clock;
    *registrations = cache->registrations;
}
