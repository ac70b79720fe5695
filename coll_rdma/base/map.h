/*
 * A table from 64-bit keys to numbers, so that looking for one among N ranks does not take N steps.
 *
 * Open addressing with linear probing, at most half full; keys are spread by a multiplication, because
 * some are random (the cookie of a process) and some are not. Keys are never removed one by one.
 */
#ifndef CRDMA_BASE_MAP_H
#define CRDMA_BASE_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "coll_rdma/base/status.h"

typedef struct crdma_map_entry {
    uint64_t key;
    int64_t value; /* < 0: nothing here */
} crdma_map_entry_t;

/* All zero: empty. */
typedef struct crdma_map {
    crdma_map_entry_t *entry;
    size_t room; /* a power of two, or 0 */
    size_t n;
} crdma_map_t;

/* The value of `key`, or -1. */
int64_t crdma_map_find(const crdma_map_t *map, uint64_t key);
/* value >= 0; replaces an earlier one. CRDMA_ERR_NOMEM: the map is as it was. */
crdma_status_t crdma_map_put(crdma_map_t *map, uint64_t key, int64_t value);
/* Empty it, and give its memory back. */
void crdma_map_clear(crdma_map_t *map);

/* number[i]: the number of key i among the different keys, in the order of their first appearance; *n: how
 * many there are. key i is at keys + i * stride bytes. */
crdma_status_t crdma_map_number(const uint64_t *keys, size_t stride, int count, int *number, int *n);

#endif
