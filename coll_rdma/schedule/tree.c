/*
 * Degree-K tree: broadcast, reduce, allreduce = reduce + broadcast, barrier = gather + release.
 *
 * The tree is the one of Gupta, Panda, Balaji and Nieplocha 2003 (degree-K allreduce): a
 * (K+1)-nomial tree; K = 1 is the binomial tree, K = N-1 the flat one. On virtual ranks
 * v = (member - root) mod N, written in radix k = K+1, the parent of v is v with its
 * lowest nonzero digit cleared. N = 8, K = 3:
 *
 *            0                  level 0 (distance 1): 1 2 3 -> 0 and 5 6 7 -> 4
 *         / / \ \               level 1 (distance 4): 4 -> 0
 *        1 2   3 4
 *              / | \            a rank takes from all its children, of all levels, in one
 *             5  6  7           step: 0 folds (0, 1, 2, 3, 4), 4 folds (4, 5, 6, 7)
 *
 * Conditions:
 * 1. The subtree of v is [v, v + span), and the children of v in ascending order cut
 *    [v + 1, v + span) into contiguous ranges. So SELF and the children in ascending order
 *    are operands in the order of virtual ranks.
 * 2. Only the root computes a result, and the others copy it: identical bits.
 * 3. An ordered reduce to a root other than member 0 would fold in a rotated order, so it goes
 *    to member 0, which forwards the result. The forward is the only message to a higher member.
 * 4. Pipelining: in an allreduce a member at depth h waits for segment s of the way down while
 *    it sends segment s + 2h up. The lag must grow with the depth (a parent's turn t then needs
 *    turns <= t of its children, a child's turn t needs turn t - 2 of its parent): with
 *    one lag for everybody each turn would take the way up and down the whole tree.
 */
#include "coll_rdma/schedule/tree.h"

#include "coll_rdma/schedule/generators.h"

crdma_tree_node_t crdma_tree_place(int size, int radix, int v)
{
    crdma_tree_node_t node = {.parent = -1, .span = size, .depth = 0};
    int64_t mask = 1;

    if (0 == v) {
        return node;
    }
    while (0 == v % (mask * radix)) {
        mask *= radix;
    }
    node.parent = (int)(v - v % (mask * radix));
    node.span = mask < size - v ? (int)mask : size - v;
    for (int rest = v; rest > 0; rest /= radix) {
        node.depth += 0 != rest % radix;
    }
    return node;
}

static void children_of_level(int size, int radix, int v, int64_t mask, int64_t end,
                              crdma_tree_visit_fn_t visit, void *ctx)
{
    for (int64_t j = 1; j < radix && v + j * mask < size && v + j * mask < end; j++) {
        visit(ctx, (int)(v + j * mask));
    }
}

void crdma_tree_children(int size, int radix, int v, crdma_tree_order_t order,
                         crdma_tree_visit_fn_t visit, void *ctx)
{
    int span = crdma_tree_place(size, radix, v).span;
    int64_t mask = 1;

    if (span <= 1) {
        return;
    }
    if (CRDMA_TREE_ASCENDING == order) {
        for (; mask < span; mask *= radix) {
            children_of_level(size, radix, v, mask, (int64_t)v + span, visit, ctx);
        }
        return;
    }
    while (mask * radix < span) {
        mask *= radix;
    }
    /* the last child's subtree may be cut off by N: it takes its turn by its size */
    int cut = (int)(v + (span - 1) / mask * mask);
    int cut_span = v + span - cut;

    children_of_level(size, radix, v, mask, cut, visit, ctx);
    for (mask /= radix; mask > 0; mask /= radix) {
        if (cut_span > mask) {
            visit(ctx, cut);
            cut_span = 0;
        }
        children_of_level(size, radix, v, mask, (int64_t)v + span, visit, ctx);
    }
    if (cut_span > 0) {
        visit(ctx, cut);
    }
}

/* What the visitors need: which way, and how virtual ranks map to ranks. */
typedef struct crdma_tree_walk {
    crdma_build_t *build;
    const crdma_group_t *group;
    int root;
    crdma_buf_t buf;
    int nblocks;
} crdma_tree_walk_t;

static int walk_rank(const crdma_tree_walk_t *w, int v)
{
    return crdma_group_rank(w->group, (int)(((int64_t)v + w->root) % w->group->size));
}

static int virtual_rank(const crdma_group_t *group, int root)
{
    return group->me >= root ? group->me - root : group->me - root + group->size;
}

static void visit_operand(void *ctx, int child)
{
    crdma_tree_walk_t *w = ctx;

    crdma_build_operand(w->build, walk_rank(w, child));
}

static void visit_send(void *ctx, int child)
{
    crdma_tree_walk_t *w = ctx;

    crdma_build_send(w->build, w->buf, walk_rank(w, child), 0, w->nblocks);
}

static void visit_recv(void *ctx, int child)
{
    crdma_tree_walk_t *w = ctx;

    crdma_build_recv(w->build, w->buf, walk_rank(w, child), 0, w->nblocks);
}

int crdma_tree_depth(const crdma_part_t *part, int root)
{
    return crdma_tree_place(part->group.size, crdma_part_radix(part),
                            virtual_rank(&part->group, root))
        .depth;
}

crdma_buf_t crdma_tree_up(crdma_build_t *b, const crdma_part_t *part, int root)
{
    const crdma_group_t *group = &part->group;
    int radix = crdma_part_radix(part), v = virtual_rank(group, root);
    int nblocks = b->sched->nblocks;
    crdma_tree_node_t node = crdma_tree_place(group->size, radix, v);
    crdma_tree_walk_t walk = {b, group, root, part->acc, nblocks};
    crdma_buf_t buf = part->in;

    if (node.span > 1) {
        buf = part->acc;
        crdma_build_reduce(b, buf, part->in, 0, nblocks);
        crdma_build_operand(b, CRDMA_SELF);
        crdma_tree_children(group->size, radix, v, CRDMA_TREE_ASCENDING, visit_operand, &walk);
    }
    if (node.parent >= 0) {
        crdma_build_send(b, buf, walk_rank(&walk, node.parent), 0, nblocks);
    }
    return buf;
}

void crdma_tree_down(crdma_build_t *b, const crdma_part_t *part, int root, crdma_buf_t buf, int n)
{
    const crdma_group_t *group = &part->group;
    int radix = crdma_part_radix(part), v = virtual_rank(group, root);
    crdma_tree_node_t node = crdma_tree_place(group->size, radix, v);
    crdma_tree_walk_t walk = {b, group, root, buf, n};

    if (node.parent >= 0) {
        crdma_build_recv(b, buf, walk_rank(&walk, node.parent), 0, n);
    }
    crdma_tree_children(group->size, radix, v, CRDMA_TREE_LARGEST_FIRST, visit_send, &walk);
}

void crdma_tree_gather(crdma_build_t *b, const crdma_part_t *part, int root)
{
    const crdma_group_t *group = &part->group;
    int radix = crdma_part_radix(part), v = virtual_rank(group, root);
    crdma_tree_node_t node = crdma_tree_place(group->size, radix, v);
    crdma_tree_walk_t walk = {b, group, root, part->acc, 0};

    crdma_tree_children(group->size, radix, v, CRDMA_TREE_ASCENDING, visit_recv, &walk);
    if (node.parent >= 0) {
        crdma_build_send(b, part->acc, walk_rank(&walk, node.parent), 0, 0);
    }
}

crdma_buf_t crdma_generate_tree_bcast(crdma_build_t *b, const crdma_part_t *part)
{
    crdma_tree_down(b, part, part->group.root, part->acc, b->sched->nblocks);
    return part->acc;
}

crdma_buf_t crdma_generate_tree_reduce(crdma_build_t *b, const crdma_part_t *part)
{
    const crdma_group_t *group = &part->group;
    int top = part->ordered ? 0 : group->root;
    crdma_buf_t buf = crdma_tree_up(b, part, top);

    if (top != group->root && group->me == top) {
        crdma_build_send(b, buf, crdma_group_rank(group, group->root), 0, b->sched->nblocks);
    } else if (top != group->root && group->me == group->root) {
        crdma_build_phase(b, 1, 2 * crdma_tree_depth(part, top));
        crdma_build_recv(b, part->acc, crdma_group_rank(group, top), 0, b->sched->nblocks);
        buf = part->acc;
    }
    return buf;
}

crdma_buf_t crdma_generate_tree_allreduce(crdma_build_t *b, const crdma_part_t *part)
{
    if (1 == part->group.size) {
        return part->in;
    }
    crdma_tree_up(b, part, 0);
    crdma_build_phase(b, 1, 2 * crdma_tree_depth(part, 0));
    crdma_tree_down(b, part, 0, part->acc, b->sched->nblocks);
    return part->acc;
}

crdma_buf_t crdma_generate_tree_barrier(crdma_build_t *b, const crdma_part_t *part)
{
    crdma_tree_gather(b, part, 0);
    crdma_tree_down(b, part, 0, part->acc, 0);
    return part->acc;
}
