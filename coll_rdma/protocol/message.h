/*
 * One message on an edge: [src, len) of the sender becomes [dst, len) of the receiver, or an
 * operand of its reduction. Both sides know the length, so both know the protocol:
 *
 *   LL          len < ll_below                      1 position
 *   slot        up to rendezvous_min                one position per chunk of at most block_size
 *   rendezvous  from rendezvous_min, if enabled     1 position (a descriptor)
 *
 * `chunk` is the largest number of bytes per slot (a multiple of the element size, so that a
 * receiver can reduce chunk by chunk), equal on both sides.
 */
#ifndef CRDMA_PROTOCOL_MESSAGE_H
#define CRDMA_PROTOCOL_MESSAGE_H

#include <stdint.h>

#include "coll_rdma/device/cuda_work.h"
#include "coll_rdma/protocol/edge.h"
#include "coll_rdma/transport/xpmem.h"

typedef enum crdma_protocol {
    CRDMA_PROTOCOL_LL = 0,
    CRDMA_PROTOCOL_SLOT,
    CRDMA_PROTOCOL_RNDV
} crdma_protocol_t;

const char *crdma_protocol_name(crdma_protocol_t protocol);

/* What a communicator has agreed on about large messages. */
typedef struct crdma_rndv_mode {
    size_t min;          /* bytes; SIZE_MAX: off */
    bool receiver_copies;
    bool sender_copies;
    bool mapped; /* direct peers: user buffers can be attached (transport/xpmem.h) */
} crdma_rndv_mode_t;

/* The buffer of the application that the bytes of a message are part of: what is exposed, so that one attachment
 * serves all its parts. len 0: the bytes themselves. */
typedef struct crdma_area {
    const void *start;
    size_t len;
} crdma_area_t;

static inline crdma_protocol_t crdma_protocol_of(const crdma_ring_geometry_t *g,
                                                 const crdma_rndv_mode_t *rndv, size_t len)
{
    return len < g->ll_below    ? CRDMA_PROTOCOL_LL
           : len < rndv->min ? CRDMA_PROTOCOL_SLOT
                             : CRDMA_PROTOCOL_RNDV;
}

typedef struct crdma_send {
    crdma_edge_t *edge;
    const crdma_rndv_mode_t *rndv;
    const char *src;
    size_t len;
    size_t off;        /* bytes handed to slots */
    size_t chunk;
    uint64_t position; /* of the next chunk */
    uint64_t turn;     /* slot, direct: how many chunks are written to the edge before this one */
    uint64_t sig;
    uint64_t token;    /* not 0: equal for messages that may share chunks (stage.h) */
    crdma_protocol_t protocol;
    crdma_area_t area; /* of src */
    crdma_attachment_t *attachment; /* mapped: of the receiver's buffer */
    bool posted;       /* rendezvous: the descriptor is out */
    bool attached;     /* mapped: it has been tried */
    bool by_parts;     /* parts.h; then: */
    void *out;         /* where the receivers store their results */
    bool written;      /* remote rendezvous write: payload and flag are out */
    void *exposed;     /* remote rendezvous read: registration of src */
    crdma_tx_t tx;
    crdma_cuda_call_t *device; /* src is in its GPU memory; NULL: in host memory */
    crdma_cuda_stage_t *stage; /* device: the copy for a receiver without a GPU */
    uint64_t ticket;           /* of that copy */
    bool staged;               /* it is complete */
    void *memory;              /* device, remote: the adapter reads it there (device_enter) */
} crdma_send_t;

/* Reserve positions. The edge need not be open yet. */
void crdma_send_start(crdma_send_t *send, crdma_edge_t *edge, const crdma_rndv_mode_t *rndv,
                      const void *src, size_t len, size_t chunk, uint64_t sig);
/* CRDMA_OK once src may be reused; CRDMA_AGAIN: call again. */
crdma_status_t crdma_send_progress(crdma_send_t *send);

typedef struct crdma_recv {
    crdma_edge_t *edge;
    const crdma_rndv_mode_t *rndv;
    size_t len;
    size_t off;        /* bytes consumed */
    size_t chunk;
    uint64_t position; /* of the next chunk */
    uint64_t sig;
    crdma_protocol_t protocol;
    bool seen;         /* rendezvous: descriptor or data is there */
    bool granted;      /* rendezvous: the destination was told */
    void *exposed;     /* remote rendezvous write: registration of dst */
    uint64_t *grant;   /* remote rendezvous write: source of the grant put */
    crdma_tx_t tx;
    bool complete;     /* for the caller: all of it has been received */
    bool requested;    /* remote rendezvous read: the get is under way */
    bool staged;       /* rendezvous: the sender has copied it from its GPU, for us to read */
    void *memory;      /* remote: the adapter writes to our GPU (device_enter) */
    crdma_area_t area; /* of dst */
    crdma_attachment_t *attachment; /* mapped: of the sender's buffer */
    crdma_attachment_t *target;     /* by parts, mapped: of its result */
    uint64_t flag;     /* slot, direct: of the chunk that was looked at last */
} crdma_recv_t;

void crdma_recv_start(crdma_recv_t *recv, crdma_edge_t *edge, const crdma_rndv_mode_t *rndv,
                      size_t len, size_t chunk, uint64_t sig);

/* LL and slot: CRDMA_OK if the next chunk is there. Slot: *data points to its *len bytes in the
 * ring until crdma_recv_pop. LL: the bytes are copied to `scratch` (ll_max bytes). */
crdma_status_t crdma_recv_peek(crdma_recv_t *recv, char *scratch, const char **data, size_t *len);
crdma_status_t crdma_recv_pop(crdma_recv_t *recv, size_t len);

/* Receive the whole message into dst; CRDMA_AGAIN: call again with the same dst. */
crdma_status_t crdma_recv_progress(crdma_recv_t *recv, char *dst);

/* Rendezvous with a direct peer, for reductions, which take the operands in pieces that stay in the
 * cache: CRDMA_OK once the sender's buffer may be read; then read pieces at will (the copy is done
 * on return); then finish. */
crdma_status_t crdma_recv_ready(crdma_recv_t *recv);
crdma_status_t crdma_recv_read(crdma_recv_t *recv, char *dst, size_t off, size_t len);
crdma_status_t crdma_recv_finish(crdma_recv_t *recv);
/* Instead of reading: where [off, off + len) of the sender's buffer is mapped, or NULL. Load from it within
 * crdma_xpmem_guard only, and use what was computed only if crdma_recv_intact says afterwards that the
 * sender has not withdrawn it meanwhile. */
const char *crdma_recv_map(const crdma_recv_t *recv, size_t off, size_t len);
bool crdma_recv_intact(const crdma_recv_t *recv);

/* Positions that a message takes. */
static inline uint64_t crdma_message_positions(crdma_protocol_t protocol, size_t len, size_t chunk)
{
    return CRDMA_PROTOCOL_SLOT == protocol && len > chunk ? (len + chunk - 1) / chunk : 1;
}

#endif
