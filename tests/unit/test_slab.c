/*
 * The preregistered memory, and mapping that of another process.
 *
 *   blocks    alignment, recycling by size, fresh or not, limit, accounting
 *   pieces    large blocks out of small ones, and small ones out of large
 *   small     blocks that share a page
 *   promises  reserve and unreserve
 *   growth    memory is promised and handed out only as far as it could be made reachable
 *   threads   several threads allocate and free: blocks never overlap, nothing is lost
 *   nameless  nothing in /dev/shm, also after a kill
 *   attach    through the card: both see each other's stores, copy with the kernel's help; a wrong
 * cookie, a closed file and a dead process are refused
 */
#define _GNU_SOURCE
#include <check.h>
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "coll_rdma/transport/shm.h"
#include "tests/unit/run_suite.h"

enum { MIB = 1 << 20 };

START_TEST(blocks)
{
    crdma_addr_t a, b, c, again;
    crdma_slab_t *slab;
    bool fresh;

    ck_assert_int_eq(CRDMA_OK, crdma_slab_create(MIB, &slab));
    ck_assert_uint_eq(MIB, slab->size);
    ck_assert_int_eq(CRDMA_OK, crdma_slab_alloc(slab, 4000, &a, &fresh));
    ck_assert(0 != a && 0 == a % 4096 && fresh);
    ck_assert_int_eq(0, *(char *)crdma_slab_at(slab, a));
    ck_assert_int_eq(CRDMA_OK, crdma_slab_alloc(slab, 5000, &b, NULL));
    ck_assert(b >= a + 4096 || a >= b + 8192);
    ck_assert_uint_eq(4096 + 8192, slab->in_use);

    memset(crdma_slab_at(slab, a), 1, 4096);
    crdma_slab_free(slab, a, 4000);
    ck_assert_uint_eq(8192, slab->in_use);
    ck_assert_int_eq(CRDMA_OK, crdma_slab_alloc(slab, 8192, &c, &fresh)); /* another size */
    ck_assert(c != a && fresh);
    ck_assert_int_eq(CRDMA_OK, crdma_slab_alloc(slab, 4096, &again, &fresh)); /* as many pages */
    ck_assert(again == a && !fresh);
    ck_assert_int_eq(1, *(char *)crdma_slab_at(slab, again));
    crdma_slab_destroy(slab);
    crdma_slab_destroy(NULL);
}
END_TEST

START_TEST(limit)
{
    crdma_addr_t addr[300], other = 7;
    crdma_slab_t *slab;
    int n = 0;

    ck_assert_int_eq(CRDMA_OK, crdma_slab_create(MIB, &slab));
    while (CRDMA_OK == crdma_slab_alloc(slab, 4096, &addr[n], NULL)) {
        ++n;
        ck_assert_int_lt(n, 256);
    }
    ck_assert_int_eq(255, n); /* the first page is the header */
    ck_assert_int_eq(CRDMA_ERR_NOMEM, crdma_slab_alloc(slab, 1, &other, NULL));
    ck_assert_uint_eq(7, other);
    ck_assert_int_eq(CRDMA_ERR_NOMEM, crdma_slab_alloc(slab, SIZE_MAX / 2, &other, NULL));
    for (int round = 0; round < 1000; ++round) {
        for (int i = 0; i < n; ++i) {
            crdma_slab_free(slab, addr[i], 4096);
        }
        ck_assert_uint_eq(0, slab->in_use);
        for (int i = 0; i < n; ++i) {
            ck_assert_int_eq(CRDMA_OK, crdma_slab_alloc(slab, 4096, &addr[i], NULL));
        }
    }
    ck_assert_uint_eq(MIB, slab->top);
    crdma_slab_destroy(slab);

    ck_assert_int_eq(CRDMA_OK, crdma_slab_create(1, &slab)); /* rounded up to something usable */
    ck_assert_uint_ge(slab->size, 2 * 4096);
    crdma_slab_destroy(slab);
}
END_TEST

static int by_value(const void *a, const void *b)
{
    const crdma_addr_t x = *(const crdma_addr_t *)a, y = *(const crdma_addr_t *)b;

    return (x > y) - (x < y);
}

/* At the limit: what was freed as small pieces serves a large block, and the other way round. */
START_TEST(pieces)
{
    crdma_addr_t addr[256], large;
    crdma_slab_t *slab;
    bool fresh = true;

    ck_assert_int_eq(CRDMA_OK, crdma_slab_create(MIB, &slab));
    for (int i = 0; i < 255; ++i) {
        ck_assert_int_eq(CRDMA_OK, crdma_slab_alloc(slab, 4096, &addr[i], NULL));
    }
    for (int round = 0; round < 3; ++round) {
        for (int i = 0; i < 255; ++i) { /* neighbours are freed far apart in time; one page stays in use */
            const int k = i * 101 % 255;

            if (100 != k) {
                crdma_slab_free(slab, addr[k], 4096);
            }
        }
        ck_assert_int_eq(CRDMA_ERR_NOMEM, crdma_slab_alloc(slab, 155 * 4096, &large, NULL));
        ck_assert_int_eq(CRDMA_OK, crdma_slab_alloc(slab, 154 * 4096, &large, &fresh));
        ck_assert(!fresh);
        ck_assert_uint_eq(addr[101], large);
        crdma_slab_free(slab, large, 154 * 4096);
        ck_assert_int_eq(CRDMA_OK, crdma_slab_alloc(slab, 100 * 4096, &large, NULL));
        crdma_slab_free(slab, large, 100 * 4096);
        for (int i = 0; i < 255; ++i) {
            if (100 != i) {
                ck_assert_int_eq(CRDMA_OK, crdma_slab_alloc(slab, 4096, &addr[i], NULL));
            }
        }
        ck_assert_int_eq(CRDMA_ERR_NOMEM, crdma_slab_alloc(slab, 4096, &large, NULL));
        ck_assert_uint_eq(255 * 4096, slab->in_use);
        qsort(addr, 255, sizeof(addr[0]), by_value);
    }
    crdma_slab_destroy(slab);
}
END_TEST

/* Small blocks of one size fill pages of their own, do not overlap and are recycled. */
START_TEST(small)
{
    static const size_t sizes[] = {1, 128, 129, 576, 1152, 1280, 1104, 2048};
    enum { NSIZES = sizeof(sizes) / sizeof(sizes[0]), EACH = 50 };
    crdma_addr_t addr[NSIZES][EACH];
    crdma_slab_t *slab;
    size_t together = 0, pages = 1;

    ck_assert_int_eq(CRDMA_OK, crdma_slab_create(MIB, &slab));
    for (int round = 0; round < 3; ++round) {
        for (int i = 0; i < EACH; ++i) {
            for (int s = 0; s < NSIZES; ++s) {
                bool fresh;

                ck_assert_int_eq(CRDMA_OK,
                                 crdma_slab_alloc(slab, sizes[s], &addr[s][i], &fresh));
                ck_assert(fresh == (0 == round));
                ck_assert(4096 <= addr[s][i] && 0 == addr[s][i] % 128);
                ck_assert_uint_eq(addr[s][i] / 4096, (addr[s][i] + sizes[s] - 1) / 4096);
                memset(crdma_slab_at(slab, addr[s][i]), s * EACH + i, sizes[s]);
            }
        }
        for (int s = 0; s < NSIZES; ++s) {
            for (int i = 0; i < EACH; ++i) {
                const unsigned char *p = crdma_slab_at(slab, addr[s][i]);

                for (size_t k = 0; k < sizes[s]; ++k) {
                    ck_assert_int_eq((unsigned char)(s * EACH + i), p[k]);
                }
                together += crdma_slab_block_size(sizes[s]);
            }
        }
        ck_assert_uint_eq(together, slab->in_use);
        together = 0;
        for (int s = 0; s < NSIZES; ++s) {
            for (int i = 0; i < EACH; ++i) { /* into a bin shared with sizes that are equal enough */
                crdma_slab_free(slab, addr[NSIZES - 1 - s][i], sizes[NSIZES - 1 - s]);
            }
        }
        ck_assert_uint_eq(0, slab->in_use);
    }
    for (int s = 0; s < NSIZES; ++s) { /* what must be promised for so many is enough */
        pages += crdma_slab_promise_size(EACH * crdma_slab_block_size(sizes[s])) / 4096;
    }
    ck_assert_uint_le(slab->top, pages * 4096);
    crdma_slab_destroy(slab);
}
END_TEST

START_TEST(promises)
{
    crdma_slab_t *slab;

    ck_assert_int_eq(CRDMA_OK, crdma_slab_create(MIB, &slab));
    ck_assert_int_eq(CRDMA_ERR_NOMEM, crdma_slab_reserve(slab, MIB));
    ck_assert_int_eq(CRDMA_ERR_NOMEM, crdma_slab_reserve(slab, SIZE_MAX));
    ck_assert_int_eq(CRDMA_OK, crdma_slab_reserve(slab, MIB / 2));
    ck_assert_int_eq(CRDMA_ERR_NOMEM, crdma_slab_reserve(slab, MIB / 2));
    ck_assert_int_eq(CRDMA_OK, crdma_slab_reserve(slab, MIB / 2 - 4096));
    ck_assert_int_eq(CRDMA_ERR_NOMEM, crdma_slab_reserve(slab, 1));
    crdma_slab_unreserve(slab, MIB / 2);
    ck_assert_uint_eq(MIB / 2 - 4096, slab->reserved);
    ck_assert_int_eq(CRDMA_OK, crdma_slab_reserve(slab, MIB / 2));
    crdma_slab_destroy(slab);
    ck_assert_uint_eq(0, crdma_slab_block_size(0));
    ck_assert_uint_eq(128, crdma_slab_block_size(1));
    ck_assert_uint_eq(1366, crdma_slab_block_size(1152)); /* a third */
    ck_assert_uint_eq(2048, crdma_slab_block_size(2048));
    ck_assert_uint_eq(4096, crdma_slab_block_size(2049));
    ck_assert_uint_eq(8192, crdma_slab_block_size(4097));
}
END_TEST

/* ---- threads ---- */

static void *churn(void *argument)
{
    crdma_slab_t *slab = argument;
    uint64_t mark = (uint64_t)(uintptr_t)pthread_self(), state = mark;

    for (int i = 0; i < 5000; ++i) {
        const size_t pages = 1 + (state = state * 6364136223846793005u + 1) / ((uint64_t)1 << 62);
        uint64_t *p;
        crdma_addr_t addr;

        if (CRDMA_OK != crdma_slab_alloc(slab, pages * 4096, &addr, NULL)) {
            return argument;
        }
        p = crdma_slab_at(slab, addr);
        p[0] = p[pages * 512 - 1] = mark;
        if (0 == i % 8) {
            sched_yield();
        }
        if (mark != p[0] || mark != p[pages * 512 - 1]) {
            return argument;
        }
        crdma_slab_free(slab, addr, pages * 4096);
    }
    return NULL;
}

static size_t reachable, reachable_max;

static crdma_status_t grow(crdma_slab_t *slab, size_t upto)
{
    ck_assert_ptr_nonnull(slab);
    if (upto > reachable_max) {
        return CRDMA_ERR_NOMEM;
    }
    ck_assert_uint_gt(upto, reachable); /* never asked twice */
    reachable = upto;
    return CRDMA_OK;
}

START_TEST(growth)
{
    crdma_slab_t *slab;
    crdma_addr_t a, b;

    ck_assert_int_eq(CRDMA_OK, crdma_slab_create(MIB, &slab));
    ck_assert_int_eq(CRDMA_OK, crdma_slab_alloc(slab, 8192, &a, NULL));
    reachable_max = 4096;
    ck_assert_int_eq(CRDMA_ERR_NOMEM, crdma_slab_set_grow(slab, grow));
    ck_assert_int_eq(CRDMA_OK, crdma_slab_alloc(slab, 8192, &b, NULL)); /* as before */
    reachable_max = 65536;
    ck_assert_int_eq(CRDMA_OK, crdma_slab_set_grow(slab, grow));
    ck_assert_uint_ge(reachable, b + 8192);

    ck_assert_int_eq(CRDMA_OK, crdma_slab_reserve(slab, 40960));
    ck_assert_uint_ge(reachable, 40960);
    ck_assert_int_eq(CRDMA_ERR_NOMEM, crdma_slab_reserve(slab, 40960));
    ck_assert_uint_eq(40960, slab->reserved);
    ck_assert_int_eq(CRDMA_OK, crdma_slab_alloc(slab, 32768, &a, NULL));
    ck_assert_uint_ge(reachable, a + 32768);
    ck_assert_int_eq(CRDMA_ERR_NOMEM, crdma_slab_alloc(slab, 32768, &b, NULL));
    crdma_slab_free(slab, a, 32768);
    ck_assert_int_eq(CRDMA_OK, crdma_slab_alloc(slab, 32768, &b, NULL)); /* recycled */
    ck_assert_uint_eq(a, b);
    ck_assert_int_eq(CRDMA_OK, crdma_slab_set_grow(slab, NULL));
    ck_assert_int_eq(CRDMA_OK, crdma_slab_alloc(slab, 65536, &b, NULL));
    crdma_slab_destroy(slab);
}
END_TEST

START_TEST(threads)
{
    pthread_t thread[4];
    crdma_slab_t *slab;
    void *wrong;

    ck_assert_int_eq(CRDMA_OK, crdma_slab_create(MIB, &slab));
    for (int i = 0; i < 4; ++i) {
        ck_assert_int_eq(0, pthread_create(&thread[i], NULL, churn, slab));
    }
    for (int i = 0; i < 4; ++i) {
        pthread_join(thread[i], &wrong);
        ck_assert_ptr_null(wrong);
    }
    ck_assert_uint_eq(0, slab->in_use);
    ck_assert_uint_le(slab->top, 4096 + 4 * 4096 * (1 + 2 + 3 + 4));
    crdma_slab_destroy(slab);
}
END_TEST

/* ---- other processes ---- */

/* A process that owns a slab and does as it is told through a page that both see. */
typedef struct owner {
    pid_t pid;
    struct {
        crdma_shm_card_t card;
        crdma_addr_t block;
        uint64_t user; /* the address of an ordinary buffer */
        int state;
    } * page;
} owner_t;

static void wait_for(const int *state, int value)
{
    for (int i = 0; i < 5000 && value != __atomic_load_n(state, __ATOMIC_ACQUIRE); ++i) {
        usleep(1000);
    }
    ck_assert_int_eq(value, *state);
}

static owner_t start_owner(void)
{
    owner_t o;

    o.page = mmap(NULL, sizeof(*o.page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert(MAP_FAILED != o.page);
    o.pid = fork();
    if (0 == o.pid) {
        static char user[100000];
        crdma_slab_t *slab;
        uint64_t *p;

        memset(user, 'u', sizeof(user));
        if (CRDMA_OK != crdma_slab_create(MIB, &slab) ||
            CRDMA_OK != crdma_slab_alloc(slab, 4096, &o.page->block, NULL)) {
            _exit(1);
        }
        p = crdma_slab_at(slab, o.page->block);
        *p = 42;
        o.page->user = (uint64_t)(uintptr_t)user;
        crdma_shm_card_fill(slab, &o.page->card);
        __atomic_store_n(&o.page->state, 1, __ATOMIC_RELEASE);
        for (int i = 0; i < 10000 && 43 != __atomic_load_n(p, __ATOMIC_ACQUIRE); ++i) {
            usleep(1000);
        }
        __atomic_store_n(&o.page->state, 'w' == user[99999] ? 2 : 3, __ATOMIC_RELEASE);
        for (;;) {
            pause();
        }
    }
    wait_for(&o.page->state, 1);
    return o;
}

static void end_owner(owner_t *o)
{
    kill(o->pid, SIGKILL);
    waitpid(o->pid, NULL, 0);
    munmap(o->page, sizeof(*o->page));
}

static int entries(const char *directory)
{
    DIR *d = opendir(directory);
    int n = 0;

    while (NULL != d && NULL != readdir(d)) {
        ++n;
    }
    if (NULL != d) {
        closedir(d);
    }
    return n;
}

START_TEST(nameless)
{
    const int before = entries("/dev/shm");
    owner_t o = start_owner();

    ck_assert_int_eq(before, entries("/dev/shm"));
    end_owner(&o);
    ck_assert_int_eq(before, entries("/dev/shm"));
}
END_TEST

START_TEST(attach)
{
    static char buffer[100000];
    owner_t o = start_owner();
    crdma_slab_t *mine;
    crdma_shm_card_t card;
    crdma_peer_t peer = {0};
    uint64_t *p;

    ck_assert_int_eq(CRDMA_OK, crdma_slab_create(MIB, &mine));
    crdma_shm_card_fill(mine, &card);
    ck_assert_uint_eq(card.host, o.page->card.host);
    ck_assert_uint_ne(card.cookie, o.page->card.cookie);

    ck_assert_int_eq(CRDMA_OK, crdma_shm_attach(&peer, &o.page->card));
    ck_assert(peer.cookie == o.page->card.cookie && peer.pid == o.pid);
    ck_assert_uint_eq(MIB, peer.map_size);
    ck_assert(crdma_shm_alive(&peer));
    p = (uint64_t *)(peer.map + o.page->block);
    ck_assert_uint_eq(42, *p);
    if (peer.cma) {
        ck_assert_int_eq(CRDMA_OK, crdma_shm_read(&peer, buffer, o.page->user, sizeof(buffer)));
        ck_assert(0 == memchr(buffer, 0, sizeof(buffer)) && 'u' == buffer[99999]);
        memset(buffer, 'w', sizeof(buffer));
        ck_assert_int_eq(CRDMA_OK, crdma_shm_write(&peer, buffer, o.page->user, sizeof(buffer)));
        ck_assert_int_eq(CRDMA_ERR_SYSTEM, crdma_shm_read(&peer, buffer, 8, 8));
        ck_assert_int_eq(CRDMA_OK, crdma_shm_read(&peer, buffer, o.page->user, 0));
    }
    __atomic_store_n(p, 43, __ATOMIC_RELEASE);
    wait_for(&o.page->state, peer.cma ? 2 : 3);

    end_owner(&o);
    ck_assert(!crdma_shm_alive(&peer));
    ck_assert_uint_eq(43, *p); /* the mapping outlives its owner */
    ck_assert_int_eq(CRDMA_ERR_PEER, crdma_shm_read(&peer, buffer, 4096, 8));
    crdma_shm_detach(&peer);
    ck_assert_ptr_null(peer.map);
    crdma_shm_detach(&peer);
    crdma_slab_destroy(mine);
}
END_TEST

START_TEST(refused)
{
    owner_t o = start_owner();
    crdma_shm_card_t card = o.page->card;
    crdma_peer_t peer = {0};

    ++card.cookie; /* the process number has been used again by somebody else */
    ck_assert_int_eq(CRDMA_ERR_TRANSPORT, crdma_shm_attach(&peer, &card));
    card = o.page->card;
    card.size += 4096;
    ck_assert_int_eq(CRDMA_ERR_TRANSPORT, crdma_shm_attach(&peer, &card));
    card = o.page->card;
    card.fd = 999;
    ck_assert_int_eq(CRDMA_ERR_TRANSPORT, crdma_shm_attach(&peer, &card));
    card.fd = 0; /* whatever it is, it is not a slab */
    ck_assert_int_eq(CRDMA_ERR_TRANSPORT, crdma_shm_attach(&peer, &card));
    card = o.page->card;
    end_owner(&o);
    ck_assert_int_eq(CRDMA_ERR_TRANSPORT, crdma_shm_attach(&peer, &card));
    ck_assert_ptr_null(peer.map);
}
END_TEST

static Suite *slab_suite(void)
{
    Suite *suite = suite_create("slab");
    TCase *tcase = tcase_create("slab");

    tcase_add_test(tcase, blocks);
    tcase_add_test(tcase, limit);
    tcase_add_test(tcase, pieces);
    tcase_add_test(tcase, small);
    tcase_add_test(tcase, promises);
    tcase_add_test(tcase, growth);
    tcase_add_test(tcase, threads);
    tcase_add_test(tcase, nameless);
    tcase_add_test(tcase, attach);
    tcase_add_test(tcase, refused);
    tcase_set_timeout(tcase, 60);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(slab_suite(), CK_ENV);
}
