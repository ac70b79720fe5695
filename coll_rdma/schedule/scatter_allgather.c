/*
 * Broadcast of large messages by scatter and allgather (van de Geijn), degree K in both halves.
 *
 * The vector has N blocks; block v belongs to virtual rank v = (member - root) mod N.
 * Scatter goes down the (K+1)-nomial tree, each edge carrying the blocks of the child's
 * subtree. Allgather: before the round of distance d = 1, K+1, (K+1)^2, .. a member has blocks
 * [v, v + d) mod N; it gets those of v + d, v + 2d, .. v + Kd. N = 4, K = 1:
 *
 *     scatter     0 -> 2: 2 3    0 -> 1: 1    2 -> 3: 3
 *     has         0: 0 1 2 3     1: 1         2: 2 3      3: 3
 *     d = 1       1 gets 2 from 2             2: nothing  3 gets 0 from 0
 *     d = 2       1 gets 3 0 from 3           2 gets 0 1 from 0 (0 had them)   3 gets 1 2 from 1
 *
 * Conditions:
 * 1. Any N without a remainder: the last round leaves out what is beyond N blocks.
 * 2. A member never gets a block twice: those of its own subtree came with the scatter, and
 *    both ends of an edge leave them out. So nothing that was sent is ever overwritten.
 * 3. A range that wraps around N is two messages; both ends cut it alike.
 * 4. Some edges serve both halves. All members give the allgather the same lag, so the order
 *    of sends and receives agrees for any number of segments.
 */
#include "coll_rdma/schedule/generators.h"
#include "coll_rdma/schedule/tree.h"

typedef struct crdma_saa {
    crdma_build_t *build;
    const crdma_part_t *part;
    int n;
    int radix;
} crdma_saa_t;

static int member_rank(const crdma_saa_t *s, int64_t v)
{
    const crdma_group_t *group = &s->part->group;

    return crdma_group_rank(group, (int)((v + group->root) % s->n));
}

static void visit_scatter(void *ctx, int child)
{
    crdma_saa_t *s = ctx;

    crdma_build_send(s->build, s->part->acc, member_rank(s, child), child,
                     crdma_tree_place(s->n, s->radix, child).span);
}

typedef void (*crdma_message_fn_t)(crdma_build_t *b, crdma_buf_t buf, int peer, int block, int n);

/* The blocks [to + begin, to + end) mod N, cut where they wrap around. */
static void message(crdma_saa_t *s, crdma_message_fn_t emit, int peer, int to, int64_t begin,
                    int64_t end)
{
    crdma_buf_t buf = s->part->acc;
    int64_t from = to + begin, until = to + end;
    int rank = member_rank(s, peer);

    if (until <= s->n || from >= s->n) {
        emit(s->build, buf, rank, (int)(from % s->n), (int)(end - begin));
    } else {
        emit(s->build, buf, rank, (int)from, (int)(s->n - from));
        emit(s->build, buf, rank, 0, (int)(until - s->n));
    }
}

/* What virtual rank `to` still needs of the blocks of to + jd. */
static void need(crdma_saa_t *s, int to, int64_t jd, int64_t d, int64_t *begin, int64_t *end)
{
    int span = crdma_tree_place(s->n, s->radix, to).span;

    *begin = jd > span ? jd : span;
    *end = jd + d < s->n ? jd + d : s->n;
}

crdma_buf_t crdma_generate_scatter_allgather_bcast(crdma_build_t *b, const crdma_part_t *part)
{
    const crdma_group_t *group = &part->group;
    int n = group->size, radix = crdma_part_radix(part);
    int v = group->me >= group->root ? group->me - group->root : group->me - group->root + n;
    crdma_saa_t s = {b, part, n, radix};
    crdma_tree_node_t node = crdma_tree_place(n, radix, v);
    int64_t begin, end;

    if (node.parent >= 0) {
        crdma_build_recv(b, part->acc, member_rank(&s, node.parent), v, node.span);
    }
    crdma_tree_children(n, radix, v, CRDMA_TREE_LARGEST_FIRST, visit_scatter, &s);
    crdma_build_phase(b, 1, 1);
    for (int64_t d = 1; d < n; d *= radix) {
        for (int64_t j = 1; j < radix && j * d < n; j++) {
            int to = (int)((v + n - j * d) % n);

            need(&s, to, j * d, d, &begin, &end);
            if (begin < end) {
                message(&s, crdma_build_send, to, to, begin, end);
            }
        }
        for (int64_t j = 1; j < radix && j * d < n; j++) {
            int from = (int)((v + j * d) % n);

            need(&s, v, j * d, d, &begin, &end);
            if (begin < end) {
                message(&s, crdma_build_recv, from, v, begin, end);
            }
        }
    }
    return part->acc;
}
