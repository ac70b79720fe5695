/*
 * The operations over verbs: the transport's entry points. What they become is in verbs_queue.c.
 */
#include "coll_rdma/transport/verbs_internal.h"

#include <string.h>

static bool in_slab(const crdma_verbs_endpoint_t *e, uint64_t place, size_t len)
{
    return place <= e->card.size && len <= e->card.size - place;
}

/* Lock, connect if this is the first operation, see to the local buffer, start. */
static crdma_status_t run(crdma_peer_t *peer, crdma_verbs_op_t *op)
{
    crdma_verbs_state_t *s = &crdma_verbs_state;
    crdma_verbs_endpoint_t *e = peer->endpoint;
    crdma_status_t rc = CRDMA_ERR_TRANSPORT;

    pthread_mutex_lock(&s->lock);
    if (!s->open) {
        goto unlock;
    }
    rc = crdma_verbs_connect(e);
    if (CRDMA_OK != rc) {
        goto unlock;
    }
    if ((!op->user && !in_slab(e, op->remote, op->len)) ||
        !in_slab(e, op->flag_dst, sizeof(op->flag)) || 0 != op->flag_dst % sizeof(op->flag)) {
        rc = CRDMA_ERR_PARAM;
        goto unlock;
    }
    /* Only whole messages come from or go to a GPU: those to a user buffer. */
    op->gpu = op->user ? crdma_verbs_gpu_memory(op->local) : NULL;
    if (NULL == op->gpu && (op->get || op->len > s->inline_max)) {
        rc = crdma_verbs_local(op->local, op->len, op->get, &op->memory);
    }
    if (CRDMA_OK == rc) {
        rc = crdma_verbs_start(e, op);
    }
unlock:
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static crdma_status_t run_user(crdma_peer_t *peer, crdma_verbs_op_t *op, const crdma_exposed_t *user,
                               size_t offset)
{
    uint64_t key;

    if (sizeof(key) != user->key_length) {
        return CRDMA_ERR_PARAM;
    }
    memcpy(&key, user->key, sizeof(key));
    op->remote = user->address + offset;
    op->key = (uint32_t)key;
    op->user = true;
    return run(peer, op);
}

crdma_status_t crdma_verbs_put(crdma_peer_t *peer, const void *src, crdma_addr_t dst, size_t len,
                               crdma_tx_t *tx)
{
    crdma_verbs_op_t op = {
        .tx = tx, .local = (char *)(uintptr_t)src, .remote = dst, .len = len};

    return run(peer, &op);
}

crdma_status_t crdma_verbs_put_flagged(crdma_peer_t *peer, const void *src, crdma_addr_t dst,
                                       size_t len, const uint64_t *flag_src, crdma_addr_t flag_dst,
                                       crdma_tx_t *tx)
{
    crdma_verbs_op_t op = {.tx = tx,
                           .local = (char *)(uintptr_t)src,
                           .remote = dst,
                           .len = len,
                           .flag = *flag_src,
                           .flag_dst = flag_dst};

    return run(peer, &op);
}

crdma_status_t crdma_verbs_put_user_flagged(crdma_peer_t *peer, const void *src,
                                            const crdma_exposed_t *dst, size_t offset, size_t len,
                                            const uint64_t *flag_src, crdma_addr_t flag_dst,
                                            crdma_tx_t *tx)
{
    crdma_verbs_op_t op = {.tx = tx,
                           .local = (char *)(uintptr_t)src,
                           .len = len,
                           .flag = *flag_src,
                           .flag_dst = flag_dst};

    return run_user(peer, &op, dst, offset);
}

crdma_status_t crdma_verbs_get(crdma_peer_t *peer, void *dst, crdma_addr_t src, size_t len,
                               crdma_tx_t *tx)
{
    crdma_verbs_op_t op = {.tx = tx, .local = dst, .remote = src, .len = len, .get = true};

    return run(peer, &op);
}

crdma_status_t crdma_verbs_get_user(crdma_peer_t *peer, void *dst, const crdma_exposed_t *src,
                                    size_t offset, size_t len, crdma_tx_t *tx)
{
    crdma_verbs_op_t op = {.tx = tx, .local = dst, .len = len, .get = true};

    return run_user(peer, &op, src, offset);
}
