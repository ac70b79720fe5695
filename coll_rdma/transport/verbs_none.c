/*
 * The verbs transport of a build without libibverbs or UCX.
 */
#include "coll_rdma/transport/verbs.h"

const crdma_transport_t *crdma_verbs_transport(void)
{
    return NULL;
}
