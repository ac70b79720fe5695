/*
 * Ranks (put_ranks.h) of a test of the verbs transport: rank r uses the r-th active port, modulo
 * their number.
 */
#ifndef CRDMA_TESTS_UNIT_VERBS_RANKS_H
#define CRDMA_TESTS_UNIT_VERBS_RANKS_H

#include "coll_rdma/transport/verbs.h"
#include "tests/unit/put_ranks.h"

enum {
    TIME_LIMIT = 100, /* s */
    CHUNK = 4 << 20   /* bytes in which the slab is registered */
};

/* NULL, or why nothing can be tested here. */
const char *verbs_prepare(void);

/* Run one scenario in n processes. killed: that rank is expected to die of SIGKILL; -1: none. True:
 * all was as it should be. */
bool ranks_run(int n, int killed, void (*run)(void));

#endif
