/*
 * The symbolic executor (sched_exec.h): edges, memory and steps.
 *
 * Schedules are deterministic dataflow: a rank waits for given messages on given edges, so the
 * interleaving cannot change a result; the orders are there to show exactly that.
 *
 * A message is copied when it is sent and marked as reading from its source until it is
 * delivered. Whether it is delivered follows from counters of its edge, so no event is kept:
 *
 *     capacity >= 1: number of the message < received + capacity
 *     capacity == 0: number of the message < granted (the receiver has come to the step)
 */
#include "tests/unit/sched_exec.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a block holds. count == 0: undefined. */
typedef struct value {
    uint64_t expr; /* hash of the fold expression, of place and contributors */
    uint64_t set;  /* bit mask of contributors, N <= 64; else sum of their tags */
    int32_t lo;    /* contributors are lo, lo+1, .. (mod N) in this order; -1: any other order */
    int32_t count; /* contributors */
    int64_t place; /* segment * nblocks + block */
} value_t;

typedef struct message {
    int32_t next;
    int32_t nblocks;
    size_t payload; /* index into values, or into words for a notification */
} message_t;

typedef struct edge {
    int32_t from;
    int32_t to;
    int32_t sent;
    int32_t received;
    int32_t granted;
    int32_t head; /* oldest unreceived message, -1: none */
    int32_t tail;
} edge_t;

/* An own message that may still read from memory. */
typedef struct pending {
    int32_t next;
    int32_t edge;
    int32_t number;
    int32_t buf;
    int64_t begin; /* places */
    int64_t end;
} pending_t;

typedef struct rank_state {
    int turn;
    int phase;
    int step;
    int done;
    int32_t pending; /* list */
    int phase_begin[CRDMA_MAX_PHASES + 1];
} rank_state_t;

/* A growing array. */
typedef struct pool {
    void *base;
    size_t used;
    size_t room;
} pool_t;

struct sched_exec {
    const crdma_sched_t *const *sched;
    const sched_exec_config_t *config;
    int size;
    int nblocks;
    int64_t places; /* nsegments * nblocks */
    size_t words;   /* of a set of ranks, barrier */
    pool_t ranks;   /* rank_state_t */
    pool_t out;     /* value_t [rank][place] */
    pool_t tmp;
    pool_t heard;    /* uint64_t [rank][word], barrier */
    pool_t edge_of;  /* int32_t [from][to], edge + 1 */
    pool_t edges;    /* edge_t */
    pool_t messages; /* message_t */
    pool_t values;   /* value_t, payloads */
    pool_t notes;    /* uint64_t, payloads of notifications */
    pool_t pendings; /* pending_t */
    uint64_t random;
    char error[256];
};

#define RANKS(x) ((rank_state_t *)(x)->ranks.base)
#define EDGES(x) ((edge_t *)(x)->edges.base)

static void *pool_reserve(pool_t *pool, size_t count, size_t size)
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

static void *pool_zeroed(pool_t *pool, size_t count, size_t size)
{
    pool->used = 0;
    return memset(pool_reserve(pool, count, size), 0, count * size);
}

sched_exec_t *sched_exec_new(void)
{
    return calloc(1, sizeof(sched_exec_t));
}

void sched_exec_free(sched_exec_t *x)
{
    pool_t *pools[] = {&x->ranks, &x->out,      &x->tmp,    &x->heard, &x->edge_of,
                       &x->edges, &x->messages, &x->values, &x->notes, &x->pendings};

    for (size_t i = 0; i < sizeof(pools) / sizeof(pools[0]); i++) {
        free(pools[i]->base);
    }
    free(x);
}

static uint64_t mix(uint64_t a, uint64_t b)
{
    uint64_t h = a * 0x9e3779b97f4a7c15u + b + 0x632be59bd9b4e019u;

    h = (h ^ (h >> 29)) * 0xbf58476d1ce4e5b9u;
    return h ^ (h >> 32);
}

__attribute__((format(printf, 3, 4))) static int fail(sched_exec_t *x, int rank, const char *format,
                                                      ...)
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

static value_t contribution(const sched_exec_t *x, int rank, int64_t place)
{
    value_t v = {.expr = mix(mix((uint64_t)rank, 17), (uint64_t)place),
                 .lo = rank,
                 .count = 1,
                 .place = place};

    v.set = x->size <= 64 ? (uint64_t)1 << rank : mix((uint64_t)rank, 4711);
    return v;
}

/* a = a op b */
static const char *fold(const sched_exec_t *x, value_t *a, const value_t *b)
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
    a->expr = mix(a->expr, b->expr);
    return NULL;
}

/* IN is OUT where they are the same memory. */
static int actual(const sched_exec_t *x, int rank, int buf)
{
    const crdma_sched_args_t *args = &x->sched[rank]->args;
    int aliased = x->config->aliased && (CRDMA_REDUCE != args->coll || rank == args->root);

    return aliased && CRDMA_BUF_IN == buf ? CRDMA_BUF_OUT : buf;
}

static value_t *memory(sched_exec_t *x, int rank, int buf, int64_t place)
{
    pool_t *pool = CRDMA_BUF_TMP == buf ? &x->tmp : &x->out;

    return (value_t *)pool->base + (int64_t)rank * x->places + place;
}

static int load(sched_exec_t *x, int rank, int buf, int64_t place, value_t *v)
{
    buf = actual(x, rank, buf);
    *v = CRDMA_BUF_IN == buf ? contribution(x, rank, place) : *memory(x, rank, buf, place);
    return v->count > 0 ? 0 : fail(x, rank, "reads undefined memory (buffer %d)", buf);
}

/* ---- edges -------------------------------------------------------------------------------- */

static int32_t edge_index(sched_exec_t *x, int from, int to)
{
    int32_t *slot = (int32_t *)x->edge_of.base + (size_t)from * (size_t)x->size + to;

    if (0 == *slot) {
        edge_t *e = pool_reserve(&x->edges, 1, sizeof(edge_t));
        *e = (edge_t){.from = from, .to = to, .head = -1, .tail = -1};
        *slot = (int32_t)x->edges.used;
    }
    return *slot - 1;
}

static int delivered(const sched_exec_t *x, int32_t edge, int32_t number)
{
    const edge_t *e = &EDGES(x)[edge];

    return number < (x->config->capacity > 0 ? e->received + x->config->capacity : e->granted);
}

/* Nonzero if none of the rank's own undelivered messages reads from the range. */
static int writable(sched_exec_t *x, int rank, int buf, int64_t begin, int64_t end)
{
    int32_t *link = &RANKS(x)[rank].pending;

    buf = actual(x, rank, buf);
    while (*link >= 0) {
        pending_t *p = (pending_t *)x->pendings.base + *link;

        if (delivered(x, p->edge, p->number)) {
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

static int send_one(sched_exec_t *x, int rank, int peer, int buf, int64_t place, int nblocks)
{
    int32_t index = edge_index(x, rank, peer);
    edge_t *e = &EDGES(x)[index];
    message_t *m = pool_reserve(&x->messages, 1, sizeof(message_t));
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
        memcpy(pool_reserve(&x->notes, x->words, sizeof(uint64_t)),
               (uint64_t *)x->heard.base + (size_t)rank * x->words, x->words * sizeof(uint64_t));
        return 0;
    }
    m->payload = x->values.used;
    value_t *payload = pool_reserve(&x->values, (size_t)nblocks, sizeof(value_t));
    for (int i = 0; i < nblocks; i++) {
        if (0 != load(x, rank, buf, place + i, &payload[i])) {
            return -1;
        }
    }
    if (!delivered(x, index, number)) {
        rank_state_t *state = &RANKS(x)[rank];
        pending_t *p = pool_reserve(&x->pendings, 1, sizeof(pending_t));
        *p = (pending_t){.next = state->pending,
                         .edge = index,
                         .number = number,
                         .buf = actual(x, rank, buf),
                         .begin = place,
                         .end = place + nblocks};
        state->pending = (int32_t)x->pendings.used - 1;
    }
    return 0;
}

/* Nonzero if the next message from the peer is there. The receiver stands at the step that
 * takes it: the moment of the grant, if there must be one. */
static int arrived(sched_exec_t *x, int rank, int peer, int may_grant)
{
    int32_t index = edge_index(x, peer, rank); /* may move the edges */
    edge_t *e = &EDGES(x)[index];

    if (may_grant && e->granted == e->received) {
        e->granted++;
    }
    return e->head >= 0 && (x->config->capacity > 0 || e->granted > e->received);
}

/* Take the next message from the peer; NULL if it has the wrong length. */
static const message_t *take(sched_exec_t *x, int rank, int peer, int nblocks)
{
    int32_t index = edge_index(x, peer, rank); /* may move the edges */
    edge_t *e = &EDGES(x)[index];
    const message_t *m = (message_t *)x->messages.base + e->head;

    if (m->nblocks != nblocks) {
        fail(x, rank, "expects %d blocks from rank %d, gets %d", nblocks, peer, m->nblocks);
        return NULL;
    }
    e->head = m->next;
    e->received++;
    return m;
}

/* ---- steps: 1 done, 0 must wait, -1 wrong ------------------------------------------------- */

static int run_send(sched_exec_t *x, int rank, const crdma_step_t *step, int64_t base)
{
    const int32_t *peers = x->sched[rank]->peers + step->first;

    for (int i = 0; i < step->npeers; i++) {
        int64_t place = base + step->src_block + (int64_t)i * step->stride;
        if (0 != send_one(x, rank, peers[i], step->src, place, step->nblocks)) {
            return -1;
        }
    }
    return 1;
}

static int run_recv(sched_exec_t *x, int rank, const crdma_step_t *step, int64_t base)
{
    const int32_t *peers = x->sched[rank]->peers + step->first;
    int ready = 1;

    for (int i = 0; i < step->npeers; i++) {
        int64_t place = base + step->dst_block + (int64_t)i * step->stride;
        int free = writable(x, rank, step->dst, place, place + step->nblocks);
        ready &= arrived(x, rank, peers[i], free) && free;
    }
    if (!ready) {
        return 0;
    }
    for (int i = 0; i < step->npeers; i++) {
        const message_t *m = take(x, rank, peers[i], step->nblocks);
        if (NULL == m) {
            return -1;
        }
        if (0 == step->nblocks) {
            const uint64_t *note = (uint64_t *)x->notes.base + m->payload;
            for (size_t w = 0; w < x->words; w++) {
                ((uint64_t *)x->heard.base)[(size_t)rank * x->words + w] |= note[w];
            }
            continue;
        }
        const value_t *payload = (value_t *)x->values.base + m->payload;
        int64_t place = base + step->dst_block + (int64_t)i * step->stride;
        value_t *dst = memory(x, rank, step->dst, place);
        for (int n = 0; n < step->nblocks; n++) {
            if (payload[n].place != place + n) {
                return fail(x, rank, "receives another block from rank %d", peers[i]);
            }
            dst[n] = payload[n];
        }
    }
    return 1;
}

static int overlaps_partly(sched_exec_t *x, int rank, const crdma_step_t *step)
{
    return actual(x, rank, step->src) == actual(x, rank, step->dst) &&
           step->src_block != step->dst_block &&
           abs(step->src_block - step->dst_block) < step->nblocks;
}

static int run_reduce(sched_exec_t *x, int rank, const crdma_step_t *step, int64_t base)
{
    const int32_t *peers = x->sched[rank]->peers + step->first;
    int64_t dst_place = base + step->dst_block, src_place = base + step->src_block;
    int ready = 1;

    for (int i = 0; i < step->npeers; i++) {
        ready &= CRDMA_SELF == peers[i] || arrived(x, rank, peers[i], 1);
    }
    if (!ready || !writable(x, rank, step->dst, dst_place, dst_place + step->nblocks)) {
        return 0;
    }
    if (overlaps_partly(x, rank, step)) {
        return fail(x, rank, "operand and result overlap partly");
    }
    size_t scratch = x->values.used;
    pool_reserve(&x->values, (size_t)step->nblocks, sizeof(value_t));
    value_t *sum = (value_t *)x->values.base + scratch;
    for (int i = 0; i < step->npeers; i++) {
        const message_t *m = NULL;
        if (CRDMA_SELF != peers[i]) {
            m = take(x, rank, peers[i], step->nblocks);
            if (NULL == m) {
                return -1;
            }
        }
        for (int n = 0; n < step->nblocks; n++) {
            value_t operand;
            const char *error = NULL;
            if (NULL != m) {
                operand = ((value_t *)x->values.base)[m->payload + (size_t)n];
            } else if (0 != load(x, rank, step->src, src_place + n, &operand)) {
                return -1;
            }
            if (operand.place != dst_place + n) {
                error = "operand of another block";
            } else if (0 == i) {
                sum[n] = operand;
            } else {
                error = fold(x, &sum[n], &operand);
            }
            if (NULL != error) {
                return fail(x, rank, "%s, operand %d", error, i);
            }
        }
    }
    memcpy(memory(x, rank, step->dst, dst_place), sum, (size_t)step->nblocks * sizeof(value_t));
    x->values.used = scratch;
    return 1;
}

static int run_copy(sched_exec_t *x, int rank, const crdma_step_t *step, int64_t base)
{
    int64_t dst_place = base + step->dst_block, src_place = base + step->src_block;

    if (!writable(x, rank, step->dst, dst_place, dst_place + step->nblocks)) {
        return 0;
    }
    if (src_place != dst_place) {
        return fail(x, rank, "copies to another block");
    }
    for (int n = 0; n < step->nblocks; n++) {
        value_t v;
        if (0 != load(x, rank, step->src, src_place + n, &v)) {
            return -1;
        }
        *memory(x, rank, step->dst, dst_place + n) = v;
    }
    return 1;
}

/* ---- ranks -------------------------------------------------------------------------------- */

/* Move to the next phase that has a step for a segment of this turn. */
static void settle(sched_exec_t *x, int rank)
{
    rank_state_t *state = &RANKS(x)[rank];
    const crdma_sched_t *s = x->sched[rank];
    int turns = x->config->nsegments + s->skew[s->nphases - 1];

    for (;;) {
        int segment = state->turn - s->skew[state->phase];
        if (segment >= 0 && segment < x->config->nsegments &&
            state->step < state->phase_begin[state->phase + 1]) {
            return;
        }
        if (++state->phase == s->nphases) {
            state->phase = 0;
            if (++state->turn == turns) {
                state->done = 1;
                return;
            }
        }
        state->step = state->phase_begin[state->phase];
    }
}

/* Run the rank's next step. */
static int run_step(sched_exec_t *x, int rank)
{
    rank_state_t *state = &RANKS(x)[rank];
    const crdma_sched_t *s = x->sched[rank];
    const crdma_step_t *step = &s->steps[state->step];
    int64_t base = (int64_t)(state->turn - s->skew[state->phase]) * x->nblocks;
    int result;

    switch (step->kind) {
    case CRDMA_STEP_SEND:
        result = run_send(x, rank, step, base);
        break;
    case CRDMA_STEP_RECV:
        result = run_recv(x, rank, step, base);
        break;
    case CRDMA_STEP_REDUCE:
        result = run_reduce(x, rank, step, base);
        break;
    default:
        result = run_copy(x, rank, step, base);
        break;
    }
    if (1 == result) {
        state->step++;
        settle(x, rank);
    }
    return result;
}

static void start_rank(sched_exec_t *x, int rank)
{
    rank_state_t *state = &RANKS(x)[rank];
    const crdma_sched_t *s = x->sched[rank];
    crdma_coll_t coll = s->args.coll;
    int at = 0;

    *state = (rank_state_t){.pending = -1};
    for (int p = 0; p < s->nphases; p++) {
        state->phase_begin[p] = at;
        while (at < s->nsteps && p == s->steps[at].phase) {
            at++;
        }
    }
    state->phase_begin[s->nphases] = s->nsteps;
    if (CRDMA_BARRIER == coll) {
        ((uint64_t *)x->heard.base)[(size_t)rank * x->words + (size_t)rank / 64] |= (uint64_t)1
                                                                                    << rank % 64;
    } else if (CRDMA_BCAST == coll ? rank == s->args.root
                                   : CRDMA_BUF_OUT == actual(x, rank, CRDMA_BUF_IN)) {
        for (int64_t i = 0; i < x->places; i++) {
            *memory(x, rank, CRDMA_BUF_OUT, i) = contribution(x, rank, i);
        }
    }
    settle(x, rank);
}

static void start(sched_exec_t *x)
{
    size_t n = (size_t)x->size, cells = n * (size_t)x->places;
    int uses_tmp = 0, barrier = CRDMA_BARRIER == x->sched[0]->args.coll;

    for (int r = 0; r < x->size; r++) {
        uses_tmp |= x->sched[r]->uses_tmp;
    }
    pool_zeroed(&x->ranks, n, sizeof(rank_state_t));
    pool_zeroed(&x->out, barrier ? 0 : cells, sizeof(value_t));
    pool_zeroed(&x->tmp, uses_tmp ? cells : 0, sizeof(value_t));
    pool_zeroed(&x->heard, barrier ? n * x->words : 0, sizeof(uint64_t));
    pool_zeroed(&x->edge_of, n * n, sizeof(int32_t));
    x->edges.used = x->messages.used = x->values.used = x->notes.used = x->pendings.used = 0;
    for (int r = 0; r < x->size; r++) {
        start_rank(x, r);
    }
}

/* One step, or as many as possible; adds to *progress. */
static int run_rank(sched_exec_t *x, int rank, int limit, int *progress)
{
    int result = 1;

    while (limit-- > 0 && !RANKS(x)[rank].done && 1 == (result = run_step(x, rank))) {
        *progress = 1;
    }
    return result;
}

static int sweep(sched_exec_t *x, sched_exec_order_t order, int *progress)
{
    for (int i = 0; i < x->size; i++) {
        int rank = i, limit = 1 << 30;

        if (SCHED_EXEC_REVERSE == order) {
            rank = x->size - 1 - i;
        } else if (SCHED_EXEC_ROUND_ROBIN == order) {
            limit = 1;
        } else if (SCHED_EXEC_RANDOM == order) {
            x->random = mix(x->random, (uint64_t)i);
            rank = (int)(x->random % (uint64_t)x->size);
            limit = 1 + (int)(x->random >> 62);
        }
        if (run_rank(x, rank, limit, progress) < 0) {
            return -1;
        }
    }
    return 0;
}

static int check_result(sched_exec_t *x, int rank)
{
    const crdma_sched_args_t *args = &x->sched[rank]->args;

    if (CRDMA_BARRIER == args->coll) {
        for (int other = 0; other < x->size; other++) {
            const uint64_t *heard = (uint64_t *)x->heard.base + (size_t)rank * x->words;
            if (0 == (heard[other / 64] >> other % 64 & 1)) {
                return fail(x, rank, "leaves before rank %d has come", other);
            }
        }
        return 0;
    }
    if (CRDMA_REDUCE == args->coll && rank != args->root) {
        return 0;
    }
    value_t all = contribution(x, 0, 0);
    for (int r = 1; r < x->size; r++) {
        all.set += contribution(x, r, 0).set;
    }
    for (int64_t i = 0; i < x->places; i++) {
        const value_t *v = memory(x, rank, CRDMA_BUF_OUT, i);
        if (0 == v->count || v->place != i) {
            return fail(x, rank, "no result at %ld", (long)i);
        }
        if (CRDMA_BCAST == args->coll) {
            if (v->expr != contribution(x, args->root, i).expr) {
                return fail(x, rank, "not the root's data at %ld", (long)i);
            }
            continue;
        }
        if (v->count != x->size || v->set != all.set) {
            return fail(x, rank, "%d contributions at %ld, or wrong ones", v->count, (long)i);
        }
        if (args->ordered && 0 != v->lo) {
            return fail(x, rank, "not in rank order at %ld", (long)i);
        }
        if (CRDMA_ALLREDUCE == args->coll && v->expr != memory(x, 0, CRDMA_BUF_OUT, i)->expr) {
            return fail(x, rank, "other bits than rank 0 at %ld", (long)i);
        }
    }
    return 0;
}

static int finish(sched_exec_t *x)
{
    for (int r = 0; r < x->size; r++) {
        if (!RANKS(x)[r].done) {
            return fail(x, r, "deadlock");
        }
    }
    for (size_t i = 0; i < x->edges.used; i++) {
        const edge_t *e = &EDGES(x)[i];
        if (e->head >= 0) {
            return fail(x, e->to, "%d messages from rank %d never received", e->sent - e->received,
                        e->from);
        }
    }
    for (int r = 0; r < x->size; r++) {
        if (0 != check_result(x, r)) {
            return -1;
        }
    }
    return 0;
}

const char *sched_exec_run(sched_exec_t *x, const crdma_sched_t *const *sched,
                           const sched_exec_config_t *config)
{
    int progress;

    if (!sched_lint(sched, x->error, sizeof(x->error))) {
        return x->error;
    }
    x->sched = sched;
    x->config = config;
    x->size = sched[0]->args.size;
    x->nblocks = sched[0]->nblocks;
    x->places = (int64_t)config->nsegments * x->nblocks;
    x->words = ((size_t)x->size + 63) / 64;
    x->random = config->seed;
    start(x);
    do {
        progress = 0;
        if (0 != sweep(x, config->order, &progress) ||
            (!progress && 0 != sweep(x, SCHED_EXEC_FORWARD, &progress))) {
            return x->error;
        }
    } while (progress);
    return 0 == finish(x) ? NULL : x->error;
}
