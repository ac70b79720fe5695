/*
 * The symbolic executor (sched_exec.h): steps, ranks, interleavings and results.
 *
 * Schedules are deterministic dataflow: a rank waits for given messages on given edges, so the
 * interleaving cannot change a result; the orders are there to show exactly that.
 */
#include "tests/unit/sched_exec.h"

#include <stdlib.h>
#include <string.h>

#include "tests/unit/sched_model.h"

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

/* ---- steps: 1 done, 0 must wait, -1 wrong ------------------------------------------------- */

static int run_send(sched_exec_t *x, int rank, const crdma_step_t *step, int64_t base)
{
    const int32_t *peers = x->sched[rank]->peers + step->first;

    for (int i = 0; i < step->npeers; i++) {
        int64_t place = base + step->src_block + (int64_t)i * step->stride;
        if (0 != sched_model_send_one(x, rank, peers[i], step->src, place, step->nblocks)) {
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
        int free = sched_model_writable(x, rank, step->dst, place, place + step->nblocks);
        ready &= sched_model_arrived(x, rank, peers[i], free) && free;
    }
    if (!ready) {
        return 0;
    }
    for (int i = 0; i < step->npeers; i++) {
        const message_t *m = sched_model_take(x, rank, peers[i], step->nblocks);
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
        value_t *dst = sched_model_memory(x, rank, step->dst, place);
        for (int n = 0; n < step->nblocks; n++) {
            if (payload[n].place != place + n) {
                return sched_model_fail(x, rank, "receives another block from rank %d", peers[i]);
            }
            dst[n] = payload[n];
        }
    }
    return 1;
}

static int overlaps_partly(sched_exec_t *x, int rank, const crdma_step_t *step)
{
    return sched_model_actual(x, rank, step->src) == sched_model_actual(x, rank, step->dst) &&
           step->src_block != step->dst_block &&
           abs(step->src_block - step->dst_block) < step->nblocks;
}

static int run_reduce(sched_exec_t *x, int rank, const crdma_step_t *step, int64_t base)
{
    const int32_t *peers = x->sched[rank]->peers + step->first;
    int64_t dst_place = base + step->dst_block, src_place = base + step->src_block;
    int ready = 1;

    for (int i = 0; i < step->npeers; i++) {
        ready &= CRDMA_SELF == peers[i] || sched_model_arrived(x, rank, peers[i], 1);
    }
    if (!ready || !sched_model_writable(x, rank, step->dst, dst_place, dst_place + step->nblocks)) {
        return 0;
    }
    if (overlaps_partly(x, rank, step)) {
        return sched_model_fail(x, rank, "operand and result overlap partly");
    }
    size_t scratch = x->values.used;
    sched_pool_reserve(&x->values, (size_t)step->nblocks, sizeof(value_t));
    value_t *sum = (value_t *)x->values.base + scratch;
    for (int i = 0; i < step->npeers; i++) {
        const message_t *m = NULL;
        if (CRDMA_SELF != peers[i]) {
            m = sched_model_take(x, rank, peers[i], step->nblocks);
            if (NULL == m) {
                return -1;
            }
        }
        for (int n = 0; n < step->nblocks; n++) {
            value_t operand;
            const char *error = NULL;
            if (NULL != m) {
                operand = ((value_t *)x->values.base)[m->payload + (size_t)n];
            } else if (0 != sched_model_load(x, rank, step->src, src_place + n, &operand)) {
                return -1;
            }
            if (operand.place != dst_place + n) {
                error = "operand of another block";
            } else if (0 == i) {
                sum[n] = operand;
            } else {
                error = sched_model_fold(x, &sum[n], &operand);
            }
            if (NULL != error) {
                return sched_model_fail(x, rank, "%s, operand %d", error, i);
            }
        }
    }
    memcpy(sched_model_memory(x, rank, step->dst, dst_place), sum,
           (size_t)step->nblocks * sizeof(value_t));
    x->values.used = scratch;
    return 1;
}

static int run_copy(sched_exec_t *x, int rank, const crdma_step_t *step, int64_t base)
{
    int64_t dst_place = base + step->dst_block, src_place = base + step->src_block;

    if (!sched_model_writable(x, rank, step->dst, dst_place, dst_place + step->nblocks)) {
        return 0;
    }
    if (src_place != dst_place) {
        return sched_model_fail(x, rank, "copies to another block");
    }
    for (int n = 0; n < step->nblocks; n++) {
        value_t v;
        if (0 != sched_model_load(x, rank, step->src, src_place + n, &v)) {
            return -1;
        }
        *sched_model_memory(x, rank, step->dst, dst_place + n) = v;
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

    x->executions++;
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
                                   : CRDMA_BUF_OUT == sched_model_actual(x, rank, CRDMA_BUF_IN)) {
        for (int64_t i = 0; i < x->places; i++) {
            *sched_model_memory(x, rank, CRDMA_BUF_OUT, i) = sched_model_contribution(x, rank, i);
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
    sched_pool_zeroed(&x->ranks, n, sizeof(rank_state_t));
    sched_pool_zeroed(&x->out, barrier ? 0 : cells, sizeof(value_t));
    sched_pool_zeroed(&x->tmp, uses_tmp ? cells : 0, sizeof(value_t));
    sched_pool_zeroed(&x->heard, barrier ? n * x->words : 0, sizeof(uint64_t));
    sched_pool_zeroed(&x->edge_of, n * n, sizeof(int32_t));
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
            x->random = sched_model_mix(x->random, (uint64_t)i);
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
                return sched_model_fail(x, rank, "leaves before rank %d has come", other);
            }
        }
        return 0;
    }
    if (CRDMA_REDUCE == args->coll && rank != args->root) {
        return 0;
    }
    value_t all = sched_model_contribution(x, 0, 0);
    for (int r = 1; r < x->size; r++) {
        all.set += sched_model_contribution(x, r, 0).set;
    }
    for (int64_t i = 0; i < x->places; i++) {
        const value_t *v = sched_model_memory(x, rank, CRDMA_BUF_OUT, i);
        if (0 == v->count || v->place != i) {
            return sched_model_fail(x, rank, "no result at %ld", (long)i);
        }
        if (CRDMA_BCAST == args->coll) {
            if (v->expr != sched_model_contribution(x, args->root, i).expr) {
                return sched_model_fail(x, rank, "not the root's data at %ld", (long)i);
            }
            continue;
        }
        if (v->count != x->size || v->set != all.set) {
            return sched_model_fail(x, rank, "%d contributions at %ld, or wrong ones", v->count,
                                    (long)i);
        }
        if (args->ordered && 0 != v->lo) {
            return sched_model_fail(x, rank, "not in rank order at %ld", (long)i);
        }
        if (CRDMA_ALLREDUCE == args->coll &&
            v->expr != sched_model_memory(x, 0, CRDMA_BUF_OUT, i)->expr) {
            return sched_model_fail(x, rank, "other bits than rank 0 at %ld", (long)i);
        }
    }
    return 0;
}

static int finish(sched_exec_t *x)
{
    for (int r = 0; r < x->size; r++) {
        if (!RANKS(x)[r].done) {
            return sched_model_fail(x, r, "deadlock");
        }
    }
    for (size_t i = 0; i < x->edges.used; i++) {
        const edge_t *e = &EDGES(x)[i];
        if (e->head >= 0) {
            return sched_model_fail(x, e->to, "%d messages from rank %d never received",
                                    e->sent - e->received, e->from);
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
