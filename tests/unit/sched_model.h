/*
 * What the symbolic executor computes with: values of blocks, the memory of the ranks and
 * the edges between them.
 *
 * A message is copied when it is sent and marked as reading from its source until it is
 * delivered. Whether it is delivered follows from counters of its edge, so no event is kept:
 *
 *     capacity >= 1: number of the message < received + capacity
 *     capacity == 0: number of the message < granted (the receiver has come to the step)
 */
#ifndef CRDMA_TESTS_SCHED_MODEL_H
#define CRDMA_TESTS_SCHED_MODEL_H

#include "tests/unit/sched_exec.h"

/* What a block holds. count == 0: undefined. */
typedef struct value {
    uint64_t expr; /* hash of the fold expression, of place and contributors */
    uint64_t set;  /* bit mask of contributors, N <= 64; else sum of their tags */
    int32_t lo;    /* contributors are lo, lo+1, .. (mod N) in this order; -1: any other order */
    int32_t count; /* contributors */
    int64_t place; /* segment * nblocks + block */
} value_t;

typedef struct message {
    int32_t next;
    int32_t nblocks;
    size_t payload; /* index into values, or into words for a notification */
} message_t;

typedef struct edge {
    int32_t from;
    int32_t to;
    int32_t sent;
    int32_t received;
    int32_t granted;
    int32_t head; /* oldest unreceived message, -1: none */
    int32_t tail;
    long used; /* the execution of a step that used it last */
} edge_t;

/* An own message that may still read from memory. */
typedef struct pending {
    int32_t next;
    int32_t edge;
    int32_t number;
    int32_t buf;
    int64_t begin; /* places */
    int64_t end;
} pending_t;

typedef struct rank_state {
    int turn;
    int phase;
    int step;
    int done;
    int32_t pending; /* list */
    int phase_begin[CRDMA_MAX_PHASES + 1];
} rank_state_t;

/* A growing array. */
typedef struct pool {
    void *base;
    size_t used;
    size_t room;
} pool_t;

struct sched_exec {
    const crdma_sched_t *const *sched;
    const sched_exec_config_t *config;
    int size;
    int nblocks;
    int64_t places; /* nsegments * nblocks */
    size_t words;   /* of a set of ranks, barrier */
    pool_t ranks;   /* rank_state_t */
    pool_t out;     /* value_t [rank][place] */
    pool_t tmp;
    pool_t heard;    /* uint64_t [rank][word], barrier */
    pool_t edge_of;  /* int32_t [from][to], edge + 1 */
    pool_t edges;    /* edge_t */
    pool_t messages; /* message_t */
    pool_t values;   /* value_t, payloads */
    pool_t notes;    /* uint64_t, payloads of notifications */
    pool_t pendings; /* pending_t */
    uint64_t random;
    long executions; /* of steps */
    char error[256];
};

#define RANKS(x) ((rank_state_t *)(x)->ranks.base)
#define EDGES(x) ((edge_t *)(x)->edges.base)

/* Room for `count` more elements; sched_pool_zeroed starts the pool anew. Elements may move. */
void *sched_pool_reserve(pool_t *pool, size_t count, size_t size);
void *sched_pool_zeroed(pool_t *pool, size_t count, size_t size);

/* A 64-bit hash of two, not commutative and not associative. */
uint64_t sched_model_mix(uint64_t a, uint64_t b);

/* Note what is wrong at the rank's current step; answers with -1. */
__attribute__((format(printf, 3, 4))) int sched_model_fail(sched_exec_t *x, int rank,
                                                           const char *format, ...);

/* What IN of a rank holds at the beginning. */
value_t sched_model_contribution(const sched_exec_t *x, int rank, int64_t place);

/* a = a op b; NULL or what is wrong. */
const char *sched_model_fold(const sched_exec_t *x, value_t *a, const value_t *b);

/* The buffer that IN really is, where they are the same memory. */
int sched_model_actual(const sched_exec_t *x, int rank, int buf);

/* OUT or TMP of a rank. */
value_t *sched_model_memory(sched_exec_t *x, int rank, int buf, int64_t place);

/* Read a block of any buffer; -1 if it is undefined. */
int sched_model_load(sched_exec_t *x, int rank, int buf, int64_t place, value_t *v);

/* Nonzero if none of the rank's own undelivered messages reads from the range. */
int sched_model_writable(sched_exec_t *x, int rank, int buf, int64_t begin, int64_t end);

/* Start a message; -1 if it would carry something undefined. */
int sched_model_send_one(sched_exec_t *x, int rank, int peer, int buf, int64_t place, int nblocks);

/* Nonzero if the next message from the peer is there. The receiver stands at the step that
 * takes it: the moment of the grant, if there must be one. */
int sched_model_arrived(sched_exec_t *x, int rank, int peer, int may_grant);

/* Take the next message from the peer; NULL if that is wrong. */
const message_t *sched_model_take(sched_exec_t *x, int rank, int peer, int nblocks);

#endif
