/*
 * Command line of coll_rdma_perf. Errors are collected into one line, so that
 * only rank 0 needs to print it.
 */
#include "perf/options.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static const char *const help_text =
    "usage: coll_rdma_perf COLLECTIVE [options]\n"
    "\n"
    "Latency of one MPI collective on MPI_COMM_WORLD, with the options and the output\n"
    "format of OSU's programs. COLLECTIVE: bcast, reduce, allreduce, barrier.\n"
    "\n"
    "  -m [MIN:]MAX  message sizes in bytes, doubling (default 1:1M, reductions from one\n"
    "                element); K, M and G are understood\n"
    "  -i N          iterations per size (default 1000, above 8 KB 100; fewer when a size\n"
    "                would take longer than 3 s, unless -i is given)\n"
    "  -x N          warm-up iterations per size (default 200, above 8 KB 10)\n"
    "  -f            full output: adds the fastest and slowest rank's average, iterations\n"
    "  -c            validate: checks every byte on every rank in every iteration, with\n"
    "                payloads that change (a barrier: that nobody leaves early, on one host)\n"
    "  -M BYTES      memory limit per rank (default 512M)\n"
    "  -b            adds algorithm and bus bandwidth in GB/s\n"
    "  -D            dirty buffers: the payload is rewritten before every iteration\n"
    "  -R            the root moves by one rank with every iteration\n"
    "  -S            report the slowest rank of each iteration (with -f: average, minimum\n"
    "                and maximum over the iterations) instead of averages over ranks\n"
    "  -p DIGITS     decimals of a latency (default 2, as OSU)\n"
    "  -t TYPE       char, byte, int8, uint8, int16, uint16, int, unsigned, long, uint64,\n"
    "                float, double (default: char for bcast, float for reductions)\n"
    "  -o OP         sum, prod, min, max, land, lor, lxor, band, bor, bxor (default sum)\n"
    "  -d DEVICE     where buffers live: host, cuda (GPU memory), managed (CUDA's managed memory),\n"
    "                through (GPU memory which the timed program copies to the host and back)\n"
    "  -h            this text\n"
    "\n"
    "Iterations are separated by a barrier; only the collective itself is timed. The exit\n"
    "status is 1 when a validation failed.\n";

void perf_options_help(FILE *to)
{
    fputs(help_text, to);
}

bool perf_size_parse(const char *text, size_t *bytes)
{
    char *end;
    unsigned long long value;
    int shift = 0;

    errno = 0;
    value = strtoull(text, &end, 10);
    if (end == text || '-' == text[0] || 0 != errno) {
        return false;
    }
    if ('\0' != *end) {
        switch (*end) {
        case 'k':
        case 'K':
            shift = 10;
            break;
        case 'm':
        case 'M':
            shift = 20;
            break;
        case 'g':
        case 'G':
            shift = 30;
            break;
        default:
            return false;
        }
        if ('\0' != end[1] || value > (SIZE_MAX >> shift)) {
            return false;
        }
    }
    *bytes = (size_t)value << shift;
    return true;
}

bool perf_range_parse(const char *text, size_t *min_bytes, size_t *max_bytes)
{
    const char *colon = strchr(text, ':');
    char first[32];

    if (NULL == colon) {
        return perf_size_parse(text, max_bytes);
    }
    if ((size_t)(colon - text) >= sizeof(first)) {
        return false;
    }
    memcpy(first, text, (size_t)(colon - text));
    first[colon - text] = '\0';
    return perf_size_parse(first, min_bytes) &&
           ('\0' == colon[1] || perf_size_parse(colon + 1, max_bytes));
}

static bool count_parse(const char *text, long lowest, long *value)
{
    char *end;

    errno = 0;
    *value = strtol(text, &end, 10);
    return end != text && '\0' == *end && 0 == errno && *value >= lowest;
}

/* One option; false with a message when its value is not usable. */
static bool take(struct perf_options *options, int letter, char *message, size_t size)
{
    const char *wants = NULL;
    long decimals = 2;

    switch (letter) {
    case 'm':
        if (!perf_range_parse(optarg, &options->min_bytes, &options->max_bytes)) {
            wants = "[MIN:]MAX in bytes";
        }
        break;
    case 'i':
        if (!count_parse(optarg, 1, &options->iterations)) {
            wants = "a number of at least 1";
        }
        break;
    case 'x':
        if (!count_parse(optarg, 0, &options->warmup)) {
            wants = "a number of at least 0";
        }
        break;
    case 'p':
        if (!count_parse(optarg, 0, &decimals) || decimals > 9) {
            wants = "a number from 0 to 9";
        }
        options->decimals = (int)decimals;
        break;
    case 'M':
        if (!perf_size_parse(optarg, &options->memory)) {
            wants = "a size in bytes";
        }
        break;
    case 't':
        options->type = perf_type_find(optarg);
        if (NULL == options->type) {
            wants = "a type (see -h)";
        }
        break;
    case 'o':
        options->op = perf_op_find(optarg);
        if (NULL == options->op) {
            wants = "a reduction (see -h)";
        }
        break;
    case 'd':
        if (!perf_device_find(optarg, &options->device)) {
            wants = "host, cuda, managed or through";
        }
        break;
    case 'f':
        options->full = true;
        break;
    case 'c':
        options->validate = true;
        break;
    case 'b':
        options->bandwidth = true;
        break;
    case 'D':
        options->dirty = true;
        break;
    case 'R':
        options->rotate = true;
        break;
    case 'S':
        options->slowest = true;
        break;
    default:
        snprintf(message, size, "option -%c is unknown or lacks its value; -h lists the options",
                 optopt);
        return false;
    }
    if (NULL != wants) {
        snprintf(message, size, "-%c wants %s, not \"%s\"", letter, wants, optarg);
        return false;
    }
    return true;
}

/* What holds between options. */
static bool settle(struct perf_options *options, char *message, size_t size)
{
    if (NULL == options->type) {
        options->type = perf_type_default(options->collective);
    }
    if (!perf_type_allowed(options->collective, options->type, options->op)) {
        snprintf(message, size, "MPI does not define %s on %s", options->op->name,
                 options->type->name);
        return false;
    }
    if (options->min_bytes < options->type->size) {
        options->min_bytes = options->type->size;
    }
    if (options->max_bytes < options->min_bytes) {
        snprintf(message, size, "no message size between %zu and %zu bytes", options->min_bytes,
                 options->max_bytes);
        return false;
    }
    if (options->max_bytes / options->type->size > INT_MAX) {
        snprintf(message, size, "%zu bytes are more than INT_MAX elements", options->max_bytes);
        return false;
    }
    return true;
}

enum perf_parse perf_options_parse(struct perf_options *options, int argc, char **argv,
                                   char *message, size_t message_size)
{
    bool named = false;

    memset(options, 0, sizeof(*options));
    options->min_bytes = 1;
    options->max_bytes = 1 << 20;
    options->warmup = -1;
    options->decimals = 2;
    options->memory = 512u << 20;
    options->op = perf_op_find("sum");
    opterr = 0;
    for (;;) {
        /* '-': the collective is delivered as the value of "option" 1, wherever it stands */
        int letter = getopt(argc, argv, "-m:i:x:p:M:t:o:d:fcbDRSh");

        if (-1 == letter) {
            break;
        }
        if ('h' == letter) {
            return PERF_PARSE_HELP;
        }
        if (1 == letter) {
            if (named || !perf_collective_find(optarg, &options->collective)) {
                snprintf(message, message_size,
                         "%s: no such collective; there are bcast, "
                         "reduce, allreduce and barrier",
                         optarg);
                return PERF_PARSE_ERROR;
            }
            named = true;
        } else if (!take(options, letter, message, message_size)) {
            return PERF_PARSE_ERROR;
        }
    }
    if (!named) {
        snprintf(message, message_size, "name a collective: bcast, reduce, allreduce or barrier");
        return PERF_PARSE_ERROR;
    }
    return settle(options, message, message_size) ? PERF_PARSE_RUN : PERF_PARSE_ERROR;
}
