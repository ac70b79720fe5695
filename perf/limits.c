/*
 * limits: what memory allows for large messages on one host, and how near MPI's collectives come:
 *
 *   mpirun -n 2 --bind-to core limits [-m MIN:MAX] [-k FACTOR] [-r ROUNDS] [-C]
 *
 * Idea. Per size all kinds take turns, one operation each, many rounds, so that they meet the same
 * noise; each result is the median of the slowest rank's times.
 *
 *   copy 1, copy all   memcpy of S bytes by rank 0 alone, by all ranks at once (own memory)
 *   add 1, add all     c = a + b of S bytes of float, likewise
 *   raw bcast          one shot: buffers that all ranks map; flag, then the ranks share the copying
 *                      of the root's S bytes to all others evenly, flag
 *   raw allreduce      likewise: each rank adds its part of all inputs, flag, copies the others'
 *                      parts; and: each adds its part and stores the sum to all results at once
 *   CMA, stage         the same on ordinary buffers, which nobody else maps (limits_private.h)
 *   bcast, allreduce   MPI's, float sum, on ordinary buffers, the root moves with the rounds
 *
 * The bound is the fastest raw way: it moves the least number of bytes, each once from the processor that
 * has written it to the one that needs it, with nothing to find out and no kernel in between. Raw
 * broadcasts are tried by ordinary stores and by stores past the caches. All inputs are written
 * again before every sample, so that they are where computation leaves them: in the caches of
 * their owner. Bandwidth on one's own memory ("copy", "add") says nothing about that.
 *
 * Invariants: a rank writes its flag only, by a release store; numbers only grow. Inputs are only ever
 * written with the same values, so every rank can check results; it does in the warm-up rounds.
 */
#include "coll_rdma/device/host_copy.h"
#include "perf/collective.h"
#include "perf/limits_private.h"
#include "perf/options.h"
#include "perf/timing.h"

#include <getopt.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define APART    256
#define PATIENCE 20000
#define WARM_UP  3
#define MOST     256 /* ranks */

#if defined(__x86_64__)
#define FAST __attribute__((target_clones("avx2", "default"), optimize("O3")))
#else
#define FAST __attribute__((optimize("O3")))
#endif

enum kind {
    COPY_ONE,
    COPY_ALL,
    ADD_ONE,
    ADD_ALL,
    RAW_BCAST,
    RAW_BCAST_PAST,
    RAW_ALLREDUCE,
    RAW_ALLREDUCE_BOTH,
    CMA_BCAST,
    STAGE_BCAST,
    STAGE_BCAST_PAST,
    CMA_ALLREDUCE,
    STAGE_ALLREDUCE,
    STAGE_ALLREDUCE_PAST,
    BCAST,
    ALLREDUCE
};
enum { KINDS = ALLREDUCE + 1 };

struct rank {
    _Atomic unsigned long *flag; /* in the window, before the buffers */
    float *in;
    float *out;
};

struct all {
    struct rank ranks[MOST]; /* what each has in the window */
    float *in, *other, *out; /* ordinary memory */
    struct private_all *private; /* NULL: CMA does not work here */
    unsigned long number;
    int rank, size;
    bool wrong;
};

FAST static void add(float *restrict to, const float *restrict a, const float *restrict b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        to[i] = a[i] + b[i];
    }
}

FAST static void add_to(float *restrict to, const float *restrict a, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        to[i] += a[i];
    }
}

static void meet(struct all *p)
{
    const unsigned long number = ++p->number;
    long polls = 0;

    /* pairs with the acquire loads of all others */
    atomic_store_explicit(p->ranks[p->rank].flag, number, memory_order_release);
    for (int r = 0; r < p->size; r++) {
        while (atomic_load_explicit(p->ranks[r].flag, memory_order_acquire) < number) {
            if (++polls > PATIENCE) {
                sched_yield();
            }
        }
    }
}

/* Where part `r` of n elements starts, on a cache line. */
static size_t part(const struct all *p, size_t n, int r)
{
    return r == p->size ? n : n * (size_t)r / (size_t)p->size / 16 * 16;
}

static void raw_bcast(struct all *p, size_t n, int root, bool past_caches)
{
    const size_t at = part(p, n, p->rank), len = part(p, n, p->rank + 1) - at;

    meet(p);
    for (int r = 0; r < p->size; r++) {
        if (r != root) {
            (past_caches ? crdma_copy_stream : crdma_copy_ordinary)(
                p->ranks[r].out + at, p->ranks[root].in + at, len * sizeof(float));
        }
    }
    meet(p);
}

static void raw_allreduce(struct all *p, size_t n)
{
    const size_t at = part(p, n, p->rank), len = part(p, n, p->rank + 1) - at;
    float *out = p->ranks[p->rank].out + at;

    meet(p);
    add(out, p->ranks[0].in + at, p->ranks[1].in + at, len);
    for (int r = 2; r < p->size; r++) {
        add_to(out, p->ranks[r].in + at, len);
    }
    meet(p);
    for (int i = 1; i < p->size; i++) {
        const int r = (p->rank + i) % p->size;
        const size_t from = part(p, n, r);

        memcpy(p->ranks[p->rank].out + from, p->ranks[r].out + from,
               (part(p, n, r + 1) - from) * sizeof(float));
    }
}

/* Nobody else reads or writes part `rank` of any buffer, so two meetings are enough. */
static void raw_allreduce_both(struct all *p, size_t n)
{
    const size_t at = part(p, n, p->rank), end = part(p, n, p->rank + 1), step = 4096;

    meet(p);
    for (size_t i = at; i < end; i += step) {
        const size_t len = end - i < step ? end - i : step;
        float *out = p->ranks[p->rank].out + i;

        add(out, p->ranks[0].in + i, p->ranks[1].in + i, len);
        for (int r = 2; r < p->size; r++) {
            add_to(out, p->ranks[r].in + i, len);
        }
        for (int r = 0; r < p->size; r++) {
            if (r != p->rank) {
                memcpy(p->ranks[r].out + i, out, len * sizeof(float));
            }
        }
    }
    meet(p);
}

static void meet_all(void *context)
{
    meet(context);
}

/* One operation. */
static void run(struct all *p, enum kind kind, size_t n, int root)
{
    switch (kind) {
    case COPY_ONE:
    case COPY_ALL:
        if (COPY_ALL == kind || 0 == p->rank) {
            memcpy(p->out, p->in, n * sizeof(float));
        }
        break;
    case ADD_ONE:
    case ADD_ALL:
        if (ADD_ALL == kind || 0 == p->rank) {
            add(p->out, p->in, p->other, n);
        }
        break;
    case RAW_BCAST:
    case RAW_BCAST_PAST:
        raw_bcast(p, n, root, RAW_BCAST_PAST == kind);
        break;
    case RAW_ALLREDUCE:
        raw_allreduce(p, n);
        break;
    case RAW_ALLREDUCE_BOTH:
        raw_allreduce_both(p, n);
        break;
    case CMA_BCAST:
        p->wrong |= !private_cma_bcast(p->private, n, root, meet_all, p);
        break;
    case CMA_ALLREDUCE:
        p->wrong |= !private_cma_allreduce(p->private, n, meet_all, p);
        break;
    case STAGE_BCAST:
    case STAGE_BCAST_PAST:
        private_stage_bcast(p->private, n, root, STAGE_BCAST_PAST == kind);
        break;
    case STAGE_ALLREDUCE:
    case STAGE_ALLREDUCE_PAST:
        private_stage_allreduce(p->private, n, STAGE_ALLREDUCE_PAST == kind);
        break;
    case BCAST:
        MPI_Bcast(root == p->rank ? p->in : p->out, (int)n, MPI_FLOAT, root, MPI_COMM_WORLD);
        break;
    default:
        MPI_Allreduce(p->in, p->out, (int)n, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
        break;
    }
}

static bool is_private_bcast(enum kind kind)
{
    return CMA_BCAST == kind || STAGE_BCAST == kind || STAGE_BCAST_PAST == kind || BCAST == kind;
}

static bool is_private_allreduce(enum kind kind)
{
    return CMA_ALLREDUCE == kind || STAGE_ALLREDUCE == kind || STAGE_ALLREDUCE_PAST == kind
           || ALLREDUCE == kind;
}

/* This rank's time of one operation, ns. */
static double sample(struct all *p, enum kind kind, size_t n, int root)
{
    float *in = kind >= RAW_BCAST && kind <= RAW_ALLREDUCE_BOTH ? p->ranks[p->rank].in : p->in;
    int64_t begin;

    MPI_Barrier(MPI_COMM_WORLD);
    for (size_t i = 0; i < n; i++) {
        in[i] = (float)(p->rank + 1);
    }
    if (kind <= ADD_ALL) {
        run(p, kind, n, root); /* the collectives have left the buffers in others' caches */
    }
    meet(p);
    begin = perf_now();
    run(p, kind, n, root);
    return (double)(perf_now() - begin);
}

/* The last operation of each kind that has a result left it in `out`: input of rank r is r + 1. */
static void check(struct all *p, enum kind kind, size_t n, int root)
{
    const float sum = (float)(p->size * (p->size + 1) / 2), one = (float)(root + 1);
    const float *raw = p->ranks[p->rank].out;

    for (size_t i = 0; i<n; i += n> 1 ? n - 1 : 1) {
        p->wrong |= (RAW_ALLREDUCE == kind || RAW_ALLREDUCE_BOTH == kind) && sum != raw[i];
        p->wrong |= is_private_allreduce(kind) && sum != p->out[i];
        p->wrong |= is_private_bcast(kind) && root != p->rank && one != p->out[i];
        p->wrong |= (RAW_BCAST == kind || RAW_BCAST_PAST == kind) && root != p->rank
                    && one != raw[i];
    }
}

static double least(double a, double b)
{
    return a < b ? a : b;
}

static void report(const struct all *p, size_t bytes, const double *us, bool csv)
{
    const double all = p->size * 1e-3 * (double)bytes, one = 1e-3 * (double)bytes;
    const double bc_stage = least(us[STAGE_BCAST], us[STAGE_BCAST_PAST]);
    const double ar_stage = least(us[STAGE_ALLREDUCE], us[STAGE_ALLREDUCE_PAST]);

    printf(csv ? "%zu,%.2f,%.2f,%.2f,%.2f" : "%9zu %6.1f %6.1f %6.1f %6.1f", bytes, one / us[COPY_ONE],
           all / us[COPY_ALL], one / us[ADD_ONE], all / us[ADD_ALL]);
    printf(csv ? ",%.3f,%.3f,%.3f,%.3f,%.3f,%.3f,%.2f,%.2f"
               : " | %8.2f %8.2f %8.2f %8.2f %8.2f  MPI %8.2f %5.2f %5.2f",
           us[RAW_BCAST], us[RAW_BCAST_PAST], us[CMA_BCAST], us[STAGE_BCAST], us[STAGE_BCAST_PAST],
           us[BCAST], us[BCAST] / least(us[RAW_BCAST], us[RAW_BCAST_PAST]),
           us[BCAST] / least(us[CMA_BCAST], bc_stage));
    printf(csv ? ",%.3f,%.3f,%.3f,%.3f,%.3f,%.3f,%.2f,%.2f\n"
               : " | %8.2f %8.2f %8.2f %8.2f %8.2f  MPI %8.2f %5.2f %5.2f\n",
           us[RAW_ALLREDUCE], us[RAW_ALLREDUCE_BOTH], us[CMA_ALLREDUCE], us[STAGE_ALLREDUCE],
           us[STAGE_ALLREDUCE_PAST], us[ALLREDUCE],
           us[ALLREDUCE] / least(us[RAW_ALLREDUCE], us[RAW_ALLREDUCE_BOTH]),
           us[ALLREDUCE] / least(us[CMA_ALLREDUCE], ar_stage));
    fflush(stdout);
}

static void measure(struct all *p, size_t bytes, long rounds, double *times, bool csv)
{
    const size_t n = bytes / sizeof(float);
    double us[KINDS];

    for (long round = -WARM_UP; round < rounds; round++) {
        const int root = (int)((round + WARM_UP) % p->size);

        for (int k = 0; k < KINDS; k++) {
            const double time = sample(p, (enum kind)k, n, root);

            times[k * rounds + (round < 0 ? 0 : round)] = time;
            if (round < 0) {
                MPI_Barrier(MPI_COMM_WORLD);
                check(p, (enum kind)k, n, root);
            }
        }
    }
    MPI_Allreduce(MPI_IN_PLACE, times, (int)(KINDS * rounds), MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    for (int k = 0; k < KINDS; k++) {
        us[k] = 1e-3 * perf_median_of(times + k * rounds, (size_t)rounds).value;
    }
    if (0 == p->rank) {
        report(p, bytes, us, csv);
    }
}

static float *filled(size_t bytes, float value)
{
    void *memory = NULL;

    if (0 != posix_memalign(&memory, 4096, bytes)) {
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    for (size_t i = 0; i < bytes / sizeof(float); i++) {
        ((float *)memory)[i] = value;
    }
    return memory;
}

static MPI_Win map(struct all *p, size_t most)
{
    const size_t room = (most + 4095) / 4096 * 4096 + 4096;
    MPI_Win window;
    char *base;

    MPI_Win_allocate_shared((MPI_Aint)(2 * room + 4096), 1, MPI_INFO_NULL, MPI_COMM_WORLD, &base,
                            &window);
    for (int r = 0; r < p->size; r++) {
        MPI_Aint size;
        int unit;

        MPI_Win_shared_query(window, r, &size, &unit, &base);
        /* mappings start at page boundaries on all ranks, so all round up alike */
        base += (64 - (uintptr_t)base % 64) % 64;
        p->ranks[r] = (struct rank){.flag = (_Atomic unsigned long *)(void *)base,
                                    .in = (float *)(void *)(base + APART),
                                    .out = (float *)(void *)(base + APART + room)};
    }
    atomic_store(p->ranks[p->rank].flag, 0);
    for (size_t i = 0; i < most / sizeof(float); i++) {
        p->ranks[p->rank].in[i] = (float)(p->rank + 1);
        p->ranks[p->rank].out[i] = 0.0f;
    }
    MPI_Barrier(MPI_COMM_WORLD);
    return window;
}

int main(int argc, char **argv)
{
    static struct all all;
    size_t least = 16384, most = 4u << 20, factor = 4;
    long rounds = 101;
    bool csv = false, usable = true;
    int letter, status = 0;

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &all.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &all.size);
    opterr = 0;
    while (-1 != (letter = getopt(argc, argv, "m:k:r:C"))) {
        usable &= '?' != letter;
        usable &= 'm' != letter || perf_range_parse(optarg, &least, &most);
        factor = 'k' == letter ? strtoul(optarg, NULL, 10) : factor;
        rounds = 'r' == letter ? strtol(optarg, NULL, 10) : rounds;
        csv |= 'C' == letter;
    }
    if (!usable || factor < 2 || rounds < 5 || least < 64 || all.size < 2 || all.size > MOST ||
        most > (size_t)1 << 30 || !perf_one_host(MPI_COMM_WORLD)) {
        if (0 == all.rank) {
            fprintf(stderr,
                    "usage: mpirun -n RANKS limits [-m MIN:MAX] [-k FACTOR] [-r ROUNDS] "
                    "[-C]   (2 to %d ranks of one host)\n",
                    MOST);
        }
        MPI_Finalize();
        return 2;
    } else {
        double *times = calloc(KINDS * (size_t)rounds, sizeof(*times));
        MPI_Win window = map(&all, most);

        all.in = filled(most, (float)(all.rank + 1));
        all.other = filled(most, 1.0f);
        all.out = filled(most, 0.0f);
        all.private = private_create(all.in, all.out);
        if (NULL == all.private) {
            fprintf(stderr, "limits: rank %d: process_vm_readv is not allowed here\n", all.rank);
            MPI_Abort(MPI_COMM_WORLD, 77);
        }
        if (0 == all.rank) {
            printf(csv ? "bytes,copy1_gbs,copy_all_gbs,add1_gbs,add_all_gbs,bcast_raw_us,"
                         "bcast_raw_past_us,bcast_cma_us,bcast_stage_us,bcast_stage_past_us,bcast_us,"
                         "bcast_ratio,bcast_private_ratio,allreduce_raw_us,allreduce_raw_both_us,"
                         "allreduce_cma_us,allreduce_stage_us,allreduce_stage_past_us,allreduce_us,"
                         "allreduce_ratio,allreduce_private_ratio\n"
                       : "# GB/s of result, all ranks together; us, slowest rank. x, xp: MPI / the fastest raw "
                         "way on mapped, on private buffers\n"
                         "#           GB/s                        | broadcast on mapped | private                 "
                         "                           | allreduce on mapped | private\n"
                         "#   bytes copy 1    all  add 1    all | ordinary     past      CMA    stage     past  "
                         "             x    xp |    twice     both      CMA    stage     past               x    "
                         "xp\n");
        }
        for (size_t bytes = least; bytes <= most; bytes *= factor) {
            measure(&all, bytes / 64 * 64, rounds, times, csv);
        }
        if (all.wrong) {
            fprintf(stderr, "limits: rank %d: a result is wrong\n", all.rank);
            status = 1;
        }
        private_free(all.private);
        MPI_Win_free(&window);
        free(all.in);
        free(all.other);
        free(all.out);
        free(times);
    }
    MPI_Finalize();
    return status;
}
