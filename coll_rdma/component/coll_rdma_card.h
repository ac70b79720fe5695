/*
 * What each rank tells all others when a communicator is set up: plain bytes, one size.
 */
#ifndef COLL_RDMA_CARD_H
#define COLL_RDMA_CARD_H

#include "coll_rdma/transport/shm.h"

typedef struct coll_rdma_card {
    crdma_shm_card_t shm;
    uint64_t region;     /* where this rank's region is in its slab */
    uint64_t parameters; /* hash of those that must agree */
    uint64_t ok;         /* nonzero: this rank is able and willing */
    uint64_t doors;      /* where others may leave words for it (familiar.h); 0: nowhere */
} coll_rdma_card_t;

#endif
