/*
 * Measuring the parameters of the model on two ranks: what a put costs the sender, what it costs
 * the receiver that finds it there, how long it is on the way; the same for matched messages.
 *
 * The component is measured through MPI_Bcast on a communicator of two ranks, which is one put:
 *
 *   sender     the root's own time in the call
 *   receiver   the other rank's, when the message has long been there
 *   one way    half of a broadcast there and one back
 *
 * and send-receive through MPI_Send and MPI_Recv in the same three ways. Each is a line over the
 * size: where it meets 0 bytes and its slope are parameters.
 */
#ifndef PERF_TUNE_MEASURE_H
#define PERF_TUNE_MEASURE_H

#include <mpi.h>
#include <stdbool.h>

#include "coll_rdma/model/machine.h"
#include "perf/tune_fit.h"

struct tune_report {
    bool known;
    struct tune_line sender, receiver, way;          /* puts through blocks */
    struct tune_line large;                          /* one way, from user buffer to user buffer */
    struct tune_line sr_sender, sr_receiver, sr_way; /* matched messages */
    double entry;                                    /* ns: there and back after a pause, less the
                                                        same without */
    double port;                                     /* ns of one more peer of a flat tree, one way */
    double port_ci;
};

/* Called with the share (0 .. 1) of the measuring that is done. */
typedef void (*tune_progress_t)(double done);

/* On both ranks of `pair`. seconds: aim for all of it. */
void tune_measure_pair(MPI_Comm pair, double seconds, struct tune_report *report,
                       tune_progress_t progress, double from, double to);

/* On all ranks of `flat`: the time of one more peer, by allreduces of flat trees among the first
 * 2, 4, 8, .. ranks. Needs 4 ranks; the algorithm must have been set to a flat tree. */
void tune_measure_port(MPI_Comm flat, double seconds, struct tune_report *report);

/* ns per byte of one operand of a sum of floats. */
double tune_measure_reduction(void);

/* The parameters of one level. between: a port moves the bytes. */
void tune_level(const struct tune_report *report, bool between, crdma_model_level_t *level);

#endif
