/*
 * Device memory that a network adapter reads and writes (GPUDirect RDMA). An adapter gets a window:
 * pages of their own, a memory file that stands for a dma-buf.
 *
 *     where this driver works   | real ........... |   copies and kernels
 *     what the adapter has      | window ......... |   in a memory file of its own
 *     seen                      | both were equal to this when they were last compared
 *
 * What work writes (real differs from seen) is in the window as soon as the work is done. What the
 * adapter writes (window differs from seen) is in real after a flush only, as on a bus where writes
 * to the GPU arrive after the news of them: work that starts without a flush reads what was there
 * before. So a flush that is forgotten is wrong data, every time, not only when the bus is busy.
 *
 * FAKECUDA_RDMA:
 *   (not set)   dma-buf; writes must be flushed
 *   ordered     dma-buf; work sees what was written before it started, without a flush
 *   address     no dma-buf: the adapter is given the address (verbs.c), as with nvidia_peermem
 *   none        adapters cannot reach the memory
 *   unordered   neither in order nor to be flushed
 *   lost        flushes do nothing: a test that then still passes proves nothing
 */
#define _GNU_SOURCE /* memfd_create */

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/fakecuda/fakecuda.h"

enum { MAX_WINDOWS = 256, PAGE = 4096 };

typedef struct window {
    char *start; /* as the program sees the memory; NULL: free */
    char *real, *map, *seen;
    size_t size;
    int fd;
} window_t;

static window_t windows[MAX_WINDOWS];

static bool is_way(const char *name)
{
    const char *text = getenv("FAKECUDA_RDMA");

    return NULL != text && 0 == strcmp(text, name);
}

int fake_rdma_attribute(int attribute)
{
    switch (attribute) {
    case CRDMA_CU_RDMA_SUPPORTED:
        return !is_way("none");
    case CRDMA_CU_RDMA_FLUSH_OPTIONS:
        return is_way("unordered") ? 0 : CRDMA_CU_FLUSH_BY_HOST;
    case CRDMA_CU_RDMA_ORDERING:
        return is_way("ordered") ? CRDMA_CU_ORDERED_FOR_ALL : 0;
    case CRDMA_CU_DMA_BUF_SUPPORTED:
        return !is_way("none") && !is_way("address");
    default:
        return 0;
    }
}

/* Bytes of `from` that differ from seen go to `to`. */
static void carry(const window_t *w, const char *from, char *to)
{
    for (size_t page = 0; page < w->size; page += PAGE) {
        const size_t n = w->size - page < PAGE ? w->size - page : PAGE;

        if (0 == memcmp(from + page, w->seen + page, n)) {
            continue;
        }
        for (size_t i = page; i < page + n; ++i) {
            if (from[i] != w->seen[i]) {
                to[i] = w->seen[i] = from[i];
            }
        }
    }
}

static window_t *find(const char *p)
{
    for (int i = 0; i < MAX_WINDOWS; ++i) {
        if (NULL != windows[i].start && p >= windows[i].start &&
            p < windows[i].start + windows[i].size) {
            return &windows[i];
        }
    }
    return NULL;
}

void fake_rdma_written(crdma_cu_ptr_t p)
{
    const window_t *w = find((const char *)(uintptr_t)p);

    if (NULL != w) {
        carry(w, w->real, w->map);
    }
}

static void flush(void)
{
    for (int i = 0; i < MAX_WINDOWS; ++i) {
        if (NULL != windows[i].start) {
            carry(&windows[i], windows[i].map, windows[i].real);
        }
    }
}

void fake_rdma_start(void)
{
    if (is_way("ordered")) {
        flush();
    }
}

/* Adapters that still have the window write to it without effect. */
void fake_rdma_freed(const char *start)
{
    window_t *w = find(start);

    if (NULL != w) {
        munmap(w->map, w->size);
        munmap(w->seen, w->size);
        close(w->fd);
        *w = (window_t){.start = NULL};
    }
}

/* The window of the memory at p, made if need be. */
static window_t *window_of(crdma_cu_ptr_t p, size_t size)
{
    size_t before, whole;
    char *real = fake_device_memory(p, &before, &whole), *start = (char *)(uintptr_t)p - before;
    window_t *w = find(start);

    if (NULL == real || 0 != before || size != whole || 0 != size % PAGE) {
        return NULL;
    }
    for (int i = 0; i < MAX_WINDOWS && NULL == w; ++i) {
        if (NULL == windows[i].start) {
            w = &windows[i];
            *w = (window_t){.start = start, .real = real, .size = size};
            w->fd = memfd_create("fake dma-buf", MFD_CLOEXEC);
            if (0 > w->fd || 0 != ftruncate(w->fd, (off_t)size)) {
                abort();
            }
            w->map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, w->fd, 0);
            w->seen = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (MAP_FAILED == w->map || MAP_FAILED == w->seen) {
                abort();
            }
            carry(w, real, w->map);
        }
    }
    return w;
}

FAKE_API cuMemGetHandleForAddressRange(void *handle, crdma_cu_ptr_t p, size_t size, int type,
                                       unsigned long long flags)
{
    crdma_cu_result_t result = CRDMA_CU_INVALID_VALUE;
    const window_t *w;

    if (CRDMA_CU_HANDLE_DMA_BUF != type || 0 != flags || 0 != p % PAGE) {
        return result;
    }
    pthread_mutex_lock(&fake_lock);
    if (fake_count("dmabuf") || 0 == fake_rdma_attribute(CRDMA_CU_DMA_BUF_SUPPORTED)) {
        result = CRDMA_CU_NOT_SUPPORTED;
    } else if (NULL != (w = window_of(p, size))) {
        *(int *)handle = dup(w->fd);
        result = CRDMA_CU_SUCCESS;
    }
    pthread_mutex_unlock(&fake_lock);
    return result;
}

/* For verbs.c: the file of the window at an address that somebody registers; -1: it is not device
 * memory, or the module is not loaded. */
__attribute__((visibility("default"))) int fakecuda_peer_memory(void *start, size_t size)
{
    const window_t *w;
    int fd = -1;

    pthread_mutex_lock(&fake_lock);
    if (is_way("address") && NULL != (w = window_of((uintptr_t)start, size))) {
        fd = dup(w->fd);
    }
    pthread_mutex_unlock(&fake_lock);
    return fd;
}

FAKE_API cuFlushGPUDirectRDMAWrites(int target, int scope)
{
    if (NULL == fake_current()) {
        return CRDMA_CU_INVALID_CONTEXT;
    }
    if (CRDMA_CU_FLUSH_OF_CONTEXT != target || CRDMA_CU_FLUSH_FOR_ALL != scope) {
        return CRDMA_CU_INVALID_VALUE;
    }
    pthread_mutex_lock(&fake_lock);
    (void)fake_count("flush");
    if (!is_way("lost")) {
        flush();
    }
    pthread_mutex_unlock(&fake_lock);
    return is_way("unordered") ? CRDMA_CU_NOT_SUPPORTED : CRDMA_CU_SUCCESS;
}
