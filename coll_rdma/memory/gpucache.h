/*
 * Registrations of GPU memory with a network adapter, kept from call to call: whole allocations of
 * the driver, so a program with a few buffers registers a few times.
 *
 * Who frees GPU memory cannot be watched as the host's memory is (regcache.h). But the driver
 * numbers allocations and never uses a number again, and every get asks for the number of what is
 * at the address:
 *
 *   1. the same number: the same memory, the registration is good;
 *   2. another number, and an old registration that overlaps it: that memory has been freed; its
 *      registration ends before the new one begins;
 *   3. each get looks at one other registration without users, in turn, and ends it if its memory
 *      has been freed; making a new one looks at all of them. So memory that the application has
 *      freed is held for as many calls as there are registrations, at most.
 *
 * An allocation that cannot be registered is remembered too, and not tried again.
 *
 * Serialised by the owner of the cache.
 */
#ifndef CRDMA_MEMORY_GPUCACHE_H
#define CRDMA_MEMORY_GPUCACHE_H

#include "coll_rdma/device/cuda_rdma.h"

typedef struct crdma_gpucache crdma_gpucache_t;

typedef struct crdma_gpu_registration {
    crdma_cuda_range_t range; /* bytes 0: the entry is free */
    void *handle;             /* what `enter` has set; NULL: it could not be registered */
    int users;
    uint64_t used; /* when: a count of gets */
} crdma_gpu_registration_t;

/* How to register whole pages [start, start + len), and to end that. */
typedef struct crdma_gpucache_ops {
    crdma_status_t (*enter)(void *context, void *start, size_t len, void **handle);
    void (*leave)(void *context, void *handle);
    void *context;
} crdma_gpucache_ops_t;

crdma_status_t crdma_gpucache_create(const crdma_gpucache_ops_t *ops, crdma_gpucache_t **cache);
/* Ends everything, users or not. */
void crdma_gpucache_destroy(crdma_gpucache_t *cache);

/* The registration of the allocation that has [address, address + len), until put.
 * CRDMA_ERR_UNSUPPORTED: there is none. */
crdma_status_t crdma_gpucache_get(crdma_gpucache_t *cache, const void *address, size_t len,
                                  crdma_gpu_registration_t **registration);
void crdma_gpucache_put(crdma_gpucache_t *cache, crdma_gpu_registration_t *registration);

/* The registration that is in use for this address, or NULL: then it is host memory. Addresses of
 * GPU and host are never equal. */
crdma_gpu_registration_t *crdma_gpucache_find(const crdma_gpucache_t *cache, const void *address);

/* How often a registration was got, and how often it had to be made. */
void crdma_gpucache_counts(const crdma_gpucache_t *cache, uint64_t *gets, uint64_t *registrations);

#endif
