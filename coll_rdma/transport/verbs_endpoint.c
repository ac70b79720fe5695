/*
 * One peer process: attaching it, and what happens when it is gone.
 *
 * A dead peer shows in three ways, and whichever is first counts: its process on this host has
 * ended or UCX's connection to it broke (a look at it, when somebody waits long); a work request ended
 * with an error (the device's retries are exhausted, which takes seconds, or an access was
 * refused); the device reported an error of the queue pair. A peer that closes normally says BYE: what is still
 * under way to it ends with the same status, but without a line for the user.
 */
#include "coll_rdma/transport/verbs_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "coll_rdma/base/log.h"
#include "coll_rdma/transport/ucp.h"

void crdma_verbs_endpoint_fail(crdma_verbs_endpoint_t *e, const char *why)
{
    if (e->failed) {
        return;
    }
    e->failed = true;
    if (NULL != why) {
        crdma_log(CRDMA_LOG_ERROR, "verbs: port %s lost process %d on %.32s (%016" PRIx64 "): %s",
                  crdma_verbs_state.port.name, (int)e->card.pid, e->card.host, e->card.cookie, why);
    }
    if (NULL != e->qp) {
        if (!crdma_verbs_is_ready(e)) {
            --crdma_verbs_state.connecting;
        }
        /* Synchronous: afterwards the device neither reads nor writes for it (invariant 4). */
        (void)ibv_destroy_qp(e->qp);
        (void)ibv_destroy_cq(e->cq);
        e->qp = NULL;
        e->cq = NULL;
    }
    crdma_verbs_cancel(e);
}

void crdma_verbs_endpoint_look(crdma_verbs_endpoint_t *e)
{
    if (e->failed) {
        return;
    }
    if (NULL != e->qp) {
        (void)crdma_verbs_poll(e);
    }
    if (!e->failed && !crdma_ucp_alive(&e->wire)) {
        crdma_verbs_endpoint_fail(e, e->left ? NULL : "the process has ended");
    }
}

crdma_verbs_endpoint_t *crdma_verbs_endpoint_find(uint64_t cookie)
{
    crdma_verbs_endpoint_t *e = crdma_verbs_state.endpoints;

    while (NULL != e && e->card.cookie != cookie) {
        e = e->next;
    }
    return e;
}

/* Why a queue pair between the two ports cannot work, or NULL. (Whether IP packets find their way is
 * not known before one was sent.) */
static const char *obstacle(const crdma_verbs_port_t *mine, const crdma_verbs_card_t *theirs)
{
    static const uint8_t zero[10];

    if (mine->attr.link_layer != theirs->link_layer) {
        return "one port is InfiniBand, the other Ethernet";
    }
    if (!mine->global) {
        return 0 == memcmp(mine->gid.raw, theirs->gid, 8) ? NULL
                                                          : "the ports are in different subnets";
    }
    if (mine->gid_type != theirs->gid_type) {
        return "the addresses (GID) are of different versions of RoCE";
    }
    if ((0 == memcmp(mine->gid.raw, zero, 10)) != (0 == memcmp(theirs->gid, zero, 10))) {
        return "one address (GID) is of IPv4, the other of IPv6";
    }
    return NULL;
}

static crdma_status_t create(const crdma_verbs_card_t *card, const void *wire_card, size_t wire_len,
                             crdma_verbs_endpoint_t **out)
{
    crdma_verbs_endpoint_t *e = calloc(1, sizeof(*e));
    crdma_status_t rc = CRDMA_ERR_NOMEM;

    if (NULL == e) {
        return rc;
    }
    e->card = *card;
    e->last = &e->first;
    e->nkeys = (int)((card->size + card->chunk_size - 1) / card->chunk_size);
    e->keys = calloc(CRDMA_VERBS_CHUNKS_MAX, sizeof(*e->keys));
    if (NULL != e->keys) {
        e->keys[0] = card->first_key;
        rc = crdma_ucp_attach(&e->wire, wire_card, wire_len);
    }
    if (CRDMA_OK != rc) {
        free(e->keys);
        free(e);
        return rc;
    }
    e->next = crdma_verbs_state.endpoints;
    crdma_verbs_state.endpoints = e;
    *out = e;
    return CRDMA_OK;
}

crdma_status_t crdma_verbs_attach(crdma_peer_t *peer, const void *bytes, size_t len)
{
    crdma_verbs_state_t *s = &crdma_verbs_state;
    crdma_status_t rc = CRDMA_OK;
    crdma_verbs_endpoint_t *e;
    crdma_verbs_card_t card;
    const char *why;

    if (sizeof(card) > len) {
        return CRDMA_ERR_PARAM;
    }
    memcpy(&card, bytes, sizeof(card));
    if (CRDMA_VERBS_CARD_MAGIC != card.magic || 0 == card.chunk_size ||
        card.size > card.chunk_size * CRDMA_VERBS_CHUNKS_MAX) {
        return CRDMA_ERR_PARAM;
    }
    pthread_mutex_lock(&s->lock);
    if (!s->open) {
        rc = CRDMA_ERR_TRANSPORT;
        goto unlock;
    }
    why = obstacle(&s->port, &card);
    if (NULL != why) {
        crdma_log(CRDMA_LOG_SETUP, "verbs: port %s cannot reach process %d on %.32s: %s",
                  s->port.name, (int)card.pid, card.host, why);
        rc = CRDMA_ERR_TRANSPORT;
        goto unlock;
    }
    e = crdma_verbs_endpoint_find(card.cookie);
    if (NULL == e) {
        rc = create(&card, (const char *)bytes + sizeof(card), len - sizeof(card), &e);
    } else if (e->failed) {
        rc = CRDMA_ERR_PEER;
    }
    if (CRDMA_OK == rc) {
        peer->cookie = card.cookie;
        peer->pid = e->wire.pid;
        peer->transport = crdma_verbs_transport();
        peer->endpoint = e;
    }
unlock:
    pthread_mutex_unlock(&s->lock);
    return rc;
}

void crdma_verbs_detach(crdma_peer_t *peer)
{
    peer->transport = NULL;
    peer->endpoint = NULL;
}

bool crdma_verbs_alive(const crdma_peer_t *peer)
{
    crdma_verbs_state_t *s = &crdma_verbs_state;
    crdma_verbs_endpoint_t *e = peer->endpoint;
    bool alive = false;

    pthread_mutex_lock(&s->lock);
    if (s->open && NULL != e) {
        crdma_verbs_endpoint_look(e);
        alive = !e->failed;
    }
    pthread_mutex_unlock(&s->lock);
    return alive;
}

void crdma_verbs_endpoints_close(void)
{
    crdma_verbs_state_t *s = &crdma_verbs_state;

    while (NULL != s->endpoints) {
        crdma_verbs_endpoint_t *e = s->endpoints;

        crdma_verbs_endpoint_fail(e, NULL);
        s->endpoints = e->next;
        crdma_ucp_detach(&e->wire);
        free(e->slots);
        free(e->keys);
        free(e);
    }
    s->busy = s->waiting = NULL;
    s->connecting = 0;
}
