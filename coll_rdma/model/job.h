/*
 * A job: the schedules of all ranks of one collective, in one compact form, so that it can be
 * priced many times (sizes, machines) after it has been made once.
 *
 * A directed pair of ranks that exchange messages is an edge, numbered 0 .. nedges-1; peers[] of a
 * job holds edges instead of ranks (of a step that sends: the edge to the peer, of one that
 * receives: the edge from it; CRDMA_SELF stays). That turns "the n-th send on an edge meets the
 * n-th receive on it" into one queue per edge.
 */
#ifndef CRDMA_MODEL_JOB_H
#define CRDMA_MODEL_JOB_H

#include <stddef.h>
#include <stdint.h>

#include "coll_rdma/schedule/schedule.h"

/* What to run: as crdma_sched_args_t, but for all ranks. */
typedef struct crdma_model_case {
    crdma_coll_t coll;
    crdma_alg_t alg;
    int size;       /* N */
    int degree;     /* K; with two levels: inside nodes */
    int per_node;   /* ranks per node, consecutive; 0 or 1: one */
    int two_level;  /* nonzero: node first, then across */
    crdma_alg_t inter_alg;
    int inter_degree;
} crdma_model_case_t;

typedef struct crdma_model_rank {
    int64_t step; /* first in steps[] */
    int32_t nsteps;
    int32_t lag; /* skew of the last phase */
    int32_t skew[CRDMA_MAX_PHASES];
} crdma_model_rank_t;

typedef struct crdma_model_edge {
    int32_t from, to;
} crdma_model_edge_t;

typedef struct crdma_model_job {
    crdma_model_case_t what;
    int nblocks;
    crdma_model_rank_t *ranks;
    crdma_step_t *steps; /* .first counts from peer_base[rank] */
    int64_t *peer_base;  /* by rank, in peers[] */
    int32_t *peers;      /* edges, or CRDMA_SELF */
    crdma_model_edge_t *edges;
    int32_t *back; /* by edge: the one in the other direction, or < 0; NULL: one rank per node */
    int64_t nsteps, npeers, nedges;
    int64_t nmessages; /* per segment */
} crdma_model_job_t;

/* Most messages per segment that a job may have: its memory stays below 1 GB. */
#define CRDMA_MODEL_MESSAGES_MAX 6000000

/* CRDMA_ERR_PARAM, CRDMA_ERR_UNSUPPORTED as crdma_sched_create; CRDMA_ERR_NOMEM also where there
 * are more messages than CRDMA_MODEL_MESSAGES_MAX (formula.h may still have an answer). */
crdma_status_t crdma_model_job_create(const crdma_model_case_t *what, crdma_model_job_t **job);
void crdma_model_job_free(crdma_model_job_t *job);

/* The schedule of one rank of a case; free it with crdma_sched_free. */
crdma_status_t crdma_model_rank_schedule(const crdma_model_case_t *what, int rank,
                                         crdma_sched_t **sched);

static inline int crdma_model_node(const crdma_model_case_t *what, int rank)
{
    return what->per_node > 1 ? rank / what->per_node : rank;
}

static inline int crdma_model_nnodes(const crdma_model_case_t *what)
{
    return what->per_node > 1 ? (what->size + what->per_node - 1) / what->per_node : what->size;
}

#endif
