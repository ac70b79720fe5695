/*
 * How far apart two ranks are, in the machine's own terms: one flag's way through memory that both
 * map.
 *
 * Idea. In a virtual machine two processors may be two threads of one core now and cores without a
 * common cache a moment later; whatever two ranks exchange then takes several times longer, in any
 * MPI library. Times of different runs are comparable only where this figure is the same.
 *
 * Any MPI library with shared-memory windows; the flags are ours, so its own path has no part in
 * it.
 */
#ifndef PERF_PROBE_H
#define PERF_PROBE_H

#include <mpi.h>

struct perf_probe {
    MPI_Comm comm;
    MPI_Win window;
    void *mine;  /* this rank's line */
    void *other; /* the partner's */
    int rank;
    unsigned long turn;
};

/* Collective over `comm`, whose first two ranks take part and must share a host. */
void perf_probe_init(struct perf_probe *probe, MPI_Comm comm);
void perf_probe_free(struct perf_probe *probe);

/* Nanoseconds one way, the median of a few batches of 0.1 ms or less; 0 on all ranks but the first.
 * Collective; only with a processor for every rank. */
double perf_probe_run(struct perf_probe *probe);

#endif
