/*
 * Writing rules. For each number of ranks all sizes are priced at once, then neighbouring sizes
 * with equal choices become one range; a range ends at the geometric middle of two sizes. What is
 * compared is the mean of the best and the worst case.
 */
#include "perf/tune_rules.h"

#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdint.h>

#include "coll_rdma/model/best.h"

enum { SIZES = 10 };

static const size_t sizes[SIZES] = {8,         64,        512,        2048,        8192,
                                    32 * 1024, 128 * 1024, 512 * 1024, 2048 * 1024, 8192 * 1024};

static const crdma_alg_t algorithms[CRDMA_NCOLLS][4] = {
    [CRDMA_BCAST] = {CRDMA_ALG_TREE, CRDMA_ALG_SCATTER_ALLGATHER, CRDMA_ALG_CHAIN},
    [CRDMA_REDUCE] = {CRDMA_ALG_TREE, CRDMA_ALG_RSAG, CRDMA_ALG_CHAIN},
    [CRDMA_ALLREDUCE] = {CRDMA_ALG_TREE, CRDMA_ALG_EXCHANGE, CRDMA_ALG_RSAG, CRDMA_ALG_RING},
};

static void consider(const crdma_model_machine_t *machine, const crdma_model_case_t *what,
                     size_t segment, crdma_rule_t *rule, double *least)
{
    crdma_model_job_t *job;

    if (CRDMA_OK != crdma_model_make(what, &job) || NULL == job) {
        return;
    }
    for (int s = 0; s < SIZES; ++s) {
        crdma_model_call_t call = {.bytes = sizes[s], .segment = segment};
        crdma_model_result_t best, worst;

        if (0 != segment && sizes[s] <= segment) {
            continue;
        }
        if (CRDMA_OK != crdma_model_walk(job, machine, &call, &best)) {
            continue;
        }
        call.overlap = CRDMA_MODEL_WORST;
        if (CRDMA_OK == crdma_model_walk(job, machine, &call, &worst)
            && best.ns + worst.ns < least[s]) {
            least[s] = best.ns + worst.ns;
            rule[s].alg = what->alg;
            rule[s].degree = what->degree;
            rule[s].segment = segment;
        }
    }
    crdma_model_job_free(job);
}

static void write_ranges(FILE *to, crdma_rule_t *rule)
{
    size_t from = 0;

    for (int s = 0; s < SIZES; ++s) {
        const bool last = SIZES - 1 == s;

        if (!last && rule[s].alg == rule[s + 1].alg && rule[s].degree == rule[s + 1].degree
            && rule[s].segment == rule[s + 1].segment) {
            continue;
        }
        rule[s].bytes_min = from;
        rule[s].bytes_max =
            last ? SIZE_MAX : (size_t) sqrt((double) sizes[s] * (double) sizes[s + 1]);
        from = rule[s].bytes_max + 1;
        crdma_rule_write(to, &rule[s]);
    }
}

void tune_rules_write(FILE *to, const crdma_model_machine_t *machine, crdma_rule_level_t level,
                      const int *ranks, int n)
{
    for (int r = 0; r < n; ++r) {
        for (int coll = CRDMA_BCAST; coll <= CRDMA_ALLREDUCE; ++coll) {
            crdma_rule_t rule[SIZES];
            double least[SIZES];
            int degree[64];
            const int ndegrees = crdma_model_degrees(ranks[r], degree, 64);

            for (int s = 0; s < SIZES; ++s) {
                least[s] = DBL_MAX;
                rule[s] = (crdma_rule_t) {
                    .coll = (crdma_coll_t) coll,
                    .level = level,
                    .ranks_min = 0 < r ? (ranks[r - 1] + ranks[r]) / 2 + 1 : ranks[r],
                    .ranks_max = r + 1 < n ? (ranks[r] + ranks[r + 1]) / 2 : INT_MAX,
                    .alg = CRDMA_ALG_TREE,
                    .degree = 1};
            }
            for (int a = 0; a < 4 && CRDMA_ALG_AUTO != algorithms[coll][a]; ++a) {
                const crdma_alg_t alg = algorithms[coll][a];

                for (int k = 0; k < (CRDMA_ALG_RING == alg ? 1 : ndegrees); ++k) {
                    const crdma_model_case_t what = {
                        .coll = (crdma_coll_t) coll, .alg = alg, .size = ranks[r],
                        .degree = CRDMA_ALG_RING == alg ? 1 : degree[k],
                        .per_node = CRDMA_RULE_INSIDE == level ? ranks[r] : 1};

                    if (CRDMA_ALG_CHAIN != alg) {
                        consider(machine, &what, 0, rule, least);
                    } else if (3 >= degree[k]) {
                        for (size_t seg = 8192; seg <= 131072; seg *= 4) {
                            consider(machine, &what, seg, rule, least);
                        }
                    }
                }
            }
            write_ranges(to, rule);
        }
    }
}
