/*
 * Copies to a reader; host_copy.h says why there are two ways.
 *
 * Stores past the caches are not ordered among the others, and wait in write-combining buffers: an
 * x86 release store, which is an ordinary store, may overtake them. The fence at the end holds later
 * stores back until they are out (tests/unit/test_stage sees bytes missing without it).
 */
#include "coll_rdma/device/host_copy.h"

#include <string.h>

#if defined(__x86_64__) && defined(__SSE2__)
#define CAN_STREAM 1
#include <emmintrin.h>
#include <x86intrin.h>
#else
#define CAN_STREAM 0
#endif

/* The other way is tried for two copies out of so many, and the second counts: the first finds the
 * lines where this way has left them. */
#define TRIAL_EVERY 128
/* Past the caches if the ordinary way takes the sender more than this times as long (sharing a cache
 * it takes 0.7 times as long, else 5 to 10 times; the reader prefers to find the bytes in a cache). */
#define PREFER 2

void crdma_copy_ordinary(void *dst, const void *src, size_t len)
{
    memcpy(dst, src, len);
}

#if CAN_STREAM
void crdma_copy_stream(void *to, const void *from, size_t len)
{
    char *dst = to;
    const char *src = from;
    size_t i = 0;

    if (0 != ((uintptr_t) dst & 15)) { /* stores past the caches go to 16-byte boundaries */
        const size_t head = 16 - ((uintptr_t) dst & 15);

        i = head < len ? head : len;
        memcpy(dst, src, i);
    }
    for (; i + 64 <= len; i += 64) {
        for (size_t j = i; j < i + 64; j += 16) {
            const __m128i word = _mm_loadu_si128((const __m128i *) (const void *) (src + j));

            _mm_stream_si128((__m128i *) (void *) (dst + j), word);
        }
    }
    memcpy(dst + i, src + i, len - i);
    _mm_sfence();
}

void crdma_copy_to_reader(crdma_copier_t *copier, void *dst, const void *src, size_t len)
{
    const uint32_t turn = copier->copies++ % TRIAL_EVERY;
    const bool stream = turn < 2 ? !copier->stream : copier->stream;
    const uint64_t begin = __rdtsc();
    uint64_t cost;

    if (stream) {
        crdma_copy_stream(dst, src, len);
    } else {
        crdma_copy_ordinary(dst, src, len);
    }
    if (0 == turn) {
        return;
    }
    cost = (__rdtsc() - begin) * 1024 / (len + 1) + 1;
    if (0 != copier->cost[stream]) {
        const uint64_t old = copier->cost[stream];

        /* A copy that was interrupted, or was the first into its pages, says little; nothing makes one faster than
         * it can be. (With the first copies averaged in, the other way looked 1000 times too slow, and after 1200
         * copies still twice.) */
        if (cost > old) {
            cost = (3 * old + (cost < 4 * old ? cost : 4 * old)) / 4;
        }
    }
    copier->cost[stream] = cost < UINT32_MAX / 8 ? (uint32_t) cost : UINT32_MAX / 8;
    copier->stream = 0 != copier->cost[1] && copier->cost[0] > PREFER * copier->cost[1];
}

/* Cycles per KB beyond which the reader is far. Copies of 4 KB into two blocks took 55 to 65 where a flag's way is 58
 * ns, 390 to 570 where it is 240. */
#define FAR_CYCLES 160

void crdma_copy_timed(crdma_distance_t *distance, void *dst, const void *src, size_t len)
{
    const uint64_t begin = __rdtsc(), old = distance->cost;
    uint64_t cost;

    memcpy(dst, src, len);
    cost = (__rdtsc() - begin) * 1024 / len + 1;
    /* What disturbs a copy makes it longer: a short time counts at once, a long one little. */
    if (0 != old && cost > old) {
        cost = (3 * old + (cost < 4 * old ? cost : 4 * old)) / 4;
    }
    distance->cost = cost < UINT32_MAX / 8 ? (uint32_t) cost : UINT32_MAX / 8;
    distance->far = FAR_CYCLES < distance->cost;
}
#else
void crdma_copy_stream(void *dst, const void *src, size_t len)
{
    memcpy(dst, src, len);
}

void crdma_copy_to_reader(crdma_copier_t *copier, void *dst, const void *src, size_t len)
{
    (void) copier;
    memcpy(dst, src, len);
}

void crdma_copy_timed(crdma_distance_t *distance, void *dst, const void *src, size_t len)
{
    (void) distance;
    memcpy(dst, src, len);
}
#endif
