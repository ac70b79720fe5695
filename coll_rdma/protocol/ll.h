/*
 * LL ("low latency", after the protocol of that name in NCCL): every naturally aligned
 * 8-byte word of the message carries 4 bytes of payload and the low 32 bits of its position, so the
 * receiver sees for each word by itself whether it is there. Nothing has to be ordered;
 * 8-byte stores need only be whole, which x86-64, Arm and POWER guarantee for aligned
 * words, and InfiniBand and UCX for puts.
 *
 *   word 0, 1: the signature; word 2 + i: payload bytes 4i .. 4i+3
 */
#ifndef CRDMA_PROTOCOL_LL_H
#define CRDMA_PROTOCOL_LL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline size_t crdma_ll_words(size_t len)
{
    return 2 + (len + 3) / 4;
}

/* Pairs with the loads in crdma_ll_decode: each word is stored once, whole. */
static inline void crdma_ll_encode(uint64_t *cell, uint64_t position, uint64_t sig,
                                   const char *payload, size_t len)
{
    const uint64_t mark = position << 32;
    uint32_t part;
    size_t i;

    __atomic_store_n(&cell[0], mark | (uint32_t) sig, __ATOMIC_RELAXED);
    __atomic_store_n(&cell[1], mark | sig >> 32, __ATOMIC_RELAXED);
    for (i = 0; i < len / 4; ++i) {
        memcpy(&part, payload + 4 * i, 4);
        __atomic_store_n(&cell[2 + i], mark | part, __ATOMIC_RELAXED);
    }
    if (0 != len % 4) {
        part = 0;
        memcpy(&part, payload + 4 * i, len % 4);
        __atomic_store_n(&cell[2 + i], mark | part, __ATOMIC_RELAXED);
    }
}

/* False: not all of it is there (payload may hold a part). The signature counts as soon as both its
 * words are there: if it differs from *sig, *sig is set to it and true is returned at once,
 * so that the caller can report it. */
static inline bool crdma_ll_decode(const uint64_t *cell, uint64_t position, uint64_t *sig,
                                   char *payload, size_t len)
{
    const uint32_t mark = (uint32_t) position;
    const uint64_t low = __atomic_load_n(&cell[0], __ATOMIC_RELAXED);
    const uint64_t high = __atomic_load_n(&cell[1], __ATOMIC_RELAXED);
    const uint64_t seen = (high & 0xffffffffu) << 32 | (low & 0xffffffffu);
    uint64_t word;
    uint32_t part;
    size_t i;

    if ((uint32_t) (low >> 32) != mark || (uint32_t) (high >> 32) != mark) {
        return false;
    }
    if (seen != *sig) {
        *sig = seen;
        return true;
    }
    for (i = 0; i < len / 4; ++i) {
        word = __atomic_load_n(&cell[2 + i], __ATOMIC_RELAXED);
        if ((uint32_t) (word >> 32) != mark) {
            return false;
        }
        part = (uint32_t) word;
        memcpy(payload + 4 * i, &part, 4);
    }
    if (0 != len % 4) {
        word = __atomic_load_n(&cell[2 + i], __ATOMIC_RELAXED);
        if ((uint32_t) (word >> 32) != mark) {
            return false;
        }
        part = (uint32_t) word;
        memcpy(payload + 4 * i, &part, len % 4);
    }
    return true;
}

#endif
