/*
 * Straight lines through measured times.
 */
#ifndef PERF_TUNE_FIT_H
#define PERF_TUNE_FIT_H

#include <stddef.h>

/* y = at0 + slope x by least squares of relative errors (y > 0), so that small sizes count as much as
 * large ones; the *_ci are half widths of 95 % confidence intervals. */
struct tune_line {
    double at0, slope;
    double at0_ci, slope_ci;
};

/* n >= 2 points; with 2 the intervals are 0. */
struct tune_line tune_fit(const double *x, const double *y, size_t n);

#endif
