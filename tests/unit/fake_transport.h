/*
 * A transport between processes of one host that does the worst its contract allows
 * (coll_rdma/transport/transport.h), so that the remote paths are tested without a network:
 *
 * - puts land late, in any order, large ones torn into aligned 8-byte words over several calls of
 *   progress; a source is read either at once or at the last moment, chosen at random;
 * - put_flagged keeps exactly what it promises: its flag lands after its payload and after
 *   everything put to that peer before; later puts may overtake it;
 * - with FAKE_TARGET_PROGRESS nothing lands unless the target has called progress since;
 * - with FAKE_UNORDERED put_flagged breaks its promise: the tests must notice.
 *
 * One user per process. Nothing moves but inside progress().
 */
#ifndef CRDMA_TESTS_FAKE_TRANSPORT_H
#define CRDMA_TESTS_FAKE_TRANSPORT_H

#include "coll_rdma/transport/shm.h"

enum {
    FAKE_TARGET_PROGRESS = 1u << 0,
    FAKE_UNORDERED = 1u << 1,
    FAKE_SLOW = 1u << 2,  /* longer delays */
    FAKE_PROMPT = 1u << 3 /* no delays: like a fast network */
};

/* progressed: one counter per rank, in memory that all processes share. */
void fake_open(crdma_slab_t *slab, unsigned flags, int rank, uint64_t *progressed, uint64_t seed);
void fake_close(void);
const crdma_transport_t *fake_transport(void);
crdma_status_t fake_attach(crdma_peer_t *peer, const crdma_shm_card_t *card, int rank);
void fake_detach(crdma_peer_t *peer);
/* Operations that have not ended. */
int fake_pending(void);

#endif
