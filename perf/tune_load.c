/* Fitting what the load costs; see tune_load.h. */
#include "perf/tune_load.h"

#include <math.h>
#include <string.h>

#include "perf/timing.h"

/* Sizes that are fitted: an LL message, and a block that is not short beside its header. */
static const size_t sizes[] = {8, 2048};

enum { NFITTED = 5, NSIZES = 2 };

int tune_load_list(int ranks, struct tune_point *points)
{
    const struct {
        crdma_coll_t coll;
        crdma_alg_t alg;
        int degree;
    } what[] = {
        {CRDMA_BCAST, CRDMA_ALG_TREE, 1},         {CRDMA_BCAST, CRDMA_ALG_TREE, ranks - 1},
        {CRDMA_ALLREDUCE, CRDMA_ALG_TREE, 1},     {CRDMA_ALLREDUCE, CRDMA_ALG_TREE, ranks - 1},
        {CRDMA_ALLREDUCE, CRDMA_ALG_EXCHANGE, 1}, {CRDMA_ALLREDUCE, CRDMA_ALG_EXCHANGE, 3},
        {CRDMA_ALLREDUCE, CRDMA_ALG_EXCHANGE, ranks - 1},
    };
    int n = 0;

    for (size_t i = 0; i < sizeof(what) / sizeof(what[0]); ++i) {
        for (int s = 0; s < NSIZES; ++s) {
            points[n++] = (struct tune_point) {.coll = what[i].coll, .alg = what[i].alg,
                                               .degree = what[i].degree, .bytes = sizes[s]};
        }
    }
    return n;
}

static double *parameter(crdma_model_machine_t *m, int i)
{
    crdma_model_level_t *l = &m->level[CRDMA_MODEL_BETWEEN];
    double *const all[NFITTED] = {&m->call, &l->overhead, &l->notify, &l->work,
                                   &l->work_byte};

    return all[i];
}

/* The jobs of the points, made once; a point without one does not count. */
struct fit {
    const struct tune_point *points;
    crdma_model_job_t *jobs[TUNE_LOAD_POINTS];
    int n;
};

/* Logarithms of model / measured; returns the sum of their absolute values. */
static double misfit(const struct fit *f, const crdma_model_machine_t *m, double *each)
{
    double sum = 0;

    for (int i = 0; i < f->n; ++i) {
        const crdma_model_call_t call = {
            .bytes = f->points[i].bytes, .elsize = 4, .overlap = CRDMA_MODEL_WORST};
        crdma_model_result_t result;
        double error = 0;

        if (NULL != f->jobs[i] && 0 < f->points[i].measured_us
            && CRDMA_OK == crdma_model_walk(f->jobs[i], m, &call, &result)) {
            error = log(result.ns / (1e3 * f->points[i].measured_us));
        }
        each[i] = error;
        sum += fabs(error);
    }
    return sum;
}

/* Coordinate search with shrinking factors: the walker is no smooth function of its parameters. */
static void search(const struct fit *f, crdma_model_machine_t *m)
{
    double each[TUNE_LOAD_POINTS], least = misfit(f, m, each);

    for (double factor = 4; factor > 1.01;) {
        bool better = false;

        for (int p = 0; p < NFITTED; ++p) {
            for (int up = 0; up < 2; ++up) {
                crdma_model_machine_t trial = *m;
                double *value = parameter(&trial, p);

                *value = up ? *value * factor : *value / factor;
                const double sum = misfit(f, &trial, each);

                if (sum < least - 1e-6) {
                    least = sum;
                    *m = trial;
                    better = true;
                }
            }
        }
        factor = better ? factor : sqrt(factor);
    }
}

void tune_load_fit(const struct tune_point *points, int n, int ranks, crdma_model_machine_t *m)
{
    struct fit f = {.points = points, .n = n};
    double each[TUNE_LOAD_POINTS];

    for (int i = 0; i < n; ++i) {
        const crdma_model_case_t what = {.coll = points[i].coll, .alg = points[i].alg,
                                         .size = ranks, .degree = points[i].degree};

        if (CRDMA_OK != crdma_model_job_create(&what, &f.jobs[i])) {
            f.jobs[i] = NULL;
        }
    }
    m->level[CRDMA_MODEL_BETWEEN].gap = 0; /* what one more peer costs is what is fitted */
    for (int p = 0; p < NFITTED; ++p) {
        double *value = parameter(m, p);

        const double least = NFITTED - 1 == p ? 0.1 : 1000; /* a factor changes nothing about 0 */

        *value = *value < least ? least : *value;
    }
    search(&f, m);
    (void) misfit(&f, m, each);
    for (int i = 0; i < n; ++i) {
        each[i] = exp(fabs(each[i])) - 1;
        crdma_model_job_free(f.jobs[i]);
    }
    perf_sort(each, (size_t) n);
    m->level[CRDMA_MODEL_BETWEEN].spread = perf_quantile(each, (size_t) n, 0.9);
}
