/*
 * The card by which a process is reached over UCP, as bytes between processes.
 */
#ifndef CRDMA_TRANSPORT_UCP_CARD_H
#define CRDMA_TRANSPORT_UCP_CARD_H

#include <stdint.h>

#define CRDMA_UCP_CARD_MAGIC 0x31706375u

typedef struct crdma_ucp_card {
    uint32_t magic;
    int32_t pid;
    uint64_t host;   /* as in the card of direct peers */
    uint64_t cookie; /* of the slab */
    uint64_t base;   /* of the slab in its owner's address space */
    uint64_t size;   /* of the slab, bytes */
    uint32_t address_length;
    uint32_t key_length;
} crdma_ucp_card_t;

#endif
