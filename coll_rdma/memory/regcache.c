/*
 * A list of blocks of entries, searched from its start: programs communicate from few buffers, and
 * entries never move, so that crdma_regcache_invalidate can walk them while others work on them.
 */
#include "coll_rdma/memory/regcache.h"

#include <sched.h>
#include <stdlib.h>


#define PAGE ((uintptr_t) 4096)

enum { ENTRIES = 64, MAX_CACHES = 4 };

typedef struct block {
    struct block *next;
    crdma_registration_t entries[ENTRIES];
} block_t;

struct crdma_regcache {
    crdma_regcache_ops_t ops;
    size_t limit;
    size_t bytes, idle; /* registered; of these without users */
    uint64_t clock; /* gets */
    uint64_t registrations;
    int stale; /* some entry may be stale */
    block_t *blocks;
};

bool crdma_regcache_hooked;

/* Walked without a lock by crdma_regcache_invalidate; a cache goes only when nobody is walking. */
static crdma_regcache_t *caches[MAX_CACHES];
static int walkers;

void crdma_regcache_invalidate(const void *address, size_t len)
{
    const uintptr_t start = (uintptr_t) address, end = start + len;

    __atomic_add_fetch(&walkers, 1, __ATOMIC_SEQ_CST);
    for (int i = 0; i < MAX_CACHES; ++i) {
        crdma_regcache_t *cache = __atomic_load_n(&caches[i], __ATOMIC_SEQ_CST);

        if (NULL == cache) {
            continue;
        }
        for (block_t *b = __atomic_load_n(&cache->blocks, __ATOMIC_ACQUIRE); NULL != b; b = b->next) {
            for (int j = 0; j < ENTRIES; ++j) {
                crdma_registration_t *r = &b->entries[j];

                /* An entry that changes under this look is not about this memory: nobody registers
                 * what another thread gives back. At worst a fresh one is marked for nothing. */
                if (__atomic_load_n(&r->start, __ATOMIC_RELAXED) < end &&
                    __atomic_load_n(&r->end, __ATOMIC_RELAXED) > start) {
                    __atomic_store_n(&r->stale, 1, __ATOMIC_RELAXED);
                    __atomic_store_n(&cache->stale, 1, __ATOMIC_RELEASE);
                }
            }
        }
    }
    __atomic_sub_fetch(&walkers, 1, __ATOMIC_SEQ_CST);
}

crdma_status_t crdma_regcache_create(const crdma_regcache_ops_t *ops, size_t limit,
                                     crdma_regcache_t **out)
{
    crdma_regcache_t *cache = calloc(1, sizeof(*cache));

    if (NULL == cache) {
        return CRDMA_ERR_NOMEM;
    }
    cache->ops = *ops;
    cache->limit = limit;
    for (int i = 0; i < MAX_CACHES; ++i) {
        crdma_regcache_t *none = NULL;

        if (__atomic_compare_exchange_n(&caches[i], &none, cache, false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_RELAXED)) {
            *out = cache;
            return CRDMA_OK;
        }
    }
    free(cache);
    return CRDMA_ERR_NOMEM;
}

static void forget(crdma_regcache_t *cache, crdma_registration_t *r)
{
    cache->ops.leave(cache->ops.context, r->handle);
    cache->bytes -= r->end - r->start;
    if (0 == r->users) {
        cache->idle -= r->end - r->start;
    }
    __atomic_store_n(&r->end, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&r->start, 0, __ATOMIC_RELAXED);
    r->handle = NULL;
}

void crdma_regcache_destroy(crdma_regcache_t *cache)
{
    if (NULL == cache) {
        return;
    }
    for (int i = 0; i < MAX_CACHES; ++i) {
        crdma_regcache_t *expected = cache;

        (void) __atomic_compare_exchange_n(&caches[i], &expected, NULL, false, __ATOMIC_SEQ_CST,
                                           __ATOMIC_RELAXED);
    }
    while (0 != __atomic_load_n(&walkers, __ATOMIC_SEQ_CST)) {
        sched_yield();
    }
    while (NULL != cache->blocks) {
        block_t *b = cache->blocks;

        for (int j = 0; j < ENTRIES; ++j) {
            if (0 != b->entries[j].end) {
                forget(cache, &b->entries[j]);
            }
        }
        cache->blocks = b->next;
        free(b);
    }
    free(cache);
}

void crdma_regcache_purge(crdma_regcache_t *cache)
{
    /* Acquire: pairs with the release in crdma_regcache_invalidate, so the marks are seen. */
    if (0 == __atomic_load_n(&cache->stale, __ATOMIC_RELAXED) ||
        0 == __atomic_exchange_n(&cache->stale, 0, __ATOMIC_ACQUIRE)) {
        return;
    }
    for (block_t *b = cache->blocks; NULL != b; b = b->next) {
        for (int j = 0; j < ENTRIES; ++j) {
            crdma_registration_t *r = &b->entries[j];

            if (0 != r->end && 0 == r->users && 0 != __atomic_load_n(&r->stale, __ATOMIC_RELAXED)) {
                forget(cache, r);
            }
        }
    }
}

/* Deregister what was not used for longest until at most `keep` bytes have no users. */
static void shrink(crdma_regcache_t *cache, size_t keep)
{
    while (cache->idle > keep) {
        crdma_registration_t *oldest = NULL;

        for (block_t *b = cache->blocks; NULL != b; b = b->next) {
            for (int j = 0; j < ENTRIES; ++j) {
                crdma_registration_t *r = &b->entries[j];

                if (0 != r->end && 0 == r->users && (NULL == oldest || r->used < oldest->used)) {
                    oldest = r;
                }
            }
        }
        if (NULL == oldest) {
            return;
        }
        forget(cache, oldest);
    }
}

static crdma_registration_t *find(crdma_regcache_t *cache, uintptr_t start, uintptr_t end,
                                  bool write)
{
    for (block_t *b = cache->blocks; NULL != b; b = b->next) {
        for (int j = 0; j < ENTRIES; ++j) {
            crdma_registration_t *r = &b->entries[j];

            if (r->start <= start && end <= r->end && (r->writable || !write) &&
                0 == __atomic_load_n(&r->stale, __ATOMIC_ACQUIRE)) {
                return r;
            }
        }
    }
    return NULL;
}

static crdma_registration_t *find_free(crdma_regcache_t *cache)
{
    block_t *block;

    for (block_t *b = cache->blocks; NULL != b; b = b->next) {
        for (int j = 0; j < ENTRIES; ++j) {
            if (0 == b->entries[j].end) {
                return &b->entries[j];
            }
        }
    }
    block = calloc(1, sizeof(*block));
    if (NULL == block) {
        return NULL;
    }
    block->next = cache->blocks;
    __atomic_store_n(&cache->blocks, block, __ATOMIC_RELEASE);
    return &block->entries[0];
}

static crdma_status_t enter(crdma_regcache_t *cache, crdma_registration_t *r, uintptr_t start,
                            uintptr_t end, bool write)
{
    void *address = (void *) start;
    crdma_status_t status;

    r->writable = true;
    status = cache->ops.enter(cache->ops.context, address, end - start, true, &r->handle);
    if (CRDMA_ERR_NOMEM == status && 0 < cache->idle) {
        shrink(cache, 0);
        status = cache->ops.enter(cache->ops.context, address, end - start, true, &r->handle);
    }
    if (CRDMA_OK != status && CRDMA_ERR_NOMEM != status && !write) {
        r->writable = false; /* constants, for example */
        status = cache->ops.enter(cache->ops.context, address, end - start, false, &r->handle);
    }
    return status;
}

crdma_status_t crdma_regcache_get(crdma_regcache_t *cache, const void *address, size_t len,
                                  bool write, crdma_registration_t **out)
{
    const uintptr_t start = (uintptr_t) address & ~(PAGE - 1);
    const uintptr_t end = ((uintptr_t) address + len + PAGE - 1) & ~(PAGE - 1);
    crdma_registration_t *r;
    crdma_status_t status;

    crdma_regcache_purge(cache);
    r = find(cache, start, end, write);
    if (NULL == r) {
        r = find_free(cache);
        if (NULL == r) {
            return CRDMA_ERR_NOMEM;
        }
        /* First the mark is cleared, then the entry can be found by crdma_regcache_invalidate, then the
         * pages are looked up: no change of pages goes unnoticed. */
        __atomic_store_n(&r->stale, 0, __ATOMIC_SEQ_CST);
        __atomic_store_n(&r->start, start, __ATOMIC_SEQ_CST);
        __atomic_store_n(&r->end, end, __ATOMIC_SEQ_CST);
        r->users = 1; /* not for shrink() */
        status = enter(cache, r, start, end, write);
        if (CRDMA_OK != status) {
            __atomic_store_n(&r->end, 0, __ATOMIC_RELAXED);
            __atomic_store_n(&r->start, 0, __ATOMIC_RELAXED);
            return status;
        }
        r->users = 0;
        cache->bytes += end - start;
        ++cache->registrations;
    } else if (0 == r->users) {
        cache->idle -= r->end - r->start;
    }
    r->used = ++cache->clock;
    ++r->users;
    *out = r;
    return CRDMA_OK;
}

void crdma_regcache_put(crdma_regcache_t *cache, crdma_registration_t *r)
{
    if (0 != --r->users) {
        return;
    }
    cache->idle += r->end - r->start;
    if (!crdma_regcache_hooked || 0 != __atomic_load_n(&r->stale, __ATOMIC_RELAXED)) {
        forget(cache, r);
    } else {
        shrink(cache, cache->limit);
    }
}

size_t crdma_regcache_bytes(const crdma_regcache_t *cache)
{
    return cache->bytes;
}

void crdma_regcache_counts(const crdma_regcache_t *cache, uint64_t *gets, uint64_t *registrations)
{
    *gets = cache->clock;
    *registrations = cache->registrations;
}
