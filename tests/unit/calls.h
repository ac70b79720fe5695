/*
 * One collective call of the engine with made-up data and an oracle.
 *
 * The data of a call is a function of (seed, rank, element), so every rank computes by itself
 * what must come out. Reductions are either sums of 32-bit words, or compositions of affine maps
 * x -> a x + b over 32-bit words, which are associative but do not commute: those catch a wrong
 * order of operands and serve elements of any size (a multiple of 8 bytes).
 */
#ifndef CRDMA_TESTS_CALLS_H
#define CRDMA_TESTS_CALLS_H

#include "tests/unit/ranks.h"

typedef struct call {
    crdma_coll_t coll;
    crdma_alg_t alg, inter_alg;
    int degree, inter_degree, root, levels;
    bool ordered; /* affine maps instead of sums */
    bool in_place;
    size_t elsize; /* 4 for sums */
    size_t count;
    size_t segment;
    uint64_t seed;
} call_t;

/* (collective, algorithm) pairs that there are; false at the end. */
bool call_pair(int i, crdma_coll_t *coll, crdma_alg_t *alg, bool *orders);

/* A call that all ranks which pass an equal state agree on; bytes up to about `most`. */
call_t call_random(uint64_t *state, int size, int nnodes, size_t most);

/* "allreduce exchange degree 2 ..." */
const char *call_describe(const call_t *call, char *text, size_t room);

uint64_t call_signature(const call_t *call);

/* Get the plan of the call, which makes the edges it needs. */
crdma_status_t call_plan(crdma_group_t *group, const call_t *call, crdma_plan_t **plan);

/* Make the call; CRDMA_OK only if the engine says so, and then the result is right. */
crdma_status_t call_run(ranks_t *me, crdma_group_t *group, const call_t *call);

/* The same, but the result is not looked at; false in *right if it is wrong. */
crdma_status_t call_try(ranks_t *me, crdma_group_t *group, const call_t *call, bool *right);

#endif
