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

#include "coll_rdma/schedule/generators.h"
#include "coll_rdma/schedule/tree.h"

typedef struct crdma_twolevel {
    const crdma_sched_args_t *args;
    const crdma_generator_t *inter;
    crdma_part_t in_node; /* root: the leader */
    crdma_part_t across;  /* me: this rank's node, also where it does not lead */
    int root_leader;      /* rank that leads the root's node */
    int leads;
    int *ranks; /* storage of both groups */
} crdma_twolevel_t;

/* The leaders (first ranks) and the ranks of this node; CRDMA_ERR_PARAM if args->node is not
 * numbered by first appearance. */
static crdma_status_t scan_nodes(const crdma_sched_args_t *args, int *leaders, int *members,
                                 int *nmembers)
{
    int nodes = 0, descends = 0;

    *nmembers = 0;
    for (int r = 0; r < args->size; r++) {
        if (args->node[r] < 0 || args->node[r] > nodes || args->node[r] >= args->nnodes) {
            return CRDMA_ERR_PARAM;
        }
        if (args->node[r] == nodes) {
            leaders[nodes++] = r;
        }
        descends |= r > 0 && args->node[r] < args->node[r - 1];
        if (args->node[r] == args->node[args->rank]) {
            members[(*nmembers)++] = r;
        }
    }
    if (nodes != args->nnodes) {
        return CRDMA_ERR_PARAM;
    }
    return args->ordered && descends ? CRDMA_ERR_UNSUPPORTED : CRDMA_OK;
}

static crdma_status_t make_parts(crdma_twolevel_t *t, const crdma_sched_args_t *args)
{
    int *leaders = malloc(((size_t)args->nnodes + (size_t)args->size) * sizeof(int));

    if (NULL == leaders) {
        return CRDMA_ERR_NOMEM;
    }
    int *members = leaders + args->nnodes, nmembers;
    crdma_status_t status = scan_nodes(args, leaders, members, &nmembers);
    if (CRDMA_OK != status) {
        free(leaders);
        return status;
    }
    int rooted = CRDMA_BCAST == args->coll || CRDMA_REDUCE == args->coll;
    int node = args->node[args->rank], root_node = rooted ? args->node[args->root] : 0;
    if (rooted && !(CRDMA_REDUCE == args->coll && args->ordered)) {
        leaders[root_node] = args->root;
    }
    int to_tmp = CRDMA_REDUCE == args->coll && args->rank != args->root;
    int me = 0, leader = 0;
    for (int i = 0; i < nmembers; i++) {
        me = members[i] == args->rank ? i : me;
        leader = members[i] == leaders[node] ? i : leader;
    }
    t->ranks = leaders;
    t->root_leader = leaders[root_node];
    t->leads = leaders[node] == args->rank;
    t->in_node = (crdma_part_t){.group = {members, nmembers, me, leader},
                                .degree = args->degree,
                                .ordered = args->ordered,
                                .in = CRDMA_BUF_IN,
                                .acc = to_tmp ? CRDMA_BUF_TMP : CRDMA_BUF_OUT};
    t->across = t->in_node;
    t->across.group = (crdma_group_t){leaders, args->nnodes, node, root_node};
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

crdma_status_t crdma_generate_twolevel(crdma_build_t *b, const crdma_sched_args_t *args,
                                       const crdma_generator_t *inter, crdma_buf_t *result)
{
    crdma_twolevel_t t = {.args = args, .inter = inter};
    crdma_status_t status = make_parts(&t, args);

    *result = CRDMA_BUF_OUT;
    if (CRDMA_OK != status) {
        return status;
    }
    switch (args->coll) {
    case CRDMA_BCAST:
        status = bcast(b, &t);
        break;
    case CRDMA_REDUCE:
        status = reduce(b, &t, result);
        break;
    case CRDMA_ALLREDUCE:
        status = allreduce(b, &t, result);
        break;
    default:
        status = barrier(b, &t);
        break;
    }
    free(t.ranks);
    return status;
}
