/*
 * See verbs_ranks.h.
 */
#define _GNU_SOURCE
#include "tests/unit/verbs_ranks.h"

#include <stdlib.h>

#include "coll_rdma/base/params.h"
#include "coll_rdma/transport/ucp.h"

static char ports[RANKS_MAX][80];
static int nports;
static void (*rank_run)(void); /* what ranks_run hands to the ranks */

static int rank_main(void)
{
    crdma_params.verbs_device = ports[me % nports];
    REQUIRE(ranks_open(4096));
    rank_run();
    ranks_close(10);
    crdma_ucp_close();
    crdma_slab_destroy(slab);
    return 0;
}

bool ranks_run(int n, int killed, void (*run)(void))
{
    int rc;

    rank_run = run;
    rc = ranks_fork(n, killed, TIME_LIMIT, rank_main, NULL);
    if (0 != rc) {
        fprintf(stderr, "a rank ended with status %d\n", rc);
    }
    return 0 == rc;
}

const char *verbs_prepare(void)
{
    const char *most = getenv("CRDMA_TEST_VERBS_PORTS");
    const int limit = NULL != most ? atoi(most) : RANKS_MAX;

    tested = crdma_verbs_transport();
    idle_polls = 1; /* under emulation the peer needs the processor */
    if (NULL == tested) {
        return "built without libibverbs or UCX";
    }
    while (nports < limit && crdma_verbs_port_name(nports, ports[nports], sizeof(ports[0]))) {
        ++nports;
    }
    if (0 == nports) {
        return "no active InfiniBand or RoCE port";
    }
    if (!ranks_prepare()) {
        return "no memory";
    }
    crdma_params.transport = CRDMA_TRANSPORT_VERBS;
    for (int i = 0; i < nports; ++i) {
        printf("%s%s", 0 == i ? "ports: " : ", ", ports[i]);
    }
    printf("\n");
    return NULL;
}
