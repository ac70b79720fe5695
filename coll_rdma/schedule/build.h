/*
 * The builder: generators append steps to it, in the order in which the rank
 * runs them.
 *
 * Messages that follow each other and differ only in the peer (and by a constant distance in
 * the block) become one step with several peers, so generators emit message by message and
 * schedules still have O(1) steps per round. Merging never changes the order of messages.
 *
 * Memory errors stick: after a failed append the builder ignores everything, and
 * crdma_build_finish reports it. Generators need no error paths.
 */
#ifndef CRDMA_SCHEDULE_BUILD_H
#define CRDMA_SCHEDULE_BUILD_H

#include "coll_rdma/schedule/schedule.h"

typedef struct crdma_build {
    crdma_sched_t *sched;
    int step_room;
    int peer_room;
    int phase;  /* of the steps to come */
    int failed; /* out of memory: *sched is unusable */
} crdma_build_t;

/* Start a schedule of nblocks blocks per segment: one phase, no steps. */
crdma_status_t crdma_build_init(crdma_build_t *b, int nblocks);

/* Fill in the derived fields and hand the schedule out; on error everything is freed. */
crdma_status_t crdma_build_finish(crdma_build_t *b, crdma_sched_t **sched);
void crdma_build_abort(crdma_build_t *b);

/* The steps to come belong to `phase`, which lags `skew` segments behind phase 0. Entering the
 * current phase again changes nothing; phases beyond the last possible one are folded into it. */
void crdma_build_phase(crdma_build_t *b, int phase, int skew);

/* The lag of the current phase. */
int crdma_build_skew(const crdma_build_t *b);

/* SEND buf[block, +n) to peer; RECV buf[block, +n) from peer. */
void crdma_build_send(crdma_build_t *b, crdma_buf_t buf, int peer, int block, int n);
void crdma_build_recv(crdma_build_t *b, crdma_buf_t buf, int peer, int block, int n);

/* dst[block, +n) = fold of the operands appended next, CRDMA_SELF being src[block, +n). */
void crdma_build_reduce(crdma_build_t *b, crdma_buf_t dst, crdma_buf_t src, int block, int n);
void crdma_build_operand(crdma_build_t *b, int peer);

/* dst[0, n) = src[0, n) */
void crdma_build_copy(crdma_build_t *b, crdma_buf_t dst, crdma_buf_t src, int n);

#endif
