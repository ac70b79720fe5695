/*
 * Naming and opening GPU memory; cuda_share.h says what the numbers are for.
 *
 * The owner's table holds the handles of the last allocations that it named. The reader's table
 * holds the views that are open:
 *
 *   1. a view of the same owner, number and context is used again;
 *   2. a view of the same owner that overlaps the allocation in the owner's addresses is of memory
 *      that has been freed: it is closed;
 *   3. when the table is full the view that was not used for the longest time is closed.
 * A view that is in use is neither used for something else nor closed. As long as a view is open
 * the driver keeps its memory, also if the owner has freed it; by the manual that is undefined, so
 * the component names memory of the application only if the user says so (coll_rdma_gpu = direct).
 */
#include "coll_rdma/device/cuda_share.h"

#include <pthread.h>
#include <string.h>

#include "coll_rdma/base/log.h"
#include "coll_rdma/device/cuda_internal.h"

enum { MAX_SHARES = 32, MAX_VIEWS = 128, MAX_REFUSED = 64 };

typedef struct share {
    unsigned long long allocation; /* 0: free */
    crdma_cu_context_t context;
    crdma_cu_ptr_t base;
    size_t bytes;
    bool possible;
    crdma_cu_ipc_handle_t handle;
} share_t;

struct crdma_cuda_view {
    crdma_cu_ptr_t p; /* 0: free */
    uint64_t owner;
    crdma_cuda_name_t name;
    crdma_cu_context_t context;
    unsigned long long id; /* of the context */
    uint64_t used;         /* when */
    int users;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static share_t shares[MAX_SHARES];
static int next_share;
static crdma_cuda_view_t views[MAX_VIEWS];
static uint64_t clock_of_views;
static uint64_t refused[MAX_REFUSED]; /* owners about which there was a line */
static int nrefused;

/* The entry of the allocation, made if needed. The lock is held. */
static const share_t *find_share(const crdma_cu_api_t *cu, unsigned long long allocation,
                                 crdma_cu_context_t context, crdma_cu_ptr_t base, size_t bytes)
{
    share_t *share = NULL;
    bool pushed;

    for (int i = 0; i < MAX_SHARES; ++i) {
        if (shares[i].allocation == allocation && shares[i].context == context &&
            shares[i].base == base && shares[i].bytes == bytes) {
            return &shares[i];
        }
    }
    share = &shares[next_share];
    next_share = (next_share + 1) % MAX_SHARES;
    *share = (share_t){.allocation = allocation, .context = context, .base = base, .bytes = bytes};
    if (CRDMA_CU_SUCCESS == crdma_cuda_enter(cu, context, &pushed)) {
        share->possible = CRDMA_CU_SUCCESS == cu->ipc_get_handle(&share->handle, base);
        crdma_cuda_leave(cu, pushed);
    }
    return share;
}

crdma_status_t crdma_cuda_share(const void *p, size_t bytes, crdma_cuda_name_t *name)
{
    const crdma_cu_api_t *cu = crdma_cuda_api();
    crdma_cuda_allocation_t a;
    crdma_status_t status = CRDMA_ERR_UNSUPPORTED;
    const share_t *share;

    if (NULL == cu || !crdma_cuda_find_allocation(cu, p, bytes, &a)) {
        return CRDMA_ERR_UNSUPPORTED;
    }
    pthread_mutex_lock(&lock);
    share = find_share(cu, a.number, a.context, a.base, a.bytes);
    if (share->possible) {
        memcpy(name->handle, share->handle.bytes, sizeof(name->handle));
        name->allocation = a.number;
        name->base = a.base;
        name->bytes = a.bytes;
        name->offset = (uintptr_t)p - a.base;
        status = CRDMA_OK;
    }
    pthread_mutex_unlock(&lock);
    return status;
}

/* Its context may have gone, and the view with it. The lock is held. */
static void close_view(const crdma_cu_api_t *cu, crdma_cuda_view_t *view)
{
    bool pushed;

    if (crdma_cuda_context_id(cu, view->context) == view->id &&
        CRDMA_CU_SUCCESS == crdma_cuda_enter(cu, view->context, &pushed)) {
        (void)cu->ipc_close_handle(view->p);
        crdma_cuda_leave(cu, pushed);
    }
    view->p = 0;
}

/* Rules 1 to 3: an open view (*found), or a free place for one; NULL if all are in use. */
static crdma_cuda_view_t *find_view(const crdma_cu_api_t *cu, uint64_t owner,
                                    const crdma_cuda_name_t *name, crdma_cu_context_t context,
                                    unsigned long long id, bool *found)
{
    crdma_cuda_view_t *place = NULL;

    *found = false;
    for (int i = 0; i < MAX_VIEWS; ++i) {
        crdma_cuda_view_t *view = &views[i];

        if (0 != view->p && view->owner == owner && view->context == context && view->id == id &&
            view->name.allocation == name->allocation &&
            0 == memcmp(view->name.handle, name->handle, sizeof(name->handle))) {
            *found = true;
            return view;
        }
        if (0 != view->p && 0 == view->users &&
            ((view->owner == owner && view->name.allocation != name->allocation &&
              view->name.base < name->base + name->bytes &&
              name->base < view->name.base + view->name.bytes) ||
             (view->context == context && view->id != id))) {
            close_view(cu, view);
        }
        if (0 == view->users &&
            (NULL == place || (0 != place->p && (0 == view->p || view->used < place->used)))) {
            place = view;
        }
    }
    if (NULL != place && 0 != place->p) {
        close_view(cu, place);
    }
    return place;
}

/* The lock is held. */
static void say_once(const crdma_cu_api_t *cu, uint64_t owner, crdma_cu_result_t result)
{
    const char *name = NULL;

    for (int i = 0; i < nrefused; ++i) {
        if (refused[i] == owner) {
            return;
        }
    }
    if (nrefused < MAX_REFUSED) {
        refused[nrefused++] = owner;
    }
    if (CRDMA_CU_SUCCESS != cu->get_error_name(result, &name) || NULL == name) {
        name = "an unknown error";
    }
    crdma_log(CRDMA_LOG_SETUP,
              "GPU memory of another process cannot be opened, it goes through the "
              "host: %s (%d)",
              name, result);
}

crdma_status_t crdma_cuda_view_get(uint64_t owner, const crdma_cuda_name_t *name,
                                   const crdma_cuda_pipe_t *pipe, crdma_cuda_view_t **out, void **p)
{
    const crdma_cu_api_t *cu = crdma_cuda_api();
    crdma_cu_result_t result = CRDMA_CU_OUT_OF_MEMORY;
    const crdma_cu_context_t context = pipe->context;
    const unsigned long long id = pipe->id;
    crdma_cu_ipc_handle_t handle;
    crdma_cuda_view_t *view;
    bool found, pushed;

    if (0 == id) { /* the context may go away without our noticing */
        return CRDMA_ERR_UNSUPPORTED;
    }
    pthread_mutex_lock(&lock);
    view = find_view(cu, owner, name, context, id, &found);
    if (found) {
        result = CRDMA_CU_SUCCESS;
    } else if (NULL != view) {
        memcpy(handle.bytes, name->handle, sizeof(handle.bytes));
        result = crdma_cuda_enter(cu, context, &pushed);
        if (CRDMA_CU_SUCCESS == result) {
            result = cu->ipc_open_handle(&view->p, handle, CRDMA_CU_IPC_LAZY_PEER_ACCESS);
            crdma_cuda_leave(cu, pushed);
        }
        if (CRDMA_CU_SUCCESS == result) {
            view->owner = owner;
            view->name = *name;
            view->context = context;
            view->id = id;
            view->users = 0;
        } else {
            view->p = 0;
            say_once(cu, owner, result);
        }
    }
    if (CRDMA_CU_SUCCESS == result) {
        ++view->users;
        view->used = ++clock_of_views;
        *out = view;
        *p = (void *)(uintptr_t)(view->p + name->offset);
    }
    pthread_mutex_unlock(&lock);
    return CRDMA_CU_SUCCESS == result ? CRDMA_OK : CRDMA_ERR_UNSUPPORTED;
}

void crdma_cuda_view_put(crdma_cuda_view_t *view)
{
    pthread_mutex_lock(&lock);
    --view->users;
    pthread_mutex_unlock(&lock);
}

void crdma_cuda_close_shares(const crdma_cu_api_t *cu)
{
    pthread_mutex_lock(&lock);
    for (int i = 0; i < MAX_VIEWS; ++i) {
        if (0 != views[i].p) {
            close_view(cu, &views[i]);
        }
    }
    memset(shares, 0, sizeof(shares));
    nrefused = 0;
    pthread_mutex_unlock(&lock);
}
