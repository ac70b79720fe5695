/*
 * Processes of a test of the verbs transport: set up, attached to each other, torn down.
 *
 * The parent forks the ranks, which share one anonymous mapping: it carries the cards and the turns
 * of a barrier. Rank r uses the r-th active port, modulo their number. What a rank finds wrong is its
 * exit status.
 */
#ifndef TESTS_UNIT_VERBS_RANKS_H
#define TESTS_UNIT_VERBS_RANKS_H

#include "coll_rdma/transport/verbs.h"
#include "tests/unit/put_data.h"

enum {
    RANKS_MAX = 4,
    CARD_MAX = 4096,
    TIME_LIMIT = 100, /* s */
    RING = 8,         /* slots */
    SLOT = 65536 + 4096,
    SLAB = 64 << 20,
    CHUNK = 4 << 20 /* in which the slab is registered */
};

struct ranks_shared {
    int card_length[RANKS_MAX];
    char card[RANKS_MAX][CARD_MAX];
    int turn[RANKS_MAX];
    int64_t note[8];
};

extern struct ranks_shared *ranks_shared;
extern int me, nranks;
extern crdma_slab_t *slab;
extern crdma_peer_t peers[RANKS_MAX];
#define peer (peers[1 - me]) /* of two ranks */
/* Same places in all slabs: RING slots of SLOT bytes, a page each of flags and acknowledgements, a
 * page for whatever a scenario wants. */
extern crdma_addr_t ring, flags, acks, area;

const crdma_transport_t *verbs(void);
double now(void); /* s */
void poll_once(void);
void barrier(void);
void finish(crdma_tx_t *tx); /* wait for it; it must succeed */
uint64_t read_word(crdma_addr_t addr);
/* The key goes to my `area`, from where the peer fetches it. */
void expose_to_peer(void *buffer, size_t size, void **handle);
void fetch_exposed(crdma_exposed_t *exposed);

/* NULL, or why nothing can be tested here. */
const char *ranks_prepare(void);

/* Run one scenario in n processes. killed: that rank is expected to die of SIGKILL; -1: none. True:
 * all was as it should be. */
bool ranks_run(int n, int killed, void (*run)(void));

#endif
