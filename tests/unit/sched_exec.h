/*
 * Symbolic execution of the schedules of all ranks of one collective.
 *
 * Nothing is reduced: a block of memory holds a value that says whose contributions were
 * folded into it, in which order and by which expression. Running all ranks' schedules on such
 * values under a model of the edges proves (for that N, K, root, number of segments, edge
 * capacity, aliasing) that the schedules
 *  1. end: no deadlock, no message that nobody receives, all messages as long as their receiver
 *     expects;
 *  2. are right: each result block has every rank's contribution exactly once, of its own place,
 *     in rank order where the schedule was asked for that;
 *  3. give the same bits: in an allreduce all ranks' results are the same expression;
 *  4. respect memory: IN is never written, nothing undefined is read, a block that an
 *     undelivered message is still read from is not written before (the rank waits, as the
 *     engine does, and a deadlock from that is found), OUT is not used where it is not valid.
 *
 * Exactness of 2: an interval of ranks (also one that wraps around N) is tracked as such; other
 * sets of ranks are bit masks for N <= 64 and 64-bit sums of random tags above.
 *
 * Edges: capacity c >= 1 delivers a message as soon as less than c earlier ones of its edge are
 * unreceived; capacity 0 is a rendezvous: a message is delivered when its receiver has come to the
 * step that takes it (and, for a RECV, may write there). A step takes all its
 * messages at once, which is stricter than an engine that takes them as they come.
 */
#ifndef CRDMA_TESTS_SCHED_EXEC_H
#define CRDMA_TESTS_SCHED_EXEC_H

#include "coll_rdma/schedule/schedule.h"

typedef enum sched_exec_order {
    SCHED_EXEC_FORWARD = 0, /* ranks in turn, each as far as it gets */
    SCHED_EXEC_REVERSE,     /* the same from the last rank */
    SCHED_EXEC_ROUND_ROBIN, /* one step of each rank in turn */
    SCHED_EXEC_RANDOM,      /* seeded */
    SCHED_EXEC_NORDERS
} sched_exec_order_t;

typedef struct sched_exec_config {
    int nsegments;
    int capacity;
    int aliased; /* IN and OUT are the same memory (reduce: on the root) */
    sched_exec_order_t order;
    uint64_t seed;
} sched_exec_config_t;

/* Reusable memory of the executor. */
typedef struct sched_exec sched_exec_t;
sched_exec_t *sched_exec_new(void);
void sched_exec_free(sched_exec_t *x);

/* Run sched[0 .. N-1]. NULL if all is well, else what went wrong (valid until the next run). */
const char *sched_exec_run(sched_exec_t *x, const crdma_sched_t *const *sched,
                           const sched_exec_config_t *config);

/* The checks that need no execution (sched_lint.c): indices, buffers, phases, derived fields
 * of sched[0 .. N-1]. Nonzero if all is well; else `message` says what is wrong. */
int sched_lint(const crdma_sched_t *const *sched, char *message, size_t room);

#endif
