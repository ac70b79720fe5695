/*
 * The cases of the schedule checker: which (collective, algorithm) pairs there are, and
 * building and running all ranks' schedules of one case.
 *
 * An algorithm joins the checker by one row of sched_rows.
 */
#ifndef CRDMA_TESTS_SCHED_CASES_H
#define CRDMA_TESTS_SCHED_CASES_H

#include "tests/unit/sched_exec.h"

typedef struct sched_row {
    crdma_coll_t coll;
    crdma_alg_t alg;
    int ordered;      /* serves non-commutative operations */
    int takes_degree; /* the degree makes a difference */
} sched_row_t;

extern const sched_row_t sched_rows[];
extern const int sched_nrows;

int sched_row_rooted(const sched_row_t *row);
/* Reductions that can run in rank order are checked both ways. */
int sched_row_orders(const sched_row_t *row);

/* All ranks' schedules of one collective; args.rank is ignored. Fails the test on an error. */
crdma_sched_t **sched_build_all(const crdma_sched_args_t *args);
void sched_free_all(crdma_sched_t **all, int size);

/* Counters of what a test ran. */
typedef struct sched_tally {
    long cases; /* sets of schedules */
    long runs;  /* executions */
} sched_tally_t;

/* How much of (segments, capacity, aliasing, order) a case goes through. */
typedef enum sched_depth {
    SCHED_DEPTH_ONE, /* one segment, the rest in rotation */
    SCHED_DEPTH_TWO, /* and once with several segments */
    SCHED_DEPTH_FULL /* the full cross product */
} sched_depth_t;

/* Build, run, fail the test with a full description if anything is wrong. */
void sched_check_case(sched_exec_t *x, const crdma_sched_args_t *args, sched_depth_t depth,
                      sched_tally_t *tally);

/* "allreduce exchange N 7 K 3 root 0 ordered 1 ..." */
void sched_describe(const crdma_sched_args_t *args, char *text, size_t room);

#endif
