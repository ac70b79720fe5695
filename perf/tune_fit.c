/* Linear regression with weights 1 / y^2, and confidence intervals. */
#include "perf/tune_fit.h"

#include <math.h>

/* Student's t, two-sided 95 %, by degrees of freedom. */
static double student(size_t freedom)
{
    static const double t[] = {0,    12.71, 4.30, 3.18, 2.78, 2.57, 2.45,
                               2.36, 2.31,  2.26, 2.23, 2.20, 2.18};

    return freedom < sizeof(t) / sizeof(t[0]) ? t[freedom] : freedom < 30 ? 2.1 : 2.0;
}

static double weight(double y)
{
    return 1 / (y > 1 ? y * y : 1);
}

struct tune_line tune_fit(const double *x, const double *y, size_t n)
{
    double sum = 0, mx = 0, my = 0, sxx = 0, sxy = 0, rest = 0;
    struct tune_line line = {0, 0, 0, 0};

    for (size_t i = 0; i < n; ++i) {
        sum += weight(y[i]);
        mx += weight(y[i]) * x[i];
        my += weight(y[i]) * y[i];
    }
    mx /= sum;
    my /= sum;
    for (size_t i = 0; i < n; ++i) {
        sxx += weight(y[i]) * (x[i] - mx) * (x[i] - mx);
        sxy += weight(y[i]) * (x[i] - mx) * (y[i] - my);
    }
    line.slope = 0 < sxx ? sxy / sxx : 0;
    line.at0 = my - line.slope * mx;
    for (size_t i = 0; i < n; ++i) {
        const double error = y[i] - line.at0 - line.slope * x[i];

        rest += weight(y[i]) * error * error;
    }
    if (2 < n && 0 < sxx) {
        const double variance = rest / (double) (n - 2), t = student(n - 2);

        line.slope_ci = t * sqrt(variance / sxx);
        line.at0_ci = t * sqrt(variance * (1 / sum + mx * mx / sxx));
    }
    return line;
}
