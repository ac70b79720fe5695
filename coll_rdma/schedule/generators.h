/*
 * All generators. Each appends one part to the builder and answers with the buffer that holds
 * this member's result then: the whole result for members that get one (everybody, or the
 * root of a reduce), something of no use elsewhere. part->in is answered only
 * when nothing had to be combined (a group of one).
 *
 * A generator starts in phase 0 or continues the phase that the builder is in; it may open
 * later phases, numbered from 0 for the whole schedule.
 */
#ifndef CRDMA_SCHEDULE_GENERATORS_H
#define CRDMA_SCHEDULE_GENERATORS_H

#include "coll_rdma/schedule/build.h"
#include "coll_rdma/schedule/part.h"

typedef crdma_buf_t (*crdma_generate_fn_t)(crdma_build_t *b, const crdma_part_t *part);

/* One row per (collective, algorithm). */
typedef struct crdma_generator {
    crdma_coll_t coll;
    crdma_alg_t alg;
    int ordered; /* nonzero: can combine in rank order (or combines nothing) */
    int (*nblocks)(int size, int degree);
    crdma_generate_fn_t generate;
} crdma_generator_t;

/* NULL if there is none. */
const crdma_generator_t *crdma_generator_find(crdma_coll_t coll, crdma_alg_t alg);

crdma_buf_t crdma_generate_tree_bcast(crdma_build_t *b, const crdma_part_t *part);
crdma_buf_t crdma_generate_tree_reduce(crdma_build_t *b, const crdma_part_t *part);
crdma_buf_t crdma_generate_tree_allreduce(crdma_build_t *b, const crdma_part_t *part);
crdma_buf_t crdma_generate_tree_barrier(crdma_build_t *b, const crdma_part_t *part);
crdma_buf_t crdma_generate_exchange_allreduce(crdma_build_t *b, const crdma_part_t *part);
crdma_buf_t crdma_generate_exchange_barrier(crdma_build_t *b, const crdma_part_t *part);
crdma_buf_t crdma_generate_rsag_allreduce(crdma_build_t *b, const crdma_part_t *part);
crdma_buf_t crdma_generate_rsag_reduce(crdma_build_t *b, const crdma_part_t *part);
crdma_buf_t crdma_generate_ring_allreduce(crdma_build_t *b, const crdma_part_t *part);
crdma_buf_t crdma_generate_chain_bcast(crdma_build_t *b, const crdma_part_t *part);
crdma_buf_t crdma_generate_chain_reduce(crdma_build_t *b, const crdma_part_t *part);
crdma_buf_t crdma_generate_scatter_allgather_bcast(crdma_build_t *b, const crdma_part_t *part);

int crdma_rsag_nblocks(int size, int degree);

/* The two-level composition of *args around `inter`, the generator among the leaders. The
 * builder holds inter's number of blocks. */
crdma_status_t crdma_generate_twolevel(crdma_build_t *b, const crdma_sched_args_t *args,
                                       const crdma_generator_t *inter, crdma_buf_t *result);

#endif
