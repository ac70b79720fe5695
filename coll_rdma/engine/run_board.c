/*
 * A collective through the board (protocol/board.h): for ranks of one host that share processors,
 * what the flat tree and the exchange with everybody do, with a visit of each rank per call and no
 * message at all. History and signatures are as elsewhere, so a rank that calls something else,
 * leaves or dies is found as in watch.c. A longer call is cut into segments, each a call of the
 * board.
 *
 * Broadcast: the root leaves the data, the others copy it; a root runs ahead by the board's
 * generations.
 *
 * Reduce: the others leave their operands and go; the root combines them where they are.
 *
 * Allreduce, barrier: everybody leaves its operand and arrives. Who arrives last compares the
 * signatures and combines: a short vector alone, a longer one by pieces, of which those who wait
 * take some too. Then it says so, and all copy the result.
 *
 * 1. Operands are combined in the order of ranks, each element by one rank: equal bits everywhere.
 *
 * 2. Everybody's signature is compared before any payload of a reduction is used; in a broadcast
 * each reader compares the root's, and what other ranks did is found in the next call. Payloads of
 * different ranks never share memory, whatever they call.
 */
#include <string.h>

#include "coll_rdma/base/params.h"
#include "coll_rdma/engine/op_internal.h"
#include "coll_rdma/transport/shm.h"

/* Bytes of a result that one rank computes at a time. */
#define PIECE ((size_t)8 * 1024)
/* Polls between two searches for who is late: as often as watch.c looks at the clock. */
#define POLLS_PER_SEARCH 64

typedef struct board_run {
    crdma_group_t *g;
    crdma_board_t *b;
    const crdma_op_args_t *args;
    crdma_edge_t *edge; /* to the rank that the last search found, or NULL */
    uint64_t sig;
} board_run_t;

/* A segment: a call of the board. */
typedef struct part {
    uint64_t number;
    bool rooted;
    size_t begin, len; /* bytes */
} part_t;

static inline crdma_board_card_t *card_of(const board_run_t *r, const part_t *p, int rank)
{
    return crdma_board_card(r->b, p->rooted, rank);
}

/* Tiny payloads are in the card, others where it says. */
static inline char *data_of(const board_run_t *r, const part_t *p, crdma_board_card_t *card)
{
    return p->len <= CRDMA_BOARD_TINY ? card->data : crdma_board_at(r->b, card->where);
}

/* For looking at the region of any rank, with or without an edge: it has not left, because it has
 * not finished the call that we wait for. */
static crdma_edge_t *edge_to(board_run_t *r, int rank)
{
    crdma_group_t *g = r->g;

    if (rank == g->rank) {
        return NULL;
    }
    if (NULL != g->edges[rank]) {
        return g->edges[rank];
    }
    g->board_edge = (crdma_edge_t){.peer = g->peers[rank], .rank = rank};
    return &g->board_edge;
}

/* The card of `rank` is not of the call that I make. In which call did it begin? Perhaps in one before, in which
 * nobody had to wait. */
static crdma_status_t disagree(board_run_t *r, int rank, uint64_t seen)
{
    crdma_edge_t *edge = edge_to(r, rank);
    const crdma_status_t status = crdma_watch_compare(r->g->op, edge);

    if (CRDMA_OK != status) {
        return status;
    }
    edge->seen_sig = seen;
    return crdma_op_fail(r->g->op, edge, CRDMA_ERR_MISMATCH);
}

/* This card is of another call, or I and its rank have made different calls before. */
static crdma_status_t compare(board_run_t *r, const crdma_board_card_t *card, int rank)
{
    return r->sig == card->sig && r->b->past == card->past ? CRDMA_OK
                                                           : disagree(r, rank, card->sig);
}

/* One pass of waiting for `rank`; -1: for whoever has not come to this call, or has died in it. */
static crdma_status_t wait_for(board_run_t *r, const part_t *p, int rank)
{
    crdma_group_t *g = r->g;

    if (0 == (g->op->polls + 1) % POLLS_PER_SEARCH) {
        for (int i = 0; 0 > rank && i < g->size; ++i) {
            if (i != g->rank &&
                (p->number != __atomic_load_n(&card_of(r, p, i)->number, __ATOMIC_RELAXED) ||
                 !crdma_shm_alive(g->peers[i]))) {
                rank = i;
            }
        }
        r->edge = 0 > rank ? NULL : edge_to(r, rank);
    }
    return crdma_op_wait(g->op, r->edge);
}

static void new_wait(board_run_t *r)
{
    r->edge = NULL;
    r->g->op->polls = 0;
    r->g->op->since = 0;
}

/* Until my card and slot of this call may be written. */
static crdma_status_t wait_for_credit(board_run_t *r, const part_t *p)
{
    const uint64_t before = crdma_board_before(r->b, p->rooted, p->len);
    int behind = 0;

    if (!crdma_board_finished(r->b, before, &behind)) {
        new_wait(r);
        do {
            const crdma_status_t status = wait_for(r, p, behind);

            if (CRDMA_OK != status) {
                return status;
            }
        } while (!crdma_board_finished(r->b, before, &behind));
    }
    return CRDMA_OK;
}

/* The number is stored last: board.h, invariant 3. */
static crdma_status_t post(board_run_t *r, const part_t *p)
{
    crdma_board_card_t *card = card_of(r, p, r->b->rank);
    const crdma_status_t status = wait_for_credit(r, p);

    if (CRDMA_OK != status) {
        return status;
    }
    if (p->len > CRDMA_BOARD_TINY) {
        card->where = crdma_board_take_slot(r->b, p->len);
    }
    if (0 < p->len) {
        memcpy(data_of(r, p, card), (const char *)r->args->in + p->begin, p->len);
    }
    card->sig = r->sig;
    card->past = r->b->past;
    __atomic_store_n(&card->number, p->number, __ATOMIC_RELEASE);
    return CRDMA_OK;
}

/* Wait for the card of `rank`; pairs with post. */
static crdma_status_t take(board_run_t *r, const part_t *p, int rank)
{
    crdma_board_card_t *card = card_of(r, p, rank);

    if (p->number != __atomic_load_n(&card->number, __ATOMIC_ACQUIRE)) {
        new_wait(r);
        do {
            const crdma_status_t status = wait_for(r, p, rank);

            if (CRDMA_OK != status) {
                return status;
            }
        } while (p->number != __atomic_load_n(&card->number, __ATOMIC_ACQUIRE));
    }
    return compare(r, card, rank);
}

static crdma_status_t broadcast(board_run_t *r, const part_t *p)
{
    const int root = r->args->plan->key.root;
    crdma_status_t status;

    if (r->b->rank == root) {
        return post(r, p);
    }
    status = take(r, p, root);
    if (CRDMA_OK == status) {
        memcpy((char *)r->args->out + p->begin, data_of(r, p, card_of(r, p, root)), p->len);
    }
    return status;
}

static void combine(board_run_t *r, const part_t *p, size_t off, size_t len, char *dst,
                    const char *own)
{
    const void *srcs[CRDMA_BOARD_RANKS];

    for (int i = 0; i < r->b->size; ++i) {
        srcs[i] = i == r->b->rank && NULL != own ? own : data_of(r, p, card_of(r, p, i)) + off;
    }
    crdma_op_combine(r->g->op, dst, srcs, r->b->size, len / r->args->elsize);
}

static crdma_status_t reduce(board_run_t *r, const part_t *p)
{
    crdma_status_t status = CRDMA_OK;

    if (r->b->rank != r->args->plan->key.root) {
        return post(r, p);
    }
    for (int i = 0; CRDMA_OK == status && i < r->b->size; ++i) {
        if (i != r->b->rank) {
            status = take(r, p, i);
        }
    }
    if (CRDMA_OK == status) {
        combine(r, p, 0, p->len, (char *)r->args->out + p->begin,
                (const char *)r->args->in + p->begin);
    }
    return status;
}

static size_t piece_of(const board_run_t *r)
{
    return PIECE / r->args->elsize * r->args->elsize;
}

/* Take a piece of the result, if one is left. The claim of another call has another number. What
 * the claimer reads was there before the claim was opened (release in arrive_last); who ends the
 * last piece has acquired all others'. */
static bool help(board_run_t *r, const part_t *p)
{
    crdma_board_head_t *head = r->b->head;
    const size_t piece = piece_of(r);
    const uint64_t pieces = (p->len + piece - 1) / piece;
    uint64_t claim = __atomic_load_n(&head->claim, __ATOMIC_ACQUIRE);
    size_t off;

    do {
        if (claim >> 32 != (uint32_t)p->number || (uint32_t)claim >= pieces) {
            return false;
        }
    } while (!__atomic_compare_exchange_n(&head->claim, &claim, claim + 1, false, __ATOMIC_ACQUIRE,
                                          __ATOMIC_ACQUIRE));
    off = (uint32_t)claim * piece;
    combine(r, p, off, p->len - off < piece ? p->len - off : piece,
            data_of(r, p, card_of(r, p, 0)) + off, NULL);
    if (pieces == __atomic_add_fetch(&head->pieces, 1, __ATOMIC_ACQ_REL)) {
        __atomic_store_n(&head->release.number, p->number, __ATOMIC_RELEASE);
    }
    return true;
}

/* All others wait for this rank. */
static crdma_status_t arrive_last(board_run_t *r, const part_t *p)
{
    crdma_group_t *g = r->g;
    crdma_board_head_t *head = r->b->head;

    for (int i = 0; i < g->size; ++i) {
        const crdma_board_card_t *card = card_of(r, p, i);

        if (CRDMA_OK ==
            (p->number == card->number ? compare(r, card, i) : disagree(r, i, card->sig))) {
            continue;
        }
        for (int j = 0; j < g->size; ++j) { /* they are all here, with or without an edge */
            if (j != g->rank) {
                crdma_region_t *region =
                    (crdma_region_t *)(g->peers[j]->map + crdma_group_region_of(g, j));

                __atomic_store_n(&region->poison, g->poison_out, __ATOMIC_RELAXED);
            }
        }
        return CRDMA_ERR_MISMATCH;
    }
    if (p->len > PIECE) {
        __atomic_store_n(&head->pieces, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&head->claim, p->number << 32, __ATOMIC_RELEASE); /* pairs with help */
        return CRDMA_OK;
    }
    if (0 < p->len) {
        combine(r, p, 0, p->len,
                p->len <= CRDMA_BOARD_TINY ? head->release.data : data_of(r, p, card_of(r, p, 0)),
                NULL);
    }
    __atomic_store_n(&head->release.number, p->number, __ATOMIC_RELEASE);
    return CRDMA_OK;
}

static crdma_status_t together(board_run_t *r, const part_t *p)
{
    crdma_board_t *b = r->b;
    crdma_board_head_t *head = b->head;
    crdma_status_t status = post(r, p);

    if (CRDMA_OK != status) {
        return status;
    }
    if (b->ncommon * (uint64_t)b->size ==
        __atomic_add_fetch(&head->arrivals, 1, __ATOMIC_ACQ_REL)) {
        status = arrive_last(r, p);
    }
    new_wait(r);
    while (CRDMA_OK == status &&
           p->number != __atomic_load_n(&head->release.number, __ATOMIC_ACQUIRE)) {
        if (p->len <= PIECE || !help(r, p)) {
            status = wait_for(r, p, -1);
        }
    }
    if (CRDMA_OK == status) {
        b->credit = p->number - 1; /* all have come here, so all have finished what was before */
        if (0 < p->len) {
            memcpy((char *)r->args->out + p->begin,
                   p->len <= CRDMA_BOARD_TINY ? head->release.data
                                              : data_of(r, p, card_of(r, p, 0)),
                   p->len);
        }
    }
    return status;
}

/* Data that comes and goes meanwhile (group.h). */
static crdma_status_t wait_for_input(board_run_t *r, size_t bytes)
{
    crdma_flow_t *flow = r->g->flow;
    crdma_status_t status;

    new_wait(r);
    while (CRDMA_AGAIN == (status = flow->arrived(flow, bytes))) {
        status = crdma_op_wait(r->g->op, NULL);
        if (CRDMA_OK != status) {
            return status;
        }
    }
    return CRDMA_OK == status ? status : crdma_op_fail(r->g->op, NULL, status);
}

bool crdma_board_serves(crdma_group_t *g, const crdma_plan_t *plan, size_t bytes, size_t elsize,
                        size_t segment)
{
    return plan->flat && crdma_group_board(g) && bytes <= g->board_max[plan->key.coll] &&
           elsize <= PIECE / 2 && elsize <= crdma_board_most(g->size, g->board.little) &&
           (0 == segment || segment >= bytes);
}

bool crdma_op_run_board(crdma_group_t *g, const crdma_op_args_t *args, crdma_status_t *result)
{
    const crdma_coll_t coll = (crdma_coll_t)args->plan->key.coll;
    const size_t bytes = CRDMA_BARRIER == coll ? 0 : args->count * args->elsize;
    board_run_t r = {.g = g, .b = &g->board, .args = args};
    const size_t most =
        crdma_board_most(g->size, g->board.little) / args->elsize * args->elsize;
    crdma_status_t status = CRDMA_OK;
    part_t p = {.rooted = CRDMA_BCAST == coll || CRDMA_REDUCE == coll};
    uint64_t seq;

    if (NULL != args->device ||
        !crdma_board_serves(g, args->plan, bytes, args->elsize, args->segment)) {
        return false;
    }
    r.sig = crdma_group_count_call(g, args->sig, &seq);
    crdma_op_adopt(g->op, args, seq, r.sig);
    g->op->started = false;
    do {
        p.number = ++r.b->number;
        ++*(p.rooted ? &r.b->nrooted : &r.b->ncommon);
        p.len = bytes - p.begin < most ? bytes - p.begin : most;
        if (NULL != g->flow && 0 < p.len) {
            status = wait_for_input(&r, p.begin + p.len);
        }
        if (CRDMA_OK == status) {
            status = CRDMA_BCAST == coll    ? broadcast(&r, &p)
                     : CRDMA_REDUCE == coll ? reduce(&r, &p)
                                            : together(&r, &p);
        }
        if (CRDMA_OK != status) {
            break;
        }
        crdma_board_finish(r.b);
        p.begin += p.len;
        if (NULL != g->flow && 0 < p.len) {
            g->flow->finished(g->flow, p.begin);
        }
    } while (p.begin < bytes);
    r.b->past = (r.b->past ^ r.sig) * 0x9e3779b97f4a7c15u;
    *result = status;
    return true;
}
