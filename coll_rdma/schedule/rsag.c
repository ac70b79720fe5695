/*
 * Reduce-scatter and allgather (allreduce), reduce-scatter and gather (reduce), radix K+1:
 * Rabenseifner's algorithm with mixed-radix groups instead of halving and doubling.
 *
 * The vector has M blocks, M the size of the core (core.h). M = 6 = 3 * 2, core member 4:
 *
 *     reduce-scatter   round 1 {3 4 5}   has 0..5, keeps third 1:  2 3   sends 0 1, 4 5
 *                      round 2 {1 4}     has 2 3,  keeps half 1:   3     sends 2
 *     allgather        round 2 {1 4}     has 3,    gets 2:         2 3
 *                      round 1 {3 4 5}   has 2 3,  gets 0 1, 4 5:  0..5
 *
 * K = N-1 is the direct form: block j goes to member j, which folds it from everybody.
 *
 * Conditions:
 * 1. Round r cuts the member's current range into f equal contiguous ranges; digit d keeps the
 *    d-th. The way back runs the rounds in reverse, so ranges stay contiguous.
 * 2. Each block is folded in full by one member only, in the order of members (core.h), and
 *    the others copy it: identical bits.
 * 3. A directed edge inside round r carries exactly two messages per segment: reduce-scatter,
 *    then allgather (or gather). Both are waited for equally many phases after they were
 *    sent (one in round 1, none in the others), with equal lags on all core members, so the
 *    order of sends and receives on the edge agrees for any number of segments.
 * 4. The way back overwrites only ranges that this member sent away in the reduce-scatter and
 *    whose fold has been finished by their keeper: no wait for an own send can block.
 * Phases: 0 fold and sends of round 1; 1 the reductions; 2 the way back up to the sends of
 * round 1 (in phase 1 already if there is only one round); 3 (2) the last receives.
 */
#include "coll_rdma/schedule/core.h"
#include "coll_rdma/schedule/generators.h"

/* A member's place in one round: its group, and the blocks that it has before the round. */
typedef struct crdma_rsag_round {
    int factor;
    int stride; /* between the core numbers of the group */
    int digit;  /* of this member */
    int base;   /* core number of digit 0 */
    int block;  /* first block of the range before the round */
    int part;   /* blocks per digit: the range has factor * part */
} crdma_rsag_round_t;

int crdma_rsag_nblocks(int size, int degree)
{
    crdma_part_t part = {.group = {.size = size}, .degree = degree};
    int factor[CRDMA_CORE_MAX_ROUNDS], product;

    crdma_core_factor(size, crdma_part_radix(&part), CRDMA_CORE_FEW_FOLLOWERS, factor, &product);
    return product;
}

static int round_rank(const crdma_part_t *part, const crdma_core_t *core,
                      const crdma_rsag_round_t *round, int digit)
{
    return crdma_group_rank(&part->group,
                            crdma_core_member(core, round->base + digit * round->stride));
}

/* The reduce-scatter; the fold went before. */
static void scatter(crdma_build_t *b, const crdma_part_t *part, const crdma_core_t *core,
                    crdma_rsag_round_t *rounds, crdma_buf_t value)
{
    int block = 0, blocks = core->groups.parts;

    for (int r = 0, stride = 1; r < core->nrounds; stride *= core->factor[r++]) {
        int f = core->factor[r], digit = core->me / stride % f;
        crdma_rsag_round_t *round = &rounds[r];

        blocks /= f;
        *round = (crdma_rsag_round_t){.factor = f,
                                      .stride = stride,
                                      .digit = digit,
                                      .base = core->me - digit * stride,
                                      .block = block,
                                      .part = blocks};
        for (int j = 1; j < f; j++) {
            int to = (digit + j) % f;
            crdma_build_send(b, value, round_rank(part, core, round, to), block + to * blocks,
                             blocks);
        }
        if (0 == r) {
            crdma_build_phase(b, 1, 1);
        }
        block += digit * blocks;
        crdma_build_reduce(b, part->acc, value, block, blocks);
        for (int j = 0; j < f; j++) {
            crdma_build_operand(b, j == digit ? CRDMA_SELF : round_rank(part, core, round, j));
        }
        value = part->acc;
    }
}

static void receive_others(crdma_build_t *b, const crdma_part_t *part, const crdma_core_t *core,
                           const crdma_rsag_round_t *round)
{
    for (int j = 0; j < round->factor; j++) {
        if (j != round->digit) {
            crdma_build_recv(b, part->acc, round_rank(part, core, round, j),
                             round->block + j * round->part, round->part);
        }
    }
}

crdma_buf_t crdma_generate_rsag_allreduce(crdma_build_t *b, const crdma_part_t *part)
{
    crdma_rsag_round_t rounds[CRDMA_CORE_MAX_ROUNDS];
    crdma_core_t core;

    if (1 == part->group.size) {
        return part->in;
    }
    crdma_core_init(&core, part, -1, CRDMA_CORE_FEW_FOLLOWERS);
    int back = 1 == core.nrounds ? 1 : 2; /* phase of the way back */
    crdma_buf_t value = crdma_core_fold_in(b, part, &core);

    if (crdma_core_follows(&core, part)) {
        crdma_build_phase(b, 1, back + 3);
        crdma_core_fold_out(b, part, &core);
        return part->acc;
    }
    scatter(b, part, &core, rounds, value);
    crdma_build_phase(b, back, back);
    for (int r = core.nrounds - 1; r >= 0; r--) {
        const crdma_rsag_round_t *round = &rounds[r];

        for (int j = 1; j < round->factor; j++) {
            crdma_build_send(b, part->acc,
                             round_rank(part, &core, round, (round->digit + j) % round->factor),
                             round->block + round->digit * round->part, round->part);
        }
        if (0 == r) {
            crdma_build_phase(b, back + 1, back + 1);
        }
        receive_others(b, part, &core, round);
    }
    crdma_core_fold_out(b, part, &core);
    return part->acc;
}

crdma_buf_t crdma_generate_rsag_reduce(crdma_build_t *b, const crdma_part_t *part)
{
    crdma_rsag_round_t rounds[CRDMA_CORE_MAX_ROUNDS];
    int root = part->group.root;
    crdma_core_t core;

    if (1 == part->group.size) {
        return part->in;
    }
    crdma_core_init(&core, part, root, CRDMA_CORE_FEW_FOLLOWERS);
    int back = 1 == core.nrounds ? 1 : 2;
    crdma_buf_t value = crdma_core_fold_in(b, part, &core);

    if (crdma_core_follows(&core, part)) {
        return value;
    }
    scatter(b, part, &core, rounds, value);
    crdma_build_phase(b, back, back);
    /* in each round the member with the root's digit collects; whoever sent is finished */
    int core_root = crdma_split_find(core.groups, root);
    for (int r = core.nrounds - 1; r >= 0; r--) {
        const crdma_rsag_round_t *round = &rounds[r];
        int to = core_root / round->stride % round->factor;

        if (to != round->digit) {
            crdma_build_send(b, part->acc, round_rank(part, &core, round, to),
                             round->block + round->digit * round->part, round->part);
            break;
        }
        if (0 == r) {
            crdma_build_phase(b, back + 1, back + 1);
        }
        receive_others(b, part, &core, round);
    }
    return part->acc;
}
