/*
 * The verbs transport of a build without libibverbs or UCX.
 */
#include "coll_rdma/transport/verbs.h"

crdma_verbs_order_t crdma_verbs_force_order = CRDMA_VERBS_ORDER_PAYLOAD_FIRST;

const crdma_transport_t *crdma_verbs_transport(void)
{
    return NULL;
}

bool crdma_verbs_port_name(int i, char *name, size_t size)
{
    (void)i;
    (void)name;
    (void)size;
    return false;
}
