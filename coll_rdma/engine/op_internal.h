/*
 * The state of an operation, shared by the files of the engine that run it.
 */
#ifndef CRDMA_ENGINE_OP_INTERNAL_H
#define CRDMA_ENGINE_OP_INTERNAL_H

#include "coll_rdma/engine/device.h"
#include "coll_rdma/engine/op.h"
#include "coll_rdma/protocol/signature.h"

/* Sends under way. Callbacks of transports point into them, so they never move. */
typedef struct crdma_send_item {
    struct crdma_send_item *next;
    crdma_send_t send;
} crdma_send_item_t;

struct crdma_op {
    crdma_group_t *group;
    crdma_op_args_t args;
    uint64_t seq;

    size_t grain;     /* elements per unit of block boundaries */
    size_t seg_count; /* elements per segment */
    size_t nseg;
    int tmp_depth;    /* segments that TMP holds */
    char *tmp;

    /* cursor: segment slot t, step index; the phase of the step says which segment */
    size_t t;
    int step;
    bool started;     /* the current step has its receives set up */
    size_t off;       /* bytes of the current step that are reduced */
    int ready;        /* operands 0 .. ready-1 of the current piece are there */
    bool by_parts;    /* parts.c; then step is its own and off counts in this rank's part */
    bool gather;      /* REDUCE: operands are fetched whole before they are combined */
    crdma_protocol_t whole; /* REDUCE: the protocol of all operands, unless gather */

    crdma_recv_t *recvs; /* capacity: largest npeers so far */
    const void **srcs;
    int capacity;

    crdma_send_item_t *pending, **pending_end; /* in order of start */
    crdma_send_item_t *unused;

    crdma_edge_t *waiting; /* the edge that the last CRDMA_AGAIN was about, or NULL */
    uint64_t polls;
    uint64_t since;        /* ns: start of this wait, 0: not waiting */
    uint64_t checked;      /* ns: last look at the peers */
    crdma_edge_t *suspect; /* watch.c: it looked bad at the last look of this wait */
    int turn;              /* watch.c: which edge of the plan is looked at next */
    uint64_t odd_seq, odd_sig; /* watch.c: the call on which we and a peer disagree, and ours */

    /* device.c */
    struct crdma_landing *landings; /* of recvs */
    int nlandings;
    uint64_t ticket; /* of the kernel or copy of this step, 0: not started */
    crdma_cuda_block_t *tmp_block, *operands;
    bool unflushed; /* an adapter has written operands to our GPU */
    int noperands;
    size_t operand_bytes;
};

/* How a call is cut into segments. */
typedef struct crdma_cut {
    size_t grain;     /* elements per unit of block boundaries */
    size_t seg_count; /* elements per segment */
    size_t nseg;
} crdma_cut_t;

static inline crdma_cut_t crdma_op_cut(const crdma_op_args_t *args)
{
    /* elements per cache line, if the size is a power of two */
    const size_t unit = args->elsize <= CRDMA_LINE && 0 == (args->elsize & (args->elsize - 1))
                            ? (size_t) CRDMA_LINE >> __builtin_ctzl(args->elsize)
                            : 1;
    crdma_cut_t cut = {.grain = unit, .seg_count = args->count, .nseg = 1};

    if (0 != args->segment && args->segment < args->count * args->elsize) {
        cut.seg_count = args->segment / args->elsize / unit * unit;
        if (0 == cut.seg_count) {
            cut.seg_count = unit;
        }
        cut.nseg = (args->count + cut.seg_count - 1) / cut.seg_count;
    }
    return cut;
}

/* Segments that TMP holds. */
static inline int crdma_op_tmp_depth(const crdma_op_args_t *args, const crdma_cut_t *cut)
{
    const crdma_sched_t *sched = args->plan->sched;
    const int lag = sched->skew[sched->nphases - 1];

    return cut->nseg > (size_t) lag + 2 ? lag + 2 : (int) cut->nseg;
}

/* The memory of blocks [block, block + n) of segment `seg` in buffer `buf`; *len: its bytes. */
char *crdma_op_locate(const crdma_op_t *op, int buf, size_t seg, int block, int n, size_t *len);
/* The whole of the caller's buffer that `at` is in; empty: of neither. */
crdma_area_t crdma_op_area(const crdma_op_t *op, const void *at);
/* True if a pending send still reads from [dst, dst + len). */
bool crdma_op_is_sending(const crdma_op_t *op, const char *dst, size_t len);
/* Bytes per slot for a message of len bytes, equal on both sides: whole elements, and at least two chunks for
 * messages of some size, so that the receiver copies one while the sender fills the next. */
static inline size_t crdma_chunk_of(const crdma_group_t *g, size_t elsize, size_t len)
{
    const size_t block = g->direct.block_size;
    size_t chunk = len > 4096 ? (len / 2 < 4096 ? 4096 : len / 2) : len;

    if (chunk > block) {
        chunk = block;
    }
    if (1 != elsize) {
        chunk -= chunk % elsize;
    }
    return 0 != chunk ? chunk : elsize;
}

static inline size_t crdma_op_chunk(const crdma_op_t *op, size_t len)
{
    return crdma_chunk_of(op->group, op->args.elsize, len);
}
/* A send that is not under way yet, and setting it under way: *item is pending or done when it returns. */
crdma_status_t crdma_op_new_item(crdma_op_t *op, crdma_send_item_t **item);
crdma_status_t crdma_op_push(crdma_op_t *op, crdma_send_item_t *item);
/* reduce.c: the REDUCE step. */
crdma_status_t crdma_op_reduce(crdma_op_t *op, const crdma_step_t *step, size_t seg);

/* One pass of waiting: relax or yield, let others progress, and once in a while
 * look for a peer that disagrees, left or died. CRDMA_OK: poll again. */
crdma_status_t crdma_op_wait(crdma_op_t *op, crdma_edge_t *edge);

/* watch.c: the look itself. */
crdma_status_t crdma_watch(crdma_op_t *op, crdma_edge_t *edge);
/* Compare the histories of calls with a direct peer that is alive: CRDMA_OK, or the error of having found a
 * difference, reported. */
crdma_status_t crdma_watch_compare(crdma_op_t *op, crdma_edge_t *edge);
/* fail.c: report once, fail the group, tell the others. Returns status. */
crdma_status_t crdma_op_fail(crdma_op_t *op, crdma_edge_t *edge, crdma_status_t status);

/* fail.c: a call on a group that has failed, or that another rank has declared failed. */
crdma_status_t crdma_group_refuse(crdma_group_t *group);

/* run_ll.c: the whole operation when every message is an LL message to a direct peer. */
crdma_status_t crdma_op_run_ll(crdma_op_t *op);

/* run_pair.c: the whole call, unless something is in the way; false: nothing was done. */
bool crdma_op_run_pair(crdma_group_t *group, const crdma_op_args_t *args, crdma_status_t *status);

/* group_board.c: decide whether there is one, and make it (rank 0); no board, as before; its memory back to the slab;
 * the region of a direct rank, edge or not. */
void crdma_group_set_board(crdma_group_t *group, bool wanted);
void crdma_group_drop_board(crdma_group_t *group);
void crdma_board_release(crdma_slab_t *slab, crdma_addr_t addr, size_t size);
crdma_region_t *crdma_group_peer_region(const crdma_group_t *group, int rank);

/* run_board.c: the whole call through the board; false: nothing was done. */
bool crdma_op_run_board(crdma_group_t *group, const crdma_op_args_t *args, crdma_status_t *status);

/* The call becomes the group's next one: its number, and its signature with it. What this rank calls is
 * told to peers that wait for it (watch.c): seq last; sig after all of the calls before. */
static inline void crdma_group_set_call(crdma_group_t *g, uint64_t sig, uint64_t seq)
{
    crdma_call_t *call = &g->region->history[seq % CRDMA_HISTORY];

    g->seq = seq;
    __atomic_store_n(&call->sig, sig, __ATOMIC_RELEASE);
    __atomic_store_n(&call->seq, seq, __ATOMIC_RELEASE);
}

static inline uint64_t crdma_group_count_call(crdma_group_t *g, uint64_t sig, uint64_t *seq)
{
    *seq = g->seq + 1;
    sig = crdma_sig_at_call(sig, *seq);
    crdma_group_set_call(g, sig, *seq);
    return sig;
}

/* The part of an operation's state that waiting and failing need. */
void crdma_op_adopt(crdma_op_t *op, const crdma_op_args_t *args, uint64_t seq, uint64_t sig);

/* Bytes between the copies of two LL operands in scratch: each starts on a cache line. */
static inline size_t crdma_op_ll_stride(const crdma_op_t *op)
{
    return (crdma_group_ll_max(op->group) + CRDMA_LINE) / CRDMA_LINE * CRDMA_LINE;
}

static inline void crdma_op_combine(const crdma_op_t *op, void *dst, const void *const *src,
                                    int nsrc, size_t count)
{
    if (NULL != op->args.reducer.kernel) {
        op->args.reducer.kernel(dst, src, nsrc, count);
    } else {
        op->args.reducer.call(op->args.reducer.context, dst, src, nsrc, count);
    }
}

#endif
