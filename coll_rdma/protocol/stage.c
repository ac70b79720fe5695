/*
 * The stage; see stage.h.
 */
#include "coll_rdma/protocol/stage.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "coll_rdma/base/log.h"

/* Entries looked at for one that already holds the chunk: peers of one step are rarely further apart. */
#define LOOK_BACK 32
/* Enough for chunks of 4 KB; smaller ones do not fill the stage. */
#define MOST_ENTRIES 512
/* A first page costs a fault here and at every reader, microseconds each: whoever sends little stays within
 * the first entries; after so many laps the stage doubles, and the kernel is told to make the pages
 * ready at once. */
#define FIRST_ENTRIES 16
#define LAPS 2

static int stages; /* of this process, with memory */

void crdma_stage_init(crdma_stage_t *stage, crdma_slab_t *slab, size_t entry_size)
{
    *stage = (crdma_stage_t) {.slab = slab, .entry_size = entry_size};
}

/* At the first use. False: no memory, or enough stages; it is not tried again. */
static bool start(crdma_stage_t *stage)
{
    const size_t fit = CRDMA_STAGE_SIZE / stage->entry_size;
    const size_t n = fit < MOST_ENTRIES ? fit : MOST_ENTRIES;
    const size_t size = n * stage->entry_size;
    crdma_slab_t *slab = stage->slab;

    stage->slab = NULL;
    if (n < 8) {
        return false;
    }
    if (CRDMA_STAGES < __atomic_add_fetch(&stages, 1, __ATOMIC_RELAXED)) {
        __atomic_sub_fetch(&stages, 1, __ATOMIC_RELAXED);
        return false;
    }
    stage->entries = calloc(n, sizeof(*stage->entries));
    if (NULL == stage->entries || CRDMA_OK != crdma_slab_reserve(slab, size)) {
        goto no_memory;
    }
    if (CRDMA_OK != crdma_slab_alloc(slab, size, &stage->addr, NULL)) {
        crdma_slab_unreserve(slab, size);
        goto no_memory;
    }
    stage->slab = slab;
    stage->size = size;
    stage->nentries = (uint32_t) n;
    stage->limit = n < FIRST_ENTRIES ? (uint32_t) n : FIRST_ENTRIES;
    return true;

no_memory:
    free(stage->entries);
    stage->entries = NULL;
    stage->addr = 0;
    __atomic_sub_fetch(&stages, 1, __ATOMIC_RELAXED);
    return false;
}

static bool is_free(crdma_stage_entry_t *entry)
{
    while (0 < entry->nusers) { /* invariant 1 */
        const int last = entry->nusers - 1;

        if (!crdma_edge_is_consumed(entry->users[last].edge, entry->users[last].position)) {
            return false;
        }
        entry->nusers = last;
    }
    return true;
}

static crdma_stage_entry_t *find(crdma_stage_t *stage, uint64_t token, const char *src, size_t len)
{
    for (uint32_t i = 1; i <= LOOK_BACK && i <= stage->limit; ++i) {
        crdma_stage_entry_t *entry = &stage->entries[(stage->next + stage->limit - i)
                                                     % stage->limit];

        if (entry->token == token && entry->src == src && entry->len == len
            && 0 < entry->nusers && CRDMA_STAGE_USERS > entry->nusers) {
            return entry;
        }
    }
    return NULL;
}

/* To the next entry, in a stage that grows at the end of a lap. */
static void advance(crdma_stage_t *stage)
{
    const uint32_t limit = stage->limit;

    if (++stage->next < limit) {
        return;
    }
    if (limit == stage->nentries || ++stage->laps < LAPS) {
        stage->next = 0;
        return;
    }
    stage->laps = 0;
    stage->limit = 2 * limit < stage->nentries ? 2 * limit : stage->nentries;
#ifdef MADV_POPULATE_WRITE
    {
        char *from = crdma_slab_at(stage->slab, stage->addr + limit * stage->entry_size);
        const size_t skew = (uintptr_t) from & 4095;

        /* An old kernel refuses: then the pages come one by one. */
        (void) madvise(from - skew, skew + (stage->limit - limit) * stage->entry_size,
                       MADV_POPULATE_WRITE);
    }
#endif
}

crdma_addr_t crdma_stage_put(crdma_stage_t *stage, crdma_edge_t *edge, uint64_t position,
                             uint64_t token, const char *src, size_t len)
{
    crdma_stage_entry_t *entry;
    crdma_addr_t addr;

    if (NULL == stage->slab || len > stage->entry_size || (0 == stage->addr && !start(stage))) {
        return 0;
    }
    entry = 0 != token ? find(stage, token, src, len) : NULL;
    if (NULL == entry) {
        entry = &stage->entries[stage->next];
        if (!is_free(entry)) {
            return 0;
        }
        addr = stage->addr + stage->next * stage->entry_size;
        crdma_copy_to_reader(&stage->copier, crdma_slab_at(stage->slab, addr), src, len);
        *entry = (crdma_stage_entry_t) {.token = token, .src = src, .len = len};
    } else {
        addr = stage->addr + (crdma_addr_t) (entry - stage->entries) * stage->entry_size;
    }
    entry->users[entry->nusers].edge = edge;
    entry->users[entry->nusers++].position = position;
    if (entry == &stage->entries[stage->next]) {
        advance(stage);
    }
    return addr;
}

void crdma_stage_close(crdma_stage_t *stage)
{
    if (NULL != stage->entries) {
        crdma_log(CRDMA_LOG_SETUP,
                  "stage: %u copies, cycles per KB %u by ordinary stores, %u past the caches",
                  (unsigned) stage->copier.copies, (unsigned) stage->copier.cost[0],
                  (unsigned) stage->copier.cost[1]);
    }
    free(stage->entries);
    stage->entries = NULL;
}

void crdma_stage_free(crdma_stage_t *stage)
{
    crdma_stage_close(stage);
    if (0 != stage->addr) {
        crdma_slab_free(stage->slab, stage->addr, stage->size);
        crdma_slab_unreserve(stage->slab, stage->size);
        stage->addr = 0;
        __atomic_sub_fetch(&stages, 1, __ATOMIC_RELAXED);
    }
    stage->slab = NULL;
}
