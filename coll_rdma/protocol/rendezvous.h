/*
 * Rendezvous: large messages go from user buffer to user buffer.
 *
 * Direct peers (one host), through the header of block p of the receiver's ring:
 *   1. sender: src, len, dst = next = done = 0, then flag (release)
 *   2. receiver: sees flag (acquire), stores dst (release) if the sender may copy
 *   3. whoever has time takes the next chunk by fetch-and-add of `next` and copies it with
 *      process_vm_readv (receiver) or process_vm_writev (sender), then adds its length to `done`
 *      (release)
 *   4. the receiver is finished when done == len (acquire: the copies are visible); it consumes p
 *      and gives the credit at once. The sender is finished when it sees done == len or the
 *      credit, whichever comes first.
 * Two cores copy at once, and if one side is not scheduled the other does it all. The sender's
 * late look at the block is safe: the block is rewritten only by the sender itself, and the ring
 * outlives the sender's last use (edge.h, invariant 4).
 *
 * Direct peers whose buffers can be attached (XPMEM) tell in 1. and 2. which pages they are, in the payload
 * of the block, and in 3. each copies by loads and stores: no system call, no page looked up. What cannot be
 * attached goes by the kernel as before, message by message and side by side: each side decides for itself.
 *
 * Direct peers, the sender's data in GPU memory:
 *   5. the low half of the flag is CRDMA_RNDV_ON_DEVICE, and the payload of the block is the name of
 *      the memory (device/cuda_share.h), whose contents are complete
 *   6. a receiver that can opens it, takes the message as one chunk (`next`), copies or reduces from it,
 *      and when that is complete adds the length to `done` and consumes p
 *   7. any other stores CRDMA_RNDV_WANTED (or _REFUSED: it tried) to dst; the sender copies the data to
 *      host memory, stores src, then CRDMA_RNDV_STAGED to dst (release); the receiver goes on with 3,
 *      alone
 * So the descriptor tells what the receiver must know of the sender's memory, and the sender needs to know
 * nothing of the receiver's.
 *
 * Remote peers:
 *   read   sender exposes src, sends address and key as the payload of block p; the receiver gets
 *          the data and consumes p; the credit tells the sender
 *   write  receiver exposes dst, puts signature, length, address and key into the sender's grant
 *          cell p; the sender, if they are those of its message, puts the data, then the flag of
 *          block p (the paper's rendezvous)
 * A buffer in GPU memory is read and written by the adapter where that can be; else its owner exposes, puts or
 * gets a copy in pinned host memory. An address and a key are all that travels, so each side decides
 * for itself, and the other sees no difference.
 */
#ifndef CRDMA_PROTOCOL_RENDEZVOUS_H
#define CRDMA_PROTOCOL_RENDEZVOUS_H

#include "coll_rdma/protocol/message.h"

/* Parts of crdma_send_progress and crdma_recv_progress. */
crdma_status_t crdma_rndv_send(crdma_send_t *send);
crdma_status_t crdma_rndv_recv(crdma_recv_t *recv, char *dst);

/* The call has failed: when these return, the peer does not touch the caller's buffer any more, or,
 * if it only reads, will fail too. Direct peers. */
void crdma_send_withdraw(crdma_send_t *send);
void crdma_recv_withdraw(crdma_recv_t *recv);

/* Smallest block that holds an address and a key for a remote peer, bytes. */
#define CRDMA_RNDV_BLOCK_MIN ((uint32_t) sizeof(crdma_exposed_t))

/* Payload of the block, mapped mode: the buffers' exposures. dst is the receiver's to write, before `dst` of the
 * header. */
typedef struct crdma_rndv_pages {
    crdma_exposure_t src, dst;
} crdma_rndv_pages_t;

_Static_assert(sizeof(crdma_rndv_pages_t) <= 64, "fits the smallest block");

static inline crdma_rndv_pages_t *crdma_rndv_pages_of(crdma_slot_t *slot)
{
    return (crdma_rndv_pages_t *) (void *) crdma_slot_payload(slot);
}

/* Store to the peer's address `to` through an attachment. False: NULL, not inside, or it faulted. */
bool crdma_rndv_store(crdma_edge_t *edge, const crdma_attachment_t *attachment, uint64_t to,
                      const char *src, size_t len);

/* parts.c: part of crdma_rndv_send. */
crdma_status_t crdma_parts_post(crdma_send_t *send);

enum { CRDMA_RNDV_ON_DEVICE = 1 };                                            /* flag, 5. */
enum { CRDMA_RNDV_WANTED = 1, CRDMA_RNDV_REFUSED = 2, CRDMA_RNDV_STAGED = 3 }; /* dst, 7. */

/* rendezvous_device.c. Sender: part of crdma_rndv_send; and giving back what a send that did not end still
 * holds, after it was withdrawn and the pipe has been waited for. */
crdma_status_t crdma_rndv_send_device(crdma_send_t *send);
void crdma_rndv_send_release(crdma_send_t *send);

/* Remote. Sender: CRDMA_OK when the data is where it can be put or read from. Receiver: may the message be
 * received at dst, in GPU memory? Then leave when it has been, and flush before the GPU reads it
 * (device/cuda_rdma.h). */
crdma_status_t crdma_rndv_send_enter(crdma_send_t *send);
bool crdma_rndv_recv_enter(crdma_recv_t *recv, void *dst);
void crdma_rndv_recv_leave(crdma_recv_t *recv);
/* After an error: may the peer still read, or write, our memory? */
bool crdma_rndv_send_is_open(const crdma_send_t *send);
bool crdma_rndv_recv_is_open(const crdma_recv_t *recv);

/* Any message: copy it from the GPU to host memory, which is then its source. */
crdma_status_t crdma_send_fetch(crdma_send_t *send);

/* Receiver without a GPU: 7., once the descriptor has been seen. */
crdma_status_t crdma_rndv_want(crdma_recv_t *recv, crdma_slot_t *slot);

/* Receiver with a GPU. look: CRDMA_OK when the descriptor is there; *name is NULL if the data is in host
 * memory. Then take, and taken when the memory is not read any more (CRDMA_ERR_PEER: withdrawn meanwhile),
 * then crdma_recv_finish; or refuse, then crdma_rndv_recv as for host memory. */
crdma_status_t crdma_rndv_look(crdma_recv_t *recv, const crdma_cuda_name_t **name);
void crdma_rndv_refuse(crdma_recv_t *recv);
crdma_status_t crdma_rndv_take(crdma_recv_t *recv);
crdma_status_t crdma_rndv_taken(crdma_recv_t *recv);

/* The block of the message, once its flag is there and its signature is right. */
crdma_status_t crdma_rndv_descriptor(crdma_recv_t *recv, crdma_slot_t **slot);

#endif
