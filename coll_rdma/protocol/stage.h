/*
 * The stage: where a rank leaves the larger chunks of slot messages for peers on its host, in its own
 * slab, which they map. The block of the receiver's ring then holds the chunk's header only.
 *
 * Two things are won. The chunks go round through 2 MB instead of the few blocks of a ring: a line is
 * overwritten when it has long left the first caches of its reader (1 MB one way, processors that
 * share a cache: 131 us through 64 KB, 73 through 512 KB, 38 through 1 MB, 33 through 2 MB). And a
 * chunk that goes to several peers is copied once.
 *
 * Invariants:
 * 1. An entry is written only if every peer that was sent its chunk has consumed that position: the
 *    acquire load of the credit (crdma_edge_is_consumed) pairs with the peer's release store after
 *    its last load. If one has not, the caller uses the block itself: nothing ever waits here.
 * 2. Chunks are shared only between messages of one token: started by one step, from memory that
 *    is not written until all of them have left it (engine/op.c, invariant 2).
 * 3. The memory returns to the slab with the rings of the group: when every peer has left.
 */
#ifndef CRDMA_PROTOCOL_STAGE_H
#define CRDMA_PROTOCOL_STAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "coll_rdma/device/host_copy.h"
#include "coll_rdma/protocol/edge.h"

/* Bytes of a stage (see above), and stages of a process: a communicator beyond them uses blocks. */
#define CRDMA_STAGE_SIZE (2u << 20)
#define CRDMA_STAGES 8
#define CRDMA_STAGE_USERS 31

typedef struct crdma_stage_entry {
    uint64_t token;
    const char *src;
    size_t len;
    int nusers;
    struct {
        crdma_edge_t *edge;
        uint64_t position;
    } users[CRDMA_STAGE_USERS];
} crdma_stage_entry_t;

typedef struct crdma_stage {
    crdma_slab_t *slab; /* NULL: off */
    crdma_addr_t addr;  /* 0 before the first use */
    size_t entry_size;
    size_t size;
    uint32_t nentries, next;
    uint32_t limit; /* entries in use so far: few at first, all of them after some laps */
    uint32_t laps;  /* since the last growth */
    crdma_stage_entry_t *entries;
    crdma_copier_t copier;
} crdma_stage_t;

/* No memory is taken yet. entry_size: largest chunk, bytes, a multiple of 64. */
void crdma_stage_init(crdma_stage_t *stage, crdma_slab_t *slab, size_t entry_size);

/* Copy a chunk for position `position` of `edge`; returns where it is in the slab, or 0: use the block.
 * token: 0, or equal for messages that may share it. */
crdma_addr_t crdma_stage_put(crdma_stage_t *stage, crdma_edge_t *edge, uint64_t position,
                             uint64_t token, const char *src, size_t len);

/* The edges are about to go: no more puts. The memory stays until crdma_stage_free. */
void crdma_stage_close(crdma_stage_t *stage);
void crdma_stage_free(crdma_stage_t *stage);

#endif
