/*
 * The timing of an emulated Ethernet switch: when does which frame leave which port?
 *
 * Pure arithmetic on times that the caller passes in (nanoseconds on any clock), so that it is
 * tested without a network; netdelay.c connects it to real interfaces. With s the time that a frame
 * takes on the wire (its bytes at the port rate):
 *
 *   sent at t by port i         leaves the sender's port at   x = max(t, end of i's last frame) + s
 *   to port j                   arrives at the switch's end   a = x + delay
 *                               is handed to j at             d = max(a, d of j's last frame + s)
 *
 * So the sender's port and the receiver's port both take one frame at a time, the first in the
 * order of sending, the second in the order of arrival, whoever the senders are. Queues have no
 * bound but the memory that was granted: frames are lost only by chance (`loss`), or when that
 * memory is used up.
 *
 * Invariants: frames of one pair of ports keep their order. Which frames are lost depends on the
 * seed, the sending port and how many frames it sent before, not on time. After the pool has grown
 * to what the traffic needs, nothing is allocated.
 */
#ifndef TESTS_HOSTS_WIRE_H
#define TESTS_HOSTS_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    WIRE_PORTS = 250,
    /* A segmented TCP frame of 64 KB with its headers. */
    WIRE_FRAME = 65536 + 512,
    WIRE_EVERYBODY = -1
};

#define WIRE_NEVER UINT64_MAX

typedef struct wire_config {
    int ports;
    uint64_t delay;     /* one way, ns */
    double ns_per_byte; /* 0: the rate is not limited */
    double loss;        /* probability per frame, 0 to 1 */
    uint64_t seed;
    size_t memory; /* bytes of waiting frames */
} wire_config_t;

typedef struct wire_counts {
    uint64_t frames, bytes; /* sent by the ports, lost ones included */
    uint64_t lost;          /* by chance */
    uint64_t overflowed;    /* because of the memory */
} wire_counts_t;

typedef struct wire_frame {
    struct wire_frame *next; /* in a list of free ones */
    uint64_t on_wire;        /* ns */
    size_t length;
    int to;
    bool large;
    bool in_port; /* the receiver's port has given it its time */
    unsigned char data[];
} wire_frame_t;

/* One entry of the heap: apart from the frame, so that comparing touches no frame. */
typedef struct wire_event {
    uint64_t due, order;
    wire_frame_t *frame;
} wire_event_t;

typedef struct wire {
    wire_config_t config;
    wire_counts_t counts;
    uint64_t sender_free[WIRE_PORTS], receiver_free[WIRE_PORTS], sent[WIRE_PORTS];
    wire_event_t *heap;
    size_t waiting, heap_size;
    uint64_t order;
    wire_frame_t *free_small, *free_large, *buffer;
    void *chunks; /* what the frames were cut from */
    size_t memory;
} wire_t;

/* Returns false if memory is short. */
bool wire_init(wire_t *wire, const wire_config_t *config);
void wire_fini(wire_t *wire);

/* Where the next frame is read to: WIRE_FRAME bytes, until the next wire_send. */
unsigned char *wire_buffer(wire_t *wire);

/*
 * Sends what lies in the buffer, at the time `now`. `length` bytes are handed to the receiver;
 * `bytes` is what they take on the wire. A `safe` frame is never lost by chance.
 */
void wire_send(wire_t *wire, size_t length, size_t bytes, int from, int to, bool safe,
               uint64_t now);

/* When wire_take has something to do, WIRE_NEVER if nothing waits. */
uint64_t wire_next(const wire_t *wire);

/*
 * The next frame that is due at `now`, NULL if none is; its due time in *due. The caller hands it
 * to the port frame->to and gives it back with wire_release.
 */
wire_frame_t *wire_take(wire_t *wire, uint64_t now, uint64_t *due);
void wire_release(wire_t *wire, wire_frame_t *frame);

#endif
