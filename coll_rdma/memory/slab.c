/*
 * A bump allocator over the memory file with one free list per block size. The
 * sizes in use are few (one per communicator shape and ring geometry), so exact-fit
 * recycling keeps memory flat over any number of communicators. A page of small blocks stays with their size.
 * At the limit larger free blocks are split, and free neighbours joined.
 */
#define _GNU_SOURCE
#include "coll_rdma/memory/slab.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "coll_rdma/base/log.h"

#define PAGE CRDMA_SLAB_PAGE

struct crdma_slab_bin {
    size_t size;
    crdma_addr_t *items;
    size_t nitems, capacity;
    crdma_addr_t next; /* small blocks: the next one of the page that was begun last */
    size_t left;       /* blocks from there to its end */
    bool fresh;        /* nobody has had that page */
};

crdma_status_t crdma_slab_create(size_t size, crdma_slab_t **out)
{
    crdma_slab_t *slab = calloc(1, sizeof(*slab));
    int reason;

    if (NULL == slab) {
        return CRDMA_ERR_NOMEM;
    }
    slab->size = crdma_slab_promise_size(size < 4 * PAGE ? 4 * PAGE : size);
    slab->fd = memfd_create("coll_rdma", MFD_CLOEXEC);
    if (0 > slab->fd) {
        reason = errno;
        crdma_log(CRDMA_LOG_SETUP, "memfd_create failed: %s", strerror(reason));
        goto free_slab;
    }
    if (0 != ftruncate(slab->fd, (off_t) slab->size)) {
        reason = errno;
        crdma_log(CRDMA_LOG_SETUP, "cannot size the preregistered memory to %zu bytes: %s",
                  slab->size, strerror(reason));
        goto close_fd;
    }
    slab->base = mmap(NULL, slab->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
                      slab->fd, 0);
    if (MAP_FAILED == slab->base) {
        reason = errno;
        crdma_log(CRDMA_LOG_SETUP, "cannot map %zu bytes of preregistered memory: %s", slab->size,
                  strerror(reason));
        goto close_fd;
    }
    if (sizeof(slab->cookie) != getrandom(&slab->cookie, sizeof(slab->cookie), GRND_NONBLOCK)) {
        struct timespec now;

        clock_gettime(CLOCK_REALTIME, &now);
        slab->cookie = ((uint64_t) getpid() << 40) ^ (uint64_t) now.tv_sec * 1000000007u
                       ^ (uint64_t) now.tv_nsec;
    }
    pthread_mutex_init(&slab->lock, NULL);
    slab->top = PAGE;
    ((crdma_slab_header_t *) slab->base)->cookie = slab->cookie;
    ((crdma_slab_header_t *) slab->base)->size = slab->size;
    *out = slab;
    return CRDMA_OK;

close_fd:
    close(slab->fd);
free_slab:
    free(slab);
    errno = reason;
    return CRDMA_ERR_SYSTEM;
}

void crdma_slab_destroy(crdma_slab_t *slab)
{
    if (NULL == slab) {
        return;
    }
    for (int i = 0; i < slab->nbins; ++i) {
        free(slab->bins[i].items);
    }
    free(slab->bins);
    pthread_mutex_destroy(&slab->lock);
    munmap(slab->base, slab->size);
    close(slab->fd);
    free(slab);
}

/* The bin of a size, made if needed; NULL: no memory. */
static struct crdma_slab_bin *find_bin(crdma_slab_t *slab, size_t size)
{
    struct crdma_slab_bin *bin;

    for (int i = 0; i < slab->nbins; ++i) {
        if (slab->bins[i].size == size) {
            return &slab->bins[i];
        }
    }
    bin = realloc(slab->bins, (size_t) (slab->nbins + 1) * sizeof(*bin));
    if (NULL == bin) {
        return NULL;
    }
    slab->bins = bin;
    bin = &slab->bins[slab->nbins++];
    *bin = (struct crdma_slab_bin) {.size = size};
    return bin;
}

static crdma_status_t grow_to(crdma_slab_t *slab, size_t upto)
{
    crdma_status_t status = CRDMA_OK;

    if (upto > slab->grown && NULL != slab->grow) {
        status = slab->grow(slab, upto);
        if (CRDMA_OK == status) {
            slab->grown = upto;
        }
    }
    return status;
}

crdma_status_t crdma_slab_set_grow(crdma_slab_t *slab, crdma_slab_grow_t grow)
{
    crdma_status_t status;

    pthread_mutex_lock(&slab->lock);
    slab->grow = grow;
    slab->grown = 0;
    status = grow_to(slab, slab->top > PAGE + slab->reserved ? slab->top : PAGE + slab->reserved);
    if (CRDMA_OK != status) {
        slab->grow = NULL;
    }
    pthread_mutex_unlock(&slab->lock);
    return status;
}

crdma_status_t crdma_slab_reserve(crdma_slab_t *slab, size_t size)
{
    crdma_status_t status = CRDMA_ERR_NOMEM;

    pthread_mutex_lock(&slab->lock);
    if (size <= slab->size - PAGE && slab->reserved <= slab->size - PAGE - size) {
        status = grow_to(slab, PAGE + slab->reserved + size);
        if (CRDMA_OK == status) {
            slab->reserved += size;
        }
    }
    pthread_mutex_unlock(&slab->lock);
    return status;
}

void crdma_slab_unreserve(crdma_slab_t *slab, size_t size)
{
    pthread_mutex_lock(&slab->lock);
    slab->reserved -= size;
    pthread_mutex_unlock(&slab->lock);
}

/* Remember a free block; on failure it is lost to the process, nothing else. */
static void keep(crdma_slab_t *slab, crdma_addr_t addr, size_t size)
{
    struct crdma_slab_bin *bin = find_bin(slab, size);

    if (NULL == bin) {
        return;
    }
    if (bin->nitems == bin->capacity) {
        size_t capacity = 0 == bin->capacity ? 16 : 2 * bin->capacity;
        crdma_addr_t *items = realloc(bin->items, capacity * sizeof(*items));

        if (NULL == items) {
            return;
        }
        bin->items = items;
        bin->capacity = capacity;
    }
    bin->items[bin->nitems++] = addr;
}

/* The front of a larger free block, when nothing else is left: memory that is promised must be had, whatever sizes
 * were in use before. */
static crdma_status_t split(crdma_slab_t *slab, size_t size, crdma_addr_t *addr)
{
    for (int i = 0; i < slab->nbins; ++i) {
        struct crdma_slab_bin *bin = &slab->bins[i];

        if (bin->size > size && 0 == bin->size % PAGE && 0 < bin->nitems) {
            const size_t rest = bin->size - size;

            *addr = bin->items[--bin->nitems];
            keep(slab, *addr + size, rest);
            return CRDMA_OK;
        }
    }
    return CRDMA_ERR_NOMEM;
}

typedef struct piece {
    crdma_addr_t addr;
    size_t size;
} piece_t;

static int by_address(const void *a, const void *b)
{
    const crdma_addr_t x = ((const piece_t *) a)->addr, y = ((const piece_t *) b)->addr;

    return (x > y) - (x < y);
}

/* Make one of all free blocks of whole pages that lie side by side. Only where nothing else has helped: it takes
 * time and undoes what makes recycling exact. */
static void join(crdma_slab_t *slab)
{
    size_t n = 0, last = 0;
    piece_t *pieces;

    for (int i = 0; i < slab->nbins; ++i) {
        n += 0 == slab->bins[i].size % PAGE ? slab->bins[i].nitems : 0;
    }
    pieces = 0 < n ? malloc(n * sizeof(*pieces)) : NULL;
    if (NULL == pieces) {
        return;
    }
    n = 0;
    for (int i = 0; i < slab->nbins; ++i) {
        struct crdma_slab_bin *bin = &slab->bins[i];

        while (0 == bin->size % PAGE && 0 < bin->nitems) {
            pieces[n++] = (piece_t) {bin->items[--bin->nitems], bin->size};
        }
    }
    qsort(pieces, n, sizeof(*pieces), by_address);
    for (size_t i = 1; i < n; ++i) {
        if (pieces[last].addr + pieces[last].size == pieces[i].addr) {
            pieces[last].size += pieces[i].size;
        } else {
            pieces[++last] = pieces[i];
        }
    }
    for (size_t i = 0; i <= last; ++i) {
        keep(slab, pieces[i].addr, pieces[i].size);
    }
    free(pieces);
}

/* A free block of exactly this size, or the front of a larger one; after all have been joined. */
static crdma_status_t scrape(crdma_slab_t *slab, size_t size, crdma_addr_t *addr)
{
    struct crdma_slab_bin *bin;

    if (CRDMA_OK == split(slab, size, addr)) {
        return CRDMA_OK;
    }
    join(slab);
    bin = find_bin(slab, size);
    if (NULL != bin && 0 < bin->nitems) {
        *addr = bin->items[--bin->nitems];
        return CRDMA_OK;
    }
    return split(slab, size, addr);
}

/* `size` bytes of whole pages; *fresh: that nobody has had. */
static crdma_status_t take(crdma_slab_t *slab, size_t size, crdma_addr_t *addr, bool *fresh)
{
    crdma_status_t status;

    *fresh = size <= slab->size - slab->top;
    if (!*fresh) {
        return scrape(slab, size, addr);
    }
    status = grow_to(slab, slab->top + size);
    if (CRDMA_OK == status) {
        *addr = slab->top;
        slab->top += size;
    }
    return status;
}

crdma_status_t crdma_slab_alloc(crdma_slab_t *slab, size_t size, crdma_addr_t *addr, bool *fresh)
{
    const size_t per_page = crdma_slab_per_page(size);
    crdma_status_t status = CRDMA_OK;
    struct crdma_slab_bin *bin;
    bool is_fresh = false;

    size = crdma_slab_block_size(size);
    pthread_mutex_lock(&slab->lock);
    bin = find_bin(slab, size);
    if (NULL == bin) {
        status = CRDMA_ERR_NOMEM;
    } else if (0 < bin->nitems) {
        *addr = bin->items[--bin->nitems];
    } else if (0 == per_page) {
        status = take(slab, size, addr, &is_fresh);
    } else {
        if (0 == bin->left) {
            crdma_addr_t page = 0;

            status = take(slab, PAGE, &page, &is_fresh);
            bin = find_bin(slab, size); /* a split may have moved it */
            bin->next = page;
            bin->left = CRDMA_OK == status ? per_page : 0;
            bin->fresh = is_fresh;
        }
        if (CRDMA_OK == status) {
            *addr = bin->next;
            bin->next += PAGE / CRDMA_SLAB_UNIT / per_page * CRDMA_SLAB_UNIT;
            --bin->left;
        }
        is_fresh = bin->fresh;
    }
    if (CRDMA_OK == status) {
        slab->in_use += size;
        if (NULL != fresh) {
            *fresh = is_fresh;
        }
    }
    pthread_mutex_unlock(&slab->lock);
    return status;
}

void crdma_slab_free(crdma_slab_t *slab, crdma_addr_t addr, size_t size)
{
    size = crdma_slab_block_size(size);
    pthread_mutex_lock(&slab->lock);
    slab->in_use -= size;
    keep(slab, addr, size);
    pthread_mutex_unlock(&slab->lock);
}
