/*
 * The table of the set-up of communicators.
 *
 *   finds     what was put, and nothing else; keys that differ in few bits
 *   numbers   nodes in the order of their first appearance, as comparing every rank with all before
 *             it does
 *   large     65,536 cards, on one node each and 64 to a node, without 2 billion comparisons
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "coll_rdma/base/map.h"
#include "tests/unit/run_suite.h"

START_TEST(test_finds)
{
    crdma_map_t map = {NULL, 0, 0};

    ck_assert_int_eq(-1, crdma_map_find(&map, 0));
    for (int i = 0; i < 1000; ++i) {
        ck_assert_int_eq(CRDMA_OK, crdma_map_put(&map, (uint64_t) i << 40, i));
    }
    for (int i = 0; i < 1000; ++i) {
        ck_assert_int_eq(i, crdma_map_find(&map, (uint64_t) i << 40));
        ck_assert_int_eq(-1, crdma_map_find(&map, ((uint64_t) i << 40) + 1));
    }
    ck_assert_int_eq(CRDMA_OK, crdma_map_put(&map, 0, 7));
    ck_assert_int_eq(7, crdma_map_find(&map, 0));
    ck_assert_uint_eq(1000, map.n);
    crdma_map_clear(&map);
    ck_assert_int_eq(-1, crdma_map_find(&map, 0));
}
END_TEST

/* As a card: the key is somewhere inside. */
typedef struct card {
    char before[24];
    uint64_t host;
    char after[40];
} card_t;

START_TEST(test_numbers)
{
    enum { N = 2000 };
    static card_t card[N];
    int number[N], slow[N], n = 0, nodes = -1;

    srand(1);
    for (int r = 0; r < N; ++r) {
        card[r].host = 0x1000000000000u * (uint64_t) (rand() % 300) + 5;
    }
    for (int r = 0; r < N; ++r) {
        int first = 0;

        while (card[first].host != card[r].host) {
            ++first;
        }
        slow[r] = first == r ? n++ : slow[first];
    }
    ck_assert_int_eq(CRDMA_OK,
                     crdma_map_number(&card[0].host, sizeof(card_t), N, number, &nodes));
    ck_assert_int_eq(n, nodes);
    for (int r = 0; r < N; ++r) {
        ck_assert_int_eq(slow[r], number[r]);
    }
}
END_TEST

START_TEST(test_large)
{
    enum { N = 65536 };
    card_t *card = calloc(N, sizeof(*card));
    int *number = malloc(N * sizeof(*number)), nodes;
    clock_t begin;

    for (int per_node = 1; per_node <= 64; per_node *= 64) {
        for (int r = 0; r < N; ++r) {
            card[r].host = (uint64_t) (r / per_node) * 0x9e3779b9u;
        }
        begin = clock();
        ck_assert_int_eq(CRDMA_OK,
                         crdma_map_number(&card[0].host, sizeof(card_t), N, number, &nodes));
        printf("# 65,536 cards on %d nodes: %.1f ms\n", nodes,
               1e3 * (double) (clock() - begin) / CLOCKS_PER_SEC);
        ck_assert_int_eq(N / per_node, nodes);
        ck_assert_int_eq(N / per_node - 1, number[N - 1]);
        ck_assert_int_lt(clock() - begin, CLOCKS_PER_SEC);
    }
    free(card);
    free(number);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("map");
    TCase *tcase = tcase_create("map");

    tcase_add_test(tcase, test_finds);
    tcase_add_test(tcase, test_numbers);
    tcase_add_test(tcase, test_large);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_ENV);
}
