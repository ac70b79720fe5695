/*
 * Open MPI's memory hooks: who tells the registration caches (verbs, XPMEM) that the application gives memory
 * back.
 *
 * Open MPI (memory/patcher) intercepts munmap, mmap over something, mremap, madvise, brk and shmdt,
 * whoever calls them, free() included, and calls us before the memory gets another use. Where UCX has installed
 * hooks of its own they may be called instead, so the transport listens to those too (ucp_hooks.c).
 *
 * What neither reports is mremap with MREMAP_FIXED over a buffer; `verbs_cache` 0 is for programs that
 * do that between two calls.
 *
 * A trial shows whether the hooks work here; without them the cache keeps nothing.
 */
#include "coll_rdma/component/coll_rdma.h"

#include <sys/mman.h>
#include <unistd.h>

#include "coll_rdma/memory/regcache.h"
#include "coll_rdma/transport/ucp.h"
#include "opal/mca/memory/base/base.h"
#include "opal/memoryhooks/memory.h"

static bool watching, opened, registered;
static int calls; /* of on_release, for the trial */

/* In any thread, inside munmap and the like: marks, allocates nothing, takes no lock. */
static void on_release(void *address, size_t length, void *context, bool from_allocator)
{
    (void) context;
    (void) from_allocator;
    __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED);
    crdma_regcache_invalidate(address, length);
}

/* Is a call of munmap noticed? */
static bool try_it(void)
{
    const size_t page = (size_t) sysconf(_SC_PAGESIZE);
    void *memory = mmap(NULL, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const int before = __atomic_load_n(&calls, __ATOMIC_RELAXED);

    if (MAP_FAILED == memory) {
        return false;
    }
    (void) munmap(memory, page);
    return before != __atomic_load_n(&calls, __ATOMIC_RELAXED);
}

void coll_rdma_memory_watch(void)
{
    const int needed = OPAL_MEMORY_FREE_SUPPORT | OPAL_MEMORY_MUNMAP_SUPPORT;

    if (watching) {
        return;
    }
    watching = true;
    opened = OPAL_SUCCESS == mca_base_framework_open(&opal_memory_base_framework, 0);
    registered = opened && needed == (needed & opal_mem_hooks_support_level()) &&
                 OPAL_SUCCESS == opal_mem_hooks_register_release(on_release, NULL);
    crdma_regcache_hooked = registered && try_it() && crdma_ucp_watch_memory();
    if (!crdma_regcache_hooked) {
        crdma_log(CRDMA_LOG_SETUP, "Open MPI has no memory hooks here: user buffers are registered at "
                  "each call that needs it");
    }
}

void coll_rdma_memory_unwatch(void)
{
    if (crdma_regcache_hooked) {
        crdma_ucp_unwatch_memory();
    }
    if (registered) {
        (void) opal_mem_hooks_unregister_release(on_release);
    }
    if (opened) {
        (void) mca_base_framework_close(&opal_memory_base_framework);
    }
    watching = opened = registered = crdma_regcache_hooked = false;
}
