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

/* NULL in a build without libibverbs or without UCX. */
const crdma_transport_t *crdma_verbs_transport(void);

#endif
