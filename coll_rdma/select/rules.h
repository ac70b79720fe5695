/*
 * Rules from a file, which go before the built-in ones: coll_rdma_tune writes them, anybody can.
 *
 *   # comment
 *   param NAME VALUE                     of the model (model/machine.h); see below
 *   rule COLLECTIVE LEVEL RANKS BYTES ALGORITHM DEGREE SEGMENT
 *
 *   rule allreduce between 9-24 0-2047 tree 3 0
 *
 * LEVEL is `inside` (all ranks on one host) or `between` (several hosts); RANKS counts ranks on one
 * host, or else hosts where two levels are used, and ranks where not. Ranges are inclusive; `-` as
 * their end means no end. SEGMENT in bytes, 0: one segment. The first rule that matches counts.
 *
 * Of the parameters those that the built-in selection between hosts works with (network.h) replace what was
 * measured at set-up: between.latency (ns), the mean of between.overhead and between.notify
 * (ns), between.byte (ns/B). All others are for the model alone.
 */
#ifndef CRDMA_SELECT_RULES_H
#define CRDMA_SELECT_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "coll_rdma/schedule/schedule.h"
#include "coll_rdma/select/network.h"

typedef enum crdma_rule_level { CRDMA_RULE_INSIDE = 0, CRDMA_RULE_BETWEEN } crdma_rule_level_t;

typedef struct crdma_rule {
    crdma_coll_t coll;
    crdma_rule_level_t level;
    int ranks_min, ranks_max;
    size_t bytes_min, bytes_max;
    crdma_alg_t alg;
    int degree;
    size_t segment;
} crdma_rule_t;

typedef struct crdma_rules {
    crdma_rule_t *rule;
    int n;
    crdma_network_hint_t network;
    uint64_t hash; /* of all that is read: equal on all ranks, or they do not agree */
} crdma_rules_t;

/* CRDMA_ERR_SYSTEM: cannot be read; CRDMA_ERR_PARAM: *line is wrong. *rules is set on success
 * only; free it with crdma_rules_free. */
crdma_status_t crdma_rules_load(FILE *from, crdma_rules_t **rules, int *line);
void crdma_rules_free(crdma_rules_t *rules);

/* NULL: none. rules may be NULL. ordered: rules of algorithms that cannot are passed over. */
const crdma_rule_t *crdma_rules_find(const crdma_rules_t *rules, crdma_coll_t coll,
                                     crdma_rule_level_t level, int ranks, size_t bytes,
                                     bool ordered);

void crdma_rule_write(FILE *to, const crdma_rule_t *rule);

#endif
