/*
 * Signatures in words, for messages to the user.
 */
#include "coll_rdma/protocol/signature.h"

#include <inttypes.h>
#include <stdio.h>

const char *crdma_sig_describe(uint64_t sig, char *text, size_t len)
{
    crdma_coll_t coll = (crdma_coll_t) (sig >> 61);
    crdma_op_id_t op = (crdma_op_id_t) (sig >> 55 & 15);
    unsigned elsize = (unsigned) (sig >> 47 & 255);
    unsigned root = (unsigned) (sig >> 28 & 0x7ffff);
    uint64_t bytes = sig & (2 * CRDMA_SIG_EXACT - 1);
    const char *name = coll < CRDMA_NCOLLS ? crdma_coll_name(coll) : "unknown collective";
    const char *op_name = op < CRDMA_NOPS ? crdma_op_name(op) : "unknown operation";
    char size[48];

    if (bytes < CRDMA_SIG_EXACT) {
        snprintf(size, sizeof(size), "%" PRIu64 " B", bytes);
    } else {
        snprintf(size, sizeof(size), "128 MiB or more (hash %07" PRIx64 ")",
                 bytes & (CRDMA_SIG_EXACT - 1));
    }
    switch (coll) {
    case CRDMA_BARRIER:
        snprintf(text, len, "%s", name);
        break;
    case CRDMA_BCAST:
        snprintf(text, len, "%s of %s (root %u)", name, size, root);
        break;
    case CRDMA_REDUCE:
        snprintf(text, len, "%s of %s (%s, %u B elements, root %u)", name, size, op_name, elsize,
                 root);
        break;
    default:
        snprintf(text, len, "%s of %s (%s, %u B elements)", name, size, op_name, elsize);
        break;
    }
    return text;
}
