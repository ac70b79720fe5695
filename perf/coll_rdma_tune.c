/*
 * coll_rdma_tune: measures what messages cost on this machine and writes a file with the parameters
 * of the model and the rules that follow from them, for coll_rdma_rules_file and coll_rdma_model.
 *
 *   mpirun --map-by node coll_rdma_tune -o my.rules
 *   mpirun --mca coll_rdma_rules_file my.rules APPLICATION
 *
 * Two ranks of one host and two of different hosts are enough; more hosts show what one more peer
 * costs. Ranks that do not measure sleep.
 */
#include <mpi.h>
#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "perf/timing.h"
#include "perf/tune_curve.h"
#include "perf/tune_load.h"
#include "perf/tune_measure.h"
#include "perf/tune_rules.h"
#include "perf/tune_verify.h"

enum { POINTS_MAX = 512, RANKS_MAX = 32 };

struct job {
    int rank, ranks;
    int nodes, per_node; /* per_node: of the node with the most */
    MPI_Comm node, leaders;
    int machine_ranks; /* on this machine, in whichever containers */
    bool one_machine;
};

static const char help[] =
    "usage: mpirun [OPTION..] coll_rdma_tune [OPTION..]\n\n"
    "  -o FILE      parameters and rules; default coll_rdma.rules\n"
    "  -s SECONDS   measuring time; default 20\n"
    "  -n RANKS     rules for up to so many hosts; default 64, or the job's\n"
    "  -v           verify: time all degrees on all ranks, print them beside the model\n"
    "  -m LIST      sizes of -v in bytes; default 4,64,256,1024,4096\n";

/* A bar on stderr, by rank 0, which is part of every measurement. */
static const char *stage = "";
static bool draws;

static void progress(double done)
{
    if (draws) {
        const int full = (int) (30 * done);

        fprintf(stderr, "\r[%-30.*s] %3.0f %% %-24s", full, "##############################",
                100 * done, stage);
        fflush(stderr);
    }
}

static uint64_t machine_id(void)
{
    char text[64] = "";
    uint64_t hash = 1;
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "r");

    if (NULL != f) {
        if (NULL == fgets(text, sizeof(text), f)) {
            text[0] = '\0';
        }
        fclose(f);
    }
    for (const char *c = text; '\0' != *c; ++c) {
        hash = (hash ^ (uint64_t) *c) * 1099511628211u;
    }
    return hash;
}

static void look_around(struct job *j)
{
    uint64_t mine = machine_id(), *ids;
    int rank, size;

    MPI_Comm_rank(MPI_COMM_WORLD, &j->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &j->ranks);
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, j->rank, MPI_INFO_NULL, &j->node);
    MPI_Comm_rank(j->node, &rank);
    MPI_Comm_size(j->node, &size);
    MPI_Comm_split(MPI_COMM_WORLD, 0 == rank ? 0 : MPI_UNDEFINED, j->rank, &j->leaders);
    MPI_Allreduce(&size, &j->per_node, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    rank = 0 == rank;
    MPI_Allreduce(&rank, &j->nodes, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    ids = malloc((size_t) j->ranks * sizeof(*ids));
    if (NULL == ids) {
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    MPI_Allgather(&mine, sizeof(mine), MPI_BYTE, ids, sizeof(mine), MPI_BYTE, MPI_COMM_WORLD);
    for (int r = 0; r < j->ranks; ++r) {
        j->machine_ranks += ids[r] == mine;
    }
    j->one_machine = j->machine_ranks == j->ranks;
    free(ids);
}

/* Until all ranks are here, without taking a processor from those that measure. */
static void sleep_until_all(void)
{
    MPI_Request request;
    int done = 0;

    MPI_Ibarrier(MPI_COMM_WORLD, &request);
    while (!done) {
        MPI_Test(&request, &done, MPI_STATUS_IGNORE);
        if (!done) {
            usleep(1000);
        }
    }
}

/* The first two ranks of `all`, from the point of view of everybody; rank 0 is one of them. curve: points to
 * be timed by these two, too. */
static void measure_level(MPI_Comm all, double seconds, struct tune_report *report,
                          struct tune_point *curve, double from, double to)
{
    int rank = 2;
    MPI_Comm pair;

    if (MPI_COMM_NULL != all) {
        MPI_Comm_rank(all, &rank);
        MPI_Comm_split(all, rank < 2 ? 0 : MPI_UNDEFINED, rank, &pair);
        if (rank < 2) {
            tune_measure_pair(pair, seconds, report, progress, from, to);
            if (NULL != curve) {
                tune_time(pair, curve, tune_curve_list(curve), true, true);
            }
            MPI_Comm_free(&pair);
        }
    }
    sleep_until_all();
}

static void measure(const struct job *j, double seconds, crdma_model_machine_t *m,
                    struct tune_report *inside, struct tune_point *curve,
                    struct tune_report *between)
{
    const bool both = 1 < j->per_node && 1 < j->nodes;
    const double half = both ? 0.45 : 0.9;
    int of_first = 0;
    MPI_Comm first;

    /* the node of rank 0 only */
    if (0 == j->rank) {
        MPI_Comm_size(j->node, &of_first);
    }
    MPI_Bcast(&of_first, 1, MPI_INT, 0, MPI_COMM_WORLD);
    MPI_Comm_dup(j->node, &first);
    if (1 < of_first) {
        int world_rank = j->rank, lowest;

        stage = "inside a node";
        MPI_Allreduce(&world_rank, &lowest, 1, MPI_INT, MPI_MIN, j->node);
        measure_level(0 == lowest ? first : MPI_COMM_NULL, half * seconds, inside,
                      2 < j->ranks ? curve : NULL, 0, half);
    }
    MPI_Comm_free(&first);
    if (1 < j->nodes) {
        stage = "between nodes";
        measure_level(j->leaders, half * seconds, between, NULL, both ? half : 0, 0.9);
        stage = "one more peer";
        if (3 < j->nodes && MPI_COMM_NULL != j->leaders) {
            tune_measure_port(j->leaders, 0.1 * seconds, between);
        }
        sleep_until_all();
    }
    if (0 == j->rank) {
        const long processors = sysconf(_SC_NPROCESSORS_ONLN);

        m->reduce = tune_measure_reduction();
        m->processors = j->machine_ranks > processors ? (double) processors : 0;
    }
    stage = "";
    progress(1);
    if (draws) {
        fprintf(stderr, "\n");
    }
}

static int read_cvar_int(const char *name, int otherwise)
{
    MPI_T_cvar_handle handle;
    int index, count, value = otherwise;

    if (MPI_SUCCESS == MPI_T_cvar_get_index(name, &index)
        && MPI_SUCCESS == MPI_T_cvar_handle_alloc(index, NULL, &handle, &count)) {
        MPI_T_cvar_read(handle, &value);
        MPI_T_cvar_handle_free(&handle);
    }
    return value;
}

static void comment_line(FILE *to, const char *name, const struct tune_line *line)
{
    fprintf(to, "#   %-28s %10.4g +- %-8.2g ns  %10.4g +- %-8.2g ns/B\n", name, line->at0,
            line->at0_ci, line->slope, line->slope_ci);
}

static void comment_report(FILE *to, const char *level, const struct tune_report *r)
{
    if (!r->known) {
        return;
    }
    fprintf(to, "# %s, lines with 95 %% confidence intervals: at 0 bytes, per byte\n", level);
    comment_line(to, "put, sender", &r->sender);
    comment_line(to, "put, receiver", &r->receiver);
    comment_line(to, "put, one way", &r->way);
    comment_line(to, "large, one way", &r->large);
    comment_line(to, "send-receive, sender", &r->sr_sender);
    comment_line(to, "send-receive, receiver", &r->sr_receiver);
    comment_line(to, "send-receive, one way", &r->sr_way);
    fprintf(to, "#   %-28s %10.4g ns\n", "first call after a pause", r->entry);
    if (0 < r->port) {
        fprintf(to, "#   %-28s %10.4g +- %-8.2g ns\n", "one more peer, one way", r->port,
                r->port_ci);
    }
}

static int list_ranks(int *ranks, int most, int jobs)
{
    int n = 0;

    for (int r = 2; r <= most && n < RANKS_MAX - 1; r *= 2) {
        if (jobs > 1 && jobs < r && (0 == n || ranks[n - 1] < jobs)) {
            ranks[n++] = jobs;
        }
        ranks[n++] = r;
    }
    return n;
}

static int write_file(const char *name, const struct job *j, const crdma_model_machine_t *m,
                      const struct tune_report *inside, const struct tune_report *between, int most)
{
    FILE *f = fopen(name, "w");
    int ranks[RANKS_MAX];

    if (NULL == f) {
        fprintf(stderr, "coll_rdma_tune: cannot write %s\n", name);
        return 1;
    }
    fprintf(f, "# Measured by coll_rdma_tune, %d ranks on %d nodes.\n", j->ranks, j->nodes);
    comment_report(f, "inside a node", inside);
    comment_report(f, "between nodes", between);
    crdma_model_machine_write(f, m);
    if (inside->known) {
        tune_rules_write(f, m, CRDMA_RULE_INSIDE, ranks,
                         list_ranks(ranks, 2 < j->per_node ? j->per_node : 2, j->per_node));
    }
    if (between->known) {
        tune_rules_write(f, m, CRDMA_RULE_BETWEEN, ranks,
                         list_ranks(ranks, most > j->nodes ? most : j->nodes, j->nodes));
    }
    if (0 != fclose(f)) {
        fprintf(stderr, "coll_rdma_tune: cannot write %s\n", name);
        return 1;
    }
    return 0;
}

/* What all ranks are timed on at once: what is fitted, then what is verified. */
struct session {
    struct tune_point *point;
    int fitted, n;
    bool curve; /* fitted: the way inside a node; else the load between nodes, or nothing */
};

static void list_session(const struct job *j, const crdma_model_machine_t *m, bool verifies,
                         const size_t *bytes, int nbytes, struct session *s)
{
    int shared = 0 < m->processors;

    MPI_Bcast(&shared, 1, MPI_INT, 0, MPI_COMM_WORLD);
    s->point = calloc(POINTS_MAX, sizeof(*s->point));
    if (NULL == s->point) {
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    s->curve = 2 == j->ranks && 1 == j->nodes;
    if (s->curve) {
        s->fitted = tune_curve_list(s->point);
    } else if (shared && 4 <= j->nodes && j->nodes == j->ranks) {
        s->fitted = tune_load_list(j->ranks, s->point);
    }
    s->n = s->fitted;
    if (verifies) {
        s->n += tune_verify_list(j->ranks, bytes, nbytes, s->point + s->n, POINTS_MAX - s->n);
    }
}

static void fit(const struct job *j, const struct session *s, const struct tune_point *pair,
                const struct tune_report *between, crdma_model_machine_t *m)
{
    const crdma_model_level_t *in = &m->level[CRDMA_MODEL_INSIDE];
    const crdma_model_level_t *out = &m->level[CRDMA_MODEL_BETWEEN];

    if (s->curve || 0 < pair[0].measured_us) {
        tune_curve_fit(s->curve ? s->point : pair, !between->known, m);
        printf("#   one way inside, ns: LL %.1f;", in->ll);
        for (int i = 0; i < CRDMA_MODEL_KNOTS; ++i) {
            printf(" %.0f B %.1f", crdma_model_knot[i], in->way[i]);
        }
        printf("; crossing +%.1f %%, spread %.1f %%\n", 100 * in->cross, 100 * in->spread);
    }
    if (!s->curve && 0 < s->fitted) {
        tune_load_fit(s->point, s->fitted, j->ranks, m);
        tune_predict(m, j->ranks, 1, s->point, s->fitted);
        printf("#   under load, us: call %.1f, sender %.1f, receiver %.1f, network %.1f and %.2f "
               "ns/B, spread %.1f %%, from\n",
               1e-3 * m->call, 1e-3 * out->overhead, 1e-3 * out->notify, 1e-3 * out->work,
               out->work_byte, 100 * out->spread);
        for (int i = 0; i < s->fitted; ++i) {
            printf("#     %-9s %-9s K %-3d %6zu B: %10.1f, model %10.1f\n",
                   crdma_coll_name(s->point[i].coll), crdma_alg_name(s->point[i].alg),
                   s->point[i].degree, s->point[i].bytes, s->point[i].measured_us,
                   s->point[i].worst_us);
        }
    }
    fflush(stdout);
}

static int parse_sizes(const char *list, size_t *bytes, int room)
{
    char copy[128], *rest = copy;
    int n = 0;

    snprintf(copy, sizeof(copy), "%s", list);
    for (char *item = strsep(&rest, ","); NULL != item && n < room; item = strsep(&rest, ",")) {
        const size_t value = strtoul(item, NULL, 10) / 4 * 4;

        if (4 <= value && (1 << 20) >= value) {
            bytes[n++] = value;
        }
    }
    return n;
}

static void print_verified(const struct job *j, const crdma_model_machine_t *m, struct session *s)
{
    const bool nodes = 1 < j->nodes;
    struct tune_point *from = s->point + s->fitted;

    tune_predict(m, j->ranks, nodes ? j->per_node : j->ranks, from, s->n - s->fitted);
    tune_verify_print(from, s->n - s->fitted,
                      m->level[nodes ? CRDMA_MODEL_BETWEEN : CRDMA_MODEL_INSIDE].spread,
                      0 < m->processors);
}

static int run(const struct job *j, int argc, char **argv)
{
    static struct tune_report inside, between;
    static struct tune_point curve[TUNE_CURVE_POINTS];
    struct session session = {NULL};
    size_t bytes[16];
    crdma_model_machine_t m = *crdma_model_machine_find("infiniband");
    const char *output = "coll_rdma.rules", *sizes = "4,64,256,1024,4096";
    double seconds = 20;
    bool verifies = false;
    int most = 64, status = 0;

    for (int c; -1 != (c = getopt(argc, argv, "o:s:n:vm:h"));) {
        switch (c) {
        case 'o':
            output = optarg;
            break;
        case 's':
            seconds = atof(optarg);
            break;
        case 'n':
            most = atoi(optarg);
            break;
        case 'v':
            verifies = true;
            break;
        case 'm':
            sizes = optarg;
            break;
        default:
            if (0 == j->rank) {
                fputs(help, 'h' == c ? stdout : stderr);
            }
            return 'h' == c ? 0 : 2;
        }
    }
    if (2 > j->ranks || 0 >= seconds || 2 > most) {
        if (0 == j->rank) {
            fprintf(stderr, "coll_rdma_tune: needs two ranks, seconds > 0, ranks >= 2\n");
        }
        return 2;
    }
    if (!tune_set("bcast_algorithm", CRDMA_ALG_TREE) || !tune_set("bcast_degree", 1 << 20)
        || !tune_set("allreduce_algorithm", CRDMA_ALG_TREE)
        || !tune_set("allreduce_degree", 1 << 20)) {
        if (0 == j->rank) {
            fprintf(stderr, "coll_rdma_tune: coll/rdma is not there (env.sh, --mca coll rdma)\n");
        }
        return 77;
    }
    snprintf(m.name, sizeof(m.name), "tuned");
    m.ll_max = read_cvar_int("coll_rdma_ll_max", 16);
    m.block_size = read_cvar_int("coll_rdma_block_size", 8192);
    measure(j, seconds, &m, &inside, curve, &between);
    (void) tune_set("bcast_algorithm", CRDMA_ALG_AUTO);
    (void) tune_set("bcast_degree", 0);
    (void) tune_set("allreduce_algorithm", CRDMA_ALG_AUTO);
    (void) tune_set("allreduce_degree", 0);
    if (0 == j->rank) {
        if (inside.known) {
            tune_level(&inside, false, &m.level[CRDMA_MODEL_INSIDE]);
        }
        if (between.known) {
            tune_level(&between, true, &m.level[CRDMA_MODEL_BETWEEN]);
            m.call = between.entry;
        }
        comment_report(stdout, "inside a node", &inside);
        comment_report(stdout, "between nodes", &between);
    }
    list_session(j, &m, verifies, bytes, parse_sizes(sizes, bytes, 16), &session);
    if (0 < session.n) {
        tune_time(MPI_COMM_WORLD, session.point, session.n, j->one_machine, 1 == j->nodes);
    }
    if (0 == j->rank) {
        fit(j, &session, curve, &between, &m);
        status = write_file(output, j, &m, &inside, &between, most);
        if (verifies) {
            print_verified(j, &m, &session);
        }
    }
    free(session.point);
    sleep_until_all();
    return status;
}

int main(int argc, char **argv)
{
    struct job j = {0};
    int status, provided;

    /* Communicators are served if the component has the highest priority, unless the user says. */
    setenv("OMPI_MCA_coll_rdma_priority", "95", 0);
    MPI_Init(&argc, &argv);
    MPI_T_init_thread(MPI_THREAD_SINGLE, &provided);
    look_around(&j);
    draws = 0 == j.rank;
    status = run(&j, argc, argv);
    MPI_T_finalize();
    MPI_Finalize();
    return status;
}
