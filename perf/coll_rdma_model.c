/*
 * coll_rdma_model: what a collective costs on a machine that need not be there. Prices the
 * schedules of coll_rdma/schedule with coll_rdma/model; `--help` has the options, doc/model.md the
 * model. Needs neither MPI nor a network.
 */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "coll_rdma/model/footprint.h"
#include "coll_rdma/model/goal.h"
#include "perf/model_svg.h"

enum task { TASK_TABLE, TASK_MAP, TASK_MEMORY, TASK_MACHINE };

struct options {
    struct model_query query;
    enum task task;
    enum model_axis axis;
    const char *csv, *svg, *goal;
};

static const char help[] =
    "usage: coll_rdma_model [OPTION..]\n"
    "What the collectives of coll/rdma cost, by executing their schedules on a modelled machine.\n\n"
    "  -c, --collective NAME   bcast, reduce, allreduce (default), barrier\n"
    "  -n, --ranks LIST        16,512 or 2:65536 (doubling); default 16\n"
    "  -m, --bytes LIST        4:4K; default 8\n"
    "  -a, --algorithm LIST    tree,exchange,rsag,ring,chain,scatter_allgather; default: all\n"
    "  -k, --degree LIST       degrees K; `every`: all that are worth trying; default: the best\n"
    "  -p, --per-node P        ranks per node, in two levels; default 1\n"
    "  -S, --segment BYTES     segments; default: one (chain: of a block)\n"
    "  -r, --send-receive      the same schedules at K = 1 over matched messages, too\n"
    "  -M, --machine NAME      shm, tcp, infiniband, clan (--machines: where they come from),\n"
    "                          or a file that coll_rdma_tune has written; default infiniband\n"
    "  -s, --set NAME=VALUE    change one parameter of the machine\n"
    "      --map               the best K of the (first) algorithm for ranks x bytes\n"
    "      --memory            memory and connections of a rank, from the allocators\n"
    "      --machines          the built-in machines; with --machine: its parameters\n"
    "      --csv FILE          the rows as CSV\n"
    "      --svg FILE          curves; -x bytes (default), ranks, degree: the axis\n"
    "      --goal FILE         GOAL schedule of the first row for LogGOPSim; with -r of the\n"
    "                          first one over matched messages\n\n"
    "  coll_rdma_model --collective allreduce --ranks 65536 --bytes 8\n";

static int complain(const char *what, const char *value)
{
    fprintf(stderr, "coll_rdma_model: %s: %s (--help)\n", what, value);
    return 2;
}

static bool parse_collective(const char *text, crdma_coll_t *coll)
{
    for (int c = 0; c < CRDMA_NCOLLS; ++c) {
        if (0 == strcmp(text, crdma_coll_name((crdma_coll_t) c))) {
            *coll = (crdma_coll_t) c;
            return true;
        }
    }
    return false;
}

static bool parse_algorithms(const char *text, struct model_query *q)
{
    char copy[128], *rest = copy;

    snprintf(copy, sizeof(copy), "%s", text);
    for (char *item = strsep(&rest, ","); NULL != item; item = strsep(&rest, ",")) {
        int a = 1;

        while (a < CRDMA_NALGS && 0 != strcmp(item, crdma_alg_name((crdma_alg_t) a))) {
            ++a;
        }
        if (CRDMA_NALGS == a || CRDMA_NALGS == q->nalgorithms) {
            return false;
        }
        q->algorithm[q->nalgorithms++] = (crdma_alg_t) a;
    }
    return true;
}

static bool parse_machine(const char *text, crdma_model_machine_t *machine)
{
    const crdma_model_machine_t *known = crdma_model_machine_find(text);
    int line;

    if (NULL != known) {
        *machine = *known;
        return true;
    }
    FILE *f = fopen(text, "r");
    if (NULL == f) {
        return false;
    }
    *machine = *crdma_model_machine_find("infiniband");
    snprintf(machine->name, sizeof(machine->name), "%.39s", text);
    const crdma_status_t status = crdma_model_machine_read(f, machine, &line);
    fclose(f);
    if (CRDMA_OK != status) {
        fprintf(stderr, "coll_rdma_model: %s, line %d is not `param NAME VALUE`\n", text, line);
    }
    return CRDMA_OK == status;
}

static bool parse_set(const char *text, crdma_model_machine_t *machine)
{
    const char *equals = strchr(text, '=');
    char line[128];
    int number;

    if (NULL == equals) {
        return false;
    }
    snprintf(line, sizeof(line), "param %.*s %s\n", (int) (equals - text), text, equals + 1);
    FILE *f = fmemopen(line, strlen(line), "r");
    const bool ok = NULL != f && CRDMA_OK == crdma_model_machine_read(f, machine, &number);

    if (NULL != f) {
        fclose(f);
    }
    return ok;
}

/* 0: run; 1: help was printed; 2: wrong. */
static int parse(struct options *o, int argc, char **argv)
{
    enum { MAP = 256, MEMORY, MACHINES, CSV, SVG, GOAL, HELP };
    static const struct option longs[] = {
        {"collective", 1, NULL, 'c'}, {"ranks", 1, NULL, 'n'},   {"bytes", 1, NULL, 'm'},
        {"algorithm", 1, NULL, 'a'},  {"degree", 1, NULL, 'k'},  {"per-node", 1, NULL, 'p'},
        {"segment", 1, NULL, 'S'},    {"send-receive", 0, NULL, 'r'},
        {"machine", 1, NULL, 'M'},    {"set", 1, NULL, 's'},     {"map", 0, NULL, MAP},
        {"memory", 0, NULL, MEMORY},  {"machines", 0, NULL, MACHINES},
        {"csv", 1, NULL, CSV},        {"svg", 1, NULL, SVG},     {"goal", 1, NULL, GOAL},
        {"x", 1, NULL, 'x'},          {"help", 0, NULL, HELP},   {NULL, 0, NULL, 0}};
    struct model_query *q = &o->query;
    size_t number;

    for (int c; -1 != (c = getopt_long(argc, argv, "c:n:m:a:k:p:S:rM:s:x:h", longs, NULL));) {
        bool ok = true;

        switch (c) {
        case 'c':
            ok = parse_collective(optarg, &q->coll);
            break;
        case 'n':
            ok = model_list_parse(optarg, &q->ranks);
            for (int i = 0; ok && i < q->ranks.n; ++i) {
                ok = 1 < q->ranks.value[i] && (1 << 24) >= q->ranks.value[i];
            }
            break;
        case 'm':
            ok = model_list_parse(optarg, &q->bytes);
            break;
        case 'a':
            ok = parse_algorithms(optarg, q);
            break;
        case 'k':
            q->every_degree = 0 == strcmp(optarg, "every");
            ok = q->every_degree || model_list_parse(optarg, &q->degrees);
            for (int i = 0; ok && i < q->degrees.n; ++i) {
                ok = 1 <= q->degrees.value[i] && (1 << 24) >= q->degrees.value[i];
            }
            break;
        case 'p':
            ok = model_size_parse(optarg, &number) && 1 <= number && (1 << 20) >= number;
            q->per_node = (int) number;
            break;
        case 'S':
            ok = model_size_parse(optarg, &q->segment);
            break;
        case 'r':
            q->send_receive = true;
            break;
        case 'M':
            ok = parse_machine(optarg, &q->machine);
            break;
        case 's':
            ok = parse_set(optarg, &q->machine);
            break;
        case 'x':
            ok = true;
            o->axis = 'r' == optarg[0] ? MODEL_RANKS : 'd' == optarg[0] ? MODEL_DEGREE : MODEL_BYTES;
            break;
        case MAP:
            o->task = TASK_MAP;
            break;
        case MEMORY:
            o->task = TASK_MEMORY;
            break;
        case MACHINES:
            o->task = TASK_MACHINE;
            break;
        case CSV:
            o->csv = optarg;
            break;
        case SVG:
            o->svg = optarg;
            break;
        case GOAL:
            o->goal = optarg;
            break;
        case 'h':
        case HELP:
            fputs(help, stdout);
            return 1;
        default:
            return 2;
        }
        if (!ok) {
            return complain("not understood", optarg);
        }
    }
    return optind < argc ? complain("unexpected", argv[optind]) : 0;
}

static int print_machines(const struct options *o, int argc, char **argv)
{
    const char *origin;

    for (int i = 1; i < argc; ++i) {
        if (0 == strncmp(argv[i], "-M", 2) || 0 == strcmp(argv[i], "--machine")) {
            crdma_model_machine_write(stdout, &o->query.machine);
            return 0;
        }
    }
    for (int i = 0; NULL != crdma_model_machine_at(i, &origin); ++i) {
        printf("%-12s %s\n", crdma_model_machine_at(i, &origin)->name, origin);
    }
    return 0;
}

/* Rows: bytes; columns: ranks; the best K and its best case. */
static int print_map(const struct options *o)
{
    const struct model_query *q = &o->query;
    const crdma_alg_t alg = 0 < q->nalgorithms ? q->algorithm[0] : CRDMA_ALG_TREE;
    int degree[MODEL_LIST_MAX][MODEL_LIST_MAX];
    double ns[MODEL_LIST_MAX];
    const crdma_model_call_t call = {.segment = q->segment};

    for (int r = 0; r < q->ranks.n; ++r) {
        const crdma_model_case_t what = model_case(q, (int) q->ranks.value[r], alg, 1);

        if (CRDMA_OK
            != crdma_model_best_degree(&what, &q->machine, &call, q->bytes.value, q->bytes.n,
                                       degree[r], ns)) {
            return complain("no schedule for", crdma_alg_name(alg));
        }
    }
    FILE *csv = NULL != o->csv ? fopen(o->csv, "w") : NULL;

    if (NULL != o->csv && NULL == csv) {
        return complain("cannot write", o->csv);
    }
    printf("# best K of %s %s on machine %s, %d ranks per node; columns: ranks\n%10s",
           crdma_coll_name(q->coll), crdma_alg_name(alg), q->machine.name,
           1 > q->per_node ? 1 : q->per_node, "# bytes");
    for (int r = 0; r < q->ranks.n; ++r) {
        printf(" %8zu", q->ranks.value[r]);
    }
    for (int b = 0; b < q->bytes.n; ++b) {
        printf("\n%10zu", q->bytes.value[b]);
        for (int r = 0; r < q->ranks.n; ++r) {
            printf(" %8d", degree[r][b]);
            if (NULL != csv) {
                fprintf(csv, "%s%s,%s,%zu,%zu,%d\n",
                        0 == b && 0 == r ? "collective,algorithm,ranks,bytes,degree\n" : "",
                        crdma_coll_name(q->coll), crdma_alg_name(alg), q->ranks.value[r],
                        q->bytes.value[b], degree[r][b]);
            }
        }
    }
    printf("\n");
    if (NULL != csv) {
        fclose(csv);
    }
    return 0;
}

/* Rank 0 is the root of trees and the leader of its node: it has the most neighbours. */
static int print_memory(const struct options *o)
{
    const struct model_query *q = &o->query;
    const crdma_alg_t alg = 0 < q->nalgorithms ? q->algorithm[0] : CRDMA_ALG_TREE;
    const struct model_list usual = {.value = {1, 3, 7}, .n = 3};
    const struct model_list *degrees = 0 < q->degrees.n ? &q->degrees : &usual;

    printf("# one communicator in use on rank 0: bcast by a tree and allreduce by %s; KiB\n"
           "%8s %8s %4s %11s %8s %11s %11s %11s %9s %11s\n",
           crdma_alg_name(alg), "# ranks", "per node", "K", "connections", "remote", "slab in use",
           "promised", "touched", "heap", "peer table");
    for (int r = 0; r < q->ranks.n; ++r) {
        for (int k = 0; k < degrees->n; ++k) {
            crdma_model_case_t cases[2];
            crdma_model_footprint_t f;
            struct model_query both = *q;
            crdma_status_t status;

            both.coll = CRDMA_BCAST;
            cases[0] =
                model_case(&both, (int) q->ranks.value[r], CRDMA_ALG_TREE, (int) degrees->value[k]);
            both.coll = CRDMA_ALLREDUCE;
            cases[1] = model_case(&both, (int) q->ranks.value[r], alg, (int) degrees->value[k]);
            status = crdma_model_footprint(cases, 2, 0, 0, (size_t) 1 << 30, &f);
            if (CRDMA_OK != status) {
                return complain("no footprint", crdma_status_string(status));
            }
            printf("%8zu %8d %4zu %11d %8d %11zu %11zu %11zu %9zu %11zu\n", q->ranks.value[r],
                   1 > q->per_node ? 1 : q->per_node, degrees->value[k], f.connections, f.remote,
                   f.slab_in_use / 1024, f.slab_promised / 1024, f.slab_touched / 1024,
                   f.heap / 1024, f.peers / 1024);
        }
    }
    return 0;
}

static int write_goal(const struct options *o, const struct model_row *row)
{
    const crdma_model_case_t what = model_case(&o->query, row->ranks, row->alg, row->degree);
    const crdma_model_call_t call = {.bytes = row->bytes, .segment = o->query.segment,
                                     .send_receive = row->send_receive};
    FILE *f = fopen(o->goal, "w");
    crdma_model_job_t *job;
    crdma_status_t status;

    if (NULL == f) {
        return complain("cannot write", o->goal);
    }
    status = crdma_model_job_create(&what, &job);
    if (CRDMA_OK == status) {
        status = crdma_model_goal_write(f, job, &o->query.machine, &call);
        crdma_model_job_free(job);
    }
    return 0 != fclose(f) || CRDMA_OK != status ? complain("cannot write", o->goal) : 0;
}

static int print_table(const struct options *o)
{
    struct model_rows rows = {NULL, 0, 0};
    int status = 0 != model_rows_make(&o->query, &rows);

    if (0 == status && 0 == rows.n) {
        status = complain("nothing to price for", crdma_coll_name(o->query.coll));
    }
    if (0 == status) {
        model_rows_print(stdout, &o->query, &rows);
    }
    if (0 == status && NULL != o->csv) {
        FILE *f = fopen(o->csv, "w");

        if (NULL != f) {
            model_rows_csv(f, &o->query, &rows);
        }
        status = NULL == f || 0 != fclose(f) ? complain("cannot write", o->csv) : 0;
    }
    if (0 == status && NULL != o->svg) {
        FILE *f = fopen(o->svg, "w");

        if (NULL != f) {
            model_svg(f, &o->query, &rows, o->axis);
        }
        status = NULL == f || 0 != fclose(f) ? complain("cannot write", o->svg) : 0;
    }
    if (0 == status && NULL != o->goal) {
        int i = 0;

        while (o->query.send_receive && i + 1 < rows.n && !rows.row[i].send_receive) {
            ++i;
        }
        status = write_goal(o, &rows.row[i]);
    }
    model_rows_free(&rows);
    return status;
}

int main(int argc, char **argv)
{
    static struct options o;
    int status;

    o.query.machine = *crdma_model_machine_find("infiniband");
    o.query.coll = CRDMA_ALLREDUCE;
    o.query.per_node = 1;
    model_list_parse("16", &o.query.ranks);
    model_list_parse("8", &o.query.bytes);
    status = parse(&o, argc, argv);
    if (0 != status) {
        return 2 == status ? 2 : 0;
    }
    if (CRDMA_BARRIER == o.query.coll) {
        o.query.bytes = (struct model_list) {.value = {0}, .n = 1};
    }
    switch (o.task) {
    case TASK_MAP:
        return print_map(&o);
    case TASK_MEMORY:
        return print_memory(&o);
    case TASK_MACHINE:
        return print_machines(&o, argc, argv);
    default:
        return print_table(&o);
    }
}
