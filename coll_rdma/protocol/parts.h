/*
 * Reductions by parts: what ranks of one host tell each other so that each can reduce its own part
 * of all inputs straight out of the user buffers of the others and store the result into theirs
 * (engine/parts.c).
 *
 * One position of the edge, the block's header as for a rendezvous (rendezvous.h):
 *   1. owner: src = input, dst = output (0: none), len, next = done = failed = 0, pages of both,
 *      flag (release)
 *   2. worker: sees the flag (acquire), claims the message (`next` from 0 to len), reads its part
 *      of src and stores its part of dst
 *   3. worker: done = len, then consumes the position (release): the owner sees the result and may
 *      use both buffers
 *   4. an owner that gives up sets `failed` and claims; if it was claimed already it waits for
 *      `done`. A worker looks at `failed` before each piece, so that wait is short
 *
 * Every worker touches its own part of the buffers only, so the workers need no order among
 * themselves, and input and output may be the same memory.
 */
#ifndef CRDMA_PROTOCOL_PARTS_H
#define CRDMA_PROTOCOL_PARTS_H

#include "coll_rdma/protocol/message.h"

/* Owner. out: NULL, or where the result goes, len bytes like in. Both buffers are whole allocations
 * of the caller. Progress and withdrawing are those of every message. */
void crdma_parts_send(crdma_send_t *send, crdma_edge_t *edge, const crdma_rndv_mode_t *rndv,
                      const void *in, void *out, size_t len, uint64_t sig);

/* Worker. claim: CRDMA_OK once the buffers may be used. */
void crdma_parts_recv(crdma_recv_t *recv, crdma_edge_t *edge, const crdma_rndv_mode_t *rndv,
                      size_t len, uint64_t sig);
crdma_status_t crdma_parts_claim(crdma_recv_t *recv);
/* The owner has not given up. */
bool crdma_parts_valid(const crdma_recv_t *recv);
/* Its input, mapped, or NULL: then get copies it. Loads only within crdma_xpmem_guard. */
const char *crdma_parts_map(const crdma_recv_t *recv, size_t off, size_t len);
crdma_status_t crdma_parts_get(const crdma_recv_t *recv, char *dst, size_t off, size_t len);
/* Into its output; nothing if it has none. */
crdma_status_t crdma_parts_put(crdma_recv_t *recv, const char *src, size_t off, size_t len);
/* 3.; or the call has failed: nothing is touched any more. */
crdma_status_t crdma_parts_finish(crdma_recv_t *recv);
void crdma_parts_abandon(crdma_recv_t *recv);

#endif
