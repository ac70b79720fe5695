/*
 * The walker: the time of one collective, by executing the schedules of all ranks on a machine.
 *
 * All ranks start at 0; the result is when the last one is finished. A discrete-event simulation:
 * one event per rank, its clock; the rank with the earliest clock takes its next message. Ports
 * (one per node and direction) serve messages one after another, in the order of the events.
 *
 * Host overlap, as the paper draws it for the receiver of k messages:
 *   best    the reduction of a message overlaps with the arrival of the next: one is left at the end;
 *           a rank's own entry (machine->call) overlaps with the others' messages
 *   worst   all k reductions wait for the last arrival, ranks that share processors
 *           (machine->processors) work one after another, each on the one that is free first, and
 *           messages that cross inside a node disturb each other
 * The engine waits for all operands of a step and combines them in one pass, which is the worst
 * case; notifications, checks and, with segments, earlier reductions overlap: between the two.
 */
#ifndef CRDMA_MODEL_WALK_H
#define CRDMA_MODEL_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "coll_rdma/model/cut.h"
#include "coll_rdma/model/job.h"
#include "coll_rdma/model/machine.h"

typedef enum crdma_model_overlap { CRDMA_MODEL_BEST = 0, CRDMA_MODEL_WORST } crdma_model_overlap_t;

typedef struct crdma_model_call {
    size_t bytes;
    size_t segment;    /* bytes; 0: one segment */
    size_t elsize;     /* bytes of an element; 0: 4 */
    crdma_model_overlap_t overlap;
    bool send_receive; /* the same schedule over matched messages */
} crdma_model_call_t;

typedef struct crdma_model_result {
    double ns;        /* until the last rank has finished */
    int64_t messages;
    int last;         /* the rank that finished last */
} crdma_model_result_t;

/* CRDMA_ERR_NOMEM; CRDMA_ERR_MISMATCH if a rank waits for ever (a schedule that is not one). */
crdma_status_t crdma_model_walk(const crdma_model_job_t *job, const crdma_model_machine_t *machine,
                                const crdma_model_call_t *call, crdma_model_result_t *result);

#endif
