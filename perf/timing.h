/*
 * Clock and order statistics for the tools.
 *
 * Idea: one clock for everything, CLOCK_MONOTONIC, because all processes of one
 * machine share it (also across network namespaces), so that ranks can start at
 * an agreed instant. Times are nanoseconds in int64_t where they are instants
 * and double where they are durations.
 */
#ifndef PERF_TIMING_H
#define PERF_TIMING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

static inline int64_t perf_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/*
 * Spin until the instant `when` (ns); with `yield` the core is left to others
 * meanwhile. Returns false if the instant had already passed on entry.
 */
bool perf_wait_until(int64_t when, bool yield);

/* Sort in place, ascending. */
void perf_sort(double *values, size_t n);

/* Quantile q in [0, 1] of n > 0 sorted values, interpolated linearly. */
double perf_quantile(const double *sorted, size_t n, double q);

/* A median with the 95 % confidence bounds that order statistics give it. */
struct perf_median {
    double value;
    double low;
    double high;
};

/* Sorts `values`; n = 0 gives zeros. */
struct perf_median perf_median_of(double *values, size_t n);

#endif
