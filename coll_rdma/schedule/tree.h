/*
 * The (K+1)-nomial tree on virtual ranks 0 .. N-1, root 0, and the two ways along it.
 */
#ifndef CRDMA_SCHEDULE_TREE_H
#define CRDMA_SCHEDULE_TREE_H

#include "coll_rdma/schedule/build.h"
#include "coll_rdma/schedule/part.h"

typedef struct crdma_tree_node {
    int parent; /* virtual rank; -1: none */
    int span;   /* the subtree is the virtual ranks [v, v + span) */
    int depth;  /* edges to the root */
} crdma_tree_node_t;

/* The place of virtual rank v in the tree of `size` virtual ranks with radix K+1 >= 2. */
crdma_tree_node_t crdma_tree_place(int size, int radix, int v);

/* Children of v in ascending order (they come with ascending subtrees), or largest subtree first.
 */
typedef enum crdma_tree_order { CRDMA_TREE_ASCENDING, CRDMA_TREE_LARGEST_FIRST } crdma_tree_order_t;
typedef void (*crdma_tree_visit_fn_t)(void *ctx, int child);
void crdma_tree_children(int size, int radix, int v, crdma_tree_order_t order,
                         crdma_tree_visit_fn_t visit, void *ctx);

/* Edges between the part's member and member `root` of its tree rooted there. */
int crdma_tree_depth(const crdma_part_t *part, int root);

/* Reduce the whole vector towards member `root`; answers with the buffer of the partial result. */
crdma_buf_t crdma_tree_up(crdma_build_t *b, const crdma_part_t *part, int root);

/* Pass blocks [0, n) of buf on from member `root`; n = 0: a notification. */
void crdma_tree_down(crdma_build_t *b, const crdma_part_t *part, int root, crdma_buf_t buf, int n);

/* Notifications towards member `root`: it has heard of all members at the end. */
void crdma_tree_gather(crdma_build_t *b, const crdma_part_t *part, int root);

#endif
