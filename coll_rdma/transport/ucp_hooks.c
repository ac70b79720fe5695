/*
 * What UCX's memory hooks (UCM) see, for the registration cache.
 *
 * Open MPI's hooks are the source (component/memory_hooks.c). But where UCX has installed its own hooks
 * as well, it answers sbrk with a system call of its own, and Open MPI's hook of brk, which free() reaches
 * when it shrinks the heap, is never called. So we listen to UCX too; it installs nothing on our account: its
 * hooks of before UCX 1.15 lose the fifth argument of mremap.
 */
#include <ucm/api/ucm.h>

#include "coll_rdma/memory/regcache.h"
#include "coll_rdma/transport/ucp.h"

/* In any thread, inside munmap and the like: marks, allocates nothing, takes no lock. */
static void on_unmapped(ucm_event_type_t type, ucm_event_t *event, void *arg)
{
    (void)type;
    (void)arg;
    crdma_regcache_invalidate(event->vm_unmapped.address, event->vm_unmapped.size);
}

bool crdma_ucp_watch_memory(void)
{
    /* Below 0: before the memory goes. */
    return UCS_OK == ucm_set_event_handler((int)UCM_EVENT_VM_UNMAPPED | (int)UCM_EVENT_FLAG_NO_INSTALL,
                                           -1, on_unmapped, NULL);
}

void crdma_ucp_unwatch_memory(void)
{
    ucm_unset_event_handler(UCM_EVENT_VM_UNMAPPED, on_unmapped, NULL);
}
