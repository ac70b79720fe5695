/* The builder of schedules: growing arrays of steps and peers, and the merging of messages. */
#include "coll_rdma/schedule/build.h"

#include <stdlib.h>
#include <string.h>

crdma_status_t crdma_build_init(crdma_build_t *b, int nblocks)
{
    memset(b, 0, sizeof(*b));
    b->sched = calloc(1, sizeof(*b->sched));
    if (NULL == b->sched) {
        return CRDMA_ERR_NOMEM;
    }
    b->sched->nblocks = nblocks;
    b->sched->nphases = 1;
    return CRDMA_OK;
}

void crdma_build_abort(crdma_build_t *b)
{
    crdma_sched_free(b->sched);
    b->sched = NULL;
}

static void derive(crdma_sched_t *s)
{
    for (int i = 0; i < s->nsteps; i++) {
        const crdma_step_t *step = &s->steps[i];
        int reads = CRDMA_STEP_RECV != step->kind;
        int writes = CRDMA_STEP_SEND != step->kind;

        if (step->nblocks > 0 &&
            ((reads && CRDMA_BUF_TMP == step->src) || (writes && CRDMA_BUF_TMP == step->dst))) {
            s->uses_tmp = 1;
        }
        if (CRDMA_STEP_REDUCE == step->kind && step->npeers > s->max_fanin) {
            s->max_fanin = step->npeers;
        }
    }
}

crdma_status_t crdma_build_finish(crdma_build_t *b, crdma_sched_t **sched)
{
    if (b->failed) {
        crdma_build_abort(b);
        return CRDMA_ERR_NOMEM;
    }
    derive(b->sched);
    *sched = b->sched;
    b->sched = NULL;
    return CRDMA_OK;
}

void crdma_build_phase(crdma_build_t *b, int phase, int skew)
{
    crdma_sched_t *s = b->sched;

    if (phase >= CRDMA_MAX_PHASES) {
        phase = CRDMA_MAX_PHASES - 1;
    }
    if (phase <= b->phase) {
        return;
    }
    /* phases that this rank has no steps in lag like their predecessor */
    for (int p = b->phase + 1; p < phase; p++) {
        s->skew[p] = s->skew[b->phase];
    }
    s->skew[phase] = skew > s->skew[b->phase] ? skew : s->skew[b->phase];
    s->nphases = phase + 1;
    b->phase = phase;
}

int crdma_build_skew(const crdma_build_t *b)
{
    return b->sched->skew[b->phase];
}

/* Room for `need` elements of `size` bytes in *array, growing by doubling. */
static int make_room(void **array, int *room, int need, size_t size)
{
    if (need > *room) {
        int grown = 0 == *room ? 8 : 2 * *room;
        void *moved = realloc(*array, (size_t)grown * size);

        if (NULL == moved) {
            return 0;
        }
        *array = moved;
        *room = grown;
    }
    return 1;
}

static void append_peer(crdma_build_t *b, int peer)
{
    crdma_sched_t *s = b->sched;

    if (b->failed ||
        !make_room((void **)&s->peers, &b->peer_room, s->npeers + 1, sizeof(int32_t))) {
        b->failed = 1;
        return;
    }
    s->peers[s->npeers++] = peer;
    s->steps[s->nsteps - 1].npeers++;
}

static crdma_step_t *append_step(crdma_build_t *b, crdma_step_kind_t kind, int nblocks)
{
    crdma_sched_t *s = b->sched;

    if (b->failed ||
        !make_room((void **)&s->steps, &b->step_room, s->nsteps + 1, sizeof(crdma_step_t))) {
        b->failed = 1;
        return NULL;
    }
    crdma_step_t *step = &s->steps[s->nsteps++];
    *step = (crdma_step_t){
        .kind = (uint8_t)kind, .phase = (uint8_t)b->phase, .first = s->npeers, .nblocks = nblocks};
    return step;
}

/* Append the message to the last step if it continues it; else answer 0. */
static int merge(crdma_build_t *b, crdma_step_kind_t kind, crdma_buf_t buf, int peer, int block,
                 int n)
{
    crdma_sched_t *s = b->sched;

    if (b->failed || 0 == s->nsteps) {
        return 0;
    }
    crdma_step_t *last = &s->steps[s->nsteps - 1];
    int sends = CRDMA_STEP_SEND == kind;
    int first_block = sends ? last->src_block : last->dst_block;

    if (kind != last->kind || b->phase != last->phase || n != last->nblocks ||
        buf != (sends ? last->src : last->dst) || peer == s->peers[s->npeers - 1]) {
        return 0;
    }
    if (1 == last->npeers) {
        if (block < first_block) {
            return 0;
        }
        last->stride = block - first_block;
    } else if (block != first_block + last->npeers * last->stride) {
        return 0;
    }
    append_peer(b, peer);
    return 1;
}

void crdma_build_send(crdma_build_t *b, crdma_buf_t buf, int peer, int block, int n)
{
    if (!merge(b, CRDMA_STEP_SEND, buf, peer, block, n)) {
        crdma_step_t *step = append_step(b, CRDMA_STEP_SEND, n);

        if (NULL != step) {
            step->src = (uint8_t)buf;
            step->src_block = block;
            append_peer(b, peer);
        }
    }
}

void crdma_build_recv(crdma_build_t *b, crdma_buf_t buf, int peer, int block, int n)
{
    if (!merge(b, CRDMA_STEP_RECV, buf, peer, block, n)) {
        crdma_step_t *step = append_step(b, CRDMA_STEP_RECV, n);

        if (NULL != step) {
            step->dst = (uint8_t)buf;
            step->dst_block = block;
            append_peer(b, peer);
        }
    }
}

void crdma_build_reduce(crdma_build_t *b, crdma_buf_t dst, crdma_buf_t src, int block, int n)
{
    crdma_step_t *step = append_step(b, CRDMA_STEP_REDUCE, n);

    if (NULL != step) {
        step->src = (uint8_t)src;
        step->dst = (uint8_t)dst;
        step->src_block = block;
        step->dst_block = block;
    }
}

void crdma_build_operand(crdma_build_t *b, int peer)
{
    append_peer(b, peer);
}

void crdma_build_copy(crdma_build_t *b, crdma_buf_t dst, crdma_buf_t src, int n)
{
    crdma_step_t *step = append_step(b, CRDMA_STEP_COPY, n);

    if (NULL != step) {
        step->src = (uint8_t)src;
        step->dst = (uint8_t)dst;
    }
}
