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

/* On all ranks: time bcast by trees, and allreduce by trees and exchange, of the sizes given. The
 * points are complete on rank 0 only; returns how many, at most `room`. one_clock: all ranks are on
 * one machine, so that they can start at an agreed instant. */
int tune_verify(const crdma_model_machine_t *machine, int per_node, bool one_clock,
                const size_t *bytes, int nbytes, struct tune_point *points, int room);

/* For each collective, algorithm and size: what the model's choice of K costs over the best one. */
void tune_verify_print(const struct tune_point *points, int n);

#endif
