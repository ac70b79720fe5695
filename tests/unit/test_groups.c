/*
 * The life of groups: what is left when a rank frees its group while others are still in its last
 * call, or have not begun it.
 *
 *   early      a root sends and leaves; a slow receiver still gets all, also when credits are due
 *              to somebody who has left
 *   recycled   nothing of a group returns to the slab before every peer has left it
 *   flat       10,000 groups made, used and freed: memory as after the first ones
 *   plans      more plans than are kept
 *   crowd      groups with a board: the first with a large one, others with a little one; no edge before a
 *              call needs it; and their memory too returns when every rank has left
 *   promised   a group that was promised memory gets it, all others are refused; where rings of another
 *              number of blocks are promised than are taken while there is room, both kinds meet
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coll_rdma/base/params.h"
#include "tests/unit/calls.h"
#include "tests/unit/run_suite.h"

static void tiny_ring(void)
{
    crdma_params.ll_max = 16;
    crdma_params.block_size = 64;
    crdma_params.block_count = 2;
    crdma_params.rendezvous_min = 4096;
    crdma_params.check_interval = 5;
}

static call_t bcast(size_t bytes, uint64_t seed)
{
    return (call_t){.coll = CRDMA_BCAST,
                    .alg = CRDMA_ALG_TREE,
                    .degree = RANKS_MAX,
                    .levels = 1,
                    .elsize = 1,
                    .count = bytes,
                    .seed = seed};
}

static void run_one(ranks_t *me, crdma_group_t *g, const call_t *c)
{
    char text[256];
    crdma_status_t status = call_run(me, g, c);

    RANKS_REQUIRE(CRDMA_OK == status, "(%s: %s)", call_describe(c, text, sizeof(text)),
                  crdma_status_string(status));
}

/* The root makes as many broadcasts as the ring holds and leaves before anybody has looked. */
static void send_and_leave(ranks_t *me, void *arg)
{
    const size_t bytes = *(const size_t *)arg;
    const int n = 64 >= bytes ? 2 : 1;

    for (int round = 0; round < 20; ++round) {
        crdma_group_t *g = ranks_group(me);

        if (0 != me->rank && 64 >= bytes) {
            const call_t c = bcast(bytes, 0);
            crdma_plan_t *plan;

            RANKS_REQUIRE(CRDMA_OK == call_plan(g, &c, &plan)); /* the root can send */
            ranks_barrier(me);                                  /* the root has left */
        } else if (0 != me->rank) {
            usleep(1000);
        }
        for (int i = 0; i < n; ++i) {
            const call_t c = bcast(bytes, (uint64_t)(round * n + i));

            run_one(me, g, &c);
        }
        crdma_group_free(g);
        if (0 == me->rank && 64 >= bytes) {
            RANKS_REQUIRE(0 != crdma_group_reap(me->slab), "(memory reclaimed too early)");
            ranks_barrier(me);
        }
    }
    ranks_settle(me);
    RANKS_REQUIRE(0 == crdma_group_reap(me->slab) && 0 == me->slab->in_use);
}

START_TEST(early)
{
    static const size_t sizes[] = {8, 40, 64, 200, 100000};
    const ranks_setup_t setup = {.size = 3, .time_limit = 20};

    tiny_ring();
    ck_assert_int_eq(0, ranks_run(&setup, send_and_leave, (void *)(uintptr_t)&sizes[_i]));
}
END_TEST

/* Two generations at once: the slow rank is in the old group while others use the new one. */
static void two_generations(ranks_t *me, void *arg)
{
    crdma_group_t *old = ranks_group(me);
    uint64_t state = 8;

    (void)arg;
    for (int round = 0; round < 60; ++round) {
        crdma_group_t *new = ranks_group(me);

        for (int i = 0; i < 3; ++i) {
            const call_t c = call_random(&state, me->size, 1, 3000);

            ranks_delay(me, 200);
            run_one(me, 2 == i ? old : new, &c);
        }
        crdma_group_free(old);
        old = new;
    }
    crdma_group_free(old);
    ranks_settle(me);
    RANKS_REQUIRE(0 == crdma_group_reap(me->slab) && 0 == me->slab->in_use);
}

START_TEST(recycled)
{
    const ranks_setup_t setup = {.size = 4, .time_limit = 30};

    tiny_ring();
    ck_assert_int_eq(0, ranks_run(&setup, two_generations, NULL));
}
END_TEST

static size_t resident(void)
{
    char text[128] = "";
    size_t total = 0, pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");

    if (NULL != f && NULL != fgets(text, sizeof(text), f)) {
        sscanf(text, "%zu %zu", &total, &pages);
    }
    if (NULL != f) {
        fclose(f);
    }
    return pages * 4096;
}

static void many(ranks_t *me, void *arg)
{
    size_t top = 0, before = 0;

    (void)arg;
    for (int i = 0; i < 10000; ++i) {
        crdma_group_t *g = ranks_group(me);

        if (0 != i % 3) {
            const call_t c = bcast(0 == i % 2 ? 8 : 100, (uint64_t)i);

            run_one(me, g, &c);
        }
        crdma_group_free(g);
        if (1000 == i) {
            top = me->slab->top;
            before = resident();
        }
    }
    RANKS_REQUIRE(me->slab->top <= top + 4 * 4096, "(%zu, was %zu)", me->slab->top, top);
#ifndef __SANITIZE_ADDRESS__ /* which keeps freed memory back on purpose */
    RANKS_REQUIRE(resident() < before + (1 << 20), "(%zu, was %zu)", resident(), before);
#else
    (void)before;
#endif
    ranks_settle(me);
    RANKS_REQUIRE(0 == crdma_group_reap(me->slab));
    RANKS_REQUIRE(0 == me->slab->in_use && 0 == me->slab->reserved);
}

START_TEST(flat)
{
    const ranks_setup_t setup = {.size = 2, .time_limit = 100};

    tiny_ring();
    ck_assert_int_eq(0, ranks_run(&setup, many, NULL));
}
END_TEST

static void plans_come_and_go(ranks_t *me, void *arg)
{
    crdma_group_t *g = ranks_group(me);
    uint64_t state = 4;

    (void)arg;
    for (int i = 0; i < 400; ++i) {
        call_t c = call_random(&state, me->size, 1, 200);

        c.inter_degree = (int)(ranks_next(&state) % 200); /* part of the key, without effect */
        run_one(me, g, &c);
        RANKS_REQUIRE(g->nplans <= CRDMA_PLAN_MAX);
    }
    RANKS_REQUIRE(CRDMA_PLAN_MAX == g->nplans);
    crdma_group_free(g);
}

START_TEST(plans)
{
    const ranks_setup_t setup = {.size = 3};

    tiny_ring();
    ck_assert_int_eq(0, ranks_run(&setup, plans_come_and_go, NULL));
}
END_TEST

static int edges(const ranks_t *me, const crdma_group_t *g)
{
    int n = 0;

    for (int r = 0; r < me->size; ++r) {
        n += NULL != g->edges[r];
    }
    return n;
}

static void boards(ranks_t *me, void *arg)
{
    enum { GROUPS = 12 };
    crdma_group_t *g[GROUPS];
    const int slow = me->size - 1;

    (void)arg;
    for (int i = 0; i < GROUPS; ++i) {
        uint64_t state = 77 + (uint64_t)i;

        g[i] = ranks_group(me);
        for (int k = 0; k < 40; ++k) {
            static const crdma_coll_t colls[] = {CRDMA_BCAST, CRDMA_REDUCE, CRDMA_ALLREDUCE};
            const bool rooted = 2 != k % 3;
            const call_t c = {.coll = colls[k % 3],
                              .alg = rooted ? CRDMA_ALG_TREE : CRDMA_ALG_EXCHANGE,
                              .degree = me->size - 1,
                              .levels = 1,
                              .root = rooted ? k % me->size : 0,
                              .elsize = 4,
                              .count = (size_t)2 << k % 8,
                              .seed = (uint64_t)(k + i)};

            run_one(me, g[i], &c);
        }
        RANKS_REQUIRE(NULL != g[i]->board.head && 0 == edges(me, g[i]), "(group %d)", i);
        RANKS_REQUIRE(g[i]->board.little ? 0 < i : GROUPS - 1 > i, "(group %d)", i);
        for (int k = 0; k < 40; ++k) {
            const call_t c = call_random(&state, me->size, 1, 5000);

            run_one(me, g[i], &c);
        }
        RANKS_REQUIRE(0 < edges(me, g[i]), "(group %d)", i);
    }
    for (int i = 0; i < GROUPS; ++i) {
        if (slow != me->rank) {
            crdma_group_free(g[i]);
        }
    }
    ranks_barrier(me);
    RANKS_REQUIRE((slow == me->rank ? 0 : GROUPS) == crdma_group_reap(me->slab));
    ranks_barrier(me);
    for (int i = 0; i < GROUPS && slow == me->rank; ++i) {
        crdma_group_free(g[i]);
    }
    ranks_settle(me);
    RANKS_REQUIRE(0 == crdma_group_reap(me->slab));
    RANKS_REQUIRE(0 == me->slab->in_use && 0 == me->slab->reserved);
    /* The same where no rank had an edge. */
    g[0] = ranks_group(me);
    g[1] = ranks_group(me);
    for (int i = 0; i < 2; ++i) {
        const call_t c = bcast(8, (uint64_t)i);

        run_one(me, g[i], &c);
        if (slow != me->rank) {
            crdma_group_free(g[i]);
        }
    }
    ranks_barrier(me);
    RANKS_REQUIRE((slow == me->rank ? 0 : 2) == crdma_group_reap(me->slab), "(reclaimed too early)");
    ranks_barrier(me);
    for (int i = 0; i < 2 && slow == me->rank; ++i) {
        crdma_group_free(g[i]);
    }
    ranks_settle(me);
    RANKS_REQUIRE(0 == crdma_group_reap(me->slab));
    RANKS_REQUIRE(0 == me->slab->in_use && 0 == me->slab->reserved);
}

START_TEST(crowd)
{
    const ranks_setup_t setup = {.size = 4, .time_limit = 60};

    crdma_params.check_interval = 5;
    ck_assert_int_eq(0, ranks_run(&setup, boards, NULL));
}
END_TEST

/* Finish a group, before (early) the other ranks' regions are known or after. What was said first
 * may be wrong. */
static crdma_status_t finish(const ranks_t *me, crdma_group_t *g, const crdma_addr_t *regions,
                             bool early)
{
    static const int node[RANKS_MAX];

    return crdma_group_finish(g, &(crdma_group_config_t){.peers = me->peers,
                                                         .regions = regions,
                                                         .node = node,
                                                         .nnodes = 1,
                                                         .cma = true,
                                                         .oversubscribed = !early});
}

/* As many groups as are promised memory: each then makes all its edges. All ranks are refused at
 * the same point here, because all have the same. Every second group is finished before the regions
 * are known and learns them later, every fourth is then finished once more. */
static void promises(ranks_t *me, void *arg)
{
    static const crdma_addr_t unknown[RANKS_MAX];
    const bool spares = NULL != arg;
    crdma_group_t *g[256];
    crdma_addr_t all[RANKS_MAX];
    int n = 0, full = 0, spare = 0, mixed = 0;

    for (;; ++n) {
        crdma_status_t status;

        RANKS_REQUIRE(n < 256);
        status = crdma_group_begin(me->slab, me->rank, me->size, "test", &g[n]);
        if (CRDMA_ERR_NOMEM == status) {
            break;
        }
        RANKS_REQUIRE(CRDMA_OK == status);
        if (1 == n % 2) {
            status = finish(me, g[n], unknown, 1 == n % 4);
        }
        if (CRDMA_OK == status) {
            ranks_exchange(me, g[n]->region_addr, all);
        }
        if (CRDMA_OK == status && 3 == n % 4) {
            crdma_group_set_regions(g[n], all);
        } else if (CRDMA_OK == status) {
            status = finish(me, g[n], all, false);
        }
        if (CRDMA_ERR_NOMEM == status) {
            crdma_group_free(g[n]);
            break;
        }
        RANKS_REQUIRE(CRDMA_OK == status);
    }
    RANKS_REQUIRE(4 < n, "(%d groups)", n);
    if (spares) { /* room for some full rings */
        for (int most = n / 2; n > most; --n) {
            crdma_group_free(g[n - 1]);
        }
        RANKS_REQUIRE(0 == crdma_group_reap(me->slab));
    }
    for (int i = 0; i < n; ++i) {
        const call_t c = {.coll = CRDMA_ALLREDUCE,
                          .alg = CRDMA_ALG_EXCHANGE,
                          .degree = me->size - 1,
                          .levels = 1,
                          .elsize = 4,
                          .count = 5,
                          .seed = (uint64_t)i};
        uint64_t state = 100 + (uint64_t)i;

        if (spares && 0 == i % 3) { /* so that full rings are not the same ones everywhere */
            const int first = (me->rank + 1 + i % (me->size - 1)) % me->size;
            crdma_edge_t *edge;

            RANKS_REQUIRE(CRDMA_OK == crdma_group_edge(g[i], first, &edge));
        }
        run_one(me, g[i], &c);
        for (int k = 0; spares && k < 6; ++k) {
            const call_t more = call_random(&state, me->size, 1, 20000);

            run_one(me, g[i], &more);
        }
    }
    for (int i = 0; i < n; ++i) {
        for (int r = 0; r < me->size; ++r) {
            const crdma_edge_t *edge = g[i]->edges[r];

            full += NULL != edge && edge->geometry == &g[i]->direct;
            spare += NULL != edge && edge->geometry == &g[i]->spare;
            mixed += NULL != edge && edge->open && edge->geometry != edge->tx_geometry;
        }
    }
    RANKS_REQUIRE(!spares || (0 < full && 0 < spare), "(%d full, %d spare)", full, spare);
    ranks_exchange(me, (uint64_t)mixed, all);
    mixed = 0;
    for (int r = 0; r < me->size; ++r) {
        mixed += (int)all[r];
    }
    RANKS_REQUIRE(!spares || 0 < mixed, "(no edge with a full and a spare ring)");
    for (int i = 0; i < n; ++i) {
        crdma_group_free(g[i]);
    }
    ranks_settle(me);
    RANKS_REQUIRE(0 == crdma_group_reap(me->slab) && 0 == me->slab->reserved);
}

START_TEST(promised)
{
    const ranks_setup_t setup = {.size = 4,
                                 .slab = (size_t)512 << 10,
                                 .capture = true,
                                 .time_limit = 30,
                                 .wire = 1 == _i ? RANKS_REMOTE : RANKS_DIRECT};

    tiny_ring();
    crdma_params.board_max = 1; /* rank 0 would have less memory than the others */
    if (2 == _i) {
        crdma_params.block_size = 1024;
        crdma_params.block_count = 16;
    }
    ck_assert_int_eq(0, ranks_run(&setup, promises, 2 == _i ? &crdma_params : NULL));
}
END_TEST

static Suite *groups_suite(void)
{
    Suite *suite = suite_create("groups");
    TCase *tcase = tcase_create("groups");

    tcase_add_loop_test(tcase, early, 0, 5);
    tcase_add_test(tcase, recycled);
    tcase_add_test(tcase, flat);
    tcase_add_test(tcase, plans);
    tcase_add_test(tcase, crowd);
    tcase_add_loop_test(tcase, promised, 0, 3);
    tcase_set_timeout(tcase, 120);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(groups_suite(), CK_ENV);
}
