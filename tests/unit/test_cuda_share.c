/*
 * GPU memory that one process names and another opens, over the stand-in for the driver: first the
 * stand-in's own rules (tests/fakecuda/ipc.c), then device/cuda_share, cuda_work and cuda_block. An
 * emulation, as test_cuda.
 *
 * Catches: a view of freed memory that is used for the memory which has its address now; views that
 * are opened again and again, or never closed; a result that is told before it is complete; memory
 * of pools, managed memory and drivers that refuse.
 *
 * Every test is a pair of processes, owner and reader, that take turns over two pipes.
 */
#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "coll_rdma/device/cuda_share.h"
#include "coll_rdma/device/cuda_work.h"
#include "tests/unit/emulated_gpu.h"
#include "tests/unit/run_suite.h"

enum { BYTES = 100000, OWNER = 1234 };

/* The other process, and whether this one is the reader. */
static int to_other, from_other;
static pid_t reader;

static void start(void)
{
    setenv("FAKECUDA_DELAY_US", "1000", 1);
    emulated_gpu_start();
}

/* True in the owner. Each process loads a driver of its own. */
static bool is_owner(void)
{
    int down[2], up[2];

    ck_assert_int_eq(0, pipe(down));
    ck_assert_int_eq(0, pipe(up));
    reader = fork();
    ck_assert(0 <= reader);
    to_other = 0 == reader ? up[1] : down[1];
    from_other = 0 == reader ? down[0] : up[0];
    close(0 == reader ? up[0] : down[0]);
    close(0 == reader ? down[1] : up[1]);
    start();
    return 0 != reader;
}

static void tell(const void *data, size_t bytes)
{
    if ((ssize_t)bytes != write(to_other, data, bytes)) {
        ck_abort_msg("the other process has gone");
    }
}

static void hear(void *data, size_t bytes)
{
    if ((ssize_t)bytes != read(from_other, data, bytes)) {
        ck_abort_msg("the other process has gone");
    }
}

static void turn(void)
{
    char c = 'x';

    tell(&c, 1);
    hear(&c, 1);
}

static void finish(void)
{
    int status = 1;

    crdma_cuda_close();
    if (0 == reader) {
        _exit(EXIT_SUCCESS); /* a failed assertion of the reader exits otherwise */
    }
    close(to_other);
    ck_assert_int_eq(reader, waitpid(reader, &status, 0));
    ck_assert_int_eq(0, status);
}

static crdma_cu_ptr_t memory(size_t bytes, int value)
{
    crdma_cu_ptr_t p = 0;

    ck_assert_int_eq(0, cu.alloc(&p, bytes));
    ck_assert_int_eq(0, cu.fill_later(p, (unsigned char)value, bytes, NULL));
    return p;
}

static void expect(crdma_cu_ptr_t p, int value)
{
    static unsigned char back[BYTES];

    ck_assert_int_eq(0, cu.copy((uintptr_t)back, p, BYTES));
    for (int i = 0; i < BYTES; ++i) {
        if (value != back[i]) {
            ck_abort_msg("byte %d is %d, not %d", i, back[i], value);
        }
    }
}

/* The stand-in: what a handle opens, and when it opens nothing. */
START_TEST(handles)
{
    crdma_cu_ipc_handle_t handle;
    crdma_cu_ptr_t p, q;

    if (is_owner()) {
        p = memory(BYTES, 7);
        ck_assert_int_eq(CRDMA_CU_INVALID_VALUE, cu.get_handle(&handle, p + 1));
        ck_assert_int_eq(0, cu.get_handle(&handle, p));
        ck_assert_int_eq(CRDMA_CU_INVALID_CONTEXT, cu.open(&q, handle, 1)); /* our own */
        ck_assert_int_eq(0, cu.copy(p, p, 1));                              /* the fill is done */
        tell(&handle, sizeof(handle));
        turn();
        expect(p, 9);
        ck_assert_int_eq(0, cu.free(p)); /* while the reader has it open */
        ck_assert_int_eq(1, cu.calls("freed_while_open"));
        q = memory(BYTES, 8);
        ck_assert(p == q); /* where somebody still could read */
        turn();
        turn();
        ck_assert_int_eq(0, cu.free(q));
        q = memory(BYTES, 8);
        ck_assert_int_eq(0, cu.alloc_of_pool(&q, BYTES, NULL));
        ck_assert_int_eq(CRDMA_CU_INVALID_VALUE, cu.get_handle(&handle, q));
    } else {
        crdma_cu_ptr_t mine = memory(BYTES, 9);

        hear(&handle, sizeof(handle));
        ck_assert_int_eq(CRDMA_CU_INVALID_VALUE, cu.open(&p, handle, 0));
        ck_assert_int_eq(0, cu.open(&p, handle, 1));
        ck_assert_int_ne(0, cu.open(&q, handle, 1)); /* it is open */
        ck_assert_int_eq(CRDMA_MEMORY_DEVICE, crdma_cuda_kind((void *)(uintptr_t)p));
        expect(p, 7);
        ck_assert_int_eq(0, cu.copy(p, mine, BYTES));
        turn();
        turn();
        ck_assert_int_ne(0, cu.open(&q, handle, 1)); /* freed */
        ck_assert_int_eq(0, cu.close(p));
        ck_assert_int_eq(CRDMA_CU_INVALID_VALUE, cu.close(p));
        ck_assert_int_ne(0, cu.open(&q, handle, 1));
        turn();
    }
    finish();
}
END_TEST

/* The stand-in: freed memory that is still open is an illegal address. */
START_TEST(freed_memory_is_not_read)
{
    crdma_cu_ipc_handle_t handle;
    crdma_cu_ptr_t p;
    static char host[BYTES];

    if (is_owner()) {
        p = memory(BYTES, 7);
        ck_assert_int_eq(0, cu.get_handle(&handle, p));
        tell(&handle, sizeof(handle));
        turn();
        ck_assert_int_eq(0, cu.free(p));
        turn();
    } else {
        hear(&handle, sizeof(handle));
        ck_assert_int_eq(0, cu.open(&p, handle, 1));
        turn();
        turn();
        ck_assert_int_eq(700, cu.copy((uintptr_t)host, p, BYTES));
    }
    finish();
}
END_TEST

static void *pointer(crdma_cu_ptr_t p)
{
    return (void *)(uintptr_t)p;
}

/* Reads what a name stands for, by the pipe's way. */
static void read_name(crdma_cuda_pipe_t *pipe, const crdma_cuda_name_t *name, crdma_cu_ptr_t to,
                      size_t bytes)
{
    crdma_cuda_view_t *view;
    crdma_status_t status;
    uint64_t ticket;
    void *p;

    ck_assert_int_eq(CRDMA_OK, crdma_cuda_view_get(OWNER, name, pipe, &view, &p));
    ticket = crdma_cuda_work_copy(pipe, pointer(to), p, bytes);
    while (CRDMA_AGAIN == (status = crdma_cuda_work_poll(pipe, ticket))) {
    }
    ck_assert_int_eq(CRDMA_OK, status);
    crdma_cuda_view_put(view);
}

/* Opened once; closed when its address belongs to another allocation. */
START_TEST(views_follow_allocations)
{
    crdma_cuda_name_t name;
    enum { ROUNDS = 12 };

    if (is_owner()) {
        long named = 0;

        for (int round = 0; round < ROUNDS; ++round) {
            crdma_cu_ptr_t p = memory(2 * BYTES, 1 + round);

            ck_assert_int_eq(0, cu.copy(p, p, 1));
            for (int i = 0; i < 5; ++i) {
                ck_assert_int_eq(CRDMA_OK, crdma_cuda_share(pointer(p + 100), BYTES, &name));
                ck_assert_uint_eq(100, name.offset);
                tell(&name, sizeof(name));
                turn();
            }
            ck_assert_int_eq(++named, cu.calls("ipc_get"));
            ck_assert_int_eq(CRDMA_ERR_UNSUPPORTED,
                             crdma_cuda_share(pointer(p + 100), 3 * BYTES, &name));
            ck_assert_int_eq(0, cu.free(p));
        }
    } else {
        crdma_cu_ptr_t mine = memory(BYTES, 0);
        crdma_cuda_pipe_t *pipe = crdma_cuda_pipe_get(pointer(mine));

        for (int round = 0; round < ROUNDS; ++round) {
            for (int i = 0; i < 5; ++i) {
                hear(&name, sizeof(name));
                read_name(pipe, &name, mine, BYTES);
                turn();
            }
            expect(mine, 1 + round);
            ck_assert_int_eq(round + 1, cu.calls("ipc_open"));
        }
        ck_assert_int_eq(ROUNDS - 1, cu.calls("ipc_close")); /* the same address every time */
        ck_assert_int_eq(CRDMA_OK, crdma_cuda_pipe_put(pipe));
        crdma_cuda_close();
        ck_assert_int_eq(ROUNDS, cu.calls("ipc_close"));
    }
    finish();
}
END_TEST

/* More allocations than views. */
START_TEST(many_views)
{
    enum { MANY = 200 };
    static crdma_cuda_name_t names[MANY];

    if (is_owner()) {
        for (int i = 0; i < MANY; ++i) {
            crdma_cu_ptr_t p = memory(BYTES, i);

            ck_assert_int_eq(0, cu.copy(p, p, 1));
            ck_assert_int_eq(CRDMA_OK, crdma_cuda_share(pointer(p), BYTES, &names[i]));
            tell(&names[i], sizeof(names[i]));
        }
        turn();
    } else {
        crdma_cu_ptr_t mine = memory(BYTES, 0);
        crdma_cuda_pipe_t *pipe = crdma_cuda_pipe_get(pointer(mine));
        crdma_cuda_view_t *held;
        void *p;

        for (int i = 0; i < MANY; ++i) {
            hear(&names[i], sizeof(names[i]));
        }
        ck_assert_int_eq(CRDMA_OK, crdma_cuda_view_get(OWNER, &names[0], pipe, &held, &p));
        for (int i = 0; i < 2 * MANY; ++i) {
            read_name(pipe, &names[i * 7 % MANY], mine, BYTES);
            expect(mine, i * 7 % MANY);
        }
        ck_assert_int_eq(0, cu.copy(mine, (uintptr_t)p, BYTES)); /* what is in use stays open */
        expect(mine, 0);
        crdma_cuda_view_put(held);
        ck_assert_int_eq(CRDMA_OK, crdma_cuda_pipe_put(pipe));
        turn();
    }
    finish();
}
END_TEST

/* What cannot be named or opened says so and leaves nothing behind. */
START_TEST(refusals)
{
    crdma_cuda_name_t name;
    crdma_cu_ptr_t p, q;
    char host;

    if (is_owner()) {
        ck_assert_int_eq(CRDMA_ERR_UNSUPPORTED, crdma_cuda_share(&host, 1, &name));
        ck_assert_int_eq(0, cu.alloc_of_pool(&q, BYTES, NULL));
        ck_assert_int_eq(CRDMA_ERR_UNSUPPORTED, crdma_cuda_share(pointer(q), 1, &name));
        ck_assert_int_eq(0, cu.alloc_managed(&q, BYTES, 1));
        ck_assert_int_eq(CRDMA_ERR_UNSUPPORTED, crdma_cuda_share(pointer(q), 1, &name));
        p = memory(BYTES, 3);
        cu.break_call("ipc_get", 1);
        for (int i = 0; i < 3; ++i) { /* asked for once */
            ck_assert_int_eq(CRDMA_ERR_UNSUPPORTED, crdma_cuda_share(pointer(p), 1, &name));
        }
        ck_assert_int_eq(1, cu.calls("ipc_get"));
        p = memory(2 * BYTES, 3);
        ck_assert_int_eq(0, cu.copy(p, p, 1));
        ck_assert_int_eq(CRDMA_OK, crdma_cuda_share(pointer(p), BYTES, &name));
        tell(&name, sizeof(name));
        turn();
    } else {
        crdma_cu_ptr_t mine = memory(BYTES, 0);
        crdma_cuda_pipe_t *pipe = crdma_cuda_pipe_get(pointer(mine));
        crdma_cuda_view_t *view;
        void *at;

        hear(&name, sizeof(name));
        cu.break_call("ipc_open", 1);
        ck_assert_int_eq(CRDMA_ERR_UNSUPPORTED,
                         crdma_cuda_view_get(OWNER, &name, pipe, &view, &at));
        read_name(pipe, &name, mine, BYTES);
        expect(mine, 3);
        ck_assert_int_eq(CRDMA_OK, crdma_cuda_pipe_put(pipe));
        turn();
    }
    finish();
}
END_TEST

/* Many tickets at once, each done when it says so; then an error, which stays. */
START_TEST(tickets)
{
    enum { COPIES = 50, EACH = 1000 };
    static unsigned char from[COPIES][EACH], to[COPIES][EACH];
    uint64_t ticket[COPIES];
    crdma_cuda_pipe_t *pipe;
    crdma_cu_ptr_t p;

    start();
    p = memory(sizeof(from), 0);
    pipe = crdma_cuda_pipe_get(pointer(p));
    for (int i = 0; i < COPIES; ++i) {
        memset(from[i], i + 1, EACH);
        (void)crdma_cuda_work_copy(pipe, pointer(p + (size_t)i * EACH), from[i], EACH);
        ticket[i] = crdma_cuda_work_copy(pipe, to[i], pointer(p + (size_t)i * EACH), EACH);
        if (0 == i % 3) {
            crdma_status_t status;

            while (CRDMA_AGAIN == (status = crdma_cuda_work_poll(pipe, ticket[i]))) {
            }
            ck_assert_int_eq(CRDMA_OK, status);
            ck_assert_int_eq(0, memcmp(from[i], to[i], EACH));
        }
    }
    crdma_cuda_work_wait(pipe);
    ck_assert_int_eq(0, memcmp(from, to, sizeof(from)));
    /* What the default stream has begun comes before a mark. */
    ck_assert_int_eq(0, cu.fill_later(p, 77, EACH, NULL));
    ticket[0] = crdma_cuda_work_mark(pipe);
    while (CRDMA_AGAIN == crdma_cuda_work_poll(pipe, ticket[0])) {
    }
    cu.break_call("copy", 1);
    ticket[0] = crdma_cuda_work_copy(pipe, to[0], pointer(p), EACH);
    while (CRDMA_AGAIN == crdma_cuda_work_poll(pipe, ticket[0])) {
    }
    ck_assert_int_eq(CRDMA_ERR_DEVICE, crdma_cuda_work_poll(pipe, ticket[0]));
    ck_assert_int_eq(CRDMA_ERR_DEVICE, crdma_cuda_work_poll(pipe, crdma_cuda_work_mark(pipe)));
    ck_assert_int_eq(CRDMA_ERR_DEVICE, crdma_cuda_pipe_put(pipe));
    crdma_cuda_close();
}
END_TEST

/* Memory of ours is allocated once; what was shared is not freed. */
START_TEST(blocks_are_kept)
{
    crdma_cuda_block_t *block[12];
    crdma_cu_ptr_t p;
    long before;

    start();
    p = memory(10, 0);
    for (int i = 0; i < 5; ++i) {
        block[0] = crdma_cuda_block_get(BYTES, pointer(p));
        block[1] = crdma_cuda_block_get(BYTES, pointer(p));
        ck_assert(NULL != block[0] && NULL != block[1] && block[0]->data != block[1]->data);
        ck_assert_uint_ge(block[0]->bytes, BYTES);
        crdma_cuda_block_put(block[0]);
        crdma_cuda_block_put(block[1]);
        ck_assert_int_eq(3, cu.calls("alloc"));
    }
    for (int i = 0; i < 12; ++i) {
        block[i] = crdma_cuda_block_get(BYTES, pointer(p));
        block[i]->shared = 0 == i % 2;
    }
    before = cu.calls("alloc");
    for (int i = 0; i < 12; ++i) {
        crdma_cuda_block_put(block[i]);
    }
    for (int i = 0; i < 6; ++i) { /* the shared ones at least */
        block[i] = crdma_cuda_block_get(BYTES, pointer(p));
    }
    ck_assert_int_eq(before, cu.calls("alloc"));
    for (int i = 0; i < 6; ++i) {
        crdma_cuda_block_put(block[i]);
    }
    cu.break_call("alloc", 1);
    ck_assert_ptr_null(crdma_cuda_block_get((size_t)64 << 20, pointer(p)));
    ck_assert_ptr_null(crdma_cuda_block_get(SIZE_MAX - 5, pointer(p)));
    ck_assert_ptr_null(crdma_cuda_block_get(10, &before));
    crdma_cuda_close();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_share");
    TCase *tc = tcase_create("emulated");

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, handles);
    tcase_add_test(tc, freed_memory_is_not_read);
    tcase_add_test(tc, views_follow_allocations);
    tcase_add_test(tc, many_views);
    tcase_add_test(tc, refusals);
    tcase_add_test(tc, tickets);
    tcase_add_test(tc, blocks_are_kept);
    suite_add_tcase(suite, tc);
    return run_suite(suite, CK_NORMAL);
}
