/*
 * The way of a message inside a node, size by size, because no line describes it: on the
 * test machine it takes the same time up to 512 B and four times as long at 4 KB.
 *
 * Two ranks, batches of calls back to back, three collectives that are made of the same messages:
 *
 *   broadcast to and fro     B = way + call
 *   allreduce by a tree      T = 2 way + call + reduction: one rank's call overlaps with the other's way
 *   allreduce by exchange    X <= way (1 + cross) + call + reduction: the messages meet
 *
 * so call = 2 B - T + reduction, way = B - call, and cross is what X needs at most.
 */
#ifndef PERF_TUNE_CURVE_H
#define PERF_TUNE_CURVE_H

#include "perf/tune_verify.h"

enum { TUNE_CURVE_POINTS = 3 * (CRDMA_MODEL_KNOTS + 1) };

/* What to time on two ranks of one host; returns how many. */
int tune_curve_list(struct tune_point *points);

/* From measured points to the level inside a node, and to call where `alone` (no level between nodes has
 * been measured). spread: how far the farthest of the points is outside of its band. */
void tune_curve_fit(const struct tune_point *points, bool alone, crdma_model_machine_t *machine);

#endif
