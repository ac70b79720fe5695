/*
 * Slot messages of direct peers (protocol/slot.h): order, blocks, credits; both ends of an edge are here.
 *
 *   in_order     a later message does not take the block of an earlier one, whenever a credit comes
 *   please       a sender that runs out of blocks asks, and one that does not never asks
 *   acks         what messages say counts as a credit, and never instead of one
 *   starved      a sender that reads nothing gets its credits nevertheless
 *   traffic      random messages of all kinds, both ways, in random turns; positions that pass 2^32
 *   distance     a far peer is noticed, and that it has come near again
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "coll_rdma/protocol/message.h"
#include "coll_rdma/protocol/slot.h"
#include "tests/unit/edge_pair.h"
#include "tests/unit/run_suite.h"

enum { BLOCK = 1024, MOST = 4 * BLOCK };

static const crdma_rndv_mode_t no_rndv = {.min = SIZE_MAX};
static char data[MOST], got[MOST];

static void open_with(pair_t *p, crdma_ring_geometry_t *g, uint32_t blocks, uint64_t start)
{
    crdma_ring_geometry_init(g, 8, blocks, 16, BLOCK);
    ck_assert_uint_lt(g->inline_max, BLOCK);
    pair_open(p, g, start);
}

static void start_send(pair_t *p, int end, crdma_send_t *send, const char *src, size_t len)
{
    crdma_send_start(send, p->edge[end], &no_rndv, src, len, BLOCK, 1);
}

static void start_recv(pair_t *p, int end, crdma_recv_t *recv, size_t len)
{
    crdma_recv_start(recv, p->edge[end], &no_rndv, len, BLOCK, 1);
}

static void take(pair_t *p, int end, size_t len)
{
    crdma_recv_t recv;

    start_recv(p, end, &recv, len);
    ck_assert_int_eq(CRDMA_OK, crdma_recv_progress(&recv, got));
}

START_TEST(in_order)
{
    crdma_ring_geometry_t g;
    crdma_send_t send[5];
    pair_t p;

    open_with(&p, &g, 2, 1);
    for (int i = 0; i < 5; ++i) {
        start_send(&p, 0, &send[i], data, BLOCK);
    }
    ck_assert_int_eq(CRDMA_OK, crdma_send_progress(&send[0]));
    ck_assert_int_eq(CRDMA_OK, crdma_send_progress(&send[1]));
    ck_assert_int_eq(CRDMA_AGAIN, crdma_send_progress(&send[2]));
    take(&p, 1, BLOCK);
    take(&p, 1, BLOCK);
    /* the credit is there, but the others are not first in line */
    ck_assert_int_eq(CRDMA_AGAIN, crdma_send_progress(&send[3]));
    ck_assert_int_eq(CRDMA_AGAIN, crdma_send_progress(&send[4]));
    ck_assert_int_eq(CRDMA_OK, crdma_send_progress(&send[2]));
    ck_assert_int_eq(CRDMA_AGAIN, crdma_send_progress(&send[4]));
    ck_assert_int_eq(CRDMA_OK, crdma_send_progress(&send[3]));
    ck_assert_int_eq(CRDMA_AGAIN, crdma_send_progress(&send[4]));
    take(&p, 1, BLOCK);
    take(&p, 1, BLOCK);
    ck_assert_int_eq(CRDMA_OK, crdma_send_progress(&send[4]));
    take(&p, 1, BLOCK);
    pair_close(&p);
}
END_TEST

static bool asks(const pair_t *p, uint64_t position)
{
    return 0 != (crdma_edge_rx_block(p->edge[1], position)->flag
                 & CRDMA_SLOT_PLEASE);
}

START_TEST(please)
{
    crdma_ring_geometry_t g;
    crdma_send_t send;
    pair_t p;

    open_with(&p, &g, 2, 1);
    for (uint64_t position = 1; position < 40; ++position) {
        start_send(&p, 0, &send, data, BLOCK);
        ck_assert_int_eq(CRDMA_OK, crdma_send_progress(&send));
        ck_assert_int_eq(1 < position, asks(&p, position));
        take(&p, 1, BLOCK);
        /* the first one had a second block to follow */
        ck_assert_uint_eq(1 < position ? position : 0, *p.edge[0]->credit_in);
    }
    pair_close(&p);
    open_with(&p, &g, 2, 1);
    for (uint64_t position = 1; position < 40; ++position) { /* taking turns */
        for (int end = 0; end < 2; ++end) {
            start_send(&p, end, &send, data, BLOCK);
            ck_assert_int_eq(CRDMA_OK, crdma_send_progress(&send));
            ck_assert(1 == end || !asks(&p, position));
            take(&p, !end, BLOCK);
        }
    }
    pair_close(&p);
}
END_TEST

START_TEST(acks)
{
    crdma_ring_geometry_t g;
    crdma_send_t send;
    pair_t p;

    open_with(&p, &g, 4, 1);
    start_send(&p, 0, &send, data, BLOCK);
    ck_assert_int_eq(CRDMA_OK, crdma_send_progress(&send));
    take(&p, 1, BLOCK);
    ck_assert_uint_eq(0, *p.edge[0]->credit_in);
    ck_assert(!crdma_edge_is_consumed(p.edge[0], 1));
    start_send(&p, 1, &send, data, 40);
    ck_assert_int_eq(CRDMA_OK, crdma_send_progress(&send));
    ck_assert(!crdma_edge_is_consumed(p.edge[0], 1)); /* not before it is read */
    take(&p, 0, 40);
    ck_assert(crdma_edge_is_consumed(p.edge[0], 1));
    /* a credit word behind it takes nothing back */
    ck_assert_uint_eq(0, *p.edge[0]->credit_in);
    ck_assert(!crdma_edge_is_consumed(p.edge[0], 2));
    ck_assert(crdma_edge_is_consumed(p.edge[0], 1));
    pair_close(&p);
}
END_TEST

/* End 1 sends and says what it has consumed; end 0 reads none of it, and must be able to send all the same. */
START_TEST(starved)
{
    static const size_t sizes[] = {8, 40, BLOCK};

    for (uint32_t blocks = 2; blocks <= 16; blocks *= 2) {
        crdma_ring_geometry_t g;
        crdma_send_t out, back;
        pair_t p;

        open_with(&p, &g, blocks, UINT32_MAX - 20);
        for (int i = 0; i < 200; ++i) {
            const size_t len = sizes[(i / 7 + i) % 3];

            start_send(&p, 0, &out, data, len);
            ck_assert_msg(CRDMA_OK == crdma_send_progress(&out), "message %d", i);
            take(&p, 1, len);
            if (i < 8) { /* as many as there are slots */
                start_send(&p, 1, &back, data, 40);
                ck_assert_int_eq(CRDMA_OK, crdma_send_progress(&back));
            }
        }
        pair_close(&p);
    }
}
END_TEST

static uint32_t state;

static uint32_t next(uint32_t below)
{
    state = state * 1664525 + 1013904223;
    return (state >> 8) % below;
}

/* A direction: sends and receives that have started, in order of positions. */
enum { UNDERWAY = 16 };

typedef struct lane {
    crdma_send_t send[UNDERWAY];
    crdma_recv_t recv[UNDERWAY];
    char sent[UNDERWAY][MOST], received[UNDERWAY][MOST];
    bool out[UNDERWAY];
    int first, n;
} lane_t;

static void add(pair_t *p, lane_t *lane, int from)
{
    static const size_t sizes[] = {4, 16, 20, 64, 352, 353, BLOCK, BLOCK + 8, MOST};
    const int i = (lane->first + lane->n) % UNDERWAY;
    const size_t len = sizes[next(9)];

    for (size_t k = 0; k < len; ++k) {
        lane->sent[i][k] = (char)next(256);
    }
    start_send(p, from, &lane->send[i], lane->sent[i], len);
    start_recv(p, !from, &lane->recv[i], len);
    lane->out[i] = false;
    ++lane->n;
}

/* Try a random send; try the first receive. */
static void step(lane_t *lane)
{
    int i = (lane->first + (int)next((uint32_t)lane->n)) % UNDERWAY;

    if (!lane->out[i]) {
        const crdma_status_t status = crdma_send_progress(&lane->send[i]);

        ck_assert(CRDMA_OK == status || CRDMA_AGAIN == status);
        lane->out[i] = CRDMA_OK == status;
    }
    i = lane->first;
    if (0 == next(3)) {
        const crdma_status_t status = crdma_recv_progress(&lane->recv[i], lane->received[i]);

        ck_assert(CRDMA_OK == status || CRDMA_AGAIN == status);
        if (CRDMA_OK == status) {
            ck_assert_mem_eq(lane->sent[i], lane->received[i], lane->recv[i].len);
            lane->out[i] = true;
            lane->first = (i + 1) % UNDERWAY;
            --lane->n;
        }
    }
}

START_TEST(traffic)
{
    static lane_t lanes[2];

    for (uint32_t blocks = 2; blocks <= 8; blocks *= 2) {
        crdma_ring_geometry_t g;
        pair_t p;
        int idle = 0;

        state = blocks;
        memset(lanes, 0, sizeof(lanes));
        open_with(&p, &g, blocks, ((uint64_t)1 << 32) - 3000);
        for (int i = 0; i < 6000;) {
            const int from = (int)next(2);
            lane_t *lane = &lanes[from];

            if (UNDERWAY > lane->n && 0 == next(4)) {
                add(&p, lane, from);
                ++i;
                idle = 0;
            } else if (0 < lane->n) {
                step(lane);
                ck_assert_int_lt(++idle, 100000); /* nobody waits for ever */
            }
        }
        for (int from = 0; from < 2; ++from) {
            while (0 < lanes[from].n) {
                step(&lanes[from]);
                ck_assert_int_lt(++idle, 1000000);
            }
        }
        pair_close(&p);
    }
}
END_TEST

START_TEST(distance)
{
    static char to[CRDMA_DISTANCE_MIN];
    crdma_distance_t d = {.far = true, .cost = 1 << 20};
    int trials = 0;

    for (int i = 0; i < 640; ++i) {
        if (!crdma_distance_is_far(&d)) {
            crdma_copy_to_block(&d, to, data, sizeof(to));
            ++trials;
            d.far = true;
        }
    }
    ck_assert_int_eq(20, trials);
#if defined(__x86_64__)
    ck_assert_uint_lt(d.cost, 1 << 20); /* half of the trials are timed */
    for (int i = 0; d.far; ++i) {
        ck_assert_int_lt(i, 100000);
        if (!crdma_distance_is_far(&d)) {
            crdma_copy_to_block(&d, to, data, sizeof(to));
        }
    }
    ck_assert_mem_eq(to, data, sizeof(to));
#endif
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("slot");
    TCase *tcase = tcase_create("slot");

    for (size_t i = 0; i < sizeof(data); ++i) {
        data[i] = (char)(i * 7 + 1);
    }
    tcase_add_test(tcase, in_order);
    tcase_add_test(tcase, please);
    tcase_add_test(tcase, acks);
    tcase_add_test(tcase, starved);
    tcase_add_test(tcase, traffic);
    tcase_add_test(tcase, distance);
    tcase_set_timeout(tcase, 60);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_NORMAL);
}
