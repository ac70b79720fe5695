/*
 * Memory of the stand-in.
 *
 *   what the application sees     | device: PROT_NONE ............ | managed: readable, writable |
 *   where the driver works        | the same bytes, readable, writable (one memory file)         |
 *
 * Behind them the file holds what has been exported to other processes (ipc.c).
 *
 * The host that touches device memory gets SIGSEGV, a system call EFAULT. fakecuda_guard makes managed
 * memory as inaccessible while the code under test runs. Freed memory is filled with 0xdd.
 */
#define _GNU_SOURCE /* memfd_create */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/fakecuda/fakecuda.h"

#define HALF  FAKE_HALF
#define GRAIN ((size_t) 4096) /* adapters are given whole pages */

enum { MAX_BLOCKS = 4096 };
enum kind { FREE = 0, DEVICE, MANAGED, PINNED, REGISTERED };

typedef struct block {
    enum kind kind; /* FREE with a size: may be used again */
    bool managed;   /* of that half, also when free */
    char *start;
    size_t size;
    fake_context_t *context; /* NULL: of a pool */
    crdma_cu_device_t device;
    uint64_t id; /* of the allocation */
    bool exported;
} block_t;

static char *view, *real; /* 2 x HALF each */
static size_t used[2];
static block_t blocks[MAX_BLOCKS];
static fake_export_t *exports; /* by block */
static int memory_fd;
static uint64_t last_id;

_Static_assert((int) FAKE_EXPORTS == (int) MAX_BLOCKS, "one word for each block");

/* The lock is held, as for all that is not exported. */
static bool set_up(void)
{
    int fd;

    if (NULL != view) {
        return true;
    }
    fd = memfd_create("fakecuda", MFD_CLOEXEC);
    if (0 > fd
        || 0 != ftruncate(fd, (off_t) (2 * HALF + FAKE_EXPORTS * sizeof(fake_export_t)))) {
        return false;
    }
    exports = mmap(NULL, FAKE_EXPORTS * sizeof(fake_export_t), PROT_READ | PROT_WRITE, MAP_SHARED,
                   fd, (off_t) (2 * HALF));
    view = mmap(NULL, 2 * HALF, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    real = mmap(NULL, 2 * HALF, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (MAP_FAILED == view || MAP_FAILED == real || MAP_FAILED == exports
        || MAP_FAILED == mmap(view + HALF, HALF, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
                              (off_t) HALF)) {
        abort();
    }
    memory_fd = fd; /* others open it through /proc */
    return true;
}

static block_t *find(crdma_cu_ptr_t p)
{
    const char *at = (const char *) (uintptr_t) p;

    for (int i = 0; i < MAX_BLOCKS; ++i) {
        if (FREE != blocks[i].kind && at >= blocks[i].start
            && at < blocks[i].start + blocks[i].size) {
            return &blocks[i];
        }
    }
    return NULL;
}

void *fake_translate(crdma_cu_ptr_t p)
{
    const fake_context_t *context;
    char *at = (char *) (uintptr_t) p, *imported;
    size_t left;
    bool stale;

    if (NULL != view && at >= view && at < view + 2 * HALF) {
        return real + (at - view);
    }
    imported = fake_import_find(at, &left, &stale, &context);
    return NULL != imported ? imported : at;
}

bool fake_reaches(crdma_cu_ptr_t p, size_t bytes, bool copy)
{
    const block_t *block = find(p);
    const char *at = (const char *) (uintptr_t) p;
    const fake_context_t *context;
    size_t left;
    bool stale;

    if (NULL == block && NULL != fake_import_find(at, &left, &stale, &context)) {
        return bytes <= left && !stale;
    }
    if (NULL == block) {
        return copy && (NULL == view || at + bytes <= view || at >= view + 2 * HALF);
    }
    return (size_t) (at - block->start) + bytes <= block->size
           || (copy && REGISTERED == block->kind);
}

static block_t *new_block(size_t size, bool managed)
{
    const size_t rounded = (0 == size ? GRAIN : size + GRAIN - 1) / GRAIN * GRAIN;
    block_t *unused = NULL;

    for (int i = 0; i < MAX_BLOCKS; ++i) {
        block_t *b = &blocks[i];

        if (FREE == b->kind && NULL != b->start && managed == b->managed && rounded == b->size) {
            return b; /* also while another process has what was there before open */
        }
        if (FREE == b->kind && NULL == b->start && NULL == unused) {
            unused = b;
        }
    }
    if (NULL == unused || HALF - used[managed] < rounded) {
        return NULL;
    }
    *unused = (block_t) {.managed = managed,
                         .start = view + (managed ? HALF : 0) + used[managed],
                         .size = rounded};
    used[managed] += rounded;
    return unused;
}

static crdma_cu_result_t allocate(crdma_cu_ptr_t *p, size_t size, enum kind kind, bool of_pool)
{
    fake_context_t *context = fake_current();
    crdma_cu_result_t result = CRDMA_CU_OUT_OF_MEMORY;
    block_t *block;

    if (NULL == context) {
        return CRDMA_CU_INVALID_CONTEXT;
    }
    pthread_mutex_lock(&fake_lock);
    block = !fake_count("alloc") && set_up() ? new_block(size, MANAGED == kind) : NULL;
    if (NULL != block) {
        block->kind = kind;
        block->context = of_pool ? NULL : context;
        block->device = context->device;
        block->id = ++last_id;
        block->exported = false;
        *p = (crdma_cu_ptr_t) (uintptr_t) block->start;
        result = CRDMA_CU_SUCCESS;
    }
    pthread_mutex_unlock(&fake_lock);
    return result;
}

FAKE_API cuMemAlloc_v2(crdma_cu_ptr_t *p, size_t size)
{
    return allocate(p, size, DEVICE, false);
}

FAKE_API cuMemAllocAsync(crdma_cu_ptr_t *p, size_t size, fake_stream_t *stream)
{
    (void) stream;
    return allocate(p, size, DEVICE, true);
}

FAKE_API cuMemAllocManaged(crdma_cu_ptr_t *p, size_t size, unsigned flags)
{
    (void) flags;
    return allocate(p, size, MANAGED, false);
}

char *fake_device_memory(crdma_cu_ptr_t p, size_t *before, size_t *size)
{
    const block_t *block = find(p);

    if (NULL == block || DEVICE != block->kind || NULL == block->context) {
        return NULL;
    }
    *before = (size_t) ((char *) (uintptr_t) p - block->start);
    *size = block->size;
    return fake_translate((crdma_cu_ptr_t) (uintptr_t) block->start);
}

static void release(block_t *block)
{
    fake_export_t *exported = &exports[block - blocks];

    fake_rdma_freed(block->start);

    if (block->exported) {
        __atomic_store_n(&exported->freed, 1, __ATOMIC_RELEASE);
        if (0 != __atomic_load_n(&exported->opened, __ATOMIC_ACQUIRE)) {
            (void) fake_count("freed_while_open");
        }
    }
    memset(fake_translate((crdma_cu_ptr_t) (uintptr_t) block->start), 0xdd, block->size);
    block->kind = FREE;
}

fake_export_t *fake_export_of(crdma_cu_ptr_t p, uint64_t *offset, uint64_t *size, int *index, int *fd)
{
    block_t *block = find(p);
    fake_export_t *exported;

    if (NULL == block || DEVICE != block->kind || NULL == block->context
        || (uintptr_t) block->start != p) {
        return NULL;
    }
    exported = &exports[block - blocks];
    if (!block->exported) {
        block->exported = true;
        exported->freed = exported->opened = 0;
        __atomic_store_n(&exported->id, block->id, __ATOMIC_RELEASE);
    }
    *offset = (uint64_t) (block->start - view);
    *size = block->size;
    *index = (int) (block - blocks);
    *fd = memory_fd;
    return exported;
}

FAKE_API cuMemFree_v2(crdma_cu_ptr_t p)
{
    block_t *block;

    pthread_mutex_lock(&fake_lock);
    block = find(p);
    if (NULL != block && DEVICE != block->kind && MANAGED != block->kind) {
        block = NULL;
    }
    if (NULL != block) {
        if (NULL != block->context) {
            fake_wait_context(block->context);
        }
        release(block);
    }
    pthread_mutex_unlock(&fake_lock);
    return NULL == block ? CRDMA_CU_INVALID_VALUE : CRDMA_CU_SUCCESS;
}

static crdma_cu_result_t enter_host(void *p, size_t size, enum kind kind)
{
    fake_context_t *context = fake_current();
    crdma_cu_result_t result = CRDMA_CU_OUT_OF_MEMORY;

    if (NULL == context) {
        return CRDMA_CU_INVALID_CONTEXT;
    }
    pthread_mutex_lock(&fake_lock);
    if (fake_count("register")) {
        result = CRDMA_CU_OUT_OF_MEMORY;
    } else if (NULL != find((crdma_cu_ptr_t) (uintptr_t) p)) {
        result = CRDMA_CU_ALREADY_REGISTERED;
    } else {
        for (int i = 0; i < MAX_BLOCKS && CRDMA_CU_SUCCESS != result; ++i) {
            if (FREE == blocks[i].kind && NULL == blocks[i].start) {
                blocks[i] = (block_t) {.kind = kind,
                                       .start = p,
                                       .size = size,
                                       .context = context,
                                       .device = context->device};
                result = CRDMA_CU_SUCCESS;
            }
        }
    }
    pthread_mutex_unlock(&fake_lock);
    return result;
}

static crdma_cu_result_t leave_host(void *p, enum kind kind)
{
    block_t *block;

    pthread_mutex_lock(&fake_lock);
    block = find((crdma_cu_ptr_t) (uintptr_t) p);
    if (NULL != block && (kind != block->kind || p != block->start)) {
        block = NULL;
    }
    if (NULL != block) {
        *block = (block_t) {.kind = FREE};
    }
    pthread_mutex_unlock(&fake_lock);
    return NULL == block ? CRDMA_CU_NOT_REGISTERED : CRDMA_CU_SUCCESS;
}

FAKE_API cuMemHostRegister_v2(void *p, size_t size, unsigned flags)
{
    (void) flags;
    return enter_host(p, size, REGISTERED);
}

FAKE_API cuMemHostUnregister(void *p)
{
    return leave_host(p, REGISTERED);
}

FAKE_API cuMemHostAlloc(void **p, size_t size, unsigned flags)
{
    (void) flags;
    *p = aligned_alloc(4096, (size + 4095) / 4096 * 4096);
    return NULL == *p ? CRDMA_CU_OUT_OF_MEMORY : enter_host(*p, size, PINNED);
}

FAKE_API cuMemFreeHost(void *p)
{
    const crdma_cu_result_t result = leave_host(p, PINNED);

    if (CRDMA_CU_SUCCESS == result) {
        free(p);
    }
    return result;
}

void fake_forget_context(const fake_context_t *context)
{
    fake_import_forget(context);
    for (int i = 0; i < MAX_BLOCKS; ++i) {
        block_t *block = &blocks[i];

        if (FREE == block->kind || block->context != context) {
            continue;
        }
        if (DEVICE == block->kind || MANAGED == block->kind) {
            release(block);
        } else {
            *block = (block_t) {.kind = FREE};
        }
    }
}

FAKE_API cuPointerGetAttributes(unsigned n, const int *attributes, void **values, crdma_cu_ptr_t p)
{
    static const block_t nothing;
    block_t imported = {.kind = DEVICE};
    const fake_context_t *context;
    const block_t *block;
    bool stale;

    if (!fake_is_initialised()) {
        return CRDMA_CU_NOT_INITIALIZED;
    }
    pthread_mutex_lock(&fake_lock);
    (void) fake_count("attributes");
    block = find(p);
    if (NULL == block
        && NULL
               != fake_import_find((const char *) (uintptr_t) p, &imported.size, &stale, &context)) {
        imported.context = (fake_context_t *) (uintptr_t) context;
        imported.device = context->device;
        imported.start = (char *) (uintptr_t) p;
        block = &imported;
    }
    block = NULL == block ? &nothing : block;
    for (unsigned i = 0; i < n; ++i) {
        switch (attributes[i]) {
        case CRDMA_CU_POINTER_CONTEXT: *(fake_context_t **) values[i] = block->context; break;
        case CRDMA_CU_POINTER_MEMORY_TYPE:
            *(unsigned *) values[i] = FREE == block->kind ? 0
                                      : DEVICE == block->kind || MANAGED == block->kind
                                          ? CRDMA_CU_MEMORY_DEVICE
                                          : CRDMA_CU_MEMORY_HOST;
            break;
        case CRDMA_CU_POINTER_IS_MANAGED: *(unsigned *) values[i] = MANAGED == block->kind; break;
        case CRDMA_CU_POINTER_DEVICE_ORDINAL:
            *(int *) values[i] = FREE == block->kind ? -2 : block->device;
            break;
        case CRDMA_CU_POINTER_BUFFER_ID: *(unsigned long long *) values[i] = block->id; break;
        case CRDMA_CU_POINTER_RANGE_START: *(char **) values[i] = block->start; break;
        case CRDMA_CU_POINTER_RANGE_SIZE: *(size_t *) values[i] = block->size; break;
        default: abort();
        }
    }
    pthread_mutex_unlock(&fake_lock);
    return CRDMA_CU_SUCCESS;
}

/* For tests: may the host touch managed memory? */
__attribute__((visibility("default"))) void fakecuda_guard(int guarded)
{
    pthread_mutex_lock(&fake_lock);
    if (NULL != view) {
        mprotect(view + HALF, HALF, guarded ? PROT_NONE : PROT_READ | PROT_WRITE);
    }
    pthread_mutex_unlock(&fake_lock);
}
