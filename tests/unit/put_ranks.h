/*
 * Processes of a test of a transport, without MPI: started, attached to one another, torn down;
 * what they say to one another outside of the transport, and data that tells its message.
 *
 * The parent forks the ranks, which share one anonymous mapping: it carries the cards and the turns
 * of a barrier. What a rank finds is its exit status and ranks_shared->note.
 */
#ifndef TESTS_UNIT_PUT_RANKS_H
#define TESTS_UNIT_PUT_RANKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>
#include <unistd.h>

#include "coll_rdma/transport/transport.h"

#define REQUIRE(what)                                                                              \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            fprintf(stderr, "rank %d, %s:%d: not true: %s\n", me, __FILE__, __LINE__, #what);      \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

enum {
    RANKS_MAX = 4,
    CARD_MAX = 4096,
    RING = 8, /* slots */
    SLOT = 65536 + 4096,
    SLAB = 64 << 20,
    BULK = 1 << 20 /* bytes */
};

struct ranks_shared {
    int card_length[RANKS_MAX];
    char card[RANKS_MAX][CARD_MAX];
    int turn[RANKS_MAX];
    int64_t note[8];
    char transport[96]; /* as it describes itself, if a test asks */
};

extern const crdma_transport_t *tested; /* to be set before the ranks start */
extern int idle_polls; /* polls without an event, after which a rank yields its processor (64) */
extern struct ranks_shared *ranks_shared;
extern int me, nranks;
extern crdma_slab_t *slab;
extern crdma_peer_t peers[RANKS_MAX];
#define peer (peers[1 - me]) /* of two ranks */
/* Same places in all slabs: RING slots of SLOT bytes, a page each of flags and acknowledgements,
 * and what a scenario wants (ranks_open). */
extern crdma_addr_t ring, flags, acks, area;

double now(void); /* s */
void poll_once(void);
void barrier(void);
void finish(crdma_tx_t *tx); /* wait for it; it must succeed */
uint64_t read_word(crdma_addr_t addr);
/* The key goes to my `area`, from where the peer fetches it. */
void expose_to_peer(void *buffer, size_t size, void **handle);
void fetch_exposed(crdma_exposed_t *exposed);

/* The mapping that the ranks share; false: no memory. */
bool ranks_prepare(void);

/* Fork n ranks, which run rank_main and end with what it returns; pids, if not NULL, gets theirs.
 * killed: that rank is expected to die of SIGKILL; -1: none. 0 if all was as it should be; else the
 * status of the rank that ended first with another (128 + a signal's number); 1 if they did not end
 * in `seconds`. */
int ranks_fork(int n, int killed, int seconds, int (*rank_main)(void), pid_t *pids);

/* Of a rank: open the transport with a slab in which `area` has that many bytes, and attach the
 * others. False: the transport cannot be used here. */
bool ranks_open(size_t area_size);
/* Detach and close, within `seconds`; the slab stays. */
void ranks_close(double seconds);

static inline uint64_t pattern(uint64_t seq, size_t i)
{
    return (seq * 0x9e3779b97f4a7c15u) ^ (i * 0xc2b2ae3d27d4eb4fu);
}

static inline void fill(uint64_t *words, size_t bytes, uint64_t seq)
{
    for (size_t i = 0; i < bytes / 8; ++i) {
        words[i] = pattern(seq, i);
    }
}

/* Reads memory that another process may be writing. */
static inline bool intact(const uint64_t *words, size_t bytes, uint64_t seq)
{
    for (size_t i = 0; i < bytes / 8; ++i) {
        if (__atomic_load_n(&words[i], __ATOMIC_RELAXED) != pattern(seq, i)) {
            return false;
        }
    }
    return true;
}

#endif
