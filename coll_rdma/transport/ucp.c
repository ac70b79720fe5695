/*
 * The process's side of UCP: one context, one worker, one registration of the slab,
 * one card that lets others reach it.
 *
 * Card (native byte order: the magic tells): crdma_ucp_card_t, then the worker's address, then
 * the packed key of the slab.
 */
#include "coll_rdma/transport/ucp_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "coll_rdma/base/log.h"
#include "coll_rdma/transport/shm.h"
#include "coll_rdma/transport/ucp_card.h"

crdma_ucp_order_t crdma_ucp_force_order = CRDMA_UCP_ORDER_AUTO;

crdma_ucp_state_t crdma_ucp_state = {.lock = PTHREAD_MUTEX_INITIALIZER,
                                     .description = "UCX is not open"};

static crdma_status_t report(const char *what, ucs_status_t status)
{
    crdma_log(CRDMA_LOG_SETUP, "UCX cannot be used: %s: %s", what, ucs_status_string(status));
    switch (status) {
    case UCS_ERR_NO_MEMORY:
        return CRDMA_ERR_NOMEM;
    case UCS_ERR_UNSUPPORTED:
        return CRDMA_ERR_UNSUPPORTED;
    default:
        return CRDMA_ERR_TRANSPORT;
    }
}

static crdma_status_t open_context(crdma_ucp_state_t *s)
{
    ucp_params_t params = {.field_mask = UCP_PARAM_FIELD_FEATURES |
                                         UCP_PARAM_FIELD_MT_WORKERS_SHARED | UCP_PARAM_FIELD_NAME,
                           .features = UCP_FEATURE_RMA | UCP_FEATURE_AM,
                           .mt_workers_shared = 1,
                           .name = "coll_rdma"};
    unsigned major, minor, release;
    int protocols = 0;
    crdma_status_t rc;
    ucp_config_t *config;
    ucs_status_t status;

    ucp_get_version(&major, &minor, &release);
    if (UCP_API_MAJOR != major || 12 > minor) {
        crdma_log(
            CRDMA_LOG_ERROR,
            "UCX cannot be used: version %u.%u.%u was found, built with %d.%d, at least 1.12 is "
            "needed",
            major, minor, release, UCP_API_MAJOR, UCP_API_MINOR);
        return CRDMA_ERR_UNSUPPORTED;
    }
    status = ucp_config_read(NULL, NULL, &config);
    if (UCS_OK != status) {
        return report("its configuration", status);
    }
    if (s->wire) {
        char tls[16];

        crdma_ucp_option_get(config, "TLS", tls, sizeof(tls));
        if (0 == strcmp(tls, "all")) { /* the default: the user has no wish */
            (void)crdma_ucp_option_set(config, "TLS", "tcp,self");
        }
    }
    rc = crdma_ucp_order_configure(config, major, minor, &s->order, &protocols);
    if (CRDMA_OK == rc) {
        status = ucp_init(&params, config, &s->context);
        rc = UCS_OK == status ? CRDMA_OK : report("no usable device", status);
    }
    ucp_config_release(config);
    s->use_messages = CRDMA_UCP_ORDER_AUTO == crdma_ucp_force_order ||
                      CRDMA_UCP_ORDER_MESSAGE == crdma_ucp_force_order;
    s->only_messages = CRDMA_UCP_ORDER_MESSAGE == crdma_ucp_force_order;
    snprintf(s->description, sizeof(s->description), "UCX %u.%u.%u, protocols v%d, order %s%s",
             major, minor, release, protocols, crdma_ucp_order_name(s->order),
             s->use_messages ? " or message" : "");
    return rc;
}

static crdma_status_t open_worker(crdma_ucp_state_t *s)
{
    ucp_worker_params_t params = {.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE,
                                  .thread_mode = UCS_THREAD_MODE_SERIALIZED};
    ucp_am_handler_param_t handler = {.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID |
                                                    UCP_AM_HANDLER_PARAM_FIELD_CB,
                                      .id = CRDMA_UCP_MESSAGE_ID,
                                      .cb = crdma_ucp_message_receive};
    ucp_am_handler_param_t note_handler = {.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID |
                                                         UCP_AM_HANDLER_PARAM_FIELD_CB,
                                           .id = CRDMA_UCP_NOTE_ID,
                                           .cb = crdma_ucp_note_receive};
    ucs_status_t status = ucp_worker_create(s->context, &params, &s->worker);

    if (UCS_OK != status) {
        return report("its worker", status);
    }
    status = ucp_worker_set_am_recv_handler(s->worker, &handler);
    if (UCS_OK == status) {
        status = ucp_worker_set_am_recv_handler(s->worker, &note_handler);
    }
    if (UCS_OK != status) {
        ucp_worker_destroy(s->worker);
        return report("its active messages", status);
    }
    return CRDMA_OK;
}

static crdma_status_t register_slab(crdma_ucp_state_t *s)
{
    ucp_mem_map_params_t params = {.field_mask = UCP_MEM_MAP_PARAM_FIELD_ADDRESS |
                                                 UCP_MEM_MAP_PARAM_FIELD_LENGTH |
                                                 UCP_MEM_MAP_PARAM_FIELD_MEMORY_TYPE,
                                   .address = s->slab->base,
                                   .length = s->slab->size,
                                   .memory_type = UCS_MEMORY_TYPE_HOST};
    ucs_status_t status = ucp_mem_map(s->context, &params, &s->slab_memory);

    return UCS_OK == status ? CRDMA_OK : report("registering the preregistered memory", status);
}

/* Without the key if the slab is not registered. */
static crdma_status_t make_card(crdma_ucp_state_t *s)
{
    crdma_status_t rc = CRDMA_ERR_NOMEM;
    crdma_ucp_card_t card = {.magic = CRDMA_UCP_CARD_MAGIC};
    crdma_shm_card_t here;
    ucp_address_t *address;
    size_t address_length, key_length = 0;
    void *key = NULL, *made;
    ucs_status_t status;

    status = ucp_worker_get_address(s->worker, &address, &address_length);
    if (UCS_OK != status) {
        return report("its address", status);
    }
    if (!s->wire) {
        status = ucp_rkey_pack(s->context, s->slab_memory, &key, &key_length);
    }
    if (UCS_OK != status) {
        rc = report("the key of the preregistered memory", status);
        goto release_address;
    }
    crdma_shm_card_fill(s->slab, &here);
    card.host = here.host;
    card.pid = here.pid;
    card.cookie = s->slab->cookie;
    card.base = (uint64_t)(uintptr_t)s->slab->base;
    card.size = s->slab->size;
    card.address_length = (uint32_t)address_length;
    card.key_length = (uint32_t)key_length;

    made = malloc(sizeof(card) + address_length + key_length);
    if (NULL != made) {
        memcpy(made, &card, sizeof(card));
        memcpy((char *)made + sizeof(card), address, address_length);
        if (NULL != key) {
            memcpy((char *)made + sizeof(card) + address_length, key, key_length);
        }
        free(s->card);
        s->card = made;
        s->card_length = sizeof(card) + address_length + key_length;
        rc = CRDMA_OK;
    }
    if (NULL != key) {
        ucp_rkey_buffer_release(key);
    }
release_address:
    ucp_worker_release_address(s->worker, address);
    return rc;
}

static crdma_status_t open_locked(crdma_ucp_state_t *s, crdma_slab_t *slab, bool wire)
{
    crdma_status_t rc;

    s->slab = slab;
    s->wire = wire;
    s->notes = NULL;
    s->todo_first = NULL;
    s->todo_last = &s->todo_first;
    s->reap = false;
    s->landings = NULL;
    s->exposures = NULL;
    rc = open_context(s);
    if (CRDMA_OK != rc) {
        return rc;
    }
    rc = open_worker(s);
    if (CRDMA_OK != rc) {
        goto cleanup_context;
    }
    rc = s->wire ? CRDMA_OK : register_slab(s);
    if (CRDMA_OK != rc) {
        goto destroy_worker;
    }
    rc = make_card(s);
    if (CRDMA_OK != rc) {
        goto unmap;
    }
    s->open = true;
    crdma_ucp_gpu_open(s);
    crdma_log(CRDMA_LOG_SETUP, "%s%s", s->description, wire ? ", for notes only" : "");
    return CRDMA_OK;

unmap:
    if (!s->wire) {
        (void)ucp_mem_unmap(s->context, s->slab_memory);
    }
destroy_worker:
    ucp_worker_destroy(s->worker);
cleanup_context:
    ucp_cleanup(s->context);
    return rc;
}

crdma_status_t crdma_ucp_card(const void **card, size_t *len)
{
    if (!crdma_ucp_state.open) {
        return CRDMA_ERR_TRANSPORT;
    }
    *card = crdma_ucp_state.card;
    *len = crdma_ucp_state.card_length;
    return CRDMA_OK;
}

const char *crdma_ucp_describe(void)
{
    return crdma_ucp_state.description;
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Wait until everything that was put has been taken, or its target has failed, or the time is
 * up: a peer that neither dies nor makes progress must not keep us. */
static void drain(crdma_ucp_state_t *s)
{
    const double limit = now() + 1.0; /* s; peers that are alive answer within their next poll */
    crdma_tx_t tx = {0};
    double check = 0;

    for (crdma_ucp_endpoint_t *e = s->endpoints; NULL != e; e = e->next) {
        if (NULL != e->ep && !e->failed) {
            crdma_ucp_drain(e, &tx);
        }
    }
    while (0 < __atomic_load_n(&tx.pending, __ATOMIC_ACQUIRE)) {
        double t = now();

        if (t > limit) {
            crdma_log(CRDMA_LOG_SETUP, "UCX: %d peers did not answer while closing", tx.pending);
            break;
        }
        if (t > check) {
            crdma_ucp_endpoints_check();
            check = t + 0.01;
        }
        if (0 == ucp_worker_progress(s->worker)) {
            usleep(50);
        }
        crdma_ucp_todo_run();
    }
    /* The records outlive this function: none may name tx any more. */
    for (crdma_ucp_endpoint_t *e = s->endpoints; NULL != e; e = e->next) {
        for (crdma_ucp_op_t *op = e->inflight; NULL != op; op = op->next) {
            crdma_ucp_tx_finish(op, CRDMA_ERR_PEER);
        }
    }
}

static void close_locked(crdma_ucp_state_t *s)
{
    drain(s);
    crdma_ucp_endpoints_close();
    crdma_ucp_exposures_release();
    crdma_ucp_gpu_close(s);
    crdma_ucp_notes_release();
    if (!s->wire) {
        (void)ucp_mem_unmap(s->context, s->slab_memory);
    }
    ucp_worker_destroy(s->worker);
    ucp_cleanup(s->context);
    crdma_ucp_ops_release();
    free(s->card);
    s->card = NULL;
    s->open = false;
}

/* Opened for notes, and now wanted whole. While nobody is attached it starts anew, with all the
 * transports that UCX has; else the connections must stay, and so must their transports. */
static crdma_status_t upgrade(crdma_ucp_state_t *s, crdma_slab_t *slab)
{
    crdma_status_t rc;

    if (NULL == s->endpoints) {
        close_locked(s);
        return open_locked(s, slab, false);
    }
    rc = register_slab(s);
    if (CRDMA_OK == rc) {
        s->wire = false;
        crdma_ucp_gpu_open(s);
        rc = make_card(s);
    }
    return rc;
}

crdma_status_t crdma_ucp_open(crdma_slab_t *slab)
{
    crdma_ucp_state_t *s = &crdma_ucp_state;
    crdma_status_t rc = CRDMA_OK;

    pthread_mutex_lock(&s->lock);
    if (!s->open) {
        rc = open_locked(s, slab, false);
    } else if (s->wire) {
        rc = upgrade(s, slab);
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

crdma_status_t crdma_ucp_open_wire(crdma_slab_t *slab)
{
    crdma_ucp_state_t *s = &crdma_ucp_state;
    crdma_status_t rc = CRDMA_OK;

    pthread_mutex_lock(&s->lock);
    if (!s->open) {
        rc = open_locked(s, slab, true);
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

void crdma_ucp_close(void)
{
    crdma_ucp_state_t *s = &crdma_ucp_state;

    pthread_mutex_lock(&s->lock);
    if (s->open) {
        close_locked(s);
    }
    pthread_mutex_unlock(&s->lock);
}
