/*
 * Copies into memory that another processor reads next, by ordinary stores or by stores past the caches.
 *
 * An ordinary store fetches its line first, perhaps from the cache of the reader of the last round, and
 * leaves it in this processor's cache, where the next reader gets it from. Where the two processors
 * share a cache that is the fastest way; where they do not, every line crosses twice, and a store past
 * the caches costs a fraction. Nothing tells which it is: a hypervisor shows one shared cache
 * whatever is below, and moves processors. So the sender takes the time of its copies, tries the other
 * way now and then, and keeps to the better.
 *
 * 2 processors of a virtual machine on AMD EPYC (Zen 4), one way through 2 MB of blocks, us, ordinary |
 * past the caches, by how long flags take there and back:
 *
 *              16 KB         256 KB        1 MB
 *   480 ns     7.4 | 2.1     106 | 17      -
 *   120 ns     -             11 | 31       33 | 50
 */
#ifndef CRDMA_HOST_COPY_H
#define CRDMA_HOST_COPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct crdma_copier {
    uint32_t cost[2]; /* cycles per KB: ordinary, past the caches; smoothed, 0: not known */
    uint32_t copies;
    bool stream;      /* past the caches */
} crdma_copier_t;

/* Copy len bytes to dst. A release store that follows is seen after the bytes. */
void crdma_copy_to_reader(crdma_copier_t *copier, void *dst, const void *src, size_t len);

/* The two ways; crdma_copy_stream is an ordinary copy where there is no other. */
void crdma_copy_ordinary(void *dst, const void *src, size_t len);
void crdma_copy_stream(void *dst, const void *src, size_t len);

#endif
