/*
 * Copies into memory that another processor reads next: the blocks of a peer's ring.
 *
 * An ordinary store first fetches its line, which the reader still holds from the last round, and then
 * leaves it in this processor's cache, where the reader has to get it from again: two transfers of
 * every line between caches, each in the way of the other when reader and writer work on
 * neighbouring blocks. A store past the caches costs a fixed time more but none of that. One way
 * through 8 blocks of 8 KB, 2 processors of a virtual machine on AMD EPYC (Zen 4), ordinary -> past
 * the caches, us, by where the hypervisor had put the two processors:
 *
 *                            2 KB           4 KB           16 KB         256 KB         1 MB
 *   flags there and back
 *   in 240 ns                1.4 -> 1.1     2.9 -> 1.3     11 -> 2.1     146 -> 20      590 -> 74
 *   in  70 ns                0.8 -> 0.9     1.6 -> 1.1     2.9 -> 1.7    34 -> 19       129 -> 66
 */
#ifndef CRDMA_HOST_COPY_H
#define CRDMA_HOST_COPY_H

#include <stddef.h>

/* Bytes from which a copy goes past the caches: coll_rdma_stream_min, or where that is 0 4 KB on the
 * processors that were measured (AMD), SIZE_MAX elsewhere. */
size_t crdma_copy_stream_min(void);

/* Copy len bytes; `stream`: past the caches, for dst on a 16-byte boundary (elsewhere an ordinary copy).
 * Either way a release store that follows is seen after the bytes. */
void crdma_copy_to_peer(void *dst, const void *src, size_t len, int stream);

#endif
