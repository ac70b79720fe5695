/*
 * Stands between a program and libibverbs, for tests with soft-RoCE, whose kernel driver registers
 * no dma-buf.
 *
 * ibv_reg_dmabuf_mr maps the descriptor, which is the memory file of a window (rdma.c), and
 * registers the mapping under the address that was asked for. What moves from then on is moved by
 * the real device. ibv_reg_mr of device memory does the same where FAKECUDA_RDMA=address; else the
 * kernel refuses the address by itself, because nothing is mapped there.
 *
 * FAKEVERBS_REPORT=1: at the end a line tells how many registrations were made and ended.
 */
#define _GNU_SOURCE /* RTLD_NEXT */

#include <dlfcn.h>
#include <errno.h>
#include <infiniband/verbs.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#undef ibv_reg_mr

#define PUBLIC __attribute__((visibility("default")))

enum { MAX_MAPPED = 1024 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    struct ibv_mr *memory; /* NULL: free */
    void *map;
    size_t length;
} mapped[MAX_MAPPED];
static int made, ended;

static struct ibv_mr *reg_iova(struct ibv_pd *pd, void *address, size_t length, uint64_t iova,
                               int access)
{
    struct ibv_mr *(*real)(struct ibv_pd *, void *, size_t, uint64_t, unsigned);

    *(void **)&real = dlsym(RTLD_NEXT, "ibv_reg_mr_iova2");
    return real(pd, address, length, iova, (unsigned)access);
}

static struct ibv_mr *register_file(struct ibv_pd *pd, int fd, uint64_t offset, size_t length,
                                    uint64_t iova, int access)
{
    void *map = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)offset);
    struct ibv_mr *memory = NULL;

    if (MAP_FAILED == map) {
        return NULL;
    }
    memory = reg_iova(pd, map, length, iova, access);
    pthread_mutex_lock(&lock);
    for (int i = 0; i < MAX_MAPPED && NULL != memory && NULL != map; ++i) {
        if (NULL == mapped[i].memory) {
            mapped[i].memory = memory;
            mapped[i].map = map;
            mapped[i].length = length;
            map = NULL;
            ++made;
        }
    }
    pthread_mutex_unlock(&lock);
    if (NULL == memory) {
        munmap(map, length);
    }
    return memory;
}

PUBLIC struct ibv_mr *ibv_reg_dmabuf_mr(struct ibv_pd *pd, uint64_t offset, size_t length,
                                        uint64_t iova, int fd, int access)
{
    return register_file(pd, fd, offset, length, iova, access);
}

static struct ibv_mr *reg(struct ibv_pd *pd, void *address, size_t length, uint64_t iova,
                          int access)
{
    int (*peer_memory)(void *, size_t);
    void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
    int fd = -1;

    if (NULL != driver) {
        *(void **)&peer_memory = dlsym(driver, "fakecuda_peer_memory");
        fd = NULL == peer_memory ? -1 : peer_memory(address, length);
        dlclose(driver);
    }
    return 0 <= fd ? register_file(pd, fd, 0, length, iova, access)
                   : reg_iova(pd, address, length, iova, access);
}

PUBLIC struct ibv_mr *ibv_reg_mr(struct ibv_pd *pd, void *address, size_t length, int access)
{
    return reg(pd, address, length, (uintptr_t)address, access);
}

PUBLIC struct ibv_mr *ibv_reg_mr_iova2(struct ibv_pd *pd, void *address, size_t length,
                                       uint64_t iova, unsigned access)
{
    return reg(pd, address, length, iova, (int)access);
}

PUBLIC int ibv_dereg_mr(struct ibv_mr *memory)
{
    int (*real)(struct ibv_mr *);
    int result;

    *(void **)&real = dlsym(RTLD_NEXT, "ibv_dereg_mr");
    pthread_mutex_lock(&lock);
    result = real(memory);
    for (int i = 0; i < MAX_MAPPED && 0 == result; ++i) {
        if (memory == mapped[i].memory) {
            mapped[i].memory = NULL;
            munmap(mapped[i].map, mapped[i].length);
            ++ended;
            break;
        }
    }
    pthread_mutex_unlock(&lock);
    return result;
}

__attribute__((destructor)) static void report(void)
{
    if (NULL != getenv("FAKEVERBS_REPORT") && 0 != made) {
        fprintf(stderr, "fakeverbs: %d registrations of GPU memory, %d ended\n", made, ended);
    }
}
