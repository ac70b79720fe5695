/*
 * Two levels: inside the nodes, across their leaders, inside the nodes.
 *
 * 7 ranks on nodes {0 1 2} {3 4} {5 6}, allreduce:
 *
 *     tree reduce in each node      1 2 -> 0      4 -> 3      6 -> 5
 *     any algorithm among leaders            0 - 3 - 5
 *     tree broadcast in each node   0 -> 1 2      3 -> 4      5 -> 6
 *
 * A broadcast leaves out the first part, a reduce the last one; a barrier gathers and
 * releases by notifications.
 *
 * Conditions:
 * 1. The first rank of a node leads it, except that the root leads its own node. An ordered
 *    reduce needs the first rank as leader: if the root is another rank, the leader of
 *    its node forwards the result to it (the only message from a leader to a rank of its
 *    node in a reduce).
 * 2. Ordered: nodes of consecutive ranks only; then the leaders' values stand for
 *    contiguous ascending ranges of ranks.
 * 3. The parts use different edges, so each keeps its own order of messages. The tree in the
 *    node runs in the first and in the last phase of the leaders' part.
 * 4. A rank at depth h in its node waits for what comes down 2h segments later than its leader
 *    sends it (tree.c, condition 4), which takes the lag of the leader's part.
 */
#include <stdlib.h>
#include <string.h>

#include "coll_rdma/schedule/generators.h"
#include "coll_rdma/schedule/tree.h"

typedef struct crdma_twolevel {
    const crdma_sched_args_t *args;
    const crdma_generator_t *inter;
    crdma_part_t in_node; /* root: the leader */
    crdma_part_t across;  /* me: this rank's node, also where it does not lead */
    int root_node;
    int root_leader;      /* rank that leads the root's node */
    int leads;
    const int *leaders;   /* of all nodes */
    int *own_leaders;     /* storage, where they are not the first ranks of their nodes */
} crdma_twolevel_t;

/* One pass over the ranks for the leaders and counts, one for the members. */
static crdma_status_t scan_nodes(const int *node, int size, int nnodes, crdma_sched_nodes_t *n)
{
    int known = 0;

    memset(n->first, 0, ((size_t)nnodes + 1) * sizeof(int));
    for (int r = 0; r < size; r++) {
        if (node[r] < 0 || node[r] > known || node[r] >= nnodes) {
            return CRDMA_ERR_PARAM;
        }
        if (node[r] == known) {
            n->leaders[known++] = r;
        }
        n->descends |= r > 0 && node[r] < node[r - 1];
        n->first[node[r] + 1]++;
    }
    if (known != nnodes) {
        return CRDMA_ERR_PARAM;
    }
    for (int i = 0; i < nnodes; i++) {
        n->first[i + 1] += n->first[i];
    }
    for (int r = 0; r < size; r++) {
        n->members[n->first[node[r]]++] = r; /* first[i] becomes first[i + 1] */
    }
    memmove(n->first + 1, n->first, (size_t)nnodes * sizeof(int));
    n->first[0] = 0;
    return CRDMA_OK;
}

crdma_status_t crdma_sched_nodes_create(const int *node, int size, int nnodes,
                                        crdma_sched_nodes_t *nodes)
{
    crdma_sched_nodes_t n = {0};

    if (size < 1 || nnodes < 1 || nnodes > size) {
        return CRDMA_ERR_PARAM;
    }
    n.leaders = malloc((2 * (size_t)nnodes + 1 + (size_t)size) * sizeof(int)); /* all three */
    if (NULL == n.leaders) {
        return CRDMA_ERR_NOMEM;
    }
    n.first = n.leaders + nnodes;
    n.members = n.first + nnodes + 1;
    crdma_status_t status = scan_nodes(node, size, nnodes, &n);
    if (CRDMA_OK != status) {
        free(n.leaders);
        return status;
    }
    *nodes = n;
    return CRDMA_OK;
}

void crdma_sched_nodes_free(crdma_sched_nodes_t *nodes)
{
    free(nodes->leaders);
    *nodes = (crdma_sched_nodes_t){0};
}

/* The leaders, with the root in the place of its node's first rank where it leads. */
static crdma_status_t choose_leaders(crdma_twolevel_t *t, const crdma_sched_nodes_t *nodes)
{
    const crdma_sched_args_t *args = t->args;
    int rooted = CRDMA_BCAST == args->coll || CRDMA_REDUCE == args->coll;
    int root_node = rooted ? args->node[args->root] : 0;

    t->leaders = nodes->leaders;
    t->root_node = root_node;
    if (!rooted || (CRDMA_REDUCE == args->coll && args->ordered)
        || nodes->leaders[root_node] == args->root) {
        return CRDMA_OK;
    }
    t->own_leaders = malloc((size_t)args->nnodes * sizeof(int));
    if (NULL == t->own_leaders) {
        return CRDMA_ERR_NOMEM;
    }
    memcpy(t->own_leaders, nodes->leaders, (size_t)args->nnodes * sizeof(int));
    t->own_leaders[root_node] = args->root;
    t->leaders = t->own_leaders;
    return CRDMA_OK;
}

static crdma_status_t make_parts(crdma_twolevel_t *t, const crdma_sched_nodes_t *nodes)
{
    const crdma_sched_args_t *args = t->args;
    int node = args->node[args->rank];
    const int *members = nodes->members + nodes->first[node];
    int nmembers = nodes->first[node + 1] - nodes->first[node];
    crdma_status_t status = choose_leaders(t, nodes);

    if (CRDMA_OK != status) {
        return status;
    }
    int to_tmp = CRDMA_REDUCE == args->coll && args->rank != args->root;
    int me = 0, leader = 0;
    for (int i = 0; i < nmembers; i++) {
        me = members[i] == args->rank ? i : me;
        leader = members[i] == t->leaders[node] ? i : leader;
    }
    t->root_leader = t->leaders[t->root_node];
    t->leads = t->leaders[node] == args->rank;
    t->in_node = (crdma_part_t){.group = {members, nmembers, me, leader},
                                .degree = args->degree,
                                .ordered = args->ordered,
                                .in = CRDMA_BUF_IN,
                                .acc = to_tmp ? CRDMA_BUF_TMP : CRDMA_BUF_OUT};
    t->across = t->in_node;
    t->across.group = (crdma_group_t){t->leaders, args->nnodes, node, t->root_node};
    t->across.degree = args->inter_degree;
    return CRDMA_OK;
}

/* The lag of this rank's node's leader when it has the result: its part is built for that alone. */
static crdma_status_t leader_skew(const crdma_twolevel_t *t, int nblocks, int *skew)
{
    crdma_build_t trial;
    crdma_status_t status = crdma_build_init(&trial, nblocks);

    if (CRDMA_OK == status) {
        t->inter->generate(&trial, &t->across);
        *skew = crdma_build_skew(&trial);
        crdma_build_abort(&trial);
    }
    return status;
}

static crdma_status_t enter_last_phase(crdma_build_t *b, const crdma_twolevel_t *t)
{
    int skew = 0;
    crdma_status_t status = leader_skew(t, b->sched->nblocks, &skew);

    crdma_build_phase(b, 1, skew + 2 * crdma_tree_depth(&t->in_node, t->in_node.group.root));
    return status;
}

static crdma_status_t bcast(crdma_build_t *b, crdma_twolevel_t *t)
{
    if (t->leads) {
        t->inter->generate(b, &t->across);
    }
    crdma_tree_down(b, &t->in_node, t->in_node.group.root, t->in_node.acc, b->sched->nblocks);
    return CRDMA_OK;
}

static crdma_status_t reduce(crdma_build_t *b, crdma_twolevel_t *t, crdma_buf_t *result)
{
    int root = t->args->root, rank = t->args->rank;
    crdma_status_t status = CRDMA_OK;

    t->across.in = crdma_tree_up(b, &t->in_node, t->in_node.group.root);
    *result = t->across.in;
    if (t->leads) {
        *result = t->inter->generate(b, &t->across);
    }
    if (root != t->root_leader && rank == t->root_leader) {
        crdma_build_send(b, *result, root, 0, b->sched->nblocks);
    } else if (root != t->root_leader && rank == root) {
        status = enter_last_phase(b, t);
        crdma_build_recv(b, t->in_node.acc, t->root_leader, 0, b->sched->nblocks);
        *result = t->in_node.acc;
    }
    return status;
}

static crdma_status_t allreduce(crdma_build_t *b, crdma_twolevel_t *t, crdma_buf_t *result)
{
    crdma_status_t status = CRDMA_OK;

    t->across.in = crdma_tree_up(b, &t->in_node, t->in_node.group.root);
    *result = t->in_node.acc;
    if (t->leads) {
        *result = t->inter->generate(b, &t->across);
    } else {
        status = enter_last_phase(b, t);
    }
    crdma_tree_down(b, &t->in_node, t->in_node.group.root, *result, b->sched->nblocks);
    return status;
}

static crdma_status_t barrier(crdma_build_t *b, crdma_twolevel_t *t)
{
    crdma_tree_gather(b, &t->in_node, t->in_node.group.root);
    if (t->leads) {
        t->inter->generate(b, &t->across);
    }
    crdma_tree_down(b, &t->in_node, t->in_node.group.root, t->in_node.acc, 0);
    return CRDMA_OK;
}

static crdma_status_t generate(crdma_build_t *b, crdma_twolevel_t *t, crdma_buf_t *result)
{
    switch (t->args->coll) {
    case CRDMA_BCAST:
        return bcast(b, t);
    case CRDMA_REDUCE:
        return reduce(b, t, result);
    case CRDMA_ALLREDUCE:
        return allreduce(b, t, result);
    default:
        return barrier(b, t);
    }
}

crdma_status_t crdma_generate_twolevel(crdma_build_t *b, const crdma_sched_args_t *args,
                                       const crdma_generator_t *inter, crdma_buf_t *result)
{
    crdma_twolevel_t t = {.args = args, .inter = inter};
    crdma_sched_nodes_t own = {0};
    const crdma_sched_nodes_t *nodes = NULL != args->nodes ? args->nodes : &own;
    crdma_status_t status = CRDMA_OK;

    *result = CRDMA_BUF_OUT;
    if (nodes == &own) {
        status = crdma_sched_nodes_create(args->node, args->size, args->nnodes, &own);
    }
    if (CRDMA_OK == status && args->ordered && nodes->descends) {
        status = CRDMA_ERR_UNSUPPORTED;
    }
    if (CRDMA_OK == status) {
        status = make_parts(&t, nodes);
    }
    if (CRDMA_OK == status) {
        status = generate(b, &t, result);
    }
    free(t.own_leaders);
    crdma_sched_nodes_free(&own);
    return status;
}
