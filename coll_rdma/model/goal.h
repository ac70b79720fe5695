/*
 * A job as a GOAL schedule, the input of LogGOPSim (Hoefler, Schneider, Lumsdaine 2010), so that
 * the walker's results can be checked by another simulator.
 *
 * One label per message or computation. A rank's sends of a step follow each other, each after a
 * computation of its processor's time; the receives of a step wait for the step before, each is followed by the
 * computation of finding, copying or combining it, and the next step waits for all of them. Lengths
 * are those on the wire. So the simulator is run with o = 0, O = 0, L = latency, G = byte, and
 * S larger than every message. Messages of more than one piece are one send; there is no
 * rendezvous but the simulator's own. Segments are written out.
 */
#ifndef CRDMA_MODEL_GOAL_H
#define CRDMA_MODEL_GOAL_H

#include <stdio.h>

#include "coll_rdma/model/walk.h"

crdma_status_t crdma_model_goal_write(FILE *to, const crdma_model_job_t *job,
                                      const crdma_model_machine_t *machine,
                                      const crdma_model_call_t *call);

#endif
