/*
 * Rules from a file: what is read, what is refused with the right line, and how the selection
 * uses them.
 */
#include <check.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "coll_rdma/base/params.h"
#include "coll_rdma/select/select.h"
#include "tests/unit/run_suite.h"

static crdma_status_t load(const char *text, crdma_rules_t **rules, int *line)
{
    FILE *f = fmemopen((void *) (uintptr_t) text, strlen(text), "r");
    crdma_status_t status = crdma_rules_load(f, rules, line);

    fclose(f);
    return status;
}

static const char good[] = "# written by hand\n"
                           "param between.latency 3\n"
                           "\n"
                           "rule allreduce between 9-24 0-2047 tree 3 0 # small\n"
                           "  rule allreduce between 9-24 2048- ring 1 0\n"
                           "rule allreduce between 9-24 0- rsag 7 65536\n"
                           "rule bcast inside 2 16-16 chain 2 4096\n";

START_TEST(read_back)
{
    char text[1024] = "";
    crdma_rules_t *rules, *again;
    int line;

    ck_assert_int_eq(CRDMA_OK, load(good, &rules, &line));
    ck_assert_int_eq(4, rules->n);
    ck_assert_int_eq(9, rules->rule[0].ranks_min);
    ck_assert_int_eq(24, rules->rule[0].ranks_max);
    ck_assert_uint_eq(2047, rules->rule[0].bytes_max);
    ck_assert_uint_eq(SIZE_MAX, rules->rule[1].bytes_max);
    ck_assert_int_eq(2, rules->rule[3].ranks_max);
    ck_assert_uint_eq(4096, rules->rule[3].segment);

    FILE *f = fmemopen(text, sizeof(text), "w");
    fprintf(f, "param between.latency 3\n");
    for (int i = 0; i < rules->n; ++i) {
        crdma_rule_write(f, &rules->rule[i]);
    }
    fclose(f);
    ck_assert_int_eq(CRDMA_OK, load(text, &again, &line));
    ck_assert_uint_eq(rules->hash, again->hash);
    again->rule[0].degree = 4;
    crdma_rules_free(again);
    ck_assert_int_eq(CRDMA_OK, load("rule bcast inside 2 16 chain 2 4096\n", &again, &line));
    ck_assert_uint_ne(rules->hash, again->hash);
    crdma_rules_free(again);
    crdma_rules_free(rules);
}
END_TEST

static const char *const wrong[] = {
    "rule allreduce between 9-24 0-2047 tree 3\n",     /* no segment */
    "rule allreduce between 9-24 0-2047 tree 3 0 1\n", /* too much */
    "rule allreduce between 24-9 0-2047 tree 3 0\n",   /* an empty range */
    "rule allreduce between 9-24 0-2047 tree 0 0\n",   /* no degree */
    "rule allreduce between 9-24 -1-2047 tree 3 0\n",
    "rule allreduce between 9-24 0-2K tree 3 0\n",
    "rule allreduce beside 9-24 0-2047 tree 3 0\n",
    "rule allgather between 9-24 0-2047 tree 3 0\n",
    "rule bcast between 9-24 0-2047 ring 3 0\n", /* not for that collective */
    "rules\n",
    "param between.latency\n",
    "param between.latency -3\n",
    "param between.byte 3x\n",
};

START_TEST(refused)
{
    crdma_rules_t *rules = NULL;
    char text[256];
    int line;

    snprintf(text, sizeof(text), "# first\n%s", wrong[_i]);
    ck_assert_msg(CRDMA_ERR_PARAM == load(text, &rules, &line), "taken: %s", wrong[_i]);
    ck_assert_int_eq(2, line);
    ck_assert_ptr_null(rules);
}
END_TEST

START_TEST(selected)
{
    crdma_select_args_t a = {.coll = CRDMA_ALLREDUCE,
                             .size = 16,
                             .nnodes = 16,
                             .consecutive = true,
                             .bytes = 2047,
                             .network = &crdma_network_default};
    crdma_rules_t *rules;
    crdma_choice_t plain, c;
    int line;

    ck_assert_int_eq(CRDMA_OK, load(good, &rules, &line));
    crdma_select(&a, &plain);
    a.rules = rules;
    crdma_select(&a, &c);
    ck_assert_int_eq(CRDMA_ALG_TREE, c.alg);
    ck_assert_int_eq(3, c.degree);
    a.bytes = 2048;
    crdma_select(&a, &c);
    ck_assert_int_eq(CRDMA_ALG_RING, c.alg);
    a.ordered = true; /* a ring cannot: the next rule */
    crdma_select(&a, &c);
    ck_assert_int_eq(CRDMA_ALG_RSAG, c.alg);
    ck_assert_int_eq(7, c.degree);
    ck_assert_uint_eq(65536, c.segment);
    a.ordered = false;

    crdma_params.degree[CRDMA_ALLREDUCE] = 5; /* a parameter goes before a rule */
    a.bytes = 8;
    crdma_select(&a, &c);
    ck_assert_int_eq(CRDMA_ALG_TREE, c.alg);
    ck_assert_int_eq(5, c.degree);
    crdma_params.degree[CRDMA_ALLREDUCE] = 0;

    a.size = 64; /* two levels: hosts are counted, the part in the node stays */
    crdma_select(&a, &c);
    ck_assert_int_eq(2, c.levels);
    ck_assert_int_eq(CRDMA_ALG_TREE, c.inter_alg);
    ck_assert_int_eq(3, c.inter_degree);

    a.size = a.nnodes = 25; /* no rule: as without a file */
    crdma_select(&a, &c);
    a.rules = NULL;
    crdma_select(&a, &plain);
    ck_assert_int_eq(0, memcmp(&plain, &c, sizeof(c)));
    crdma_rules_free(rules);
}
END_TEST

/* Parameters of the model: what the selection between hosts takes from them. */
START_TEST(parameters)
{
    crdma_network_t n = crdma_network_default;
    crdma_rules_t *rules, *other;
    int line;

    ck_assert_int_eq(CRDMA_OK, load("param name mine\nparam between.overhead 300\n"
                                    "param between.notify 501\nparam inside.latency 7\n",
                                    &rules, &line));
    ck_assert_int_eq(0, rules->n);
    ck_assert_uint_eq(0, rules->network.latency_ns);
    ck_assert_uint_eq(401, rules->network.overhead_ns);
    crdma_network_override(&n, &rules->network);
    ck_assert_uint_eq(crdma_network_default.latency_ns, n.latency_ns);
    ck_assert_uint_eq(401, n.overhead_ns);
    ck_assert_int_eq(CRDMA_OK, load("param between.latency 1072300\nparam between.byte 8.6705\n",
                                    &other, &line));
    ck_assert_uint_ne(rules->hash, other->hash);
    crdma_network_override(&n, &other->network);
    ck_assert_uint_eq(1072300, n.latency_ns);
    ck_assert_uint_eq(8671, n.gap_ps);
    ck_assert_uint_eq(401, n.overhead_ns);
    crdma_rules_free(rules);
    crdma_rules_free(other);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rules");
    TCase *tcase = tcase_create("rules");

    tcase_add_test(tcase, read_back);
    tcase_add_test(tcase, parameters);
    tcase_add_loop_test(tcase, refused, 0, sizeof(wrong) / sizeof(wrong[0]));
    tcase_add_test(tcase, selected);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_ENV);
}
