/*
 * Ring allreduce (Patarasuk and Yuan 2009): N blocks, 2 (N - 1) steps, each member talks to its
 * two neighbours only, and every link carries 2 (N - 1) / N of the vector.
 *
 * N = 3, block numbers; member i sends to i + 1:
 *
 *                     member 0           member 1           member 2
 *     step 0   sends  0  folds 2      sends 1  folds 0      sends 2  folds 1
 *     step 1   sends  2  folds 1      sends 0  folds 2      sends 1  folds 0   now complete:
 *                        1                    2                    0
 *     step 2   sends  1  gets  0      sends 2  gets 1       sends 0  gets  2
 *     step 3   sends  0  gets  2      sends 1  gets 0       sends 2  gets  1
 *
 * Conditions:
 * 1. Block b is folded along b, b + 1, .. (mod N), which is not the order of ranks unless b = 0:
 *    for commutative operations only.
 * 2. Each block is completed by one member, and the others copy it: identical bits.
 * 3. The allgather overwrites a block that the neighbour has long folded: it has come
 *    around the ring through that neighbour.
 * 4. All messages use one edge; one phase, so they stay in order over all segments.
 */
#include "coll_rdma/schedule/generators.h"

crdma_buf_t crdma_generate_ring_allreduce(crdma_build_t *b, const crdma_part_t *part)
{
    const crdma_group_t *group = &part->group;
    int n = group->size, me = group->me;
    crdma_buf_t value = part->in;

    if (1 == n) {
        return part->in;
    }
    int next = crdma_group_rank(group, (me + 1) % n);
    int previous = crdma_group_rank(group, (me + n - 1) % n);

    for (int k = 0; k < n - 1; k++) {
        crdma_build_send(b, value, next, (me - k + n) % n, 1);
        crdma_build_reduce(b, part->acc, part->in, (me - k - 1 + n) % n, 1);
        crdma_build_operand(b, previous);
        crdma_build_operand(b, CRDMA_SELF);
        value = part->acc;
    }
    for (int k = 0; k < n - 1; k++) {
        crdma_build_send(b, part->acc, next, (me + 1 - k + n) % n, 1);
        crdma_build_recv(b, part->acc, previous, (me - k + n) % n, 1);
    }
    return part->acc;
}
