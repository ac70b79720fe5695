/*
 * What the main function of a test with Check ends with.
 */
#ifndef TESTS_UNIT_RUN_SUITE_H
#define TESTS_UNIT_RUN_SUITE_H

#include <check.h>
#include <stdlib.h>

/* Run the suite, whose memory goes with it; print as `mode` says. Returns main's exit status. */
static inline int run_suite(Suite *suite, enum print_output mode)
{
    SRunner *runner = srunner_create(suite);
    int failed;

    srunner_run_all(runner, mode);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return 0 == failed ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
