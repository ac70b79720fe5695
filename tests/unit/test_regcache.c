/*
 * The cache of registrations, with registration of its own that only counts.
 *
 *   reuse       a second get of the same memory registers nothing; another part of it neither
 *   unhooked    nothing is kept where nobody tells about freed memory
 *   freed       what was freed is never handed out again, used or not
 *   limit       the least recently used goes first; users keep theirs
 *   exhausted   a registration that fails for want of memory is tried again without what is idle
 *   constant    memory that may not be written
 *   racing      marking from other threads while the owner works
 */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "coll_rdma/memory/regcache.h"
#include "tests/unit/run_suite.h"

enum { PAGE = 4096, KIB64 = 65536 };

static struct {
    int live, entered;
    size_t bytes, limit;
    void *read_only;
} device;

typedef struct handle {
    size_t len;
} handle_t;

static crdma_status_t enter(void *context, void *address, size_t len, bool writable, void **handle)
{
    handle_t *h;

    ck_assert_ptr_eq(&device, context);
    ck_assert_uint_eq(0, (uintptr_t)address % PAGE);
    if (device.bytes + len > device.limit) {
        return CRDMA_ERR_NOMEM;
    }
    if (writable && NULL != device.read_only && (char *)address <= (char *)device.read_only &&
        (char *)device.read_only < (char *)address + len) {
        return CRDMA_ERR_TRANSPORT;
    }
    h = malloc(sizeof(*h));
    h->len = len;
    device.bytes += len;
    ++device.live;
    ++device.entered;
    *handle = h;
    return CRDMA_OK;
}

static void leave(void *context, void *handle)
{
    (void)context;
    device.bytes -= ((handle_t *)handle)->len;
    --device.live;
    free(handle);
}

static crdma_regcache_t *cache;
static char *memory; /* never touched: only addresses count */

static void start(void)
{
    const crdma_regcache_ops_t ops = {.enter = enter, .leave = leave, .context = &device};

    memset(&device, 0, sizeof(device));
    device.limit = SIZE_MAX / 2;
    crdma_regcache_hooked = true;
    memory = (char *)(uintptr_t)0x10000000;
    ck_assert_int_eq(CRDMA_OK, crdma_regcache_create(&ops, 4 * KIB64, &cache));
}

static void end(void)
{
    crdma_regcache_destroy(cache);
    crdma_regcache_destroy(NULL);
    ck_assert_int_eq(0, device.live);
    ck_assert_uint_eq(0, device.bytes);
}

static crdma_registration_t *get(size_t offset, size_t len, bool write)
{
    crdma_registration_t *r = NULL;

    ck_assert_int_eq(CRDMA_OK, crdma_regcache_get(cache, memory + offset, len, write, &r));
    ck_assert(r->start <= (uintptr_t)memory + offset);
    ck_assert(r->end >= (uintptr_t)memory + offset + len);
    ck_assert_ptr_nonnull(r->handle);
    return r;
}

START_TEST(reuse)
{
    crdma_registration_t *a = get(100, KIB64, true), *b = get(4096, 10, false);

    ck_assert_ptr_eq(a, b);
    ck_assert_int_eq(1, device.entered);
    crdma_regcache_put(cache, a);
    crdma_regcache_put(cache, b);
    ck_assert_int_eq(1, device.live);
    ck_assert_ptr_eq(a, get(0, KIB64 + 100, true));
    crdma_regcache_put(cache, a);
    ck_assert_int_eq(1, device.entered);
    b = get(0, KIB64 + 2 * PAGE, true); /* more than is registered */
    ck_assert_int_eq(2, device.entered);
    crdma_regcache_put(cache, b);
    ck_assert_uint_eq(device.bytes, crdma_regcache_bytes(cache));
}
END_TEST

START_TEST(unhooked)
{
    crdma_registration_t *a, *b;

    crdma_regcache_hooked = false;
    a = get(0, KIB64, true);
    b = get(0, KIB64, true);
    ck_assert_int_eq(1, device.entered);
    crdma_regcache_put(cache, a);
    ck_assert_int_eq(1, device.live);
    crdma_regcache_put(cache, b);
    ck_assert_int_eq(0, device.live);
}
END_TEST

START_TEST(freed)
{
    crdma_registration_t *idle = get(0, KIB64, true), *used = get(2 * KIB64, KIB64, true), *again;

    crdma_regcache_put(cache, idle);
    crdma_regcache_invalidate(memory + 3 * KIB64, KIB64); /* touches neither */
    crdma_regcache_invalidate(memory - KIB64, KIB64);
    again = get(0, KIB64, true);
    ck_assert_int_eq(2, device.entered);
    crdma_regcache_put(cache, again);

    crdma_regcache_invalidate(memory + KIB64 - 1, 1);
    crdma_regcache_invalidate(memory + 2 * KIB64 + PAGE, PAGE);
    ck_assert_int_eq(2, device.live); /* only marked */
    crdma_regcache_purge(cache);
    ck_assert_int_eq(1, device.live);
    (void)get(0, KIB64, true);
    again = get(2 * KIB64, KIB64, true);
    ck_assert_int_eq(4, device.entered);
    ck_assert_ptr_ne(used, again);
    crdma_regcache_put(cache, used);
    ck_assert_int_eq(2, device.live);
}
END_TEST

START_TEST(limit)
{
    crdma_registration_t *r[6];

    for (int i = 0; i < 6; ++i) {
        r[i] = get((size_t)(2 * i) * KIB64, KIB64, true);
    }
    for (int i = 0; i < 5; ++i) {
        crdma_regcache_put(cache, r[i]); /* four may stay */
    }
    ck_assert_int_eq(5, device.live);
    (void)get(2 * KIB64, KIB64, true); /* the second oldest is still there */
    ck_assert_int_eq(6, device.entered);
    (void)get(0, KIB64, true); /* the oldest went */
    ck_assert_int_eq(7, device.entered);
}
END_TEST

START_TEST(exhausted)
{
    crdma_registration_t *r;

    device.limit = 3 * KIB64;
    for (size_t i = 0; i < 3; ++i) {
        crdma_regcache_put(cache, get(2 * i * KIB64, KIB64, true));
    }
    r = get(8 * KIB64, KIB64, true);
    ck_assert_int_eq(1, device.live);
    ck_assert_int_eq(CRDMA_ERR_NOMEM,
                     crdma_regcache_get(cache, memory + 16 * KIB64, 3 * KIB64, true, &r));
    ck_assert_int_eq(1, device.live);
}
END_TEST

START_TEST(constant)
{
    crdma_registration_t *r;

    device.read_only = memory + PAGE;
    r = get(0, KIB64, false);
    ck_assert(!r->writable);
    ck_assert_ptr_eq(r, get(0, KIB64, false));
    ck_assert_int_eq(CRDMA_ERR_TRANSPORT, crdma_regcache_get(cache, memory, KIB64, true, &r));
    device.read_only = NULL; /* the program has changed its mind */
    r = get(0, KIB64, true);
    ck_assert(r->writable);
}
END_TEST

static int stop;

static void *mark(void *arg)
{
    size_t i = (size_t)(uintptr_t)arg;

    while (0 == __atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        crdma_regcache_invalidate(memory + i++ % 300 * KIB64, KIB64);
    }
    return NULL;
}

START_TEST(racing)
{
    pthread_t threads[2];

    stop = 0;
    for (size_t i = 0; i < 2; ++i) {
        ck_assert_int_eq(0, pthread_create(&threads[i], NULL, mark, (void *)(uintptr_t)(150 * i)));
    }
    for (size_t i = 0; i < 20000; ++i) {
        crdma_registration_t *a = get(i * 7 % 300 * KIB64, KIB64, true);
        crdma_registration_t *b = get(i * 13 % 300 * KIB64, 2 * KIB64, true);

        crdma_regcache_put(cache, a);
        crdma_regcache_put(cache, b);
        if (0 == i % 1000) { /* they come and go beside it */
            end();
            start();
        }
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (size_t i = 0; i < 2; ++i) {
        pthread_join(threads[i], NULL);
    }
}
END_TEST

static Suite *regcache_suite(void)
{
    Suite *suite = suite_create("regcache");
    TCase *tcase = tcase_create("regcache");

    tcase_add_checked_fixture(tcase, start, end);
    tcase_add_test(tcase, reuse);
    tcase_add_test(tcase, unhooked);
    tcase_add_test(tcase, freed);
    tcase_add_test(tcase, limit);
    tcase_add_test(tcase, exhausted);
    tcase_add_test(tcase, constant);
    tcase_add_test(tcase, racing);
    tcase_set_timeout(tcase, 60);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(regcache_suite(), CK_ENV);
}
