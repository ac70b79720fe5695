/*
 * Messages of reductions by parts (protocol/parts.h), both ends here, through the kernel's copies.
 *
 *   in order                        tell, claim, read, store, finish: the owner is done when the
 *                                   worker is, not before
 *   without out                     an owner without a result: nothing is stored
 *   owner gives up first            before the claim: the worker gets an error and touches nothing
 *   worker gives up                 so does the owner, at once
 *   owner gives up in the middle    it does not have its buffers back before the worker has let go
 *                                   of them
 */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "coll_rdma/protocol/parts.h"
#include "coll_rdma/protocol/rendezvous.h"
#include "tests/unit/edge_pair.h"
#include "tests/unit/run_suite.h"

enum { BYTES = 20000 };

static const crdma_rndv_mode_t mode = {.min = 4096, .receiver_copies = true, .sender_copies = true};
static char in[BYTES], out[BYTES], work[BYTES];
static crdma_ring_geometry_t g;
static crdma_send_t send;
static crdma_recv_t recv;
static pair_t p;

static void begin(void)
{
    crdma_ring_geometry_init(&g, 8, 2, 16, 64);
    pair_open(&p, &g, ((uint64_t)1 << 32) - 1);
    p.peer[0].pid = p.peer[1].pid = getpid();
    memset(in, 'i', sizeof(in));
    memset(out, 'o', sizeof(out));
    crdma_parts_send(&send, p.edge[0], &mode, in, out, BYTES, 1);
    crdma_parts_recv(&recv, p.edge[1], &mode, BYTES, 1);
    ck_assert_int_eq(CRDMA_AGAIN, crdma_parts_claim(&recv));
    ck_assert_int_eq(CRDMA_AGAIN, crdma_send_progress(&send));
}

static void end(void)
{
    pair_close(&p);
}

START_TEST(in_order)
{
    ck_assert_int_eq(CRDMA_OK, crdma_parts_claim(&recv));
    ck_assert(crdma_parts_valid(&recv));
    ck_assert_ptr_null(crdma_parts_map(&recv, 0, BYTES));
    ck_assert_int_eq(CRDMA_OK, crdma_parts_get(&recv, work, 100, 5000));
    ck_assert_int_eq('i', work[4999]);
    ck_assert_int_eq(0, work[5000]);
    memset(work, 'w', sizeof(work));
    ck_assert_int_eq(CRDMA_OK, crdma_parts_put(&recv, work, 100, 5000));
    ck_assert_int_eq(CRDMA_AGAIN, crdma_send_progress(&send));
    ck_assert_int_eq(CRDMA_OK, crdma_parts_finish(&recv));
    ck_assert_int_eq(CRDMA_OK, crdma_send_progress(&send));
    ck_assert(out[99] == 'o' && out[100] == 'w' && out[5099] == 'w' && out[5100] == 'o');
    crdma_send_withdraw(&send); /* it is over */
    crdma_parts_abandon(&recv);
    ck_assert_int_eq(CRDMA_OK, crdma_send_progress(&send));
}
END_TEST

START_TEST(without_out)
{
    ck_assert_int_eq(CRDMA_OK, crdma_parts_claim(&recv));
    ck_assert_int_eq(CRDMA_OK, crdma_parts_finish(&recv));
    crdma_parts_send(&send, p.edge[0], &mode, in, NULL, BYTES, 1);
    crdma_parts_recv(&recv, p.edge[1], &mode, BYTES, 1);
    ck_assert_int_eq(CRDMA_AGAIN, crdma_send_progress(&send));
    ck_assert_int_eq(CRDMA_OK, crdma_parts_claim(&recv));
    ck_assert_int_eq(CRDMA_OK, crdma_parts_put(&recv, work, 0, BYTES));
    ck_assert_int_eq(CRDMA_OK, crdma_parts_finish(&recv));
    ck_assert_int_eq(CRDMA_OK, crdma_send_progress(&send));
}
END_TEST

START_TEST(owner_gives_up_first)
{
    crdma_send_withdraw(&send);
    ck_assert_int_eq(CRDMA_ERR_PEER, crdma_parts_claim(&recv));
    crdma_parts_abandon(&recv);
}
END_TEST

START_TEST(worker_gives_up)
{
    ck_assert_int_eq(CRDMA_OK, crdma_parts_claim(&recv));
    crdma_parts_abandon(&recv);
    ck_assert_int_eq(CRDMA_ERR_PEER, crdma_send_progress(&send));
    crdma_send_withdraw(&send);
}
END_TEST

static int back; /* the owner has its buffers */

static void *withdraw(void *argument)
{
    (void)argument;
    crdma_send_withdraw(&send);
    __atomic_store_n(&back, 1, __ATOMIC_RELEASE);
    return NULL;
}

START_TEST(owner_gives_up_in_the_middle)
{
    pthread_t thread;

    ck_assert_int_eq(CRDMA_OK, crdma_parts_claim(&recv));
    ck_assert_int_eq(0, pthread_create(&thread, NULL, withdraw, NULL));
    while (crdma_parts_valid(&recv)) {
        usleep(100);
    }
    usleep(50000);
    ck_assert_int_eq(0, __atomic_load_n(&back, __ATOMIC_ACQUIRE));
    crdma_parts_abandon(&recv);
    ck_assert_int_eq(0, pthread_join(thread, NULL));
    ck_assert_int_eq(1, back);
}
END_TEST

static Suite *parts_suite(void)
{
    Suite *suite = suite_create("parts");
    TCase *tcase = tcase_create("messages");

    tcase_add_checked_fixture(tcase, begin, end);
    tcase_add_test(tcase, in_order);
    tcase_add_test(tcase, without_out);
    tcase_add_test(tcase, owner_gives_up_first);
    tcase_add_test(tcase, worker_gives_up);
    tcase_add_test(tcase, owner_gives_up_in_the_middle);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(parts_suite(), CK_ENV);
}
