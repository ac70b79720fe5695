/*
 * GPU memory over UCX: where UCX was built with CUDA and the endpoint has real remote writes, UCX
 * registers the memory and its network adapter reads and writes there. Everywhere else the
 * component copies through the host, which is not left to UCX: it would copy in its own order and
 * time, without our knowing what is still to be flushed, and the active messages of ucp_message.c
 * are stored by the host.
 *
 * A registration comes with its packed key, which does not change while it lives.
 */
#include "coll_rdma/transport/ucp_internal.h"

#include <stdlib.h>
#include <string.h>

#include "coll_rdma/base/log.h"

typedef struct pinned {
    ucp_mem_h memory;
    uint32_t key_length;
    uint8_t key[CRDMA_KEY_MAX];
} pinned_t;

/* Only the first time: each allocation is tried once. */
static crdma_status_t refuse(crdma_ucp_state_t *s, const char *why)
{
    crdma_log(s->gpu_tried ? CRDMA_LOG_CALL : CRDMA_LOG_SETUP,
              "UCX cannot register GPU memory, it goes through the host: %s", why);
    s->gpu_tried = true;
    return CRDMA_ERR_UNSUPPORTED;
}

static crdma_status_t gpu_enter(void *context, void *start, size_t len, void **handle)
{
    crdma_ucp_state_t *s = context;
    ucp_mem_map_params_t params = {.field_mask = UCP_MEM_MAP_PARAM_FIELD_ADDRESS |
                                                 UCP_MEM_MAP_PARAM_FIELD_LENGTH |
                                                 UCP_MEM_MAP_PARAM_FIELD_MEMORY_TYPE,
                                   .address = start,
                                   .length = len,
                                   .memory_type = UCS_MEMORY_TYPE_CUDA};
    pinned_t *pinned = malloc(sizeof(*pinned));
    ucs_status_t status;
    size_t length = 0;
    void *key = NULL;

    if (NULL == pinned) {
        return CRDMA_ERR_NOMEM;
    }
    status = ucp_mem_map(s->context, &params, &pinned->memory);
    if (UCS_OK != status) {
        free(pinned);
        return refuse(s, ucs_status_string(status));
    }
    status = ucp_rkey_pack(s->context, pinned->memory, &key, &length);
    if (UCS_OK != status || CRDMA_KEY_MAX < length) {
        (void)ucp_mem_unmap(s->context, pinned->memory);
        if (UCS_OK == status) {
            ucp_rkey_buffer_release(key);
        }
        free(pinned);
        return refuse(s, UCS_OK != status ? ucs_status_string(status) : "its key is too long");
    }
    s->gpu_tried = s->gpu_works = true;
    memcpy(pinned->key, key, length);
    pinned->key_length = (uint32_t)length;
    ucp_rkey_buffer_release(key);
    *handle = pinned;
    return CRDMA_OK;
}

static void gpu_leave(void *context, void *handle)
{
    crdma_ucp_state_t *s = context;
    pinned_t *pinned = handle;

    (void)ucp_mem_unmap(s->context, pinned->memory);
    free(pinned);
}

void crdma_ucp_gpu_open(crdma_ucp_state_t *s)
{
    const crdma_gpucache_ops_t ops = {.enter = gpu_enter, .leave = gpu_leave, .context = s};
    ucp_context_attr_t attr = {.field_mask = UCP_ATTR_FIELD_MEMORY_TYPES};

    s->gpu = NULL;
    s->gpu_tried = s->gpu_works = false;
    if (!s->wire && UCS_OK == ucp_context_query(s->context, &attr) &&
        0 != (attr.memory_types & UCS_BIT(UCS_MEMORY_TYPE_CUDA))) {
        (void)crdma_gpucache_create(&ops, &s->gpu); /* without one there is none to reach */
    }
}

void crdma_ucp_gpu_close(crdma_ucp_state_t *s)
{
    crdma_gpucache_destroy(s->gpu);
    s->gpu = NULL;
}

bool crdma_ucp_device_possible(void)
{
    const crdma_ucp_state_t *s = &crdma_ucp_state;

    return s->open && NULL != s->gpu && (s->gpu_works || !s->gpu_tried);
}

crdma_status_t crdma_ucp_device_enter(const crdma_peer_t *peer, const void *address, size_t len,
                                      void **handle)
{
    crdma_ucp_state_t *s = &crdma_ucp_state;
    const crdma_ucp_endpoint_t *e = peer->endpoint;
    crdma_gpu_registration_t *memory;
    crdma_status_t rc = CRDMA_ERR_UNSUPPORTED;

    pthread_mutex_lock(&s->lock);
    /* Both sides of an endpoint have the same lanes, so both see a real remote write or none. */
    if (s->open && NULL != s->gpu && !s->only_messages && e->settled && !e->emulated) {
        rc = crdma_gpucache_get(s->gpu, address, len, &memory);
    }
    if (CRDMA_OK == rc) {
        *handle = memory;
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

void crdma_ucp_device_leave(void *handle)
{
    crdma_ucp_state_t *s = &crdma_ucp_state;

    pthread_mutex_lock(&s->lock);
    if (s->open) { /* closing has given everything back */
        crdma_gpucache_put(s->gpu, handle);
    }
    pthread_mutex_unlock(&s->lock);
}

bool crdma_ucp_gpu_expose(const void *address, crdma_exposed_t *exposed)
{
    const crdma_gpu_registration_t *r = crdma_gpucache_find(crdma_ucp_state.gpu, address);
    const pinned_t *pinned = NULL == r ? NULL : r->handle;

    if (NULL != pinned) {
        exposed->address = (uint64_t)(uintptr_t)address;
        exposed->key_length = pinned->key_length;
        memcpy(exposed->key, pinned->key, pinned->key_length);
    }
    return NULL != pinned;
}

void crdma_ucp_gpu_local(const void *address, ucp_request_param_t *param)
{
    if (NULL != crdma_gpucache_find(crdma_ucp_state.gpu, address)) {
        param->op_attr_mask |= UCP_OP_ATTR_FIELD_MEMORY_TYPE;
        param->memory_type = UCS_MEMORY_TYPE_CUDA;
    }
}
