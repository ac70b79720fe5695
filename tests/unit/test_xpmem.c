/*
 * Attachments (transport/xpmem.h) over the stand-in of tests/fakexpmem: an owner in a process of
 * its own, the test reads its memory.
 *
 *   reads and writes  what the owner has is what the reader sees, and the other way round, at any
 *                     offset
 *   kept              the same exposure is attached once
 *   given back        freed and mapped again at the same addresses: another number, the new
 *                     contents. By addresses alone the old attachment would be used, which shows
 *                     the old contents
 *   without hooks     every use has a number of its own
 *   refused           private memory cannot be attached: NULL, and nothing is left behind
 *   many              more buffers than attachments are kept of
 *   faults            pages that are gone: the guard returns false, once and again; a fault
 *                     elsewhere reaches the handler that was there before
 */
#define _GNU_SOURCE
#include <check.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "coll_rdma/base/params.h"
#include "coll_rdma/memory/regcache.h"
#include "coll_rdma/transport/shm.h"
#include "coll_rdma/transport/xpmem.h"
#include "tests/unit/run_suite.h"

#define LIBRARY "tests/fakexpmem/libxpmem.so.0" /* below the build tree's top, where tests run */

enum { PAGE = 4096, BYTES = 8 * PAGE, MANY = 100 };

/* transport/xpmem.c looks for the device. */
int access(const char *path, int mode)
{
    return 0 == strcmp(path, "/dev/xpmem") ? 0 : faccessat(AT_FDCWD, path, mode, 0);
}

/* ---- the owner ---- */

typedef struct order {
    char what; /* 'm'ap, 'g'ive back, 'f'ill with `fill`, 'p'rivate, 't'runcate, 'l'ook */
    int buffer;
    char fill;
    size_t off;
} order_t;

typedef struct answer {
    crdma_shm_card_t card;
    crdma_exposure_t exposure;
    uint64_t address;
    char seen;
} answer_t;

static int to_owner[2], from_owner[2];
static pid_t owner_pid;
static crdma_peer_t peer;
static crdma_slab_t *slab;

static char *map_buffer(char *at, bool shared, int *fd)
{
    char *p;

    *fd = shared ? memfd_create("test", 0) : -1;
    ck_assert(!shared || 0 == ftruncate(*fd, BYTES));
    p = mmap(at, BYTES, PROT_READ | PROT_WRITE,
             (shared ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS) |
                 (NULL != at ? MAP_FIXED_NOREPLACE : 0),
             *fd, 0);
    ck_assert(MAP_FAILED != p);
    return p;
}

static void own(void)
{
    static char *buffer[MANY];
    static int fd[MANY];
    crdma_slab_t *mine;
    order_t o;
    answer_t a;

    ck_assert_int_eq(CRDMA_OK, crdma_slab_create((size_t)1 << 20, &mine));
    memset(&a, 0, sizeof(a));
    crdma_shm_card_fill(mine, &a.card);
    ck_assert(sizeof(a) == write(from_owner[1], &a, sizeof(a)));
    while (sizeof(o) == read(to_owner[0], &o, sizeof(o))) {
        char **b = &buffer[o.buffer];

        switch (o.what) {
        case 'm':
        case 'p':
            *b = map_buffer(*b, 'm' == o.what, &fd[o.buffer]);
            break;
        case 'g':
            if (crdma_regcache_hooked) {
                crdma_regcache_invalidate(*b, BYTES);
            }
            munmap(*b, BYTES);
            close(fd[o.buffer]);
            break;
        case 'f':
            memset(*b, o.fill, BYTES);
            break;
        case 't':
            ck_assert_int_eq(0, ftruncate(fd[o.buffer], 0));
            break;
        default:
            a.seen = (*b)[o.off];
            break;
        }
        a.address = (uintptr_t)*b;
        if ('g' != o.what) {
            crdma_xpmem_expose(*b, BYTES, &a.exposure);
        }
        ck_assert(sizeof(a) == write(from_owner[1], &a, sizeof(a)));
    }
    _exit(0);
}

static answer_t tell(char what, int buffer, char fill, size_t off)
{
    const order_t o = {what, buffer, fill, off};
    answer_t a;

    ck_assert(sizeof(o) == write(to_owner[1], &o, sizeof(o)));
    ck_assert(sizeof(a) == read(from_owner[0], &a, sizeof(a)));
    return a;
}

/* ---- the reader ---- */

static int outside; /* faults that reached the handler from before */
static sigjmp_buf escape;

static void on_bus(int number)
{
    (void)number;
    ++outside;
    siglongjmp(escape, 1);
}

static void begin(void)
{
    struct sigaction action = {.sa_handler = on_bus};
    answer_t a;

    ck_assert_msg(NULL != dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL), "%s", dlerror());
    crdma_params.single_copy = CRDMA_SINGLE_AUTO;
    sigaction(SIGBUS, &action, NULL);
    ck_assert(0 == pipe(to_owner) && 0 == pipe(from_owner));
    owner_pid = fork();
    if (0 == owner_pid) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(to_owner[1]);
        own();
    }
    close(to_owner[0]);
    ck_assert(sizeof(a) == read(from_owner[0], &a, sizeof(a)));
    ck_assert_int_eq(CRDMA_OK, crdma_slab_create((size_t)1 << 20, &slab));
    crdma_shm_card_fill(slab, &(crdma_shm_card_t){0});
    peer = (crdma_peer_t){0};
    ck_assert_int_eq(CRDMA_OK, crdma_shm_attach(&peer, &a.card));
    ck_assert_ptr_nonnull(peer.xpmem);
}

static void end(void)
{
    int status;

    crdma_shm_detach(&peer);
    ck_assert_ptr_null(peer.xpmem);
    close(to_owner[1]);
    ck_assert(owner_pid == waitpid(owner_pid, &status, 0));
    ck_assert(WIFEXITED(status) && 0 == WEXITSTATUS(status));
    crdma_xpmem_close();
    crdma_slab_destroy(slab);
}

typedef struct touch {
    volatile char *at;
    char value;
    bool store;
} touch_t;

static void touch(void *argument)
{
    touch_t *t = argument;

    if (t->store) {
        *t->at = t->value;
    }
    t->value = *t->at;
}

static char load(const crdma_attachment_t *a, uint64_t address)
{
    touch_t t = {.at = crdma_xpmem_at(a, address, 1)};

    ck_assert(NULL != t.at && crdma_xpmem_guard(touch, &t));
    return t.value;
}

START_TEST(reads_and_writes)
{
    static const size_t offsets[] = {0, 1, 63, PAGE - 1, PAGE, BYTES - 1};
    answer_t a = tell('m', 0, 0, 0);
    crdma_attachment_t *at;

    a = tell('f', 0, 'a', 0);
    at = crdma_xpmem_attach(&peer, &a.exposure);
    ck_assert_ptr_nonnull(at);
    for (int i = 0; i < 6; ++i) {
        touch_t t = {.value = (char)('A' + i), .store = true};

        ck_assert_int_eq('a', load(at, a.address + offsets[i]));
        t.at = crdma_xpmem_at(at, a.address + offsets[i], 1);
        ck_assert(crdma_xpmem_guard(touch, &t));
        ck_assert_int_eq('A' + i, tell('l', 0, 0, offsets[i]).seen);
    }
    ck_assert_ptr_null(crdma_xpmem_at(at, a.address, BYTES + 1));
    ck_assert_ptr_null(crdma_xpmem_at(at, a.address - 1, 1));
    ck_assert_ptr_null(crdma_xpmem_at(at, a.address + 1, SIZE_MAX));
    crdma_xpmem_detach(&peer, at);
}
END_TEST

START_TEST(kept)
{
    const crdma_exposure_t first = tell('m', 0, 0, 0).exposure;
    uint64_t made, found, made_before, found_before;

    crdma_xpmem_counts(&made_before, &found_before);
    for (int i = 0; i < 10; ++i) {
        answer_t a = tell('f', 0, (char)('a' + i), 0);
        crdma_attachment_t *at = crdma_xpmem_attach(&peer, &a.exposure);

        ck_assert(NULL != at && a.exposure.number == first.number);
        ck_assert_int_eq('a' + i, load(at, a.address));
        crdma_xpmem_detach(&peer, at);
    }
    crdma_xpmem_counts(&made, &found);
    ck_assert_uint_eq(1, made - made_before);
    ck_assert_uint_eq(9, found - found_before);
}
END_TEST

START_TEST(given_back)
{
    uint64_t number = 0;

    tell('m', 0, 0, 0);
    for (int i = 0; i < 5; ++i) {
        answer_t a = tell('f', 0, (char)('a' + i), 0);
        crdma_attachment_t *at = crdma_xpmem_attach(&peer, &a.exposure);

        ck_assert(NULL != at && number != a.exposure.number);
        number = a.exposure.number;
        ck_assert_int_eq('a' + i, load(at, a.address));
        crdma_xpmem_detach(&peer, at);
        tell('g', 0, 0, 0);
        ck_assert(a.address == tell('m', 0, 0, 0).address);
    }
}
END_TEST

START_TEST(without_hooks_every_use_has_a_number)
{
    answer_t a, b;

    end();
    crdma_regcache_hooked = false; /* the next owner inherits it */
    begin();
    a = tell('m', 0, 0, 0);
    b = tell('l', 0, 0, 0);
    ck_assert(0 != a.exposure.number && a.exposure.number != b.exposure.number);
}
END_TEST

START_TEST(refused)
{
    answer_t a = tell('p', 0, 0, 0);

    ck_assert(0 != a.exposure.number);
    ck_assert_ptr_null(crdma_xpmem_attach(&peer, &a.exposure));
    tell('g', 0, 0, 0);
    a = tell('m', 0, 0, 0);
    a = tell('f', 0, 'z', 0);
    crdma_attachment_t *at = crdma_xpmem_attach(&peer, &a.exposure);
    ck_assert_ptr_nonnull(at);
    ck_assert_int_eq('z', load(at, a.address));
    crdma_xpmem_detach(&peer, at);
    a.exposure.number = 0;
    ck_assert_ptr_null(crdma_xpmem_attach(&peer, &a.exposure));
}
END_TEST

START_TEST(many)
{
    for (int i = 0; i < 3 * MANY; ++i) {
        const int b = i * 7 % MANY;
        answer_t a = i < MANY ? tell('m', b, 0, 0) : tell('l', b, 0, 0);
        crdma_attachment_t *at;

        a = tell('f', b, (char)i, 0);
        at = crdma_xpmem_attach(&peer, &a.exposure);
        ck_assert_ptr_nonnull(at);
        ck_assert_int_eq((char)i, load(at, a.address + 5));
        crdma_xpmem_detach(&peer, at);
    }
}
END_TEST

START_TEST(faults)
{
    answer_t a = tell('m', 0, 0, 0);
    crdma_attachment_t *at = crdma_xpmem_attach(&peer, &a.exposure), *again;
    int fd;
    char *elsewhere = map_buffer(NULL, true, &fd);
    touch_t t = {.at = crdma_xpmem_at(at, a.address + PAGE, 1)};

    ck_assert(crdma_xpmem_guard(touch, &t));
    tell('t', 0, 0, 0);
    ck_assert(!crdma_xpmem_guard(touch, &t));
    ck_assert(!crdma_xpmem_guard(touch, &t));
    crdma_xpmem_detach(&peer, at);
    /* A new attachment of such pages is refused at once. */
    a.exposure.number += 1000;
    again = crdma_xpmem_attach(&peer, &a.exposure);
    ck_assert_ptr_null(again);

    ck_assert_int_eq(0, ftruncate(fd, 0));
    t.at = elsewhere;
    if (0 == sigsetjmp(escape, 1)) {
        touch(&t);
        ck_abort_msg("no fault");
    }
    ck_assert_int_eq(1, outside);
}
END_TEST

static Suite *xpmem_suite(void)
{
    Suite *suite = suite_create("xpmem");
    TCase *tcase = tcase_create("stand-in");

    tcase_add_checked_fixture(tcase, begin, end);
    tcase_add_test(tcase, reads_and_writes);
    tcase_add_test(tcase, kept);
    tcase_add_test(tcase, given_back);
    tcase_add_test(tcase, without_hooks_every_use_has_a_number);
    tcase_add_test(tcase, refused);
    tcase_add_test(tcase, many);
    tcase_add_test(tcase, faults);
    tcase_set_timeout(tcase, 60);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    crdma_regcache_hooked = true;
    return run_suite(xpmem_suite(), CK_ENV);
}
