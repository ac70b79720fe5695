/*
 * coll_rdma_compare_mpi: the measuring half of coll_rdma_compare, run under one
 * mpirun. Prints one line of comma-separated values per collective and size:
 *
 *   pair,COLLECTIVE,BYTES,RANKS,BATCH,GROUPS,SERVED_US,PLAIN_US,
 *        RATIO,RATIO_LOW,RATIO_HIGH,SELF,SELF_LOW,SELF_HIGH,QUIET,LATE,VERIFIED
 *
 * RATIO is served time over unserved time, SELF unserved over unserved (A/A); LOW
 * and HIGH are the 95 % bounds of those medians; QUIET is the ratio of the lower
 * deciles; LATE counts dropped groups; VERIFIED is 1 or 0.
 * paired.h says how it is measured. With -A, for another MPI library:
 *
 *   alone,COLLECTIVE,BYTES,RANKS,BATCH,GROUPS,MEDIAN_US,LOWER_DECILE_US,PROBE_NS,VERIFIED
 *
 * PROBE_NS is how far apart the first two ranks were (probe.h), the mean of before and after, 0
 * where ranks share processors.
 */
#include "perf/collective.h"
#include "perf/options.h"
#include "perf/paired.h"
#include "perf/probe.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const help_text =
    "usage: coll_rdma_compare_mpi [options]      (usually started by coll_rdma_compare)\n"
    "\n"
    "  -C LIST       collectives, comma-separated (default bcast,reduce,allreduce,barrier)\n"
    "  -m MIN:MAX    message sizes in bytes (default 4:4M)\n"
    "  -k FACTOR     from one size to the next (default 2)\n"
    "  -s SECONDS    measuring time per size (default 0.5)\n"
    "  -p GROUPS     ABBA groups per size instead\n"
    "  -g GROUPS     fewest groups where a size would take longer (default 25)\n"
    "  -A            alone: one communicator is timed, for comparing whole runs\n"
    "  -u US         shortest batch of calls in microseconds (default 40, or 25 per rank\n"
    "                where ranks share processors)\n"
    "  -W US         start at an agreed instant US microseconds ahead; 0 = find out how many\n"
    "  -F            fixed root 0, every call timed alone after a barrier\n"
    "  -D            dirty: every payload is written just before its batch\n"
    "  -I US         every rank enters every call at an instant of its own, up to US late\n"
    "  -G US         every rank computes for US between calls, which are timed alone\n"
    "  -t TYPE       element type of reductions (default float)\n"
    "  -o OP         reduction (default sum)\n"
    "  -K KEY=VALUE  info key that makes the component decline (default coll_rdma=false)\n"
    "  -h            this text\n";

struct request {
    struct paired_options paired;
    bool wanted[PERF_COLLECTIVES];
    size_t min_bytes;
    size_t max_bytes;
    size_t factor;
    const struct perf_type *type;
    const struct perf_op *op;
};

static bool take_list(struct request *request, char *list)
{
    enum perf_collective collective;

    memset(request->wanted, 0, sizeof(request->wanted));
    for (char *name = strtok(list, ","); NULL != name; name = strtok(NULL, ",")) {
        if (!perf_collective_find(name, &collective)) {
            return false;
        }
        request->wanted[collective] = true;
    }
    return true;
}

static bool take_key(struct request *request, char *pair)
{
    char *equals = strchr(pair, '=');

    if (NULL == equals || equals == pair) {
        return false;
    }
    *equals = '\0';
    request->paired.info_key = pair;
    request->paired.info_value = equals + 1;
    return true;
}

/* PERF_PARSE_ERROR leaves the letter of the refused option in *letter. */
static enum perf_parse parse(struct request *request, int argc, char **argv, int *letter)
{
    bool good = true;

    while (good && -1 != (*letter = getopt(argc, argv, "C:m:k:s:p:g:Au:W:FDI:G:t:o:K:h"))) {
        switch (*letter) {
        case 'C':
            good = take_list(request, optarg);
            break;
        case 'm':
            good = perf_range_parse(optarg, &request->min_bytes, &request->max_bytes);
            break;
        case 'k':
            request->factor = strtoul(optarg, NULL, 10);
            good = request->factor >= 2;
            break;
        case 's':
            request->paired.seconds = strtod(optarg, NULL);
            good = request->paired.seconds > 0.0;
            break;
        case 'p':
            request->paired.groups = strtol(optarg, NULL, 10);
            good = request->paired.groups > 0 && request->paired.groups < INT_MAX / 16;
            break;
        case 'g':
            request->paired.fewest = strtol(optarg, NULL, 10);
            good = request->paired.fewest > 0 && request->paired.fewest < INT_MAX / 16;
            break;
        case 'A':
            request->paired.alone = true;
            break;
        case 'u':
            request->paired.batch_ns = 1e3 * strtod(optarg, NULL);
            good = request->paired.batch_ns > 0.0;
            break;
        case 'W':
            request->paired.window = true;
            request->paired.window_ns = 1e3 * strtod(optarg, NULL);
            break;
        case 'F':
            request->paired.fixed_root = true;
            break;
        case 'D':
            request->paired.dirty = true;
            break;
        case 'I':
            request->paired.imbalance_ns = 1e3 * strtod(optarg, NULL);
            good = request->paired.imbalance_ns > 0.0;
            break;
        case 'G':
            request->paired.compute_ns = 1e3 * strtod(optarg, NULL);
            good = request->paired.compute_ns > 0.0;
            break;
        case 't':
            request->type = perf_type_find(optarg);
            good = NULL != request->type;
            break;
        case 'o':
            request->op = perf_op_find(optarg);
            good = NULL != request->op;
            break;
        case 'K':
            good = take_key(request, optarg);
            break;
        case 'h':
            return PERF_PARSE_HELP;
        default:
            *letter = optopt;
            return PERF_PARSE_ERROR;
        }
    }
    if (good && !perf_type_allowed(PERF_ALLREDUCE, request->type, request->op)) {
        *letter = 'o';
        good = false;
    }
    if (good && request->max_bytes > INT_MAX) {
        *letter = 'm';
        good = false;
    }
    return good ? PERF_PARSE_RUN : PERF_PARSE_ERROR;
}

static void print_row(const struct paired *p, enum perf_collective collective,
                      const struct paired_result *r, double probe_ns)
{
    size_t bytes = PERF_BARRIER == collective ? 0 : p->bytes;

    if (p->options.alone) {
        printf("alone,%s,%zu,%d,%ld,%ld,%.4f,%.4f,%.1f,%d\n", perf_collective_name(collective),
               bytes, p->ranks, r->batch, r->groups, r->served_us.value, r->quiet_us, probe_ns,
               r->verified ? 1 : 0);
        fflush(stdout);
        return;
    }
    printf("pair,%s,%zu,%d,%ld,%ld,%.4f,%.4f,%.4f,%.4f,%.4f,%.4f,%.4f,%.4f,%.4f,%ld,%d\n",
           perf_collective_name(collective), bytes, p->ranks, r->batch, r->groups,
           r->served_us.value, r->plain_us.value, r->ratio.value, r->ratio.low, r->ratio.high,
           r->self.value, r->self.low, r->self.high, r->quiet, r->late, r->verified ? 1 : 0);
    fflush(stdout);
}

/* How far apart the ranks are now, where that is asked for and can be measured. */
static double distance(const struct paired *p, struct perf_probe *probe)
{
    return p->options.alone && !p->yield && p->ranks > 1 ? perf_probe_run(probe) : 0.0;
}

/* All sizes of one collective; whether every result was right. */
static bool compare(struct paired *p, const struct request *request,
                    enum perf_collective collective, struct perf_probe *probe)
{
    bool sized = PERF_BARRIER != collective, right = true;
    const struct perf_type *type =
        perf_collective_reduces(collective) ? request->type : perf_type_default(collective);
    size_t first = request->min_bytes > type->size ? request->min_bytes : type->size;

    if (0 != paired_begin(p, collective, type, request->op, sized ? request->max_bytes : 1)) {
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    for (size_t bytes = sized ? first : 1; bytes <= (sized ? request->max_bytes : 1);
         bytes *= request->factor) {
        struct paired_result result;
        double probe_ns = distance(p, probe) / 2.0;

        if (0 != paired_measure(p, bytes / type->size * type->size, &result)) {
            MPI_Abort(MPI_COMM_WORLD, 1);
        }
        probe_ns += distance(p, probe) / 2.0;
        right &= result.verified;
        if (0 == p->rank && result.late < result.groups) {
            print_row(p, collective, &result, probe_ns);
        } else if (0 == p->rank) {
            fprintf(stderr,
                    "coll_rdma_compare_mpi: %s %zu: some rank missed every agreed start; "
                    "is the machine busy?\n",
                    perf_collective_name(collective), bytes);
        }
    }
    paired_end(p);
    return right;
}

int main(int argc, char **argv)
{
    struct request request = {.paired = {.info_key = "coll_rdma",
                                         .info_value = "false",
                                         .seconds = 0.5},
                              .wanted = {true, true, true, true},
                              .min_bytes = 4,
                              .max_bytes = 4u << 20,
                              .factor = 2,
                              .type = perf_type_default(PERF_ALLREDUCE),
                              .op = perf_op_find("sum")};
    struct paired paired;
    struct perf_probe probe = {.window = MPI_WIN_NULL};
    int rank, letter = 0, status = 0;

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    opterr = 0;
    switch (parse(&request, argc, argv, &letter)) {
    case PERF_PARSE_HELP:
        if (0 == rank) {
            fputs(help_text, stdout);
        }
        break;
    case PERF_PARSE_ERROR:
        if (0 == rank) {
            fprintf(stderr,
                    "coll_rdma_compare_mpi: option -%c is unknown or its value is not "
                    "usable; -h lists the options\n",
                    letter);
        }
        status = 2;
        break;
    default:
        paired_init(&paired, &request.paired);
        if (paired.options.alone && !paired.yield && paired.ranks > 1) {
            perf_probe_init(&probe, paired.control);
        }
        for (int c = 0; c < PERF_COLLECTIVES; c++) {
            if (request.wanted[c] && !compare(&paired, &request, (enum perf_collective)c, &probe)) {
                status = 1;
            }
        }
        if (MPI_WIN_NULL != probe.window) {
            perf_probe_free(&probe);
        }
        paired_free(&paired);
    }
    MPI_Finalize();
    return status;
}
