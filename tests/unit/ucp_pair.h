/*
 * Two ranks (put_ranks.h) of a test of the UCP transport under a setting of UCX.
 */
#ifndef TESTS_UNIT_UCP_PAIR_H
#define TESTS_UNIT_UCP_PAIR_H

#include "coll_rdma/transport/ucp.h"
#include "tests/unit/put_ranks.h"

enum {
    PAIR_SKIP = 77,
    PAIR_UCX_ABORT = 2,
    PAIR_TIME_LIMIT = 60, /* s */
    AREA = 17 << 20       /* bytes for whatever a scenario wants */
};

bool pair_prepare(void);
void pair_cleanup(void);

/* Run one scenario. setting: a list as in UCX_TLS or "default", then NAME=VALUE for UCX_NAME, all
 * separated by spaces. killed: rank 1 is expected to die of SIGKILL.
 * 0: as it should be; 1: failed, or something was left behind; PAIR_SKIP; PAIR_UCX_ABORT: killed,
 * and rank 0 ended by the assertion that UCX's tcp violates when a peer is lost (see ucp_pair.c).
 */
int pair_run(const char *setting, crdma_ucp_order_t order, bool killed, void (*run)(void));

#endif
