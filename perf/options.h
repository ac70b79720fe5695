/*
 * Command line of coll_rdma_perf, and the parsers that other tools share.
 *
 * Idea: the options that OSU's collective latency programs have keep their
 * letters and meaning; what is new has other letters.
 */
#ifndef PERF_OPTIONS_H
#define PERF_OPTIONS_H

#include "perf/collective.h"
#include "perf/device.h"

#include <stdio.h>

struct perf_options {
    enum perf_collective collective;
    size_t min_bytes;
    size_t max_bytes;
    long iterations; /* per size; 0 = by size */
    long warmup;     /* per size; -1 = by size */
    int decimals;    /* of a latency */
    size_t memory;   /* upper bound for a buffer, bytes */
    bool full;       /* minimum, maximum and iterations columns */
    bool validate;
    bool bandwidth; /* algorithm and bus bandwidth columns */
    bool dirty;     /* payload rewritten before every iteration */
    bool rotate;    /* the root moves with the iteration */
    bool slowest;   /* the slowest rank's time of each iteration */
    const struct perf_type *type;
    const struct perf_op *op;
    enum perf_device device; /* where buffers live */
};

enum perf_parse { PERF_PARSE_RUN, PERF_PARSE_HELP, PERF_PARSE_ERROR };

/*
 * Read the command line. `message` receives one line for PERF_PARSE_ERROR; the
 * same on all ranks, so that rank 0 alone may print it.
 */
enum perf_parse perf_options_parse(struct perf_options *options, int argc, char **argv,
                                   char *message, size_t message_size);

void perf_options_help(FILE *to);

/* "4096", "4K", "4M", "1G"; whether it is a size. */
bool perf_size_parse(const char *text, size_t *bytes);

/* "MIN:MAX", "MIN:" or "MAX"; leaves out what is not given. */
bool perf_range_parse(const char *text, size_t *min_bytes, size_t *max_bytes);

#endif
