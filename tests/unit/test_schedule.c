/*
 * All generators under the symbolic executor.
 *
 * one level   every row x every N <= 64 x every K <= 16 and N-1 x every root x both orders,
 *             each with one segment and (half of the larger ones) with 2 or 5; capacity, aliasing
 *             and interleaving rotate, for N <= 9 they are crossed in full;
 * sampled     larger N up to 1000, among them primes, powers and neighbours of powers;
 * two levels  node shapes x inter algorithms x degrees x roots;
 * arguments   what is refused, degenerate sizes, names, block ranges, 65536 ranks.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "coll_rdma/schedule/core.h"
#include "tests/unit/sched_cases.h"

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void report(const char *what, const sched_row_t *row, const sched_tally_t *tally,
                   double since)
{
    printf("%-10s %-9s %-17s %7ld cases %8ld runs %6.2f s\n", what, crdma_coll_name(row->coll),
           crdma_alg_name(row->alg), tally->cases, tally->runs, now() - since);
    fflush(stdout);
}

/* ---- one level ---------------------------------------------------------------------------- */

static void check_all_roots(sched_exec_t *x, const sched_row_t *row, int n, int k,
                            sched_tally_t *tally)
{
    for (int ordered = 0; ordered <= sched_row_orders(row); ordered++) {
        for (int root = 0; root < (sched_row_rooted(row) ? n : 1); root++) {
            crdma_sched_args_t args = {.coll = row->coll,
                                       .alg = row->alg,
                                       .size = n,
                                       .root = root,
                                       .degree = k,
                                       .ordered = ordered};
            int twice = n <= 24 || !sched_row_rooted(row) || 0 == (root + k) % 8;
            sched_check_case(x, &args,
                             n <= 9  ? SCHED_DEPTH_FULL
                             : twice ? SCHED_DEPTH_TWO
                                     : SCHED_DEPTH_ONE,
                             tally);
        }
    }
}

START_TEST(one_level)
{
    const sched_row_t *row = &sched_rows[_i];
    sched_exec_t *x = sched_exec_new();
    sched_tally_t tally = {0};
    double since = now();

    for (int n = 1; n <= 64; n++) {
        for (int k = 1; k <= 16 && (1 == k || (row->takes_degree && k < n)); k++) {
            check_all_roots(x, row, n, k, &tally);
        }
        if (row->takes_degree && n - 1 > 16) {
            check_all_roots(x, row, n, n - 1, &tally);
        }
    }
    report("N <= 64", row, &tally, since);
    sched_exec_free(x);
}
END_TEST

START_TEST(sampled)
{
    static const int sizes[] = {65,  81,  96,  100, 127, 128, 129, 210, 243, 251,
                                256, 257, 360, 511, 512, 625, 720, 997, 1000};
    static const int degrees[] = {1, 2, 3, 5, 9, 15, 31, 100, 999};
    const sched_row_t *row = &sched_rows[_i];
    sched_exec_t *x = sched_exec_new();
    sched_tally_t tally = {0};
    double since = now();
    unsigned turn = 0;

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        int n = sizes[i];
        /* the work is quadratic in N for algorithms with a block per rank */
        for (size_t d = 0; d < (row->takes_degree && n < 500 ? 3 : 1); d++) {
            /* of the degrees one or three for each size, in rotation */
            int k = degrees[(i + 3 * d) % (sizeof(degrees) / sizeof(degrees[0]))];
            crdma_sched_args_t args = {.coll = row->coll,
                                       .alg = row->alg,
                                       .size = n,
                                       .degree = k < n ? k : n - 1,
                                       .ordered = sched_row_orders(row) && turn % 2};
            if (sched_row_rooted(row)) {
                args.root = (int)(turn * 977u % (unsigned)n);
            }
            sched_check_case(x, &args, n < 200 ? SCHED_DEPTH_TWO : SCHED_DEPTH_ONE, &tally);
            turn++;
        }
    }
    report("N <= 1000", row, &tally, since);
    sched_exec_free(x);
}
END_TEST

/* ---- two levels --------------------------------------------------------------------------- */

typedef enum shape {
    SHAPE_EQUAL,       /* blocks of consecutive ranks */
    SHAPE_UNEQUAL,     /* consecutive, sizes 1, 2, 3, 1, 2, 3 .. */
    SHAPE_BIG_FIRST,   /* half of the ranks on the first node, the others alone */
    SHAPE_ROUND_ROBIN, /* rank r on node r mod nodes */
    SHAPE_SCATTERED,   /* seeded */
    NSHAPES
} shape_t;

/* Fill node[] as wanted; answers with the number of nodes. */
static int make_nodes(shape_t shape, int n, int wanted, int *node)
{
    int number[1024], nodes = 0;
    unsigned random = 12345u + (unsigned)n;

    for (int r = 0; r < n; r++) {
        switch (shape) {
        case SHAPE_EQUAL:
            node[r] = r / ((n + wanted - 1) / wanted);
            break;
        case SHAPE_UNEQUAL:
            node[r] = r / 6 * 3 + (r % 6 >= 1) + (r % 6 >= 3);
            break;
        case SHAPE_BIG_FIRST:
            node[r] = r < n / 2 ? 0 : r - n / 2 + 1;
            break;
        case SHAPE_ROUND_ROBIN:
            node[r] = r % wanted;
            break;
        default:
            random = random * 1664525u + 1013904223u;
            node[r] = (int)((random >> 16) % (unsigned)wanted);
            break;
        }
    }
    /* number by first appearance */
    memset(number, -1, sizeof(number));
    for (int r = 0; r < n; r++) {
        if (number[node[r]] < 0) {
            number[node[r]] = nodes++;
        }
        node[r] = number[node[r]];
    }
    return nodes;
}

static int consecutive(const int *node, int n)
{
    for (int r = 1; r < n; r++) {
        if (node[r] < node[r - 1]) {
            return 0;
        }
    }
    return 1;
}

static void check_nodes(sched_exec_t *x, const sched_row_t *row, int n, const int *node, int nnodes,
                        sched_tally_t *tally)
{
    static const int degrees[][2] = {{1, 1}, {3, 2}, {2, 5}, {63, 63}};
    int nroots = sched_row_rooted(row) ? n : 1, step = n > 20 ? 1 + n / 7 : 1;

    for (size_t d = 0; d < 4; d++) {
        for (int ordered = 0; ordered <= (sched_row_orders(row) && consecutive(node, n));
             ordered++) {
            for (int root = 0; root < nroots; root += step) {
                crdma_sched_args_t args = {.coll = row->coll,
                                           .alg = row->alg,
                                           .size = n,
                                           .root = root,
                                           .degree = degrees[d][0],
                                           .ordered = ordered,
                                           .node = node,
                                           .nnodes = nnodes,
                                           .inter_degree = degrees[d][1],
                                           .inter_alg = CRDMA_ALG_AUTO};
                sched_check_case(x, &args, n <= 7 ? SCHED_DEPTH_FULL : SCHED_DEPTH_TWO, tally);
                /* the algorithm across nodes is what counts */
                args.inter_alg = row->alg;
                args.alg = CRDMA_BARRIER == row->coll ? CRDMA_ALG_EXCHANGE : CRDMA_ALG_TREE;
                sched_check_case(x, &args, SCHED_DEPTH_ONE, tally);
            }
        }
    }
}

START_TEST(two_levels)
{
    static const int sizes[] = {3, 4, 5, 6, 7, 8, 12, 16, 17, 24, 31, 48, 64, 130};
    const sched_row_t *row = &sched_rows[_i];
    sched_exec_t *x = sched_exec_new();
    sched_tally_t tally = {0};
    double since = now();
    int node[1024];

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        int n = sizes[i];
        for (int shape = 0; shape < NSHAPES; shape++) {
            for (int wanted = 2; wanted < n; wanted = 2 * wanted + 1) {
                int nnodes = make_nodes((shape_t)shape, n, wanted, node);
                check_nodes(x, row, n, node, nnodes, &tally);
                if (SHAPE_UNEQUAL == shape || SHAPE_BIG_FIRST == shape) {
                    break;
                }
            }
        }
    }
    report("two levels", row, &tally, since);
    sched_exec_free(x);
}
END_TEST

/* ---- arguments ---------------------------------------------------------------------------- */

START_TEST(table_is_complete)
{
    for (int coll = 0; coll < CRDMA_NCOLLS; coll++) {
        for (int alg = 0; alg < CRDMA_NALGS; alg++) {
            int listed = 0;
            for (int i = 0; i < sched_nrows; i++) {
                listed |= coll == (int)sched_rows[i].coll && alg == (int)sched_rows[i].alg;
            }
            ck_assert_int_eq(listed, crdma_sched_supported((crdma_coll_t)coll, (crdma_alg_t)alg));
        }
    }
    ck_assert_str_eq(crdma_coll_name(CRDMA_ALLREDUCE), "allreduce");
    ck_assert_str_eq(crdma_alg_name(CRDMA_ALG_SCATTER_ALLGATHER), "scatter_allgather");
    ck_assert_str_eq(crdma_alg_name((crdma_alg_t)99), "unknown");
    ck_assert_str_eq(crdma_coll_name((crdma_coll_t)-1), "unknown");
}
END_TEST

static crdma_status_t create(crdma_sched_args_t args)
{
    crdma_sched_t *sched = NULL;
    crdma_status_t status = crdma_sched_create(&args, &sched);

    ck_assert_int_eq(CRDMA_OK == status, NULL != sched);
    crdma_sched_free(sched);
    return status;
}

START_TEST(refused_arguments)
{
    static const int nodes[] = {0, 0, 1, 1}, mixed[] = {0, 1, 0, 1}, gap[] = {0, 0, 2, 2},
                     late[] = {1, 1, 0, 0};
    const crdma_sched_args_t good = {
        .coll = CRDMA_REDUCE, .alg = CRDMA_ALG_TREE, .size = 4, .rank = 3, .root = 1, .degree = 2};
    crdma_sched_args_t a;

    ck_assert_int_eq(create(good), CRDMA_OK);
#define REFUSED(status, ...)                                                                       \
    do {                                                                                           \
        a = good;                                                                                  \
        __VA_ARGS__;                                                                               \
        ck_assert_int_eq(create(a), status);                                                       \
    } while (0)
    REFUSED(CRDMA_ERR_PARAM, a.size = 0);
    REFUSED(CRDMA_ERR_PARAM, a.rank = 4);
    REFUSED(CRDMA_ERR_PARAM, a.rank = -1);
    REFUSED(CRDMA_ERR_PARAM, a.root = 4);
    REFUSED(CRDMA_ERR_PARAM, a.root = -1);
    REFUSED(CRDMA_ERR_PARAM, a.degree = 0);
    REFUSED(CRDMA_ERR_PARAM, a.alg = CRDMA_ALG_AUTO);
    REFUSED(CRDMA_ERR_PARAM, a.alg = CRDMA_NALGS);
    REFUSED(CRDMA_ERR_PARAM, a.coll = CRDMA_NCOLLS);
    REFUSED(CRDMA_ERR_UNSUPPORTED, a.alg = CRDMA_ALG_RING);
    REFUSED(CRDMA_ERR_UNSUPPORTED, a.coll = CRDMA_BCAST; a.alg = CRDMA_ALG_EXCHANGE);
    REFUSED(CRDMA_ERR_UNSUPPORTED, a.coll = CRDMA_ALLREDUCE; a.alg = CRDMA_ALG_RING; a.ordered = 1);
    REFUSED(CRDMA_OK, a.coll = CRDMA_ALLREDUCE; a.root = 77); /* no root there */
    REFUSED(CRDMA_OK, a.degree = 1000000);
    REFUSED(CRDMA_OK, a.node = nodes; a.nnodes = 2; a.inter_degree = 1; a.ordered = 1);
    REFUSED(CRDMA_ERR_UNSUPPORTED, a.node = mixed; a.nnodes = 2; a.inter_degree = 1; a.ordered = 1);
    REFUSED(CRDMA_OK, a.node = mixed; a.nnodes = 2; a.inter_degree = 1);
    REFUSED(CRDMA_ERR_PARAM, a.node = nodes; a.nnodes = 2; a.inter_degree = 0);
    REFUSED(CRDMA_ERR_PARAM, a.node = nodes; a.nnodes = 3; a.inter_degree = 1);
    REFUSED(CRDMA_ERR_PARAM, a.node = gap; a.nnodes = 3; a.inter_degree = 1);
    REFUSED(CRDMA_ERR_PARAM, a.node = late; a.nnodes = 2; a.inter_degree = 1);
    REFUSED(CRDMA_OK, a.node = late; a.nnodes = 1); /* one level: not looked at */
#undef REFUSED
    ck_assert_int_eq(crdma_sched_create(NULL, NULL), CRDMA_ERR_PARAM);
}
END_TEST

START_TEST(block_ranges)
{
    static const size_t counts[] = {0, 1, 2, 7, 8, 63, 64, 65, 1000, 4096, ((size_t)1 << 33) + 3};
    static const size_t grains[] = {1, 3, 16, 64};

    for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
        for (size_t g = 0; g < sizeof(grains) / sizeof(grains[0]); g++) {
            for (int nblocks = 1; nblocks <= 40; nblocks++) {
                size_t at = 0, least = SIZE_MAX, most = 0;
                for (int b = 0; b < nblocks; b++) {
                    size_t begin, end, begin2, end2;
                    crdma_sched_range(counts[c], grains[g], nblocks, b, 1, &begin, &end);
                    ck_assert_uint_eq(begin, at);
                    ck_assert_uint_le(begin, end);
                    ck_assert(end == counts[c] || 0 == end % grains[g]);
                    crdma_sched_range(counts[c], grains[g], nblocks, 0, b + 1, &begin2, &end2);
                    ck_assert(0 == begin2 && end == end2);
                    at = end;
                    most = end - begin > most ? end - begin : most;
                    least = end - begin < least ? end - begin : least;
                }
                ck_assert_uint_eq(at, counts[c]);
                ck_assert_uint_le(most - least, 2 * grains[g]);
            }
        }
    }
    size_t begin, end;
    crdma_sched_range(SIZE_MAX, 64, 3, 2, 1, &begin, &end);
    ck_assert_uint_eq(end, SIZE_MAX);
    ck_assert_uint_gt(begin, SIZE_MAX / 3 * 2 - 64);
}
END_TEST

/* Schedules stay small where the algorithm allows it, and come quickly, at any size. */
START_TEST(large_communicators)
{
    static const int sizes[] = {4096, 65521, 65535, 65536};
    static const int degrees[] = {1, 2, 3, 7, 16, 40, 255, 1000};
    const sched_row_t *row = &sched_rows[_i];
    int linear = CRDMA_ALG_RING == row->alg;
    double worst = 0;

    for (size_t i = 0; i < 4; i++) {
        for (size_t d = 0; d < 8; d++) {
            for (int j = 0; j < (linear ? 1 : 5); j++) {
                int n = sizes[i], rank = (int)((long)j * (n - 1) / 4);
                crdma_sched_args_t args = {.coll = row->coll,
                                           .alg = row->alg,
                                           .size = n,
                                           .rank = rank,
                                           .root = n / 3,
                                           .degree = degrees[d]};
                crdma_sched_t *sched;
                double since = now();
                ck_assert_int_eq(crdma_sched_create(&args, &sched), CRDMA_OK);
                double took = now() - since;
                worst = took > worst ? took : worst;
                int rounds = 1;
                for (long reach = 1; reach < n; reach *= degrees[d] + 1) {
                    rounds++;
                }
                /* twice for the two halves of an algorithm, two messages where ranges wrap */
                if (!linear) {
                    ck_assert_int_le(sched->npeers, 4 * (rounds + 1) * (degrees[d] + 1));
                }
                crdma_sched_free(sched);
            }
        }
    }
    printf("%-10s %-9s %-17s slowest create %.0f us\n", "N = 65536", crdma_coll_name(row->coll),
           crdma_alg_name(row->alg), 1e6 * worst);
    fflush(stdout);
    ck_assert_double_lt(worst, 0.5);
}
END_TEST

/* N that factor into few factors take exactly that many rounds. */
START_TEST(exchange_rounds)
{
    static const struct {
        int size, degree, sends; /* SEND steps of the last rank with two or more, i.e. rounds */
    } expected[] = {{2, 1, 1}, {8, 1, 3},  {8, 7, 1},  {12, 3, 2}, {16, 3, 2},
                    {9, 2, 2}, {30, 5, 2}, {64, 7, 2}, {7, 6, 1},  {1000, 9, 3}};

    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        crdma_sched_args_t args = {.coll = CRDMA_ALLREDUCE,
                                   .alg = CRDMA_ALG_EXCHANGE,
                                   .size = expected[i].size,
                                   .degree = expected[i].degree};
        crdma_sched_t *sched;
        int sends = 0;
        ck_assert_int_eq(crdma_sched_create(&args, &sched), CRDMA_OK);
        for (int s = 0; s < sched->nsteps; s++) {
            sends += CRDMA_STEP_SEND == sched->steps[s].kind;
        }
        ck_assert_int_eq(sends, expected[i].sends);
        ck_assert_int_eq(sched->nsteps, 2 * sends);
        ck_assert_int_le(sched->max_fanin, expected[i].degree + 1);
        crdma_sched_free(sched);
    }
}
END_TEST

/* What core.h promises of the factors, and no more than one round above the minimum. */
START_TEST(exchange_factors)
{
    for (int n = 1; n <= 1100; n++) {
        for (int k = 1; k <= 20 && (1 == k || k < n); k++) {
            int least = 0;
            for (long reach = 1; reach < n; reach *= k + 1) {
                least++;
            }
            for (int goal = CRDMA_CORE_FEW_ROUNDS; goal <= CRDMA_CORE_FEW_FOLLOWERS; goal++) {
                int factor[CRDMA_CORE_MAX_ROUNDS], core, product = 1;
                int rounds = crdma_core_factor(n, k + 1, (crdma_core_goal_t)goal, factor, &core);
                for (int r = 0; r < rounds; r++) {
                    ck_assert(factor[r] >= 2 && factor[r] <= k + 1);
                    ck_assert(0 == r || factor[r] <= factor[r - 1]);
                    product *= factor[r];
                }
                ck_assert_int_eq(product, core);
                ck_assert_int_le(core, n);
                if (CRDMA_CORE_FEW_ROUNDS == goal) {
                    ck_assert_int_le((n + core - 1) / core, k + 1);
                    ck_assert_int_le(rounds + (core < n ? 2 : 0), least + 1);
                } else {
                    ck_assert_int_le(n, 2 * core);
                }
            }
        }
    }
}
END_TEST

Suite *schedule_mutation_suite(void);

static Suite *schedule_suite(void)
{
    Suite *suite = suite_create("schedule");
    TCase *arguments = tcase_create("arguments"), *executed = tcase_create("executed");

    tcase_add_test(arguments, table_is_complete);
    tcase_add_test(arguments, refused_arguments);
    tcase_add_test(arguments, block_ranges);
    tcase_add_test(arguments, exchange_rounds);
    tcase_add_test(arguments, exchange_factors);
    tcase_add_loop_test(arguments, large_communicators, 0, sched_nrows);
    tcase_add_loop_test(executed, one_level, 0, sched_nrows);
    tcase_add_loop_test(executed, sampled, 0, sched_nrows);
    tcase_add_loop_test(executed, two_levels, 0, sched_nrows);
    tcase_set_timeout(arguments, 60);
    tcase_set_timeout(executed, 600);
    suite_add_tcase(suite, arguments);
    suite_add_tcase(suite, executed);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(schedule_suite());

    srunner_add_suite(runner, schedule_mutation_suite());
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return 0 == failed ? EXIT_SUCCESS : EXIT_FAILURE;
}
