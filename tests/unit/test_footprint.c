/*
 * What one communicator of 65,536 ranks costs a rank, by the accounts of the slab and of the C library: at most
 * 4 MB, and 4 K log(K+1) N connections.
 */
#include <check.h>
#include <stdint.h>
#include <stdio.h>

#include "coll_rdma/model/footprint.h"
#include "tests/unit/run_suite.h"

START_TEST(test_memory)
{
    static const int degrees[] = {1, 3, 7};
    static const int per_node[] = {1, 8, 64};

    for (int i = 0; i < 9; ++i) {
        const int k = degrees[i % 3], p = per_node[i / 3], n = 65536, nodes = n / p;
        const crdma_model_case_t cases[] = {
            {.coll = CRDMA_BCAST, .alg = CRDMA_ALG_TREE, .size = n, .degree = 1 < p ? p - 1 : k,
             .per_node = p, .two_level = 1 < p, .inter_alg = CRDMA_ALG_TREE, .inter_degree = k},
            {.coll = CRDMA_ALLREDUCE, .alg = CRDMA_ALG_TREE, .size = n,
             .degree = 1 < p ? p - 1 : k, .per_node = p, .two_level = 1 < p,
             .inter_alg = CRDMA_ALG_TREE, .inter_degree = k},
        };
        crdma_model_footprint_t f;
        int rounds = 0;

        ck_assert_int_eq(CRDMA_OK,
                         crdma_model_footprint(cases, 2, 0, 0, (size_t) 256 << 20, &f));
        for (int64_t reach = 1; reach < nodes; reach *= k + 1) {
            ++rounds;
        }
        printf("# N %d, %d per node, K %d: %d connections (%d remote), slab %zu KB, heap %zu KB\n",
               n, p, k, f.connections, f.remote, f.slab_in_use / 1024, f.heap / 1024);
        ck_assert_int_le(f.remote, 4 * k * rounds);
        ck_assert_uint_le(f.slab_in_use + f.heap, 4u << 20);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("footprint");
    TCase *tcase = tcase_create("footprint");

    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, test_memory);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_ENV);
}
