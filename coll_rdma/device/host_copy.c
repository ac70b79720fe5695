/*
 * Copies past the caches (host_copy.h says why and when).
 *
 * Stores past the caches are not ordered among the others, and wait in write-combining buffers: an
 * x86 release store, which is an ordinary store, may overtake them. The fence at the end holds later
 * stores back until they are out (tests/unit/test_stream finds the bytes missing without it).
 */
#include "coll_rdma/device/host_copy.h"

#include <stdint.h>
#include <string.h>

#include "coll_rdma/base/params.h"

#if defined(__x86_64__) && defined(__SSE2__)
#define CAN_STREAM 1
#include <emmintrin.h>
#else
#define CAN_STREAM 0
#endif

#define USUAL 4096 /* bytes; between 2 and 4 KB neither is better everywhere (host_copy.h) */

static int measured_here(void)
{
#if CAN_STREAM
    __builtin_cpu_init();
    return __builtin_cpu_is("amd");
#else
    return 0;
#endif
}

size_t crdma_copy_stream_min(void)
{
    if (!CAN_STREAM) {
        return SIZE_MAX;
    }
    if (0 != crdma_params.stream_min) {
        return crdma_params.stream_min;
    }
    return measured_here() ? USUAL : SIZE_MAX;
}

#if CAN_STREAM
static void stream(char *dst, const char *src, size_t len)
{
    size_t i = 0;

    for (; i + 64 <= len; i += 64) {
        const __m128i a = _mm_loadu_si128((const __m128i *) (const void *) (src + i));
        const __m128i b = _mm_loadu_si128((const __m128i *) (const void *) (src + i + 16));
        const __m128i c = _mm_loadu_si128((const __m128i *) (const void *) (src + i + 32));
        const __m128i d = _mm_loadu_si128((const __m128i *) (const void *) (src + i + 48));

        _mm_stream_si128((__m128i *) (void *) (dst + i), a);
        _mm_stream_si128((__m128i *) (void *) (dst + i + 16), b);
        _mm_stream_si128((__m128i *) (void *) (dst + i + 32), c);
        _mm_stream_si128((__m128i *) (void *) (dst + i + 48), d);
    }
    memcpy(dst + i, src + i, len - i);
    _mm_sfence();
}
#endif

void crdma_copy_to_peer(void *dst, const void *src, size_t len, int past_caches)
{
#if CAN_STREAM
    if (past_caches && 0 == ((uintptr_t) dst & 15)) {
        stream(dst, src, len);
        return;
    }
#endif
    (void) past_caches;
    memcpy(dst, src, len);
}
