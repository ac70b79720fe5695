/*
 * Which algorithm, degree and segment size serve a call: parameters first, then rules from a file
 * (rules.h), then the built-in ones. A pure function of what is equal on all ranks, so all ranks choose alike.
 */
#ifndef CRDMA_SELECT_SELECT_H
#define CRDMA_SELECT_SELECT_H

#include <stdbool.h>
#include <stddef.h>

#include "coll_rdma/engine/plan.h"
#include "coll_rdma/select/network.h"
#include "coll_rdma/select/rules.h"

typedef struct crdma_select_args {
    crdma_coll_t coll;
    int size;            /* ranks */
    int nnodes;
    bool oversubscribed; /* more ranks than processors */
    bool all_direct;     /* all ranks on one host, shared memory */
    bool consecutive;    /* the ranks of every node are consecutive */
    bool ordered;        /* operands must be combined in rank order */
    size_t bytes;
    size_t rndv_min;     /* within a host; SIZE_MAX: no rendezvous */
    size_t board_max;    /* bytes of a call that goes through the board; 0: there is none */
    size_t parts_min;    /* within a host: from here a reduction by parts is one step (engine/parts.h); 0, SIZE_MAX: never */
    const crdma_network_t *network; /* between hosts */
    const crdma_rules_t *rules;     /* of the user; NULL: none */
} crdma_select_args_t;

typedef struct crdma_choice {
    crdma_alg_t alg;
    int degree;
    int levels; /* 1 or 2 */
    crdma_alg_t inter_alg;
    int inter_degree;
    size_t segment; /* bytes; 0: one segment */
} crdma_choice_t;

void crdma_select(const crdma_select_args_t *args, crdma_choice_t *choice);

#endif
