/*
 * Degree-K exchange: allreduce by recursive multiplying, the generalisation of recursive
 * doubling to radix K+1 (K = N-1: one round, everybody sends to everybody).
 *
 * N = 6, K = 2, factors 3 * 2 (core.h chooses them and folds what N cannot be factored into):
 *
 *     round 1   {0 1 2} {3 4 5}          each sends its value to the 2 others and folds
 *     round 2   {0 3} {1 4} {2 5}        0+1+2 and 3+4+5 are exchanged and folded
 *
 * Conditions:
 * 1. In a round all members of a group send before any of them waits, and they fold the same
 *    values in the same order, each its own at its place: identical bits, and after the last
 *    round everywhere.
 * 2. The operands of a round stand for contiguous ascending ranges (core.h): rank order.
 * 3. A member meets every other member in one round at most: one message per edge and segment,
 *    so phases may lag as they like. Each round's values are sent one phase before they are
 *    waited for, so that several segments are on the way at once; rounds beyond the number of
 *    phases share the last one.
 * 4. A follower of a fold is not part of the rounds: it hands in segment s + lag before it
 *    waits for segment s, with two segments more than its leader needs.
 */
#include "coll_rdma/schedule/core.h"
#include "coll_rdma/schedule/generators.h"

crdma_buf_t crdma_generate_exchange_allreduce(crdma_build_t *b, const crdma_part_t *part)
{
    const crdma_group_t *group = &part->group;
    int nblocks = b->sched->nblocks;
    crdma_core_t core;

    crdma_core_init(&core, part, -1, CRDMA_CORE_FEW_ROUNDS);
    int last_phase = core.nrounds < CRDMA_MAX_PHASES ? core.nrounds : CRDMA_MAX_PHASES - 1;
    crdma_buf_t value = crdma_core_fold_in(b, part, &core);

    if (crdma_core_follows(&core, part)) {
        crdma_build_phase(b, 1, last_phase + 2);
        crdma_core_fold_out(b, part, &core);
        return part->acc;
    }
    for (int r = 0, stride = 1; r < core.nrounds; stride *= core.factor[r++]) {
        int f = core.factor[r], digit = core.me / stride % f;
        int base = core.me - digit * stride;

        for (int j = 1; j < f; j++) {
            int to = crdma_core_member(&core, base + (digit + j) % f * stride);
            crdma_build_send(b, value, crdma_group_rank(group, to), 0, nblocks);
        }
        crdma_build_phase(b, r + 1, r + 1);
        crdma_build_reduce(b, part->acc, value, 0, nblocks);
        for (int j = 0; j < f; j++) {
            int from = crdma_core_member(&core, base + j * stride);
            crdma_build_operand(b, j == digit ? CRDMA_SELF : crdma_group_rank(group, from));
        }
        value = part->acc;
    }
    crdma_core_fold_out(b, part, &core);
    return value;
}
