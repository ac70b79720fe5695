/*
 * Work requests: how operations become them, wait for room, and are completed.
 *
 * An operation is cut where the local or the remote memory changes its key (chunks of the slab) and at
 * the longest message of the port; its flag is one more request. As many as have room are posted by one call,
 * so payload and flag cost one doorbell.
 *
 * Why the flag is seen after its payload, and flags in order: both are RDMA writes on one reliable
 * queue pair. The responder executes requests in the order of their packet numbers (a lost packet
 * stops what is behind it), and the adapter writes what it executes to memory as posted writes
 * that do not overtake each other: that holds unless the memory is registered with relaxed ordering or the
 * queue pair with out-of-order placement, and we ask for neither. The InfiniBand specification
 * promises less (data are certain when a later send or atomic has completed at the responder); polling
 * memory relies on what adapters do, as MPI libraries have done since the first of them. The flag
 * is 8 aligned bytes, which such a write stores at once.
 *
 * Completions. A request whose source was copied (inline, or into a buffer of ours) lets its caller go
 * when it is posted; all others ask for a completion, so whoever waits for tx is always answered.
 * Of the inline ones, one in coll_rdma_verbs_signal asks, which frees the queue behind it: a
 * completion of a reliable queue pair covers all earlier requests.
 */
#include "coll_rdma/transport/verbs_internal.h"

#include <stdlib.h>
#include <string.h>

#include "coll_rdma/base/params.h"

enum { BATCH = 8, COMPLETIONS = 16, OPS_PER_CHUNK = 64 };

struct crdma_verbs_op_chunk {
    struct crdma_verbs_op_chunk *next;
    crdma_verbs_op_t ops[OPS_PER_CHUNK];
};

typedef struct batch {
    unsigned n;
    struct ibv_send_wr wr[BATCH];
    struct ibv_sge sge[BATCH];
} batch_t;

crdma_verbs_order_t crdma_verbs_force_order = CRDMA_VERBS_ORDER_PAYLOAD_FIRST;

/* ---- ends --------------------------------------------------------------------------------- */

static void tx_finish(crdma_tx_t *tx, crdma_status_t status)
{
    if (NULL != tx) {
        if (CRDMA_OK != status) {
            tx->status = status;
        }
        __atomic_sub_fetch(&tx->pending, 1, __ATOMIC_RELEASE);
    }
}

static void memory_put(crdma_registration_t *memory)
{
    if (NULL != memory) {
        crdma_regcache_put(crdma_verbs_state.cache, memory);
    }
}

static void slot_finish(crdma_verbs_endpoint_t *e, crdma_verbs_slot_t *slot, crdma_status_t status)
{
    if (NULL != slot->copy_to && CRDMA_OK == status) {
        memcpy(slot->copy_to, slot->bounce, slot->copy_length);
    }
    if (NULL != slot->bounce) {
        crdma_verbs_bounce_put(slot->bounce);
    }
    memory_put(slot->memory);
    e->signaled -= slot->signaled;
    e->reading_keys &= !slot->keys;
    tx_finish(slot->tx, status);
}

/* Everything up to the request of this number is complete. */
static void retire(crdma_verbs_endpoint_t *e, uint64_t number)
{
    while (e->tail <= number && e->tail < e->head) {
        slot_finish(e, &e->slots[e->tail % crdma_verbs_state.depth], CRDMA_OK);
        ++e->tail;
    }
}

/* ---- posting ------------------------------------------------------------------------------ */

static bool has_room(const crdma_verbs_endpoint_t *e, const batch_t *b)
{
    return e->head - e->tail + b->n < crdma_verbs_state.depth;
}

/* False: the endpoint has failed. */
static bool flush(crdma_verbs_endpoint_t *e, batch_t *b)
{
    crdma_verbs_state_t *s = &crdma_verbs_state;
    struct ibv_send_wr *bad = NULL;
    int error;

    if (0 == b->n) {
        return true;
    }
    for (unsigned i = 0; i < b->n; ++i) {
        b->wr[i].next = i + 1 < b->n ? &b->wr[i + 1] : NULL;
    }
    e->head += b->n;
    b->n = 0;
    if (!e->busy && 0 < e->signaled) {
        e->busy = true;
        e->next_busy = s->busy;
        s->busy = e;
    }
    error = ibv_post_send(e->qp, &b->wr[0], &bad);
    if (0 != error) {
        crdma_verbs_endpoint_fail(e, strerror(error));
        return false;
    }
    return true;
}

/* The next request of the batch; the caller sets what is missing and calls stage_end. */
static crdma_verbs_slot_t *stage(crdma_verbs_endpoint_t *e, batch_t *b, enum ibv_wr_opcode opcode,
                                 const void *local, size_t len, uint32_t local_key, uint64_t remote,
                                 uint64_t remote_key)
{
    const uint64_t number = e->head + b->n;
    crdma_verbs_slot_t *slot = &e->slots[number % crdma_verbs_state.depth];

    b->sge[b->n] = (struct ibv_sge){
        .addr = (uint64_t)(uintptr_t)local, .length = (uint32_t)len, .lkey = local_key};
    b->wr[b->n] = (struct ibv_send_wr){
        .wr_id = number,
        .sg_list = &b->sge[b->n],
        .num_sge = 1,
        .opcode = opcode,
        .wr.rdma = {.remote_addr = remote, .rkey = (uint32_t)remote_key}};
    *slot = (crdma_verbs_slot_t){.tx = NULL};
    return slot;
}

static void stage_end(crdma_verbs_endpoint_t *e, batch_t *b, crdma_verbs_slot_t *slot)
{
    const unsigned half = crdma_verbs_state.depth / 2;
    const unsigned every = (unsigned)crdma_params.verbs_signal < half
                               ? (unsigned)crdma_params.verbs_signal
                               : half;

    if (NULL != slot->tx || NULL != slot->memory || NULL != slot->bounce ||
        ++e->unsignaled >= every) {
        slot->signaled = true;
        b->wr[b->n].send_flags |= IBV_SEND_SIGNALED;
        ++e->signaled;
        e->unsignaled = 0;
    }
    ++b->n;
}

/* Fetch the peer's table of keys. */
static void read_keys(crdma_verbs_endpoint_t *e, batch_t *b)
{
    const uint32_t len = (uint32_t)e->nkeys * (uint32_t)sizeof(*e->keys);
    crdma_verbs_slot_t *slot;
    char *buffer;

    if (e->reading_keys || !has_room(e, b) || BATCH == b->n ||
        NULL == (buffer = crdma_verbs_bounce_get())) {
        return;
    }
    e->reading_keys = true;
    slot = stage(e, b, IBV_WR_RDMA_READ, buffer, len, crdma_verbs_state.bounce_memory->lkey,
                 e->card.base + CRDMA_VERBS_KEYS, e->keys[0]);
    slot->bounce = buffer;
    slot->copy_to = e->keys;
    slot->copy_length = len;
    slot->keys = true;
    stage_end(e, b, slot);
}

/* The key for a place in the peer's slab, or 0: not known yet, being asked for. *left: bytes up
 * to the end of the chunk. */
static uint64_t slab_key(crdma_verbs_endpoint_t *e, batch_t *b, uint64_t place, size_t *left)
{
    const uint64_t key = e->keys[place / e->card.chunk_size];

    *left = (size_t)(e->card.chunk_size - place % e->card.chunk_size);
    if (0 == key) {
        read_keys(e, b);
    }
    return key;
}

/* False: it must wait. */
static bool stage_flag(crdma_verbs_endpoint_t *e, crdma_verbs_op_t *op, batch_t *b)
{
    const bool is_inline = sizeof(op->flag) <= crdma_verbs_state.inline_max;
    const void *src = &op->flag;
    crdma_verbs_slot_t *slot;
    char *buffer = NULL;
    uint64_t key;
    size_t left;

    if (0 == op->flag_dst) {
        return true;
    }
    if (BATCH == b->n && !flush(e, b)) {
        return false;
    }
    key = slab_key(e, b, op->flag_dst, &left);
    if (0 == key || !has_room(e, b)) {
        return false;
    }
    if (!is_inline) {
        buffer = crdma_verbs_bounce_get();
        if (NULL == buffer) {
            return false;
        }
        memcpy(buffer, src, sizeof(op->flag));
        src = buffer;
    }
    slot = stage(e, b, IBV_WR_RDMA_WRITE, src, sizeof(op->flag),
                 is_inline ? 0 : crdma_verbs_state.bounce_memory->lkey, e->card.base + op->flag_dst,
                 key);
    slot->bounce = buffer;
    b->wr[b->n].send_flags = is_inline ? IBV_SEND_INLINE : 0;
    stage_end(e, b, slot);
    op->flag_dst = 0;
    return true;
}

/* Where the next piece of the payload is on this side. */
typedef struct piece {
    char *local;
    uint32_t key;
    bool is_inline;
    bool bounce;
    size_t left; /* bytes of this kind */
} piece_t;

static void find_local(const crdma_verbs_op_t *op, piece_t *p)
{
    const crdma_verbs_state_t *s = &crdma_verbs_state;
    const uintptr_t at = (uintptr_t)op->local + op->done, base = (uintptr_t)s->slab->base;

    *p = (piece_t){.local = op->local + op->done, .left = op->len - op->done};
    if (NULL != op->gpu) { /* the host must not copy it */
        p->key = op->gpu->lkey;
    } else if (!op->get && op->len <= s->inline_max) {
        p->is_inline = true;
    } else if (NULL != op->memory) {
        p->key = crdma_verbs_local_key(op->memory);
    } else if (at >= base &&
               at - base < (size_t)__atomic_load_n(&s->nregistered, __ATOMIC_ACQUIRE) *
                               s->chunk_size) {
        const size_t chunk = (at - base) / s->chunk_size;
        const size_t left = (chunk + 1) * s->chunk_size - (at - base);

        p->key = s->chunks[chunk]->lkey;
        p->left = p->left < left ? p->left : left;
    } else {
        p->bounce = true;
        p->left = p->left < CRDMA_VERBS_BOUNCE ? p->left : CRDMA_VERBS_BOUNCE;
    }
}

static bool stage_piece(crdma_verbs_endpoint_t *e, crdma_verbs_op_t *op, batch_t *b)
{
    crdma_verbs_state_t *s = &crdma_verbs_state;
    crdma_verbs_slot_t *slot;
    size_t n, left = SIZE_MAX;
    char *buffer = NULL;
    uint64_t key = op->key, remote = op->remote + op->done;
    piece_t p;
    bool last;

    if (BATCH == b->n && !flush(e, b)) {
        return false;
    }
    if (!op->user) {
        key = slab_key(e, b, remote, &left);
        if (0 == key) {
            return false;
        }
        remote += e->card.base;
    }
    find_local(op, &p);
    if (!has_room(e, b) || (p.bounce && NULL == (buffer = crdma_verbs_bounce_get()))) {
        return false;
    }
    n = p.left < left ? p.left : left;
    n = n < s->port.attr.max_msg_sz ? n : s->port.attr.max_msg_sz;
    if (p.bounce && !op->get) {
        memcpy(buffer, p.local, n);
    }
    slot = stage(e, b, op->get ? IBV_WR_RDMA_READ : IBV_WR_RDMA_WRITE, p.bounce ? buffer : p.local,
                 n, p.bounce ? s->bounce_memory->lkey : p.key, remote, key);
    b->wr[b->n].send_flags = p.is_inline ? IBV_SEND_INLINE : 0;
    slot->bounce = buffer;
    if (p.bounce && op->get) {
        slot->copy_to = p.local;
        slot->copy_length = (uint32_t)n;
    }
    op->done += n;
    last = op->done == op->len;
    if (last && (op->get || !(p.is_inline || p.bounce))) {
        slot->tx = op->tx; /* the device works on the caller's memory */
        slot->memory = op->memory;
        op->tx = NULL;
        op->memory = NULL;
    }
    stage_end(e, b, slot);
    return true;
}

/* Post what can be posted; true: all of it. */
static bool post(crdma_verbs_endpoint_t *e, crdma_verbs_op_t *op)
{
    batch_t b;
    bool all = true;

    b.n = 0;
    if (CRDMA_VERBS_ORDER_REVERSED == crdma_verbs_force_order) {
        all = stage_flag(e, op, &b);
    }
    while (all && op->done < op->len) {
        all = stage_piece(e, op, &b);
    }
    all = all && stage_flag(e, op, &b);
    if (e->failed || !flush(e, &b)) {
        return false;
    }
    if (all) {
        tx_finish(op->tx, CRDMA_OK); /* unless a completion will */
        op->tx = NULL;
    }
    return all;
}

/* ---- waiting ------------------------------------------------------------------------------ */

static crdma_verbs_op_t *op_get(void)
{
    crdma_verbs_state_t *s = &crdma_verbs_state;
    crdma_verbs_op_t *op;

    if (NULL == s->free_ops) {
        struct crdma_verbs_op_chunk *chunk = malloc(sizeof(*chunk));

        if (NULL == chunk) {
            return NULL;
        }
        chunk->next = s->op_chunks;
        s->op_chunks = chunk;
        for (int i = 0; i < OPS_PER_CHUNK; ++i) {
            chunk->ops[i].next = s->free_ops;
            s->free_ops = &chunk->ops[i];
        }
    }
    op = s->free_ops;
    s->free_ops = op->next;
    return op;
}

static void op_put(crdma_verbs_op_t *op)
{
    op->next = crdma_verbs_state.free_ops;
    crdma_verbs_state.free_ops = op;
}

static void pop(crdma_verbs_endpoint_t *e)
{
    crdma_verbs_op_t *op = e->first;

    e->first = op->next;
    if (NULL == e->first) {
        e->last = &e->first;
    }
    op_put(op);
}

void crdma_verbs_ops_release(void)
{
    crdma_verbs_state_t *s = &crdma_verbs_state;

    while (NULL != s->op_chunks) {
        struct crdma_verbs_op_chunk *chunk = s->op_chunks;

        s->op_chunks = chunk->next;
        free(chunk);
    }
    s->free_ops = NULL;
}

static void wait_for_room(crdma_verbs_endpoint_t *e)
{
    if (!e->waiting && NULL != e->first && crdma_verbs_is_ready(e)) {
        e->waiting = true;
        e->next_waiting = crdma_verbs_state.waiting;
        crdma_verbs_state.waiting = e;
    }
}

void crdma_verbs_pump(crdma_verbs_endpoint_t *e)
{
    while (NULL != e->first && crdma_verbs_is_ready(e) && !e->failed && post(e, e->first)) {
        pop(e);
    }
    if (!e->failed) {
        wait_for_room(e);
    }
}

crdma_status_t crdma_verbs_start(crdma_verbs_endpoint_t *e, crdma_verbs_op_t *op)
{
    crdma_status_t rc = CRDMA_ERR_PEER;
    crdma_verbs_op_t *waiting;

    if (NULL != op->tx) {
        __atomic_add_fetch(&op->tx->pending, 1, __ATOMIC_RELAXED);
    }
    if (NULL == e->first && crdma_verbs_is_ready(e) && post(e, op)) {
        return CRDMA_OK;
    }
    if (!e->failed) {
        waiting = op_get();
        if (NULL != waiting) {
            *waiting = *op;
            waiting->next = NULL;
            *e->last = waiting;
            e->last = &waiting->next;
            wait_for_room(e);
            return CRDMA_OK;
        }
        rc = CRDMA_ERR_NOMEM;
    } else if (NULL == op->tx) {
        return CRDMA_OK; /* it was let go with the failure */
    }
    /* The caller gets the status as the result, so tx must look as before. */
    memory_put(op->memory);
    if (NULL != op->tx) {
        __atomic_sub_fetch(&op->tx->pending, 1, __ATOMIC_RELEASE);
    }
    return rc;
}

/* ---- completion --------------------------------------------------------------------------- */

int crdma_verbs_poll(crdma_verbs_endpoint_t *e)
{
    struct ibv_wc wc[COMPLETIONS];
    int events = 0, n;

    do {
        n = ibv_poll_cq(e->cq, COMPLETIONS, wc);
        for (int i = 0; i < n; ++i) {
            if (IBV_WC_SUCCESS != wc[i].status) {
                crdma_verbs_endpoint_fail(e, ibv_wc_status_str(wc[i].status));
                return events + 1;
            }
            retire(e, wc[i].wr_id);
            ++events;
        }
    } while (COMPLETIONS == n);
    if (0 > n) {
        crdma_verbs_endpoint_fail(e, "its completions cannot be read");
    }
    return events;
}

int crdma_verbs_poll_all(void)
{
    crdma_verbs_state_t *s = &crdma_verbs_state;
    crdma_verbs_endpoint_t **link = &s->busy;
    int events = 0;

    while (NULL != *link) {
        crdma_verbs_endpoint_t *e = *link;

        if (NULL != e->qp) {
            events += crdma_verbs_poll(e);
        }
        if (0 == e->signaled || e->failed) {
            *link = e->next_busy;
            e->busy = false;
        } else {
            link = &e->next_busy;
        }
    }
    link = &s->waiting;
    while (NULL != *link) {
        crdma_verbs_endpoint_t *e = *link;

        crdma_verbs_pump(e);
        if (NULL == e->first || e->failed) {
            *link = e->next_waiting;
            e->waiting = false;
        } else {
            link = &e->next_waiting;
        }
    }
    return events;
}

void crdma_verbs_close_queue(crdma_verbs_endpoint_t *e)
{
    crdma_verbs_op_t op = {.local = crdma_slab_at(crdma_verbs_state.slab, CRDMA_VERBS_SCRATCH),
                           .remote = CRDMA_VERBS_SCRATCH,
                           .len = sizeof(uint64_t)};

    if (!e->failed && NULL != e->qp && e->head != e->tail && 0 < e->unsignaled) {
        e->unsignaled = crdma_verbs_state.depth; /* the next one asks */
        (void)crdma_verbs_start(e, &op);
    }
}

bool crdma_verbs_is_idle(const crdma_verbs_endpoint_t *e)
{
    return e->failed || (e->head == e->tail && NULL == e->first);
}

void crdma_verbs_cancel(crdma_verbs_endpoint_t *e)
{
    while (e->tail < e->head) {
        slot_finish(e, &e->slots[e->tail % crdma_verbs_state.depth], CRDMA_ERR_PEER);
        ++e->tail;
    }
    while (NULL != e->first) {
        crdma_verbs_op_t *op = e->first;

        memory_put(op->memory);
        tx_finish(op->tx, CRDMA_ERR_PEER);
        pop(e);
    }
}
