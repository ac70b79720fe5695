/*
 * A plan: a schedule bound to the edges of a group. Plans are cached, most recently used first.
 * Making one makes the edges it needs, unless its calls can go through the board: then the first
 * call that does not makes them.
 */
#ifndef CRDMA_ENGINE_PLAN_H
#define CRDMA_ENGINE_PLAN_H

#include "coll_rdma/engine/group.h"

/* Plans kept per group; the least recently used one goes. */
#define CRDMA_PLAN_MAX 64

/* What selects a schedule; two calls with equal keys share a plan. All int, no padding. */
typedef struct crdma_plan_key {
    int coll, alg, degree, root, ordered, levels, inter_alg, inter_degree;
} crdma_plan_key_t;

/* The whole of a schedule that exchanges at most one message each way with one direct peer: of every
 * collective of two ranks. See run_pair.c. */
typedef struct crdma_pair {
    crdma_edge_t *edge; /* NULL: the schedule is not of this kind */
    bool empty;         /* messages carry nothing (barrier) */
    bool send, recv, reduce;
    bool peer_first;    /* REDUCE: peer op self */
    uint8_t sent, self, dst; /* crdma_buf_t */
} crdma_pair_t;

typedef struct crdma_plan {
    struct crdma_plan *next;
    crdma_plan_key_t key;
    crdma_sched_t *sched;
    int widest;           /* most messages that a step waits for */
    crdma_edge_t **edges; /* by index into sched->peers; NULL for CRDMA_SELF, and until connected */
    bool connected;
    crdma_pair_t pair;
    bool flat; /* one round with everybody, or two by way of one rank, in a group that has a board */
} crdma_plan_t;

/* Never blocks. CRDMA_ERR_NOMEM when the memory limit is reached. */
crdma_status_t crdma_plan_get_slow(crdma_group_t *group, const crdma_plan_key_t *key,
                                   crdma_plan_t **plan);

static inline crdma_status_t crdma_plan_get(crdma_group_t *group, const crdma_plan_key_t *key,
                                            crdma_plan_t **plan)
{
    crdma_plan_t *first = group->plans;

    if (NULL != first && 0 == __builtin_memcmp(&first->key, key, sizeof(*key))) {
        *plan = first;
        return CRDMA_OK;
    }
    return crdma_plan_get_slow(group, key, plan);
}

/* Make the edges. CRDMA_ERR_NOMEM when the memory limit is reached; then the group has failed. */
crdma_status_t crdma_plan_connect(crdma_group_t *group, crdma_plan_t *plan);

void crdma_plan_free_all(crdma_group_t *group);

#endif
