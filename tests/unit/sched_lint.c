/*
 * Checks on schedules that need no execution: everything that the header states about a single
 * step, and what must be equal on all ranks. The executor relies on it for its bounds.
 */
#include <stdio.h>

#include "tests/unit/sched_exec.h"

static const char *check_peers(const crdma_sched_t *s, const crdma_step_t *step)
{
    int selves = 0;

    if (step->npeers < 0 || step->first < 0 || step->first > s->npeers - step->npeers) {
        return "peers out of range";
    }
    if (CRDMA_STEP_COPY == step->kind) {
        return 0 == step->npeers ? NULL : "a copy with peers";
    }
    if (0 == step->npeers) {
        return "no peers";
    }
    for (int i = 0; i < step->npeers; i++) {
        int peer = s->peers[step->first + i];

        if (CRDMA_SELF == peer) {
            selves++;
        } else if (peer < 0 || peer >= s->args.size || peer == s->args.rank) {
            return "not a peer";
        }
    }
    if (selves > (CRDMA_STEP_REDUCE == step->kind)) {
        return "SELF in a message, or twice";
    }
    return NULL;
}

static const char *check_range(const crdma_sched_t *s, const crdma_step_t *step, int64_t block,
                               int npeers)
{
    int64_t last = block + (int64_t)(npeers > 0 ? npeers - 1 : 0) * step->stride;

    if (block < 0 || last < 0 || block + step->nblocks > s->nblocks ||
        last + step->nblocks > s->nblocks) {
        return "blocks out of range";
    }
    return NULL;
}

static const char *check_buffer(const crdma_sched_t *s, int buf, int writes)
{
    if (buf != CRDMA_BUF_IN && buf != CRDMA_BUF_OUT && buf != CRDMA_BUF_TMP) {
        return "not a buffer";
    }
    if (CRDMA_BUF_IN == buf && (writes || CRDMA_BCAST == s->args.coll)) {
        return writes ? "writes IN" : "IN in a broadcast";
    }
    if (CRDMA_BUF_OUT == buf && CRDMA_REDUCE == s->args.coll && s->args.rank != s->args.root) {
        return "OUT off the root of a reduce";
    }
    if (CRDMA_BUF_TMP == buf && !s->uses_tmp) {
        return "uses_tmp is wrong";
    }
    return NULL;
}

static const char *check_step(const crdma_sched_t *s, const crdma_step_t *step)
{
    int reads = CRDMA_STEP_RECV != step->kind, writes = CRDMA_STEP_SEND != step->kind;
    const char *error = NULL;

    if (step->kind > CRDMA_STEP_COPY) {
        return "not a kind of step";
    }
    if (step->phase >= s->nphases) {
        return "phase out of range";
    }
    if (step->nblocks < 0 || (CRDMA_BARRIER == s->args.coll) != (0 == step->nblocks)) {
        return "number of blocks";
    }
    if (0 == step->nblocks && CRDMA_STEP_SEND != step->kind && CRDMA_STEP_RECV != step->kind) {
        return "a notification that is no message";
    }
    if (CRDMA_STEP_REDUCE == step->kind && step->npeers > s->max_fanin) {
        return "max_fanin is wrong";
    }
    error = check_peers(s, step);
    if (NULL == error && reads) {
        error =
            check_range(s, step, step->src_block, CRDMA_STEP_SEND == step->kind ? step->npeers : 1);
        if (NULL == error && step->nblocks > 0) {
            error = check_buffer(s, step->src, 0);
        }
    }
    if (NULL == error && writes) {
        error =
            check_range(s, step, step->dst_block, CRDMA_STEP_RECV == step->kind ? step->npeers : 1);
        if (NULL == error && step->nblocks > 0) {
            error = check_buffer(s, step->dst, 1);
        }
    }
    return error;
}

static const char *check_schedule(const crdma_sched_t *s, const crdma_sched_t *first, int *at)
{
    const crdma_sched_args_t *a = &s->args, *b = &first->args;

    *at = -1;
    if (a->coll != b->coll || a->size != b->size || a->ordered != b->ordered ||
        ((CRDMA_BCAST == a->coll || CRDMA_REDUCE == a->coll) && a->root != b->root) ||
        NULL != a->node || s->nblocks != first->nblocks || s->nblocks < 1) {
        return "differs from rank 0";
    }
    if (s->nphases < 1 || s->nphases > CRDMA_MAX_PHASES || 0 != s->skew[0]) {
        return "phases";
    }
    for (int p = 1; p < s->nphases; p++) {
        if (s->skew[p] < s->skew[p - 1]) {
            return "skew decreases";
        }
    }
    for (*at = 0; *at < s->nsteps; ++*at) {
        const crdma_step_t *step = &s->steps[*at];
        const char *error = check_step(s, step);

        if (NULL == error && *at > 0 && step->phase < step[-1].phase) {
            error = "phase decreases";
        }
        if (NULL != error) {
            return error;
        }
    }
    return NULL;
}

int sched_lint(const crdma_sched_t *const *sched, char *message, size_t room)
{
    for (int r = 0; r < sched[0]->args.size; r++) {
        int at;
        const char *error = sched[r]->args.rank != r ? (at = -1, "not in the order of ranks")
                                                     : check_schedule(sched[r], sched[0], &at);

        if (NULL != error) {
            snprintf(message, room, "rank %d, step %d: %s", r, at, error);
            return 0;
        }
    }
    return 1;
}
