/*
 * Barrier by dissemination (Hensgen, Finkel and Manber 1988) with radix K+1.
 *
 * In the round of distance d = 1, K+1, (K+1)^2, .. member i notifies i + d, i + 2d, .. i + Kd
 * (mod N) and waits for i - d .. i - Kd. N = 5, K = 2, what member 0 has heard of:
 *
 *     d = 1   4 3           -> 0 4 3
 *     d = 3   0 - 3 = 2     -> 0 4 3 2 1      (2 had heard of 1 and 0)
 *
 * Conditions:
 * 1. Before the round of distance d a member has heard of the d members that end at itself,
 *    after it of min(N, (K+1) d): distances j d >= N are left out.
 * 2. All distances j d below N differ (digits of radix K+1): one message per edge.
 */
#include "coll_rdma/schedule/generators.h"

crdma_buf_t crdma_generate_exchange_barrier(crdma_build_t *b, const crdma_part_t *part)
{
    const crdma_group_t *group = &part->group;
    int n = group->size, radix = crdma_part_radix(part);

    for (int64_t d = 1; d < n; d *= radix) {
        for (int64_t j = 1; j < radix && j * d < n; j++) {
            int to = (int)((group->me + j * d) % n);
            crdma_build_send(b, part->acc, crdma_group_rank(group, to), 0, 0);
        }
        for (int64_t j = 1; j < radix && j * d < n; j++) {
            int from = (int)((group->me + n - j * d) % n);
            crdma_build_recv(b, part->acc, crdma_group_rank(group, from), 0, 0);
        }
    }
    return part->acc;
}
