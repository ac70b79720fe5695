/*
 * Two processes of a test of the UCP transport: set up, attached to each other, torn down.
 *
 * The parent forks rank 0 and rank 1, which share one anonymous page: it carries the cards and
 * the turns of a barrier. What a rank finds is its exit status and pair_shared->note.
 */
#ifndef TESTS_UNIT_UCP_PAIR_H
#define TESTS_UNIT_UCP_PAIR_H

#include "coll_rdma/transport/ucp.h"
#include "tests/unit/put_data.h"

enum {
    PAIR_SKIP = 77,
    PAIR_UCX_ABORT = 2,
    PAIR_CARD_MAX = 4096,
    PAIR_TIME_LIMIT = 60, /* s */
    RING = 8,             /* slots */
    SLOT = 65536 + 4096   /* bytes */
};

struct pair_shared {
    int card_length[2];
    char card[2][PAIR_CARD_MAX];
    int turn[2];
    int64_t note[8];
    char transport[96]; /* as it describes itself */
};

extern struct pair_shared *pair_shared;
extern int me; /* the rank */
extern crdma_slab_t *slab;
extern crdma_peer_t peer;
/* Same places in both slabs: RING slots of SLOT bytes, a page each of flags and
 * acknowledgements, 17 MB for whatever a scenario wants. */
extern crdma_addr_t ring, flags, acks, area;

double now(void); /* s */
void poll_once(void);
void barrier(void);
void finish(crdma_tx_t *tx); /* wait for it; it must succeed */
uint64_t read_word(crdma_addr_t addr);
void expose_to_peer(void *buffer, size_t size, void **handle); /* the key goes to my `area` */
void fetch_exposed(crdma_exposed_t *exposed);                  /* from the peer's `area` */

bool pair_prepare(void);
void pair_cleanup(void);

/* Run one scenario. setting: a list as in UCX_TLS or "default", then NAME=VALUE for UCX_NAME, all
 * separated by spaces. killed: rank 1 is expected to die of SIGKILL.
 * 0: as it should be; 1: failed, or something was left behind; PAIR_SKIP; PAIR_UCX_ABORT: killed,
 * and rank 0 ended by the assertion that UCX's tcp violates when a peer is lost (see ucp_pair.c).
 */
int pair_run(const char *setting, crdma_ucp_order_t order, bool killed, void (*run)(void));

#endif
