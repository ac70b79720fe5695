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
 * Remote peers:
 *   read   sender exposes src, sends address and key as the payload of block p; the receiver gets
 *          the data and consumes p; the credit tells the sender
 *   write  receiver exposes dst, puts signature, length, address and key into the sender's grant
 *          cell p; the sender, if they are those of its message, puts the data, then the flag of
 *          block p (the paper's rendezvous)
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

#endif
