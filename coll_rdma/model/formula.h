/*
 * Closed formulas for the time of a collective among N ranks on N nodes; derived in doc/model.md.
 *
 * In the terms of Gupta, Panda, Balaji and Nieplocha 2003, whose names are
 *
 *   Ts   start-up: the sender's processor until a message is handed over
 *   Tt   a message at a port: the next one comes so much later
 *   Tn   notification: the way to the receiver, and its finding the message
 *   To   combining one operand
 *   Tc   copying the message to the user
 *   k    messages to one receiver, or from one sender: the degree K
 *
 * their receiver-side model is k Tt + Tn + Ts + To + Tc at best, with k To at worst. They do not say
 * more about the terms; what they are made of here is our definition.
 */
#ifndef CRDMA_MODEL_FORMULA_H
#define CRDMA_MODEL_FORMULA_H

#include "coll_rdma/model/walk.h"

typedef struct crdma_model_terms {
    double ts, tt, tn, to, tc; /* ns */
    double found;              /* the part of tn that is the receiver's processor's */
} crdma_model_terms_t;

void crdma_model_terms(const crdma_model_machine_t *machine, const crdma_model_call_t *call,
                       size_t bytes, crdma_model_terms_t *terms);

/* One step of the paper's model: k messages from k senders to one receiver that combines them. */
double crdma_model_receiver(const crdma_model_terms_t *terms, int k, crdma_model_overlap_t overlap);

/* *exact: equal to the walker but for rounding (N a power of K+1 or K >= N-1, messages of one piece,
 * no rendezvous); else an approximation. CRDMA_ERR_UNSUPPORTED where there is no formula (two
 * levels, several ranks per node, segments, chain, scatter_allgather, barrier; rsag with blocks below
 * a cache line). */
crdma_status_t crdma_model_formula(const crdma_model_case_t *what,
                                   const crdma_model_machine_t *machine,
                                   const crdma_model_call_t *call, double *ns, bool *exact);

#endif
