/*
 * coll_rdma_perf: latency of one collective on MPI_COMM_WORLD, in the manner and
 * the output format of OSU's programs, for any MPI library.
 *
 * Idea: barrier, clock, collective, clock; per size the average over iterations
 * and ranks. What OSU's numbers do not show has its own option: the slowest rank
 * of each iteration (-S), a moving root (-R: a fixed root runs ahead of the rest),
 * a payload written anew each time (-D: else it stays in the receivers' caches).
 *
 * Invariants: filling, clearing and checking buffers happen outside of the timed
 * region, and a barrier lies between them and it. Every rank runs the same number
 * of iterations: what depends on time is agreed on with a reduction.
 */
#include "perf/collective.h"
#include "perf/options.h"
#include "perf/timing.h"
#include "perf/validate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LARGE_BYTES   8192  /* above: fewer iterations */
#define PROBES        5     /* iterations that estimate how long a size takes */
#define SIZE_SECONDS  3.0   /* aim per size when -i is not given */
#define FEWEST        10    /* never fewer iterations than this */
#define LATECOMER_NS  20000 /* a validated barrier waits for a rank this late */
#define WIDTH         18
#define TITLE_VERSION "v1.0"

struct run {
    struct perf_options options;
    struct perf_pattern pattern;
    struct perf_call call;
    char *in; /* where payloads are written and results read: the buffers, or host copies of them */
    char *out;
    char *device_in; /* the buffers, where they are on a GPU, else NULL */
    char *device_out;
    int rank;
    int ranks;
    bool one_host;
    double *times; /* this rank's time of each iteration, ns */
    long iterations;
    long warmup;
    long failures;
};

struct result {
    double average; /* us */
    double lowest;
    double highest;
    long failures; /* over all ranks */
};

static char *allocate(size_t bytes)
{
    void *memory = NULL;

    if (0 == posix_memalign(&memory, 4096, bytes)) {
        memset(memory, 0, bytes);
    } else {
        fprintf(stderr, "coll_rdma_perf: no memory for a buffer of %zu bytes; see -M\n", bytes);
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    return memory;
}

static void set_counts(struct run *run, size_t bytes)
{
    const struct perf_options *o = &run->options;
    bool large = bytes > LARGE_BYTES;

    run->iterations = o->iterations > 0 ? o->iterations : large ? 100 : 1000;
    run->warmup = o->warmup >= 0 ? o->warmup : large ? 10 : 200;
    run->times = realloc(run->times, (size_t)run->iterations * sizeof(double));
    if (NULL == run->times) {
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
}

/* After the first warm-up iterations: lower the counts if the size would take too long. */
static void lower_counts(struct run *run, int64_t since)
{
    double seconds, slowest, factor;

    if (run->options.iterations > 0) {
        return;
    }
    seconds =
        (double)(perf_now() - since) * 1e-9 / PROBES * (double)(run->iterations + run->warmup);
    MPI_Allreduce(&seconds, &slowest, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    if (slowest <= SIZE_SECONDS) {
        return;
    }
    factor = SIZE_SECONDS / slowest;
    run->iterations = (long)((double)run->iterations * factor);
    if (run->iterations < FEWEST) {
        run->iterations = FEWEST;
    }
    if (run->options.warmup < 0) {
        run->warmup = (long)((double)run->warmup * factor);
        if (run->warmup < PROBES) {
            run->warmup = PROBES;
        }
    }
}

/* The host copy of a buffer to the GPU, or back; nothing if there is none. */
static void to_device(struct run *run, bool input, size_t bytes)
{
    char *device = input ? run->device_in : run->device_out;

    if (NULL != device) {
        perf_device_copy(device, input ? run->in : run->out, bytes);
    }
}

static void from_device(struct run *run, bool input, size_t bytes)
{
    char *device = input ? run->device_in : run->device_out;

    if (NULL != device) {
        perf_device_copy(input ? run->in : run->out, device, bytes);
    }
}

/* What a program does whose MPI cannot take GPU memory. */
static void call_through(struct run *run, size_t bytes, int root)
{
    bool reduces = perf_collective_reduces(run->options.collective);
    bool gives = reduces || run->rank == root;
    bool gets = reduces ? PERF_ALLREDUCE == run->options.collective || run->rank == root
                        : run->rank != root;

    if (gives) {
        from_device(run, reduces, bytes);
    }
    perf_call_run(&run->call, root, MPI_COMM_WORLD);
    if (gets) {
        to_device(run, false, bytes);
    }
}

/* Write this iteration's payload, and something wrong where the result will be. */
static void prepare(struct run *run, size_t bytes, unsigned long turn, int root)
{
    if (PERF_BARRIER == run->options.collective) {
        return;
    }
    if (perf_collective_reduces(run->options.collective)) {
        perf_pattern_fill(&run->pattern, run->in, bytes, turn, run->rank);
        to_device(run, true, bytes);
    } else if (run->rank == root) {
        perf_pattern_fill(&run->pattern, run->out, bytes, turn, root);
        to_device(run, false, bytes);
        return;
    }
    if (run->options.validate) {
        memset(run->out, 0xa5, bytes);
        to_device(run, false, bytes);
    }
}

static void check(struct run *run, size_t bytes, unsigned long turn, int root)
{
    size_t wrong;

    if (PERF_REDUCE == run->options.collective && run->rank != root) {
        return;
    }
    from_device(run, false, bytes);
    wrong = perf_pattern_check(&run->pattern, run->out, bytes, turn, root);
    if (PERF_PATTERN_OK != wrong && 0 == run->failures++) {
        fprintf(stderr,
                "coll_rdma_perf: rank %d: %s of %zu bytes, root %d, call %lu: wrong from "
                "byte %zu on\n",
                run->rank, perf_collective_name(run->options.collective), bytes, root, turn, wrong);
    }
}

static void check_barrier(struct run *run, unsigned long turn, int64_t entered, int64_t left)
{
    if (run->one_host && !perf_barrier_held(entered, left, MPI_COMM_WORLD) &&
        0 == run->failures++) {
        fprintf(stderr, "coll_rdma_perf: rank %d left barrier %lu before all had entered\n",
                run->rank, turn);
    }
}

static void iterate(struct run *run, size_t bytes)
{
    const struct perf_options *o = &run->options;
    bool rewrite = o->dirty || o->validate, barrier = PERF_BARRIER == o->collective;
    bool through = PERF_THROUGH == o->device && !barrier;
    int64_t since = perf_now();

    for (long i = 0; i < run->warmup + run->iterations; i++) {
        int root = o->rotate ? (int)(i % run->ranks) : 0;
        int64_t begin, end;

        if (PROBES == i && run->warmup >= PROBES) {
            lower_counts(run, since);
        }
        if (rewrite) {
            prepare(run, bytes, (unsigned long)i, root);
        }
        MPI_Barrier(MPI_COMM_WORLD);
        if (o->validate && barrier && i < run->warmup && i % run->ranks == run->rank) {
            perf_wait_until(perf_now() + LATECOMER_NS, false);
        }
        begin = perf_now();
        if (through) {
            call_through(run, bytes, root);
        } else {
            perf_call_run(&run->call, root, MPI_COMM_WORLD);
        }
        end = perf_now();
        if (i >= run->warmup && i - run->warmup < run->iterations) {
            run->times[i - run->warmup] = (double)(end - begin);
        }
        if (o->validate && barrier) {
            check_barrier(run, (unsigned long)i, begin, end);
        } else if (o->validate) {
            check(run, bytes, (unsigned long)i, root);
        }
    }
    MPI_Barrier(MPI_COMM_WORLD);
}

/* Bring the ranks' times together; only rank 0's result is complete. */
static struct result collect(struct run *run)
{
    struct result result = {0.0, 0.0, 0.0, 0};
    double mine = 0.0, n = (double)run->iterations;

    if (run->options.slowest) {
        double *worst = malloc((size_t)run->iterations * sizeof(double));

        if (NULL == worst) {
            MPI_Abort(MPI_COMM_WORLD, 1);
        }
        MPI_Reduce(run->times, worst, (int)run->iterations, MPI_DOUBLE, MPI_MAX, 0, MPI_COMM_WORLD);
        if (0 == run->rank) {
            perf_sort(worst, (size_t)run->iterations);
            for (long i = 0; i < run->iterations; i++) {
                result.average += worst[i] / n;
            }
            result.lowest = worst[0];
            result.highest = worst[run->iterations - 1];
        }
        free(worst);
    } else {
        for (long i = 0; i < run->iterations; i++) {
            mine += run->times[i] / n;
        }
        MPI_Reduce(&mine, &result.average, 1, MPI_DOUBLE, MPI_SUM, 0, MPI_COMM_WORLD);
        MPI_Reduce(&mine, &result.lowest, 1, MPI_DOUBLE, MPI_MIN, 0, MPI_COMM_WORLD);
        MPI_Reduce(&mine, &result.highest, 1, MPI_DOUBLE, MPI_MAX, 0, MPI_COMM_WORLD);
        result.average /= run->ranks;
    }
    MPI_Allreduce(&run->failures, &result.failures, 1, MPI_LONG, MPI_SUM, MPI_COMM_WORLD);
    result.average *= 1e-3;
    result.lowest *= 1e-3;
    result.highest *= 1e-3;
    return result;
}

static void print_header(const struct run *run)
{
    const struct perf_options *o = &run->options;

    printf("\n# coll_rdma_perf MPI %s Latency Test %s\n", perf_collective_title(o->collective),
           TITLE_VERSION);
    if (perf_collective_reduces(o->collective)) {
        printf("# Datatype: %s. Operation: %s.\n", o->type->name, o->op->name);
    }
    if (PERF_HOST != o->device) {
        printf("# Buffers: %s.\n", PERF_CUDA == o->device      ? "GPU memory"
                                   : PERF_MANAGED == o->device ? "managed memory"
                                                               : "GPU memory, copied to the host "
                                                                 "and back by the program");
    }
    if (o->slowest) {
        printf("# The slowest rank's time of each iteration.\n");
    }
    if (PERF_BARRIER == o->collective) {
        printf("# Avg Latency(us)");
    } else {
        printf("%-10s%*s", "# Size", WIDTH, "Avg Latency(us)");
    }
    if (o->full) {
        printf("%*s%*s%12s", WIDTH, "Min Latency(us)", WIDTH, "Max Latency(us)", "Iterations");
    }
    if (o->validate) {
        printf("%*s", WIDTH, "Validation");
    }
    if (o->bandwidth && PERF_BARRIER != o->collective) {
        printf("%*s%*s", WIDTH, "Algbw(GB/s)", WIDTH, "Busbw(GB/s)");
    }
    printf("\n");
    fflush(stdout);
}

static void print_line(const struct run *run, size_t bytes, const struct result *r)
{
    const struct perf_options *o = &run->options;

    if (PERF_BARRIER == o->collective) {
        printf("%*.*f", WIDTH - 1, o->decimals, r->average);
    } else {
        printf("%-10zu%*.*f", bytes, WIDTH, o->decimals, r->average);
    }
    if (o->full) {
        printf("%*.*f%*.*f%12ld", WIDTH, o->decimals, r->lowest, WIDTH, o->decimals, r->highest,
               run->iterations);
    }
    if (o->validate) {
        bool checked = PERF_BARRIER != o->collective || run->one_host;

        printf("%*s", WIDTH, 0 != r->failures ? "Fail" : checked ? "Pass" : "-");
    }
    if (o->bandwidth && PERF_BARRIER != o->collective) {
        double algorithm = r->average > 0.0 ? (double)bytes / r->average * 1e-3 : 0.0;

        printf("%*.3f%*.3f", WIDTH, algorithm, WIDTH,
               algorithm * perf_collective_bus_factor(o->collective, run->ranks));
    }
    printf("\n");
    fflush(stdout);
}

/* Measure all sizes; how many results were wrong. */
static long measure(struct run *run)
{
    struct perf_options *o = &run->options;
    bool reduces = perf_collective_reduces(o->collective), on_gpu;
    size_t buffers = reduces ? 2 : 1;
    long failures = 0;

    if (PERF_BARRIER == o->collective) {
        o->min_bytes = o->max_bytes = o->type->size;
    } else if (o->max_bytes > o->memory / buffers) {
        o->max_bytes = o->memory / buffers;
        if (0 == run->rank) {
            fprintf(stderr,
                    "coll_rdma_perf: sizes end at %zu bytes to stay below the memory "
                    "limit (-M)\n",
                    o->max_bytes);
        }
    }
    if (PERF_HOST == o->device) {
        run->out = allocate(o->max_bytes);
        run->in = reduces ? allocate(o->max_bytes) : NULL;
    } else { /* released at the end of the process */
        run->out = perf_device_new(PERF_HOST, o->max_bytes);
        run->in = reduces ? perf_device_new(PERF_HOST, o->max_bytes) : NULL;
        run->device_out = perf_device_new(o->device, o->max_bytes);
        run->device_in = reduces ? perf_device_new(o->device, o->max_bytes) : NULL;
    }
    if (0 !=
        perf_pattern_init(&run->pattern, o->collective, o->type, o->op, run->rank, run->ranks)) {
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    on_gpu = PERF_CUDA == o->device || PERF_MANAGED == o->device;
    run->call = (struct perf_call){.collective = o->collective,
                                   .in = on_gpu ? run->device_in : run->in,
                                   .out = on_gpu ? run->device_out : run->out,
                                   .type = perf_type_mpi(o->type),
                                   .op = perf_op_mpi(o->op)};
    for (size_t bytes = o->min_bytes; bytes <= o->max_bytes; bytes *= 2) {
        size_t whole = bytes / o->type->size * o->type->size;
        struct result result;

        run->call.count = (int)(bytes / o->type->size);
        run->failures = 0;
        set_counts(run, whole);
        prepare(run, whole, 0, 0);
        iterate(run, whole);
        result = collect(run);
        failures += result.failures;
        if (0 == run->rank) {
            print_line(run, whole, &result);
        }
    }
    if (PERF_HOST == o->device) {
        free(run->in);
        free(run->out);
    }
    free(run->times);
    perf_pattern_free(&run->pattern);
    return failures;
}

int main(int argc, char **argv)
{
    static struct run run;
    char message[256];
    const char *reason = NULL;
    int status = 0;

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &run.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &run.ranks);
    switch (perf_options_parse(&run.options, argc, argv, message, sizeof(message))) {
    case PERF_PARSE_HELP:
        if (0 == run.rank) {
            perf_options_help(stdout);
        }
        break;
    case PERF_PARSE_ERROR:
        if (0 == run.rank) {
            fprintf(stderr, "coll_rdma_perf: %s\n", message);
        }
        status = 2;
        break;
    default:
        if (PERF_HOST != run.options.device && NULL != (reason = perf_device_open(run.rank))) {
            fprintf(stderr, "coll_rdma_perf: rank %d: %s\n", run.rank, reason);
            MPI_Abort(MPI_COMM_WORLD, 2);
        }
        run.one_host = perf_one_host(MPI_COMM_WORLD);
        if (0 == run.rank) {
            print_header(&run);
        }
        status = 0 != measure(&run);
    }
    MPI_Finalize();
    return status;
}
