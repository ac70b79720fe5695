/*
 * What messages cost where all ranks work at once on processors that they share: hosts in
 * containers, an emulated network. A quiet pair does not show it: a rank is woken among others, and who
 * carries the messages takes processor time too.
 *
 * A few schedules are timed on all ranks, and the parameters that the load changes (call, overhead, notify,
 * work, work_byte) are chosen so that the walker's worst case comes nearest to them: the sum of the
 * absolute logarithms of (model / measured) is least. Seven schedules of two sizes for five
 * parameters; other sizes and degrees are then predicted.
 */
#ifndef PERF_TUNE_LOAD_H
#define PERF_TUNE_LOAD_H

#include "perf/tune_verify.h"

enum { TUNE_LOAD_POINTS = 16 };

/* What to time among `ranks` >= 4 hosts; returns how many, at most TUNE_LOAD_POINTS. */
int tune_load_list(int ranks, struct tune_point *points);

/* From measured points to the parameters between nodes; sets spread to what nine of ten points stay
 * below, as a share. */
void tune_load_fit(const struct tune_point *points, int n, int ranks,
                   crdma_model_machine_t *machine);

#endif
