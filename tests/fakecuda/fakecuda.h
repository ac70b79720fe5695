/*
 * Inside the stand-in for libcuda.so.1. README.md says what it is for; nothing here is NVIDIA's.
 *
 *   context.c   devices, contexts, errors, what is counted and made to fail
 *   memory.c    device, managed and pinned memory
 *   ipc.c       device memory of other processes
 *   rdma.c      device memory that network adapters read and write
 *   stream.c    streams: threads that copy and run kernels, late
 *
 * One lock protects everything; work is done outside it.
 */
#ifndef TESTS_FAKECUDA_H
#define TESTS_FAKECUDA_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "coll_rdma/device/cuda_driver.h"

#define FAKE_API __attribute__((visibility("default"))) crdma_cu_result_t

enum { FAKE_ILLEGAL_ADDRESS = 700 };

typedef struct fake_stream fake_stream_t;

typedef struct fake_context {
    bool alive, primary;
    crdma_cu_device_t device;
    unsigned long long id;
    crdma_cu_result_t error; /* sticky, as on a GPU: every later call reports it */
    fake_stream_t *null;     /* the legacy default stream */
    int retained;
} fake_context_t;

extern pthread_mutex_t fake_lock;
extern pthread_cond_t fake_changed; /* a stream has done something */

/* context.c */
bool fake_is_initialised(void);
/* The thread's context, or NULL. */
fake_context_t *fake_current(void);
/* Count a call; true if this one is to fail (FAKECUDA_FAIL=NAME:NUMBER). */
bool fake_count(const char *name);
/* A number below `bound`, from FAKECUDA_SEED and the calls before. */
unsigned fake_random(unsigned bound);

/* memory.c */
/* Where the bytes at p really are: the second mapping of device memory, or p itself. */
void *fake_translate(crdma_cu_ptr_t p);
/* May a kernel touch all of [p, p + bytes)? A copy may touch host memory too. */
bool fake_reaches(crdma_cu_ptr_t p, size_t bytes, bool copy);
void fake_forget_context(const fake_context_t *context);

/* The memory file: device memory, managed memory, then one word for each export. */
#define FAKE_HALF    ((size_t) 512 << 20) /* bytes of device memory, and of managed memory */
#define FAKE_EXPORTS 4096

/* What a block was exported as, in the memory file, so that all processes see it. */
typedef struct fake_export {
    uint64_t id;     /* of the allocation; 0: none yet */
    uint64_t opened; /* by other processes */
    uint64_t freed;
} fake_export_t;

/* ipc.c; the lock is held. */
typedef struct fake_import fake_import_t;
/* The other process's memory at p, which is this process's address for it: its bytes, or NULL. *stale:
 * the owner has freed it. */
char *fake_import_find(const char *p, size_t *left, bool *stale, const fake_context_t **context);
void fake_import_forget(const fake_context_t *context);

/* memory.c: the export of the device memory that begins at p, NULL if it cannot be exported; its place in
 * the memory file, and that file. */
fake_export_t *fake_export_of(crdma_cu_ptr_t p, uint64_t *offset, uint64_t *size, int *index,
                              int *fd);

/* memory.c: the device memory of an allocation that has [p, p + size), where the driver works. NULL: it is none. */
char *fake_device_memory(crdma_cu_ptr_t p, size_t *before, size_t *size);

/* rdma.c; the lock is held. Work has written at p: adapters see it. Memory is freed. Work is about to start. What
 * cuDeviceGetAttribute says. */
void fake_rdma_written(crdma_cu_ptr_t p);
void fake_rdma_freed(const char *start);
void fake_rdma_start(void);
int fake_rdma_attribute(int attribute);

/* stream.c */
fake_stream_t *fake_stream_new(fake_context_t *context, bool blocking);
/* Until everything in the context, or in this stream, is done. The lock is held. */
void fake_wait_context(fake_context_t *context);
void fake_wait_stream(fake_stream_t *stream);
/* The context is gone: its streams are handles of nothing. */
void fake_kill_streams(const fake_context_t *context);

#endif
