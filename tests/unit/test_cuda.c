/*
 * device/cuda over the stand-in for the driver (tests/fakecuda), with late copies: kinds of memory,
 * contexts, order, errors, and what is kept from call to call. An emulation: it shows that the
 * rules are kept, not that a GPU does what we think.
 *
 * Every test is a process of its own, so it starts without a driver.
 */
#include <check.h>
#include <dlfcn.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/emulated_gpu.h"
#include "tests/unit/run_suite.h"

static void start(void)
{
    setenv("FAKECUDA_DELAY_US", "2000", 1);
    emulated_gpu_start();
}

static crdma_status_t copy(void *dst, const void *src, size_t bytes, const void *on_device)
{
    crdma_cuda_queue_t queue;

    crdma_cuda_queue_begin(&queue, on_device);
    crdma_cuda_queue_copy(&queue, dst, src, bytes);
    return crdma_cuda_queue_end(&queue);
}

static void fill(unsigned char *data, size_t bytes, unsigned seed)
{
    for (size_t i = 0; i < bytes; ++i) {
        data[i] = (unsigned char) (i * 31 + i / 251 + seed);
    }
}

/* To the device and back. */
static void round_trip(void *on_device, size_t bytes, unsigned seed)
{
    unsigned char *from = malloc(bytes), *to = calloc(1, bytes);

    fill(from, bytes, seed);
    ck_assert_int_eq(CRDMA_OK, copy(on_device, from, bytes, on_device));
    ck_assert_int_eq(CRDMA_OK, copy(to, on_device, bytes, on_device));
    ck_assert_int_eq(0, memcmp(from, to, bytes));
    free(from);
    free(to);
}

START_TEST(a_driver_is_noticed_whenever_it_is_loaded)
{
    int here;

    ck_assert(!crdma_cuda_possible());
    ck_assert(!crdma_cuda_possible());
    ck_assert_int_eq(CRDMA_MEMORY_HOST, crdma_cuda_kind(&here));
    /* Some other library. */
    ck_assert(NULL != dlopen("libresolv.so.2", RTLD_NOW));
    ck_assert(!crdma_cuda_possible());
    emulated_gpu_load();
    ck_assert(crdma_cuda_possible());
    ck_assert(crdma_cuda_possible());
    /* Loaded, but cuInit has not been called. */
    ck_assert_int_eq(CRDMA_MEMORY_HOST, crdma_cuda_kind(&here));
    crdma_cuda_close();
    ck_assert(crdma_cuda_possible()); /* found again */
    crdma_cuda_close();
}
END_TEST

/* What is watched must not go away under our feet. */
START_TEST(libraries_come_and_go)
{
    for (int i = 0; i < 20; ++i) {
        void *handle = dlopen("libresolv.so.2", RTLD_NOW);

        ck_assert(NULL != handle);
        ck_assert(!crdma_cuda_possible());
        dlclose(handle);
        ck_assert(!crdma_cuda_possible());
    }
    emulated_gpu_load();
    ck_assert(crdma_cuda_possible());
}
END_TEST

START_TEST(kinds)
{
    static char host[100];
    crdma_cu_ptr_t managed;
    void *pinned;
    char *device;

    start();
    device = device_memory(1000);
    ck_assert_int_eq(0, cu.alloc_managed(&managed, 1000, 1));
    ck_assert_int_eq(0, cu.host_alloc(&pinned, 1000, 0));
    ck_assert_int_eq(CRDMA_MEMORY_HOST, crdma_cuda_kind(host));
    ck_assert_int_eq(CRDMA_MEMORY_HOST, crdma_cuda_kind(NULL));
    ck_assert_int_eq(CRDMA_MEMORY_DEVICE, crdma_cuda_kind(device));
    ck_assert_int_eq(CRDMA_MEMORY_DEVICE, crdma_cuda_kind(device + 999));
    ck_assert_int_eq(CRDMA_MEMORY_MANAGED, crdma_cuda_kind((void *) (uintptr_t) managed));
    ck_assert_int_eq(CRDMA_MEMORY_PINNED, crdma_cuda_kind(pinned));
    ck_assert(crdma_cuda_owns(device) && crdma_cuda_owns((void *) (uintptr_t) managed));
    ck_assert(!crdma_cuda_owns(pinned) && !crdma_cuda_owns(host));
    ck_assert_str_eq("device", crdma_memory_kind_name(CRDMA_MEMORY_DEVICE));
    crdma_cuda_close();
}
END_TEST

/* The stand-in itself: the host cannot read device memory. */
START_TEST(the_host_dies_on_device_memory)
{
    start();
    signal(SIGSEGV, SIG_DFL); /* a sanitiser would turn it into an exit */
    *(volatile char *) device_memory(1);
}
END_TEST

START_TEST(copies)
{
    start();
    for (size_t bytes = 1; bytes < 3000000; bytes = bytes * 7 + 3) {
        round_trip(device_memory(bytes), bytes, (unsigned) bytes);
    }
    crdma_cuda_close();
}
END_TEST

/* What is in the legacy default stream comes first, although nobody has waited for it. */
START_TEST(copies_follow_the_default_stream)
{
    unsigned char *device, back[5000];

    start();
    device = device_memory(sizeof(back));
    for (int i = 1; i < 20; ++i) {
        ck_assert_int_eq(0, cu.fill_later((uintptr_t) device, (unsigned char) i, sizeof(back), NULL));
        ck_assert_int_eq(CRDMA_OK, copy(back, device, sizeof(back), device));
        for (size_t b = 0; b < sizeof(back); ++b) {
            ck_assert(i == back[b]);
        }
    }
}
END_TEST

/* The context comes from the pointer, the thread's own stays. */
START_TEST(contexts)
{
    crdma_cu_context_t other, seen;
    crdma_cu_ptr_t there, pool;
    void *here;

    start();
    here = device_memory(100);
    ck_assert_int_eq(0, cu.retain(&other, 1));
    ck_assert_int_eq(0, cu.set_current(other));
    ck_assert_int_eq(0, cu.alloc(&there, 100));
    ck_assert_int_eq(0, cu.alloc_of_pool(&pool, 100, NULL));
    for (int i = 0; i < 3; ++i) {
        crdma_cu_context_t mine = 0 == i ? NULL : 1 == i ? cu.primary : other;

        ck_assert_int_eq(0, cu.set_current(mine));
        round_trip(here, 100, 1);
        round_trip((void *) (uintptr_t) there, 100, 2);
        round_trip((void *) (uintptr_t) pool, 100, 3);
        ck_assert_int_eq(0, cu.get_current(&seen));
        ck_assert_ptr_eq(mine, seen);
    }
    crdma_cuda_close();
}
END_TEST

/* A destroyed context takes its streams and registrations with it, and another one may get its
 * address. */
START_TEST(contexts_that_go_away)
{
    crdma_cu_context_t context;

    start();
    for (int i = 0; i < 5; ++i) {
        crdma_cuda_stage_t *stage;
        void *device;

        ck_assert_int_eq(0, cu.create(&context, 0, 0));
        device = device_memory(1000);
        stage = crdma_cuda_stage_get(1000, device);
        ck_assert_ptr_nonnull(stage);
        memset(stage->data, i, 1000);
        round_trip(device, 1000, (unsigned) i);
        ck_assert_int_eq(CRDMA_OK, copy(stage->data, device, 1000, device));
        crdma_cuda_stage_put(stage);
        ck_assert_int_eq(0, cu.destroy(context));
    }
    round_trip(device_memory(10), 10, 7);
    crdma_cuda_close();
}
END_TEST

START_TEST(stages_are_kept)
{
    crdma_cuda_stage_t *stage[12];
    long registered;
    void *device;

    start();
    device = device_memory(10);
    for (int i = 0; i < 3; ++i) {
        for (int s = 0; s < 2; ++s) {
            stage[s] = crdma_cuda_stage_get(200000, device);
            ck_assert(NULL != stage[s] && stage[s]->pinned && 200000 <= stage[s]->bytes);
            ck_assert_int_eq(CRDMA_MEMORY_PINNED, crdma_cuda_kind(stage[s]->data));
            memset(stage[s]->data, 1, 200000);
        }
        ck_assert_ptr_ne(stage[0]->data, stage[1]->data);
        crdma_cuda_stage_put(stage[0]);
        crdma_cuda_stage_put(stage[1]);
        ck_assert_int_eq(2, cu.calls("register"));
    }
    /* A small one fits into a large one; more than are kept. */
    for (int s = 0; s < 12; ++s) {
        stage[s] = crdma_cuda_stage_get((size_t) 1000 << s, device);
        ck_assert_ptr_nonnull(stage[s]);
    }
    for (int s = 0; s < 12; ++s) {
        crdma_cuda_stage_put(stage[s]);
    }
    registered = cu.calls("register");
    /* Not pinned is slower, not wrong. */
    cu.break_call("register", 1);
    stage[0] = crdma_cuda_stage_get((size_t) 40 << 20, device);
    ck_assert(NULL != stage[0] && !stage[0]->pinned);
    ck_assert_int_eq(registered + 1, cu.calls("register"));
    ck_assert_int_eq(CRDMA_OK, copy(stage[0]->data, device, 10, device));
    crdma_cuda_stage_put(stage[0]);
    ck_assert_ptr_null(crdma_cuda_stage_get(SIZE_MAX - 5, device));
    crdma_cuda_close();
}
END_TEST

START_TEST(failures_are_reported)
{
    static char host[64];
    void *device;

    start();
    device = device_memory(100);
    round_trip(device, 100, 1);
    cu.break_call("copy", 1);
    ck_assert_int_eq(CRDMA_ERR_DEVICE, copy(host, device, 10, device));
    /* The context has failed for good. */
    ck_assert_int_eq(CRDMA_ERR_DEVICE, copy(host, device, 10, device));
    ck_assert_int_eq(CRDMA_ERR_DEVICE, copy(host, device, 10, host)); /* not on a device */
    crdma_cuda_close();
}
END_TEST

START_TEST(no_stream)
{
    void *device;

    start();
    device = device_memory(100);
    cu.break_call("stream", 1);
    ck_assert_int_eq(CRDMA_ERR_DEVICE, copy(device, "abc", 3, device));
    round_trip(device, 100, 1);
}
END_TEST

/* Reductions by kernels: the host's bytes, for any number of sources. */
START_TEST(reductions)
{
    enum { COUNT = 3333, MOST = 40 };
    static float in[MOST][COUNT], expected[COUNT], got[COUNT];
    const crdma_reduce_fn_t host = crdma_reduce_lookup(CRDMA_OP_SUM, CRDMA_TYPE_FLOAT);
    const void *src[MOST], *on_device[MOST];
    void *partial;

    start();
    if (!crdma_cuda_can_reduce(CRDMA_OP_SUM, CRDMA_TYPE_FLOAT)) {
        return; /* built without nvcc */
    }
    ck_assert(!crdma_cuda_can_reduce(CRDMA_OP_SUM, CRDMA_TYPE_LDOUBLE));
    ck_assert(!crdma_cuda_can_reduce(CRDMA_OP_USER, CRDMA_TYPE_FLOAT));
    for (int s = 0; s < MOST; ++s) {
        for (int i = 0; i < COUNT; ++i) {
            in[s][i] = (float) (s + 1) / (float) (i + 3);
        }
        src[s] = in[s];
        on_device[s] = device_memory(sizeof(in[s]));
    }
    partial = device_memory(sizeof(got));
    for (int nsrc = 1; nsrc <= MOST; ++nsrc) {
        /* apart from the sources, among the first or among the last of them */
        void *dst = 0 == nsrc % 3   ? device_memory(sizeof(got))
                    : 1 == nsrc % 3 ? (void *) (uintptr_t) on_device[nsrc / 4]
                                    : (void *) (uintptr_t) on_device[nsrc - 1];
        crdma_cuda_queue_t queue;

        crdma_cuda_queue_begin(&queue, dst);
        for (int s = 0; s < nsrc; ++s) {
            crdma_cuda_queue_copy(&queue, (void *) (uintptr_t) on_device[s], in[s], sizeof(in[s]));
        }
        crdma_cuda_queue_reduce(&queue, CRDMA_OP_SUM, CRDMA_TYPE_FLOAT, dst, on_device, nsrc, COUNT,
                                partial);
        crdma_cuda_queue_copy(&queue, got, dst, sizeof(got));
        ck_assert_int_eq(CRDMA_OK, crdma_cuda_queue_end(&queue));
        host(expected, src, nsrc, COUNT);
        ck_assert_msg(0 == memcmp(expected, got, sizeof(got)), "%d sources", nsrc);
    }
    /* dst among the sources of a later launch, and nowhere to keep what there is so far. */
    ck_assert(crdma_cuda_needs_partial(on_device[20], on_device, MOST));
    ck_assert(!crdma_cuda_needs_partial(on_device[15], on_device, MOST));
    ck_assert(!crdma_cuda_needs_partial(partial, on_device, MOST));
    {
        crdma_cuda_queue_t queue;

        crdma_cuda_queue_begin(&queue, on_device[20]);
        crdma_cuda_queue_reduce(&queue, CRDMA_OP_SUM, CRDMA_TYPE_FLOAT,
                                (void *) (uintptr_t) on_device[20], on_device, MOST, COUNT,
                                NULL);
        ck_assert_int_eq(CRDMA_ERR_DEVICE, crdma_cuda_queue_end(&queue));
    }
    crdma_cuda_close();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda");
    TCase *tc = tcase_create("emulated");

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, a_driver_is_noticed_whenever_it_is_loaded);
    tcase_add_test(tc, libraries_come_and_go);
    tcase_add_test(tc, kinds);
    tcase_add_test_raise_signal(tc, the_host_dies_on_device_memory, SIGSEGV);
    tcase_add_test(tc, copies);
    tcase_add_test(tc, copies_follow_the_default_stream);
    tcase_add_test(tc, contexts);
    tcase_add_test(tc, contexts_that_go_away);
    tcase_add_test(tc, stages_are_kept);
    tcase_add_test(tc, failures_are_reported);
    tcase_add_test(tc, no_stream);
    tcase_add_test(tc, reductions);
    suite_add_tcase(suite, tc);
    return run_suite(suite, CK_NORMAL);
}
