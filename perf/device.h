/*
 * Buffers in GPU memory for coll_rdma_perf.
 *
 * The tools know nothing of coll/rdma and are linked with nothing of CUDA: the driver is opened
 * when a GPU is asked for.
 */
#ifndef PERF_DEVICE_H
#define PERF_DEVICE_H

#include <stddef.h>

enum perf_device {
    PERF_HOST,
    PERF_CUDA,    /* device memory */
    PERF_MANAGED, /* migrating memory */
    PERF_THROUGH  /* device memory that the program copies to host memory and back itself */
};

/* Whether `name` is a device; sets *device. */
int perf_device_find(const char *name, enum perf_device *device);

/* Use GPU number `index` modulo their number. NULL, or why there is none. */
const char *perf_device_open(int index);

/* Memory of that kind for `bytes`; ends the job if there is none. PERF_HOST: pinned. */
void *perf_device_new(enum perf_device device, size_t bytes);

/* Copy between any two kinds of memory, and wait. */
void perf_device_copy(void *to, const void *from, size_t bytes);

#endif
