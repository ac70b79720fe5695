/*
 * Registrations of user memory, kept while the application keeps the memory.
 *
 * Registering memory with a network adapter costs a system call and pins pages, and programs communicate
 * from the same buffers again and again. A registration names pages, not addresses: if the
 * application gives the memory back and gets other pages at the same address, the old registration would
 * silently read and write the wrong ones. So whoever sees the application give memory back
 * must call crdma_regcache_invalidate before that takes effect. Where nobody can see it
 * (crdma_regcache_hooked is false), nothing is kept: each last put deregisters.
 *
 * Invariants
 * 1. An entry that has been marked stale is never handed out again; it is deregistered when it has
 *    no users, by the next get, put or purge.
 * 2. crdma_regcache_invalidate takes no lock and allocates nothing: it may run inside free() or
 *    munmap(), in any thread, even one that is inside this cache. It only marks.
 * 3. Everything else is serialised by the owner of the cache.
 */
#ifndef CRDMA_MEMORY_REGCACHE_H
#define CRDMA_MEMORY_REGCACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "coll_rdma/base/status.h"

typedef struct crdma_regcache crdma_regcache_t;

/* One registration: pages [start, end). */
typedef struct crdma_registration {
    uintptr_t start, end; /* 0, 0: the entry is free */
    void *handle;         /* what `enter` has set */
    bool writable;
    int stale;
    int users;
    uint64_t used; /* when: a count of gets */
} crdma_registration_t;

/* How to register and deregister. enter: CRDMA_ERR_NOMEM if too much is registered already. */
typedef struct crdma_regcache_ops {
    crdma_status_t (*enter)(void *context, void *address, size_t len, bool writable, void **handle);
    void (*leave)(void *context, void *handle);
    void *context;
} crdma_regcache_ops_t;

/* Somebody calls crdma_regcache_invalidate. Set before the first cache is used. */
extern bool crdma_regcache_hooked;

/* limit: bytes that are kept without users. */
crdma_status_t crdma_regcache_create(const crdma_regcache_ops_t *ops, size_t limit,
                                     crdma_regcache_t **cache);
/* Deregisters everything, users or not. */
void crdma_regcache_destroy(crdma_regcache_t *cache);

/* A registration that covers [address, address + len), until crdma_regcache_put. write: it must allow
 * writing; else it does if the memory does. */
crdma_status_t crdma_regcache_get(crdma_regcache_t *cache, const void *address, size_t len,
                                  bool write, crdma_registration_t **registration);
void crdma_regcache_put(crdma_regcache_t *cache, crdma_registration_t *registration);

/* Deregister what is stale and has no users. Cheap if there is nothing. */
void crdma_regcache_purge(crdma_regcache_t *cache);

/* Bytes registered, with users or without. */
size_t crdma_regcache_bytes(const crdma_regcache_t *cache);
/* How often crdma_regcache_get has succeeded, and how many of these times it had to register. */
void crdma_regcache_counts(const crdma_regcache_t *cache, uint64_t *gets, uint64_t *registrations);

/* [address, address + len) is about to leave the address space, or to get other pages. */
void crdma_regcache_invalidate(const void *address, size_t len);

#endif
