/*
 * A group is what the engine knows of a communicator: ranks, peers, edges, plans. It is made in
 * two parts, because the address of its region must travel to the other ranks in between:
 * begin (local), exchange of cards (by the caller), finish (local).
 *
 * Memory per rank: the region (8 B x N), two pointers and an address per rank, and rings only
 * for the peers of schedules that have been used.
 */
#ifndef CRDMA_ENGINE_GROUP_H
#define CRDMA_ENGINE_GROUP_H

#include <stdbool.h>
#include <stdint.h>

#include "coll_rdma/engine/region.h"
#include "coll_rdma/protocol/board.h"
#include "coll_rdma/protocol/message.h"
#include "coll_rdma/protocol/stage.h"
#include "coll_rdma/schedule/schedule.h"

struct crdma_plan;
struct crdma_op;
struct crdma_send_pool;

/*
 * Data that comes and goes while a call runs: input that is still being copied from a GPU, output that
 * is copied to it as it becomes final. Set in the group around a call of more than ll_max bytes.
 */
typedef struct crdma_flow {
    /* Are the first `bytes` of the input there? CRDMA_OK, CRDMA_AGAIN or an error. */
    crdma_status_t (*arrived)(struct crdma_flow *flow, size_t bytes);
    /* The first `bytes` of the output are final; they may still be sent from. */
    void (*finished)(struct crdma_flow *flow, size_t bytes);
} crdma_flow_t;

typedef struct crdma_group {
    int rank, size;
    char name[32]; /* for messages: "cid 3" */
    crdma_slab_t *slab;
    crdma_ring_geometry_t direct, remote; /* rings of direct and of remote peers */
    crdma_ring_geometry_t spare; /* of direct peers, where memory is short */
    crdma_rndv_mode_t rndv_direct[CRDMA_NCOLLS]; /* direct peers */
    crdma_rndv_mode_t rndv_remote;
    size_t parts_min[CRDMA_NCOLLS]; /* bytes from which a reduction goes by parts (parts.h); SIZE_MAX: never */
    crdma_peer_t **peers;   /* by rank; NULL at own rank */
    uint32_t *region_lines; /* by rank: the line (64 bytes) of its slab at which its region begins */
    crdma_edge_t **edges;   /* by rank; NULL until a plan needs it */
    crdma_stage_t stage;    /* chunks that direct peers read */
    bool has_board;         /* the ranks share a board, if rank 0 has the memory */
    crdma_board_t board;    /* head is NULL until the first call that uses it */
    size_t board_max[CRDMA_NCOLLS]; /* bytes of a call; barrier: 0; no board: not used */
    crdma_addr_t board_addr; /* rank 0: of its memory, 0: none */
    size_t board_size;
    crdma_edge_t board_edge; /* run_board.c: to who is waited for */
    uint64_t token;         /* of the last SEND step; stage.h */
    crdma_region_t *region; /* mine */
    crdma_addr_t region_addr;
    size_t region_size;
    size_t reserved; /* bytes promised by the slab */
    int *node; /* by rank: node number, by first appearance */
    int nnodes;
    bool all_direct;     /* no remote peer */
    const crdma_transport_t *far; /* of a remote peer, or NULL */
    bool oversubscribed; /* more ranks than processors on some node */
    bool failed;         /* a call has failed: every later one fails at once */
    uint64_t start;      /* first position of every edge */
    uint64_t seq;        /* number of the last call */
    struct crdma_plan *plans; /* most recently used first */
    int nplans;
    unsigned epoch;      /* changes when a plan is freed */
    struct crdma_op *op;      /* state of the blocking call */
    crdma_flow_t *flow;       /* of the blocking call, or NULL */
    char *scratch, *tmp;      /* grown on demand */
    size_t scratch_size, tmp_size;
    crdma_tx_t probe_tx;      /* watch.c: reading a remote peer's history */
    crdma_region_t *probe; /* its fixed part */
    int probe_rank;
    uint64_t poison_out;
} crdma_group_t;

typedef struct crdma_group_config {
    crdma_peer_t *const *peers;    /* size entries, copied */
    const crdma_addr_t *regions;   /* size entries, copied */
    const int *node;               /* size entries, copied */
    int nnodes;
    bool cma;                      /* every rank can copy from its direct peers */
    bool xpmem;                    /* and attach their memory */
    bool gpu;                      /* data may be in GPU memory: large messages must be a rendezvous */
    bool oversubscribed;
    int remote_blocks;             /* of an edge to a remote peer; 0: default */
    size_t remote_rndv_min;        /* bytes; 0: default */
} crdma_group_config_t;

/* Make the local part; (*group)->region_addr is then what peers must know. Ring geometry and
 * start come from crdma_params. */
crdma_status_t crdma_group_begin(crdma_slab_t *slab, int rank, int size, const char *name,
                                 crdma_group_t **group);
/* All ranks must pass equal cma, gpu and node. Before the first call on the group it may be finished again,
 * differently. */
crdma_status_t crdma_group_finish(crdma_group_t *group, const crdma_group_config_t *config);
/* Regions that were not known when it was finished: size entries, copied. */
void crdma_group_set_regions(crdma_group_t *group, const crdma_addr_t *regions);

/* Leave. Memory that peers may still touch is reclaimed by a later crdma_group_reap. */
void crdma_group_free(crdma_group_t *group);

/* Reclaim what is quiet; returns the number of groups still waiting. */
int crdma_group_reap(crdma_slab_t *slab);
/* Forget them all: the slab itself is about to go. */
void crdma_group_reap_all(void);

/* No further call will succeed: tell those who wait for this rank. */
void crdma_group_fail(crdma_group_t *group);

/* Where the region of `rank` is in its slab. */
static inline crdma_addr_t crdma_group_region_of(const crdma_group_t *group, int rank)
{
    return (crdma_addr_t) group->region_lines[rank] * CRDMA_LINE;
}

/* The edge to `rank`, made if needed. */
crdma_status_t crdma_group_edge(crdma_group_t *group, int rank, crdma_edge_t **edge);

/* Buffers that live as long as the group; contents are not kept when they grow. */
crdma_status_t crdma_group_scratch(crdma_group_t *group, size_t size, char **buffer);
crdma_status_t crdma_group_tmp(crdma_group_t *group, size_t size, char **buffer);

/* The messages of an edge use this mode for rendezvous. */
static inline const crdma_rndv_mode_t *crdma_group_rndv(const crdma_group_t *group,
                                                        const crdma_edge_t *edge,
                                                        int coll)
{
    return edge->remote ? &group->rndv_remote : &group->rndv_direct[coll];
}

/* The group has a board, attached now if it was not. Equal on all ranks. */
bool crdma_group_board(crdma_group_t *group);

/* Limits that hold for every edge: of an LL message, and of an element of a reduction, bytes. */
static inline size_t crdma_group_ll_max(const crdma_group_t *group)
{
    return group->direct.ll_max;
}

static inline size_t crdma_group_element_max(const crdma_group_t *group)
{
    return group->direct.block_size;
}

#endif
