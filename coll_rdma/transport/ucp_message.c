/*
 * Puts as active messages, for endpoints without real remote writes (tcp, ud, shared memory that
 * UCX did not allocate): the target stores the payload, then the flag.
 *
 * UCX emulates a put there by active messages of a few KB, and has each of them acknowledged by
 * another. Payload and flag in one message need no order between messages, no acknowledgement and
 * no fence. Long ones go by UCX's rendezvous straight into their destination.
 *
 * The target stores nothing outside its slab and the user buffers that it has exposed, so a
 * message that comes late or wrong cannot hit other memory.
 */
#include "coll_rdma/transport/ucp_internal.h"

#include <stdlib.h>
#include <string.h>

#include "coll_rdma/base/log.h"

enum {
    /* Longest message that is sent at once, bytes. One way over tcp inside one host, UCX 1.13,
     * eager against rendezvous: 16 KB 13 against 25 us, 64 KB 30 against 36, 256 KB 119 against
     * 150, 1 MB equal within the noise; and eager needs memory for a copy at the target. */
    EAGER_MAX = 262144,
    WORDWISE_MAX = 256 /* bytes that are stored word by word, so that each word is seen whole */
};

/* A long message whose payload is being fetched. */
typedef struct landing {
    struct landing *next;
    void *data; /* UCX's descriptor */
    void *target;
    size_t length;
    crdma_addr_t flag_dst;
    uint64_t flag;
} landing_t;

struct crdma_ucp_exposure {
    crdma_ucp_exposure_t *next;
    uint64_t address;
    size_t length;
    ucp_mem_h memory;
};

bool crdma_ucp_by_message(const crdma_ucp_endpoint_t *e)
{
    const crdma_ucp_state_t *s = &crdma_ucp_state;

    return s->only_messages ||
           (s->use_messages && e->settled && e->emulated && 0 == e->deferred);
}

crdma_status_t crdma_ucp_issue_message(crdma_ucp_op_t *op, const void *src, size_t len)
{
    ucp_request_param_t param = crdma_ucp_callback(op, crdma_ucp_on_source);
    ucs_status_ptr_t request;

    param.op_attr_mask |= UCP_OP_ATTR_FIELD_FLAGS;
    param.flags = EAGER_MAX >= len ? UCP_AM_SEND_FLAG_EAGER : UCP_AM_SEND_FLAG_RNDV;
    request = ucp_am_send_nbx(op->endpoint->ep, CRDMA_UCP_MESSAGE_ID, &op->message,
                              sizeof(op->message), src, len, &param);
    op->source_busy = UCS_PTR_IS_PTR(request);
    op->endpoint->messages = true;
    return crdma_ucp_started(op, request);
}

/* Where the payload belongs, or NULL if that is not ours to write. */
static void *find_target(const crdma_ucp_message_t *m, size_t length)
{
    const crdma_ucp_state_t *s = &crdma_ucp_state;
    const uint64_t size = s->slab->size;

    if (m->flag_dst > size - sizeof(m->flag) || 0 != m->flag_dst % sizeof(m->flag)) {
        return NULL;
    }
    if (!m->to_user) {
        return m->dst <= size && length <= size - m->dst ? crdma_slab_at(s->slab, m->dst) : NULL;
    }
    for (const crdma_ucp_exposure_t *x = s->exposures; NULL != x; x = x->next) {
        if (m->dst >= x->address && m->dst - x->address <= x->length &&
            length <= x->length - (m->dst - x->address)) {
            return (void *)(uintptr_t)m->dst;
        }
    }
    return NULL;
}

/* Pairs with the acquiring load by whoever polls the flag. */
static void store_flag(crdma_addr_t dst, uint64_t flag)
{
    if (0 != dst) {
        __atomic_store_n((uint64_t *)crdma_slab_at(crdma_ucp_state.slab, dst), flag,
                         __ATOMIC_RELEASE);
    }
}

static void store_payload(void *target, const void *data, size_t length)
{
    if (0 != (uintptr_t)target % 8 || 0 != length % 8 || WORDWISE_MAX < length) {
        memcpy(target, data, length);
        return;
    }
    for (size_t i = 0; i < length / 8; ++i) {
        uint64_t word;

        memcpy(&word, (const char *)data + 8 * i, 8);
        __atomic_store_n((uint64_t *)target + i, word, __ATOMIC_RELAXED);
    }
}

ucs_status_t crdma_ucp_message_receive(void *arg, const void *header, size_t header_length,
                                       void *data, size_t length, const ucp_am_recv_param_t *param)
{
    crdma_ucp_state_t *s = &crdma_ucp_state;
    crdma_ucp_message_t m;
    landing_t *landing;
    void *target = NULL;

    (void)arg;
    if (sizeof(m) == header_length) {
        memcpy(&m, header, sizeof(m));
        target = find_target(&m, length);
    }
    if (NULL == target) {
        crdma_log(CRDMA_LOG_ERROR, "dropped a message over UCX that names memory not open to it");
        return UCS_OK;
    }
    if (0 == (param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV)) {
        store_payload(target, data, length);
        store_flag(m.flag_dst, m.flag);
        return UCS_OK;
    }
    landing = malloc(sizeof(*landing));
    if (NULL == landing) {
        crdma_log(CRDMA_LOG_ERROR, "no memory to receive a message over UCX");
        return UCS_ERR_NO_MEMORY;
    }
    *landing = (landing_t){.next = s->landings,
                           .data = data,
                           .target = target,
                           .length = length,
                           .flag_dst = m.flag_dst,
                           .flag = m.flag};
    s->landings = landing;
    return UCS_INPROGRESS; /* keeps `data` for crdma_ucp_landings_run */
}

static void landed(landing_t *landing, ucs_status_t status)
{
    if (UCS_OK == status) {
        store_flag(landing->flag_dst, landing->flag);
    } else {
        crdma_log(CRDMA_LOG_SETUP, "UCX could not fetch a message: %s", ucs_status_string(status));
    }
    free(landing);
}

static void on_landed(void *request, ucs_status_t status, size_t length, void *arg)
{
    (void)length;
    ucp_request_free(request);
    landed(arg, status);
}

/* Start to fetch what has been announced. Their order does not matter: each has its own flag. */
void crdma_ucp_landings_run(void)
{
    crdma_ucp_state_t *s = &crdma_ucp_state;

    while (NULL != s->landings) {
        landing_t *landing = s->landings;
        ucp_request_param_t param = {.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK |
                                                     UCP_OP_ATTR_FIELD_USER_DATA |
                                                     UCP_OP_ATTR_FLAG_NO_IMM_CMPL,
                                     .cb.recv_am = on_landed,
                                     .user_data = landing};
        ucs_status_ptr_t request;

        s->landings = landing->next;
        request = ucp_am_recv_data_nbx(s->worker, landing->data, landing->target, landing->length,
                                       &param);
        if (!UCS_PTR_IS_PTR(request)) {
            landed(landing, UCS_PTR_STATUS(request));
        }
    }
}

/* UCX keeps registrations in its own cache and drops them when the application gives the memory
 * back; a handle of ours lives as long as one operation. */
crdma_status_t crdma_ucp_expose(void *address, size_t len, crdma_exposed_t *exposed, void **handle)
{
    crdma_ucp_state_t *s = &crdma_ucp_state;
    ucp_mem_map_params_t params = {.field_mask = UCP_MEM_MAP_PARAM_FIELD_ADDRESS |
                                                 UCP_MEM_MAP_PARAM_FIELD_LENGTH,
                                   .address = address,
                                   .length = len};
    crdma_ucp_exposure_t *exposure = NULL;
    crdma_status_t rc = CRDMA_ERR_TRANSPORT;
    ucp_mem_h memory;
    size_t key_length;
    ucs_status_t status;
    void *key;

    pthread_mutex_lock(&s->lock);
    if (!s->open) {
        goto unlock;
    }
    if (crdma_ucp_gpu_expose(address, exposed)) {
        *handle = NULL;
        rc = CRDMA_OK;
        goto unlock;
    }
    status = ucp_mem_map(s->context, &params, &memory);
    if (UCS_OK != status) {
        rc = crdma_ucp_status(NULL, status);
        goto unlock;
    }
    status = ucp_rkey_pack(s->context, memory, &key, &key_length);
    if (UCS_OK != status) {
        rc = crdma_ucp_status(NULL, status);
        goto unmap;
    }
    if (CRDMA_KEY_MAX < key_length) {
        crdma_log(CRDMA_LOG_ERROR, "a UCX key of %zu bytes is longer than %d", key_length,
                  CRDMA_KEY_MAX);
        goto release_key;
    }
    exposure = malloc(sizeof(*exposure));
    if (NULL == exposure) {
        rc = CRDMA_ERR_NOMEM;
        goto release_key;
    }
    exposed->address = (uint64_t)(uintptr_t)address;
    exposed->key_length = (uint32_t)key_length;
    memcpy(exposed->key, key, key_length);
    *exposure = (crdma_ucp_exposure_t){
        .next = s->exposures, .address = exposed->address, .length = len, .memory = memory};
    s->exposures = exposure;
    *handle = exposure;
    rc = CRDMA_OK;

release_key:
    ucp_rkey_buffer_release(key);
unmap:
    if (CRDMA_OK != rc) {
        (void)ucp_mem_unmap(s->context, memory);
    }
unlock:
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static void release(crdma_ucp_exposure_t **link)
{
    crdma_ucp_exposure_t *exposure = *link;

    *link = exposure->next;
    (void)ucp_mem_unmap(crdma_ucp_state.context, exposure->memory);
    free(exposure);
}

void crdma_ucp_conceal(void *handle)
{
    crdma_ucp_state_t *s = &crdma_ucp_state;

    pthread_mutex_lock(&s->lock);
    for (crdma_ucp_exposure_t **x = &s->exposures; NULL != *x; x = &(*x)->next) {
        if (handle == *x) {
            release(x);
            break;
        }
    }
    pthread_mutex_unlock(&s->lock);
}

/* At close: what nobody has concealed. Its handles are void from now on. */
void crdma_ucp_exposures_release(void)
{
    while (NULL != crdma_ucp_state.exposures) {
        release(&crdma_ucp_state.exposures);
    }
}
