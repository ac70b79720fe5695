/*
 * Frames wait in one heap, by the time at which something happens to them next, equal times in the
 * order of sending. That time is first the arrival at the receiver's port; only then, when all
 * frames that arrived before have been given their times, is it known when the port hands the frame
 * over.
 *
 * Memory of frames comes in two sizes, since most frames are either short or segmented TCP of up to
 * 64 KB, and goes back to two lists. A long frame is read where it will stay; a short one is copied
 * out of the buffer.
 */
#include "tests/hosts/wire.h"

#include <stdlib.h>
#include <string.h>

enum { SMALL = 2048, SMALL_PER_CHUNK = 64, LARGE_PER_CHUNK = 4, HEAP_START = 1024 };

typedef struct chunk {
    struct chunk *next;
    max_align_t frames[];
} chunk_t;

static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* Frames of one size, a chunk at a time, within the granted memory. */
static bool grow(wire_t *wire, bool large)
{
    size_t bytes = sizeof(wire_frame_t) + (large ? WIRE_FRAME : SMALL);
    int count = large ? LARGE_PER_CHUNK : SMALL_PER_CHUNK;
    chunk_t *chunk;

    bytes = (bytes + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    if (wire->memory + (size_t)count * bytes > wire->config.memory) {
        return false;
    }
    chunk = malloc(sizeof(chunk_t) + (size_t)count * bytes);
    if (NULL == chunk) {
        return false;
    }
    chunk->next = wire->chunks;
    wire->chunks = chunk;
    wire->memory += (size_t)count * bytes;
    for (int i = 0; i < count; ++i) {
        wire_frame_t *frame = (wire_frame_t *)((char *)chunk->frames + (size_t)i * bytes);

        frame->large = large;
        wire_release(wire, frame);
    }
    return true;
}

static wire_frame_t *get(wire_t *wire, bool large)
{
    wire_frame_t **list = large ? &wire->free_large : &wire->free_small;
    wire_frame_t *frame;

    if (NULL == *list && !grow(wire, large)) {
        return NULL;
    }
    frame = *list;
    *list = frame->next;
    return frame;
}

void wire_release(wire_t *wire, wire_frame_t *frame)
{
    wire_frame_t **list = frame->large ? &wire->free_large : &wire->free_small;

    frame->next = *list;
    *list = frame;
}

static bool before(const wire_event_t *a, const wire_event_t *b)
{
    return a->due < b->due || (a->due == b->due && a->order < b->order);
}

static bool push(wire_t *wire, wire_event_t event)
{
    size_t at = wire->waiting;

    if (at == wire->heap_size) {
        size_t size = 2 * wire->heap_size;
        wire_event_t *heap = realloc(wire->heap, size * sizeof(*heap));

        if (NULL == heap) {
            return false;
        }
        wire->heap = heap;
        wire->heap_size = size;
    }
    ++wire->waiting;
    while (0 < at && before(&event, &wire->heap[(at - 1) / 2])) {
        wire->heap[at] = wire->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    wire->heap[at] = event;
    return true;
}

static wire_event_t pop(wire_t *wire)
{
    wire_event_t first = wire->heap[0], last = wire->heap[--wire->waiting];
    size_t at = 0;

    for (;;) {
        size_t child = 2 * at + 1;

        if (child >= wire->waiting) {
            break;
        }
        if (child + 1 < wire->waiting && before(&wire->heap[child + 1], &wire->heap[child])) {
            ++child;
        }
        if (!before(&wire->heap[child], &last)) {
            break;
        }
        wire->heap[at] = wire->heap[child];
        at = child;
    }
    wire->heap[at] = last;
    return first;
}

bool wire_init(wire_t *wire, const wire_config_t *config)
{
    memset(wire, 0, sizeof(*wire));
    wire->config = *config;
    wire->heap_size = HEAP_START;
    wire->heap = malloc(HEAP_START * sizeof(*wire->heap));
    wire->buffer = get(wire, true);
    if (NULL == wire->heap || NULL == wire->buffer) {
        wire_fini(wire);
        return false;
    }
    return true;
}

void wire_fini(wire_t *wire)
{
    chunk_t *chunk = wire->chunks;

    while (NULL != chunk) {
        chunk_t *next = chunk->next;

        free(chunk);
        chunk = next;
    }
    free(wire->heap);
    memset(wire, 0, sizeof(*wire));
}

unsigned char *wire_buffer(wire_t *wire)
{
    return wire->buffer->data;
}

/* What the buffer holds, as a frame of its own. The buffer itself goes only to a single receiver.
 */
static wire_frame_t *frame_of_buffer(wire_t *wire, size_t length, bool single)
{
    wire_frame_t *frame = get(wire, SMALL < length);

    if (NULL == frame) {
        return NULL;
    }
    if (single && SMALL < length) {
        wire_frame_t *filled = wire->buffer;

        wire->buffer = frame;
        return filled;
    }
    memcpy(frame->data, wire->buffer->data, length);
    return frame;
}

static bool is_lost(wire_t *wire, int from)
{
    uint64_t dice = mix(mix(wire->config.seed ^ ((uint64_t)from << 48)) + wire->sent[from]);

    return (double)(dice >> 11) * 0x1p-53 < wire->config.loss;
}

void wire_send(wire_t *wire, size_t length, size_t bytes, int from, int to, bool safe, uint64_t now)
{
    const bool single = WIRE_EVERYBODY != to;
    const uint64_t on_wire = (uint64_t)(wire->config.ns_per_byte * (double)bytes);
    const uint64_t begin = now > wire->sender_free[from] ? now : wire->sender_free[from];
    const bool lost = !safe && is_lost(wire, from);

    ++wire->sent[from];
    ++wire->counts.frames;
    wire->counts.bytes += bytes;
    /* A lost frame was sent all the same. */
    wire->sender_free[from] = begin + on_wire;
    if (lost) {
        ++wire->counts.lost;
        return;
    }
    for (int port = single ? to : 0; port < (single ? to + 1 : wire->config.ports); ++port) {
        wire_frame_t *frame;

        if (port == from) {
            continue;
        }
        frame = frame_of_buffer(wire, length, single);
        if (NULL == frame) {
            ++wire->counts.overflowed;
            continue;
        }
        frame->to = port;
        frame->length = length;
        frame->on_wire = on_wire;
        frame->in_port = false;
        if (!push(wire, (wire_event_t){.due = begin + on_wire + wire->config.delay,
                                       .order = wire->order++,
                                       .frame = frame})) {
            wire_release(wire, frame);
            ++wire->counts.overflowed;
        }
    }
}

uint64_t wire_next(const wire_t *wire)
{
    return 0 < wire->waiting ? wire->heap[0].due : WIRE_NEVER;
}

wire_frame_t *wire_take(wire_t *wire, uint64_t now, uint64_t *due)
{
    while (0 < wire->waiting && wire->heap[0].due <= now) {
        wire_event_t event = pop(wire);
        wire_frame_t *frame = event.frame;

        if (!frame->in_port) {
            uint64_t *port_free = &wire->receiver_free[frame->to];
            uint64_t earliest = *port_free + frame->on_wire;

            frame->in_port = true;
            *port_free = event.due > earliest ? event.due : earliest;
            if (*port_free > event.due) {
                event.due = *port_free;
                (void)push(wire, event); /* there is room: it was popped just now */
                continue;
            }
        }
        *due = event.due;
        return frame;
    }
    return NULL;
}
