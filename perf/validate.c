/*
 * Known payloads and their expected results; see validate.h for the construction.
 *
 * Invariants: tables hold two periods, so a run of up to P elements can start
 * anywhere in the first one. All arithmetic for E runs in 64-bit integers and is
 * converted to the type at the end, which is exact because
 *   sum:      values <= 100, and small enough for ranks * value to fit the type;
 *   product:  values 1 or 2, only the first six ranks contribute a 2;
 *   bitwise:  truncation to the type commutes with the operation.
 */
#include "perf/validate.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PERIOD           8191ul
#define RANK_STRIDE      131ul
#define ITERATION_STRIDE 977ul
#define PROD_RANKS       6

static void store(unsigned char *table, size_t index, const struct perf_type *type, int64_t value)
{
    unsigned char *to = table + index * type->size;
    float single = (float)value;
    double twice = (double)value;

    if (PERF_FLOATING == type->kind) {
        memcpy(to, sizeof(float) == type->size ? (void *)&single : (void *)&twice, type->size);
        return;
    }
    for (size_t i = 0; i < type->size; i++) {
        to[i] = (unsigned char)((uint64_t)value >> (8 * i));
    }
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    for (size_t i = 0; i < type->size / 2; i++) {
        unsigned char swap = to[i];
        to[i] = to[type->size - 1 - i];
        to[type->size - 1 - i] = swap;
    }
#endif
}

static int64_t sum_limit(const struct perf_type *type, int ranks)
{
    int64_t top = type->size > 2 ? INT32_MAX / 256 : 1 == type->size ? INT8_MAX : INT16_MAX;
    int64_t limit = top / ranks;

    return limit > 100 ? 100 : limit < 1 ? 1 : limit;
}

/* Map a random word to a value that suits the operation. */
static int64_t draw(uint64_t random, bool reduces, const struct perf_type *type,
                    const struct perf_op *op, int ranks)
{
    if (!reduces) {
        return (int64_t)(PERF_FLOATING == type->kind ? random & 0xfffff : random);
    }
    switch (op->id) {
    case PERF_SUM:
        return (int64_t)(random % (uint64_t)(sum_limit(type, ranks) + 1));
    case PERF_PROD:
        return 1 + (int64_t)(random & 1);
    case PERF_LAND:
    case PERF_LOR:
    case PERF_LXOR:
        return (int64_t)(random & 1);
    case PERF_BAND:
    case PERF_BOR:
    case PERF_BXOR:
        return (int64_t)random;
    default:
        return (int64_t)(random % 101);
    }
}

static int64_t combine(int64_t a, int64_t b, enum perf_op_id op)
{
    switch (op) {
    case PERF_SUM:
        return a + b;
    case PERF_PROD:
        return a * b;
    case PERF_MIN:
        return a < b ? a : b;
    case PERF_MAX:
        return a > b ? a : b;
    case PERF_LAND:
        return a && b;
    case PERF_LOR:
        return a || b;
    case PERF_LXOR:
        return !a != !b;
    case PERF_BAND:
        return a & b;
    case PERF_BOR:
        return a | b;
    default:
        return a ^ b;
    }
}

/* What rank r contributes at table index j. */
static int64_t contribution(const int64_t *values, size_t j, int r, const struct perf_op *op)
{
    if (PERF_PROD == op->id && r >= PROD_RANKS) {
        return 1;
    }
    return values[(j + RANK_STRIDE * (size_t)r) % PERIOD];
}

int perf_pattern_init(struct perf_pattern *pattern, enum perf_collective collective,
                      const struct perf_type *type, const struct perf_op *op, int rank, int ranks)
{
    int64_t *values = malloc(PERIOD * sizeof(*values));
    unsigned char *memory = malloc(4 * PERIOD * type->size);
    uint64_t random = 0x9e3779b97f4a7c15u;

    if (NULL == values || NULL == memory) {
        free(values);
        free(memory);
        return -1;
    }
    pattern->unit = type->size;
    pattern->reduces = perf_collective_reduces(collective);
    pattern->memory = memory;
    pattern->payload = memory;
    pattern->expected = pattern->reduces ? memory + 2 * PERIOD * type->size : memory;
    for (size_t j = 0; j < PERIOD; j++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        values[j] = draw(random >> 11, pattern->reduces, type, op, ranks);
    }
    for (size_t j = 0; j < 2 * PERIOD; j++) {
        bool one = pattern->reduces && PERF_PROD == op->id && rank >= PROD_RANKS;

        store(pattern->payload, j, type, one ? 1 : values[j % PERIOD]);
    }
    for (size_t j = 0; pattern->reduces && j < PERIOD; j++) {
        int64_t result = contribution(values, j, 0, op);

        for (int r = 1; r < ranks; r++) {
            result = combine(result, contribution(values, j, r, op), op->id);
        }
        store(pattern->expected, j, type, result);
        store(pattern->expected, j + PERIOD, type, result);
    }
    free(values);
    return 0;
}

void perf_pattern_free(struct perf_pattern *pattern)
{
    free(pattern->memory);
    pattern->memory = NULL;
}

static size_t start_of(unsigned long iteration, int source)
{
    return (ITERATION_STRIDE * (iteration % PERIOD) + RANK_STRIDE * (unsigned long)source) % PERIOD;
}

void perf_pattern_fill(const struct perf_pattern *pattern, void *buffer, size_t bytes,
                       unsigned long iteration, int source)
{
    const unsigned char *from = pattern->payload + start_of(iteration, source) * pattern->unit;
    size_t run = PERIOD * pattern->unit;

    for (size_t done = 0; done < bytes; done += run) {
        memcpy((char *)buffer + done, from, bytes - done < run ? bytes - done : run);
    }
}

size_t perf_pattern_check(const struct perf_pattern *pattern, const void *buffer, size_t bytes,
                          unsigned long iteration, int source)
{
    const unsigned char *want, *have = buffer;
    size_t run = PERIOD * pattern->unit;

    want = pattern->expected + start_of(iteration, pattern->reduces ? 0 : source) * pattern->unit;
    for (size_t done = 0; done < bytes; done += run) {
        size_t n = bytes - done < run ? bytes - done : run;

        if (0 != memcmp(have + done, want, n)) {
            for (size_t i = 0;; i++) {
                if (have[done + i] != want[i]) {
                    return done + i;
                }
            }
        }
    }
    return PERF_PATTERN_OK;
}
