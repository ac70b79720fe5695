/*
 * Paired measurement; paired.h has the idea.
 *
 * Invariants: all ranks run the same samples in the same order (counts that
 * depend on time are decided by rank 0 and broadcast); nothing but the measured
 * call runs on `served`, `plain` and `other`; buffers are written before the
 * start of a batch, never inside.
 */
#include "perf/paired.h"

#include "perf/arrival.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GROUP         8 /* samples: ABBA on served and plain, ABBA on other and plain */
#define FEWEST_GROUPS 25
#define MOST_GROUPS   4000
#define BATCH_NS      40e3
/* Per rank, where ranks share processors: they leave the starting barrier one after the other, and the
 * first of them counts that as a part of its batch. 16 ranks on 2 processors, barrier, with and without
 * the component: batches of 40 us (one call) 62 us against 62, of 400 us 23 against 46. */
#define CROWD_BATCH_NS 25e3
#define MOST_CALLS    4096       /* in a batch */
#define DIRTY_BYTES   (1u << 20) /* a dirty batch's payloads stay in the writer's L2 cache */
#define VERIFY_CALLS  6          /* per communicator and size */
#define VERIFY_LARGE  2 /* the same above VERIFY_BYTES: checking takes longer than calling */
#define VERIFY_BYTES  (1u << 20)
#define LATECOMER_NS  50000
#define WORK_BYTES    (1u << 20) /* between calls: as much as the second-level cache holds */
#define CACHE_LINE    64u
#define LATE_TRIES    6 /* each doubles a window that too many samples missed */

static MPI_Comm unserved(const struct paired_options *options)
{
    MPI_Info info;
    MPI_Comm comm;

    MPI_Info_create(&info);
    MPI_Info_set(info, options->info_key, options->info_value);
    MPI_Comm_dup_with_info(MPI_COMM_WORLD, info, &comm);
    MPI_Info_free(&info);
    return comm;
}

/* Whether this machine carries more ranks than it has cores: ranks in containers or network name
 * spaces share the machine of whoever shares their kernel. */
static bool crowded(const struct paired *p)
{
    char mine[64] = "", *all = calloc((size_t)p->ranks, sizeof(mine));
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "r");
    int here = 0;

    if (NULL != file) {
        (void)!fgets(mine, sizeof(mine), file);
        fclose(file);
    }
    if (NULL == all) {
        MPI_Abort(MPI_COMM_WORLD, 1);
        return false;
    }
    MPI_Allgather(mine, sizeof(mine), MPI_CHAR, all, sizeof(mine), MPI_CHAR, p->control);
    for (int r = 0; r < p->ranks; r++) {
        here += 0 == memcmp(mine, all + (size_t)r * sizeof(mine), sizeof(mine));
    }
    free(all);
    return here > sysconf(_SC_NPROCESSORS_ONLN);
}

/* Long enough for the agreed instant to reach every rank: thrice a usual broadcast. */
static double find_window(struct paired *p)
{
    double took[40], slowest[40], window;
    int64_t dummy = 0;

    for (int i = 0; i < 40; i++) {
        int64_t begin;

        MPI_Barrier(p->control);
        begin = perf_now();
        MPI_Bcast(&dummy, sizeof(dummy), MPI_BYTE, 0, p->control);
        took[i] = (double)(perf_now() - begin);
    }
    MPI_Allreduce(took, slowest, 40, MPI_DOUBLE, MPI_MAX, p->control);
    perf_sort(slowest, 40);
    window = 5000.0 + 3.0 * perf_quantile(slowest, 40, 0.75);
    return window;
}

void paired_init(struct paired *p, const struct paired_options *options)
{
    memset(p, 0, sizeof(*p));
    p->options = *options;
    if (0 == p->options.fewest) {
        p->options.fewest = FEWEST_GROUPS;
    }
    MPI_Comm_rank(MPI_COMM_WORLD, &p->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &p->ranks);
    MPI_Comm_dup(MPI_COMM_WORLD, &p->served);
    p->plain = unserved(options);
    p->other = unserved(options);
    p->control = unserved(options);
    p->yield = crowded(p);
    p->one_host = perf_one_host(p->control);
    if (p->options.batch_ns <= 0.0) {
        p->options.batch_ns = p->yield ? CROWD_BATCH_NS * p->ranks : BATCH_NS;
    }
    p->options.window |= p->options.imbalance_ns > 0.0; /* delays count from an agreed instant */
    if (p->options.window && p->options.window_ns <= 0.0) {
        p->options.window_ns = find_window(p);
    }
}

void paired_free(struct paired *p)
{
    MPI_Comm_free(&p->served);
    MPI_Comm_free(&p->plain);
    MPI_Comm_free(&p->other);
    MPI_Comm_free(&p->control);
}

int paired_begin(struct paired *p, enum perf_collective collective, const struct perf_type *type,
                 const struct perf_op *op, size_t max_bytes)
{
    void *in = NULL, *out = NULL;

    p->work = calloc(1, WORK_BYTES);
    p->room = max_bytes > DIRTY_BYTES ? max_bytes : DIRTY_BYTES;
    if (NULL == p->work || 0 != posix_memalign(&in, 4096, p->room) ||
        0 != posix_memalign(&out, 4096, p->room) ||
        0 != perf_pattern_init(&p->pattern, collective, type, op, p->rank, p->ranks)) {
        free(in);
        free(out);
        free(p->work);
        return -1;
    }
    memset(in, 0, p->room);
    memset(out, 0, p->room);
    p->in = in;
    p->out = out;
    p->call = (struct perf_call){.collective = collective,
                                 .in = in,
                                 .out = out,
                                 .type = perf_type_mpi(type),
                                 .op = perf_op_mpi(op)};
    p->fresh = true;
    return 0;
}

void paired_end(struct paired *p)
{
    perf_pattern_free(&p->pattern);
    free(p->in);
    free(p->out);
    free(p->work);
}

static int root_of(const struct paired *p, long turn)
{
    return p->options.fixed_root ? 0 : (int)(turn % p->ranks);
}

/* Write the payload of the call in buffer `slot`. */
static void fill(struct paired *p, long slot, long turn)
{
    size_t at = (size_t)slot * p->stride;
    int root = root_of(p, turn);

    if (perf_collective_reduces(p->call.collective)) {
        perf_pattern_fill(&p->pattern, p->in + at, p->bytes, (unsigned long)turn, p->rank);
    } else if (PERF_BCAST == p->call.collective && p->rank == root) {
        perf_pattern_fill(&p->pattern, p->out + at, p->bytes, (unsigned long)turn, root);
    }
}

/* One rank comes late to each barrier: whether the others waited for it. */
static bool verify_barrier(struct paired *p, MPI_Comm comm)
{
    bool held = true;

    for (long turn = 0; p->one_host && turn < VERIFY_CALLS; turn++) {
        int64_t entered, left;

        if (p->rank == turn % p->ranks) {
            perf_wait_until(perf_now() + LATECOMER_NS, p->yield);
        }
        entered = perf_now();
        MPI_Barrier(comm);
        left = perf_now();
        held &= perf_barrier_held(entered, left, p->control);
    }
    return held;
}

/* Every byte of a few calls with different payloads and roots, on one communicator. The first time
 * all roots have their turn: what a root sets up at its first call is not to be measured. */
static bool verify(struct paired *p, MPI_Comm comm)
{
    bool barrier = PERF_BARRIER == p->call.collective;
    const long calls = p->bytes > VERIFY_BYTES ? VERIFY_LARGE : VERIFY_CALLS,
               turns = p->fresh && p->ranks > calls ? p->ranks : calls;
    int right = !barrier || verify_barrier(p, comm), all = 0;

    for (long turn = 0; !barrier && turn < turns; turn++) {
        int root = root_of(p, turn);

        if (PERF_BCAST != p->call.collective || p->rank != root) {
            memset(p->out, 0xa5, p->bytes);
        }
        fill(p, 0, turn);
        perf_call_run(&p->call, root, comm);
        if ((PERF_REDUCE != p->call.collective || p->rank == root) &&
            PERF_PATTERN_OK !=
                perf_pattern_check(&p->pattern, p->out, p->bytes, (unsigned long)turn, root)) {
            right = 0;
        }
    }
    MPI_Allreduce(&right, &all, 1, MPI_INT, MPI_LAND, p->control);
    return all;
}

/* Let all ranks start; the instant from which to count, or -1 on a rank that is late. */
static int64_t start(struct paired *p)
{
    int64_t when;

    if (!p->options.window) {
        MPI_Barrier(p->control);
        return perf_now();
    }
    when = perf_now() + (int64_t)p->options.window_ns;
    MPI_Bcast(&when, sizeof(when), MPI_BYTE, 0, p->control);
    return perf_wait_until(when, p->yield) ? when : -1;
}

/* The instant from which call `j` of a batch counts, once this rank may enter it; -1 if it is late.
 */
static int64_t enter(struct paired *p, long turn, long j)
{
    const double most = p->options.imbalance_ns;
    int64_t begin;

    if (p->options.compute_ns > 0.0 && j > 0) {
        perf_work(p->options.compute_ns, p->work, WORK_BYTES);
        return perf_now();
    }
    begin = start(p);
    if (most > 0.0 && begin >= 0) {
        (void)perf_wait_until(begin + (int64_t)perf_arrival_delay(turn + j, p->rank, most),
                              p->yield);
        begin += (int64_t)perf_arrival_last(turn + j, p->ranks, most);
    }
    return begin;
}

/* The calls of a batch one by one: only they are timed, not what lies between them. */
static double sample_apart(struct paired *p, MPI_Comm comm, long turn)
{
    struct perf_call call = p->call;
    bool late = false;
    double sum = 0.0;

    for (long j = 0; j < p->batch; j++) {
        const int64_t begin = enter(p, turn, j);

        late |= begin < 0;
        perf_call_run(&call, root_of(p, turn + j), comm);
        sum += (double)(perf_now() - begin);
        call.in = (const char *)call.in + p->stride;
        call.out = (char *)call.out + p->stride;
    }
    return late ? HUGE_VAL : sum;
}

/*
 * This rank's time of one batch, ns; HUGE_VAL if it started late. `turn` numbers
 * the first call: both sides of a pair are given the same.
 */
static double sample(struct paired *p, MPI_Comm comm, long turn)
{
    struct perf_call call = p->call;
    int64_t begin;

    for (long j = 0; p->options.dirty && j < p->batch; j++) {
        fill(p, j, turn + j);
    }
    if (p->options.fixed_root || p->options.imbalance_ns > 0.0 || p->options.compute_ns > 0.0) {
        return sample_apart(p, comm, turn);
    }
    begin = start(p);
    for (long j = 0, root = turn % p->ranks; j < p->batch; j++) {
        perf_call_run(&call, (int)root, comm);
        root = root + 1 < p->ranks ? root + 1 : 0;
        call.in = (const char *)call.in + p->stride;
        call.out = (char *)call.out + p->stride;
    }
    return begin < 0 ? HUGE_VAL : (double)(perf_now() - begin);
}

/* Eight samples: ABBA or BAAB on served and plain, then the same on other and plain. */
static void group(struct paired *p, long turn, double *times)
{
    if (p->options.alone) {
        times[0] = times[1] = times[4] = times[5] = sample(p, p->served, turn);
        times[2] = times[3] = times[6] = times[7] = sample(p, p->served, turn);
        return;
    }
    for (int half = 0; half < 2; half++) {
        bool self = (turn + half) % 2;
        MPI_Comm a = self ? p->other : p->served;
        double *to = times + (self ? 4 : 0);

        if (turn / 2 % 2) {
            to[1] = sample(p, p->plain, turn);
            to[0] = sample(p, a, turn);
            to[2] = sample(p, a, turn);
            to[3] = sample(p, p->plain, turn);
        } else {
            to[0] = sample(p, a, turn);
            to[1] = sample(p, p->plain, turn);
            to[3] = sample(p, p->plain, turn);
            to[2] = sample(p, a, turn);
        }
    }
}

/* Slowest rank of each sample, known to all. */
static void slowest(struct paired *p, double *times, int n)
{
    MPI_Allreduce(MPI_IN_PLACE, times, n, MPI_DOUBLE, MPI_MAX, p->control);
}

static long most_calls(const struct paired *p)
{
    size_t fit;

    if (p->options.imbalance_ns > 0.0) {
        return 1; /* another rank may be the slowest of every call */
    }
    if (!p->options.dirty) {
        return MOST_CALLS;
    }
    fit = p->room / p->stride;
    return fit < 1 ? 1 : fit > MOST_CALLS ? MOST_CALLS : (long)fit;
}

/* Enough calls for the faster side to fill the shortest batch; warms up on the way. */
static void find_batch(struct paired *p)
{
    long most = most_calls(p);
    int tries = 0;

    p->batch = 1;
    for (;;) {
        double times[2], faster, wanted;

        for (int repeat = 0; repeat < 3; repeat++) {
            times[0] = sample(p, p->served, repeat);
            times[1] = p->options.alone ? times[0] : sample(p, p->plain, repeat);
        }
        slowest(p, times, 2);
        if (!isfinite(times[0] + times[1]) && tries++ < LATE_TRIES) {
            continue;
        }
        faster = times[0] < times[1] ? times[0] : times[1];
        if (faster >= p->options.batch_ns || p->batch >= most) {
            break;
        }
        wanted = 1.2 * (double)p->batch * p->options.batch_ns / (faster > 1.0 ? faster : 1.0);
        p->batch = wanted < 2.0 * (double)p->batch    ? 2 * p->batch
                   : wanted > 16.0 * (double)p->batch ? 16 * p->batch
                                                      : (long)wanted;
        if (p->batch > p->ranks) {
            p->batch -= p->batch % p->ranks; /* every root equally often */
        }
        if (p->batch > most) {
            p->batch = most;
        }
    }
}

static long find_groups(struct paired *p)
{
    double times[GROUP], shortest = HUGE_VAL;
    long groups = p->options.groups;

    for (long turn = 0, turns = 3; turn < turns; turn++) {
        int64_t begin = perf_now();
        int long_ones;

        group(p, turn, times);
        shortest = fmin(shortest, (double)(perf_now() - begin));
        long_ones = shortest * (double)p->options.fewest > p->options.seconds * 1e9;
        MPI_Bcast(&long_ones, 1, MPI_INT, 0, p->control);
        turns = long_ones ? 1 : 3;
    }
    if (0 == groups) {
        groups = (long)(p->options.seconds * 1e9 / shortest);
        groups = groups < p->options.fewest ? p->options.fewest
                 : groups > MOST_GROUPS     ? MOST_GROUPS
                                            : groups;
    }
    MPI_Bcast(&groups, 1, MPI_LONG, 0, p->control);
    return groups;
}

/* Rank 0 decides for all; noise may have made the groups longer than find_groups saw. */
static bool over_time(struct paired *p, int64_t begin, long groups)
{
    int over = 0 == p->options.groups && groups >= p->options.fewest &&
               (double)(perf_now() - begin) > 2e9 * p->options.seconds;

    MPI_Bcast(&over, 1, MPI_INT, 0, p->control);
    return over;
}

/* Turn the samples of all groups into medians; uses the arrays up. */
static void evaluate(struct paired *p, double *times, struct paired_result *result)
{
    long n = result->groups;
    double *served = times + n * GROUP, *plain = served + 2 * n, *ratio = plain + 2 * n,
           *self = ratio + n, per_call = 1e-3 / (double)p->batch;
    size_t kept = 0;

    for (long g = 0; g < n; g++) {
        const double *t = times + g * GROUP;
        double all = 0.0;

        for (int i = 0; i < GROUP; i++) {
            all += t[i];
        }
        if (!isfinite(all)) {
            continue;
        }
        served[2 * kept] = t[0] * per_call;
        served[2 * kept + 1] = t[2] * per_call;
        plain[2 * kept] = t[1] * per_call;
        plain[2 * kept + 1] = t[3] * per_call;
        ratio[kept] = sqrt(t[0] / t[1] * t[2] / t[3]);
        self[kept] = sqrt(t[4] / t[5] * t[6] / t[7]);
        kept++;
    }
    result->late = n - (long)kept;
    result->served_us = perf_median_of(served, 2 * kept);
    result->plain_us = perf_median_of(plain, 2 * kept);
    result->ratio = perf_median_of(ratio, kept);
    result->self = perf_median_of(self, kept);
    if (kept > 0) { /* both sorted by now */
        result->quiet_us = perf_quantile(served, 2 * kept, 0.1);
        result->quiet = result->quiet_us / perf_quantile(plain, 2 * kept, 0.1);
    }
}

/* Measure the groups; the samples, slowest rank's, known to all ranks. */
static void collect(struct paired *p, double *times, struct paired_result *result)
{
    int64_t begin = perf_now();

    for (long g = 0; g < result->groups; g++) {
        group(p, g, times + g * GROUP);
        if (over_time(p, begin, g + 1)) {
            result->groups = g + 1;
        }
    }
    slowest(p, times, (int)(result->groups * GROUP));
}

int paired_measure(struct paired *p, size_t bytes, struct paired_result *result)
{
    double *times;
    int tries = 0;

    p->bytes = bytes;
    p->stride = 0;
    p->batch = 1;
    if (p->options.dirty) {
        p->stride = (bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    }
    p->call.count = (int)(bytes / p->pattern.unit);
    memset(result, 0, sizeof(*result));
    result->verified = verify(p, p->served);
    if (!p->options.alone) {
        result->verified &= verify(p, p->plain);
        (void)verify(p, p->other);
    }
    p->fresh = false;
    do {
        find_batch(p);
        result->groups = find_groups(p);
        result->batch = p->batch;
        times = malloc((size_t)result->groups * (GROUP + 6) * sizeof(*times));
        if (NULL == times) {
            return -1;
        }
        collect(p, times, result);
        evaluate(p, times, result);
        free(times);
        if (2 * result->late <= result->groups) {
            break;
        }
        p->options.window_ns *= 2.0;
    } while (tries++ < LATE_TRIES);
    return 0;
}
