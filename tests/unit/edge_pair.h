/*
 * An edge whose two ends are both in this process: a test takes the part of both ranks, one step at
 * a time.
 */
#ifndef TESTS_UNIT_EDGE_PAIR_H
#define TESTS_UNIT_EDGE_PAIR_H

#include <check.h>
#include <string.h>

#include "coll_rdma/protocol/edge.h"

typedef struct pair {
    crdma_slab_t *slab[2];
    crdma_peer_t peer[2]; /* peer[i]: as seen by end i */
    crdma_edge_t *edge[2];
    crdma_addr_t mailbox[2];
} pair_t;

static inline void pair_open(pair_t *p, const crdma_ring_geometry_t *g, uint64_t start)
{
    memset(p, 0, sizeof(*p));
    for (int i = 0; i < 2; ++i) {
        ck_assert_int_eq(CRDMA_OK, crdma_slab_create((size_t)64 << 20, &p->slab[i]));
        ck_assert_int_eq(CRDMA_OK, crdma_slab_alloc(p->slab[i], 64, &p->mailbox[i], NULL));
    }
    for (int i = 0; i < 2; ++i) {
        p->peer[i] = (crdma_peer_t){.map = p->slab[!i]->base, .map_size = p->slab[!i]->size};
    }
    for (int i = 0; i < 2; ++i) {
        ck_assert_int_eq(CRDMA_OK, crdma_edge_create(p->slab[i], g, g, &p->peer[i], !i,
                                                     crdma_slab_at(p->slab[i], p->mailbox[i]),
                                                     p->mailbox[!i], start, &p->edge[i]));
        ck_assert_int_eq(0 == i ? CRDMA_AGAIN : CRDMA_OK, crdma_edge_open(p->edge[i]));
    }
    ck_assert_int_eq(CRDMA_OK, crdma_edge_open(p->edge[0]));
}

static inline void pair_close(pair_t *p)
{
    for (int i = 0; i < 2; ++i) {
        ck_assert(!crdma_edge_quiet(p->edge[i]));
        crdma_edge_leave(p->edge[1 - i]);
    }
    for (int i = 0; i < 2; ++i) {
        ck_assert(crdma_edge_quiet(p->edge[i]));
        crdma_edge_free(p->slab[i], p->edge[i]);
        crdma_slab_destroy(p->slab[i]);
    }
}

#endif
