/*
 * Device memory of other processes on the host (cuIpc*), with the rules of the driver's manual kept
 * by the letter where a real driver may be lenient:
 *
 *     owner       memory file | ....[block]............ | export: id, opened, freed |
 *                                   ^ same pages             ^ same words
 *     importer    address space, PROT_NONE: what the program sees
 *                 a second mapping: where this driver works
 *
 * 1. A handle names one allocation. Memory at the same address that was allocated later has another
 *    handle, and a handle of freed memory opens nothing.
 * 2. The owner cannot open its own handle, and a handle is open at most once in a process: whoever
 *    caches mappings must find his own (the driver counts, and a leak would go unnoticed).
 * 3. Memory that is freed while others have it open is filled with 0xdd; the owner counts it as
 *    "freed_while_open", and a copy or kernel of an importer that touches it is an illegal address,
 *    also when other memory has the address by then.
 *
 * FAKECUDA_IPC=mortal: the memory of a process goes with it: an illegal address for those who have it open. A
 * real driver may keep it; its manual does not say.
 * FAKECUDA_IPC=none: no handle can be made; closed: none can be opened; near: none of another device.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/fakecuda/fakecuda.h"

enum { MAX_IMPORTS = 256, MAGIC = 0x66616b65 };

typedef struct handle {
    uint64_t magic;
    int64_t pid, fd;
    uint64_t offset, size, id;
    int32_t index; /* of the export */
    int32_t device;
} handle_t;

_Static_assert(sizeof(handle_t) <= sizeof(crdma_cu_ipc_handle_t), "a handle has 64 bytes");

struct fake_import {
    char *view;    /* NULL: free; what the program sees, PROT_NONE */
    char *map;     /* from the page in which the block begins */
    size_t before; /* bytes of that page before it */
    size_t size;
    fake_export_t *exported;
    char *words; /* the mapping that `exported` is in */
    handle_t handle;
    const fake_context_t *context;
};

static fake_import_t imports[MAX_IMPORTS];

static bool is_refused(const char *how)
{
    const char *text = getenv("FAKECUDA_IPC");

    return NULL != text && 0 == strcmp(text, how);
}

FAKE_API cuIpcGetMemHandle(crdma_cu_ipc_handle_t *out, crdma_cu_ptr_t p)
{
    handle_t handle = {.magic = MAGIC, .pid = getpid()};
    crdma_cu_result_t result = CRDMA_CU_INVALID_VALUE;
    fake_export_t *exported;
    int index, fd;

    if (NULL == fake_current()) {
        return CRDMA_CU_INVALID_CONTEXT;
    }
    if (is_refused("none")) {
        return CRDMA_CU_NOT_SUPPORTED;
    }
    pthread_mutex_lock(&fake_lock);
    exported = fake_export_of(p, &handle.offset, &handle.size, &index, &fd);
    if (fake_count("ipc_get")) {
        result = CRDMA_CU_OUT_OF_MEMORY;
    } else if (NULL != exported) {
        handle.index = index;
        handle.fd = fd;
        handle.id = exported->id;
        handle.device = fake_current()->device;
        memset(out, 0, sizeof(*out));
        memcpy(out, &handle, sizeof(handle));
        result = CRDMA_CU_SUCCESS;
    }
    pthread_mutex_unlock(&fake_lock);
    return result;
}

/* Both mappings of the block, and its export's words. */
static bool map(fake_import_t *import, const handle_t *handle)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t total = 2 * FAKE_HALF, table = FAKE_EXPORTS * sizeof(fake_export_t);
    char path[64];
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)handle->pid, (int)handle->fd);
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (0 > fd) {
        return false;
    }
    import->before = handle->offset % page;
    import->size = handle->size;
    import->map = mmap(NULL, import->before + import->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                       (off_t)(handle->offset - import->before));
    import->words = mmap(NULL, table, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)total);
    import->view =
        mmap(NULL, import->size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    close(fd);
    if (MAP_FAILED == import->map || MAP_FAILED == import->words || MAP_FAILED == import->view) {
        abort();
    }
    import->exported = (fake_export_t *)import->words + handle->index;
    return true;
}

static void unmap(fake_import_t *import)
{
    munmap(import->map, import->before + import->size);
    munmap(import->words, FAKE_EXPORTS * sizeof(fake_export_t));
    munmap(import->view, import->size);
    *import = (fake_import_t){.view = NULL};
}

FAKE_API cuIpcOpenMemHandle_v2(crdma_cu_ptr_t *p, crdma_cu_ipc_handle_t in, unsigned flags)
{
    fake_context_t *context = fake_current();
    crdma_cu_result_t result = CRDMA_CU_SUCCESS;
    fake_import_t *import = NULL;
    handle_t handle;

    memcpy(&handle, &in, sizeof(handle));
    if (NULL == context || getpid() == handle.pid) {
        return CRDMA_CU_INVALID_CONTEXT;
    }
    if (MAGIC != handle.magic || CRDMA_CU_IPC_LAZY_PEER_ACCESS != flags) {
        return CRDMA_CU_INVALID_VALUE;
    }
    if (is_refused("closed") || (is_refused("near") && handle.device != context->device)) {
        return CRDMA_CU_PEER_ACCESS_UNSUPPORTED;
    }
    pthread_mutex_lock(&fake_lock);
    if (fake_count("ipc_open")) {
        result = CRDMA_CU_OUT_OF_MEMORY;
    }
    for (int i = 0; i < MAX_IMPORTS && CRDMA_CU_SUCCESS == result; ++i) {
        if (NULL == imports[i].view) {
            import = NULL == import ? &imports[i] : import;
        } else if (0 == memcmp(&imports[i].handle, &handle, sizeof(handle))) {
            result = CRDMA_CU_ALREADY_REGISTERED; /* rule 2 */
        }
    }
    if (CRDMA_CU_SUCCESS == result && (NULL == import || !map(import, &handle))) {
        result = CRDMA_CU_MAP_FAILED;
    }
    if (CRDMA_CU_SUCCESS == result &&
        (handle.id != __atomic_load_n(&import->exported->id, __ATOMIC_ACQUIRE) ||
         0 != __atomic_load_n(&import->exported->freed, __ATOMIC_ACQUIRE))) {
        unmap(import); /* rule 1 */
        result = CRDMA_CU_INVALID_VALUE;
    }
    if (CRDMA_CU_SUCCESS == result) {
        import->handle = handle;
        import->context = context;
        __atomic_fetch_add(&import->exported->opened, 1, __ATOMIC_ACQ_REL);
        *p = (crdma_cu_ptr_t)(uintptr_t)import->view;
    }
    pthread_mutex_unlock(&fake_lock);
    return result;
}

static void forget(fake_import_t *import)
{
    if (import->handle.id == __atomic_load_n(&import->exported->id, __ATOMIC_ACQUIRE)) {
        __atomic_fetch_sub(&import->exported->opened, 1, __ATOMIC_ACQ_REL);
    }
    unmap(import);
}

FAKE_API cuIpcCloseMemHandle(crdma_cu_ptr_t p)
{
    fake_context_t *context = fake_current();
    crdma_cu_result_t result = CRDMA_CU_INVALID_VALUE;

    if (NULL == context) {
        return CRDMA_CU_INVALID_CONTEXT;
    }
    pthread_mutex_lock(&fake_lock);
    (void)fake_count("ipc_close");
    for (int i = 0; i < MAX_IMPORTS; ++i) {
        if (NULL != imports[i].view && (uintptr_t)imports[i].view == p &&
            imports[i].context == context) {
            fake_wait_context(context);
            forget(&imports[i]);
            result = CRDMA_CU_SUCCESS;
        }
    }
    pthread_mutex_unlock(&fake_lock);
    return result;
}

void fake_import_forget(const fake_context_t *context)
{
    for (int i = 0; i < MAX_IMPORTS; ++i) {
        if (NULL != imports[i].view && imports[i].context == context) {
            forget(&imports[i]);
        }
    }
}

char *fake_import_find(const char *p, size_t *left, bool *stale, const fake_context_t **context)
{
    for (int i = 0; i < MAX_IMPORTS; ++i) {
        const fake_import_t *import = &imports[i];

        if (NULL != import->view && p >= import->view && p < import->view + import->size) {
            *left = import->size - (size_t)(p - import->view);
            *stale = 0 != __atomic_load_n(&import->exported->freed, __ATOMIC_ACQUIRE) ||
                     import->handle.id != __atomic_load_n(&import->exported->id, __ATOMIC_ACQUIRE) ||
                     (is_refused("mortal") && 0 != kill((pid_t)import->handle.pid, 0));
            *context = import->context;
            return import->map + import->before + (p - import->view);
        }
    }
    return NULL;
}
