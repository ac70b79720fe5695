/*
 * Buffers of every kind of memory, for the MPI tests with a GPU or its stand-in.
 *
 * The driver is opened at run time, so the programs build anywhere. Data goes in and out with the
 * driver's copies; guard bytes lie before and behind it.
 */
#ifndef TESTS_GPU_BUFFERS_H
#define TESTS_GPU_BUFFERS_H

#include <stdbool.h>
#include <stddef.h>

typedef enum gpu_kind {
    GPU_HOST = 0,
    GPU_PINNED,
    GPU_MANAGED,
    GPU_DEVICE,
    GPU_POOL, /* device memory that belongs to no context; device memory where there are no pools */
    GPU_NKINDS
} gpu_kind_t;

typedef struct gpu_buffer {
    gpu_kind_t kind;
    char *block; /* as allocated */
    char *data;  /* what MPI gets */
    size_t bytes;
} gpu_buffer_t;

/* Open the driver and take device number `device` modulo their number. NULL, or why there is none. */
const char *gpu_open(int device);
bool gpu_is_emulated(void);

const char *gpu_kind_name(gpu_kind_t kind);
/* `offset` (0 .. 63) bytes from alignment. */
gpu_buffer_t gpu_buffer_new(gpu_kind_t kind, size_t bytes, size_t offset);
void gpu_buffer_free(gpu_buffer_t *buffer);
void gpu_put(const gpu_buffer_t *buffer, const void *from);
/* Fails if a guard byte has changed. */
void gpu_get(const gpu_buffer_t *buffer, void *to);
/* Plain copy; either side may be anywhere. */
void gpu_copy(void *to, const void *from, size_t bytes);
/* Put, but the copy may still be under way in the legacy default stream: all bytes `value`. */
void gpu_fill_later(const gpu_buffer_t *buffer, unsigned char value);

/* Emulation only, else nothing and 0. May the host touch managed memory? How often was a function of
 * the driver called? Let its Nth call from now fail. */
void gpu_guard(bool guarded);
long gpu_calls(const char *name);
void gpu_break_call(const char *name, long number);

#endif
