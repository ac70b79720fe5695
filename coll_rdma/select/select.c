/*
 * Built-in rules, and the file and the parameters that override them. Between hosts network.c decides.
 *
 * On one host a notification costs the same to any number of peers, and what counts is how often a
 * rank must wait: one round with everybody (K = N - 1) up to a size at which N - 1 copies cost
 * more than another round. Large messages: every rank reduces its own part of all inputs
 * once (reduce-scatter + allgather, K = N - 1), so that all cores work and no byte is read twice.
 */
#include "coll_rdma/select/select.h"

#include <stdint.h>

#include "coll_rdma/base/params.h"

/* One host. Above this size a broadcast is pipelined in segments if there are inner ranks. */
#define BCAST_FLAT_RANKS 8
#define SEGMENT (128 * 1024)
/* Bytes that a rank reads from its peers, up to which one round with everybody beats two rounds
 * (2 ranks, rewritten and unmodified buffers). Without rendezvous they are written to blocks and
 * read from there. */
#define ONE_SHOT_READ (256 * 1024)
#define ONE_SHOT_COPY (16 * 1024)
/* So many ranks that share processors: fewer messages than N (N - 1). Allreduce among 8 on 2 processors, everybody
 * to everybody -> flat tree, time against Open MPI's default, three jobs each in turns: 8 B 0.64 -> 0.64,
 * 512 B 0.52 -> 0.41, 2 KB 0.63 -> 0.54, 8 KB 0.76 -> 0.42, 32 KB 1.35 -> 0.67, 128 KB 0.85 -> 0.64; among 4
 * 8 B 0.63 -> 0.80, 2 KB 0.44 -> 0.63, 32 KB 0.88 -> 1.07. */
#define CROWD 8
/* Such ranks: from this size each reduces its own part. Time against Open MPI's default
 * by a flat tree -> by parts (coll_rdma_compare_mpi, 2 processors, A/A 0.95 to 1.09):
 *
 *             reduce, 16 ranks  32           allreduce, 16  32
 *   64 KB     0.20 -> 0.88      0.74 -> 1.02   0.27 -> 0.69   0.49 -> 0.37
 *   256 KB    1.10 -> 0.50      0.73 -> 0.53   0.92 -> 0.62   0.73 -> 0.34
 *   1 MB      0.82 -> 0.58      0.80 -> 0.35   0.71 -> 0.79   0.96 -> 0.44
 *
 * A reduce among 8, three jobs each in turns: 256 KB 0.38 -> 0.25, 1 MB 0.59 -> 0.29, 4 MB 0.57 -> 0.35.
 */
#define PARTS_SHARED (256 * 1024)

static void select_shm(const crdma_select_args_t *a, crdma_choice_t *c)
{
    const int all = a->size - 1;
    const bool crowd = a->oversubscribed && a->size >= CROWD;
    const bool parts = crowd && a->bytes >= PARTS_SHARED;

    if (0 < a->bytes && a->bytes <= a->board_max) {
        c->alg = CRDMA_ALG_TREE; /* with the root: what a board serves (engine/run_board.c) */
        c->degree = all;
        return;
    }
    switch (a->coll) {
    case CRDMA_BCAST:
        c->alg = CRDMA_ALG_TREE;
        c->degree = a->size <= BCAST_FLAT_RANKS || a->oversubscribed ? all : 4;
        if (a->bytes > SEGMENT && c->degree != all) {
            c->segment = SEGMENT;
        }
        break;
    case CRDMA_REDUCE:
        /* Where few ranks share processors the root alone is as fast as all together; of two ranks the
         * other one copies meanwhile (64 KB 0.87 -> 0.78, 1 MB 0.77 -> 0.56, 4 MB 0.70 -> 0.46 of the
         * default's time by parts -> by the root). By attached memory both do their half. */
        c->alg = !a->oversubscribed && 0 != a->parts_min && a->parts_min <= a->bytes ? CRDMA_ALG_RSAG
                 : 2 == a->size
                         || (a->oversubscribed && !parts)
                         || a->bytes * (size_t) a->size <= 4 * ONE_SHOT_COPY
                     ? CRDMA_ALG_TREE
                     : CRDMA_ALG_RSAG;
        c->degree = all;
        break;
    case CRDMA_ALLREDUCE:
        if (crowd) {
            c->alg = parts ? CRDMA_ALG_RSAG : CRDMA_ALG_TREE;
            c->degree = all;
            break;
        }
        c->alg = a->bytes * (size_t) all
                         <= (SIZE_MAX != a->rndv_min ? ONE_SHOT_READ : ONE_SHOT_COPY)
                     ? CRDMA_ALG_EXCHANGE
                     : CRDMA_ALG_RSAG;
        c->degree = all;
        break;
    default:
        c->alg = CRDMA_ALG_EXCHANGE;
        c->degree = all;
        break;
    }
}

static bool two_levels(const crdma_select_args_t *a)
{
    const bool possible = a->nnodes > 1 && a->nnodes < a->size && (!a->ordered || a->consecutive);

    return possible && CRDMA_LEVELS_OFF != crdma_params.two_level;
}

/* Inside nodes a two-level schedule uses trees; among leaders what the network likes. */
static void select_two_levels(const crdma_select_args_t *a, crdma_choice_t *c)
{
    size_t segment;

    crdma_network_choose(a->network, a->coll, a->nnodes, a->bytes, a->ordered, &c->inter_alg,
                         &c->inter_degree, &segment);
    c->levels = 2;
    c->alg = CRDMA_BARRIER == a->coll ? CRDMA_ALG_EXCHANGE : CRDMA_ALG_TREE;
    c->degree = (a->size + a->nnodes - 1) / a->nnodes - 1;
    if (0 != segment) {
        c->segment = segment;
    } else if (a->bytes > SEGMENT) {
        /* A turn of the pipeline lasts a latency at least: what the wire takes meanwhile, twice. */
        const uint64_t gap = 0 == a->network->gap_ps ? 1 : a->network->gap_ps;
        const uint64_t flight = 2 * a->network->latency_ns * 1000 / gap;

        c->segment = flight > SEGMENT ? (size_t) flight : SEGMENT;
    }
}

/* What the user's file says of this call, if anything. */
static void apply_rules(const crdma_select_args_t *a, crdma_choice_t *c)
{
    const bool inside = 1 == a->nnodes && a->all_direct;
    const crdma_rule_t *rule =
        crdma_rules_find(a->rules, a->coll, inside ? CRDMA_RULE_INSIDE : CRDMA_RULE_BETWEEN,
                         2 == c->levels ? a->nnodes : a->size, a->bytes, a->ordered);

    if (NULL == rule) {
        return;
    }
    if (2 == c->levels) {
        c->inter_alg = rule->alg;
        c->inter_degree = rule->degree;
        c->segment = 0 != rule->segment ? rule->segment : c->segment;
    } else {
        c->alg = rule->alg;
        c->degree = rule->degree;
        c->segment = rule->segment;
    }
}

void crdma_select(const crdma_select_args_t *a, crdma_choice_t *c)
{
    const int alg = crdma_params.algorithm[a->coll];
    const int degree = crdma_params.degree[a->coll];

    *c = (crdma_choice_t) {.levels = 1, .inter_degree = 1};
    if (two_levels(a)) {
        select_two_levels(a, c);
    } else if (1 == a->nnodes && a->all_direct) {
        select_shm(a, c);
    } else {
        crdma_network_choose(a->network, a->coll, a->size, a->bytes, a->ordered, &c->alg,
                             &c->degree, &c->segment);
    }
    apply_rules(a, c);
    if (CRDMA_ALG_AUTO != alg
        && !(a->ordered && CRDMA_ALG_RING == (crdma_alg_t) alg)) {
        if (2 == c->levels) {
            c->inter_alg = (crdma_alg_t) alg;
        } else {
            c->alg = (crdma_alg_t) alg;
        }
    }
    if (0 != degree) {
        if (2 == c->levels) {
            c->inter_degree = degree;
        } else {
            c->degree = degree;
        }
    }
    if (c->degree < 1) {
        c->degree = 1;
    }
    if (c->degree > a->size - 1) {
        c->degree = a->size - 1;
    }
    if (CRDMA_ALG_CHAIN == c->alg && 0 == c->segment && a->bytes > SEGMENT) {
        c->segment = SEGMENT;
    }
    if (0 != crdma_params.segment_size) {
        c->segment = crdma_params.segment_size;
    }
}
