/*
 * A job as a GOAL schedule, the input of LogGOPSim (Hoefler, Schneider, Lumsdaine 2010), so that
 * the walker's results can be checked by another simulator.
 *
 * One label per message or computation. A rank's sends of a step follow each other; the receives
 * of a step wait for the step before, and a computation of the reductions' or copies' time waits
 * for all of them. Messages of more than one piece are one send; there is no rendezvous but the
 * simulator's own. Segments are written out.
 */
#ifndef CRDMA_MODEL_GOAL_H
#define CRDMA_MODEL_GOAL_H

#include <stdio.h>

#include "coll_rdma/model/walk.h"

crdma_status_t crdma_model_goal_write(FILE *to, const crdma_model_job_t *job,
                                      const crdma_model_machine_t *machine,
                                      const crdma_model_call_t *call);

#endif
