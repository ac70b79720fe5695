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

/* On all ranks of `comm`: measured_us of points that all have listed alike. one_clock: they are on one
 * machine, so that they can start at an agreed instant. one_host: in shared memory. Each point is timed
 * in many rounds, so that what disturbs for a while meets all points alike; a round's value is the median of
 * its samples, the point's the lower quartile of the rounds: what disturbs only ever adds. Complete on
 * rank 0. Algorithms and degrees are left to the selection afterwards. */
void tune_time(MPI_Comm comm, struct tune_point *points, int n, bool one_clock, bool one_host);

/* What to verify among `ranks` ranks: broadcast by trees, allreduce by trees and by exchange, of every
 * degree worth trying; returns how many, at most `room`. */
int tune_verify_list(int ranks, const size_t *bytes, int nbytes, struct tune_point *points,
                     int room);

/* best_us, worst_us. */
void tune_predict(const crdma_model_machine_t *machine, int ranks, int per_node,
                  struct tune_point *points, int n);

/* Errors of the worst case, and for each collective, algorithm and size what the model's choice of K
 * costs over the best one. The band of a point is from the best to the worst case, and by `spread` wider.
 * shared: ranks share processors, so that the worst case chooses; else the mean of both. */
void tune_verify_print(const struct tune_point *points, int n, double spread, bool shared);

#endif
