/* The measurements of coll_rdma_tune; see tune_measure.h. */
#include "perf/tune_measure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "coll_rdma/device/reduce.h"
#include "perf/timing.h"

enum { SAMPLES_MAX = 4000, SMALL = 7, LARGE = 3, LARGE_MAX = 1 << 20 };

/* Sizes that are one piece of a block; and sizes that go from user buffer to user buffer. */
static const int small[SMALL] = {64, 256, 512, 1024, 2048, 3072, 4096};
/* Matched messages: below the eager limit of every transport (4 KB with the header in it). */
enum { SMALL_MATCHED = 5 };
static const int large[LARGE] = {LARGE_MAX / 4, LARGE_MAX / 2, LARGE_MAX};

struct way {
    MPI_Comm pair;
    int rank;
    bool matched; /* MPI_Send and MPI_Recv instead of MPI_Bcast */
    char *buffer;
    double *times;
};

/* From rank `root` to the other one. */
static void pass(const struct way *w, int root, int bytes)
{
    if (!w->matched) {
        MPI_Bcast(w->buffer, bytes, MPI_BYTE, root, w->pair);
    } else if (root == w->rank) {
        MPI_Send(w->buffer, bytes, MPI_BYTE, 1 - root, 0, w->pair);
    } else {
        MPI_Recv(w->buffer, bytes, MPI_BYTE, root, 0, w->pair, MPI_STATUS_IGNORE);
    }
}

static double clock_cost(void)
{
    const int64_t begin = perf_now();

    for (int i = 0; i < 1000; ++i) {
        (void) perf_now();
    }
    return (double) (perf_now() - begin) / 1000;
}

/* The lower quartile: what disturbs only ever adds. */
static double typical(double *times, int n)
{
    perf_sort(times, (size_t) n);
    return perf_quantile(times, (size_t) n, 0.25);
}

/* ns one way; the same on both ranks. */
static double one_way(const struct way *w, int bytes, int samples, int batch)
{
    double ns;

    for (int s = -1; s < samples; ++s) { /* one to warm up */
        const int64_t begin = perf_now();

        for (int i = 0; i < batch; ++i) {
            pass(w, 0, bytes);
            pass(w, 1, bytes);
        }
        if (0 <= s) {
            w->times[s] = (double) (perf_now() - begin) / (2.0 * batch);
        }
    }
    ns = typical(w->times, samples);
    MPI_Bcast(&ns, 1, MPI_DOUBLE, 0, w->pair);
    return ns;
}

/* The sender's time (late: the receiver's, with the message there already); known on both. */
static double one_side(const struct way *w, int bytes, int samples, bool late, double wait_ns)
{
    const int measured = late ? 1 : 0;
    const double clock = clock_cost();
    double ns = 0;

    for (int s = 0; s < samples; ++s) {
        int64_t begin;

        pass(w, 1, 8); /* both are here */
        if (late && 1 == w->rank) {
            perf_wait_until(perf_now() + (int64_t) wait_ns, false);
        }
        begin = perf_now();
        pass(w, 0, bytes);
        w->times[s] = (double) (perf_now() - begin) - clock;
        pass(w, 1, 8);
        pass(w, 0, 8);
    }
    if (measured == w->rank) {
        ns = typical(w->times, samples);
    }
    MPI_Bcast(&ns, 1, MPI_DOUBLE, measured, w->pair);
    return 0 < ns ? ns : 0;
}

/* What a first call after a pause costs more: caches and waiting ranks have gone cold. */
static double after_pause(const struct way *w, double way)
{
    enum { PAUSES = 25, BYTES = 64 };
    double ns;

    for (int s = 0; s < PAUSES; ++s) {
        int64_t begin;

        pass(w, 0, BYTES);
        pass(w, 1, BYTES);
        if (0 == w->rank) {
            perf_wait_until(perf_now() + (int64_t) (2 * way) + 1000000, true);
        }
        begin = perf_now();
        pass(w, 0, BYTES);
        pass(w, 1, BYTES);
        w->times[s] = (double) (perf_now() - begin);
    }
    perf_sort(w->times, PAUSES);
    ns = perf_quantile(w->times, PAUSES, 0.5) - 2 * way;
    MPI_Bcast(&ns, 1, MPI_DOUBLE, 0, w->pair);
    return 0 < ns ? ns : 0;
}

struct lines {
    struct tune_line *sender, *receiver, *way;
};

static void measure_lines(const struct way *w, double seconds, const struct lines *to,
                          tune_progress_t progress, double from, double until)
{
    double x[SMALL], sender[SMALL], receiver[SMALL], way[SMALL];
    const int n = w->matched ? SMALL_MATCHED : SMALL;

    for (int i = 0; i < n; ++i) {
        const double probe = one_way(w, small[i], 5, 3);
        const double share = seconds * 1e9 / n / 3; /* of one of the three */
        /* a batch of 20 us at least, but as many samples as there is time for */
        int batch = (int) (10000 / probe) + 1, samples = (int) (share / (2 * probe * batch));

        samples = samples > SAMPLES_MAX ? SAMPLES_MAX : samples < 8 ? 8 : samples;
        x[i] = small[i];
        way[i] = one_way(w, small[i], samples, batch);
        samples = (int) (share / (8 * way[i] + 10000));
        samples = samples > SAMPLES_MAX ? SAMPLES_MAX : samples < 8 ? 8 : samples;
        sender[i] = one_side(w, small[i], samples, false, 0);
        receiver[i] = one_side(w, small[i], samples, true, 3 * way[i] + 2000);
        progress(from + (until - from) * (i + 1) / n);
    }
    *to->way = tune_fit(x, way, (size_t) n);
    *to->sender = tune_fit(x, sender, (size_t) n);
    *to->receiver = tune_fit(x, receiver, (size_t) n);
}

void tune_measure_pair(MPI_Comm pair, double seconds, struct tune_report *r,
                       tune_progress_t progress, double from, double to)
{
    struct way w = {.pair = pair};
    double x[LARGE], y[LARGE];
    const double third = (to - from) / 3;

    MPI_Comm_rank(pair, &w.rank);
    w.buffer = calloc(1, LARGE_MAX);
    w.times = malloc(SAMPLES_MAX * sizeof(double));
    if (NULL == w.buffer || NULL == w.times) {
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    measure_lines(&w, seconds / 3, &(struct lines) {&r->sender, &r->receiver, &r->way}, progress,
                  from, from + third);
    r->entry = after_pause(&w, r->way.at0 + 64 * r->way.slope);
    for (int i = 0; i < LARGE; ++i) {
        const double probe = one_way(&w, large[i], 3, 1);
        const int samples = (int) (seconds / 3 * 1e9 / LARGE / (2 * probe));

        x[i] = large[i];
        y[i] = one_way(&w, large[i], samples > 100 ? 100 : samples < 5 ? 5 : samples, 1);
        progress(from + third + third * (i + 1) / LARGE);
    }
    r->large = tune_fit(x, y, LARGE);
    w.matched = true;
    measure_lines(&w, seconds / 3, &(struct lines) {&r->sr_sender, &r->sr_receiver, &r->sr_way},
                  progress, from + 2 * third, to);
    r->known = true;
    free(w.buffer);
    free(w.times);
}

void tune_measure_port(MPI_Comm flat, double seconds, struct tune_report *r)
{
    double x[16], y[16], *times = malloc(SAMPLES_MAX * sizeof(double));
    int rank, size, n = 0;

    MPI_Comm_rank(flat, &rank);
    MPI_Comm_size(flat, &size);
    if (NULL == times) {
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    for (int count = 2; count <= size && n < 16; count *= 2) {
        MPI_Comm some;
        float in = 1, out;
        int samples = 3;

        MPI_Comm_split(flat, rank < count ? 0 : MPI_UNDEFINED, rank, &some);
        if (MPI_COMM_NULL != some) {
            for (int s = -3; s < samples; ++s) {
                const int64_t begin = perf_now();

                MPI_Allreduce(&in, &out, 1, MPI_FLOAT, MPI_SUM, some);
                if (0 <= s) {
                    times[s] = (double) (perf_now() - begin);
                } else if (-1 == s) {
                    samples = (int) (seconds * 1e9 / 4 / ((double) (perf_now() - begin) + 1));
                    samples = samples > SAMPLES_MAX ? SAMPLES_MAX : samples < 10 ? 10 : samples;
                    MPI_Bcast(&samples, 1, MPI_INT, 0, some);
                }
            }
            x[n] = count - 1;
            y[n++] = typical(times, samples);
            MPI_Comm_free(&some);
        }
    }
    if (0 == rank && 2 < n) {
        /* what 8 peers more cost, there and back; n >= 3: 2, 4, 8 ranks */
        const struct tune_line line = tune_fit(x, y, (size_t) n);

        r->port = 0 < line.slope ? line.slope / 2 : 0;
        r->port_ci = line.slope_ci / 2;
    }
    MPI_Bcast(&r->port, 1, MPI_DOUBLE, 0, flat);
    MPI_Bcast(&r->port_ci, 1, MPI_DOUBLE, 0, flat);
    free(times);
}

double tune_measure_reduction(void)
{
    enum { FLOATS = 4096, OPERANDS = 4, TURNS = 64 };
    float *data = calloc((OPERANDS + 1) * FLOATS, sizeof(*data));
    const void *src[OPERANDS];
    double times[TURNS], ns;
    const crdma_reduce_fn_t sum = crdma_reduce_lookup(CRDMA_OP_SUM, CRDMA_TYPE_FLOAT);

    if (NULL == data) {
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    for (int i = 0; i < OPERANDS; ++i) {
        src[i] = data + (i + 1) * FLOATS;
    }
    for (int t = 0; t < TURNS; ++t) {
        const int64_t begin = perf_now();

        sum(data, src, OPERANDS, FLOATS);
        times[t] = (double) (perf_now() - begin);
    }
    ns = typical(times, TURNS) / ((OPERANDS - 1) * FLOATS * sizeof(*data));
    free(data);
    return ns;
}

static double positive(double value)
{
    return 0 < value ? value : 0;
}

void tune_level(const struct tune_report *r, bool between, crdma_model_level_t *l)
{
    l->overhead = positive(r->sender.at0);
    l->notify = positive(r->receiver.at0);
    if (l->overhead + l->notify > r->way.at0) {
        /* A call timed alone costs more than one of many; what is known well is the sum. */
        const double scale = positive(r->way.at0) / (l->overhead + l->notify);

        l->overhead *= scale;
        l->notify *= scale;
    }
    l->latency = positive(r->way.at0 - l->overhead - l->notify);
    l->copy_out = positive(r->sender.slope);
    l->copy_in = positive(r->receiver.slope);
    l->byte = 0;
    if (between) {
        l->byte = positive(r->large.slope);
        /* bytes that TCP copies while they are on the wire are counted there */
        const double copies = positive(r->way.slope - l->byte);

        if (l->copy_out + l->copy_in > copies) {
            const double scale = copies / (l->copy_out + l->copy_in);

            l->copy_out *= scale;
            l->copy_in *= scale;
        }
    } else {
        /* no port: what is not the sender's is the receiver's, whose caches are cold in earnest */
        l->copy_out = l->copy_out < positive(r->way.slope) ? l->copy_out : positive(r->way.slope);
        l->copy_in = positive(r->way.slope - l->copy_out);
        l->rndv_byte = positive(r->large.slope);
    }
    l->gap = between && r->port > l->overhead ? r->port : 0;
    l->sr_overhead = positive(r->sr_sender.at0);
    if (l->sr_overhead > positive(r->sr_way.at0 - l->latency) / 2) {
        l->sr_overhead = positive(r->sr_way.at0 - l->latency) / 2; /* as above */
    }
    l->sr_match = positive(r->sr_way.at0 - l->latency - l->sr_overhead);
    l->sr_copy_out = positive(r->sr_sender.slope);
    l->sr_copy_in = positive(r->sr_way.slope - l->byte - l->sr_copy_out);
}
