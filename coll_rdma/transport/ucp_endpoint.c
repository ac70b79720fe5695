/*
 * One peer process as UCP sees it.
 *
 * Connection is made by the first operation, and endpoints are kept, detached or not, until UCP is
 * closed: a process that is met again (the next communicator) costs nothing, and no peer ever
 * sees a connection close under it while the job runs.
 *
 * Error handling: every endpoint asks for UCP_ERR_HANDLING_MODE_PEER, so that a killed peer ends
 * pending operations with an error and the endpoint can be closed by force. Without it a
 * close would wait for the dead, forever. UCX then refuses transports that do not claim to notice a
 * dead peer; ucp_order.c makes shared memory claim it. If no transport is left
 * nevertheless, the endpoint falls back to no error handling.
 *
 * Keys: unpacking costs microseconds, rendezvous brings the same buffers again and again, so
 * unpacked keys are kept per endpoint, found by their packed bytes. That is safe when the
 * peer has meanwhile released the memory and registered other memory: an unpacked key holds nothing
 * but what unpacking reads out of those bytes (the device's key number) or, where a transport
 * attaches the peer's memory, a mapping which the kernel keeps in step (xpmem; the
 * segments of posix and sysv come only with memory that UCX itself allocated, which we never
 * expose). Equal bytes would be unpacked to an equal key; whether the key is still valid at the
 * peer is decided at the peer, at each access. The address is not part of it.
 */
#define _GNU_SOURCE
#include "coll_rdma/transport/ucp_internal.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "coll_rdma/base/log.h"
#include "coll_rdma/transport/shm.h"
#include "coll_rdma/transport/ucp_card.h"

enum {
    MAX_RKEYS = 64,  /* kept per endpoint beyond those in use */
    KEY_DOMAINS = 9, /* a packed key starts with its memory domains (8 bytes) and memory type */
    CLOSE_TIME_MS = 500
};

/* Transports in which the network stores what we put; all others need the peer's CPU. An
 * unknown one is taken for the latter, which is right and merely slower. */
static const char *const one_sided[] = {"rc_", "dc_", "srd", "gga", "ugni_rdma", "xpmem"};

static bool process_gone(const crdma_ucp_endpoint_t *e)
{
    return 0 != e->pid && 0 != kill(e->pid, 0) && ESRCH == errno;
}

void crdma_ucp_endpoint_fail(crdma_ucp_endpoint_t *e)
{
    if (!e->failed) {
        e->failed = true;
        crdma_ucp_state.reap = true;
        for (crdma_ucp_op_t *op = e->inflight; NULL != op; op = op->next) {
            crdma_ucp_tx_finish(op, CRDMA_ERR_PEER);
        }
    }
}

static void on_failure(void *arg, ucp_ep_h ep, ucs_status_t status)
{
    crdma_ucp_endpoint_t *e = arg;

    (void)ep;
    if (!e->failed) {
        crdma_log(CRDMA_LOG_SETUP, "UCX lost a peer: %s", ucs_status_string(status));
        crdma_ucp_endpoint_fail(e);
    }
}

static crdma_status_t create(crdma_ucp_endpoint_t *e, ucp_err_handling_mode_t mode)
{
    ucp_ep_params_t params = {.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS |
                                            UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE |
                                            UCP_EP_PARAM_FIELD_ERR_HANDLER,
                              .address = (const ucp_address_t *)e->bytes,
                              .err_mode = mode,
                              .err_handler = {.cb = on_failure, .arg = e}};
    ucs_status_t status = ucp_ep_create(crdma_ucp_state.worker, &params, &e->ep);

    if (UCS_OK != status) {
        e->ep = NULL;
        crdma_log(UCP_ERR_HANDLING_MODE_NONE == mode ? CRDMA_LOG_ERROR : CRDMA_LOG_SETUP,
                  "UCX cannot reach a peer%s: %s",
                  UCP_ERR_HANDLING_MODE_NONE == mode ? "" : " with error handling",
                  ucs_status_string(status));
        return CRDMA_ERR_TRANSPORT;
    }
    e->closable = UCP_ERR_HANDLING_MODE_PEER == mode;
    return CRDMA_OK;
}

crdma_status_t crdma_ucp_connect(crdma_ucp_endpoint_t *e)
{
    crdma_status_t rc;
    ucs_status_t status;

    if (e->failed) {
        return CRDMA_ERR_PEER;
    }
    if (NULL != e->ep) {
        return CRDMA_OK;
    }
    rc = create(e, UCP_ERR_HANDLING_MODE_PEER);
    if (CRDMA_OK != rc) {
        rc = create(e, UCP_ERR_HANDLING_MODE_NONE);
    }
    if (CRDMA_OK != rc) {
        return rc;
    }
    if (0 == e->key_length) {
        return CRDMA_OK; /* for notes only */
    }
    status = ucp_ep_rkey_unpack(e->ep, e->bytes + e->address_length, &e->slab_rkey);
    if (UCS_OK != status) {
        crdma_log(CRDMA_LOG_ERROR, "UCX cannot use a peer's key: %s", ucs_status_string(status));
        e->slab_rkey = NULL;
        crdma_ucp_endpoint_fail(e);
        return CRDMA_ERR_TRANSPORT;
    }
    return CRDMA_OK;
}

/* Read off UCX's description of the endpoint which transports carry it. */
void crdma_ucp_endpoint_settled(crdma_ucp_endpoint_t *e)
{
    char *text = NULL, *line, *rest, transport[32];
    size_t length = 0;
    FILE *stream = open_memstream(&text, &length);

    e->settled = true;
    if (NULL == stream) {
        return;
    }
    ucp_ep_print_info(e->ep, stream);
    fclose(stream);
    e->emulated = true;
    for (line = strtok_r(text, "\n", &rest); NULL != line; line = strtok_r(NULL, "\n", &rest)) {
        char *lane = strstr(line, "lane[");

        if (NULL == lane || 1 != sscanf(lane, "lane[%*d]: %*d:%31[^/]", transport)) {
            continue;
        }
        crdma_log(CRDMA_LOG_SETUP, "UCX endpoint: %s", lane);
        for (size_t i = 0; i < sizeof(one_sided) / sizeof(one_sided[0]); ++i) {
            if (0 == strncmp(transport, one_sided[i], strlen(one_sided[i]))) {
                e->emulated = false;
            }
        }
    }
    free(text);
}

static void rkey_destroy(crdma_ucp_rkey_t *rkey)
{
    ucp_rkey_destroy(rkey->handle);
    free(rkey);
}

/* Forget the key that was not used for longest, if there is one that nobody uses now. */
static void rkey_evict(crdma_ucp_endpoint_t *e)
{
    crdma_ucp_rkey_t **victim = NULL;

    for (crdma_ucp_rkey_t **r = &e->rkeys; NULL != *r; r = &(*r)->next) {
        if (0 == (*r)->users) {
            victim = r;
        }
    }
    if (NULL != victim) {
        crdma_ucp_rkey_t *rkey = *victim;

        *victim = rkey->next;
        rkey_destroy(rkey);
        --e->nrkeys;
    }
}

crdma_status_t crdma_ucp_rkey_get(crdma_ucp_endpoint_t *e, const crdma_exposed_t *exposed,
                                  crdma_ucp_rkey_t **out)
{
    crdma_ucp_rkey_t *rkey;
    ucs_status_t status;

    if (CRDMA_KEY_MAX < exposed->key_length || KEY_DOMAINS > exposed->key_length) {
        return CRDMA_ERR_PARAM;
    }
    for (crdma_ucp_rkey_t **r = &e->rkeys; NULL != *r; r = &(*r)->next) {
        rkey = *r;
        if (rkey->length == exposed->key_length &&
            0 == memcmp(rkey->bytes, exposed->key, rkey->length)) {
            *r = rkey->next;
            goto found;
        }
    }
    if (MAX_RKEYS <= e->nrkeys) {
        rkey_evict(e);
    }
    rkey = malloc(sizeof(*rkey) + exposed->key_length);
    if (NULL == rkey) {
        return CRDMA_ERR_NOMEM;
    }
    status = ucp_ep_rkey_unpack(e->ep, exposed->key, &rkey->handle);
    if (UCS_OK != status) {
        free(rkey);
        return crdma_ucp_status(e, status);
    }
    rkey->users = 0;
    rkey->length = exposed->key_length;
    memcpy(rkey->bytes, exposed->key, rkey->length);
    rkey->slab_like = KEY_DOMAINS <= e->key_length &&
                      0 == memcmp(rkey->bytes, e->bytes + e->address_length, KEY_DOMAINS);
    ++e->nrkeys;
found:
    rkey->next = e->rkeys;
    e->rkeys = rkey;
    ++rkey->users;
    *out = rkey;
    return CRDMA_OK;
}

void crdma_ucp_rkey_put(crdma_ucp_rkey_t *rkey)
{
    --rkey->users;
}

crdma_status_t crdma_ucp_attach(crdma_peer_t *peer, const void *bytes, size_t len)
{
    crdma_ucp_state_t *s = &crdma_ucp_state;
    crdma_status_t rc = CRDMA_OK;
    crdma_shm_card_t here;
    crdma_ucp_endpoint_t *e;
    crdma_ucp_card_t card;
    size_t extra;

    if (sizeof(card) > len) {
        return CRDMA_ERR_PARAM;
    }
    memcpy(&card, bytes, sizeof(card));
    extra = (size_t)card.address_length + card.key_length;
    if (CRDMA_UCP_CARD_MAGIC != card.magic || sizeof(card) + extra > len) {
        return CRDMA_ERR_PARAM;
    }
    pthread_mutex_lock(&s->lock);
    if (!s->open) {
        rc = CRDMA_ERR_TRANSPORT;
        goto unlock;
    }
    /* One endpoint for a card with a key, and one for a card without: notes only. */
    for (e = s->endpoints;
         NULL != e &&
         (e->cookie != card.cookie || (0 == e->key_length) != (0 == card.key_length));
         e = e->next) {
    }
    if (NULL == e) {
        e = calloc(1, sizeof(*e) + extra);
        if (NULL == e) {
            rc = CRDMA_ERR_NOMEM;
            goto unlock;
        }
        crdma_shm_card_fill(s->slab, &here);
        e->cookie = card.cookie;
        e->base = card.base;
        e->size = card.size;
        e->pid = here.host == card.host ? card.pid : 0;
        e->address_length = card.address_length;
        e->key_length = card.key_length;
        memcpy(e->bytes, (const char *)bytes + sizeof(card), extra);
        e->next = s->endpoints;
        s->endpoints = e;
    }
    if (e->failed) {
        rc = CRDMA_ERR_PEER;
        goto unlock;
    }
    peer->cookie = card.cookie;
    peer->pid = e->pid;
    peer->transport = crdma_ucp_transport();
    peer->endpoint = e;
unlock:
    pthread_mutex_unlock(&s->lock);
    return rc;
}

void crdma_ucp_detach(crdma_peer_t *peer)
{
    peer->transport = NULL;
    peer->endpoint = NULL;
}

bool crdma_ucp_alive(const crdma_peer_t *peer)
{
    crdma_ucp_state_t *s = &crdma_ucp_state;
    crdma_ucp_endpoint_t *e = peer->endpoint;
    bool alive = false;

    pthread_mutex_lock(&s->lock);
    if (s->open && NULL != e) {
        if (!e->failed && process_gone(e)) {
            crdma_ucp_endpoint_fail(e);
        }
        alive = !e->failed;
    }
    pthread_mutex_unlock(&s->lock);
    return alive;
}

/* Fail the endpoints whose process on this host has ended. */
void crdma_ucp_endpoints_check(void)
{
    for (crdma_ucp_endpoint_t *e = crdma_ucp_state.endpoints; NULL != e; e = e->next) {
        if (!e->failed && process_gone(e)) {
            crdma_ucp_endpoint_fail(e);
        }
    }
}

/* Give UCX's side of an endpoint back without waiting for the peer. The request, if
 * there is one, is the caller's. */
static void *close_by_force(crdma_ucp_endpoint_t *e)
{
    ucp_request_param_t param = {.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS,
                                 .flags = UCP_EP_CLOSE_FLAG_FORCE};
    void *request = NULL;

    if (NULL != e->ep && e->closable) {
        request = ucp_ep_close_nbx(e->ep, &param);
        e->ep = NULL;
    }
    return UCS_PTR_IS_PTR(request) ? request : NULL;
}

void crdma_ucp_endpoints_reap(void)
{
    crdma_ucp_state.reap = false;
    for (crdma_ucp_endpoint_t *e = crdma_ucp_state.endpoints; NULL != e; e = e->next) {
        if (e->failed) {
            void *request = close_by_force(e);

            if (NULL != request) {
                ucp_request_free(request);
            }
        }
    }
}

/* Let UCX finish what closing has left to it: until `request` is done, or, if there is none, until
 * nothing has happened for a while. */
static void settle_down(void *request)
{
    const struct timespec pause = {0, 50000};
    int idle = 0;

    for (int i = 0; i < CLOSE_TIME_MS * 20; ++i) {
        if (NULL != request ? UCS_INPROGRESS != ucp_request_check_status(request) : 20 < idle) {
            break;
        }
        if (0 == ucp_worker_progress(crdma_ucp_state.worker)) {
            nanosleep(&pause, NULL);
            ++idle;
        }
    }
    if (NULL != request) {
        ucp_request_free(request);
    }
}

void crdma_ucp_endpoints_close(void)
{
    crdma_ucp_state_t *s = &crdma_ucp_state;

    for (crdma_ucp_endpoint_t *e = s->endpoints; NULL != e; e = e->next) {
        void *request = close_by_force(e);

        if (NULL != request) {
            settle_down(request);
        }
    }
    settle_down(NULL);
    while (NULL != s->endpoints) {
        crdma_ucp_endpoint_t *e = s->endpoints;

        s->endpoints = e->next;
        while (NULL != e->rkeys) {
            crdma_ucp_rkey_t *rkey = e->rkeys;

            e->rkeys = rkey->next;
            rkey_destroy(rkey);
        }
        if (NULL != e->slab_rkey) {
            ucp_rkey_destroy(e->slab_rkey);
        }
        free(e);
    }
}
