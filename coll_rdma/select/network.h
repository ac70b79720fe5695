/*
 * What a message between hosts costs, and the algorithm and degree that this makes best.
 *
 * The model is LogGP (Alexandrov, Ionescu, Schauser, Scheiman 1995) with these terms:
 *
 *   L  latency_ns    from the put to when the receiver sees it, one byte, one way
 *   o  overhead_ns   processor time of a message, sender or receiver
 *   G  gap_ps        per byte on the wire of a port
 *   s  sharing       ranks that share one processor: where all send at once, o counts s times
 *
 * Whole numbers only: ranks with different processors must come to the same choice.
 */
#ifndef CRDMA_SELECT_NETWORK_H
#define CRDMA_SELECT_NETWORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "coll_rdma/schedule/schedule.h"

typedef struct crdma_network {
    uint64_t latency_ns;
    uint64_t overhead_ns;
    uint64_t gap_ps;
    uint64_t sharing;
    size_t block_size; /* bytes that one message carries, up to: */
    size_t rndv_min;   /* messages of at least so many bytes need one more latency */
} crdma_network_t;

/* What a user's file says of them; 0: nothing. */
typedef struct crdma_network_hint {
    uint64_t latency_ns, overhead_ns, gap_ps;
} crdma_network_hint_t;

void crdma_network_override(crdma_network_t *network, const crdma_network_hint_t *hint);

/* A fast network: what is used if nothing was measured. */
extern const crdma_network_t crdma_network_default;

/* From which size on a message is worth a latency more, for not going through blocks; never below
 * `least`. */
size_t crdma_network_rndv_min(const crdma_network_t *network, size_t least);

/* Blocks of an edge that keep the wire full while credits come back: `least`, doubled as often as
 * needed, at most `most`. */
int crdma_network_blocks(const crdma_network_t *network, int least, int most);

/* The cheapest algorithm, degree and segment (0: one) for `ranks` ranks on different hosts. */
void crdma_network_choose(const crdma_network_t *network, crdma_coll_t coll, int ranks,
                          size_t bytes, bool ordered, crdma_alg_t *alg, int *degree,
                          size_t *segment);

#endif
