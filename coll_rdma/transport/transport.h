/*
 * How bytes reach another process. Two kinds of peers exist:
 *
 * - direct: the peer's slab is mapped into our address space (peer->map). Protocols store
 *   to it and load from it themselves; there is nothing to call. If peer->cma is set, the kernel
 *   also copies between the two address spaces (process_vm_readv/writev); if peer->xpmem is, its own memory can be
 *   mapped (xpmem.h).
 * - remote: everything goes through the operations of peer->transport.
 *
 * What a transport guarantees is in its capability bits, so that a protocol asks
 * for a property and never for a name.
 */
#ifndef CRDMA_TRANSPORT_TRANSPORT_H
#define CRDMA_TRANSPORT_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "coll_rdma/base/status.h"
#include "coll_rdma/memory/slab.h"

/* Counts the operations that still use a local buffer. An operation increments `pending`
 * when it starts and decrements it when the buffer may be reused (puts) or holds the data (gets);
 * a failed one sets `status` first. */
typedef struct crdma_tx {
    int pending;
    crdma_status_t status;
} crdma_tx_t;

enum {
    CRDMA_CAP_GET = 1u << 0,             /* get_user works */
    CRDMA_CAP_TARGET_PROGRESS = 1u << 1, /* the target must call progress for puts to land */
};

/* Enough for any packed key of a user buffer, bytes. */
#define CRDMA_KEY_MAX 512

typedef struct crdma_peer crdma_peer_t;

/* A user buffer that a peer may read or write: what travels in a rendezvous message. */
typedef struct crdma_exposed {
    uint64_t address;
    uint32_t key_length;
    uint8_t key[CRDMA_KEY_MAX];
} crdma_exposed_t;

typedef struct crdma_transport {
    const char *name;
    unsigned caps;

    /* The process. open: find a device and register the slab, which must outlive close; harmless
     * when open; one line says why if it fails: CRDMA_ERR_UNSUPPORTED where this machine or build
     * has nothing to use, another status where it has and that cannot be used. close drains what
     * was put, for a bounded time. card: the bytes by which others attach this process, valid until
     * close. describe: one line for reports. */
    crdma_status_t (*open)(crdma_slab_t *slab);
    void (*close)(void);
    crdma_status_t (*card)(const void **card, size_t *len);
    const char *(*describe)(void);

    /* A peer process: attach sets its transport and endpoint and connects nothing yet. What an
     * endpoint costs outlives detach, so that attaching it again costs nothing. */
    crdma_status_t (*attach)(crdma_peer_t *peer, const void *card, size_t len);
    void (*detach)(crdma_peer_t *peer);

    /* Store [src, len) at dst in the peer's slab. src stays untouched until *tx drops. No order
     * between puts. A store of 8 aligned bytes is seen whole or not at all. */
    crdma_status_t (*put)(crdma_peer_t *peer, const void *src, crdma_addr_t dst, size_t len,
                          crdma_tx_t *tx);

    /* As put, then store the 8 bytes at flag_src to flag_dst; whoever sees the flag sees the
     * payload (len may be 0) and everything put to this peer before, so flags stay in order. */
    crdma_status_t (*put_flagged)(crdma_peer_t *peer, const void *src, crdma_addr_t dst,
                                  size_t len, const uint64_t *flag_src, crdma_addr_t flag_dst,
                                  crdma_tx_t *tx);

    /* As put_flagged, but the payload goes to a user buffer that the peer has exposed. */
    crdma_status_t (*put_user_flagged)(crdma_peer_t *peer, const void *src,
                                       const crdma_exposed_t *dst, size_t offset, size_t len,
                                       const uint64_t *flag_src, crdma_addr_t flag_dst,
                                       crdma_tx_t *tx);

    /* Read from the peer's slab, or from an exposed user buffer, into [dst, len). */
    crdma_status_t (*get)(crdma_peer_t *peer, void *dst, crdma_addr_t src, size_t len,
                          crdma_tx_t *tx);
    crdma_status_t (*get_user)(crdma_peer_t *peer, void *dst, const crdma_exposed_t *src,
                               size_t offset, size_t len, crdma_tx_t *tx);

    /* Register a user buffer for peers; cached by the transport, invalidated when the
     * application frees the memory. Release with conceal. */
    crdma_status_t (*expose)(void *address, size_t len, crdma_exposed_t *exposed, void **handle);
    void (*conceal)(void *handle);

    /* GPU memory. enter: until leave, addresses of the allocation that has [address, len) may be the user
     * buffer of put_user_flagged, get_user and expose with this peer: it is registered, which is cached.
     * CRDMA_ERR_UNSUPPORTED: not this memory, or not with this peer. What has arrived there is for the
     * GPU to see after a flush only (device/cuda_rdma.h). possible: nothing has shown yet that it
     * cannot be. NULL, all three: it cannot. */
    bool (*device_possible)(void);
    crdma_status_t (*device_enter)(const crdma_peer_t *peer, const void *address, size_t len,
                                   void **handle);
    void (*device_leave)(void *handle);

    /* Drive communication; the number of events. Safe to call from any thread. */
    int (*progress)(void);

    /* False once the peer is known to be gone. */
    bool (*alive)(const crdma_peer_t *peer);

    /* Processor time (ns) of a message to this peer, at either end; an order of magnitude. Known
     * after the first operation on it. */
    uint64_t (*overhead)(const crdma_peer_t *peer);
} crdma_transport_t;

/* A process we exchange data with; one per process pair, shared by all communicators. */
struct crdma_peer {
    uint64_t cookie; /* identifies the process: its slab's cookie */
    char *map;       /* direct: its slab in our address space; else NULL */
    size_t map_size;
    bool cma;        /* direct: the kernel copies between us */
    void *xpmem;     /* direct: its memory can be attached (xpmem.h); else NULL */
    pid_t pid;       /* valid on the same host */
    int refs;        /* communicators that use it */
    const crdma_transport_t *transport; /* remote: its operations; direct: NULL */
    void *endpoint;                     /* remote: the transport's state */
};

#endif
