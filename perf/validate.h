/*
 * Payloads whose result is known, so that every byte on every rank can be checked.
 *
 * Idea: rank r puts V[(k + 131 r + 977 i) mod P] into element k in iteration i,
 * with a pseudo-random table V of P elements, P prime. Then
 *   - the payload differs per rank, per element and per iteration;
 *   - the expected result in iteration i is E[(k + 977 i) mod P], where
 *     E[j] = op over r of V[(j + 131 r) mod P] is computed once, whatever the
 *     number of iterations, so that checking costs one memcmp;
 *   - P is no multiple of any block size, so misplaced blocks are found.
 * Values are small enough for every sum and product to be exact in the type, so
 * results are compared bit by bit, floating point too. No MPI in here.
 */
#ifndef PERF_VALIDATE_H
#define PERF_VALIDATE_H

#include "perf/collective.h"

struct perf_pattern {
    size_t unit;             /* bytes of one element */
    bool reduces;            /* else a broadcast: the result is the root's payload */
    unsigned char *payload;  /* V twice in a row, as this rank contributes it */
    unsigned char *expected; /* E twice in a row; for a broadcast V itself */
    unsigned char *memory;
};

#define PERF_PATTERN_OK ((size_t)-1)

/* 0, or -1 without memory. `op` is ignored for a broadcast. */
int perf_pattern_init(struct perf_pattern *pattern, enum perf_collective collective,
                      const struct perf_type *type, const struct perf_op *op, int rank, int ranks);
void perf_pattern_free(struct perf_pattern *pattern);

/* Write what rank `source` contributes in this iteration. */
void perf_pattern_fill(const struct perf_pattern *pattern, void *buffer, size_t bytes,
                       unsigned long iteration, int source);

/*
 * Compare a result; `source` is the root of a broadcast and ignored otherwise.
 * PERF_PATTERN_OK, or the offset of the first wrong byte.
 */
size_t perf_pattern_check(const struct perf_pattern *pattern, const void *buffer, size_t bytes,
                          unsigned long iteration, int source);

#endif
