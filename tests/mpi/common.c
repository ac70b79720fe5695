/*
 * Shared helpers of the MPI test programs; common.h says what they promise.
 *
 * The watchdog is a plain alarm: whatever a rank waits for, it ends with a line that
 * names the call it was in, before the runner's own time limit kills the job without a word.
 */
#include "tests/mpi/common.h"

#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

test_options_t test_opt = {.seed = 1, .limit = 100};
int test_rank = 0;
int test_size = 1;

static const char *program_name = "test";
static _Thread_local char note[320] = "start";
static atomic_long checks;

static void watchdog(int signal_number)
{
    /* Only async-signal-safe calls: the line is put together by hand. */
    char line[512];
    size_t used = 0;
    char number[12];
    int value = test_rank, digits = 0;
    const char *parts[] = {program_name, ": HANG rank ", number, " in ", note, "\n"};

    (void)signal_number;
    do {
        number[digits++] = (char)('0' + value % 10);
        value /= 10;
    } while (0 < value && digits < 11);
    number[digits] = '\0';
    for (int i = 0; i < digits / 2; ++i) {
        char swap = number[i];
        number[i] = number[digits - 1 - i];
        number[digits - 1 - i] = swap;
    }
    for (size_t p = 0; p < sizeof(parts) / sizeof(parts[0]); ++p) {
        for (const char *c = parts[p]; '\0' != *c && used < sizeof(line); ++c) {
            line[used++] = *c;
        }
    }
    if (0 > write(STDERR_FILENO, line, used)) {
        _exit(4);
    }
    _exit(3);
}

static void usage_error(const char *option)
{
    fprintf(stderr, "%s: unknown or incomplete option %s\n", program_name, option);
    MPI_Abort(MPI_COMM_WORLD, 2);
}

static void parse_options(int argc, char **argv)
{
    for (int i = 1; i < argc; ++i) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;

        if (0 == strcmp(argv[i], "--quick")) {
            test_opt.quick = true;
        } else if (0 == strcmp(argv[i], "--stock")) {
            test_opt.stock = true;
        } else if (NULL == value) {
            usage_error(argv[i]);
        } else if (0 == strcmp(argv[i], "--seed")) {
            test_opt.seed = strtoull(argv[++i], NULL, 0);
        } else if (0 == strcmp(argv[i], "--iterations")) {
            test_opt.iterations = atoi(argv[++i]);
        } else if (0 == strcmp(argv[i], "--limit")) {
            test_opt.limit = atoi(argv[++i]);
        } else if (0 == strcmp(argv[i], "--mode")) {
            test_opt.mode = argv[++i];
        } else {
            usage_error(argv[i]);
        }
    }
}

int test_begin(int *argc, char ***argv, const char *program, int level)
{
    int provided = MPI_THREAD_SINGLE;

    program_name = program;
    signal(SIGALRM, watchdog);
    alarm((unsigned)test_opt.limit);
    test_note("MPI_Init_thread");
    MPI_Init_thread(argc, argv, level, &provided);
    MPI_Comm_rank(MPI_COMM_WORLD, &test_rank);
    MPI_Comm_size(MPI_COMM_WORLD, &test_size);
    parse_options(*argc, *argv);
    alarm((unsigned)test_opt.limit);
    return provided;
}

int test_end(void)
{
    test_note("MPI_Finalize");
    if (0 == test_rank) {
        printf("%s: passed, %d ranks, %ld checks on rank 0, seed %llu\n", program_name, test_size,
               atomic_load(&checks), (unsigned long long)test_opt.seed);
        fflush(stdout);
    }
    MPI_Finalize();
    return 0;
}

void test_skip(const char *format, ...)
{
    if (0 == test_rank) {
        va_list args;

        va_start(args, format);
        printf("%s: SKIP ", program_name);
        vprintf(format, args);
        printf("\n");
        fflush(stdout);
        va_end(args);
    }
    MPI_Finalize();
    exit(TEST_SKIP);
}

void test_note(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(note, sizeof(note), format, args);
    va_end(args);
}

void test_fail(const char *format, ...)
{
    char detail[400];
    va_list args;

    va_start(args, format);
    vsnprintf(detail, sizeof(detail), format, args);
    va_end(args);
    fflush(stdout);
    fprintf(stderr, "%s: FAIL rank %d/%d: %s: %s [seed %llu]\n", program_name, test_rank, test_size,
            note, detail, (unsigned long long)test_opt.seed);
    fflush(stderr);
    MPI_Abort(MPI_COMM_WORLD, 1);
    abort();
}

void test_success(int rc, const char *call)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;

    if (MPI_SUCCESS != rc) {
        MPI_Error_string(rc, text, &length);
        test_fail("%s returned %s", call, text);
    }
}

void test_passed(void)
{
    atomic_fetch_add(&checks, 1);
}

static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

uint64_t test_hash(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    return mix(mix(mix(mix(a) + b) + c) + d);
}

uint64_t test_digest(const void *data, size_t bytes)
{
    const unsigned char *from = data;
    uint64_t digest = bytes;

    while (bytes >= sizeof(uint64_t)) {
        uint64_t word;

        memcpy(&word, from, sizeof(word));
        digest = mix(digest ^ word);
        from += sizeof(word);
        bytes -= sizeof(word);
    }
    while (0 < bytes--) {
        digest = mix(digest ^ *from++);
    }
    return digest;
}

void test_delay(unsigned microseconds)
{
    struct timespec pause = {.tv_sec = microseconds / 1000000,
                             .tv_nsec = (long)(microseconds % 1000000) * 1000};

    nanosleep(&pause, NULL);
}

static unsigned char guard_byte(size_t i)
{
    return (unsigned char)(0xa5 ^ (i * 29));
}

test_buffer_t test_buffer_new(size_t bytes, size_t offset)
{
    test_buffer_t buffer = {.capacity = bytes};
    size_t total = bytes + 2 * TEST_GUARD + 64;

    total = (total + 63) / 64 * 64;
    buffer.block = aligned_alloc(64, total);
    if (NULL == buffer.block) {
        test_fail("out of memory: %zu bytes", total);
    }
    test_buffer_place(&buffer, bytes, offset);
    return buffer;
}

void test_buffer_place(test_buffer_t *buffer, size_t bytes, size_t offset)
{
    if (bytes > buffer->capacity) {
        test_fail("the test itself is wrong: buffer of %zu bytes, wants %zu", buffer->capacity,
                  bytes);
    }
    buffer->data = buffer->block + TEST_GUARD + offset % 64;
    buffer->bytes = bytes;
    for (size_t i = 0; i < TEST_GUARD; ++i) {
        buffer->data[(ptrdiff_t)i - TEST_GUARD] = guard_byte(i);
        buffer->data[bytes + i] = guard_byte(i + TEST_GUARD);
    }
}

void test_buffer_check(const test_buffer_t *buffer, const char *what)
{
    for (size_t i = 0; i < TEST_GUARD; ++i) {
        unsigned char before = buffer->data[(ptrdiff_t)i - TEST_GUARD];
        unsigned char after = buffer->data[buffer->bytes + i];

        if (before != guard_byte(i)) {
            test_fail("%s: byte %zu before its begin: expected 0x%02x, got 0x%02x", what,
                      TEST_GUARD - i, guard_byte(i), before);
        }
        if (after != guard_byte(i + TEST_GUARD)) {
            test_fail("%s of %zu bytes: byte %zu behind its end: expected 0x%02x, got 0x%02x", what,
                      buffer->bytes, i + 1, guard_byte(i + TEST_GUARD), after);
        }
    }
}

void test_buffer_free(test_buffer_t *buffer)
{
    free(buffer->block);
    memset(buffer, 0, sizeof(*buffer));
}

void test_pattern_fill(void *data, size_t bytes, const void *pattern, size_t pattern_bytes)
{
    unsigned char *to = data;

    while (0 < bytes) {
        size_t n = bytes < pattern_bytes ? bytes : pattern_bytes;

        memcpy(to, pattern, n);
        to += n;
        bytes -= n;
    }
}

size_t test_pattern_find(const void *data, size_t bytes, const void *pattern, size_t pattern_bytes)
{
    const unsigned char *from = data;
    const unsigned char *expect = pattern;

    for (size_t at = 0; at < bytes; at += pattern_bytes) {
        size_t n = bytes - at < pattern_bytes ? bytes - at : pattern_bytes;

        if (0 != memcmp(from + at, expect, n)) {
            size_t i = 0;

            while (from[at + i] == expect[i]) {
                ++i;
            }
            return at + i;
        }
    }
    return TEST_NOWHERE;
}

size_t test_byte_find(const void *data, size_t bytes, unsigned char value)
{
    const unsigned char *from = data;

    for (size_t i = 0; i < bytes; ++i) {
        if (from[i] != value) {
            return i;
        }
    }
    return TEST_NOWHERE;
}
