/*
 * Pipelined chains: broadcast and reduce of large messages in many segments. Degree K is the
 * number of chains that hang on the root; K = 1 is the single pipeline, where each rank
 * sends (or takes) every byte once.
 *
 * The positions other than the root's are cut into contiguous chains. Broadcast flows away
 * from the root, reduce towards it. N = 6, K = 2, root 0, and an ordered reduce to root 2:
 *
 *     0 <- 1 <- 2 <- 3             2 <- 0 <- 1        root folds (0, SELF, 3)
 *     0 <- 4 <- 5                  2 <- 3 <- 4 <- 5
 *
 * Conditions:
 * 1. Positions are virtual ranks (member - root) mod N, or the members themselves when a reduce is
 *    ordered. A chain covers contiguous positions and each member folds (SELF, what follows);
 *    the root folds the chains below it, SELF, the chains above it: order of positions. An
 *    ordered reduce to a root in the middle has a chain on either side, even if K = 1.
 * 2. One message per edge and segment, one phase: segments follow each other along the chain.
 */
#include "coll_rdma/schedule/generators.h"

typedef struct crdma_chains {
    const crdma_group_t *group;
    int rotation;        /* position = (member - rotation) mod N */
    int root;            /* position of the root */
    crdma_split_t below; /* positions 0 .. root-1 in chains; parts = 0: none */
    crdma_split_t above; /* positions root+1 .. N-1 */
} crdma_chains_t;

/* A member's neighbours, positions; -1: none. */
typedef struct crdma_chain_place {
    int inner; /* towards the root */
    int outer;
} crdma_chain_place_t;

static int clamp(int64_t value, int low, int high)
{
    return value < low ? low : value > high ? high : (int)value;
}

static crdma_chains_t make_chains(const crdma_part_t *part, int ordered)
{
    const crdma_group_t *group = &part->group;
    int n = group->size;
    crdma_chains_t c = {
        .group = group, .rotation = ordered ? 0 : group->root, .root = ordered ? group->root : 0};
    int degree = part->degree < n ? part->degree : n;

    c.below.n = c.root;
    c.above.n = n - 1 - c.root;
    if (c.below.n > 0) {
        c.below.parts = clamp((int64_t)degree * c.below.n / (n - 1), 1, c.below.n);
    }
    if (c.above.n > 0) {
        c.above.parts = clamp(degree - c.below.parts, 1, c.above.n);
    }
    return c;
}

static int position_rank(const crdma_chains_t *c, int position)
{
    return crdma_group_rank(c->group, (int)(((int64_t)position + c->rotation) % c->group->size));
}

static int my_position(const crdma_chains_t *c)
{
    int p = c->group->me - c->rotation;

    return p < 0 ? p + c->group->size : p;
}

/* The place of a position that is not the root's. */
static crdma_chain_place_t place(const crdma_chains_t *c, int position)
{
    int offset = position < c->root ? 0 : c->root + 1;
    crdma_split_t side = position < c->root ? c->below : c->above;
    int chain = crdma_split_find(side, position - offset);
    int first = crdma_split_first(side, chain) + offset;
    int last = first + crdma_split_count(side, chain) - 1;

    return (crdma_chain_place_t){.inner = position == first ? c->root : position - 1,
                                 .outer = position == last ? -1 : position + 1};
}

crdma_buf_t crdma_generate_chain_bcast(crdma_build_t *b, const crdma_part_t *part)
{
    crdma_chains_t c = make_chains(part, 0);
    int p = my_position(&c), nblocks = b->sched->nblocks;

    if (p == c.root) {
        for (int i = 0; i < c.above.parts; i++) {
            int head = crdma_split_first(c.above, i) + c.root + 1;
            crdma_build_send(b, part->acc, position_rank(&c, head), 0, nblocks);
        }
        return part->acc;
    }
    crdma_chain_place_t at = place(&c, p);
    crdma_build_recv(b, part->acc, position_rank(&c, at.inner), 0, nblocks);
    if (at.outer >= 0) {
        crdma_build_send(b, part->acc, position_rank(&c, at.outer), 0, nblocks);
    }
    return part->acc;
}

crdma_buf_t crdma_generate_chain_reduce(crdma_build_t *b, const crdma_part_t *part)
{
    crdma_chains_t c = make_chains(part, part->ordered);
    int p = my_position(&c), nblocks = b->sched->nblocks;
    crdma_buf_t value = part->in;

    if (1 == part->group.size) {
        return part->in;
    }
    if (p == c.root) {
        crdma_build_reduce(b, part->acc, part->in, 0, nblocks);
        for (int i = 0; i < c.below.parts; i++) {
            crdma_build_operand(b, position_rank(&c, crdma_split_first(c.below, i)));
        }
        crdma_build_operand(b, CRDMA_SELF);
        for (int i = 0; i < c.above.parts; i++) {
            int head = crdma_split_first(c.above, i) + c.root + 1;
            crdma_build_operand(b, position_rank(&c, head));
        }
        return part->acc;
    }
    crdma_chain_place_t at = place(&c, p);
    if (at.outer >= 0) {
        crdma_build_reduce(b, part->acc, part->in, 0, nblocks);
        crdma_build_operand(b, CRDMA_SELF);
        crdma_build_operand(b, position_rank(&c, at.outer));
        value = part->acc;
    }
    crdma_build_send(b, value, position_rank(&c, at.inner), 0, nblocks);
    return value;
}
