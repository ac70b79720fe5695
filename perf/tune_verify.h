/*
 * The model against measurement: every degree that is worth trying, timed on all ranks of the job.
 */
#ifndef PERF_TUNE_VERIFY_H
#define PERF_TUNE_VERIFY_H

#include <mpi.h>
#include <stdbool.h>

#include "coll_rdma/model/best.h"

/* Set a parameter of the component for the calls to come; false: there is no such parameter. */
bool tune_set(const char *name, int value);

struct tune_point {
    crdma_coll_t coll;
    crdma_alg_t alg;
    int degree;
    size_t bytes;
    double measured_us, best_us, worst_us; /* best, worst: of the model */
};

/* On all ranks: measured_us of points that all ranks have listed alike. one_clock: all ranks are on one
 * machine, so that they can start at an agreed instant. one_host: in shared memory. Each point is
 * timed in several rounds; a round's value is the median of its samples, the point's the lower
 * quartile of the rounds: what disturbs only ever adds. Complete on rank 0. */
void tune_time(struct tune_point *points, int n, bool one_clock, bool one_host);

/* On all ranks: time bcast by trees, and allreduce by trees and exchange, of the sizes given, and price
 * them. The points are complete on rank 0 only; returns how many, at most `room`. */
int tune_verify(const crdma_model_machine_t *machine, int per_node, bool one_clock,
                const size_t *bytes, int nbytes, struct tune_point *points, int room);

/* Errors, and for each collective, algorithm and size what the model's choice of K costs over the best
 * one. The band of a point is from the best to the worst case, and by `spread` wider. shared: ranks
 * share processors, so that the worst case is what is expected; else the middle. */
void tune_verify_print(const struct tune_point *points, int n, double spread, bool shared);

#endif
