/*
 * The process's side of verbs: one port, one protection domain, one card that lets others reach it.
 *
 * UCX is opened for notes (ucp.h) and stays open when this closes: the component closes it.
 *
 * CRDMA_CAP_TARGET_PROGRESS is not set: what is put lands without the target. Only a connection
 * needs the progress of both sides, as a connection of any transport does.
 */
#include "coll_rdma/transport/verbs_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "coll_rdma/base/log.h"
#include "coll_rdma/base/params.h"
#include "coll_rdma/transport/ucp.h"

enum {
    DEPTH = 256,     /* work requests per queue pair, a power of two */
    READS = 16,      /* at once, per queue pair */
    INLINE_MAX = 1024,
    /* How often progress looks beyond the queues of the device when nobody is connecting: each
     * look costs system calls, and what it finds is never urgent. */
    POLLS_PER_CLOCK = 16,
    WIRE_NS = 20000,
    LOOK_NS = 10000000
};

crdma_verbs_state_t crdma_verbs_state = {.lock = PTHREAD_MUTEX_INITIALIZER,
                                         .description = "verbs is not open"};

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* What a queue pair may have is known only when one was made. */
static crdma_status_t find_limits(crdma_verbs_state_t *s)
{
    static const uint32_t inlines[] = {220, 128, 64, 28, 8, 0};
    const struct ibv_device_attr *device = &s->port.device;
    const int reads = device->max_qp_rd_atom < device->max_qp_init_rd_atom
                          ? device->max_qp_rd_atom
                          : device->max_qp_init_rd_atom;
    struct ibv_qp *qp;
    struct ibv_cq *cq;

    s->reads = (uint8_t)(reads < READS ? reads : READS);
    s->depth = DEPTH;
    while (s->depth > 2 &&
           (s->depth > (unsigned)device->max_qp_wr || s->depth > (unsigned)device->max_cqe)) {
        s->depth /= 2;
    }
    s->inline_max = (uint32_t)(crdma_params.verbs_inline < INLINE_MAX ? crdma_params.verbs_inline
                                                                      : INLINE_MAX);
    for (size_t i = 0; CRDMA_OK != crdma_verbs_queue_pair_create(s, NULL, &qp, &cq); ++i) {
        while (i < sizeof(inlines) / sizeof(inlines[0]) && inlines[i] >= s->inline_max) {
            ++i;
        }
        if (i == sizeof(inlines) / sizeof(inlines[0])) {
            crdma_log(CRDMA_LOG_ERROR, "verbs: port %s: no queue pair can be made: %s", s->port.name,
                      strerror(errno));
            return CRDMA_ERR_TRANSPORT;
        }
        s->inline_max = inlines[i];
    }
    (void)ibv_destroy_qp(qp);
    (void)ibv_destroy_cq(cq);
    if (1 > s->reads) {
        crdma_log(CRDMA_LOG_ERROR, "verbs: port %s: the device has no RDMA reads", s->port.name);
        return CRDMA_ERR_TRANSPORT;
    }
    return CRDMA_OK;
}

static crdma_status_t open_locked(crdma_verbs_state_t *s, crdma_slab_t *slab)
{
    char address[96];
    crdma_status_t rc;

    s->slab = slab;
    rc = crdma_verbs_port_open(&s->port);
    if (CRDMA_OK != rc) {
        return rc;
    }
    s->pd = ibv_alloc_pd(s->port.context);
    if (NULL == s->pd) {
        crdma_log(CRDMA_LOG_ERROR, "verbs: port %s: no protection domain: %s", s->port.name,
                  strerror(errno));
        rc = CRDMA_ERR_TRANSPORT;
        goto close_port;
    }
    rc = find_limits(s);
    if (CRDMA_OK != rc) {
        goto free_pd;
    }
    rc = crdma_verbs_memory_open(s);
    if (CRDMA_OK != rc) {
        goto free_pd;
    }
    rc = crdma_ucp_open_wire(slab);
    if (CRDMA_OK != rc) {
        crdma_log(CRDMA_LOG_ERROR, "verbs: port %s is usable, but UCX, which makes the connections, is "
                  "not", s->port.name);
        goto close_memory;
    }
    snprintf(s->description, sizeof(s->description), "verbs %s, %s, MTU %d, inline %u", s->port.name,
             crdma_verbs_port_address(&s->port, address, sizeof(address)), 128 << s->port.mtu,
             s->inline_max);
    s->open = true;
    return CRDMA_OK;

close_memory:
    crdma_verbs_memory_close(s);
free_pd:
    (void)ibv_dealloc_pd(s->pd);
close_port:
    crdma_verbs_port_close(&s->port);
    return CRDMA_ERR_NOMEM == rc ? CRDMA_ERR_TRANSPORT : rc;
}

static crdma_status_t verbs_open(crdma_slab_t *slab)
{
    crdma_verbs_state_t *s = &crdma_verbs_state;
    crdma_status_t rc = CRDMA_OK;

    pthread_mutex_lock(&s->lock);
    if (!s->open) {
        rc = open_locked(s, slab);
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static crdma_status_t make_card(crdma_verbs_state_t *s)
{
    crdma_verbs_card_t card = {.magic = CRDMA_VERBS_CARD_MAGIC,
                               .pid = getpid(),
                               .cookie = s->slab->cookie,
                               .base = (uint64_t)(uintptr_t)s->slab->base,
                               .size = s->slab->size,
                               .chunk_size = s->chunk_size,
                               .first_key = (uint64_t)1 << 32 | s->chunks[0]->rkey,
                               .lid = s->port.attr.lid,
                               .link_layer = s->port.attr.link_layer,
                               .gid_type = (uint8_t)s->port.gid_type,
                               .mtu = (uint8_t)s->port.mtu,
                               .rd_atomic = s->reads};
    const void *wire;
    crdma_status_t rc;
    size_t length;
    char host[256];

    memcpy(card.gid, s->port.gid.raw, sizeof(card.gid));
    if (0 == gethostname(host, sizeof(host))) {
        host[sizeof(card.host) - 1] = '\0';
        memcpy(card.host, host, strlen(host) + 1);
    }
    rc = crdma_ucp_card(&wire, &length);
    if (CRDMA_OK != rc) {
        return rc;
    }
    s->card = malloc(sizeof(card) + length);
    if (NULL == s->card) {
        return CRDMA_ERR_NOMEM;
    }
    memcpy(s->card, &card, sizeof(card));
    memcpy((char *)s->card + sizeof(card), wire, length);
    s->card_length = sizeof(card) + length;
    return CRDMA_OK;
}

/* Made when it is first asked for: until then UCX may be opened again for its own transport. */
static crdma_status_t verbs_card(const void **card, size_t *len)
{
    crdma_verbs_state_t *s = &crdma_verbs_state;
    crdma_status_t rc = CRDMA_ERR_TRANSPORT;

    pthread_mutex_lock(&s->lock);
    if (s->open) {
        rc = NULL == s->card ? make_card(s) : CRDMA_OK;
    }
    if (CRDMA_OK == rc) {
        *card = s->card;
        *len = s->card_length;
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static const char *describe(void)
{
    return crdma_verbs_state.description;
}

/* What the device does not tell by itself: notes, its events, memory that the application has given back. */
static int look_around(crdma_verbs_state_t *s)
{
    const uint64_t now = now_ns();
    int events;

    if (0 == s->connecting && now < s->wire_due) {
        return 0;
    }
    s->wire_due = now + WIRE_NS;
    events = crdma_ucp_transport()->progress();
    crdma_verbs_notes_handle();
    if (now >= s->look_due) {
        s->look_due = now + LOOK_NS;
        crdma_verbs_port_look(&s->port);
        crdma_regcache_purge(s->cache);
    }
    return events;
}

static int progress_locked(crdma_verbs_state_t *s)
{
    int events = 0;

    if (NULL != s->busy || NULL != s->waiting) {
        events = crdma_verbs_poll_all();
    }
    if (0 < s->connecting || 0 == ++s->polls % POLLS_PER_CLOCK) {
        events += look_around(s);
    }
    return events;
}

static int verbs_progress(void)
{
    crdma_verbs_state_t *s = &crdma_verbs_state;
    int events = 0;

    if (!s->open || 0 != pthread_mutex_trylock(&s->lock)) {
        return 0; /* another thread is at it, or this one further up its stack */
    }
    if (s->open) {
        events = progress_locked(s);
    }
    pthread_mutex_unlock(&s->lock);
    return events;
}

/* Wait until everything that was put has arrived, or its target is gone, or the time is up. */
static void drain(crdma_verbs_state_t *s)
{
    const uint64_t limit = now_ns() + 1000000000u; /* peers that live answer within their next poll */
    uint64_t look = 0;
    int busy = 1;

    while (0 < busy && now_ns() < limit) {
        busy = 0;
        for (crdma_verbs_endpoint_t *e = s->endpoints; NULL != e; e = e->next) {
            crdma_verbs_close_queue(e);
            if (now_ns() > look && !crdma_verbs_is_idle(e)) {
                crdma_verbs_endpoint_look(e);
            }
            busy += !crdma_verbs_is_idle(e);
        }
        if (now_ns() > look) {
            look = now_ns() + LOOK_NS;
        }
        if (0 < busy) {
            s->wire_due = 0;
            if (0 == progress_locked(s) + look_around(s)) {
                usleep(20);
            }
        }
    }
    if (0 < busy) {
        crdma_log(CRDMA_LOG_SETUP, "verbs: %d peers did not answer while closing", busy);
    }
}

static void verbs_close(void)
{
    crdma_verbs_state_t *s = &crdma_verbs_state;

    pthread_mutex_lock(&s->lock);
    if (s->open) {
        drain(s);
        for (crdma_verbs_endpoint_t *e = s->endpoints; NULL != e; e = e->next) {
            crdma_verbs_bye(e);
        }
        crdma_verbs_endpoints_close();
        crdma_verbs_ops_release();
        crdma_verbs_memory_close(s);
        (void)ibv_dealloc_pd(s->pd);
        crdma_verbs_port_close(&s->port);
        free(s->card);
        s->card = NULL;
        s->open = false;
    }
    pthread_mutex_unlock(&s->lock);
}

/* Posting and polling one work request: an order of magnitude, not measured on an adapter. */
static uint64_t overhead(const crdma_peer_t *peer)
{
    (void) peer;
    return 400;
}

static const crdma_transport_t operations = {.name = "verbs",
                                             .caps = CRDMA_CAP_GET,
                                             .open = verbs_open,
                                             .close = verbs_close,
                                             .card = verbs_card,
                                             .describe = describe,
                                             .attach = crdma_verbs_attach,
                                             .detach = crdma_verbs_detach,
                                             .put = crdma_verbs_put,
                                             .put_flagged = crdma_verbs_put_flagged,
                                             .put_user_flagged = crdma_verbs_put_user_flagged,
                                             .get = crdma_verbs_get,
                                             .get_user = crdma_verbs_get_user,
                                             .expose = crdma_verbs_expose,
                                             .conceal = crdma_verbs_conceal,
                                             .device_possible = crdma_verbs_device_possible,
                                             .device_enter = crdma_verbs_device_enter,
                                             .device_leave = crdma_verbs_device_leave,
                                             .progress = verbs_progress,
                                             .alive = crdma_verbs_alive,
                                             .overhead = overhead};

const crdma_transport_t *crdma_verbs_transport(void)
{
    return &operations;
}
