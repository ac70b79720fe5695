/* The way inside a node from measured points; see tune_curve.h. */
#include "perf/tune_curve.h"

#include <string.h>

#include "perf/timing.h"

enum { SIZES = CRDMA_MODEL_KNOTS + 1, LL_BYTES = 8 };
enum { BROADCAST, TREE, EXCHANGE, KINDS };

static size_t bytes_of(int size)
{
    return 0 == size ? LL_BYTES : (size_t) crdma_model_knot[size - 1];
}

int tune_curve_list(struct tune_point *points)
{
    int n = 0;

    for (int kind = 0; kind < KINDS; ++kind) {
        for (int s = 0; s < SIZES; ++s) {
            points[n++] = (struct tune_point) {
                .coll = BROADCAST == kind ? CRDMA_BCAST : CRDMA_ALLREDUCE,
                .alg = EXCHANGE == kind ? CRDMA_ALG_EXCHANGE : CRDMA_ALG_TREE,
                .degree = 1,
                .bytes = bytes_of(s)};
        }
    }
    return n;
}

static double clamp(double value, double low, double high)
{
    return value < low ? low : value > high ? high : value;
}

void tune_curve_fit(const struct tune_point *points, bool alone, crdma_model_machine_t *m)
{
    crdma_model_level_t *l = &m->level[CRDMA_MODEL_INSIDE];
    struct tune_point model[TUNE_CURVE_POINTS];
    double t[KINDS][SIZES], calls[SIZES], call;
    int few = 0;

    for (int i = 0; i < TUNE_CURVE_POINTS; ++i) {
        t[i / SIZES][i % SIZES] = 1e3 * points[i].measured_us;
    }
    /* the call is a small difference of long times above that */
    for (int s = 0; s < SIZES && bytes_of(s) < 512; ++s) {
        calls[few++] = 2 * t[BROADCAST][s] - t[TREE][s] + m->reduce * (double) bytes_of(s);
    }
    perf_sort(calls, (size_t) few);
    call = clamp(perf_quantile(calls, (size_t) few, 0.5), 0, t[BROADCAST][0] / 2);
    l->cross = 0;
    for (int s = 0; s < SIZES; ++s) {
        const double way = t[BROADCAST][s] - call;
        const double cross =
            (t[EXCHANGE][s] - call - m->reduce * (double) bytes_of(s)) / way - 1;

        *(0 == s ? &l->ll : &l->way[s - 1]) = way;
        l->cross = cross > l->cross ? cross : l->cross;
    }
    m->call = alone ? call : m->call;
    l->spread = 0;
    memcpy(model, points, sizeof(model));
    tune_predict(m, 2, 2, model, TUNE_CURVE_POINTS);
    for (int i = 0; i < TUNE_CURVE_POINTS; ++i) {
        const double above = model[i].measured_us / model[i].worst_us - 1;
        const double below = model[i].best_us / model[i].measured_us - 1;

        l->spread = clamp(above > below ? above : below, l->spread, 1);
    }
}
