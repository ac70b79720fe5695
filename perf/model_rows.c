/*
 * Making and printing rows. A job is made once for all sizes, so sizes are the inner loop.
 *
 * With several ranks per node: two levels, inside a node a tree of all its ranks (as select/select.c
 * does), and the algorithm and degree of the row among the nodes.
 */
#include "perf/model_rows.h"

#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "coll_rdma/model/formula.h"

static const crdma_alg_t algorithms[CRDMA_NCOLLS][4] = {
    [CRDMA_BCAST] = {CRDMA_ALG_TREE, CRDMA_ALG_SCATTER_ALLGATHER, CRDMA_ALG_CHAIN},
    [CRDMA_REDUCE] = {CRDMA_ALG_TREE, CRDMA_ALG_RSAG, CRDMA_ALG_CHAIN},
    [CRDMA_ALLREDUCE] = {CRDMA_ALG_TREE, CRDMA_ALG_EXCHANGE, CRDMA_ALG_RSAG, CRDMA_ALG_RING},
    [CRDMA_BARRIER] = {CRDMA_ALG_EXCHANGE},
};

bool model_size_parse(const char *text, size_t *bytes)
{
    char *end;
    const unsigned long long value = strtoull(text, &end, 10);
    const int shift = 'K' == *end || 'k' == *end ? 10 : 'M' == *end ? 20 : 'G' == *end ? 30 : 0;

    *bytes = (size_t) value << shift;
    return end != text && '-' != text[0] && '\0' == end[0 != shift];
}

static bool add_number(struct model_list *list, size_t value)
{
    if (MODEL_LIST_MAX == list->n) {
        return false;
    }
    list->value[list->n++] = value;
    return true;
}

bool model_list_parse(const char *text, struct model_list *list)
{
    char copy[256], *rest = copy;

    snprintf(copy, sizeof(copy), "%s", text);
    list->n = 0;
    for (char *item = strsep(&rest, ","); NULL != item; item = strsep(&rest, ",")) {
        char *colon = strchr(item, ':');
        size_t from, to;

        if (NULL != colon) {
            *colon = '\0';
        }
        if (!model_size_parse(item, &from)) {
            return false;
        }
        to = from;
        if (NULL != colon && !model_size_parse(colon + 1, &to)) {
            return false;
        }
        for (size_t v = from; v <= to; v *= 2) {
            if (!add_number(list, v)) {
                return false;
            }
            if (0 == v) {
                break;
            }
        }
    }
    return 0 < list->n;
}

crdma_model_case_t model_case(const struct model_query *query, int ranks, crdma_alg_t alg,
                              int degree)
{
    crdma_model_case_t what = {
        .coll = query->coll, .alg = alg, .size = ranks, .degree = degree, .inter_degree = 1};

    if (1 < query->per_node && query->per_node < ranks) {
        what.per_node = query->per_node;
        what.two_level = 1;
        what.inter_alg = alg;
        what.inter_degree = degree;
        what.alg = CRDMA_BARRIER == query->coll ? CRDMA_ALG_EXCHANGE : CRDMA_ALG_TREE;
        what.degree = query->per_node - 1;
    } else if (1 < query->per_node) {
        what.per_node = query->per_node;
    }
    return what;
}

static int add_row(struct model_rows *rows, const struct model_row *row)
{
    if (rows->n == rows->room) {
        const int room = 0 == rows->room ? 64 : 2 * rows->room;
        struct model_row *moved = realloc(rows->row, (size_t) room * sizeof(*moved));

        if (NULL == moved) {
            fprintf(stderr, "coll_rdma_model: out of memory\n");
            return -1;
        }
        rows->row = moved;
        rows->room = room;
    }
    rows->row[rows->n++] = *row;
    return 0;
}

/* One of the two overlaps; false: neither walker nor formula. */
static bool price(const struct model_query *q, const crdma_model_job_t *job,
                  const crdma_model_case_t *what, crdma_model_call_t call, double *us)
{
    crdma_model_result_t result;
    double ns;
    bool exact;

    if (NULL != job) {
        if (CRDMA_OK != crdma_model_walk(job, &q->machine, &call, &result)) {
            return false;
        }
        ns = result.ns;
    } else if (CRDMA_OK != crdma_model_formula(what, &q->machine, &call, &ns, &exact)) {
        return false;
    }
    *us = 1e-3 * ns;
    return true;
}

/* Negative: the worst case has not been priced yet. */
#define UNKNOWN (-1.0)

static crdma_model_call_t call_of(const struct model_query *q, const struct model_row *row)
{
    crdma_model_call_t call = {
        .bytes = row->bytes, .segment = q->segment, .send_receive = row->send_receive};

    if (CRDMA_ALG_CHAIN == row->alg && 0 == call.segment) {
        call.segment = (size_t) q->machine.block_size;
    }
    return call;
}

/* All sizes of one (ranks, algorithm, degree, RDMA or send-receive). best_only: the worst case is
 * priced when it is known which rows stay. */
static int add_sizes(const struct model_query *q, struct model_rows *rows, int ranks,
                     crdma_alg_t alg, int degree, bool send_receive, bool best_only)
{
    const crdma_model_case_t what = model_case(q, ranks, alg, degree);
    crdma_model_job_t *job;
    int failed = 0;

    if (CRDMA_OK != crdma_model_make(&what, &job)) {
        return 0;
    }
    for (int b = 0; b < q->bytes.n && !failed; ++b) {
        struct model_row row = {.ranks = ranks,
                                .per_node = q->per_node,
                                .bytes = q->bytes.value[b],
                                .alg = alg,
                                .degree = degree,
                                .send_receive = send_receive,
                                .formula = NULL == job};
        crdma_model_call_t call = call_of(q, &row);

        if (!price(q, job, &what, call, &row.best_us)) {
            break;
        }
        call.overlap = CRDMA_MODEL_WORST;
        row.worst_us = UNKNOWN;
        if (best_only || price(q, job, &what, call, &row.worst_us)) {
            failed = add_row(rows, &row);
        }
    }
    crdma_model_job_free(job);
    return failed;
}

/* Keep of rows[from..] the fastest of each size. */
static void keep_best(struct model_rows *rows, int from, const struct model_list *bytes)
{
    int kept = from;

    for (int b = 0; b < bytes->n; ++b) {
        int best = -1;

        for (int i = from; i < rows->n; ++i) {
            if (rows->row[i].bytes == bytes->value[b]
                && (0 > best || rows->row[i].best_us < rows->row[best].best_us)) {
                best = i;
            }
        }
        if (0 <= best) {
            const struct model_row row = rows->row[best];

            rows->row[best] = rows->row[kept];
            rows->row[kept++] = row;
        }
    }
    rows->n = kept;
}

/* The worst cases that are still unknown: rows of one degree follow each other, or are few. */
static void complete(const struct model_query *q, struct model_rows *rows, int from)
{
    for (int i = from; i < rows->n; ++i) {
        const crdma_model_case_t what =
            model_case(q, rows->row[i].ranks, rows->row[i].alg, rows->row[i].degree);
        crdma_model_job_t *job;

        if (0 <= rows->row[i].worst_us || CRDMA_OK != crdma_model_make(&what, &job)) {
            continue;
        }
        for (int j = i; j < rows->n; ++j) {
            struct model_row *row = &rows->row[j];
            crdma_model_call_t call = call_of(q, row);

            if (row->degree == rows->row[i].degree && 0 > row->worst_us) {
                call.overlap = CRDMA_MODEL_WORST;
                if (!price(q, job, &what, call, &row->worst_us)) {
                    row->worst_us = row->best_us;
                }
            }
        }
        crdma_model_job_free(job);
    }
}

/* Among many ranks the walker prices only what is near the best by the formulas for some size; 1, 3
 * and 7 where there is none. Reduce-scatter and allgather of less than a cache line per rank have no
 * formula, but are rounds of messages as small as those of two exchanges. */
enum { MANY_RANKS = 4096 };
#define NEAR 1.25
#define NEAR_EXACT 1.1 /* where the formula is the walker's time for these messages */

/* With two levels: of the part among the leaders. */
static bool estimate(const struct model_query *q, crdma_model_case_t what,
                     const crdma_model_call_t *call, double *ns, bool *exact)
{
    if (what.two_level) {
        what = (crdma_model_case_t) {.coll = what.coll,
                                     .alg = what.inter_alg,
                                     .size = crdma_model_nnodes(&what),
                                     .degree = what.inter_degree};
    }
    if (CRDMA_OK == crdma_model_formula(&what, &q->machine, call, ns, exact)) {
        return true;
    }
    what.alg = CRDMA_ALG_EXCHANGE;
    return CRDMA_ALLREDUCE == what.coll && call->bytes < 64 * (size_t) what.size
           && CRDMA_OK == crdma_model_formula(&what, &q->machine, call, ns, exact);
}

static bool is_promising(const struct model_query *q, int ranks, crdma_alg_t alg, const int *degree,
                         int n, int mine)
{
    for (int b = 0; b < q->bytes.n; ++b) {
        const crdma_model_call_t call = {.bytes = q->bytes.value[b], .segment = q->segment};
        double least = DBL_MAX, ours = DBL_MAX, near = NEAR;

        for (int i = 0; i < n; ++i) {
            const crdma_model_case_t what = model_case(q, ranks, alg, degree[i]);
            double ns;
            bool exact;

            if (!estimate(q, what, &call, &ns, &exact)) {
                return 1 == degree[mine] || 3 == degree[mine] || 7 == degree[mine];
            }
            least = ns < least ? ns : least;
            ours = i == mine ? ns : ours;
            near = i == mine && exact ? NEAR_EXACT : near;
        }
        if (ours <= near * least) {
            return true;
        }
    }
    return false;
}

/* The same schedules as with another degree (factors of 65,536 are powers of two, whatever K is), which has been
 * priced or passed over? Ranks 0 and 1 tell: what differs is the radix of some round. */
static bool is_twin(const struct model_query *q, int ranks, crdma_alg_t alg, int degree, int other)
{
    bool same = true;

    for (int rank = 0; rank < 2 && same; ++rank) {
        const crdma_model_case_t a = model_case(q, ranks, alg, degree);
        const crdma_model_case_t b = model_case(q, ranks, alg, other);
        crdma_sched_t *x = NULL, *y = NULL;

        same = CRDMA_OK == crdma_model_rank_schedule(&a, rank, &x)
               && CRDMA_OK == crdma_model_rank_schedule(&b, rank, &y) && x->nsteps == y->nsteps
               && x->npeers == y->npeers
               && 0 == memcmp(x->peers, y->peers, (size_t) x->npeers * sizeof(x->peers[0]));
        crdma_sched_free(x);
        crdma_sched_free(y);
    }
    return same;
}

static int add_degrees(const struct model_query *q, struct model_rows *rows, int ranks,
                       crdma_alg_t alg)
{
    const int among =
        1 < q->per_node && q->per_node < ranks ? (ranks + q->per_node - 1) / q->per_node : ranks;
    const bool choose = 0 == q->degrees.n && !q->every_degree;
    int degree[MODEL_LIST_MAX], n = 0, from = rows->n;
    int failed = 0;

    if (CRDMA_ALG_RING == alg) {
        degree[n++] = 1;
    } else if (0 < q->degrees.n) {
        for (; n < q->degrees.n; ++n) {
            degree[n] = (int) q->degrees.value[n];
        }
    } else {
        n = crdma_model_degrees(among, degree, MODEL_LIST_MAX);
    }
    for (int i = 0; i < n && !failed; ++i) {
        if (choose && MANY_RANKS < ranks && 1 < n
            && ((0 < i && is_twin(q, ranks, alg, degree[i], degree[i - 1]))
                || !is_promising(q, ranks, alg, degree, n, i))) {
            continue;
        }
        if (CRDMA_ALG_CHAIN != alg || 3 >= degree[i]) {
            failed = add_sizes(q, rows, ranks, alg, degree[i], false, choose);
        }
    }
    if (choose) {
        keep_best(rows, from, &q->bytes);
        complete(q, rows, from);
    }
    return failed;
}

int model_rows_make(const struct model_query *q, struct model_rows *rows)
{
    const int n = 0 < q->nalgorithms ? q->nalgorithms : 4;
    int failed = 0;

    for (int r = 0; r < q->ranks.n && !failed; ++r) {
        for (int a = 0; a < n && !failed; ++a) {
            const crdma_alg_t alg =
                0 < q->nalgorithms ? q->algorithm[a] : algorithms[q->coll][a];

            if (CRDMA_ALG_AUTO != alg) {
                failed = add_degrees(q, rows, (int) q->ranks.value[r], alg);
            }
            if (CRDMA_ALG_AUTO != alg && q->send_receive && !failed) {
                failed = add_sizes(q, rows, (int) q->ranks.value[r], alg, 1, true,
                                   false);
            }
        }
    }
    return failed;
}

void model_rows_free(struct model_rows *rows)
{
    free(rows->row);
    *rows = (struct model_rows) {NULL, 0, 0};
}

const char *model_row_name(const struct model_row *row, char *text, size_t size)
{
    static const char *const counterpart[CRDMA_NALGS] = {
        [CRDMA_ALG_TREE] = "binomial",        [CRDMA_ALG_EXCHANGE] = "recursive doubling",
        [CRDMA_ALG_RSAG] = "Rabenseifner",    [CRDMA_ALG_RING] = "ring",
        [CRDMA_ALG_CHAIN] = "pipelined chain",
        [CRDMA_ALG_SCATTER_ALLGATHER] = "scatter-allgather",
    };

    if (row->send_receive) {
        snprintf(text, size, "%s s-r", counterpart[row->alg]);
    } else {
        snprintf(text, size, "%s", crdma_alg_name(row->alg));
    }
    return text;
}

void model_rows_print(FILE *to, const struct model_query *q, const struct model_rows *rows)
{
    fprintf(to, "# coll_rdma_model: %s, machine %s; us until the last rank has finished\n",
            crdma_coll_name(q->coll), q->machine.name);
    fprintf(to, "%8s %8s %10s  %-22s %6s %14s %14s\n", "# ranks", "per node", "bytes", "algorithm",
            "K", "best case", "worst case");
    for (int i = 0; i < rows->n; ++i) {
        const struct model_row *row = &rows->row[i];
        char name[40];

        fprintf(to, "%8d %8d %10zu  %-22s %6d %14.2f %14.2f%s\n", row->ranks,
                1 > row->per_node ? 1 : row->per_node, row->bytes,
                model_row_name(row, name, sizeof(name)), row->degree, row->best_us, row->worst_us,
                row->formula ? "  by formula" : "");
    }
}

void model_rows_csv(FILE *to, const struct model_query *q, const struct model_rows *rows)
{
    fprintf(to, "collective,machine,ranks,per_node,bytes,algorithm,degree,best_us,worst_us,by\n");
    for (int i = 0; i < rows->n; ++i) {
        const struct model_row *row = &rows->row[i];
        char name[40];

        fprintf(to, "%s,%s,%d,%d,%zu,%s,%d,%.3f,%.3f,%s\n", crdma_coll_name(q->coll),
                q->machine.name, row->ranks, 1 > row->per_node ? 1 : row->per_node, row->bytes,
                model_row_name(row, name, sizeof(name)), row->degree, row->best_us, row->worst_us,
                row->formula ? "formula" : "walker");
    }
}
