/*
 * Calls with an oracle; see calls.h.
 */
#include "tests/unit/calls.h"

#include <stdlib.h>
#include <string.h>

#include "coll_rdma/protocol/signature.h"

/* Bytes before and after each buffer that must stay as they are. */
enum { GUARD = 64, GUARD_BYTE = 0xa5 };

static const struct pair {
    crdma_coll_t coll;
    crdma_alg_t alg;
    bool orders;
} pairs[] = {
    {CRDMA_BCAST, CRDMA_ALG_TREE, false},
    {CRDMA_BCAST, CRDMA_ALG_CHAIN, false},
    {CRDMA_BCAST, CRDMA_ALG_SCATTER_ALLGATHER, false},
    {CRDMA_REDUCE, CRDMA_ALG_TREE, true},
    {CRDMA_REDUCE, CRDMA_ALG_CHAIN, true},
    {CRDMA_REDUCE, CRDMA_ALG_RSAG, true},
    {CRDMA_ALLREDUCE, CRDMA_ALG_TREE, true},
    {CRDMA_ALLREDUCE, CRDMA_ALG_EXCHANGE, true},
    {CRDMA_ALLREDUCE, CRDMA_ALG_RSAG, true},
    {CRDMA_ALLREDUCE, CRDMA_ALG_RING, false},
    {CRDMA_BARRIER, CRDMA_ALG_TREE, false},
    {CRDMA_BARRIER, CRDMA_ALG_EXCHANGE, false},
};

enum { NPAIRS = sizeof(pairs) / sizeof(pairs[0]) };

bool call_pair(int i, crdma_coll_t *coll, crdma_alg_t *alg, bool *orders)
{
    if (i >= NPAIRS) {
        return false;
    }
    *coll = pairs[i].coll;
    *alg = pairs[i].alg;
    *orders = pairs[i].orders;
    return true;
}

const char *call_describe(const call_t *c, char *text, size_t room)
{
    snprintf(text, room,
             "%s %s degree %d root %d levels %d (%s, %d) %zu x %zu B segment %zu%s%s seed %llx",
             crdma_coll_name(c->coll), crdma_alg_name(c->alg), c->degree, c->root, c->levels,
             crdma_alg_name(c->inter_alg), c->inter_degree, c->count, c->elsize, c->segment,
             c->ordered ? " ordered" : "", c->in_place ? " in place" : "",
             (unsigned long long)c->seed);
    return text;
}

static int below(uint64_t *state, int n)
{
    return (int)(ranks_next(state) % (unsigned)n);
}

/* Sizes around every threshold that a ring can have, and now and then anything. */
static size_t random_bytes(uint64_t *state, size_t most)
{
    static const size_t edges[] = {4,   8,   16,   20,   64,   68,   128,  132,
                                   192, 256, 1020, 1024, 1028, 4096, 8192, 65536};
    size_t bytes = edges[below(state, (int)(sizeof(edges) / sizeof(edges[0])))];

    switch (below(state, 8)) {
    case 0:
        bytes = 1 + ranks_next(state) % most;
        break;
    case 1:
        bytes = 1 + ranks_next(state) % 600;
        break;
    case 2:
        bytes = most;
        break;
    default:
        break;
    }
    return bytes < most ? bytes : most;
}

call_t call_random(uint64_t *state, int size, int nnodes, size_t most)
{
    const struct pair *pair = &pairs[below(state, NPAIRS)];
    const int two = nnodes > 1 && nnodes < size && 0 == below(state, 2);
    call_t c = {.coll = pair->coll,
                .alg = pair->alg,
                .degree = 1 + below(state, size),
                .root = below(state, size),
                .levels = two ? 2 : 1,
                .inter_degree = 1 + below(state, size),
                .ordered = pair->orders && 0 == below(state, 3),
                .in_place = 0 == below(state, 2),
                .elsize = 4,
                .seed = ranks_next(state)};
    size_t bytes = random_bytes(state, most);

    if (two) {
        c.alg = CRDMA_BARRIER == c.coll ? CRDMA_ALG_EXCHANGE : CRDMA_ALG_TREE;
        c.inter_alg = c.alg;
        if (CRDMA_ALLREDUCE == c.coll && 0 == below(state, 2)) {
            c.inter_alg = CRDMA_ALG_EXCHANGE;
        }
    }
    if (CRDMA_ALLREDUCE == c.coll || CRDMA_BARRIER == c.coll) {
        c.root = 0;
    }
    if (CRDMA_BCAST == c.coll || CRDMA_BARRIER == c.coll) {
        c.elsize = 1;
    } else if (c.ordered) {
        c.elsize = (size_t[]){8, 8, 16, 40, 64}[below(state, 5)];
    }
    c.count = CRDMA_BARRIER == c.coll ? 0 : (bytes + c.elsize - 1) / c.elsize;
    if (0 == below(state, 3) && 0 != c.count) {
        c.segment = 1 + ranks_next(state) % (c.count * c.elsize);
        if (c.count * c.elsize / c.segment > 40) {
            c.segment = c.count * c.elsize / 40;
        }
    }
    return c;
}

uint64_t call_signature(const call_t *c)
{
    const bool reduces = CRDMA_REDUCE == c->coll || CRDMA_ALLREDUCE == c->coll;

    return crdma_sig_make(c->coll,
                          !reduces     ? CRDMA_OP_NONE
                          : c->ordered ? CRDMA_OP_USER
                                       : CRDMA_OP_SUM,
                          reduces ? c->elsize : 0, c->root, c->count * c->elsize);
}

/* ---- data ---- */

static uint32_t word(const call_t *c, int rank, size_t i)
{
    uint64_t z = (c->seed + (uint64_t)rank * 0x632be59bd9b4e019u) ^ i * 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 29) * 0xbf58476d1ce4e5b9u;
    return (uint32_t)(z >> 32);
}

static void fill(const call_t *c, int rank, char *data)
{
    const size_t bytes = c->count * c->elsize;

    for (size_t i = 0; 4 * i < bytes; ++i) {
        uint32_t w = word(c, rank, i);

        if (c->ordered && 0 == i % 2) {
            w |= 1; /* an affine map that loses nothing */
        }
        memcpy(data + 4 * i, &w, bytes - 4 * i < 4 ? bytes - 4 * i : 4);
    }
}

static void sum(void *dst, const void *const *src, int nsrc, size_t count)
{
    for (size_t i = 0; i < count; ++i) {
        uint32_t total = 0, w;

        for (int s = 0; s < nsrc; ++s) {
            memcpy(&w, (const char *)src[s] + 4 * i, 4);
            total += w;
        }
        memcpy((char *)dst + 4 * i, &total, 4);
    }
}

/* (a, b) o (c, d) = (a c, a d + b), on pairs of words. */
static void compose(void *context, void *dst, const void *const *src, int nsrc, size_t count)
{
    const size_t npairs = count * *(const size_t *)context / 8;

    for (size_t i = 0; i < npairs; ++i) {
        uint32_t ab[2], cd[2];

        memcpy(ab, (const char *)src[0] + 8 * i, 8);
        for (int s = 1; s < nsrc; ++s) {
            memcpy(cd, (const char *)src[s] + 8 * i, 8);
            ab[1] += ab[0] * cd[1];
            ab[0] *= cd[0];
        }
        memcpy((char *)dst + 8 * i, ab, 8);
    }
}

static char *guarded(size_t bytes)
{
    char *p = malloc(bytes + 2 * GUARD);

    memset(p, GUARD_BYTE, bytes + 2 * GUARD);
    return p + GUARD;
}

static bool guards_hold(const char *data, size_t bytes)
{
    for (int i = 0; i < GUARD; ++i) {
        if (GUARD_BYTE != (uint8_t)data[-1 - i] || GUARD_BYTE != (uint8_t)data[bytes + (size_t)i]) {
            return false;
        }
    }
    return true;
}

static void expect(const call_t *c, int size, char *expected)
{
    const size_t bytes = c->count * c->elsize;
    size_t elsize = c->elsize;
    char *next;

    fill(c, CRDMA_BCAST == c->coll ? c->root : 0, expected);
    if (CRDMA_BCAST == c->coll || 0 == bytes) {
        return;
    }
    next = malloc(bytes);
    for (int r = 1; r < size; ++r) {
        const void *src[] = {expected, next};

        fill(c, r, next);
        if (c->ordered) {
            compose(&elsize, expected, src, 2, c->count);
        } else {
            sum(expected, src, 2, c->count);
        }
    }
    free(next);
}

crdma_status_t call_plan(crdma_group_t *group, const call_t *c, crdma_plan_t **plan)
{
    const crdma_plan_key_t key = {.coll = (int)c->coll,
                                  .alg = (int)c->alg,
                                  .degree = c->degree,
                                  .root = c->root,
                                  .ordered = c->ordered,
                                  .levels = c->levels,
                                  .inter_alg = (int)c->inter_alg,
                                  .inter_degree = c->inter_degree};

    return crdma_plan_get(group, &key, plan);
}

/*
 * A call whose input comes late, bit by bit, and whose output is taken as soon as it is final
 * (crdma_flow_t): what is read too early is wrong, and so is what changes afterwards.
 */
typedef struct trickle {
    crdma_flow_t flow;
    char *to; /* the input; NULL: this rank has none */
    const char *from;
    size_t there;
    const char *out;
    char *taken;
    size_t ntaken;
    unsigned polls;
} trickle_t;

static crdma_status_t trickle_arrived(crdma_flow_t *flow, size_t bytes)
{
    trickle_t *t = (trickle_t *)flow;

    if (0 != ++t->polls % 3) {
        return CRDMA_AGAIN;
    }
    if (NULL != t->to && t->there < bytes) {
        memcpy(t->to + t->there, t->from + t->there, bytes - t->there);
        t->there = bytes;
    }
    return CRDMA_OK;
}

static void trickle_finished(crdma_flow_t *flow, size_t bytes)
{
    trickle_t *t = (trickle_t *)flow;

    if (NULL != t->out) {
        memcpy(t->taken + t->ntaken, t->out + t->ntaken, bytes - t->ntaken);
    }
    t->ntaken = bytes;
}

crdma_status_t call_try(ranks_t *me, crdma_group_t *group, const call_t *c, bool *right)
{
    const size_t bytes = c->count * c->elsize;
    const bool reduces = CRDMA_REDUCE == c->coll || CRDMA_ALLREDUCE == c->coll;
    const bool has_result = CRDMA_REDUCE != c->coll || me->rank == c->root;
    size_t elsize = c->elsize;
    char *in = guarded(bytes), *out = guarded(bytes), *expected = malloc(bytes + 1);
    char *late = malloc(bytes + 1);
    trickle_t trickle = {.flow = {trickle_arrived, trickle_finished}, .from = late};
    crdma_op_args_t args = {
        .count = c->count, .elsize = c->elsize, .segment = c->segment, .sig = call_signature(c)};
    crdma_status_t status = call_plan(group, c, &args.plan);

    if (CRDMA_OK == status) {
        const bool own = CRDMA_BCAST != c->coll || me->rank == c->root;

        if (reduces) {
            args.reducer = (crdma_reducer_t){
                .kernel = c->ordered ? NULL : sum, .call = compose, .context = &elsize};
        }
        args.out = has_result ? out : NULL;
        args.in = CRDMA_BCAST == c->coll || (c->in_place && has_result) ? out : in;
        if (own) {
            fill(c, me->rank, (char *)(uintptr_t)args.in);
        }
        /* Each rank by itself: nothing of it goes over the wire. */
        if (bytes > crdma_group_ll_max(group) && 0 == (c->seed + (uint64_t)me->rank) % 3) {
            if (own) {
                trickle.to = (char *)(uintptr_t)args.in;
                memcpy(late, args.in, bytes);
                memset(trickle.to, 0x5b, bytes);
            }
            trickle.out = has_result ? out : NULL;
            trickle.taken = malloc(bytes);
            group->flow = &trickle.flow;
        }
        if (0 == c->seed % 2) {
            crdma_op_prepare(group, &args);
        }
        status = crdma_op_run(group, &args);
        group->flow = NULL;
    }
    *right = true;
    if (CRDMA_OK == status && NULL != trickle.taken) {
        *right = bytes == trickle.ntaken
                 && (NULL == trickle.out || 0 == memcmp(trickle.taken, out, bytes));
    }
    if (CRDMA_OK == status && CRDMA_BARRIER != c->coll) {
        *right = *right && guards_hold(in, bytes) && guards_hold(out, bytes);
        if (has_result) {
            expect(c, me->size, expected);
            *right = *right && 0 == memcmp(out, expected, bytes);
        }
        if (args.in == in) { /* the input is not ours to change */
            fill(c, me->rank, expected);
            *right = *right && 0 == memcmp(in, expected, bytes);
        }
    }
    if (CRDMA_OK == status || RANKS_DIRECT == me->setup->wire) {
        memset(in, 0xee, bytes); /* ours again: a peer that still reads them shall fail */
        memset(out, 0xee, bytes);
        free(in - GUARD);
        free(out - GUARD);
    }
    free(expected);
    free(late);
    free(trickle.taken);
    return status;
}

crdma_status_t call_run(ranks_t *me, crdma_group_t *group, const call_t *c)
{
    char text[256];
    bool right;
    crdma_status_t status = call_try(me, group, c, &right);

    RANKS_REQUIRE(right, "(wrong result, %d ranks: %s)", me->size,
                  call_describe(c, text, sizeof(text)));
    return status;
}
