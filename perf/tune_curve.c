/*
 * Measuring the way inside a node; see tune_curve.h. Everything is measured in several rounds, so that
 * what disturbs for a second meets all points alike; a round's value is the median of its batches,
 * the result the lower quartile of the rounds (tune_verify.c takes the same).
 */
#include "perf/tune_curve.h"

#include <math.h>
#include <string.h>

#include "coll_rdma/schedule/schedule.h"
#include "perf/timing.h"
#include "perf/tune_verify.h"

enum { ROUNDS = 8, BATCH = 100, SAMPLES = 64, SIZES = CRDMA_MODEL_KNOTS + 1, LL_BYTES = 8 };
enum { BROADCAST, TREE, EXCHANGE, KINDS };

static void call(MPI_Comm pair, int kind, int bytes, int i)
{
    static char in[4096], out[4096];

    if (BROADCAST == kind) {
        MPI_Bcast(out, bytes / 4, MPI_FLOAT, i % 2, pair);
    } else {
        MPI_Allreduce(in, out, bytes / 4, MPI_FLOAT, MPI_SUM, pair);
    }
}

/* ns per call, the median of batches for `ns` of time; equal on both ranks. */
static double time_round(MPI_Comm pair, int kind, int bytes, double ns)
{
    double times[SAMPLES], value;
    int samples = SAMPLES;

    for (int s = -1; s < samples; ++s) {
        const int64_t begin = perf_now();

        for (int i = 0; i < BATCH; ++i) {
            call(pair, kind, bytes, i);
        }
        const double took = (double) (perf_now() - begin);

        if (0 > s) { /* the first one warms up, and tells how many there is time for */
            samples = (int) (ns / took) - 1;
            samples = samples < 3 ? 3 : samples > SAMPLES ? SAMPLES : samples;
            MPI_Bcast(&samples, 1, MPI_INT, 0, pair);
        } else {
            times[s] = took / BATCH;
        }
    }
    perf_sort(times, (size_t) samples);
    value = perf_quantile(times, (size_t) samples, 0.5);
    MPI_Bcast(&value, 1, MPI_DOUBLE, 0, pair);
    return value;
}

static int bytes_of(int size)
{
    return 0 == size ? LL_BYTES : (int) crdma_model_knot[size - 1];
}

static double quartile(const double *rounds, double *deviation)
{
    double sorted[ROUNDS], value;

    memcpy(sorted, rounds, sizeof(sorted));
    perf_sort(sorted, ROUNDS);
    value = perf_quantile(sorted, ROUNDS, 0.25);
    for (int r = 0; r < ROUNDS; ++r) {
        deviation[r] = fabs(rounds[r] / value - 1);
    }
    return value;
}

static void evaluate(double t[KINDS][SIZES], double reduce, struct tune_curve *c)
{
    double calls[SIZES], crosses[SIZES];
    int few = 0;

    for (int s = 0; s < SIZES && bytes_of(s) < 512; ++s) {
        calls[few++] = 2 * t[BROADCAST][s] - t[TREE][s] + reduce * bytes_of(s);
    }
    perf_sort(calls, (size_t) few);
    c->call = perf_quantile(calls, (size_t) few, 0.5);
    c->call = 0 > c->call ? 0 : c->call > t[BROADCAST][0] / 2 ? t[BROADCAST][0] / 2 : c->call;
    for (int s = 0; s < SIZES; ++s) {
        const double way = t[BROADCAST][s] - c->call;

        *(0 == s ? &c->ll : &c->way[s - 1]) = way;
        crosses[s] = (t[EXCHANGE][s] - c->call - reduce * bytes_of(s)) / way - 1;
    }
    perf_sort(crosses, SIZES);
    c->cross = perf_quantile(crosses, SIZES, 0.5);
    c->cross = 0 > c->cross ? 0 : c->cross;
}

void tune_measure_curve(MPI_Comm pair, double seconds, double reduce, struct tune_curve *c)
{
    static double rounds[KINDS][SIZES][ROUNDS], deviation[KINDS * SIZES * ROUNDS];
    const double each = 1e9 * seconds / (KINDS * SIZES * ROUNDS);
    double t[KINDS][SIZES];

    for (int r = 0; r < ROUNDS; ++r) {
        for (int kind = 0; kind < KINDS; ++kind) {
            MPI_Barrier(pair);
            (void) tune_set("allreduce_algorithm",
                            EXCHANGE == kind ? CRDMA_ALG_EXCHANGE : CRDMA_ALG_TREE);
            for (int s = 0; s < SIZES; ++s) {
                rounds[kind][s][r] = time_round(pair, kind, bytes_of(s), each);
            }
        }
    }
    for (int kind = 0; kind < KINDS; ++kind) {
        for (int s = 0; s < SIZES; ++s) {
            t[kind][s] = quartile(rounds[kind][s], deviation + (kind * SIZES + s) * ROUNDS);
        }
    }
    perf_sort(deviation, KINDS * SIZES * ROUNDS);
    evaluate(t, reduce, c);
    c->spread = perf_quantile(deviation, KINDS * SIZES * ROUNDS, 0.9);
    c->known = true;
    MPI_Barrier(pair);
    (void) tune_set("allreduce_algorithm", CRDMA_ALG_TREE);
}

void tune_apply_curve(const struct tune_curve *c, bool alone, crdma_model_machine_t *m)
{
    crdma_model_level_t *l = &m->level[CRDMA_MODEL_INSIDE];

    if (c->known) {
        l->ll = c->ll;
        memcpy(l->way, c->way, sizeof(l->way));
        l->cross = c->cross;
        l->spread = c->spread;
        m->call = alone ? c->call : m->call;
    }
}
