/*
 * The preregistered memory of a process: one anonymous memory file (memfd), mapped
 * once, registered once, from which communicators carve what peers write to. Peers
 * on the host map it through /proc/PID/fd/FD, so nothing ever has a name in /dev/shm
 * and the kernel frees it when the last process is gone, however it ends.
 *
 * Pages are committed when first touched, so a large limit costs address space only.
 * Blocks are recycled by exact size; a recycled block keeps its old contents.
 *
 * Small blocks share pages, each page with others of its size: what a communicator of few ranks touches is a
 * fraction of a page, and a page costs microseconds (2.3 us here and 0.9 at every peer in a virtual
 * machine). They begin at multiples of 128 bytes: processors fetch lines in pairs.
 *
 * Page 0 is never handed out. It holds the header below; the rest of it is the transports': what
 * they tell each other about the slab.
 */
#ifndef CRDMA_MEMORY_SLAB_H
#define CRDMA_MEMORY_SLAB_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "coll_rdma/base/status.h"

/* An address in some process's slab: its offset. 0 is never a valid block. */
typedef uint64_t crdma_addr_t;

/* The first bytes of every slab, so that a peer can tell that it mapped the right file. */
typedef struct crdma_slab_header {
    uint64_t cookie; /* random, identifies the process */
    uint64_t size;
} crdma_slab_header_t;

typedef struct crdma_slab crdma_slab_t;

/* Make [0, upto) of the slab reachable for others, in whatever way a transport does that. Called
 * with the slab's lock held, so it must not call the slab; CRDMA_ERR_NOMEM if it cannot. */
typedef crdma_status_t (*crdma_slab_grow_t)(crdma_slab_t *slab, size_t upto);

struct crdma_slab {
    char *base;
    size_t size; /* limit, bytes */
    int fd;
    uint64_t cookie;
    size_t top;         /* bytes handed out so far, recycled ones included */
    size_t in_use;      /* bytes in live blocks */
    size_t reserved;    /* bytes promised to communicators */
    size_t grown;       /* bytes for which `grow` has succeeded */
    crdma_slab_grow_t grow; /* NULL: nothing to do */
    pthread_mutex_t lock;
    struct crdma_slab_bin *bins;
    int nbins;
};

/* Small blocks are multiples of this. */
#define CRDMA_SLAB_UNIT ((size_t) 128)
#define CRDMA_SLAB_PAGE ((size_t) 4096)

/* size: the limit in bytes, rounded up to pages. CRDMA_ERR_SYSTEM: errno says why. */
crdma_status_t crdma_slab_create(size_t size, crdma_slab_t **slab);
void crdma_slab_destroy(crdma_slab_t *slab);

/* How many blocks of `size` bytes are in a page; 0: it takes whole pages. */
static inline size_t crdma_slab_per_page(size_t size)
{
    const size_t units = (size + CRDMA_SLAB_UNIT - 1) / CRDMA_SLAB_UNIT;
    const size_t n = 0 == units ? 0 : CRDMA_SLAB_PAGE / CRDMA_SLAB_UNIT / units;

    return 1 < n ? n : 0;
}

/* What a block of `size` bytes takes: its share of a page, or pages. */
static inline size_t crdma_slab_block_size(size_t size)
{
    const size_t n = crdma_slab_per_page(size);

    return 0 < n ? (CRDMA_SLAB_PAGE + n - 1) / n
                 : (size + CRDMA_SLAB_PAGE - 1) / CRDMA_SLAB_PAGE * CRDMA_SLAB_PAGE;
}

/* What must be promised for small blocks of one size that take `size` bytes together: also the rest of their
 * last page, so that the promises for all sizes cover all pages. */
static inline size_t crdma_slab_promise_size(size_t size)
{
    return (size + CRDMA_SLAB_PAGE - 1) / CRDMA_SLAB_PAGE * CRDMA_SLAB_PAGE;
}

/* From now on memory is promised and handed out only if `grow` succeeds for it; it is called at once for
 * what has been so far, and its failure is returned (then nothing has changed). NULL: no more. */
crdma_status_t crdma_slab_set_grow(crdma_slab_t *slab, crdma_slab_grow_t grow);

/* Promise `size` bytes to a communicator, so that its later allocations do not fail on some ranks
 * only; CRDMA_ERR_NOMEM if the limit would be exceeded. Undo with crdma_slab_unreserve. */
crdma_status_t crdma_slab_reserve(crdma_slab_t *slab, size_t size);
void crdma_slab_unreserve(crdma_slab_t *slab, size_t size);

/* A block of `size` bytes, aligned to 4096 if it takes whole pages, else to 128; *fresh (may be NULL) tells
 * that it has never been used and is zero. CRDMA_ERR_NOMEM when the limit is reached. Thread-safe. */
crdma_status_t crdma_slab_alloc(crdma_slab_t *slab, size_t size, crdma_addr_t *addr, bool *fresh);
void crdma_slab_free(crdma_slab_t *slab, crdma_addr_t addr, size_t size);

static inline void *crdma_slab_at(const crdma_slab_t *slab, crdma_addr_t addr)
{
    return slab->base + addr;
}

#endif
