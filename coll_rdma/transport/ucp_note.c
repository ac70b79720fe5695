/*
 * Notes: a few bytes to an attached process, for another transport that needs to tell it something
 * before its own connection exists.
 *
 * A note travels as an active message and waits at the receiver until somebody takes it. So
 * nothing above is ever called from a callback of UCX, and the taker may hold locks of its own.
 * Notes arrive once or, if the peer fails, not at all; nobody may rely on their order.
 */
#include "coll_rdma/transport/ucp_internal.h"

#include <stdlib.h>
#include <string.h>

#include "coll_rdma/base/log.h"

struct crdma_ucp_note {
    crdma_ucp_note_t *next;
    size_t length;
    uint8_t bytes[];
};

ucs_status_t crdma_ucp_note_receive(void *arg, const void *header, size_t header_length, void *data,
                                    size_t length, const ucp_am_recv_param_t *param)
{
    crdma_ucp_state_t *s = &crdma_ucp_state;
    crdma_ucp_note_t **last = &s->notes, *note;

    (void)arg;
    (void)header;
    (void)header_length;
    if (0 != (param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) || CRDMA_UCP_NOTE_MAX < length) {
        crdma_log(CRDMA_LOG_ERROR, "dropped a note of %zu bytes over UCX", length);
        return UCS_OK;
    }
    note = malloc(sizeof(*note) + length);
    if (NULL == note) {
        crdma_log(CRDMA_LOG_ERROR, "no memory to receive a note over UCX");
        return UCS_OK;
    }
    note->next = NULL;
    note->length = length;
    memcpy(note->bytes, data, length);
    while (NULL != *last) {
        last = &(*last)->next;
    }
    *last = note;
    return UCS_OK;
}

static void on_sent(void *request, ucs_status_t status, void *arg)
{
    (void)status; /* a peer that cannot be told is noticed by its endpoint */
    ucp_request_free(request);
    free(arg);
}

crdma_status_t crdma_ucp_note_send(crdma_peer_t *peer, const void *bytes, size_t len)
{
    crdma_ucp_state_t *s = &crdma_ucp_state;
    crdma_ucp_endpoint_t *e = peer->endpoint;
    void *copy = malloc(len);
    ucp_request_param_t param = {.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK |
                                                 UCP_OP_ATTR_FIELD_USER_DATA |
                                                 UCP_OP_ATTR_FIELD_FLAGS,
                                 .flags = UCP_AM_SEND_FLAG_EAGER,
                                 .cb.send = on_sent,
                                 .user_data = copy};
    crdma_status_t rc = CRDMA_ERR_TRANSPORT;
    ucs_status_ptr_t request;

    if (NULL == copy) {
        return CRDMA_ERR_NOMEM;
    }
    memcpy(copy, bytes, len);
    pthread_mutex_lock(&s->lock);
    if (s->open) {
        rc = crdma_ucp_connect(e);
    }
    if (CRDMA_OK == rc) {
        request = ucp_am_send_nbx(e->ep, CRDMA_UCP_NOTE_ID, NULL, 0, copy, len, &param);
        if (UCS_PTR_IS_PTR(request)) {
            copy = NULL; /* on_sent's */
        } else {
            rc = crdma_ucp_status(e, UCS_PTR_STATUS(request));
        }
    }
    pthread_mutex_unlock(&s->lock);
    free(copy);
    return rc;
}

size_t crdma_ucp_note_take(void *bytes, size_t room)
{
    crdma_ucp_state_t *s = &crdma_ucp_state;
    crdma_ucp_note_t *note;
    size_t length = 0;

    if (NULL == __atomic_load_n(&s->notes, __ATOMIC_RELAXED)) {
        return 0;
    }
    pthread_mutex_lock(&s->lock);
    note = s->notes;
    if (NULL != note) {
        s->notes = note->next;
        length = note->length < room ? note->length : room;
        memcpy(bytes, note->bytes, length);
    }
    pthread_mutex_unlock(&s->lock);
    free(note);
    return length;
}

void crdma_ucp_notes_release(void)
{
    crdma_ucp_state_t *s = &crdma_ucp_state;

    while (NULL != s->notes) {
        crdma_ucp_note_t *note = s->notes;

        s->notes = note->next;
        free(note);
    }
}
