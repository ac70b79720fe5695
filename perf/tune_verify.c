/*
 * Timing every degree. On one host a call is as short as the
 * clock and the start, so a sample is a batch of calls whose root moves with every call (perf/paired.h
 * says why that is sound). Between hosts it is one call that starts at an agreed instant where one clock
 * serves all ranks, else after a barrier, and ends when the last rank has finished.
 */
#include "perf/tune_verify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coll_rdma/base/params.h"
#include "perf/timing.h"

/* On one host a sample is so short that rounds can be many. */
enum { ROUNDS = 6, SAMPLES = 3, HOST_ROUNDS = 48, HOST_SAMPLES = 1, BATCH = 200, BYTES_MAX = 1 << 20 };

bool tune_set(const char *name, int value)
{
    MPI_T_cvar_handle handle;
    char full[64];
    int index, count;

    snprintf(full, sizeof(full), "coll_rdma_%s", name);
    if (MPI_SUCCESS != MPI_T_cvar_get_index(full, &index)
        || MPI_SUCCESS != MPI_T_cvar_handle_alloc(index, NULL, &handle, &count)) {
        return false;
    }
    MPI_T_cvar_write(handle, &value);
    MPI_T_cvar_handle_free(&handle);
    return true;
}

struct sampler {
    MPI_Comm comm;
    char *in, *out;
    bool one_clock, one_host;
    int rank, ranks;
};

static void call(const struct sampler *s, crdma_coll_t coll, int bytes, int root)
{
    if (CRDMA_BCAST == coll) {
        MPI_Bcast(s->out, bytes / 4, MPI_INT, root, s->comm);
    } else {
        MPI_Allreduce(s->in, s->out, bytes / 4, MPI_INT, MPI_SUM, s->comm);
    }
}

/* us from the start until the last rank has finished; < 0: an agreed instant was missed. */
static double sample(const struct sampler *s, crdma_coll_t coll, int bytes, double ahead_us)
{
    int64_t start = perf_now() + (int64_t) (1e3 * ahead_us);
    double took, worst;
    int late = 0, any;

    if (s->one_host) {
        MPI_Barrier(s->comm);
        start = perf_now();
        for (int i = 0; i < BATCH; ++i) {
            call(s, coll, bytes, i % s->ranks);
        }
        took = 1e-3 * (double) (perf_now() - start) / BATCH;
        MPI_Allreduce(&took, &worst, 1, MPI_DOUBLE, MPI_MAX, s->comm);
        return worst;
    }
    if (s->one_clock) {
        MPI_Bcast(&start, sizeof(start), MPI_BYTE, 0, s->comm);
        late = !perf_wait_until(start, true);
    } else {
        MPI_Barrier(s->comm);
        start = perf_now();
    }
    call(s, coll, bytes, 0);
    took = 1e-3 * (double) (perf_now() - start);
    MPI_Allreduce(&took, &worst, 1, MPI_DOUBLE, MPI_MAX, s->comm);
    MPI_Allreduce(&late, &any, 1, MPI_INT, MPI_MAX, s->comm);
    return any ? -1 : worst;
}

/* How long before an agreed instant it must be agreed on, us. */
static double find_ahead(const struct sampler *s, crdma_coll_t coll, int bytes)
{
    const int64_t begin = perf_now();
    double ahead;

    (void) sample(s, coll, bytes, 0); /* connects and warms up, too */
    ahead = 2e-3 * (double) (perf_now() - begin) + 200;
    MPI_Bcast(&ahead, 1, MPI_DOUBLE, 0, s->comm);
    return ahead;
}

/* One round of a point, us; < 0: every agreed instant was missed. */
static double measure(const struct sampler *s, crdma_coll_t coll, int bytes, double ahead)
{
    const int samples = s->one_host ? HOST_SAMPLES : SAMPLES;
    double times[SAMPLES];
    int n = 0;

    (void) sample(s, coll, bytes, ahead);
    for (int tries = 0; n < samples && tries < 4 * samples; ++tries) {
        times[n] = sample(s, coll, bytes, ahead);
        if (0 <= times[n]) {
            ++n;
        } else {
            ahead *= 1.2;
        }
    }
    if (0 == n) {
        return -1;
    }
    perf_sort(times, (size_t) n);
    return perf_quantile(times, (size_t) n, 0.5);
}

static void set_schedule(const struct tune_point *p)
{
    const bool bcast = CRDMA_BCAST == p->coll;

    (void) tune_set(bcast ? "bcast_algorithm" : "allreduce_algorithm", (int) p->alg);
    (void) tune_set(bcast ? "bcast_degree" : "allreduce_degree", p->degree);
}

static void set_nothing(void)
{
    (void) tune_set("bcast_algorithm", CRDMA_ALG_AUTO);
    (void) tune_set("bcast_degree", 0);
    (void) tune_set("allreduce_algorithm", CRDMA_ALG_AUTO);
    (void) tune_set("allreduce_degree", 0);
}

void tune_time(MPI_Comm comm, struct tune_point *points, int n, bool one_clock, bool one_host)
{
    struct sampler s = {comm, calloc(1, BYTES_MAX), calloc(1, BYTES_MAX), one_clock, one_host, 0, 0};
    const int rounds = one_host ? HOST_ROUNDS : ROUNDS;
    double *times = malloc((size_t) (n * rounds) * sizeof(*times));
    double *ahead = calloc((size_t) n, sizeof(*ahead));

    MPI_Comm_rank(comm, &s.rank);
    MPI_Comm_size(comm, &s.ranks);
    if (NULL == s.in || NULL == s.out || NULL == times || NULL == ahead) {
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    (void) tune_set("two_level", CRDMA_LEVELS_OFF);
    for (int r = 0; r < rounds; ++r) {
        for (int i = 0; i < n; ++i) {
            MPI_Barrier(comm);
            set_schedule(&points[i]);
            if (2 > r) { /* in the first round it connects */
                ahead[i] = find_ahead(&s, points[i].coll, (int) points[i].bytes);
            }
            times[i * rounds + r] = measure(&s, points[i].coll, (int) points[i].bytes, ahead[i]);
            MPI_Barrier(comm);
            set_nothing();
        }
    }
    for (int i = 0; i < n; ++i) {
        double *mine = times + i * rounds;

        perf_sort(mine, (size_t) rounds);
        points[i].measured_us = perf_quantile(mine, (size_t) rounds, 0.25);
    }
    (void) tune_set("two_level", CRDMA_LEVELS_AUTO);
    free(s.in);
    free(s.out);
    free(times);
    free(ahead);
}

static void predict(const crdma_model_machine_t *machine, int ranks, int per_node,
                    struct tune_point *p)
{
    const crdma_model_case_t what = {.coll = p->coll, .alg = p->alg, .size = ranks,
                                     .degree = p->degree, .per_node = per_node};
    crdma_model_call_t c = {.bytes = p->bytes, .elsize = 4};
    bool walked;
    double ns = 0;

    (void) crdma_model_price(&what, machine, &c, &ns, &walked);
    p->best_us = 1e-3 * ns;
    c.overlap = CRDMA_MODEL_WORST;
    (void) crdma_model_price(&what, machine, &c, &ns, &walked);
    p->worst_us = 1e-3 * ns;
}

void tune_predict(const crdma_model_machine_t *machine, int ranks, int per_node,
                  struct tune_point *points, int n)
{
    for (int i = 0; i < n; ++i) {
        predict(machine, ranks, per_node, &points[i]);
    }
}

int tune_verify_list(int ranks, const size_t *bytes, int nbytes, struct tune_point *points,
                     int room)
{
    static const struct {
        crdma_coll_t coll;
        crdma_alg_t alg;
    } families[] = {{CRDMA_BCAST, CRDMA_ALG_TREE},
                    {CRDMA_ALLREDUCE, CRDMA_ALG_TREE},
                    {CRDMA_ALLREDUCE, CRDMA_ALG_EXCHANGE}};
    int degree[64], n = 0;
    const int ndegrees = crdma_model_degrees(ranks, degree, 64);

    for (int f = 0; f < 3; ++f) {
        for (int k = 0; k < ndegrees; ++k) {
            for (int b = 0; b < nbytes && n < room; ++b) {
                points[n++] = (struct tune_point) {.coll = families[f].coll,
                                                   .alg = families[f].alg,
                                                   .degree = degree[k],
                                                   .bytes = bytes[b]};
            }
        }
    }
    return n;
}

static double expected(const struct tune_point *p, bool shared)
{
    return shared ? p->worst_us : (p->best_us + p->worst_us) / 2;
}

static void print_errors(const struct tune_point *points, int n, double spread)
{
    double error[1024];
    int count = 0, within[2] = {0}, wide[2] = {0}, all[2] = {0};

    for (int i = 0; i < n && i < 1024; ++i) {
        const struct tune_point *p = &points[i];
        const int kind = CRDMA_ALG_EXCHANGE == p->alg;

        if (CRDMA_BCAST == p->coll) {
            const double e = 100 * (p->worst_us / p->measured_us - 1);

            error[count++] = 0 > e ? -e : e;
            continue;
        }
        ++all[kind];
        within[kind] += p->measured_us >= p->best_us && p->measured_us <= p->worst_us;
        wide[kind] += p->measured_us >= p->best_us / (1 + spread)
                      && p->measured_us <= p->worst_us * (1 + spread);
    }
    if (0 < count) {
        perf_sort(error, (size_t) count);
        printf("# broadcast: error %.1f %% (median of %d), at most %.1f %%\n",
               perf_quantile(error, (size_t) count, 0.5), count, error[count - 1]);
    }
    for (int kind = 0; kind < 2; ++kind) {
        printf("# allreduce by %s: %d of %d between best and worst case, %d with the spread of "
               "%.1f %%\n",
               0 == kind ? "tree" : "exchange", within[kind], all[kind], wide[kind], 100 * spread);
    }
}

void tune_verify_print(const struct tune_point *points, int n, double spread, bool shared)
{
    int good = 0, groups = 0;

    printf("# measured against the model, us\n%-10s %-9s %8s %5s %12s %12s %12s\n", "#", "", "bytes",
           "K", "measured", "best case", "worst case");
    for (int i = 0; i < n; ++i) {
        printf("%-10s %-9s %8zu %5d %12.3f %12.3f %12.3f\n", crdma_coll_name(points[i].coll),
               crdma_alg_name(points[i].alg), points[i].bytes, points[i].degree,
               points[i].measured_us, points[i].best_us, points[i].worst_us);
    }
    printf("# the model's K against the best measured one\n%-10s %-9s %8s %8s %8s %8s\n", "#", "",
           "bytes", "model K", "best K", "ratio");
    for (int i = 0; i < n; ++i) {
        const struct tune_point *chosen = &points[i], *best = &points[i];
        bool first = true;

        for (int j = 0; j < n; ++j) {
            const struct tune_point *p = &points[j];

            if (p->coll != points[i].coll || p->alg != points[i].alg
                || p->bytes != points[i].bytes) {
                continue;
            }
            first = first && j >= i;
            /* equal prices: the same schedule (an exchange of 16 with K = 3 and 7), and noise */
            chosen = expected(p, shared) < expected(chosen, shared)
                             || (expected(p, shared) <= expected(chosen, shared)
                                 && p->measured_us < chosen->measured_us)
                         ? p
                         : chosen;
            best = p->measured_us < best->measured_us ? p : best;
        }
        if (first && 0 < best->measured_us) {
            const double ratio = chosen->measured_us / best->measured_us;

            printf("%-10s %-9s %8zu %8d %8d %8.3f\n", crdma_coll_name(chosen->coll),
                   crdma_alg_name(chosen->alg), chosen->bytes, chosen->degree, best->degree, ratio);
            good += 1.05 >= ratio;
            ++groups;
        }
    }
    printf("# within 5 %% of the best: %d of %d\n", good, groups);
    print_errors(points, n, spread);
}
