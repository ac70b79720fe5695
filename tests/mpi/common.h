/*
 * What every MPI test program shares: options, one way to fail, a watchdog, guarded buffers and
 * deterministic data.
 *
 * The programs are plain MPI: they know nothing of the component and pass with any correct
 * MPI library. Rules that hold for all of them:
 *   - all data are pure functions of (seed, call, rank), so each rank computes the
 *     expected result of every call without communicating;
 *   - before a call the program notes what it is about to do (test_note), so that a failure and a
 *     hang are reported with the call, its type, count and communicator;
 *   - a failure is one line on stderr, then MPI_Abort; success is one line of rank 0 on stdout;
 *   - exit status 0: passed, 77: skipped with a reason, anything else: failed.
 */
#ifndef TESTS_MPI_COMMON_H
#define TESTS_MPI_COMMON_H

#include <mpi.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TEST_SKIP    77           /* exit status of a test that cannot run here */
#define TEST_GUARD   64           /* guard bytes on each side of a buffer */
#define TEST_NOWHERE ((size_t)-1) /* "no mismatch" */

typedef struct test_options {
    uint64_t seed;    /* --seed N: another sequence of data and choices */
    int iterations;   /* --iterations N: 0 means the program's own default */
    bool quick;       /* --quick: fewer sizes and repetitions, same code paths */
    bool stock;       /* --stock: leave out what a known bug of Open MPI 4.1 itself breaks */
    int limit;        /* --limit S: watchdog in seconds */
    const char *mode; /* --mode NAME: for programs that have modes */
} test_options_t;

extern test_options_t test_opt;
extern int test_rank; /* in MPI_COMM_WORLD */
extern int test_size; /* of MPI_COMM_WORLD */

/* MPI_Init_thread, options, watchdog. `level` is an MPI_THREAD_ constant; returns what MPI
 * provides. Unknown options are an error. */
int test_begin(int *argc, char ***argv, const char *program, int level);

/* Rank 0 says how many checks passed, then MPI_Finalize. Returns the exit status 0. */
int test_end(void);

/* All ranks call it: rank 0 prints the reason, MPI_Finalize, exit 77. */
void test_skip(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* What this thread is about to do; printed by test_fail and by the watchdog. */
void test_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* One line (program, rank, note, this text, seed) and MPI_Abort. */
void test_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* Fails unless an MPI call returned MPI_SUCCESS (for communicators that return errors). */
void test_success(int rc, const char *call);

/* Counts one passed check. */
void test_passed(void);

/* A well mixed 64-bit function of four numbers; the only source of randomness. */
uint64_t test_hash(uint64_t a, uint64_t b, uint64_t c, uint64_t d);

/* 64 bits that identify `bytes` bytes of memory. */
uint64_t test_digest(const void *data, size_t bytes);

/* Sleeps, without progressing MPI. */
void test_delay(unsigned microseconds);

/* Memory with guard bytes directly before and after its data. */
typedef struct test_buffer {
    unsigned char *block; /* as allocated */
    unsigned char *data;
    size_t bytes;    /* between the guards */
    size_t capacity; /* most that test_buffer_place can offer */
} test_buffer_t;

/* `offset` bytes (0 .. 63) off a 64-byte boundary. */
test_buffer_t test_buffer_new(size_t bytes, size_t offset);
/* Moves the data and its guards inside the same allocation: a new size and offset for nothing. */
void test_buffer_place(test_buffer_t *buffer, size_t bytes, size_t offset);
/* Fails if a guard byte changed. `what` names the buffer. */
void test_buffer_check(const test_buffer_t *buffer, const char *what);
void test_buffer_free(test_buffer_t *buffer);

/* Repeats a pattern over memory, and finds the first byte that differs from it (TEST_NOWHERE:
 * none). */
void test_pattern_fill(void *data, size_t bytes, const void *pattern, size_t pattern_bytes);
size_t test_pattern_find(const void *data, size_t bytes, const void *pattern, size_t pattern_bytes);

/* First byte that is not `value` (TEST_NOWHERE: none). */
size_t test_byte_find(const void *data, size_t bytes, unsigned char value);

#endif
