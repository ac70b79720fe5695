/*
 * Waiting for an instant, and medians with their confidence bounds.
 *
 * The bounds come from the binomial distribution of the number of samples below
 * the median: about n/2 +- 0.98 sqrt(n). They assume nothing about the shape of
 * the noise, which on a shared machine is far from normal.
 */
#include "perf/timing.h"

#include <errno.h>
#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>

bool perf_wait_until(int64_t when, bool yield)
{
    const struct timespec t = {when / 1000000000, when % 1000000000};

    if (perf_now() > when) {
        return false;
    }
    /* A sleeper wakes up late, but who polled the clock would make others late. */
    while (yield && EINTR == clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL)) {
    }
    while (perf_now() < when) {
    }
    return true;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

void perf_sort(double *values, size_t n)
{
    qsort(values, n, sizeof(*values), ascending);
}

double perf_quantile(const double *sorted, size_t n, double q)
{
    double position = q * (double)(n - 1);
    size_t below = (size_t)position;

    if (below + 1 >= n) {
        return sorted[n - 1];
    }
    return sorted[below] + (position - (double)below) * (sorted[below + 1] - sorted[below]);
}

struct perf_median perf_median_of(double *values, size_t n)
{
    struct perf_median m = {0.0, 0.0, 0.0};
    double reach;

    if (0 == n) {
        return m;
    }
    perf_sort(values, n);
    reach = 0.98 / sqrt((double)n);
    m.value = perf_quantile(values, n, 0.5);
    m.low = perf_quantile(values, n, reach < 0.5 ? 0.5 - reach : 0.0);
    m.high = perf_quantile(values, n, reach < 0.5 ? 0.5 + reach : 1.0);
    return m;
}
