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
#include <string.h>

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

/*
 * How far away the reader is, by what ordinary copies into few blocks, which the reader has just read, take the
 * sender: 4 cycles per line where the two share a cache, 25 to 35 where they do not.
 */
typedef struct crdma_distance {
    uint32_t cost;   /* cycles per KB, smoothed; 0: not known */
    uint16_t turn;   /* copies */
    uint8_t skipped; /* messages that went another way since the last trial */
    bool far;        /* the reader shares no cache with us */
} crdma_distance_t;

#define CRDMA_DISTANCE_MIN 2048 /* bytes of a copy that is worth timing */

/* The copy, timed. */
void crdma_copy_timed(crdma_distance_t *distance, void *dst, const void *src, size_t len);

/* An ordinary copy; one of sixteen is timed, not the first, which may meet fresh pages. */
static inline void crdma_copy_to_block(crdma_distance_t *distance, void *dst, const void *src, size_t len)
{
    if (CRDMA_DISTANCE_MIN <= len && 15 == (distance->turn++ & 15)) {
        crdma_copy_timed(distance, dst, src, len);
    } else {
        memcpy(dst, src, len);
    }
}

/* Far, and not one of the two of 64 messages that find out whether it still is. The second counts: the first finds the
 * blocks as nobody has read them for long. */
static inline bool crdma_distance_is_far(crdma_distance_t *distance)
{
    if (!distance->far) {
        return false;
    }
    if (++distance->skipped <= 62) {
        return true;
    }
    if (63 == distance->skipped) {
        distance->turn = 14;
    } else {
        distance->skipped = 0;
    }
    return false;
}

#endif
