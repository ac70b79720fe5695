/*
 * Making a job. Schedules are generated rank by rank and appended to arrays that grow; then
 * the pairs (sender, receiver) are numbered: for each sender its receivers in ascending order,
 * each once, so that the edge of a receive is found by bisection.
 */
#include "coll_rdma/model/job.h"

#include <stdlib.h>
#include <string.h>

/* Arrays that grow by a half. */
static int make_room(void **array, int64_t *room, int64_t need, size_t size)
{
    if (need > *room) {
        const int64_t grown = need + need / 2;
        void *moved = realloc(*array, (size_t) grown * size);

        if (NULL == moved) {
            return 0;
        }
        *array = moved;
        *room = grown;
    }
    return 1;
}

static int *node_map(const crdma_model_case_t *what)
{
    int *node = malloc((size_t) what->size * sizeof(*node));

    for (int r = 0; NULL != node && r < what->size; ++r) {
        node[r] = crdma_model_node(what, r);
    }
    return node;
}

/* nodes: NULL, or the index of `node`. */
static crdma_sched_args_t args_of(const crdma_model_case_t *what, int rank, const int *node,
                                  const crdma_sched_nodes_t *nodes)
{
    return (crdma_sched_args_t) {.coll = what->coll,
                                 .alg = what->alg,
                                 .size = what->size,
                                 .rank = rank,
                                 .degree = what->degree,
                                 .node = what->two_level ? node : NULL,
                                 .nnodes = what->two_level ? crdma_model_nnodes(what) : 1,
                                 .inter_alg = what->inter_alg,
                                 .inter_degree = what->inter_degree,
                                 .nodes = nodes};
}

crdma_status_t crdma_model_rank_schedule(const crdma_model_case_t *what, int rank,
                                         crdma_sched_t **sched)
{
    int *node = node_map(what);
    crdma_status_t status = CRDMA_ERR_NOMEM;

    if (NULL != node) {
        const crdma_sched_args_t args = args_of(what, rank, node, NULL);

        status = crdma_sched_create(&args, sched);
        free(node);
    }
    return status;
}

/* Append one rank's schedule; the peers are ranks for now. */
static crdma_status_t append(crdma_model_job_t *job, int rank, const crdma_sched_t *sched,
                             int64_t *step_room, int64_t *peer_room)
{
    crdma_model_rank_t *mine = &job->ranks[rank];

    for (int i = 0; i < sched->nsteps; ++i) {
        if (CRDMA_STEP_SEND == sched->steps[i].kind) {
            job->nmessages += sched->steps[i].npeers;
        }
    }
    if (job->nmessages > CRDMA_MODEL_MESSAGES_MAX
        || !make_room((void **) &job->steps, step_room, job->nsteps + sched->nsteps,
                      sizeof(*job->steps))
        || !make_room((void **) &job->peers, peer_room, job->npeers + sched->npeers,
                      sizeof(*job->peers))) {
        return CRDMA_ERR_NOMEM;
    }
    *mine = (crdma_model_rank_t) {.step = job->nsteps,
                                  .nsteps = sched->nsteps,
                                  .lag = sched->skew[sched->nphases - 1]};
    memcpy(mine->skew, sched->skew, sizeof(mine->skew));
    job->peer_base[rank] = job->npeers;
    job->nblocks = sched->nblocks;
    if (0 < sched->nsteps) {
        memcpy(job->steps + job->nsteps, sched->steps,
               (size_t) sched->nsteps * sizeof(*job->steps));
    }
    if (0 < sched->npeers) {
        memcpy(job->peers + job->npeers, sched->peers,
               (size_t) sched->npeers * sizeof(*job->peers));
    }
    job->nsteps += sched->nsteps;
    job->npeers += sched->npeers;
    return CRDMA_OK;
}

static int ascending(const void *a, const void *b)
{
    const int32_t x = *(const int32_t *) a, y = *(const int32_t *) b;

    return (x > y) - (x < y);
}

/* The receivers of all ranks, ascending and each once: edge e of rank r is dst[first[r] + e]. */
static crdma_status_t number_edges(crdma_model_job_t *job, int64_t *first, int32_t *dst)
{
    int64_t n = 0;

    for (int r = 0; r < job->what.size; ++r) {
        const crdma_model_rank_t *rank = &job->ranks[r];
        int64_t m = n;

        first[r] = n;
        for (int i = 0; i < rank->nsteps; ++i) {
            const crdma_step_t *step = &job->steps[rank->step + i];

            for (int p = 0; CRDMA_STEP_SEND == step->kind && p < step->npeers; ++p) {
                dst[m++] = job->peers[job->peer_base[r] + step->first + p];
            }
        }
        qsort(dst + n, (size_t) (m - n), sizeof(*dst), ascending);
        for (int64_t i = n; i < m; ++i) {
            if (n == first[r] || dst[n - 1] != dst[i]) {
                dst[n++] = dst[i];
            }
        }
    }
    first[job->what.size] = n;
    job->nedges = n;
    job->edges = malloc((size_t) (0 == n ? 1 : n) * sizeof(*job->edges));
    if (NULL == job->edges) {
        return CRDMA_ERR_NOMEM;
    }
    for (int r = 0; r < job->what.size; ++r) {
        for (int64_t e = first[r]; e < first[r + 1]; ++e) {
            job->edges[e] = (crdma_model_edge_t) {.from = r, .to = dst[e]};
        }
    }
    return CRDMA_OK;
}

static int32_t edge_of(const int64_t *first, const int32_t *dst, int from, int to)
{
    int64_t low = first[from], high = first[from + 1];

    while (low < high) {
        const int64_t middle = low + (high - low) / 2;

        if (dst[middle] < to) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < first[from + 1] && dst[low] == to ? (int32_t) low : -2;
}

static crdma_status_t bind_peers(crdma_model_job_t *job)
{
    int64_t *first = malloc(((size_t) job->what.size + 1) * sizeof(*first));
    int32_t *dst = malloc(((size_t) job->nmessages + 1) * sizeof(*dst));
    crdma_status_t status = CRDMA_ERR_NOMEM;

    if (NULL != first && NULL != dst) {
        status = number_edges(job, first, dst);
    }
    if (CRDMA_OK == status && 1 < job->what.per_node) {
        job->back = malloc((size_t) (job->nedges + 1) * sizeof(*job->back));
        status = NULL != job->back ? CRDMA_OK : CRDMA_ERR_NOMEM;
    }
    for (int64_t e = 0; CRDMA_OK == status && NULL != job->back && e < job->nedges; ++e) {
        job->back[e] = edge_of(first, dst, job->edges[e].to, job->edges[e].from);
    }
    for (int r = 0; CRDMA_OK == status && r < job->what.size; ++r) {
        const crdma_model_rank_t *rank = &job->ranks[r];

        for (int i = 0; i < rank->nsteps; ++i) {
            const crdma_step_t *step = &job->steps[rank->step + i];
            int32_t *peers = job->peers + job->peer_base[r] + step->first;

            for (int p = 0; CRDMA_STEP_COPY != step->kind && p < step->npeers; ++p) {
                if (CRDMA_SELF == peers[p]) {
                    continue;
                }
                peers[p] = CRDMA_STEP_SEND == step->kind ? edge_of(first, dst, r, peers[p])
                                                         : edge_of(first, dst, peers[p], r);
                if (0 > peers[p]) {
                    status = CRDMA_ERR_MISMATCH; /* a receive that nobody sends to */
                }
            }
        }
    }
    free(first);
    free(dst);
    return status;
}

crdma_status_t crdma_model_job_create(const crdma_model_case_t *what, crdma_model_job_t **out)
{
    crdma_model_job_t *job = calloc(1, sizeof(*job));
    int *node = 0 < what->size ? node_map(what) : NULL;
    crdma_sched_nodes_t nodes = {NULL};
    int64_t step_room = 0, peer_room = 0;
    crdma_status_t status = 0 < what->size ? CRDMA_OK : CRDMA_ERR_PARAM;

    if (NULL != job && NULL != node) {
        job->what = *what;
        job->ranks = calloc((size_t) what->size, sizeof(*job->ranks));
        job->peer_base = malloc((size_t) what->size * sizeof(*job->peer_base));
    }
    if (CRDMA_OK == status
        && (NULL == job || NULL == node || NULL == job->ranks || NULL == job->peer_base)) {
        status = CRDMA_ERR_NOMEM;
    }
    if (CRDMA_OK == status && what->two_level) {
        status = crdma_sched_nodes_create(node, what->size, crdma_model_nnodes(what), &nodes);
    }
    for (int r = 0; CRDMA_OK == status && r < what->size; ++r) {
        const crdma_sched_args_t args =
            args_of(what, r, node, what->two_level ? &nodes : NULL);
        crdma_sched_t *sched;

        status = crdma_sched_create(&args, &sched);
        if (CRDMA_OK == status) {
            status = append(job, r, sched, &step_room, &peer_room);
            crdma_sched_free(sched);
        }
    }
    crdma_sched_nodes_free(&nodes);
    free(node);
    if (CRDMA_OK == status) {
        status = bind_peers(job);
    }
    if (CRDMA_OK != status) {
        crdma_model_job_free(job);
        return status;
    }
    *out = job;
    return CRDMA_OK;
}

void crdma_model_job_free(crdma_model_job_t *job)
{
    if (NULL != job) {
        free(job->ranks);
        free(job->steps);
        free(job->peer_base);
        free(job->peers);
        free(job->edges);
        free(job->back);
        free(job);
    }
}
