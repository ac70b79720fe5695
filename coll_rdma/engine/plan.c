/*
 * The plan cache.
 */
#include "coll_rdma/engine/plan.h"

#include <stdlib.h>
#include <string.h>

static void plan_free(crdma_plan_t *plan)
{
    crdma_sched_free(plan->sched);
    free(plan->edges);
    free(plan);
}

/* Largest npeers of a step that receives. */
static int widest_receive(const crdma_sched_t *sched)
{
    int widest = 1;

    for (int i = 0; i < sched->nsteps; ++i) {
        const crdma_step_t *step = &sched->steps[i];

        if ((CRDMA_STEP_RECV == step->kind || CRDMA_STEP_REDUCE == step->kind)
            && step->npeers > widest) {
            widest = step->npeers;
        }
    }
    return widest;
}

/* Sends, if it does, before it receives: SEND, RECV or REDUCE of two, or both, of all there is. */
static bool find_pair(const crdma_group_t *g, const crdma_plan_t *plan, crdma_pair_t *pair)
{
    const crdma_sched_t *sched = plan->sched;

    *pair = (crdma_pair_t) {0};
    if (2 != g->size || !g->all_direct || 1 != sched->nblocks || 0 == sched->nsteps) {
        return false;
    }
    pair->edge = g->edges[1 - g->rank];
    pair->empty = 0 == sched->steps[0].nblocks;
    for (int i = 0; i < sched->nsteps; ++i) {
        const crdma_step_t *step = &sched->steps[i];
        const int32_t *peers = &sched->peers[step->first];

        if (pair->recv || pair->empty != (0 == step->nblocks) || CRDMA_BUF_TMP == step->src
            || CRDMA_BUF_TMP == step->dst) {
            return false;
        }
        if (CRDMA_STEP_SEND == step->kind && !pair->send && 1 == step->npeers) {
            pair->send = true;
            pair->sent = step->src;
        } else if (CRDMA_STEP_RECV == step->kind && 1 == step->npeers) {
            pair->recv = true;
            pair->dst = step->dst;
        } else if (CRDMA_STEP_REDUCE == step->kind && 2 == step->npeers
                   && (CRDMA_SELF == peers[0]) != (CRDMA_SELF == peers[1])) {
            pair->recv = pair->reduce = true;
            pair->peer_first = CRDMA_SELF == peers[1];
            pair->self = step->src;
            pair->dst = step->dst;
        } else {
            return false;
        }
    }
    return NULL != pair->edge;
}

static crdma_status_t connect(crdma_group_t *g, crdma_plan_t *plan)
{
    crdma_status_t status = CRDMA_OK;

    for (int i = 0; CRDMA_OK == status && i < plan->sched->npeers; ++i) {
        if (CRDMA_SELF != plan->sched->peers[i]) {
            status = crdma_group_edge(g, plan->sched->peers[i], &plan->edges[i]);
        }
    }
    plan->connected = CRDMA_OK == status;
    return status;
}

crdma_status_t crdma_plan_connect(crdma_group_t *g, crdma_plan_t *plan)
{
    const crdma_status_t status = plan->connected ? CRDMA_OK : connect(g, plan);

    if (CRDMA_OK != status) {
        crdma_group_fail(g); /* others succeed, and will wait for this rank */
    }
    return status;
}

static crdma_status_t plan_create(crdma_group_t *g, const crdma_plan_key_t *key,
                                  crdma_plan_t **out)
{
    const crdma_sched_args_t args = {.coll = (crdma_coll_t) key->coll,
                                     .alg = (crdma_alg_t) key->alg,
                                     .size = g->size,
                                     .rank = g->rank,
                                     .root = key->root,
                                     .degree = key->degree,
                                     .ordered = key->ordered,
                                     .node = 2 == key->levels ? g->node : NULL,
                                     .nnodes = 2 == key->levels ? g->nnodes : 1,
                                     .inter_alg = (crdma_alg_t) key->inter_alg,
                                     .inter_degree = key->inter_degree};
    crdma_plan_t *plan = calloc(1, sizeof(*plan));
    crdma_status_t status;

    if (NULL == plan) {
        return CRDMA_ERR_NOMEM;
    }
    plan->key = *key;
    status = crdma_sched_create(&args, &plan->sched);
    if (CRDMA_OK != status) {
        free(plan);
        return status;
    }
    plan->widest = widest_receive(plan->sched);
    plan->edges = calloc((size_t) plan->sched->npeers + 1, sizeof(*plan->edges));
    plan->flat = g->has_board && 1 == key->levels && key->degree >= g->size - 1
                 && (CRDMA_ALG_TREE == key->alg || CRDMA_ALG_EXCHANGE == key->alg);
    status = NULL == plan->edges                      ? CRDMA_ERR_NOMEM
             : plan->flat && crdma_group_board(g) ? CRDMA_OK
                                                      : connect(g, plan);
    if (CRDMA_OK != status) {
        plan_free(plan);
        return status;
    }
    if (!find_pair(g, plan, &plan->pair)) {
        plan->pair.edge = NULL;
    }
    *out = plan;
    return CRDMA_OK;
}

crdma_status_t crdma_plan_get_slow(crdma_group_t *g, const crdma_plan_key_t *key,
                                   crdma_plan_t **out)
{
    crdma_plan_t **link, *plan = NULL;
    crdma_status_t status;

    for (link = &g->plans; NULL != *link; link = &(*link)->next) {
        if (0 == memcmp(&(*link)->key, key, sizeof(*key))) {
            plan = *link;
            *link = plan->next;
            break;
        }
    }
    if (NULL == plan) {
        status = plan_create(g, key, &plan);
        if (CRDMA_OK != status) {
            if (CRDMA_ERR_UNSUPPORTED != status && CRDMA_ERR_PARAM != status) {
                crdma_group_fail(g); /* others succeed, and will wait for this rank */
            }
            return status;
        }
        if (CRDMA_PLAN_MAX == g->nplans) {
            for (link = &g->plans; NULL != (*link)->next; link = &(*link)->next) {
            }
            plan_free(*link);
            *link = NULL;
            ++g->epoch;
        } else {
            ++g->nplans;
        }
    }
    plan->next = g->plans;
    g->plans = plan;
    *out = plan;
    return CRDMA_OK;
}

void crdma_plan_free_all(crdma_group_t *g)
{
    while (NULL != g->plans) {
        crdma_plan_t *plan = g->plans;

        g->plans = plan->next;
        plan_free(plan);
    }
    g->nplans = 0;
}
