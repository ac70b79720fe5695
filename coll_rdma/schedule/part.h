/*
 * A part of a schedule: one algorithm among one group of ranks.
 *
 * Every generator works on a part, never on the whole communicator, so the same generators
 * serve one level (the group is everybody) and two levels (the ranks of a node, the leaders).
 * Inside a generator "member i" is the i-th of the group; only crdma_group_rank turns
 * it into a rank. A group lists its ranks in ascending order when order matters.
 */
#ifndef CRDMA_SCHEDULE_PART_H
#define CRDMA_SCHEDULE_PART_H

#include "coll_rdma/schedule/schedule.h"

typedef struct crdma_group {
    const int *ranks; /* rank of each member; NULL: member i is rank i */
    int size;
    int me;   /* which member this schedule is for */
    int root; /* which member is the root; 0 where there is none */
} crdma_group_t;

typedef struct crdma_part {
    crdma_group_t group;
    int degree;      /* 1 <= K; no more than size - 1 matter */
    int ordered;     /* combine operands in the order of members */
    crdma_buf_t in;  /* holds this member's contribution */
    crdma_buf_t acc; /* where this member may build results; may equal in */
} crdma_part_t;

static inline int crdma_group_rank(const crdma_group_t *group, int member)
{
    return NULL == group->ranks ? member : group->ranks[member];
}

/* The radix K+1 of a part, at least 2 and at most the size of its group. */
static inline int crdma_part_radix(const crdma_part_t *part)
{
    int radix = part->degree >= part->group.size ? part->group.size : part->degree + 1;

    return radix < 2 ? 2 : radix;
}

/* n things cut into `parts` contiguous ranges whose lengths differ by at most one. */
typedef struct crdma_split {
    int n;
    int parts; /* 1 <= parts <= n */
} crdma_split_t;

static inline int crdma_split_first(crdma_split_t s, int part)
{
    int longer = s.n % s.parts;

    return part * (s.n / s.parts) + (part < longer ? part : longer);
}

static inline int crdma_split_count(crdma_split_t s, int part)
{
    return s.n / s.parts + (part < s.n % s.parts);
}

static inline int crdma_split_find(crdma_split_t s, int thing)
{
    int shorter = s.n / s.parts, longer = s.n % s.parts;
    int in_longer = longer * (shorter + 1);

    return thing < in_longer ? thing / (shorter + 1) : longer + (thing - in_longer) / shorter;
}

#endif
