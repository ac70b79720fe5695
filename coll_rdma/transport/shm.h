/*
 * Direct peers: processes on the same host whose slab we can map.
 */
#ifndef CRDMA_TRANSPORT_SHM_H
#define CRDMA_TRANSPORT_SHM_H

#include "coll_rdma/transport/transport.h"

/* What a process tells others so that they can map its slab. Plain bytes on the wire. */
typedef struct crdma_shm_card {
    uint64_t machine; /* hash of the running kernel: whose processors these are */
    uint64_t host;   /* hash of what two processes must share to reach each other's memory */
    uint64_t cookie; /* of the slab */
    uint64_t base;   /* where the owner has mapped it */
    uint64_t size;
    int64_t segment; /* of XPMEM (xpmem.h); 0: none */
    int32_t pid;
    int32_t fd;
} crdma_shm_card_t;

void crdma_shm_card_fill(const crdma_slab_t *slab, crdma_shm_card_t *card);

/* Map the slab behind the card: sets peer->map, map_size, pid, cma, xpmem. CRDMA_ERR_TRANSPORT if it
 * cannot be reached from here (one line at verbose 1 says why). */
crdma_status_t crdma_shm_attach(crdma_peer_t *peer, const crdma_shm_card_t *card);
void crdma_shm_detach(crdma_peer_t *peer);

/* False once the peer's process is gone. */
bool crdma_shm_alive(const crdma_peer_t *peer);

/* Copy len bytes from/to the peer's address space. CRDMA_OK or CRDMA_ERR_PEER/_SYSTEM. */
crdma_status_t crdma_shm_read(const crdma_peer_t *peer, void *dst, uint64_t src, size_t len);
crdma_status_t crdma_shm_write(const crdma_peer_t *peer, const void *src, uint64_t dst, size_t len);

#endif
