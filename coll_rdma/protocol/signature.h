/*
 * The operation signature: 64 bits that say which collective a rank has called. It travels with
 * every message, so that ranks which disagree find out instead of combining wrong bytes.
 *
 *   63..61 collective   60..59 call   58..55 operation   54..47 bytes per element (reductions,
 *   capped at 255)      46..28 root   27..0  bytes
 *
 * `call` is the number of the call modulo 4. Without it a message that nobody took, because the
 * ranks disagreed on the root, could be taken by the same call made once more.
 * Roots above 2^19 - 1 are reduced modulo 2^19. Byte counts of 2^27 and more are represented
 * by a hash with the top bit of their field set.
 */
#ifndef CRDMA_PROTOCOL_SIGNATURE_H
#define CRDMA_PROTOCOL_SIGNATURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "coll_rdma/device/reduce.h"
#include "coll_rdma/schedule/schedule.h"

#define CRDMA_SIG_EXACT ((uint64_t) 1 << 27)

static inline uint64_t crdma_sig_make(crdma_coll_t coll, crdma_op_id_t op, size_t elsize,
                                      int root, uint64_t bytes)
{
    uint64_t size = bytes < CRDMA_SIG_EXACT
                        ? bytes
                        : CRDMA_SIG_EXACT
                              | ((bytes * 0x9e3779b97f4a7c15u >> 37) & (CRDMA_SIG_EXACT - 1));

    return (uint64_t) coll << 61 | ((uint64_t) op & 15) << 55
           | (uint64_t) (elsize < 255 ? elsize : 255) << 47 | ((uint64_t) root & 0x7ffff) << 28
           | size;
}

_Static_assert(CRDMA_NOPS <= 16 && CRDMA_NCOLLS <= 8, "fields of the signature");

/* The signature of the seq-th call. */
static inline uint64_t crdma_sig_at_call(uint64_t sig, uint64_t seq)
{
    return sig | (seq & 3) << 59;
}

static inline bool crdma_sig_same_call(uint64_t sig, uint64_t seq)
{
    return (sig >> 59 & 3) == (seq & 3);
}

/* "reduce of 1024 B (sum, 4 B elements, root 3)" into text; returns text. */
const char *crdma_sig_describe(uint64_t sig, char *text, size_t len);

#endif
