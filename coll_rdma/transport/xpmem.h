/*
 * XPMEM: a direct peer's own memory, its user buffers too, mapped into our address space. The
 * kernel module and the library are not part of Linux: libxpmem.so.0 is opened at run time, where
 * /dev/xpmem exists.
 *
 * Each process exposes its whole address space once; peers attach what they are told of, an
 * *exposure*: the pages of a buffer and a number. Attaching is a system call and every first page a
 * fault, so attachments are kept.
 *
 * Invariants
 * 1. A number names these pages as they are now. The owner keeps the exposures of its buffers in a
 *    registration cache (memory/regcache.h): when the application gives the memory back, the memory
 *    hooks mark the entry, and the same addresses get a new number. An attachment is used for its
 *    own number only, so whatever is kept of memory that is gone is never read or written.
 * 2. Why no peer can use an old number meanwhile: it uses one from the moment it has seen it in a
 *    message to the moment it tells that it is done with the message, and until then the owner is
 *    in the call that the buffer was passed to. An application that frees the buffer of a call that
 *    is still running is wrong whatever we do. Frees before the call have marked the entry before
 *    the call took its number: they happened before it in the program. Without hooks every message
 *    has a new number.
 * 3. Loads and stores may fault: the peer may die, or the pages be such as the module cannot map
 *    (of a device). All are done within crdma_xpmem_guard; user-defined operations get copies.
 */
#ifndef CRDMA_TRANSPORT_XPMEM_H
#define CRDMA_TRANSPORT_XPMEM_H

#include "coll_rdma/transport/transport.h"

/* Pages [start, end) of a process; number 0: not exposed. Plain bytes in messages. */
typedef struct crdma_exposure {
    uint64_t start, end;
    uint64_t number;
} crdma_exposure_t;

typedef struct crdma_attachment crdma_attachment_t;

/* Expose this process; *segment, not 0, is what peers need. CRDMA_ERR_UNSUPPORTED where there is no
 * XPMEM (*reason: why). Once per process; calling it again is harmless. */
crdma_status_t crdma_xpmem_open(int64_t *segment, const char **reason);
/* After the last crdma_xpmem_disconnect. */
void crdma_xpmem_close(void);

/* A direct peer, after crdma_shm_attach: sets peer->xpmem if a word of its memory, the cookie at
 * slab_base, can be read through an attachment. */
void crdma_xpmem_connect(crdma_peer_t *peer, int64_t segment, uint64_t slab_base);
void crdma_xpmem_disconnect(crdma_peer_t *peer);

/* Owner: the exposure of a buffer for the call that it was passed to. Number 0: it cannot be. */
void crdma_xpmem_expose(const void *address, size_t len, crdma_exposure_t *exposure);

/* Reader: an attachment that covers the exposure, until crdma_xpmem_detach; NULL: it cannot be
 * attached, or its pages not touched. */
crdma_attachment_t *crdma_xpmem_attach(const crdma_peer_t *peer, const crdma_exposure_t *exposure);
void crdma_xpmem_detach(const crdma_peer_t *peer, crdma_attachment_t *attachment);
/* Where the owner's [address, address + len) is here; NULL if that is not inside. */
char *crdma_xpmem_at(const crdma_attachment_t *attachment, uint64_t address, size_t len);

/* Run work(argument), which loads from and stores to attachments. False: it faulted and was left
 * where it was. It must hold nothing that would have to be given back: no lock, no memory. */
bool crdma_xpmem_guard(void (*work)(void *), void *argument);

/* For tests and reports: attachments made and found again, of all peers. */
void crdma_xpmem_counts(uint64_t *made, uint64_t *found);

#endif
