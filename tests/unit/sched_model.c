/* Values, memory and edges of the symbolic executor (sched_model.h). */
#include "tests/unit/sched_model.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *sched_pool_reserve(pool_t *pool, size_t count, size_t size)
{
    if (pool->used + count > pool->room) {
        pool->room = 2 * (pool->used + count);
        pool->base = realloc(pool->base, pool->room * size);
        if (NULL == pool->base) {
            abort();
        }
    }
    void *at = (char *)pool->base + pool->used * size;
    pool->used += count;
    return at;
}

void *sched_pool_zeroed(pool_t *pool, size_t count, size_t size)
{
    pool->used = 0;
    void *at = sched_pool_reserve(pool, count, size);
    return 0 == count ? at : memset(at, 0, count * size);
}

uint64_t sched_model_mix(uint64_t a, uint64_t b)
{
    uint64_t h = a * 0x9e3779b97f4a7c15u + b + 0x632be59bd9b4e019u;

    h = (h ^ (h >> 29)) * 0xbf58476d1ce4e5b9u;
    return h ^ (h >> 32);
}

__attribute__((format(printf, 3, 4))) int sched_model_fail(sched_exec_t *x, int rank,
                                                           const char *format, ...)
{
    const rank_state_t *state = &RANKS(x)[rank];
    int n = snprintf(x->error, sizeof(x->error), "rank %d, turn %d, step %d: ", rank, state->turn,
                     state->step);
    va_list args;

    va_start(args, format);
    vsnprintf(x->error + n, sizeof(x->error) - (size_t)n, format, args);
    va_end(args);
    return -1;
}

/* ---- values ------------------------------------------------------------------------------- */

value_t sched_model_contribution(const sched_exec_t *x, int rank, int64_t place)
{
    value_t v = {.expr = sched_model_mix(sched_model_mix((uint64_t)rank, 17), (uint64_t)place),
                 .lo = rank,
                 .count = 1,
                 .place = place};

    v.set = x->size <= 64 ? (uint64_t)1 << rank : sched_model_mix((uint64_t)rank, 4711);
    return v;
}

const char *sched_model_fold(const sched_exec_t *x, value_t *a, const value_t *b)
{
    if (a->place != b->place) {
        return "operands of different blocks";
    }
    if (x->size <= 64 && 0 != (a->set & b->set)) {
        return "a contribution twice";
    }
    a->lo = a->lo >= 0 && b->lo >= 0 && (a->lo + a->count) % x->size == b->lo ? a->lo : -1;
    a->set += b->set;
    a->count += b->count;
    a->expr = sched_model_mix(a->expr, b->expr);
    return NULL;
}

int sched_model_actual(const sched_exec_t *x, int rank, int buf)
{
    const crdma_sched_args_t *args = &x->sched[rank]->args;
    int aliased = x->config->aliased && (CRDMA_REDUCE != args->coll || rank == args->root);

    return aliased && CRDMA_BUF_IN == buf ? CRDMA_BUF_OUT : buf;
}

value_t *sched_model_memory(sched_exec_t *x, int rank, int buf, int64_t place)
{
    pool_t *pool = CRDMA_BUF_TMP == buf ? &x->tmp : &x->out;

    return (value_t *)pool->base + (int64_t)rank * x->places + place;
}

int sched_model_load(sched_exec_t *x, int rank, int buf, int64_t place, value_t *v)
{
    buf = sched_model_actual(x, rank, buf);
    *v = CRDMA_BUF_IN == buf ? sched_model_contribution(x, rank, place)
                             : *sched_model_memory(x, rank, buf, place);
    return v->count > 0 ? 0 : sched_model_fail(x, rank, "reads undefined memory (buffer %d)", buf);
}

/* ---- edges -------------------------------------------------------------------------------- */

static int32_t edge_index(sched_exec_t *x, int from, int to)
{
    int32_t *slot = (int32_t *)x->edge_of.base + (size_t)from * (size_t)x->size + to;

    if (0 == *slot) {
        edge_t *e = sched_pool_reserve(&x->edges, 1, sizeof(edge_t));
        *e = (edge_t){.from = from, .to = to, .head = -1, .tail = -1, .used = -1};
        *slot = (int32_t)x->edges.used;
    }
    return *slot - 1;
}

int sched_model_delivered(const sched_exec_t *x, int32_t edge, int32_t number)
{
    const edge_t *e = &EDGES(x)[edge];

    return number < (x->config->capacity > 0 ? e->received + x->config->capacity : e->granted);
}

int sched_model_writable(sched_exec_t *x, int rank, int buf, int64_t begin, int64_t end)
{
    int32_t *link = &RANKS(x)[rank].pending;

    buf = sched_model_actual(x, rank, buf);
    while (*link >= 0) {
        pending_t *p = (pending_t *)x->pendings.base + *link;

        if (sched_model_delivered(x, p->edge, p->number)) {
            *link = p->next;
            continue;
        }
        if (buf == p->buf && begin < p->end && p->begin < end) {
            return 0;
        }
        link = &p->next;
    }
    return 1;
}

int sched_model_send_one(sched_exec_t *x, int rank, int peer, int buf, int64_t place, int nblocks)
{
    int32_t index = edge_index(x, rank, peer);
    edge_t *e = &EDGES(x)[index];
    if (e->used == x->executions) {
        return sched_model_fail(x, rank, "rank %d twice in one step", peer);
    }
    e->used = x->executions;
    message_t *m = sched_pool_reserve(&x->messages, 1, sizeof(message_t));
    int32_t number = e->sent++, self = (int32_t)x->messages.used - 1;

    m->next = -1;
    m->nblocks = nblocks;
    if (e->head < 0) {
        e->head = self;
    } else {
        ((message_t *)x->messages.base)[e->tail].next = self;
    }
    e->tail = self;
    if (0 == nblocks) {
        m->payload = x->notes.used;
        memcpy(sched_pool_reserve(&x->notes, x->words, sizeof(uint64_t)),
               (uint64_t *)x->heard.base + (size_t)rank * x->words, x->words * sizeof(uint64_t));
        return 0;
    }
    m->payload = x->values.used;
    value_t *payload = sched_pool_reserve(&x->values, (size_t)nblocks, sizeof(value_t));
    for (int i = 0; i < nblocks; i++) {
        if (0 != sched_model_load(x, rank, buf, place + i, &payload[i])) {
            return -1;
        }
    }
    if (!sched_model_delivered(x, index, number)) {
        rank_state_t *state = &RANKS(x)[rank];
        pending_t *p = sched_pool_reserve(&x->pendings, 1, sizeof(pending_t));
        *p = (pending_t){.next = state->pending,
                         .edge = index,
                         .number = number,
                         .buf = sched_model_actual(x, rank, buf),
                         .begin = place,
                         .end = place + nblocks};
        state->pending = (int32_t)x->pendings.used - 1;
    }
    return 0;
}

int sched_model_arrived(sched_exec_t *x, int rank, int peer, int may_grant)
{
    int32_t index = edge_index(x, peer, rank); /* may move the edges */
    edge_t *e = &EDGES(x)[index];

    if (may_grant && e->granted == e->received) {
        e->granted++;
    }
    return e->head >= 0 && (x->config->capacity > 0 || e->granted > e->received);
}

const message_t *sched_model_take(sched_exec_t *x, int rank, int peer, int nblocks)
{
    int32_t index = edge_index(x, peer, rank); /* may move the edges */
    edge_t *e = &EDGES(x)[index];
    const message_t *m = (message_t *)x->messages.base + e->head;

    if (e->used == x->executions) {
        sched_model_fail(x, rank, "rank %d twice in one step", peer);
        return NULL;
    }
    e->used = x->executions;
    m = (message_t *)x->messages.base + e->head;
    if (m->nblocks != nblocks) {
        sched_model_fail(x, rank, "expects %d blocks from rank %d, gets %d", nblocks, peer,
                         m->nblocks);
        return NULL;
    }
    e->head = m->next;
    e->received++;
    return m;
}
