/*
 * Finding the driver that the application has loaded, without cost for those that never do.
 *
 * Device pointers come from libcuda.so.1, so a process that has not loaded it has none. It may load it
 * at any time, also after MPI_Init (Python imports, the runtime API at its first call), and the very
 * next collective may bring a device pointer. The question "has it been loaded since?" is therefore
 * asked at every call, and must cost next to nothing:
 *
 *   1. The dynamic linker keeps the loaded objects in a list and appends new ones at its end
 *      (struct link_map, whose first members are public: <link.h>).
 *   2. We remember the last object and hold a reference to it, so that it stays where it is.
 *   3. As long as its l_next is NULL, nothing has been loaded. crdma_cuda_watched points to that
 *      l_next: two loads.
 *   4. When it is not NULL any more, crdma_cuda_look asks the linker for libcuda.so.1 (RTLD_NOLOAD:
 *      it never loads it) and, if it is not there, watches the new last object.
 *
 * The new last object is referenced before libcuda is asked for: what is loaded in between shows in
 * its l_next. Where this cannot be done (another C library, an object that cannot be found again by
 * its name) crdma_cuda_watched points to something that is never NULL, and every call asks the linker.
 * A driver in another namespace of the linker (dlmopen) is not found.
 */
#define _GNU_SOURCE /* dl_iterate_phdr, dlinfo */

#include "coll_rdma/device/cuda.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coll_rdma/base/log.h"
#include "coll_rdma/device/cuda_internal.h"

#define LIBRARY "libcuda.so.1"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void *const look_always = (void *) &lock; /* anything but NULL */
void *const *crdma_cuda_watched = &look_always;

static void *library;            /* libcuda, once found */
static void *last;               /* the handle of the object that is watched */
static crdma_cu_api_t functions;
static const crdma_cu_api_t *api; /* &functions once they are there */
static bool unusable;             /* a driver that lacks something: as if there were none */

#ifdef __GLIBC__
typedef struct tail {
    struct link_map *map;
    char *name;
} tail_t;

/* Called with the linker's lock held: the list stands still. */
static int find_tail(struct dl_phdr_info *info, size_t size, void *argument)
{
    tail_t *tail = argument;
    struct link_map *map = _r_debug.r_map;

    (void) info;
    (void) size;
    while (NULL != map && NULL != map->l_next) {
        map = map->l_next;
    }
    tail->map = map;
    tail->name = NULL != map && NULL != map->l_name ? strdup(map->l_name) : NULL;
    return 1;
}

static void watch_last(void)
{
    void *const *watched = &look_always;
    void *handle = NULL;
    struct link_map *map = NULL;
    tail_t tail = {0};

    (void) dl_iterate_phdr(find_tail, &tail);
    if (NULL != tail.name) {
        handle = dlopen(tail.name, RTLD_LAZY | RTLD_NOLOAD);
    }
    /* tail.map is compared only, in case that it went away in the meantime. */
    if (NULL != handle && 0 == dlinfo(handle, RTLD_DI_LINKMAP, &map) && map == tail.map) {
        watched = (void *const *) &map->l_next;
    }
    free(tail.name);
    __atomic_store_n(&crdma_cuda_watched, watched, __ATOMIC_RELEASE);
    if (NULL != last) {
        dlclose(last);
    }
    last = handle;
}
#else
static void watch_last(void)
{
}
#endif

static bool resolve(void *handle)
{
    const char *missing = NULL;

#define REQUIRE(name, symbol, arguments)                                                           \
    if (NULL == (*(void **) &functions.name = dlsym(handle, #symbol))) {                           \
        missing = #symbol;                                                                         \
    }
#define ALLOW(name, symbol, arguments) *(void **) &functions.name = dlsym(handle, #symbol);
    CRDMA_CU_FUNCTIONS(REQUIRE, ALLOW)
#undef REQUIRE
#undef ALLOW
    if (NULL != missing) {
        crdma_log(CRDMA_LOG_ERROR, "GPU memory is not recognised: %s has no %s", LIBRARY, missing);
    }
    return NULL == missing;
}

bool crdma_cuda_look(void)
{
    bool found;

    if (NULL != __atomic_load_n(&api, __ATOMIC_ACQUIRE)) {
        return true;
    }
    pthread_mutex_lock(&lock);
    if (NULL == library) {
        watch_last();
        library = dlopen(LIBRARY, RTLD_LAZY | RTLD_NOLOAD);
        if (NULL != library) {
            __atomic_store_n(&crdma_cuda_watched, &look_always, __ATOMIC_RELEASE);
            unusable = !resolve(library);
            if (!unusable) {
                /* Pairs with the loads above and in crdma_cuda_api. */
                __atomic_store_n(&api, &functions, __ATOMIC_RELEASE);
                crdma_log(CRDMA_LOG_SETUP, "the application has loaded %s", LIBRARY);
            }
        }
    }
    found = NULL != library && !unusable;
    pthread_mutex_unlock(&lock);
    return found;
}

const crdma_cu_api_t *crdma_cuda_api(void)
{
    return __atomic_load_n(&api, __ATOMIC_ACQUIRE);
}

void crdma_cuda_complain(const crdma_cu_api_t *cu, const char *what, crdma_cu_result_t result)
{
    const char *name = NULL;

    if (CRDMA_CU_SUCCESS != cu->get_error_name(result, &name) || NULL == name) {
        name = "an unknown error";
    }
    crdma_log(CRDMA_LOG_ERROR, "GPU: %s: %s (%d)", what, name, result);
}

void crdma_cuda_close(void)
{
    const crdma_cu_api_t *cu = crdma_cuda_api();

    if (NULL != cu) {
        crdma_cuda_close_shares(cu);
        crdma_cuda_close_stages(cu);
        crdma_cuda_close_pipes(cu);
        crdma_cuda_close_blocks(cu);
        crdma_cuda_close_modules(cu);
        crdma_cuda_close_streams(cu);
        crdma_cuda_release_contexts(cu);
    }
    pthread_mutex_lock(&lock);
    __atomic_store_n(&crdma_cuda_watched, &look_always, __ATOMIC_RELEASE);
    __atomic_store_n(&api, NULL, __ATOMIC_RELEASE);
    if (NULL != library) {
        dlclose(library);
    }
    if (NULL != last) {
        dlclose(last);
    }
    library = last = NULL;
    unusable = false;
    pthread_mutex_unlock(&lock);
}

bool crdma_cuda_expected(void)
{
    return crdma_cuda_possible() || 0 == access("/dev/nvidiactl", F_OK);
}
