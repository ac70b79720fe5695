/*
 * What the tests of transports between processes share: data that tells its message, and how a rank says what it found wrong.
 */
#ifndef TESTS_UNIT_PUT_DATA_H
#define TESTS_UNIT_PUT_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

/* Needs the rank in `me`. */
#define REQUIRE(what)                                                                              \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            fprintf(stderr, "rank %d, %s:%d: not true: %s\n", me, __FILE__, __LINE__, #what);      \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

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
