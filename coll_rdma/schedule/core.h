/*
 * The core of an exchange: M of the N members of a group, M = f1 * f2 * .. * fR with
 * factors of at most K+1, and R rounds in which groups of f members exchange. What N cannot be
 * factored into is folded: the members are cut into M adjacent groups, each has one core member
 * (its leader), the others (followers) hand their contribution in and get the result back.
 *
 *     N = 7, K = 3: M = 4      members   0 1 | 2 3 | 4 5 | 6
 *                              core      0     1     2     3      one round of 4
 *
 * Invariants: groups are contiguous and ascending, so core member i stands for a contiguous
 * range of members, below that of i + 1. In round r core members exchange whose numbers differ
 * only in digit r (mixed radix, digit 1 the least significant): after it each stands for a
 * contiguous range again, and the operands in the order of the digit are in the order of members.
 */
#ifndef CRDMA_SCHEDULE_CORE_H
#define CRDMA_SCHEDULE_CORE_H

#include "coll_rdma/schedule/build.h"
#include "coll_rdma/schedule/part.h"

#define CRDMA_CORE_MAX_ROUNDS 31

typedef enum crdma_core_goal {
    CRDMA_CORE_FEW_ROUNDS,   /* least rounds (folding costs two), then least messages in sequence */
    CRDMA_CORE_FEW_FOLLOWERS /* smallest groups (folding moves whole vectors), then least rounds */
} crdma_core_goal_t;

typedef struct crdma_core {
    crdma_split_t groups; /* the members cut into M groups */
    int root;             /* this member leads its group; -1: every group's first member leads */
    int nrounds;          /* R; 0 only if N == 1 */
    int factor[CRDMA_CORE_MAX_ROUNDS]; /* descending: the largest groups are the nearest members */
    int me;                            /* the core member of this member's group */
    int leader;                        /* its member number */
} crdma_core_t;

/* `root`: the member that must be in the core, or -1. */
void crdma_core_init(crdma_core_t *core, const crdma_part_t *part, int root,
                     crdma_core_goal_t goal);

/* The factors only: R, with M as their product. */
int crdma_core_factor(int size, int radix, crdma_core_goal_t goal, int *factor, int *product);

/* The member number of core member i. */
int crdma_core_member(const crdma_core_t *core, int i);

static inline int crdma_core_follows(const crdma_core_t *core, const crdma_part_t *part)
{
    return part->group.me != core->leader;
}

/* A leader reduces its group's contributions into acc and answers with the buffer that holds its
 * value; a follower sends its contribution. */
crdma_buf_t crdma_core_fold_in(crdma_build_t *b, const crdma_part_t *part,
                               const crdma_core_t *core);

/* A leader sends the result in acc to its followers, a follower receives it into acc. */
void crdma_core_fold_out(crdma_build_t *b, const crdma_part_t *part, const crdma_core_t *core);

#endif
