/*
 * An edge whose two ends are both in this process: what becomes of positions, one step at a time.
 *
 *   stale        a mark from 2^32 positions ago would be taken for a message (so the danger is real),
 *                and with the scrubbing that the receiver does on the way it is not
 *   crossings    messages of every length around 2^31 and 2^32
 *   credits      the sender never has more than R positions ahead; consumption and scrubbing out of
 *                order
 *   other_size   slots of another size are a disagreement
 *   withdrawn    a rendezvous that one side takes back
 */
#include <check.h>
#include <string.h>
#include <unistd.h>

#include "coll_rdma/protocol/rendezvous.h"
#include "tests/unit/edge_pair.h"
#include "tests/unit/run_suite.h"

static const uint64_t P31 = (uint64_t)1 << 31, P32 = (uint64_t)1 << 32;

/* As if both sides had been at it for ages. */
static void jump(pair_t *p, uint64_t to)
{
    crdma_edge_t *s = p->edge[0], *r = p->edge[1];

    s->tx_next = r->rx_next = to;
    s->tx_consumed = r->rx_consumed = r->rx_credited = to - 1;
    *s->credit_in = to - 1;
}

static const crdma_rndv_mode_t no_rndv = {.min = SIZE_MAX};

/* One message, sent and received; false if the receiver did not find what was sent. */
static bool transfer(pair_t *p, size_t len, uint64_t value)
{
    char data[1024], got[1024] = {0};
    crdma_send_t send;
    crdma_recv_t recv;

    memset(data, (int)(value * 7 + 1), sizeof(data));
    crdma_recv_start(&recv, p->edge[1], &no_rndv, len, 64, value);
    if (CRDMA_AGAIN != crdma_recv_progress(&recv, got)) {
        return false; /* took something that nobody has sent */
    }
    crdma_send_start(&send, p->edge[0], &no_rndv, data, len, 64, value);
    return CRDMA_OK == crdma_send_progress(&send) && CRDMA_OK == crdma_recv_progress(&recv, got) &&
           0 == memcmp(data, got, len);
}

/* Positions of one kind only, then 2^32 later one of the other: its cell still has the mark of
 * 2^32 positions ago, unless the receiver has scrubbed it. */
static bool survives(uint64_t start, bool ll_first, bool scrubbing)
{
    crdma_ring_geometry_t g;
    bool right = true;
    uint32_t n;
    pair_t p;

    crdma_ring_geometry_init(&g, 4, 4, 16, 64);
    n = ll_first ? g.cell_count : g.slot_count;
    pair_open(&p, &g, start);
    for (uint64_t i = 0; i < n; ++i) { /* leaves a mark in every cell of one kind */
        right = right && transfer(&p, ll_first ? 12 : 40, 5);
    }
    ck_assert(right);
    if (scrubbing) { /* the two crossings of a multiple of 2^31, with messages of the other kind */
        for (uint64_t edge = start / P31 + 1; edge <= start / P31 + 2; ++edge) {
            jump(&p, edge * P31 - 3);
            for (uint64_t i = 0; i < 3 * g.window; ++i) {
                right = right && transfer(&p, ll_first ? 40 : 12, 6);
            }
        }
    }
    jump(&p, start + P32);
    for (uint64_t i = 0; i < n; ++i) {
        right = right && transfer(&p, ll_first ? 12 : 40, 5);
    }
    pair_close(&p);
    return right;
}

START_TEST(stale)
{
    const uint64_t starts[] = {9, P31 - 100, P32 - 100, P32 + 9};

    for (size_t i = 0; i < 4; ++i) {
        for (int ll_first = 0; ll_first < 2; ++ll_first) {
            ck_assert(!survives(starts[i], ll_first, false)); /* the danger is real ... */
            ck_assert(survives(starts[i], ll_first, true));   /* ... and averted */
        }
    }
}
END_TEST

START_TEST(crossings)
{
    const uint64_t starts[] = {1, P31 - 10, P31 - 5, P32 - 10, P32 - 2, 3 * P31 - 7, P32 * 2 - 10};
    uint64_t state = 1;

    for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); ++i) {
        for (uint32_t count = 2; count <= 16; count *= 2) {
            crdma_ring_geometry_t g;
            pair_t p;

            crdma_ring_geometry_init(&g, count, count, 16, 64);
            pair_open(&p, &g, starts[i]);
            for (int n = 0; n < 100; ++n) {
                state = state * 6364136223846793005u + 1442695040888963407u;
                ck_assert(transfer(&p, 1 + (state >> 40) % 64, (uint64_t)n));
            }
            pair_close(&p);
        }
    }
}
END_TEST

START_TEST(credits)
{
    const uint64_t starts[] = {1, P32 - 10};

    for (size_t s = 0; s < 2; ++s) {
        for (uint32_t count = 2; count <= 16; count *= 2) {
            crdma_ring_geometry_t g;
            crdma_recv_t recv[64];
            crdma_send_t send[64];
            char data[64] = "x", got[64];
            pair_t p;
            uint32_t sent = 0;

            crdma_ring_geometry_init(&g, count, count, 16, 64);
            pair_open(&p, &g, starts[s]);
            for (int i = 0; i < 64; ++i) {
                crdma_send_start(&send[i], p.edge[0], &no_rndv, data, 0 == i % 2 ? 8 : 40, 64, 1);
                crdma_recv_start(&recv[i], p.edge[1], &no_rndv, 0 == i % 2 ? 8 : 40, 64, 1);
            }
            for (uint32_t taken = 0; taken < 64; ++taken) {
                while (sent < 64 && CRDMA_OK == crdma_send_progress(&send[sent])) {
                    ++sent;
                }
                ck_assert_uint_le(sent, taken + g.window);
                ck_assert(sent > taken || 64 == sent); /* credits come often enough */
                ck_assert_int_eq(CRDMA_OK, crdma_recv_progress(&recv[taken], got));
            }
            pair_close(&p);
        }
    }
}
END_TEST

/* Messages of different operations may be consumed out of order; nothing is credited before all
 * that was sent earlier is consumed, and an urgent credit is not forgotten. */
START_TEST(out_of_order)
{
    crdma_ring_geometry_t g;
    pair_t p;

    crdma_ring_geometry_init(&g, 16, 16, 16, 64);
    pair_open(&p, &g, P32 - 2);
    for (uint64_t at = P32; at < P32 + 5; ++at) {
        ck_assert_int_eq(CRDMA_OK, crdma_edge_consume(p.edge[1], at, P32 + 1 == at));
        ck_assert(!crdma_edge_is_consumed(p.edge[0], P32 - 2));
    }
    ck_assert_int_eq(CRDMA_OK, crdma_edge_consume(p.edge[1], P32 - 1, false));
    ck_assert(!crdma_edge_is_consumed(p.edge[0], P32 - 2));
    ck_assert_int_eq(CRDMA_OK, crdma_edge_consume(p.edge[1], P32 - 2, false));
    ck_assert_uint_eq(P32 + 4, p.edge[1]->rx_consumed);
    ck_assert(crdma_edge_is_consumed(p.edge[0], P32 + 4));
    for (int i = 0; i < 16; ++i) {
        ck_assert_int_eq(0, p.edge[1]->rx_ahead[i]);
    }
    /* two positions are no reason for a credit, but the peer waits for the second */
    ck_assert_uint_lt(2, g.credit_every);
    ck_assert_int_eq(CRDMA_OK, crdma_edge_consume(p.edge[1], P32 + 6, true));
    ck_assert_int_eq(CRDMA_OK, crdma_edge_consume(p.edge[1], P32 + 5, false));
    ck_assert(crdma_edge_is_consumed(p.edge[0], P32 + 6));
    pair_close(&p);
}
END_TEST

/* Scrubbing what was consumed early must not hit what has not been read yet: with two blocks, the
 * block of an LL message is also that of the slot message two positions before. */
START_TEST(scrub_out_of_order)
{
    crdma_ring_geometry_t g;
    crdma_send_t send[3];
    crdma_recv_t recv[3];
    char data[64] = "unread", got[64] = "";
    pair_t p;

    crdma_ring_geometry_init(&g, 2, 2, 16, 64);
    pair_open(&p, &g, P31);
    for (int i = 0; i < 3; ++i) {
        crdma_send_start(&send[i], p.edge[0], &no_rndv, data, 0 == i ? 40 : 8, 64, 1);
        crdma_recv_start(&recv[i], p.edge[1], &no_rndv, 0 == i ? 40 : 8, 64, 1);
        ck_assert_int_eq(CRDMA_OK, crdma_send_progress(&send[i]));
    }
    for (int i = 2; i >= 0; --i) {
        memset(got, 0, sizeof(got));
        ck_assert_int_eq(CRDMA_OK, crdma_recv_progress(&recv[i], got));
        ck_assert_str_eq(data, got);
    }
    pair_close(&p);
}
END_TEST

/* Slots of another size than expected are a disagreement, not data. */
START_TEST(other_size)
{
    crdma_ring_geometry_t g;
    crdma_send_t send;
    crdma_recv_t recv;
    char data[256] = "x", got[256];
    pair_t p;

    crdma_ring_geometry_init(&g, 4, 4, 16, 64);
    pair_open(&p, &g, 1);
    crdma_send_start(&send, p.edge[0], &no_rndv, data, 120, 60, 1);
    crdma_recv_start(&recv, p.edge[1], &no_rndv, 120, 48, 1);
    ck_assert_int_eq(CRDMA_OK, crdma_send_progress(&send));
    ck_assert_int_eq(CRDMA_ERR_MISMATCH, crdma_recv_progress(&recv, got));
    pair_close(&p);
}
END_TEST

/* A call that fails takes its rendezvous back: the other side does not touch the buffer any more,
 * and fails too. */
START_TEST(withdrawn)
{
    static const crdma_rndv_mode_t both = {
        .min = 4096, .receiver_copies = true, .sender_copies = true};
    static const crdma_rndv_mode_t write_only = {.min = 4096, .sender_copies = true};
    static char data[100000], got[100000];
    const bool by_sender = 0 == _i % 2, piecewise = 4 == _i;
    const crdma_rndv_mode_t *mode = _i < 2 ? &both : &write_only;
    crdma_ring_geometry_t g;
    crdma_send_t send;
    crdma_recv_t recv;
    pair_t p;

    crdma_ring_geometry_init(&g, 2, 2, 16, 64);
    pair_open(&p, &g, P32 - 1);
    p.peer[0].pid = p.peer[1].pid = getpid();
    memset(data, 'd', sizeof(data));
    memset(got, 0, sizeof(got));
    crdma_send_start(&send, p.edge[0], mode, data, sizeof(data), 64, 1);
    crdma_recv_start(&recv, p.edge[1], mode, sizeof(data), 64, 1);
    ck_assert_int_eq(CRDMA_AGAIN, crdma_send_progress(&send));
    if (piecewise) {
        ck_assert_int_eq(CRDMA_OK, crdma_recv_ready(&recv));
        ck_assert_int_eq(CRDMA_OK, crdma_recv_read(&recv, got, 0, 1000));
        crdma_send_withdraw(&send);
        ck_assert_int_eq(CRDMA_ERR_PEER, crdma_recv_read(&recv, got, 1000, 1000));
    } else if (by_sender) {
        if (!mode->receiver_copies) {
            ck_assert_int_eq(CRDMA_AGAIN, crdma_recv_progress(&recv, got));
        }
        crdma_send_withdraw(&send);
        memset(data, 'x', sizeof(data)); /* the caller's again */
        ck_assert_int_eq(CRDMA_ERR_PEER, crdma_recv_progress(&recv, got));
        ck_assert_ptr_null(memchr(got, 'x', sizeof(got)));
    } else if (!mode->receiver_copies) {
        ck_assert_int_eq(CRDMA_AGAIN, crdma_recv_progress(&recv, got)); /* it is granted */
        crdma_recv_withdraw(&recv);
        ck_assert_int_eq(CRDMA_ERR_PEER, crdma_send_progress(&send));
        ck_assert_ptr_null(memchr(got, 'd', sizeof(got)));
    } else { /* nothing has begun: nothing to withdraw */
        crdma_recv_withdraw(&recv);
        ck_assert_int_eq(CRDMA_OK, crdma_recv_progress(&recv, got));
        ck_assert_int_eq(CRDMA_OK, crdma_send_progress(&send));
        crdma_send_withdraw(&send); /* it is over */
        crdma_recv_withdraw(&recv);
    }
    pair_close(&p);
}
END_TEST

static Suite *edge_suite(void)
{
    Suite *suite = suite_create("edge");
    TCase *tcase = tcase_create("edge");

    tcase_add_test(tcase, stale);
    tcase_add_test(tcase, crossings);
    tcase_add_test(tcase, credits);
    tcase_add_test(tcase, out_of_order);
    tcase_add_test(tcase, scrub_out_of_order);
    tcase_add_test(tcase, other_size);
    tcase_add_loop_test(tcase, withdrawn, 0, 5);
    tcase_set_timeout(tcase, 60);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(edge_suite(), CK_ENV);
}
