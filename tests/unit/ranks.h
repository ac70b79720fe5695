/*
 * Ranks for tests of the engine: processes (or threads) of this host that build groups by hand
 * and call the engine, without MPI.
 *
 * ranks_run starts N ranks, runs a body in each and says how many failed. A body fails by
 * RANKS_REQUIRE (or by any way a process can fail); a rank that has not ended within the time
 * limit is killed and has failed, so no test hangs. Processes see one another as ranks on a
 * host do, through /proc/PID/fd and process_vm_readv; threads share one address space, which is
 * what the thread sanitizer can look at.
 *
 * A peer is direct unless the set-up names a transport for that pair.
 */
#ifndef CRDMA_TESTS_RANKS_H
#define CRDMA_TESTS_RANKS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "coll_rdma/engine/op.h"
#include "coll_rdma/transport/shm.h"

#define RANKS_MAX 16

typedef enum ranks_wire {
    RANKS_DIRECT = 0, /* every peer is direct */
    RANKS_REMOTE,     /* every peer goes through the fake transport */
    RANKS_MIXED       /* direct inside a node, the fake transport between nodes */
} ranks_wire_t;

typedef struct ranks_setup {
    int size;
    bool threads;
    ranks_wire_t wire;
    unsigned fake;   /* FAKE_* (fake_transport.h) */
    const int *node; /* node of each rank, NULL: all on one */
    int nnodes;
    bool no_cma;
    bool no_xpmem; /* else it is used if tests/fakexpmem is preloaded */
    size_t slab;    /* bytes, 0: 64 MiB */
    int time_limit; /* s, 0: 60 */
    unsigned dies;  /* bit r: rank r is expected to die of a signal */
    bool capture;   /* keep what the ranks write to stderr: ranks_said */
} ranks_setup_t;

typedef struct ranks {
    int rank, size;
    const ranks_setup_t *setup;
    crdma_slab_t *slab;
    crdma_peer_t *peers[RANKS_MAX];
    struct ranks_shared *shared;
    uint64_t random; /* state of ranks_random, different on each rank */
} ranks_t;

typedef void (*ranks_body_t)(ranks_t *me, void *arg);

/* The number of ranks that failed. */
int ranks_run(const ranks_setup_t *setup, ranks_body_t body, void *arg);

/* What the ranks of the last run with `capture` wrote to stderr. */
const char *ranks_said(void);

/* ---- for bodies ---- */

/* Wait for all ranks; drives the fake transport meanwhile. */
void ranks_barrier(ranks_t *me);
/* One word from each rank to all. */
void ranks_exchange(ranks_t *me, uint64_t mine, uint64_t *all);
/* 16 words that all ranks see. */
uint64_t *ranks_notes(ranks_t *me);

/* Collective: a group of all ranks. */
crdma_group_t *ranks_group(ranks_t *me);
/* Let pending transfers of the fake transport end, then wait for all ranks. */
void ranks_settle(ranks_t *me);

uint64_t ranks_next(uint64_t *state);
static inline uint64_t ranks_random(ranks_t *me)
{
    return ranks_next(&me->random);
}
/* Nothing, a few yields, or up to `us` microseconds. */
void ranks_delay(ranks_t *me, unsigned us);

void ranks_fail(const ranks_t *me, const char *file, int line, const char *format, ...)
    __attribute__((noreturn, format(printf, 4, 5)));

#define RANKS_REQUIRE(what, ...)                                                                   \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            ranks_fail(me, __FILE__, __LINE__, #what " " __VA_ARGS__);                             \
        }                                                                                          \
    } while (0)

#endif
