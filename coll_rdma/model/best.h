/*
 * The best degree or algorithm for a call, by the walker, or by the formulas where a job has more
 * messages than the walker takes.
 */
#ifndef CRDMA_MODEL_BEST_H
#define CRDMA_MODEL_BEST_H

#include "coll_rdma/model/walk.h"

/* A job, or NULL in *job where it has more messages than the walker takes. */
crdma_status_t crdma_model_make(const crdma_model_case_t *what, crdma_model_job_t **job);

/* Price one case: *walked tells whether by the walker. */
crdma_status_t crdma_model_price(const crdma_model_case_t *what,
                                 const crdma_model_machine_t *machine,
                                 const crdma_model_call_t *call, double *ns, bool *walked);

/* Degrees worth trying among `size` ranks: for every number of rounds the least degree that needs
 * no more, and 1, 3, 7, 15: ascending, at most `room` of them; returns how many. */
int crdma_model_degrees(int size, int *degree, int room);

/* For n byte counts at once, because a job is made once: set the cheapest of the candidate degrees
 * and its time. The degree of *what (with two levels: inter_degree) is ignored. */
crdma_status_t crdma_model_best_degree(const crdma_model_case_t *what,
                                       const crdma_model_machine_t *machine,
                                       const crdma_model_call_t *call, const size_t *bytes, int n,
                                       int *degree, double *ns);

#endif
