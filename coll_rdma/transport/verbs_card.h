/*
 * What processes tell each other about queue pairs, as bytes: the card that is exchanged when a
 * communicator is set up, and the notes that connect and end a queue pair.
 */
#ifndef CRDMA_TRANSPORT_VERBS_CARD_H
#define CRDMA_TRANSPORT_VERBS_CARD_H

#include <stdint.h>

#define CRDMA_VERBS_CARD_MAGIC 0x31736276u

/* Followed by the card of UCX, which carries the notes. */
typedef struct crdma_verbs_card {
    uint32_t magic;
    int32_t pid;
    uint64_t cookie; /* of the slab */
    uint64_t base;   /* of the slab in its owner's address space */
    uint64_t size;   /* of the slab, bytes */
    uint64_t chunk_size;
    uint64_t first_key; /* of chunk 0, which holds the keys of all others */
    uint8_t gid[16];
    uint16_t lid;
    uint8_t link_layer; /* IBV_LINK_LAYER_* */
    uint8_t gid_type;   /* IBV_GID_TYPE_*; Ethernet only */
    uint8_t mtu;        /* enum ibv_mtu */
    uint8_t rd_atomic;  /* reads that may be under way towards this process */
    uint8_t pad[2];
    char host[32];
} crdma_verbs_card_t;

enum crdma_verbs_note_kind {
    CRDMA_VERBS_HELLO = 1, /* here is my queue pair */
    CRDMA_VERBS_BYE        /* I close: expect nothing, send nothing */
};

typedef struct crdma_verbs_note {
    uint32_t magic;
    uint32_t kind;
    uint64_t from, to; /* cookies */
    uint32_t qpn, psn;
    uint32_t ready; /* HELLO: my queue pair takes and sends (I have yours) */
    uint32_t pad;
} crdma_verbs_note_t;

#endif
