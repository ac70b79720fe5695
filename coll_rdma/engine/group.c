/*
 * Making and ending groups.
 *
 * Ending: a rank may free the communicator while a peer is still in its last call on
 * it. So rings and region go to a list of departed groups and return to the slab when
 * every edge is quiet (edge.h, invariant 4). Nothing waits: the list is looked at
 * whenever a new group is made. Where there is a board, regions and the board in rank 0's slab may be
 * touched by ranks without an edge: every rank counts itself out in all others' regions as its last
 * access, and each waits for all of them too. A group that has made no call has no such ranks.
 */
#include "coll_rdma/engine/group.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "coll_rdma/base/log.h"
#include "coll_rdma/base/params.h"
#include "coll_rdma/engine/op_internal.h"
#include "coll_rdma/engine/plan.h"
#include "coll_rdma/protocol/rendezvous.h"

/* Payload blocks per ring within a host (protocol/slot.h). If ranks share processors: how much a rank gets done
 * before it must yield. */
#define DIRECT_BLOCKS 2
#define SHARED_BLOCKS 8
/* Two ranks: LL only if the user wants it for larger messages. A message in a slot is one line too, takes fewer
 * instructions (run_pair.c) and is reduced where it lies. */
#define PAIR_LL_MAX 16
/* Messages of so many bytes go by the stage if the peer shares no cache with us (host_copy.h): reduce and allreduce
 * of 4 KB, 2 ranks, us, by (8) blocks -> by the stage 2.96 -> 1.42, 8 KB 5.79 -> 2.66. By 2 blocks -> by a stage that
 * is already large, broadcast of 2 KB 1.04 -> 0.84, reduce 0.89 -> 0.75; but 1.7 while the stage grows. 1 KB 0.47 -> 0.71. */
#define STAGE_MIN 4096
/* ... and if it does: by 2 blocks -> by the stage, broadcast of 4 KB 0.42 -> 0.79, 8 KB 0.62 -> 1.19, 16 KB 1.98
 * -> 1.91, 32 KB 4.3 -> 2.3; reduce of 8 KB 0.69 -> 0.69, 16 KB 2.2 -> 1.1. */
#define STAGE_NEAR (8192 + 1)
/* Ranks that share processors hand a whole message over at once (broadcast, 4 ranks on
 * 2): 32 KB 14 -> 21, 128 KB 48 -> 36; 8 ranks, 64 KB: 83 -> 56. */
#define SHARED_STAGE_MIN (64 * 1024)
#define SHARED_RNDV_MIN (256 * 1024 + 1) /* up to here blocks win, 4 ranks on 2 processors */
/* A broadcast among more ranks: through blocks the root writes to each in turn. Blocks -> rendezvous, time
 * against Open MPI's default, 32 ranks on 2 processors: 64 KB 1.31 -> 1.44, 256 KB 2.22 -> 1.15; 16
 * ranks: 0.74 -> 1.10, 1.02 -> 0.95; 8 ranks: 0.83 -> 1.38, 1.05 -> 0.92 (A/A 0.94 to 1.04). */
#define CROWD_RNDV_MIN (256 * 1024)
#define CROWD_RANKS 8
/* Below this many bytes a rendezvous within the host costs more than copying through blocks. A
 * reduction that reads operands from the user buffers of peers saves one copy more. */
#define BCAST_RNDV_MIN (32 * 1024)
#define REDUCE_RNDV_MIN (16 * 1024)
/* Two ranks with a processor each. The kernel's copy takes 0.25 us and more per page on top of the copy, the stage
 * copies twice, but through caches. us by rendezvous -> by the stage, three to five jobs each in turns, where the two
 * processors share a cache (a flag's way 50 to 60 ns):
 *
 *               broadcast      allreduce      reduce
 *   32 KB       5.2 -> 1.7     5.4 -> 2.2     4.5 -> 1.6
 *   128 KB      11.6 -> 5.0    12.8 -> 8.4    12.7 -> 5.0
 *   256 KB      20 -> 9.7      25 -> 18       25 -> 11
 *   512 KB      28 -> 19       73 -> 38       53 -> 22
 *   1 MB        49 -> 38       115 -> 80      109 -> 42
 *   4 MB        177 -> 152     460 -> 373     600 -> 216
 *
 * In slower states, mostly where they do not (240 ns), a large stage costs nearly what Open MPI's default costs: over it
 * in one job, by rendezvous -> by the stage, 512 KB to 2 MB, broadcast 0.55 to 0.78 -> 0.92 to 1.01 (256 KB 0.42 to
 * 0.60 -> 1.08 and 1.21), allreduce 0.59 -> 0.72 to 1.08; near, 512 KB and 2 MB, 0.60 -> 0.50 and 0.55 -> 0.51, 0.76 ->
 * 0.65 and 0.81 -> 0.68. So larger broadcasts go by rendezvous, which is ahead in both places; an allreduce would take
 * longer than a reduce and a broadcast (near, 1 MB 115 against 42 and 49). More ranks with a processor each were not
 * measured. */
#define PAIR_BCAST_RNDV_MIN (256 * 1024)
#define PAIR_REDUCE_RNDV_MIN SIZE_MAX
/* Reductions by parts (parts.h), where user buffers are attached. Through the kernel they gain nothing: a result that is
 * written into another process costs more than one that is read there (allreduce, 2 ranks, time over Open MPI's
 * default, two jobs each in turns, read -> written: 512 KB 0.78 -> 0.75, 1 MB 0.86 -> 0.86, 2 MB 0.82 -> 0.88, 4 MB
 * 0.83 -> 0.90, 8 MB 0.81 -> 0.90). */
#define PARTS_MIN (16 * 1024)
/* A rendezvous by attached memory costs no more than two flags (2 ranks, emulated: allreduce of 16 KB by the stage 3.4 us,
 * of 32 KB by rendezvous 2.4; broadcast of 256 KB 20, of 512 KB 9.7). */
#define MAPPED_RNDV_MIN (8 * 1024)
/* Between hosts: every credit is a message of its own; the exchange of addresses costs about one
 * more. For a network that is not known (group.h). */
#define REMOTE_BLOCKS 16
#define REMOTE_RNDV_MIN (32 * 1024)

/* Among so many ranks, memory per rank counts more than the depth of a ring: two blocks keep one
 * communicator with 24 neighbours below 4 MB at 65,536 ranks (tests/unit/test_footprint). For the same reason it has
 * no stage. */
#define LARGE_GROUP 4096
#define LARGE_BLOCKS 2
/* Blocks of a ring take whole pages. Where that would waste most of one, direct rings of a large group take
 * blocks that are smaller by so many bytes at most (two of 8 KB: 7808, 4 pages instead of 5; a leader of 64
 * ranks has 63 such rings). */
#define TRIM_MOST 512

/* Rings that are promised to a group, spare ones within a host (edge.h); more are served while there is room. Promised
 * per communicator of 16 and of 64 ranks: 1.0 -> 0.3 MB and 4.4 -> 1.3 MB, so the limit is reached after 3,300 of
 * them instead of 1,000 and 800 instead of 240. */
#define EDGES_RESERVED 64
#define SPARE_BLOCKS 2

typedef struct departed {
    struct departed *next;
    crdma_slab_t *slab;
    crdma_group_t *group; /* NULL, or what a transport still writes to */
    size_t reserved;
    crdma_addr_t region_addr;
    size_t region_size;
    crdma_stage_t stage;
    crdma_addr_t board_addr; /* 0: none */
    size_t board_size;
    uint64_t others; /* ranks that count themselves out */
    bool failed;
    int nedges;
    crdma_edge_t *edges[];
} departed_t;

static departed_t *departed_list;
static pthread_mutex_t departed_lock = PTHREAD_MUTEX_INITIALIZER;

/* slots: of a direct ring; 0: remote. */
static void set_geometry(crdma_ring_geometry_t *geometry, int slots, int blocks)
{
    if (0 != crdma_params.block_count) {
        blocks = crdma_params.block_count;
        slots = 0 != slots && slots < blocks ? blocks : slots;
    }
    crdma_ring_geometry_init(geometry, (uint32_t) slots, (uint32_t) blocks,
                             (uint32_t) crdma_params.ll_max, (uint32_t) crdma_params.block_size);
}

static void fill_pages(crdma_ring_geometry_t *g)
{
    const uint32_t page = 4096, excess = (uint32_t) (g->blocks % page);
    const uint32_t each = (excess + g->block_count - 1) / g->block_count;
    const uint32_t trim = (each + CRDMA_LINE - 1) / CRDMA_LINE * CRDMA_LINE;

    if (0 < excess && trim <= TRIM_MOST && 2 * trim < g->block_size) {
        crdma_ring_geometry_init(g, g->slot_count, g->block_count, g->ll_max, g->block_size - trim);
    }
}

crdma_status_t crdma_group_begin(crdma_slab_t *slab, int rank, int size, const char *name,
                                 crdma_group_t **out)
{
    crdma_group_t *g = calloc(1, sizeof(*g));
    crdma_status_t status;

    if (NULL == g) {
        return CRDMA_ERR_NOMEM;
    }
    crdma_group_reap(slab);
    g->slab = slab;
    g->rank = rank;
    g->size = size;
    strncpy(g->name, name, sizeof(g->name) - 1);
    g->start = crdma_params.sequence_start;
    g->region_size = sizeof(crdma_region_t) + (size_t) size * sizeof(uint64_t);
    g->reserved = crdma_slab_promise_size(crdma_slab_block_size(g->region_size));
    status = crdma_slab_reserve(slab, g->reserved);
    if (CRDMA_OK != status) {
        crdma_log(CRDMA_LOG_SETUP,
                  "%s: %zu bytes of preregistered memory would exceed coll_rdma_memory_limit "
                  "(%zu, %zu in use)",
                  name, g->reserved, slab->size, slab->reserved);
        free(g);
        return status;
    }
    status = crdma_slab_alloc(slab, g->region_size, &g->region_addr, NULL);
    if (CRDMA_OK != status) {
        crdma_slab_unreserve(slab, g->reserved);
        free(g);
        return status;
    }
    g->region = crdma_slab_at(slab, g->region_addr);
    memset(g->region, 0, g->region_size);
    g->probe_rank = -1;
    *out = g;
    return CRDMA_OK;
}

/* Promise of the slab for the rings of the group's edges, now that their kind is known. */
static crdma_status_t reserve_rings(crdma_group_t *g)
{
    const size_t n = (size_t) (g->size - 1 < EDGES_RESERVED ? g->size - 1 : EDGES_RESERVED);
    const size_t size = crdma_slab_promise_size(
        n * crdma_edge_slab_size(g->all_direct ? &g->spare : &g->remote, !g->all_direct));
    crdma_status_t status = crdma_slab_reserve(g->slab, size);

    if (CRDMA_OK == status) {
        g->reserved += size;
    } else {
        crdma_log(CRDMA_LOG_SETUP,
                  "%s: %zu bytes of preregistered memory would exceed coll_rdma_memory_limit "
                  "(%zu, %zu in use)",
                  g->name, size, g->slab->size, g->slab->reserved);
    }
    return status;
}

static void set_rendezvous(crdma_rndv_mode_t *mode, bool direct, size_t usual, bool possible)
{
    const int wanted = crdma_params.rendezvous;
    size_t min = crdma_params.rendezvous_min;

    if (0 == min) {
        min = usual;
    }
    if (min <= (size_t) crdma_params.ll_max) {
        min = (size_t) crdma_params.ll_max + 1;
    }
    mode->min = possible && CRDMA_RNDV_OFF != wanted ? min : SIZE_MAX;
    /* Direct: both sides copy unless told otherwise. Remote: exactly one of them. */
    mode->receiver_copies = CRDMA_RNDV_WRITE != wanted && (direct || CRDMA_RNDV_READ == wanted);
    mode->sender_copies = CRDMA_RNDV_READ != wanted;
}

/* As crdma_group_begin left it. */
static void unfinish(crdma_group_t *g)
{
    const size_t region = crdma_slab_promise_size(crdma_slab_block_size(g->region_size));
    const size_t rings = g->reserved - region;

    crdma_op_destroy(g->op);
    free(g->edges);
    free(g->node);
    free(g->region_lines);
    free(g->peers);
    g->op = NULL;
    g->edges = NULL;
    g->node = NULL;
    g->region_lines = NULL;
    g->peers = NULL;
    crdma_slab_unreserve(g->slab, rings);
    g->reserved -= rings;
    crdma_group_drop_board(g);
}

void crdma_group_set_regions(crdma_group_t *g, const crdma_addr_t *regions)
{
    for (int r = 0; r < g->size; ++r) {
        g->region_lines[r] = (uint32_t) (regions[r] / CRDMA_LINE);
    }
}

crdma_status_t crdma_group_finish(crdma_group_t *g, const crdma_group_config_t *config)
{
    const size_t n = (size_t) g->size;
    bool pair;

    unfinish(g);
    g->peers = malloc(n * sizeof(*g->peers));
    g->region_lines = malloc(n * sizeof(*g->region_lines));
    g->node = malloc(n * sizeof(*g->node));
    g->edges = calloc(n, sizeof(*g->edges));
    g->op = crdma_op_create(g);
    if (NULL == g->peers || NULL == g->region_lines || NULL == g->node || NULL == g->edges
        || NULL == g->op) {
        return CRDMA_ERR_NOMEM;
    }
    memcpy(g->peers, config->peers, n * sizeof(*g->peers));
    crdma_group_set_regions(g, config->regions);
    memcpy(g->node, config->node, n * sizeof(*g->node));
    g->nnodes = config->nnodes;
    g->oversubscribed = config->oversubscribed;
    if (g->size >= LARGE_GROUP) {
        set_geometry(&g->direct, LARGE_BLOCKS, LARGE_BLOCKS);
        fill_pages(&g->direct);
    } else {
        set_geometry(&g->direct, CRDMA_SLOTS, g->oversubscribed ? SHARED_BLOCKS : DIRECT_BLOCKS);
        if (2 == g->size && g->direct.ll_max <= PAIR_LL_MAX) {
            crdma_ring_geometry_drop_ll(&g->direct);
        }
    }
    crdma_ring_geometry_init(&g->spare,
                             g->direct.slot_count < CRDMA_SLOTS ? g->direct.slot_count : CRDMA_SLOTS,
                             g->direct.block_count < SPARE_BLOCKS ? g->direct.block_count : SPARE_BLOCKS,
                             g->direct.ll_max, g->direct.block_size);
    if (0 == g->direct.ll_below) {
        crdma_ring_geometry_drop_ll(&g->spare);
    }
    crdma_stage_init(&g->stage, g->size >= LARGE_GROUP ? NULL : g->slab, g->direct.block_size);
    set_geometry(&g->remote, 0, g->size >= LARGE_GROUP           ? LARGE_BLOCKS
                             : 0 != config->remote_blocks ? config->remote_blocks
                                                          : REMOTE_BLOCKS);
    g->all_direct = true;
    for (int r = 0; r < g->size; ++r) {
        if (r != g->rank && NULL == g->peers[r]->map) {
            g->all_direct = false;
            g->far = g->peers[r]->transport;
        }
    }
    /* Data in GPU memory goes by rendezvous, and its peer must know so by the size alone. */
    pair = 2 == g->size && !config->gpu;
    set_rendezvous(&g->rndv_direct[CRDMA_BCAST], true,
                   !g->oversubscribed       ? (pair ? PAIR_BCAST_RNDV_MIN : BCAST_RNDV_MIN)
                   : g->size >= CROWD_RANKS ? CROWD_RNDV_MIN
                                            : SHARED_RNDV_MIN,
                   config->cma);
    set_rendezvous(&g->rndv_direct[CRDMA_REDUCE], true,
                   g->oversubscribed ? SHARED_RNDV_MIN
                   : pair            ? PAIR_REDUCE_RNDV_MIN
                                     : REDUCE_RNDV_MIN,
                   config->cma);
    set_rendezvous(&g->rndv_direct[CRDMA_ALLREDUCE], true,
                   g->oversubscribed ? SHARED_RNDV_MIN
                   : pair            ? PAIR_REDUCE_RNDV_MIN
                                     : REDUCE_RNDV_MIN,
                   config->cma);
    if (config->xpmem && !g->oversubscribed) {
        for (int c = 0; c < CRDMA_BARRIER; ++c) {
            set_rendezvous(&g->rndv_direct[c], true, MAPPED_RNDV_MIN, config->cma);
        }
    }
    for (int c = 0; c < CRDMA_NCOLLS; ++c) {
        const bool reduces = CRDMA_REDUCE == c || CRDMA_ALLREDUCE == c;

        g->rndv_direct[c].mapped = config->xpmem;
        g->parts_min[c] = SIZE_MAX;
        if (reduces && g->all_direct && config->xpmem && !config->gpu
            && CRDMA_RNDV_AUTO == crdma_params.rendezvous) {
            g->parts_min[c] = 0 != crdma_params.rendezvous_min ? crdma_params.rendezvous_min
                                                               : PARTS_MIN;
        }
    }
    g->rndv_direct[CRDMA_BARRIER] = g->rndv_direct[CRDMA_BCAST]; /* has no data */
    set_rendezvous(&g->rndv_remote, false,
                   0 != config->remote_rndv_min ? config->remote_rndv_min : REMOTE_RNDV_MIN,
                   g->remote.block_size >= CRDMA_RNDV_BLOCK_MIN);
    crdma_group_set_board(g, !config->gpu);
    return reserve_rings(g);
}

static void group_release(crdma_group_t *g)
{
    if (NULL != g) {
        free(g->probe);
        free(g);
    }
}

static void departed_reclaim(crdma_slab_t *slab, departed_t *d)
{
    for (int i = 0; i < d->nedges; ++i) {
        crdma_edge_free(slab, d->edges[i]);
    }
    crdma_stage_free(&d->stage);
    crdma_board_release(slab, d->board_addr, d->board_size);
    crdma_slab_free(slab, d->region_addr, d->region_size);
    crdma_slab_unreserve(slab, d->reserved);
    group_release(d->group);
    free(d);
}

void crdma_group_free(crdma_group_t *g)
{
    departed_t *d;
    int nedges = 0;

    if (NULL == g) {
        return;
    }
    __atomic_store_n(&g->region->left, 1, __ATOMIC_RELEASE);
    for (int r = 0; NULL != g->edges && r < g->size; ++r) {
        nedges += NULL != g->edges[r];
    }
    d = malloc(sizeof(*d) + (size_t) nedges * sizeof(d->edges[0]));
    if (NULL != d) {
        *d = (departed_t) {.slab = g->slab, .region_addr = g->region_addr,
                           .region_size = g->region_size, .reserved = g->reserved};
        /* After a failure peers may be anywhere: such memory is never reused. */
        d->failed = g->failed;
        d->group = 0 != g->probe_tx.pending ? g : NULL;
    }
    for (int r = 0; NULL != g->edges && r < g->size; ++r) {
        if (NULL == g->edges[r]) {
            continue;
        }
        crdma_edge_leave(g->edges[r]);
        if (NULL != d) {
            d->edges[d->nedges++] = g->edges[r];
        }
    }
    crdma_stage_close(&g->stage);
    for (int r = 0; g->has_board && 0 < g->seq && r < g->size; ++r) {
        if (r != g->rank) {
            /* Release: after my last access. Pairs with crdma_group_reap of that rank. */
            __atomic_add_fetch(&crdma_group_peer_region(g, r)->board_left, 1, __ATOMIC_RELEASE);
        }
    }
    if (NULL != d) {
        d->stage = g->stage;
        d->board_addr = g->board_addr;
        d->board_size = g->board_size;
        d->others = g->has_board && 0 < g->seq ? (uint64_t) g->size - 1 : 0;
        pthread_mutex_lock(&departed_lock);
        d->next = departed_list;
        departed_list = d;
        pthread_mutex_unlock(&departed_lock);
    }
    crdma_plan_free_all(g);
    if (NULL != g->op && crdma_op_is_busy(g->op)) {
        return; /* after an error: what a transport may still write to is never freed */
    }
    crdma_op_destroy(g->op);
    free(g->edges);
    free(g->node);
    free(g->region_lines);
    free(g->peers);
    free(g->scratch);
    free(g->tmp);
    if (0 == g->probe_tx.pending) {
        group_release(g);
    }
}

int crdma_group_reap(crdma_slab_t *slab)
{
    departed_t **link;
    int waiting = 0;

    pthread_mutex_lock(&departed_lock);
    link = &departed_list;
    while (NULL != *link) {
        departed_t *d = *link;
        bool quiet = !d->failed && slab == d->slab
                     && (NULL == d->group || 0 == d->group->probe_tx.pending);

        for (int i = 0; quiet && i < d->nedges; ++i) {
            quiet = crdma_edge_quiet(d->edges[i]);
        }
        if (quiet && 0 < d->others) {
            const crdma_region_t *region = crdma_slab_at(slab, d->region_addr);

            quiet = d->others == __atomic_load_n(&region->board_left, __ATOMIC_ACQUIRE);
        }
        if (quiet) {
            *link = d->next;
            departed_reclaim(slab, d);
        } else {
            waiting += slab == d->slab;
            link = &d->next;
        }
    }
    pthread_mutex_unlock(&departed_lock);
    return waiting;
}

void crdma_group_reap_all(void)
{
    while (NULL != departed_list) {
        departed_t *d = departed_list;

        departed_list = d->next;
        crdma_stage_free(&d->stage);
        crdma_board_release(d->slab, d->board_addr, d->board_size);
        for (int i = 0; i < d->nedges; ++i) {
            free(d->edges[i]);
        }
        group_release(d->group);
        free(d);
    }
}

crdma_status_t crdma_group_edge(crdma_group_t *g, int rank, crdma_edge_t **edge)
{
    crdma_status_t status = CRDMA_OK;

    if (NULL == g->edges[rank]) {
        const crdma_addr_t mail_remote = crdma_group_region_of(g, rank) + offsetof(crdma_region_t, mailbox)
                                         + (crdma_addr_t) g->rank * sizeof(uint64_t);

        const bool direct = NULL != g->peers[rank]->map;

        status = crdma_edge_create(g->slab, direct ? &g->direct : &g->remote,
                                   direct ? &g->spare : NULL, g->peers[rank], rank,
                                   &g->region->mailbox[rank], mail_remote, g->start,
                                   &g->edges[rank]);
        if (CRDMA_OK == status && !g->edges[rank]->remote) {
            g->edges[rank]->stage = &g->stage;
            g->edges[rank]->stage_min = 0 != crdma_params.stage_min ? crdma_params.stage_min
                                          : g->oversubscribed         ? SHARED_STAGE_MIN
                                                                      : STAGE_MIN;
            g->edges[rank]->stage_near = 0 != crdma_params.stage_min ? crdma_params.stage_min
                                                                     : STAGE_NEAR;
        }
    }
    if (CRDMA_OK == status) {
        *edge = g->edges[rank];
    }
    return status;
}

static crdma_status_t grow(char **buffer, size_t *have, size_t size, char **out)
{
    if (*have < size) {
        char *p = NULL;

        free(*buffer);
        *buffer = NULL;
        *have = 0;
        /* Small ones hold operands of LL messages, a line each: a page would be mostly air. */
        if (0 != posix_memalign((void **) &p, 4096 <= size ? 4096 : CRDMA_LINE, size)) {
            return CRDMA_ERR_NOMEM;
        }
        *buffer = p;
        *have = size;
    }
    *out = *buffer;
    return CRDMA_OK;
}

crdma_status_t crdma_group_scratch(crdma_group_t *g, size_t size, char **buffer)
{
    return grow(&g->scratch, &g->scratch_size, size, buffer);
}

crdma_status_t crdma_group_tmp(crdma_group_t *g, size_t size, char **buffer)
{
    return grow(&g->tmp, &g->tmp_size, size, buffer);
}
