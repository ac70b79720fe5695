/*
 * The way of a message inside a node, size by size, because no line describes it: on the
 * test machine it takes the same time up to 512 B and four times as long at 4 KB.
 *
 * Two ranks, batches of calls back to back, three collectives that are made of the same messages:
 *
 *   broadcast to and fro     B = way + call
 *   allreduce by a tree      T = 2 way + call + reduction: one rank's call overlaps with the other's way
 *   allreduce by exchange    X = way (1 + cross) + call + reduction: the messages meet
 *
 * so call = 2 B - T + reduction, way = B - call, and cross is what is left of X.
 */
#ifndef PERF_TUNE_CURVE_H
#define PERF_TUNE_CURVE_H

#include <mpi.h>
#include <stdbool.h>

#include "coll_rdma/model/machine.h"

struct tune_curve {
    bool known;
    double ll;                     /* ns one way, LL */
    double way[CRDMA_MODEL_KNOTS]; /* ns one way, of crdma_model_knot[] bytes */
    double call;                   /* ns */
    double cross;                  /* share of the way */
    double spread;                 /* nine of ten rounds of measuring differ by less, as a share */
};

/* On both ranks of `pair`, on one host; the results are rank 0's. reduce: ns per byte. Changes algorithm
 * and degree of broadcast and allreduce. */
void tune_measure_curve(MPI_Comm pair, double seconds, double reduce, struct tune_curve *curve);

/* Into the level inside a node, and call where `alone` (no level between nodes was measured). */
void tune_apply_curve(const struct tune_curve *curve, bool alone, crdma_model_machine_t *machine);

#endif
