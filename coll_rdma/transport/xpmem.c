/*
 * XPMEM; see xpmem.h. The functions and the structure below are the public interface of
 * libxpmem.so.0.
 *
 * A fault in an attachment raises SIGBUS. The handler jumps back to the guard of this thread, if it
 * is inside one (so does a fault in the caller's own buffer there: the call then fails with an
 * error); all other faults go to whoever handled SIGBUS before. An attachment cannot be mapped over
 * instead: the module kills a process that unmaps one by other means than its own.
 */
#define _GNU_SOURCE
#include "coll_rdma/transport/xpmem.h"

#include <dlfcn.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coll_rdma/base/log.h"
#include "coll_rdma/memory/regcache.h"

/* Attachments kept of each peer: a program that communicates from more buffers in turn attaches
 * them anew. */
#define KEPT 64
/* Bytes of this process's buffers whose numbers are kept. */
#define EXPOSED_LIMIT ((size_t)16 << 30)

enum { XPMEM_RDWR = 2, XPMEM_PERMIT_MODE = 1 };

struct xpmem_addr {
    int64_t apid;
    off_t offset;
};

static struct {
    int64_t (*make)(void *, size_t, int, void *);
    int (*remove)(int64_t);
    int64_t (*get)(int64_t, int, int, void *);
    int (*release)(int64_t);
    void *(*attach)(struct xpmem_addr, size_t, void *);
    int (*detach)(void *);
} lib;

struct crdma_attachment {
    crdma_exposure_t what; /* number 0: free */
    char *at;
    int users;
    uint64_t used; /* when, in attachments of this peer */
};

typedef struct xpmem_peer {
    int64_t apid;
    uint64_t clock;
    crdma_attachment_t kept[KEPT];
} xpmem_peer_t;

static void *handle;
static int64_t own_segment;
static const char *failure; /* why open failed, or NULL */
static crdma_regcache_t *exposures;
static uint64_t last_number, made, found;
/* Serialises what several threads' calls share: exposures, and the attachments of all peers. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct sigaction earlier;
static __thread sigjmp_buf *guard __attribute__((tls_model("initial-exec")));

static void on_fault(int number, siginfo_t *info, void *context)
{
    if (NULL != guard) {
        siglongjmp(*guard, 1);
    }
    if (0 != (earlier.sa_flags & SA_SIGINFO)) {
        earlier.sa_sigaction(number, info, context);
    } else if (SIG_DFL != earlier.sa_handler && SIG_IGN != earlier.sa_handler) {
        earlier.sa_handler(number);
    } else {
        signal(number, SIG_DFL); /* it faults again when we return */
    }
}

bool crdma_xpmem_guard(void (*work)(void *), void *argument)
{
    sigjmp_buf here, *outer = guard;
    bool complete = false;

    /* The mask need not be restored: the handler does not block its signal (SA_NODEFER). */
    if (0 == sigsetjmp(here, 0)) {
        guard = &here;
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        work(argument);
        complete = true;
    }
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    guard = outer;
    return complete;
}

/* An exposure is a number: there is nothing to register. */
static crdma_status_t enter(void *context, void *address, size_t len, bool writable, void **number)
{
    (void)context;
    (void)address;
    (void)len;
    (void)writable;
    *number = (void *)(uintptr_t)++last_number;
    return CRDMA_OK;
}

static void leave(void *context, void *number)
{
    (void)context;
    (void)number;
}

static bool load(void)
{
#define FIND(field, name) (NULL != (*(void **)(&lib.field) = dlsym(handle, name)))
    handle = dlopen("libxpmem.so.0", RTLD_NOW | RTLD_LOCAL);
    return NULL != handle && FIND(make, "xpmem_make") && FIND(remove, "xpmem_remove") &&
           FIND(get, "xpmem_get") && FIND(release, "xpmem_release") &&
           FIND(attach, "xpmem_attach") && FIND(detach, "xpmem_detach");
#undef FIND
}

static const char *start(void)
{
    const crdma_regcache_ops_t ops = {.enter = enter, .leave = leave};
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};

    if (0 != access("/dev/xpmem", R_OK | W_OK)) {
        return "no /dev/xpmem";
    }
    if (!load()) {
        return "no libxpmem.so.0";
    }
    if (CRDMA_OK != crdma_regcache_create(&ops, EXPOSED_LIMIT, &exposures)) {
        return "no memory";
    }
    /* All of it, for who may read our files (0600: the same user). */
    own_segment = lib.make(NULL, SIZE_MAX, XPMEM_PERMIT_MODE, (void *)(uintptr_t)0600);
    if (0 >= own_segment) {
        own_segment = 0;
        return "xpmem_make failed";
    }
    sigemptyset(&action.sa_mask);
    (void)sigaction(SIGBUS, &action, &earlier);
    return NULL;
}

crdma_status_t crdma_xpmem_open(int64_t *segment, const char **reason)
{
    if (0 == own_segment && NULL == failure) {
        failure = start();
        if (NULL != failure) {
            crdma_log(CRDMA_LOG_SETUP, "no XPMEM here: %s", failure);
        }
    }
    *reason = failure;
    *segment = own_segment;
    return NULL == failure ? CRDMA_OK : CRDMA_ERR_UNSUPPORTED;
}

void crdma_xpmem_close(void)
{
    struct sigaction now;

    if (0 != own_segment) {
        (void)lib.remove(own_segment);
        own_segment = 0;
        if (0 == sigaction(SIGBUS, NULL, &now) && on_fault == now.sa_sigaction) {
            (void)sigaction(SIGBUS, &earlier, NULL); /* else somebody may return to us: it stays */
        }
    }
    crdma_regcache_destroy(exposures);
    exposures = NULL;
    failure = NULL;
    /* The library stays: it has nothing to close, and the handler may stay too. */
}

void crdma_xpmem_expose(const void *address, size_t len, crdma_exposure_t *exposure)
{
    crdma_registration_t *r;

    *exposure = (crdma_exposure_t){.number = 0};
    if (0 == own_segment || 0 == len) {
        return;
    }
    pthread_mutex_lock(&lock);
    if (CRDMA_OK == crdma_regcache_get(exposures, address, len, false, &r)) {
        *exposure = (crdma_exposure_t){
            .start = r->start, .end = r->end, .number = (uint64_t)(uintptr_t)r->handle};
        /* The number is good while the memory is, used or not. */
        crdma_regcache_put(exposures, r);
    }
    pthread_mutex_unlock(&lock);
}

static void drop(crdma_attachment_t *a)
{
    (void)lib.detach(a->at);
    *a = (crdma_attachment_t){.users = 0};
}

static void touch(void *argument)
{
    const crdma_attachment_t *a = argument;

    (void)*(volatile char *)a->at;
    (void)*(volatile char *)(a->at + (a->what.end - a->what.start - 1));
}

static bool attach(xpmem_peer_t *peer, crdma_attachment_t *a, const crdma_exposure_t *what)
{
    const size_t len = (size_t)(what->end - what->start);
    void *at = lib.attach((struct xpmem_addr){.apid = peer->apid, .offset = (off_t)what->start},
                          len, NULL);

    if ((void *)-1 == at) {
        return false;
    }
    *a = (crdma_attachment_t){.what = *what, .at = at};
    if (!crdma_xpmem_guard(touch, a)) {
        drop(a);
        return false;
    }
    ++made;
    return true;
}

/* The attachment of this exposure, or where it can go: what was used least recently. NULL: all are
 * in use. An attachment of memory that is gone pins nothing (the module lets go of the pages when
 * their owner does), so it may stay until its turn comes. */
static crdma_attachment_t *find(xpmem_peer_t *peer, const crdma_exposure_t *what)
{
    crdma_attachment_t *place = NULL;

    for (int i = 0; i < KEPT; ++i) {
        crdma_attachment_t *a = &peer->kept[i];

        if (a->what.number == what->number) { /* invariant 1 */
            return a;
        }
        if (0 == a->users && (NULL == place || a->used < place->used)) {
            place = a;
        }
    }
    return place;
}

crdma_attachment_t *crdma_xpmem_attach(const crdma_peer_t *peer, const crdma_exposure_t *what)
{
    xpmem_peer_t *x = peer->xpmem;
    crdma_attachment_t *a;

    if (NULL == x || 0 == what->number || what->start >= what->end) {
        return NULL;
    }
    pthread_mutex_lock(&lock);
    a = find(x, what);
    if (NULL != a && a->what.number != what->number) {
        if (0 != a->what.number) {
            drop(a);
        }
        a = attach(x, a, what) ? a : NULL;
    } else if (NULL != a) {
        ++found;
    }
    if (NULL != a) {
        ++a->users;
        a->used = ++x->clock;
    }
    pthread_mutex_unlock(&lock);
    return a;
}

void crdma_xpmem_detach(const crdma_peer_t *peer, crdma_attachment_t *a)
{
    (void)peer;
    if (NULL != a) {
        pthread_mutex_lock(&lock);
        --a->users;
        pthread_mutex_unlock(&lock);
    }
}

char *crdma_xpmem_at(const crdma_attachment_t *a, uint64_t address, size_t len)
{
    return address >= a->what.start && address <= a->what.end && len <= a->what.end - address
               ? a->at + (address - a->what.start)
               : NULL;
}

typedef struct peek {
    const char *at;
    uint64_t cookie;
} peek_t;

static void read_cookie(void *argument)
{
    peek_t *p = argument;

    memcpy(&p->cookie, p->at, sizeof(p->cookie));
}

void crdma_xpmem_connect(crdma_peer_t *peer, int64_t segment, uint64_t slab_base)
{
    /* A number that no exposure has: they count from 1 and end when 2^64 are used up. */
    const crdma_exposure_t slab = {
        .start = slab_base, .end = slab_base + 4096, .number = UINT64_MAX};
    crdma_attachment_t *a;
    xpmem_peer_t *x;
    peek_t peek = {.cookie = 0};

    if (0 == segment || 0 == own_segment || NULL != peer->xpmem) {
        return;
    }
    x = calloc(1, sizeof(*x));
    if (NULL == x) {
        return;
    }
    x->apid = lib.get(segment, XPMEM_RDWR, XPMEM_PERMIT_MODE, NULL);
    if (0 >= x->apid) {
        free(x);
        return;
    }
    peer->xpmem = x;
    a = crdma_xpmem_attach(peer, &slab);
    if (NULL != a) {
        peek.at = a->at;
        (void)crdma_xpmem_guard(read_cookie, &peek);
        pthread_mutex_lock(&lock);
        drop(a);
        pthread_mutex_unlock(&lock);
    }
    if (peek.cookie != peer->cookie) {
        crdma_xpmem_disconnect(peer);
    }
}

void crdma_xpmem_disconnect(crdma_peer_t *peer)
{
    xpmem_peer_t *x = peer->xpmem;

    if (NULL == x) {
        return;
    }
    peer->xpmem = NULL;
    for (int i = 0; i < KEPT; ++i) {
        if (0 != x->kept[i].what.number) {
            drop(&x->kept[i]);
        }
    }
    (void)lib.release(x->apid);
    free(x);
}

void crdma_xpmem_counts(uint64_t *attached, uint64_t *again)
{
    pthread_mutex_lock(&lock);
    *attached = made;
    *again = found;
    pthread_mutex_unlock(&lock);
}
