/* Proof that the checker sees broken schedules. */
#include <check.h>

Suite *schedule_mutation_suite(void);
Suite *schedule_mutation_suite(void)
{
    return suite_create("schedule mutations");
}
