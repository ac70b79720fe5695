/*
 * The transport over libibverbs: peers on other hosts, through queue pairs of our own on
 * InfiniBand or RoCE.
 *
 * Same life as every transport (transport.h). The queue pair of a peer is connected by the first
 * operation on it; UCX carries what the two sides tell each other for that.
 */
#ifndef CRDMA_TRANSPORT_VERBS_H
#define CRDMA_TRANSPORT_VERBS_H

#include "coll_rdma/transport/transport.h"

/* For tests: REVERSED posts flags before their payload, which the tests must notice. */
typedef enum crdma_verbs_order {
    CRDMA_VERBS_ORDER_PAYLOAD_FIRST = 0,
    CRDMA_VERBS_ORDER_REVERSED
} crdma_verbs_order_t;

extern crdma_verbs_order_t crdma_verbs_force_order;

/* NULL in a build without libibverbs or without UCX. */
const crdma_transport_t *crdma_verbs_transport(void);

/* The name of the i-th active port as coll_rdma_verbs_device takes it, or false. For tests and
 * reports; opens devices. */
bool crdma_verbs_port_name(int i, char *name, size_t size);

#endif
