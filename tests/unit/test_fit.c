/*
 * Lines through measured times (perf/tune_fit.h): exact points give back their line; of noisy ones the
 * intervals hold the truth about as often as they say.
 */
#include <check.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "perf/tune_fit.h"
#include "tests/unit/run_suite.h"

enum { POINTS = 7 };

static const double x[POINTS] = {64, 256, 512, 1024, 2048, 3072, 4096};

START_TEST(exact)
{
    double y[POINTS];

    for (int i = 0; i < POINTS; ++i) {
        y[i] = 100 + 0.25 * x[i];
    }
    const struct tune_line line = tune_fit(x, y, POINTS);

    ck_assert_double_eq_tol(line.at0, 100, 1e-9);
    ck_assert_double_eq_tol(line.slope, 0.25, 1e-12);
    ck_assert_double_lt(line.at0_ci, 1e-6);
    ck_assert_double_lt(line.slope_ci, 1e-9);
}
END_TEST

/* Uniform in [-1, 1], the same on every machine. */
static double noise(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double) (*state >> 11) / (double) (UINT64_C(1) << 52) - 1;
}

START_TEST(noisy)
{
    enum { TRIALS = 2000 };
    uint64_t state = 1;
    int at0 = 0, slope = 0;

    for (int t = 0; t < TRIALS; ++t) {
        double y[POINTS];

        for (int i = 0; i < POINTS; ++i) {
            y[i] = (100 + 0.25 * x[i]) * (1 + 0.05 * noise(&state));
        }
        const struct tune_line line = tune_fit(x, y, POINTS);

        at0 += fabs(line.at0 - 100) <= line.at0_ci;
        slope += fabs(line.slope - 0.25) <= line.slope_ci;
    }
    ck_assert_int_ge(at0, TRIALS * 90 / 100);
    ck_assert_int_ge(slope, TRIALS * 90 / 100);
    ck_assert_int_le(at0, TRIALS * 99 / 100); /* not wide for nothing */
    ck_assert_int_le(slope, TRIALS * 99 / 100);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fit");
    TCase *tcase = tcase_create("fit");

    tcase_add_test(tcase, exact);
    tcase_add_test(tcase, noisy);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_ENV);
}
