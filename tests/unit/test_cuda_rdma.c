/*
 * GPU memory for network adapters, over the stand-in for the driver: the stand-in's window
 * (tests/fakecuda/rdma.c), device/cuda_rdma, and memory/gpucache. An emulation, as test_cuda. That
 * adapters move the data is shown by tests/rxe.
 *
 * Catches: data of an adapter that are believed without a flush; a registration of freed memory
 * that is used for what has its address now, or that is held for ever; memory registered, or tried,
 * again and again; devices whose writes nobody can wait for.
 *
 * Every test is a process of its own.
 */
#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "coll_rdma/memory/gpucache.h"
#include "tests/unit/emulated_gpu.h"
#include "tests/unit/run_suite.h"

enum { BYTES = 16384 };

static void start(const char *way)
{
    if (NULL != way) {
        setenv("FAKECUDA_RDMA", way, 1);
    }
    emulated_gpu_start();
}

static void put(char *to, char value, size_t bytes)
{
    char *host = malloc(bytes);

    memset(host, value, bytes);
    ck_assert_int_eq(0, cu.copy((uintptr_t)to, (uintptr_t)host, bytes));
    free(host);
}

static char get(const char *from)
{
    char value;

    ck_assert_int_eq(0, cu.copy((uintptr_t)&value, (uintptr_t)from, 1));
    return value;
}

/* What an adapter would have of it. */
static char *window(const char *p, size_t bytes)
{
    const int fd = crdma_cuda_rdma_dmabuf((uintptr_t)p, (uintptr_t)p + bytes);
    char *map;

    ck_assert_int_le(0, fd);
    map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ck_assert(MAP_FAILED != map);
    close(fd);
    return map;
}

static void flush(const void *on_device)
{
    crdma_cuda_pipe_t *pipe = crdma_cuda_pipe_get(on_device);

    ck_assert(NULL != pipe);
    ck_assert_int_eq(CRDMA_OK, crdma_cuda_rdma_flush(pipe));
    ck_assert_int_eq(CRDMA_OK, crdma_cuda_pipe_put(pipe));
}

START_TEST(writes_of_an_adapter_are_seen_after_a_flush)
{
    char *p, *map;

    start(NULL);
    p = device_memory(BYTES);
    put(p, 1, BYTES);
    map = window(p, BYTES);
    ck_assert(crdma_cuda_rdma_possible(p));
    ck_assert_int_eq(1, map[0]);
    ck_assert_int_eq(1, map[BYTES - 1]);
    map[BYTES - 1] = 2;
    ck_assert_int_eq(1, get(p + BYTES - 1)); /* the stand-in is as bad as a bus can be */
    flush(p);
    ck_assert_int_eq(2, get(p + BYTES - 1));
    ck_assert_int_eq(1, get(p));
    put(p, 3, 8);
    ck_assert_int_eq(3, map[7]); /* and the other way, at once */
    ck_assert_int_eq(2, map[BYTES - 1]);
    ck_assert_int_eq(1, cu.calls("flush"));
    crdma_cuda_close();
}
END_TEST

START_TEST(an_ordered_device_needs_none)
{
    char *p, *map;

    start("ordered");
    p = device_memory(BYTES);
    put(p, 1, BYTES);
    map = window(p, BYTES);
    ck_assert(crdma_cuda_rdma_possible(p));
    map[5] = 2;
    flush(p);
    ck_assert_int_eq(0, cu.calls("flush"));
    ck_assert_int_eq(2, get(p + 5));
    crdma_cuda_close();
}
END_TEST

START_TEST(devices_that_cannot)
{
    static const char *const ways[] = {"none", "unordered"};

    start(ways[_i]);
    ck_assert(!crdma_cuda_rdma_possible(device_memory(BYTES)));
    crdma_cuda_close();
}
END_TEST

/* --- the cache */

static int entered, left;
static bool refuse;
static void *last_start;
static size_t last_len;

static crdma_status_t enter(void *context, void *start, size_t len, void **handle)
{
    (void)context;
    ++entered;
    last_start = start;
    last_len = len;
    *handle = &entered;
    return refuse ? CRDMA_ERR_UNSUPPORTED : CRDMA_OK;
}

static void leave(void *context, void *handle)
{
    (void)context;
    ck_assert_ptr_eq(&entered, handle);
    ++left;
}

static crdma_gpucache_t *cache_new(void)
{
    const crdma_gpucache_ops_t ops = {.enter = enter, .leave = leave};
    crdma_gpucache_t *cache;

    ck_assert_int_eq(CRDMA_OK, crdma_gpucache_create(&ops, &cache));
    return cache;
}

static crdma_status_t use(crdma_gpucache_t *cache, const char *p, size_t len)
{
    crdma_gpu_registration_t *r;
    const crdma_status_t status = crdma_gpucache_get(cache, p, len, &r);

    if (CRDMA_OK == status) {
        ck_assert_ptr_eq(r, crdma_gpucache_find(cache, p + len - 1));
        crdma_gpucache_put(cache, r);
    }
    return status;
}

START_TEST(memory_is_registered_once)
{
    crdma_gpucache_t *cache;
    uint64_t gets, registrations;
    char *p;

    start(NULL);
    cache = cache_new();
    p = device_memory(BYTES);
    for (int i = 0; i < 10; ++i) {
        ck_assert_int_eq(CRDMA_OK, use(cache, p + 100 * i, 50));
    }
    ck_assert_int_eq(1, entered);
    ck_assert_ptr_eq(p, last_start); /* whole, in pages */
    ck_assert_uint_eq(BYTES, last_len);
    ck_assert_ptr_null(crdma_gpucache_find(cache, p)); /* nobody uses it */
    crdma_gpucache_counts(cache, &gets, &registrations);
    ck_assert_uint_eq(10, gets);
    ck_assert_uint_eq(1, registrations);
    ck_assert_int_eq(CRDMA_ERR_UNSUPPORTED, use(cache, p + BYTES - 1, 2)); /* beyond its end */
    crdma_gpucache_destroy(cache);
    ck_assert_int_eq(1, left);
    crdma_cuda_close();
}
END_TEST

START_TEST(freed_memory_is_not_mistaken)
{
    crdma_gpucache_t *cache;
    char *p, *q, *other;

    start(NULL);
    cache = cache_new();
    p = device_memory(BYTES);
    other = device_memory(BYTES);
    ck_assert_int_eq(CRDMA_OK, use(cache, p, BYTES));
    ck_assert_int_eq(CRDMA_OK, use(cache, other, BYTES));
    cu.free((uintptr_t)p);
    q = device_memory(BYTES);
    ck_assert_ptr_eq(p, q); /* else this shows nothing */
    ck_assert_int_eq(CRDMA_OK, use(cache, q, BYTES));
    ck_assert_int_eq(3, entered);
    ck_assert_int_eq(1, left);
    /* Freed, and its address is never used again: noticed while other memory is. */
    cu.free((uintptr_t)q);
    for (int i = 0; i < 100 && 1 == left; ++i) {
        ck_assert_int_eq(CRDMA_OK, use(cache, other, BYTES));
    }
    ck_assert_int_eq(2, left);
    ck_assert_int_eq(3, entered);
    crdma_gpucache_destroy(cache);
    ck_assert_int_eq(entered, left);
    crdma_cuda_close();
}
END_TEST

START_TEST(what_cannot_be_registered_is_not_tried_again)
{
    crdma_gpucache_t *cache;
    crdma_cu_ptr_t pool, managed;
    char *p, host[8];

    start(NULL);
    cache = cache_new();
    ck_assert_int_eq(0, cu.alloc_of_pool(&pool, BYTES, NULL));
    ck_assert_int_eq(0, cu.alloc_managed(&managed, BYTES, CRDMA_CU_MEM_ATTACH_GLOBAL));
    ck_assert_int_eq(CRDMA_ERR_UNSUPPORTED, use(cache, (char *)(uintptr_t)pool, 1));
    ck_assert_int_eq(CRDMA_ERR_UNSUPPORTED, use(cache, (char *)(uintptr_t)managed, 1));
    ck_assert_int_eq(CRDMA_ERR_UNSUPPORTED, use(cache, host, 1));
    ck_assert_int_eq(0, entered);
    refuse = true;
    p = device_memory(BYTES);
    for (int i = 0; i < 3; ++i) {
        ck_assert_int_eq(CRDMA_ERR_UNSUPPORTED, use(cache, p, BYTES));
    }
    ck_assert_int_eq(1, entered);
    crdma_gpucache_destroy(cache);
    ck_assert_int_eq(0, left);
    crdma_cuda_close();
}
END_TEST

/* More allocations than the table has places: those in use stay. */
START_TEST(a_full_table)
{
    enum { MANY = 200 };
    crdma_gpucache_t *cache;
    crdma_gpu_registration_t *first, *again;
    char *p[MANY];

    start(NULL);
    cache = cache_new();
    for (int i = 0; i < MANY; ++i) {
        p[i] = device_memory(4096);
    }
    ck_assert_int_eq(CRDMA_OK, crdma_gpucache_get(cache, p[0], 1, &first));
    for (int i = 1; i < MANY; ++i) {
        ck_assert_int_eq(CRDMA_OK, use(cache, p[i], 1));
    }
    ck_assert_int_lt(MANY - 100, left);
    ck_assert_int_eq(CRDMA_OK, crdma_gpucache_get(cache, p[0], 1, &again));
    ck_assert_ptr_eq(first, again);
    ck_assert_int_eq(MANY, entered);
    crdma_gpucache_destroy(cache);
    ck_assert_int_eq(entered, left);
    crdma_cuda_close();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_rdma");
    TCase *tc = tcase_create("emulated");

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, writes_of_an_adapter_are_seen_after_a_flush);
    tcase_add_test(tc, an_ordered_device_needs_none);
    tcase_add_loop_test(tc, devices_that_cannot, 0, 2);
    tcase_add_test(tc, memory_is_registered_once);
    tcase_add_test(tc, freed_memory_is_not_mistaken);
    tcase_add_test(tc, what_cannot_be_registered_is_not_tried_again);
    tcase_add_test(tc, a_full_table);
    suite_add_tcase(suite, tc);
    return run_suite(suite, CK_NORMAL);
}
