/* The table; see map.h. */
#include "coll_rdma/base/map.h"

#include <stdlib.h>
#include <string.h>

/* Where `key` is, or where it would be; map->room > 0. */
static crdma_map_entry_t *place(const crdma_map_t *map, uint64_t key)
{
    const uint64_t spread = key * 0x9e3779b97f4a7c15u;
    size_t i = (size_t) (spread >> 32) & (map->room - 1);

    while (0 <= map->entry[i].value && key != map->entry[i].key) {
        i = (i + 1) & (map->room - 1);
    }
    return &map->entry[i];
}

int64_t crdma_map_find(const crdma_map_t *map, uint64_t key)
{
    return 0 == map->room ? -1 : place(map, key)->value;
}

static crdma_status_t grow(crdma_map_t *map)
{
    crdma_map_t larger = {.room = 0 == map->room ? 64 : 2 * map->room, .n = map->n};

    larger.entry = malloc(larger.room * sizeof(*larger.entry));
    if (NULL == larger.entry) {
        return CRDMA_ERR_NOMEM;
    }
    for (size_t i = 0; i < larger.room; ++i) {
        larger.entry[i].value = -1;
    }
    for (size_t i = 0; i < map->room; ++i) {
        if (0 <= map->entry[i].value) {
            *place(&larger, map->entry[i].key) = map->entry[i];
        }
    }
    free(map->entry);
    *map = larger;
    return CRDMA_OK;
}

crdma_status_t crdma_map_put(crdma_map_t *map, uint64_t key, int64_t value)
{
    crdma_map_entry_t *entry;

    if (2 * (map->n + 1) > map->room && CRDMA_OK != grow(map)) {
        return CRDMA_ERR_NOMEM;
    }
    entry = place(map, key);
    map->n += 0 > entry->value;
    *entry = (crdma_map_entry_t) {.key = key, .value = value};
    return CRDMA_OK;
}

void crdma_map_clear(crdma_map_t *map)
{
    free(map->entry);
    *map = (crdma_map_t) {NULL, 0, 0};
}

crdma_status_t crdma_map_number(const uint64_t *keys, size_t stride, int count, int *number, int *n)
{
    crdma_map_t map = {NULL, 0, 0};
    crdma_status_t status = CRDMA_OK;
    int known = 0;

    for (int i = 0; i < count && CRDMA_OK == status; ++i) {
        uint64_t key;
        int64_t seen;

        memcpy(&key, (const char *) keys + (size_t) i * stride, sizeof(key));
        seen = crdma_map_find(&map, key);
        if (0 > seen) {
            seen = known++;
            status = crdma_map_put(&map, key, seen);
        }
        number[i] = (int) seen;
    }
    crdma_map_clear(&map);
    if (CRDMA_OK == status) {
        *n = known;
    }
    return status;
}
