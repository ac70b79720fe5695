/*
 * The tests of test_verbs in which something goes wrong, and how tests are listed.
 */
#ifndef CRDMA_TESTS_UNIT_VERBS_FAILURES_H
#define CRDMA_TESTS_UNIT_VERBS_FAILURES_H

#include <check.h>
#include <stddef.h>

typedef struct {
    const char *name;
    const TTest *test;
    int cases; /* _i is 0 .. cases - 1 */
} verbs_test_t;

#define VERBS_TEST(test, cases)                                                                    \
    {                                                                                              \
#test, test, cases                                                                         \
    }

/* Those of `count` tests that the environment (CRDMA_TEST_VERBS_ONLY) does not leave out. */
void verbs_add_tests(TCase *tcase, const verbs_test_t *tests, size_t count);

void verbs_add_failures(TCase *tcase);

#endif
