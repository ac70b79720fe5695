/*
 * The transport over UCP: peers on other hosts, on any network that UCX drives.
 *
 * A process opens UCP once, tells others its card (opaque bytes), and attaches a
 * peer by that peer's card. An endpoint is connected by the first operation on it.
 * All functions may be called from any thread. The tx of an operation must stay valid until
 * it has dropped or crdma_ucp_close has returned.
 */
#ifndef CRDMA_TRANSPORT_UCP_H
#define CRDMA_TRANSPORT_UCP_H

#include "coll_rdma/transport/transport.h"

/* How put_flagged keeps the flag behind its payload. AUTO decides by UCX version and endpoint
 * (ucp_order.c); the others are for tests and take effect at the next crdma_ucp_open. */
typedef enum crdma_ucp_order {
    CRDMA_UCP_ORDER_AUTO = 0,
    CRDMA_UCP_ORDER_WEAK,     /* per-transport fence: one lane carries both */
    CRDMA_UCP_ORDER_FLUSH,    /* the flag follows when the payload is known to have arrived */
    CRDMA_UCP_ORDER_EP_BASED, /* UCX's own per-endpoint fence */
    CRDMA_UCP_ORDER_MESSAGE,  /* payload and flag in one active message where they fit */
    CRDMA_UCP_ORDER_NONE,     /* no order at all: must be caught by the tests */
    CRDMA_UCP_ORDER_REVERSED  /* flag first: must be caught by the tests */
} crdma_ucp_order_t;

extern crdma_ucp_order_t crdma_ucp_force_order;

/* Open UCX and register the slab. Calling it again is harmless. CRDMA_ERR_UNSUPPORTED: built
 * without UCX, or this UCX cannot serve; CRDMA_ERR_TRANSPORT: no usable device. One line on
 * stderr says why. The slab must outlive crdma_ucp_close. */
crdma_status_t crdma_ucp_open(crdma_slab_t *slab);

/* Open UCX for notes only, if it is not open: the slab is not registered (which may pin it), and
 * unless the user has chosen transports UCX uses tcp, which is there everywhere, costs little, and
 * notices at once when a peer is gone. crdma_ucp_open may follow. */
crdma_status_t crdma_ucp_open_wire(crdma_slab_t *slab);

/* Drain what was put, for a bounded time (about two seconds if peers are dead or stuck), and
 * give everything back. Peers that are still attached become unusable. */
void crdma_ucp_close(void);

/* The bytes by which others attach this process; valid until crdma_ucp_close. */
crdma_status_t crdma_ucp_card(const void **card, size_t *len);

/* Make `peer` a remote peer: sets cookie, transport and endpoint. The endpoint of a process
 * outlives detach, so that attaching it again costs nothing. */
crdma_status_t crdma_ucp_attach(crdma_peer_t *peer, const void *card, size_t len);
void crdma_ucp_detach(crdma_peer_t *peer);

/* False once the peer is known to be gone: UCX reported it, or its process on this host has
 * ended. What was pending towards it has then failed with CRDMA_ERR_PEER. Costs a system call. */
bool crdma_ucp_alive(const crdma_peer_t *peer);

/* Notes: up to CRDMA_UCP_NOTE_MAX bytes to a peer that crdma_ucp_attach has attached. They are sent
 * and arrive while somebody calls progress, in any order. take: one that has arrived; its length,
 * or 0. There is one taker. */
#define CRDMA_UCP_NOTE_MAX 512
crdma_status_t crdma_ucp_note_send(crdma_peer_t *peer, const void *bytes, size_t len);
size_t crdma_ucp_note_take(void *bytes, size_t room);

/* crdma_regcache_invalidate is also called for what UCX's memory hooks see, as far as UCX has
 * installed any. False: it cannot be had. */
bool crdma_ucp_watch_memory(void);
void crdma_ucp_unwatch_memory(void);

/* The operations, see transport.h. NULL in a build without UCX. */
const crdma_transport_t *crdma_ucp_transport(void);

/* One line for reports: UCX version, its protocols and the ordering of puts, e.g. "UCX 1.13.1,
 * protocols v1, order weak". */
const char *crdma_ucp_describe(void);

#endif
