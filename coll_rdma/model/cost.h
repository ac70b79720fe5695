/*
 * What one message costs on a machine, by its size: the protocols of the engine, or their
 * send-receive counterparts.
 *
 *   LL, slot      pieces of at most a block. The sender's processor: overhead and copy into the
 *                 block, per piece; the port: gap or bytes; the receiver's: notification per
 *                 piece, and the copy out of the block unless a reduction reads it in place
 *                 (inside a node, where that fetches the lines: at best).
 *                 Where the way was measured size by size (ll, way[]), these parts are stretched to it.
 *   rendezvous    between nodes the receiver's grant comes first (one latency more), then one
 *                 put without copies; inside a node one copy by the kernel.
 *   eager         (send-receive) one piece of any size up to sr_eager_max, copied on both sides;
 *                 the receiver matches it.
 *   send-receive rendezvous   a request, its matching, an answer, then the payload.
 */
#ifndef CRDMA_MODEL_COST_H
#define CRDMA_MODEL_COST_H

#include <stdbool.h>
#include <stddef.h>

#include "coll_rdma/model/machine.h"

typedef enum crdma_model_way {
    CRDMA_MODEL_EAGER = 0,  /* pieces through blocks */
    CRDMA_MODEL_GRANTED,    /* rendezvous over a port, the receiver's answer first */
    CRDMA_MODEL_KERNEL_COPY /* rendezvous inside a node, the receiver's processor copies */
} crdma_model_way_t;

/* All ns. */
typedef struct crdma_model_message {
    crdma_model_way_t way;
    size_t bytes;
    double latency;
    double pieces;     /* that it is sent as */
    double send_first; /* sender's processor until the first piece is handed over */
    double send_rest;  /* and for the other pieces */
    double wire_first; /* the port: first piece, last piece, all of them */
    double wire_last;
    double wire;
    double notify;     /* receiver's processor: last piece, all of them; reductions excluded */
    double notify_all;
    double copy_last;  /* copies out of the block: last piece, all of them */
    double copy_all;
    double answer;     /* rendezvous: receiver's processor before it grants or copies */
    double kernel;     /* CRDMA_MODEL_KERNEL_COPY: the receiver's copy */
} crdma_model_message_t;

void crdma_model_message_cost(const crdma_model_machine_t *machine, int level, bool send_receive,
                              size_t bytes, crdma_model_message_t *message);

#endif
