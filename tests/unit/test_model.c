/*
 * The model: the walker against closed formulas and against cases computed by hand.
 *
 *   machine    text is read back as it was written; wrong lines are found
 *   by hand    two ranks, one message; a flat tree; a rendezvous; shared processors
 *   formula    where it says that it is exact, the walker gives the same time
 *   order      best <= worst; more bytes or ranks never take less
 *   all        every algorithm, also in two levels and in segments, comes to an end
 *   large      65,536 ranks in seconds
 *   ways       a measured way replaces the line; messages that cross; an emulated network's work
 *   file       the selection follows a machine's file, and changes its choice where the model does
 *   choice     the degree changes where the paper saw it change; what the selection between hosts
 *              chooses is not far from the walker's best
 */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "coll_rdma/model/best.h"
#include "coll_rdma/model/formula.h"
#include "coll_rdma/select/rules.h"
#include "tests/unit/run_suite.h"

/* Round figures that tell each other apart. */
static crdma_model_machine_t simple(void)
{
    crdma_model_machine_t m = {.name = "simple", .reduce = 1, .ll_max = 16, .block_size = 8192};

    m.level[CRDMA_MODEL_BETWEEN] = (crdma_model_level_t) {.latency = 1000,
                                                          .overhead = 100,
                                                          .notify = 50,
                                                          .gap = 10,
                                                          .byte = 2,
                                                          .copy_out = 0.5,
                                                          .copy_in = 0.25,
                                                          .rndv_min = 32768,
                                                          .sr_overhead = 300,
                                                          .sr_match = 400,
                                                          .sr_copy_out = 0.5,
                                                          .sr_copy_in = 0.25,
                                                          .sr_eager_max = 8192};
    m.level[CRDMA_MODEL_INSIDE] = (crdma_model_level_t) {.latency = 60,
                                                         .overhead = 20,
                                                         .notify = 10,
                                                         .copy_out = 0.5,
                                                         .copy_in = 0.25,
                                                         .rndv_min = 32768,
                                                         .rndv_byte = 0.3,
                                                         .sr_overhead = 50,
                                                         .sr_match = 60,
                                                         .sr_eager_max = 4096};
    return m;
}

static double walk(const crdma_model_case_t *what, const crdma_model_machine_t *machine,
                   const crdma_model_call_t *call)
{
    crdma_model_job_t *job;
    crdma_model_result_t result;
    crdma_status_t status = crdma_model_job_create(what, &job);

    ck_assert_msg(CRDMA_OK == status, "%s %s N %d K %d: %s", crdma_coll_name(what->coll),
                  crdma_alg_name(what->alg), what->size, what->degree,
                  crdma_status_string(status));
    status = crdma_model_walk(job, machine, call, &result);
    ck_assert_msg(CRDMA_OK == status, "%s %s N %d K %d: %s", crdma_coll_name(what->coll),
                  crdma_alg_name(what->alg), what->size, what->degree,
                  crdma_status_string(status));
    crdma_model_job_free(job);
    return result.ns;
}

START_TEST(test_machine)
{
    crdma_model_machine_t out = simple(), in = {.name = ""};
    char text[8192] = "";
    FILE *f = fmemopen(text, sizeof(text), "w+");
    int line;

    fprintf(f, "# a comment\nrule bcast anything\n");
    crdma_model_machine_write(f, &out);
    rewind(f);
    ck_assert_int_eq(CRDMA_OK, crdma_model_machine_read(f, &in, &line));
    fclose(f);
    ck_assert_int_eq(0, memcmp(&in, &out, sizeof(in)));

    static const char *const wrong[] = {"param between.latency\n", "param nothing 3\n",
                                        "param reduce -1\n", "param reduce 1x\n"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); ++i) {
        snprintf(text, sizeof(text), "# first\n%s", wrong[i]);
        f = fmemopen(text, strlen(text), "r");
        ck_assert_int_eq(CRDMA_ERR_PARAM, crdma_model_machine_read(f, &in, &line));
        ck_assert_int_eq(2, line);
        fclose(f);
    }
}
END_TEST

#define NEAR(a, b) ck_assert_double_eq_tol(a, b, 1e-6 * (1 + fabs((double) (b))))

START_TEST(test_by_hand)
{
    crdma_model_machine_t m = simple();
    crdma_model_case_t two = {.coll = CRDMA_BCAST, .alg = CRDMA_ALG_TREE, .size = 2, .degree = 1};
    crdma_model_call_t call = {.bytes = 1000};

    /* overhead and copy; latency; header and payload on the wire; notification and copy */
    NEAR(walk(&two, &m, &call), (100 + 500) + 1000 + 2 * (64 + 1000) + (50 + 250));
    call.bytes = 8; /* LL: each word doubled and two words of signature, no copies that count */
    NEAR(walk(&two, &m, &call), (100 + 4) + 1000 + 2 * (16 + 8 + 8) + 50);
    call.bytes = 100000; /* grant, latency, put, latency, wire, notification */
    NEAR(walk(&two, &m, &call), 100 + 1000 + 100 + 1000 + 2 * 100064 + 50);
    call = (crdma_model_call_t) {.bytes = 1000, .send_receive = true};
    NEAR(walk(&two, &m, &call), (300 + 500) + 1000 + 2 * 1064 + (400 + 250));
    call.bytes = 100000; /* request; matching, answer; payload; completion */
    NEAR(walk(&two, &m, &call), 300 + 1000 + (400 + 300) + 1000 + 300 + 1000 + 2 * 100064 + 400);
    call = (crdma_model_call_t) {.bytes = 1000};
    two.per_node = 2; /* inside a node: no port */
    NEAR(walk(&two, &m, &call), 20 + 500 + 60 + 10 + 250);
    call.bytes = 65536; /* the kernel copies when both are there */
    NEAR(walk(&two, &m, &call), 20 + 60 + 10 + 0.3 * 65536 + 10);

    /* A flat reduce of 3 to 1: the port of the root serves them one after another. */
    const crdma_model_case_t flat = {
        .coll = CRDMA_REDUCE, .alg = CRDMA_ALG_TREE, .size = 4, .degree = 3};
    call.bytes = 1000;
    NEAR(walk(&flat, &m, &call), 600 + 1000 + 3 * 2128 + 50 + 1000);
    call.overlap = CRDMA_MODEL_WORST;
    NEAR(walk(&flat, &m, &call), 600 + 1000 + 3 * 2128 + 50 + 3 * 1000);
    m.processors = 1; /* three senders one after another on one processor, and the receiver too */
    ck_assert_double_gt(walk(&flat, &m, &call), 3 * 600 + 1000 + 2128 + 50 + 3 * 1000 - 1);
}
END_TEST

START_TEST(test_ways)
{
    crdma_model_machine_t m = simple();
    crdma_model_level_t *in = &m.level[CRDMA_MODEL_INSIDE], *out = &m.level[CRDMA_MODEL_BETWEEN];
    crdma_model_case_t two = {
        .coll = CRDMA_BCAST, .alg = CRDMA_ALG_TREE, .size = 2, .degree = 1, .per_node = 2};
    crdma_model_call_t call = {.bytes = 8};

    in->ll = 130;
    for (int i = 0; i < CRDMA_MODEL_KNOTS; ++i) {
        in->way[i] = 100 + crdma_model_knot[i];
    }
    NEAR(walk(&two, &m, &call), 130);
    call.bytes = 24; /* below the first knot */
    NEAR(walk(&two, &m, &call), 132);
    call.bytes = 1000;
    NEAR(walk(&two, &m, &call), 1100);
    call.bytes = 4096; /* by the sender's stage */
    in->way[CRDMA_MODEL_KNOTS - 1] = 1000;
    NEAR(walk(&two, &m, &call), 1000);
    call.bytes = 4090; /* still by a block */
    NEAR(walk(&two, &m, &call), 4190);
    call.bytes = 4096; /* if the stage is not known: as by a block */
    in->way[CRDMA_MODEL_KNOTS - 1] = 0;
    NEAR(walk(&two, &m, &call), 4196);
    call.bytes = 1000;
    m.call = 50;
    call.overlap = CRDMA_MODEL_WORST;
    NEAR(walk(&two, &m, &call), 1150);

    two.coll = CRDMA_ALLREDUCE;
    two.alg = CRDMA_ALG_EXCHANGE; /* both at once: a quarter longer at worst */
    in->cross = 0.25;
    NEAR(walk(&two, &m, &call), 50 + 1.25 * 1100 + 1000);
    two.alg = CRDMA_ALG_TREE; /* one after the other */
    NEAR(walk(&two, &m, &call), 50 + 2 * 1100 + 1000);

    m = simple();
    two.coll = CRDMA_BCAST;
    two.per_node = 1;
    const double alone = walk(&two, &m, &call);

    out->work = 40;
    out->work_byte = 0.5;
    NEAR(walk(&two, &m, &call), alone); /* processors of their own */
    m.processors = 1;
    NEAR(walk(&two, &m, &call), alone + 40 + 500);
}
END_TEST

typedef struct family {
    crdma_coll_t coll;
    crdma_alg_t alg;
} family_t;

static const family_t families[] = {
    {CRDMA_BCAST, CRDMA_ALG_TREE},         {CRDMA_REDUCE, CRDMA_ALG_TREE},
    {CRDMA_ALLREDUCE, CRDMA_ALG_TREE},     {CRDMA_ALLREDUCE, CRDMA_ALG_EXCHANGE},
    {CRDMA_ALLREDUCE, CRDMA_ALG_RSAG},     {CRDMA_ALLREDUCE, CRDMA_ALG_RING},
    {CRDMA_BCAST, CRDMA_ALG_CHAIN},        {CRDMA_BCAST, CRDMA_ALG_SCATTER_ALLGATHER},
    {CRDMA_REDUCE, CRDMA_ALG_RSAG},        {CRDMA_REDUCE, CRDMA_ALG_CHAIN},
    {CRDMA_BARRIER, CRDMA_ALG_EXCHANGE},   {CRDMA_BARRIER, CRDMA_ALG_TREE},
};

enum { NFAMILIES = sizeof(families) / sizeof(families[0]) };

static int nexact;

static void compare(const crdma_model_machine_t *m, const family_t *f, int size, int degree,
                    size_t bytes, int how)
{
    const crdma_model_case_t what = {
        .coll = f->coll, .alg = f->alg, .size = size, .degree = degree};
    const crdma_model_call_t call = {.bytes = bytes,
                                     .overlap = 1 == how ? CRDMA_MODEL_WORST : CRDMA_MODEL_BEST,
                                     .send_receive = 2 == how};
    double formula, walked;
    bool exact;

    if (CRDMA_OK != crdma_model_formula(&what, m, &call, &formula, &exact) || !exact) {
        return;
    }
    walked = walk(&what, m, &call);
    ck_assert_msg(fabs(formula - walked) <= 1e-6 * walked,
                  "%s, %s %s N %d K %d %zu B, %s: formula %.1f, walker %.1f", m->name,
                  crdma_coll_name(f->coll), crdma_alg_name(f->alg), size, degree, bytes,
                  0 == how ? "best" : 1 == how ? "worst" : "send-receive", formula, walked);
    ++nexact;
}

START_TEST(test_formula)
{
    static const int degrees[] = {1, 2, 3, 7, 15};
    static const size_t sizes[] = {4, 64, 1024, 4096};
    crdma_model_machine_t slow_cpu = simple(), ours = simple();

    slow_cpu.level[CRDMA_MODEL_BETWEEN].overhead = 9000; /* the processor limits, not the port */
    nexact = 0;
    for (int f = 0; f < NFAMILIES; ++f) {
        for (size_t d = 0; d < sizeof(degrees) / sizeof(degrees[0]); ++d) {
            for (int64_t n = degrees[d] + 1; n <= 256; n *= degrees[d] + 1) {
                for (size_t b = 0; b < sizeof(sizes) / sizeof(sizes[0]); ++b) {
                    for (int how = 0; how < 3; ++how) {
                        /* blocks of equal size: elsewhere the formulas approximate */
                        const size_t bytes = CRDMA_ALG_TREE == families[f].alg
                                                     || CRDMA_ALG_EXCHANGE == families[f].alg
                                                 ? sizes[b]
                                                 : sizes[b] * (size_t) n;

                        compare(&ours, &families[f], (int) n, degrees[d], bytes, how);
                        compare(&slow_cpu, &families[f], (int) n, degrees[d], bytes, how);
                    }
                }
            }
        }
    }
    ck_assert_int_gt(nexact, 500);
}
END_TEST

START_TEST(test_order)
{
    const crdma_model_machine_t m = simple();
    double before = 0;

    for (int n = 2; n <= 128; n = n * 3 / 2 + 1) {
        for (int k = 1; k < n; k = 2 * k + 1) {
            double smaller = 0;

            for (size_t bytes = 4; bytes <= 1 << 20; bytes *= 8) {
                const crdma_model_case_t what = {
                    .coll = CRDMA_ALLREDUCE, .alg = CRDMA_ALG_TREE, .size = n, .degree = k};
                crdma_model_call_t call = {.bytes = bytes};
                const double best = walk(&what, &m, &call);

                call.overlap = CRDMA_MODEL_WORST;
                ck_assert_double_ge(walk(&what, &m, &call) + 1e-6, best);
                ck_assert_double_ge(best, smaller);
                smaller = best;
            }
        }
        const crdma_model_case_t tree = {
            .coll = CRDMA_BCAST, .alg = CRDMA_ALG_TREE, .size = n, .degree = n - 1};
        const crdma_model_call_t call = {.bytes = 64};
        const double flat = walk(&tree, &m, &call);

        ck_assert_double_ge(flat, before);
        before = flat;
    }
}
END_TEST

START_TEST(test_all)
{
    static const int sizes[] = {1, 2, 3, 7, 16, 30};
    const crdma_model_machine_t m = simple();

    for (int f = 0; f < NFAMILIES; ++f) {
        for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); ++s) {
            for (int two = 0; two < 2; ++two) {
                const crdma_model_case_t what = {.coll = families[f].coll,
                                                 .alg = families[f].alg,
                                                 .size = sizes[s],
                                                 .degree = 3,
                                                 .per_node = 4,
                                                 .two_level = two,
                                                 .inter_alg = families[f].alg,
                                                 .inter_degree = 2};

                for (size_t bytes = 0; bytes <= 300000; bytes += 99996) {
                    for (int how = 0; how < 6; ++how) {
                        const crdma_model_call_t call = {.bytes = bytes,
                                                         .segment = how / 3 * 10000,
                                                         .overlap = how % 3 == 1,
                                                         .send_receive = how % 3 == 2};

                        if (CRDMA_BARRIER != what.coll || 0 == bytes) {
                            const double ns = walk(&what, &m, &call);

                            ck_assert(0 < ns || 1 == what.size);
                        }
                    }
                }
            }
        }
    }
}
END_TEST

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double) t.tv_sec + 1e-9 * (double) t.tv_nsec;
}

START_TEST(test_large)
{
    static const crdma_model_case_t cases[] = {
        {.coll = CRDMA_ALLREDUCE, .alg = CRDMA_ALG_TREE, .size = 65536, .degree = 3},
        {.coll = CRDMA_ALLREDUCE, .alg = CRDMA_ALG_EXCHANGE, .size = 65536, .degree = 1},
        {.coll = CRDMA_ALLREDUCE, .alg = CRDMA_ALG_RSAG, .size = 65536, .degree = 1},
        {.coll = CRDMA_ALLREDUCE, .alg = CRDMA_ALG_EXCHANGE, .size = 65536, .degree = 15},
        {.coll = CRDMA_BCAST, .alg = CRDMA_ALG_TREE, .size = 65536, .degree = 65535},
        {.coll = CRDMA_ALLREDUCE, .alg = CRDMA_ALG_TREE, .size = 65536, .degree = 7,
         .per_node = 64, .two_level = 1, .inter_alg = CRDMA_ALG_EXCHANGE, .inter_degree = 3},
    };
    const crdma_model_machine_t m = simple();
    struct rusage usage;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); ++i) {
        const crdma_model_call_t call = {.bytes = 8};
        const double begin = seconds();
        const double ns = walk(&cases[i], &m, &call);

        printf("# %s %s N 65536 K %d%s: %.1f us, priced in %.2f s\n",
               crdma_coll_name(cases[i].coll), crdma_alg_name(cases[i].alg), cases[i].degree,
               cases[i].two_level ? " in two levels" : "", 1e-3 * ns, seconds() - begin);
    }
    getrusage(RUSAGE_SELF, &usage);
    printf("# memory at most %.0f MB\n", (double) usage.ru_maxrss / 1024);
    ck_assert_int_lt(usage.ru_maxrss, 1000 * 1024);
}
END_TEST

START_TEST(test_degrees)
{
    int k[64];
    int n = crdma_model_degrees(16, k, 64);

    ck_assert_int_eq(n, 5);
    ck_assert_int_eq(k[0], 1);
    ck_assert_int_eq(k[1], 2);
    ck_assert_int_eq(k[2], 3);
    ck_assert_int_eq(k[3], 7);
    ck_assert_int_eq(k[4], 15);
}
END_TEST

/* Among the degrees that the paper compared. */
static int best_of_paper(int ranks, size_t bytes)
{
    static const int degrees[] = {1, 3, 7};
    const crdma_model_machine_t *m = crdma_model_machine_find("clan");
    double least = 0;
    int best = 0;

    for (int i = 0; i < 3; ++i) {
        const crdma_model_case_t what = {.coll = CRDMA_ALLREDUCE, .alg = CRDMA_ALG_TREE,
                                         .size = ranks, .degree = degrees[i]};
        const crdma_model_call_t call = {.bytes = bytes};
        const double ns = walk(&what, m, &call);

        if (0 == best || ns < least) {
            least = ns;
            best = degrees[i];
        }
    }
    return best;
}

START_TEST(test_choice)
{
    ck_assert_int_eq(3, best_of_paper(4, 4));
    ck_assert_int_eq(7, best_of_paper(8, 4));
    ck_assert_int_eq(3, best_of_paper(16, 4));
    ck_assert_int_eq(1, best_of_paper(4, 4096));
    ck_assert_int_eq(1, best_of_paper(8, 4096));
    ck_assert_int_eq(1, best_of_paper(16, 4096));
}
END_TEST

/* The selection's network as a machine: the same terms, copies as network.c assumes them. */
static crdma_model_machine_t machine_of(const crdma_network_t *n)
{
    crdma_model_machine_t m = {.name = "network", .reduce = 0.05, .ll_max = 16};

    m.block_size = (double) n->block_size;
    m.level[CRDMA_MODEL_BETWEEN] =
        (crdma_model_level_t) {.latency = (double) n->latency_ns,
                               .overhead = (double) n->overhead_ns,
                               .notify = (double) n->overhead_ns,
                               .byte = 1e-3 * (double) n->gap_ps,
                               .copy_out = 0.1,
                               .copy_in = 0.1,
                               .rndv_min = (double) n->rndv_min};
    return m;
}

START_TEST(test_selection)
{
    static const crdma_network_t networks[] = {
        {2000, 400, 100, 1, 8192, 32768}, {25000, 8000, 8000, 1, 8192, 32768}};

    for (int i = 0; i < 2; ++i) {
        const crdma_model_machine_t m = machine_of(&networks[i]);

        for (int n = 4; n <= 1024; n *= 4) {
            for (size_t bytes = 8; bytes <= 4096; bytes *= 8) {
                crdma_model_case_t what = {.coll = CRDMA_ALLREDUCE, .size = n};
                crdma_model_call_t call = {.bytes = bytes};
                double least = 0, chosen;
                size_t segment;
                bool walked;

                crdma_network_choose(&networks[i], CRDMA_ALLREDUCE, n, bytes, false, &what.alg,
                                     &what.degree, &segment);
                ck_assert_int_eq(CRDMA_OK, crdma_model_price(&what, &m, &call, &chosen, &walked));
                for (int a = CRDMA_ALG_TREE; a <= CRDMA_ALG_EXCHANGE; ++a) {
                    int degree;
                    double ns;

                    what.alg = (crdma_alg_t) a;
                    ck_assert_int_eq(CRDMA_OK, crdma_model_best_degree(&what, &m, &call, &bytes, 1,
                                                                       &degree, &ns));
                    least = 0 < least && least < ns ? least : ns;
                }
                ck_assert_msg(chosen <= 1.35 * least,
                              "network %d, %d ranks, %zu B: chosen %.1f us, best %.1f us", i, n,
                              bytes, 1e-3 * chosen, 1e-3 * least);
            }
        }
    }
}
END_TEST

/* A machine's file as the component reads it. */
static crdma_network_t network_of(const crdma_model_machine_t *m)
{
    static char text[16384];
    crdma_network_t n = crdma_network_default;
    FILE *f = fmemopen(text, sizeof(text), "w+");
    crdma_rules_t *rules;
    int line;

    crdma_model_machine_write(f, m);
    rewind(f);
    ck_assert_int_eq(CRDMA_OK, crdma_rules_load(f, &rules, &line));
    fclose(f);
    crdma_network_override(&n, &rules->network);
    n.block_size = (size_t) m->block_size;
    n.rndv_min = (size_t) m->level[CRDMA_MODEL_BETWEEN].rndv_min;
    crdma_rules_free(rules);
    return n;
}

/* What the selection takes for an allreduce, reading the file of *m. */
static crdma_model_case_t selected(const crdma_model_machine_t *m, int ranks, size_t bytes)
{
    const crdma_network_t n = network_of(m);
    crdma_model_case_t what = {.coll = CRDMA_ALLREDUCE, .size = ranks};
    size_t segment;

    crdma_network_choose(&n, CRDMA_ALLREDUCE, ranks, bytes, false, &what.alg, &what.degree,
                         &segment);
    return what;
}

static double priced(const crdma_model_case_t *what, const crdma_model_machine_t *m, size_t bytes)
{
    const crdma_model_call_t call = {.bytes = bytes};
    double ns;
    bool walked;

    ck_assert_int_eq(CRDMA_OK, crdma_model_price(what, m, &call, &ns, &walked));
    return ns;
}

/* Not far from the walker's best. */
static void check_choice(const crdma_model_case_t *what, const crdma_model_machine_t *m,
                         size_t bytes)
{
    const crdma_model_call_t call = {.bytes = bytes};
    double least = 0;

    for (int a = CRDMA_ALG_TREE; a <= CRDMA_ALG_EXCHANGE; ++a) {
        crdma_model_case_t other = *what;
        int degree;
        double ns;

        other.alg = (crdma_alg_t) a;
        ck_assert_int_eq(CRDMA_OK,
                         crdma_model_best_degree(&other, m, &call, &bytes, 1, &degree, &ns));
        least = 0 < least && least < ns ? least : ns;
    }
    ck_assert_double_le(priced(what, m, bytes), 1.35 * least);
}

/* The file of a machine in coll_rdma_rules_file, without any rule: the selection follows it. It takes
 * something else for 64 KB than for 8 B, and for 1 KB something else if the latency is a hundredth of a
 * second, and each time the walker says that it is right to change. */
START_TEST(test_file)
{
    const crdma_model_machine_t near = *crdma_model_machine_find("clan");
    crdma_model_machine_t far = near;
    const int ranks[] = {64, 512, 1024};

    far.level[CRDMA_MODEL_BETWEEN].latency = 1e7;
    for (int i = 0; i < 3; ++i) {
        const crdma_model_case_t tiny = selected(&near, ranks[i], 8);
        const crdma_model_case_t block = selected(&near, ranks[i], 65536);
        const crdma_model_case_t brief = selected(&near, ranks[i], 1024);
        const crdma_model_case_t distant = selected(&far, ranks[i], 1024);

        printf("# %d ranks: 8 B %s %d, 1 KB %s %d, far away %s %d, 64 KB %s %d\n", ranks[i],
               crdma_alg_name(tiny.alg), tiny.degree, crdma_alg_name(brief.alg), brief.degree,
               crdma_alg_name(distant.alg), distant.degree, crdma_alg_name(block.alg),
               block.degree);
        fflush(stdout);
        check_choice(&tiny, &near, 8);
        check_choice(&block, &near, 65536);
        ck_assert_double_lt(priced(&tiny, &near, 8), priced(&block, &near, 8));
        ck_assert_double_lt(priced(&block, &near, 65536), priced(&tiny, &near, 65536));
        ck_assert_double_lt(priced(&distant, &far, 1024), priced(&brief, &far, 1024));
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("model");
    TCase *tcase = tcase_create("model");

    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, test_machine);
    tcase_add_test(tcase, test_by_hand);
    tcase_add_test(tcase, test_formula);
    tcase_add_test(tcase, test_order);
    tcase_add_test(tcase, test_all);
    tcase_add_test(tcase, test_degrees);
    tcase_add_test(tcase, test_large);
    tcase_add_test(tcase, test_choice);
    tcase_add_test(tcase, test_selection);
    tcase_add_test(tcase, test_file);
    tcase_add_test(tcase, test_ways);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_ENV);
}
