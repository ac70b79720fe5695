/*
 * Registration of GPU memory with the device, so that it reads and writes there by itself.
 *
 * Two ways lead to it: the driver gives a dma-buf, which the kernel (5.12 and later) registers; or
 * a module of the driver (nvidia_peermem) lets the kernel register the address itself. Which of
 * them works is found out by the first registration; what works neither way stays with the host.
 *
 * No relaxed ordering here either: what the GPU may see when is said in device/cuda_rdma.h.
 */
#include "config.h"

#include "coll_rdma/transport/verbs_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "coll_rdma/base/log.h"

enum { ACCESS = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ };

static struct ibv_mr *by_dmabuf(crdma_verbs_state_t *s, void *start, size_t len)
{
    struct ibv_mr *memory = NULL;
#ifdef HAVE_IBV_REG_DMABUF_MR
    const int fd = crdma_cuda_rdma_dmabuf((uintptr_t)start, (uintptr_t)start + len);

    if (0 <= fd) {
        memory = ibv_reg_dmabuf_mr(s->pd, 0, len, (uintptr_t)start, fd, ACCESS);
        (void)close(fd); /* the registration holds the buffer */
    }
#else
    (void)s;
    (void)start;
    (void)len;
#endif
    return memory;
}

static crdma_status_t gpu_enter(void *context, void *start, size_t len, void **handle)
{
    crdma_verbs_state_t *s = context;
    const char *how = "by dma-buf";
    struct ibv_mr *memory = by_dmabuf(s, start, len);

    if (NULL == memory) {
        how = "by its address";
        memory = ibv_reg_mr(s->pd, start, len, ACCESS);
    }
    if (NULL == memory) {
        crdma_log(s->gpu_tried ? CRDMA_LOG_CALL : CRDMA_LOG_SETUP,
                  "verbs: port %s: GPU memory cannot be registered (neither by dma-buf nor by its "
                  "address: %s), it goes through the host",
                  s->port.name, strerror(errno));
        s->gpu_tried = true;
        return CRDMA_ERR_UNSUPPORTED;
    }
    if (!s->gpu_works) {
        crdma_log(CRDMA_LOG_SETUP, "verbs: port %s: GPU memory is registered %s", s->port.name,
                  how);
    }
    s->gpu_tried = s->gpu_works = true;
    *handle = memory;
    return CRDMA_OK;
}

static void gpu_leave(void *context, void *handle)
{
    (void)context;
    (void)ibv_dereg_mr(handle);
}

crdma_status_t crdma_verbs_gpu_open(crdma_verbs_state_t *s)
{
    const crdma_gpucache_ops_t ops = {.enter = gpu_enter, .leave = gpu_leave, .context = s};

    s->gpu_tried = s->gpu_works = false;
    return crdma_gpucache_create(&ops, &s->gpu);
}

void crdma_verbs_gpu_close(crdma_verbs_state_t *s)
{
    uint64_t gets, registrations;

    if (NULL != s->gpu && s->gpu_tried) {
        crdma_gpucache_counts(s->gpu, &gets, &registrations);
        crdma_log(CRDMA_LOG_SETUP, "verbs: GPU memory: %" PRIu64 " uses, %" PRIu64 " registrations",
                  gets, registrations);
    }
    crdma_gpucache_destroy(s->gpu);
    s->gpu = NULL;
}

bool crdma_verbs_device_possible(void)
{
    const crdma_verbs_state_t *s = &crdma_verbs_state;

    return s->open && (s->gpu_works || !s->gpu_tried);
}

crdma_status_t crdma_verbs_device_enter(const crdma_peer_t *peer, const void *address, size_t len,
                                        void **handle)
{
    crdma_verbs_state_t *s = &crdma_verbs_state;
    crdma_gpu_registration_t *memory;
    crdma_status_t rc = CRDMA_ERR_TRANSPORT;

    (void)peer; /* any: the device does it */
    pthread_mutex_lock(&s->lock);
    if (s->open) {
        rc = crdma_gpucache_get(s->gpu, address, len, &memory);
    }
    if (CRDMA_OK == rc) {
        *handle = memory;
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

void crdma_verbs_device_leave(void *handle)
{
    crdma_verbs_state_t *s = &crdma_verbs_state;

    pthread_mutex_lock(&s->lock);
    if (s->open) { /* closing has deregistered everything */
        crdma_gpucache_put(s->gpu, handle);
    }
    pthread_mutex_unlock(&s->lock);
}
