/*
 * Paired measurement: the same collective on two communicators of one job, one
 * served by the component and one not, so that noise that both meet cancels.
 *
 * Idea. A *sample* is a batch of back-to-back calls on one communicator, its time
 * that of the slowest rank. Samples come in ABBA order; the geometric mean of the
 * two ratios of such a group is one observation, the result is the median over
 * groups. Two communicators that are both unserved are compared in the same way
 * in between: their ratio says how far from 1 a ratio can be by chance (A/A).
 * When other work keeps interrupting the ranks, medians of long samples drown; the
 * *quiet* ratio, that of both sides' lower deciles, survives longer.
 *
 * Batches. One call on two ranks can take 0.2 us, the clock 0.03 us and the skew
 * of a starting barrier as much as the call; so enough calls share one start. That
 * is sound only where calls cannot overlap without end: allreduce and barrier
 * synchronise by themselves. Broadcast and reduce do not (a fixed root of a
 * broadcast, or the leaves of a reduce, run ahead), so the root moves by one rank
 * with every call of the batch, equally on both sides: no rank can be more than
 * one turn ahead of the others. `fixed_root` instead times every call alone, with
 * an untimed barrier before it, as OSU's programs do. `imbalance_ns` and `compute_ns`
 * time every call alone too: from the instant at which the last rank enters (all ranks
 * know when that is), or from this rank's own entry after its work.
 *
 * With `alone` only the first communicator is timed: for another MPI library, whose runs
 * take turns with runs of this one. The times count then, the ratios are 1.
 */
#ifndef PERF_PAIRED_H
#define PERF_PAIRED_H

#include "perf/collective.h"
#include "perf/timing.h"
#include "perf/validate.h"

struct paired_options {
    const char *info_key; /* set to info_value: the component declines */
    const char *info_value;
    double seconds;      /* aim per size */
    long groups;         /* ABBA groups per size; 0 = as many as the seconds allow */
    long fewest;         /* but never fewer than these; 0 = 25 */
    bool alone;          /* no pairs: only the first communicator is timed */
    double batch_ns;     /* shortest batch; 0 = BATCH_NS, or CROWD_BATCH_NS per rank (paired.c) */
    bool window;         /* start at an agreed instant instead of after a barrier */
    double window_ns;    /* 0 = measured */
    bool fixed_root;     /* root 0 always, every call timed alone */
    double imbalance_ns; /* ranks enter each call up to this late (arrival.h); 0 = together */
    double compute_ns;   /* each rank works this long between calls; 0 = back to back */
    bool dirty;          /* every call sends a payload written just before the batch */
};

struct paired {
    struct paired_options options;
    MPI_Comm served;
    MPI_Comm plain;   /* unserved */
    MPI_Comm other;   /* unserved too, for A/A */
    MPI_Comm control; /* unserved, for everything that is not measured */
    int rank;
    int ranks;
    bool one_host;
    bool yield; /* more ranks than cores: waiting must not keep a core */

    /* What is being measured. */
    struct perf_call call;
    struct perf_pattern pattern;
    bool fresh; /* nothing has been called yet */
    size_t bytes;
    size_t stride; /* between the buffers of a dirty batch */
    char *in;
    char *out;
    unsigned char *work; /* what a rank computes on between calls */
    size_t room;         /* bytes of each buffer */
    long batch;
};

struct paired_result {
    struct perf_median served_us; /* per call */
    struct perf_median plain_us;
    struct perf_median ratio; /* served / plain */
    struct perf_median self;  /* other / plain */
    double quiet;             /* served / plain, of the times that a tenth stays below */
    double quiet_us;          /* what a tenth of the served times stays below */
    long batch;
    long groups;
    long late; /* groups dropped because a rank missed the agreed instant */
    bool verified;
};

/* Collective over MPI_COMM_WORLD: makes the communicators. */
void paired_init(struct paired *paired, const struct paired_options *options);
void paired_free(struct paired *paired);

/* Choose collective, type and reduction; buffers for up to max_bytes. 0 or -1 (memory). */
int paired_begin(struct paired *paired, enum perf_collective collective,
                 const struct perf_type *type, const struct perf_op *op, size_t max_bytes);
void paired_end(struct paired *paired);

/* Verify and measure one size; rank 0's result is complete. 0 or -1 (memory). */
int paired_measure(struct paired *paired, size_t bytes, struct paired_result *result);

#endif
