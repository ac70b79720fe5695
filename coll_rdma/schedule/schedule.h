/*
 * A schedule is what one rank does in one collective: a list of steps, made by
 * a pure function of the arguments below. No MPI, no I/O, no global state, no
 * bytes: a schedule counts in blocks, the engine decides how many bytes a block has.
 *
 * Execution. A message of the application is cut into segments, every segment
 * into `nblocks` blocks. Each step belongs to a phase; phase p lags `skew[p]`
 * segments behind phase 0, so that a schedule run over several segments is a pipeline:
 *
 *     for t in 0 .. nsegments + max(skew) - 1
 *         for p in 0 .. nphases - 1
 *             s = t - skew[p];  if 0 <= s < nsegments: run the steps of phase p on segment s
 *
 * Steps run strictly in this order (skew[0] = 0, skew is non-decreasing).
 *
 * Messages. A directed pair of ranks is an edge; the n-th send on an edge is
 * received by the n-th receive on it (RECV and REDUCE consume one message per
 * listed peer). SEND never waits: it starts a transfer that completes in the
 * background. Before a step writes a range of memory the engine waits for the
 * rank's own earlier sends that still read from that range, so that schedules
 * need no flags for it. (An edge holds a finite number of messages; a generator
 * must not rely on more than one undelivered message per edge to be free of deadlock.)
 *
 * Buffers. IN is the user's input (read only, except when it is also OUT:
 * MPI_IN_PLACE, and always for broadcast, where IN is unused), OUT the result, TMP
 * scratch memory of the same shape. Every schedule must be right whether or not
 * IN and OUT are the same memory.
 */
#ifndef CRDMA_SCHEDULE_H
#define CRDMA_SCHEDULE_H

#include <stddef.h>
#include <stdint.h>

#include "coll_rdma/base/status.h"

typedef enum crdma_coll {
    CRDMA_BCAST = 0,
    CRDMA_REDUCE,
    CRDMA_ALLREDUCE,
    CRDMA_BARRIER,
    CRDMA_NCOLLS
} crdma_coll_t;

typedef enum crdma_alg {
    CRDMA_ALG_AUTO = 0,     /* only in parameters: let the selection choose */
    CRDMA_ALG_TREE,         /* degree-K tree (K+1-nomial): bcast, reduce, allreduce = reduce + bcast */
    CRDMA_ALG_EXCHANGE,     /* degree-K exchange, mixed radix: allreduce; dissemination: barrier */
    CRDMA_ALG_RSAG,         /* reduce-scatter + allgather, mixed radix: allreduce, reduce (+ gather) */
    CRDMA_ALG_RING,         /* ring reduce-scatter + ring allgather: allreduce; commutative only */
    CRDMA_ALG_CHAIN,        /* pipelined chain: bcast, reduce */
    CRDMA_ALG_SCATTER_ALLGATHER, /* tree scatter + degree-K allgather: bcast */
    CRDMA_NALGS
} crdma_alg_t;

typedef enum crdma_buf { CRDMA_BUF_IN = 0, CRDMA_BUF_OUT, CRDMA_BUF_TMP } crdma_buf_t;

typedef enum crdma_step_kind {
    CRDMA_STEP_SEND = 0, /* peers[i] gets blocks src[src_block + i*stride, +nblocks) */
    CRDMA_STEP_RECV,     /* from peers[i] into dst[dst_block + i*stride, +nblocks) */
    CRDMA_STEP_REDUCE,   /* dst[dst_block, +nblocks) = fold of the listed operands, in list order;
                            an entry CRDMA_SELF is src[src_block, +nblocks), any other is a
                            message from that rank; dst may be src */
    CRDMA_STEP_COPY      /* dst[dst_block, +nblocks) = src[src_block, +nblocks) */
} crdma_step_kind_t;

#define CRDMA_SELF (-1)
#define CRDMA_MAX_PHASES 4

typedef struct crdma_step {
    uint8_t kind;  /* crdma_step_kind_t */
    uint8_t src;   /* crdma_buf_t */
    uint8_t dst;   /* crdma_buf_t */
    uint8_t phase; /* 0 .. nphases - 1, non-decreasing in the list */
    int32_t first; /* index of the first entry in crdma_sched_t.peers */
    int32_t npeers;
    int32_t src_block;
    int32_t dst_block;
    int32_t nblocks; /* 0: a pure notification (barrier) */
    int32_t stride;  /* blocks between the ranges of consecutive peers */
} crdma_step_t;

/* The ranks of all nodes, for who generates the schedules of many ranks: finding them costs O(N). */
typedef struct crdma_sched_nodes {
    int *leaders; /* first rank of each node */
    int *first;   /* node n has members[first[n] .. first[n + 1]), ascending */
    int *members;
    int descends; /* nonzero: some node's ranks are not consecutive */
} crdma_sched_nodes_t;

/* What to generate. All ranks of a collective must pass equal values but for `rank`. */
typedef struct crdma_sched_args {
    crdma_coll_t coll;
    crdma_alg_t alg;
    int size;      /* N >= 1 */
    int rank;      /* 0 .. N-1 */
    int root;      /* 0 .. N-1; ignored by allreduce and barrier */
    int degree;    /* K, 1 <= K; values above N-1 mean N-1 */
    int ordered;   /* nonzero: operands must be combined in rank order (non-commutative op) */
    /* Two levels: node[r] is the node (0 .. nnodes-1, numbered by first appearance) of rank r.
     * NULL or nnodes <= 1 or nnodes == size: one level. The first rank of a node is its
     * leader, but the root leads its own node. `degree` is used inside nodes,
     * `inter_degree` and `inter_alg` across them (allreduce: TREE, EXCHANGE, RSAG or RING
     * among leaders; AUTO: same as alg). */
    const int *node;
    int nnodes;
    int inter_degree;
    crdma_alg_t inter_alg;
    const crdma_sched_nodes_t *nodes; /* made from `node`; NULL: it is looked through again */
} crdma_sched_args_t;

typedef struct crdma_sched {
    crdma_sched_args_t args; /* as generated (args.node, args.nodes are not kept: NULL) */
    int nsteps;
    int npeers;  /* entries of peers[] */
    int nblocks; /* blocks per segment, >= 1, equal on all ranks */
    int nphases;
    int skew[CRDMA_MAX_PHASES]; /* in segments */
    int uses_tmp;               /* nonzero if a step names TMP */
    int max_fanin;              /* largest npeers of a REDUCE step */
    crdma_step_t *steps;
    int32_t *peers;
} crdma_sched_t;

/* Generate the schedule of one rank. *sched is set only on success; free it with
 * crdma_sched_free. CRDMA_ERR_PARAM: arguments out of range. CRDMA_ERR_UNSUPPORTED:
 * the algorithm does not serve that collective, or not in rank order. */
crdma_status_t crdma_sched_create(const crdma_sched_args_t *args, crdma_sched_t **sched);
void crdma_sched_free(crdma_sched_t *sched);

/* The index of node[0 .. size-1], numbered 0 .. nnodes-1 by first appearance (else CRDMA_ERR_PARAM),
 * for crdma_sched_args_t.nodes; set on success only, freed with crdma_sched_nodes_free. */
crdma_status_t crdma_sched_nodes_create(const int *node, int size, int nnodes,
                                        crdma_sched_nodes_t *nodes);
void crdma_sched_nodes_free(crdma_sched_nodes_t *nodes);

/* Nonzero if (coll, alg) has a generator. */
int crdma_sched_supported(crdma_coll_t coll, crdma_alg_t alg);

/* "bcast", "allreduce", ...; "tree", "scatter_allgather", ...; never NULL. */
const char *crdma_coll_name(crdma_coll_t coll);
const char *crdma_alg_name(crdma_alg_t alg);

/* The elements [*begin, *end) of blocks [block, block + n) of a segment of `count`
 * elements cut into `nblocks` blocks, in units of `grain` elements (grain >= 1) so that block
 * boundaries fall on cache lines. Blocks may be empty when count is small. */
void crdma_sched_range(size_t count, size_t grain, int nblocks, int block, int n, size_t *begin,
                       size_t *end);

#endif
