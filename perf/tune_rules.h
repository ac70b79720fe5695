/*
 * Rules from the model: which algorithm, degree and segment for which ranks and sizes.
 */
#ifndef PERF_TUNE_RULES_H
#define PERF_TUNE_RULES_H

#include <stdbool.h>
#include <stdio.h>

#include "coll_rdma/model/machine.h"
#include "coll_rdma/select/rules.h"

/* Rules of one level for these numbers of ranks (ascending), each up to half way to the next one. */
void tune_rules_write(FILE *to, const crdma_model_machine_t *machine, crdma_rule_level_t level,
                      const int *ranks, int n);

#endif
