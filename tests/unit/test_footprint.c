/*
 * What one communicator of 65,536 ranks costs a rank, by the accounts of the slab and of the C library: at most
 * 4 MB, and 4 K log(K+1) N connections. And what one within a host costs that is not used much: so many of
 * them there can be.
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

/* Promised at set-up, and touched by plans of small calls, in a communicator of one host. */
START_TEST(test_host)
{
    static const struct {
        int ranks;
        size_t promised, touched; /* at most, KB; touched with the page of the slab itself */
    } most[] = {{2, 28, 12}, {4, 72, 12}, {16, 330, 20}, {64, 1310, 52}};
    const int n = most[_i].ranks;
    const crdma_model_case_t cases[] = {{.coll = CRDMA_ALLREDUCE, .alg = CRDMA_ALG_EXCHANGE, .size = n,
                                         .degree = n - 1, .per_node = n}};
    crdma_model_footprint_t idle, used;

    ck_assert_int_eq(CRDMA_OK, crdma_model_footprint(cases, 0, 0, 0, (size_t) 1024 << 20, &idle));
    ck_assert_int_eq(CRDMA_OK, crdma_model_footprint(cases, 1, 0, 0, (size_t) 1024 << 20, &used));
    printf("# %d ranks on a host: promised %zu KB (%zu communicators in 1 GB), used with %d neighbours: "
           "touched %zu KB, heap %zu B\n",
           n, idle.slab_promised / 1024, ((size_t) 1024 << 20) / idle.slab_promised,
           used.connections, used.slab_touched / 1024, used.heap);
    ck_assert_int_eq(n - 1, used.connections);
    ck_assert_uint_le(idle.slab_promised, most[_i].promised * 1024);
    ck_assert_uint_le(used.slab_touched, most[_i].touched * 1024);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("footprint");
    TCase *tcase = tcase_create("footprint");

    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, test_memory);
    tcase_add_loop_test(tcase, test_host, 0, 4);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_ENV);
}
