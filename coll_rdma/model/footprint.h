/*
 * What one rank of a communicator holds in memory, and with how many ranks it is connected: found by
 * setting the communicator up, with peers that are not there, and making the plans of calls.
 *
 * Nothing is estimated: the numbers are those of the slab's own accounts (reserved, in use), of the
 * C library's (bytes of live heap blocks), and the edges that the plans have made. What lies
 * outside of them is the transport's: UCX's or the device's memory per connection.
 */
#ifndef CRDMA_MODEL_FOOTPRINT_H
#define CRDMA_MODEL_FOOTPRINT_H

#include <stddef.h>

#include "coll_rdma/model/job.h"

typedef struct crdma_model_footprint {
    size_t slab_in_use;   /* bytes of preregistered memory in live blocks */
    size_t slab_promised; /* bytes promised to the communicator when it was set up */
    size_t slab_touched;  /* bytes of it in pages that exist */
    size_t heap;          /* bytes */
    size_t peers;         /* bytes of the process's table of peers, shared by all communicators */
    int connections;      /* peers with an edge */
    int remote;           /* of them on other nodes */
} crdma_model_footprint_t;

/* Rank `rank` of a communicator of what->size ranks, with the plans of n cases, which have the
 * same size and per_node. remote_blocks: of an edge between nodes (select/network.h; 0: default).
 * CRDMA_ERR_NOMEM where memory_limit (bytes) is too small. */
crdma_status_t crdma_model_footprint(const crdma_model_case_t *cases, int n, int rank,
                                     int remote_blocks, size_t memory_limit,
                                     crdma_model_footprint_t *footprint);

#endif
