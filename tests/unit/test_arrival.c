/*
 * The random entries of perf/arrival.h: within their bounds, equal wherever they are computed, and in
 * every order.
 */
#include <check.h>
#include <stdbool.h>
#include <stdlib.h>

#include "perf/arrival.h"
#include "tests/unit/run_suite.h"

#define RANKS 3
#define TURNS 1000
#define MOST  50e3

START_TEST(bounded)
{
    double sum = 0.0;

    for (long turn = 0; turn < TURNS; turn++) {
        double latest = 0.0;

        for (int r = 0; r < RANKS; r++) {
            const double delay = perf_arrival_delay(turn, r, MOST);

            ck_assert(0.0 <= delay && delay <= MOST);
            ck_assert(delay == perf_arrival_delay(turn, r, MOST));
            latest = delay > latest ? delay : latest;
            sum += delay;
        }
        ck_assert(latest == perf_arrival_last(turn, RANKS, MOST));
    }
    sum /= (double)TURNS * RANKS * MOST;
    ck_assert_msg(0.45 < sum && sum < 0.55, "the mean of the delays is %.3f of the longest", sum);
}
END_TEST

/* Each of the six orders of three ranks comes up in about a sixth of the turns. */
START_TEST(every_order)
{
    int seen[8] = {0};

    for (long turn = 0; turn < TURNS; turn++) {
        const double a = perf_arrival_delay(turn, 0, MOST);
        const double b = perf_arrival_delay(turn, 1, MOST);
        const double c = perf_arrival_delay(turn, 2, MOST);

        seen[(a < b) + 2 * (b < c) + 4 * (a < c)]++;
    }
    for (int i = 0; i < 8; i++) {
        const bool possible = 3 != i && 4 != i; /* a < b < c and not a < c; the reverse */

        ck_assert_msg(possible ? seen[i] > TURNS / 10 : 0 == seen[i], "order %d: %d of %d", i,
                      seen[i], TURNS);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("arrival");
    TCase *tcase = tcase_create("arrival");

    tcase_add_test(tcase, bounded);
    tcase_add_test(tcase, every_order);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_ENV);
}
