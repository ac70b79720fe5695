/*
 * Connecting a queue pair.
 *
 * Whichever side first has an operation for the other makes its queue pair and says HELLO: number and
 * first packet number. Whoever receives a HELLO makes its own queue pair if it has none, brings it
 * through RTR (it takes what the other sends) to RTS (it sends), and says HELLO, ready. Every
 * process does this once per peer, whoever was first, so there is one queue pair on each side however
 * the two meet:
 *
 *      A first               both at once
 *   A: HELLO          ->     A: HELLO        ->  <-  B: HELLO
 *      <-  B: HELLO, ready   A: HELLO, ready ->  <-  B: HELLO, ready
 *   A: HELLO, ready   ->
 *
 * A side posts work requests only when it has received "ready". The other said that after its queue pair
 * had reached RTS, hence RTR; so every packet finds a queue pair that takes it. (One that came too
 * early would be dropped and sent again, a timeout of the device later.) Each HELLO carries
 * everything, so their order does not matter, and one that comes twice changes nothing.
 *
 * BYE: the sender has drained what it had put and is about to destroy its queue pair.
 */
#include "coll_rdma/transport/verbs_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "coll_rdma/base/log.h"
#include "coll_rdma/base/params.h"
#include "coll_rdma/transport/ucp.h"

crdma_status_t crdma_verbs_queue_pair_create(crdma_verbs_state_t *s, void *context,
                                             struct ibv_qp **qp, struct ibv_cq **cq)
{
    struct ibv_qp_init_attr init = {.qp_context = context,
                                    .cap = {.max_send_wr = s->depth,
                                            .max_send_sge = 1,
                                            .max_inline_data = s->inline_max},
                                    .qp_type = IBV_QPT_RC};

    *cq = ibv_create_cq(s->port.context, (int)s->depth, context, NULL, 0);
    if (NULL == *cq) {
        return CRDMA_ERR_TRANSPORT;
    }
    init.send_cq = init.recv_cq = *cq;
    *qp = ibv_create_qp(s->pd, &init);
    if (NULL == *qp) {
        const int error = errno;

        (void)ibv_destroy_cq(*cq);
        errno = error;
        return CRDMA_ERR_TRANSPORT;
    }
    return CRDMA_OK;
}

static crdma_status_t say(crdma_verbs_endpoint_t *e, enum crdma_verbs_note_kind kind)
{
    const crdma_verbs_note_t note = {.magic = CRDMA_VERBS_CARD_MAGIC,
                                     .kind = kind,
                                     .from = crdma_verbs_state.slab->cookie,
                                     .to = e->card.cookie,
                                     .qpn = NULL != e->qp ? e->qp->qp_num : 0,
                                     .psn = e->psn,
                                     .ready = e->connected};

    return crdma_ucp_note_send(&e->wire, &note, sizeof(note));
}

static crdma_status_t make(crdma_verbs_endpoint_t *e)
{
    crdma_verbs_state_t *s = &crdma_verbs_state;
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_INIT,
                               .pkey_index = 0,
                               .port_num = s->port.number,
                               .qp_access_flags = IBV_ACCESS_LOCAL_WRITE |
                                                  IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ};
    crdma_status_t rc;
    int error;

    if (NULL == e->slots) {
        e->slots = calloc(s->depth, sizeof(*e->slots));
        if (NULL == e->slots) {
            return CRDMA_ERR_NOMEM;
        }
    }
    rc = crdma_verbs_queue_pair_create(s, e, &e->qp, &e->cq);
    if (CRDMA_OK != rc) {
        crdma_log(CRDMA_LOG_ERROR, "verbs: port %s: no queue pair for process %d on %.32s: %s",
                  s->port.name, (int)e->card.pid, e->card.host, strerror(errno));
        e->qp = NULL;
        return rc;
    }
    ++s->connecting;
    /* Not the same after a restart of the same numbers, so that old packets are not taken. */
    if (sizeof(e->psn) != getrandom(&e->psn, sizeof(e->psn), GRND_NONBLOCK)) {
        e->psn = (uint32_t)(s->slab->cookie ^ e->card.cookie);
    }
    e->psn &= 0xffffff;
    error = ibv_modify_qp(e->qp, &attr,
                          IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
    if (0 != error) {
        crdma_verbs_endpoint_fail(e, strerror(error));
        return CRDMA_ERR_TRANSPORT;
    }
    return CRDMA_OK;
}

/* INIT to RTR: where the peer is, and what may come from it. */
static int take(crdma_verbs_endpoint_t *e, const crdma_verbs_note_t *note)
{
    const crdma_verbs_port_t *port = &crdma_verbs_state.port;
    struct ibv_qp_attr attr = {
        .qp_state = IBV_QPS_RTR,
        .path_mtu = (int)port->mtu < (int)e->card.mtu ? port->mtu : (enum ibv_mtu)e->card.mtu,
        .dest_qp_num = note->qpn,
        .rq_psn = note->psn,
        .max_dest_rd_atomic = crdma_verbs_state.reads,
        .min_rnr_timer = 12,
        .ah_attr = {.dlid = e->card.lid,
                    .sl = (uint8_t)crdma_params.verbs_service_level,
                    .is_global = port->global,
                    .port_num = port->number,
                    .grh = {.sgid_index = (uint8_t)port->gid_index,
                            .hop_limit = 64,
                            .traffic_class = (uint8_t)crdma_params.verbs_traffic_class}}};

    memcpy(attr.ah_attr.grh.dgid.raw, e->card.gid, sizeof(e->card.gid));
    return ibv_modify_qp(e->qp, &attr,
                         IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
                             IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER);
}

/* RTR to RTS: how to send. */
static int enable(crdma_verbs_endpoint_t *e)
{
    const uint8_t mine = crdma_verbs_state.reads, theirs = e->card.rd_atomic;
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_RTS,
                               .timeout = (uint8_t)crdma_params.verbs_timeout,
                               .retry_cnt = (uint8_t)crdma_params.verbs_retry_count,
                               .rnr_retry = 7,
                               .sq_psn = e->psn,
                               .max_rd_atomic = mine < theirs ? mine : theirs};

    return ibv_modify_qp(e->qp, &attr,
                         IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
                             IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC);
}

crdma_status_t crdma_verbs_connect(crdma_verbs_endpoint_t *e)
{
    crdma_status_t rc;

    if (e->failed || e->left) {
        return CRDMA_ERR_PEER;
    }
    if (NULL != e->qp) {
        return CRDMA_OK;
    }
    rc = make(e);
    if (CRDMA_OK == rc) {
        rc = say(e, CRDMA_VERBS_HELLO);
        if (CRDMA_OK != rc) {
            crdma_verbs_endpoint_fail(e, "it cannot be told of a connection, see UCX's message");
        }
    }
    return rc;
}

static void hello(crdma_verbs_endpoint_t *e, const crdma_verbs_note_t *note)
{
    const bool was_ready = crdma_verbs_is_ready(e);
    int error = 0;

    if (e->failed || (NULL == e->qp && CRDMA_OK != make(e))) {
        return;
    }
    if (!e->connected) {
        error = take(e, note);
        error = 0 == error ? enable(e) : error;
        if (0 != error) {
            crdma_log(CRDMA_LOG_ERROR,
                      "verbs: port %s: the queue pair for process %d on %.32s cannot be connected",
                      crdma_verbs_state.port.name, (int)e->card.pid, e->card.host);
            crdma_verbs_endpoint_fail(e, strerror(error));
            return;
        }
        e->connected = true;
    }
    e->peer_ready |= 0 != note->ready;
    if (!was_ready && crdma_verbs_is_ready(e)) {
        --crdma_verbs_state.connecting;
    }
    if (!e->told_ready) {
        e->told_ready = true;
        if (CRDMA_OK != say(e, CRDMA_VERBS_HELLO)) {
            crdma_verbs_endpoint_fail(e, "it cannot be told of a connection, see UCX's message");
            return;
        }
    }
    crdma_verbs_pump(e);
}

void crdma_verbs_notes_handle(void)
{
    crdma_verbs_note_t note;
    size_t length;

    while (0 < (length = crdma_ucp_note_take(&note, sizeof(note)))) {
        crdma_verbs_endpoint_t *e = NULL;

        if (sizeof(note) == length && CRDMA_VERBS_CARD_MAGIC == note.magic &&
            note.to == crdma_verbs_state.slab->cookie) {
            e = crdma_verbs_endpoint_find(note.from);
        }
        if (NULL == e) {
            crdma_log(CRDMA_LOG_ERROR, "verbs: dropped a note that is not for this process");
        } else if (CRDMA_VERBS_HELLO == note.kind) {
            hello(e, &note);
        } else {
            e->left = true;
            crdma_verbs_endpoint_fail(e, NULL);
        }
    }
}

void crdma_verbs_bye(crdma_verbs_endpoint_t *e)
{
    if (NULL != e->qp && !e->failed) {
        (void)say(e, CRDMA_VERBS_BYE);
    }
}
