/*
 * The fake transport: a list of operations under way, carried out by progress().
 */
#define _GNU_SOURCE
#include "tests/unit/fake_transport.h"

#include <stdlib.h>
#include <string.h>

#include "tests/unit/ranks.h"

enum { TEAR = 256, SMALL_DELAY = 6, LONG_DELAY = 60 };

typedef struct endpoint {
    crdma_peer_t direct; /* how we reach the peer behind the engine's back */
    int rank;
} endpoint_t;

typedef struct transfer {
    struct transfer *next; /* in order of issue */
    endpoint_t *to;
    crdma_tx_t *tx;  /* NULL once it was told */
    char *local;     /* source (puts) or destination (gets) */
    char *copy;      /* puts whose source was read at once */
    uint64_t remote; /* offset in the peer's slab, or address */
    size_t len, done;
    uint64_t seen; /* target's progress when issued */
    int delay;     /* calls of progress before it starts */
    int linger;    /* ... and between landing and the news of it */
    bool user, get, flag, landed;
} transfer_t;

static struct {
    unsigned flags;
    int rank;
    uint64_t *progressed;
    uint64_t random;
    transfer_t *first;
    int pending;
} fake;

static int some(int most)
{
    return (int)(ranks_next(&fake.random) % (unsigned)(most + 1));
}

static int delay(void)
{
    if (0 != (fake.flags & FAKE_PROMPT)) {
        return 0;
    }
    return some(0 != (fake.flags & FAKE_SLOW) && 0 == some(9) ? LONG_DELAY : SMALL_DELAY);
}

static void tell(transfer_t *t, crdma_status_t status)
{
    if (NULL != t->tx) {
        if (CRDMA_OK != status) {
            t->tx->status = status;
        }
        --t->tx->pending;
        t->tx = NULL;
    }
}

static transfer_t *issue(crdma_peer_t *peer, void *local, uint64_t remote, size_t len,
                         crdma_tx_t *tx)
{
    transfer_t *t = calloc(1, sizeof(*t)), **last = &fake.first;

    t->to = peer->endpoint;
    t->local = local;
    t->remote = remote;
    t->len = len;
    t->tx = tx;
    t->delay = delay();
    t->linger = delay() / 2;
    t->seen = __atomic_load_n(&fake.progressed[t->to->rank], __ATOMIC_RELAXED);
    if (NULL != tx) {
        ++tx->pending;
    }
    while (NULL != *last) {
        last = &(*last)->next;
    }
    *last = t;
    ++fake.pending;
    return t;
}

/* Half of the puts read their source at once, as a network does with short ones. */
static void maybe_buffer(transfer_t *t)
{
    if (0 == some(1)) {
        t->copy = malloc(t->len + 1);
        memcpy(t->copy, t->local, t->len);
        t->local = t->copy;
        tell(t, CRDMA_OK);
    }
}

static crdma_status_t put(crdma_peer_t *peer, const void *src, crdma_addr_t dst, size_t len,
                          crdma_tx_t *tx)
{
    maybe_buffer(issue(peer, (void *)(uintptr_t)src, dst, len, tx));
    return CRDMA_OK;
}

static void put_flag(crdma_peer_t *peer, const uint64_t *src, crdma_addr_t dst, crdma_tx_t *tx)
{
    transfer_t *t = issue(peer, (void *)(uintptr_t)src, dst, sizeof(*src), tx);

    t->flag = true;
    maybe_buffer(t);
}

static crdma_status_t put_flagged(crdma_peer_t *peer, const void *src, crdma_addr_t dst, size_t len,
                                  const uint64_t *flag_src, crdma_addr_t flag_dst, crdma_tx_t *tx)
{
    if (0 < len) {
        put(peer, src, dst, len, tx);
    }
    put_flag(peer, flag_src, flag_dst, tx);
    return CRDMA_OK;
}

/* A key is the length that is exposed, then a pattern, so that a torn or stale one is noticed. */
enum { KEY_LENGTH = 96 };

static uint8_t key_byte(uint64_t address, uint32_t i)
{
    return (uint8_t)(address >> 8 * (i % 8)) ^ (uint8_t)(0x5a + i);
}

/* Anything but right use of a key ends the process: here a network would say so, or not. */
static void check_key(const crdma_exposed_t *e, size_t offset, size_t len)
{
    uint64_t exposed;

    memcpy(&exposed, e->key, sizeof(exposed));
    if (KEY_LENGTH != e->key_length || offset + len > exposed) {
        fprintf(stderr, "%zu bytes at %zu of an exposed buffer of %zu\n", len, offset,
                (size_t)exposed);
        abort();
    }
    for (uint32_t i = sizeof(exposed); i < e->key_length; ++i) {
        if (e->key[i] != key_byte(e->address, i)) {
            fprintf(stderr, "a broken key\n");
            abort();
        }
    }
}

static crdma_status_t put_user_flagged(crdma_peer_t *peer, const void *src,
                                       const crdma_exposed_t *dst, size_t offset, size_t len,
                                       const uint64_t *flag_src, crdma_addr_t flag_dst,
                                       crdma_tx_t *tx)
{
    transfer_t *t;

    check_key(dst, offset, len);
    t = issue(peer, (void *)(uintptr_t)src, dst->address + offset, len, tx);
    t->user = true;
    maybe_buffer(t);
    put_flag(peer, flag_src, flag_dst, tx);
    return CRDMA_OK;
}

static crdma_status_t get(crdma_peer_t *peer, void *dst, crdma_addr_t src, size_t len,
                          crdma_tx_t *tx)
{
    issue(peer, dst, src, len, tx)->get = true;
    return CRDMA_OK;
}

static crdma_status_t get_user(crdma_peer_t *peer, void *dst, const crdma_exposed_t *src,
                               size_t offset, size_t len, crdma_tx_t *tx)
{
    transfer_t *t;

    check_key(src, offset, len);
    t = issue(peer, dst, src->address + offset, len, tx);
    t->get = t->user = true;
    return CRDMA_OK;
}

static crdma_status_t expose(void *address, size_t len, crdma_exposed_t *exposed, void **handle)
{
    const uint64_t length = len;

    exposed->address = (uint64_t)(uintptr_t)address;
    exposed->key_length = KEY_LENGTH;
    memcpy(exposed->key, &length, sizeof(length));
    for (uint32_t i = sizeof(length); i < exposed->key_length; ++i) {
        exposed->key[i] = key_byte(exposed->address, i);
    }
    *handle = malloc(1); /* a leak of handles is a leak of memory */
    return CRDMA_OK;
}

static void conceal(void *handle)
{
    free(handle);
}

static bool may_land(const transfer_t *t)
{
    if (0 != (fake.flags & FAKE_TARGET_PROGRESS) && !t->get &&
        t->seen == __atomic_load_n(&fake.progressed[t->to->rank], __ATOMIC_RELAXED)) {
        return false;
    }
    if (t->flag && 0 == (fake.flags & FAKE_UNORDERED)) {
        for (const transfer_t *earlier = fake.first; earlier != t; earlier = earlier->next) {
            if (earlier->to == t->to && !earlier->landed && !earlier->get) {
                return false;
            }
        }
    }
    return true;
}

/* Move up to n bytes; memory of the slab in whole aligned words. */
static crdma_status_t move(transfer_t *t, size_t n)
{
    const crdma_peer_t *peer = &t->to->direct;
    char *local = t->local + t->done;
    const uint64_t remote = t->remote + t->done;

    if (t->user) {
        return t->get ? crdma_shm_read(peer, local, remote, n)
                      : crdma_shm_write(peer, local, remote, n);
    }
    for (size_t i = 0; i < n;) {
        char *there = peer->map + remote + i;
        uint64_t word;

        if (0 != ((uintptr_t)there | (uintptr_t)(local + i)) % 8 || 8 > n - i) {
            memcpy(t->get ? local + i : there, t->get ? there : local + i, 1);
            ++i;
            continue;
        }
        word = __atomic_load_n((uint64_t *)(t->get ? there : local + i), __ATOMIC_ACQUIRE);
        __atomic_store_n((uint64_t *)(t->get ? local + i : there), word, __ATOMIC_RELEASE);
        i += 8;
    }
    return CRDMA_OK;
}

static bool step(transfer_t *t)
{
    size_t n = t->len - t->done;
    crdma_status_t status;

    if (0 < t->delay) {
        --t->delay;
        return false;
    }
    if (!t->landed) {
        if (!may_land(t)) {
            return false;
        }
        if (!crdma_shm_alive(&t->to->direct)) {
            tell(t, CRDMA_ERR_PEER);
            return true;
        }
        if (!t->user && TEAR < n && 0 == (fake.flags & FAKE_PROMPT)) {
            n = TEAR * (size_t)(1 + some(20));
            n = n < t->len - t->done ? n : t->len - t->done;
        }
        status = move(t, n);
        t->done += n;
        if (CRDMA_OK != status) {
            tell(t, CRDMA_ERR_PEER);
            return true;
        }
        t->landed = t->done == t->len;
        return false;
    }
    if (0 < t->linger) {
        --t->linger;
        return false;
    }
    tell(t, CRDMA_OK);
    return true;
}

static int progress(void)
{
    int events = 0;

    __atomic_add_fetch(&fake.progressed[fake.rank], 1, __ATOMIC_RELAXED);
    for (transfer_t **link = &fake.first; NULL != *link;) {
        transfer_t *t = *link;

        if (step(t)) {
            *link = t->next;
            free(t->copy);
            free(t);
            --fake.pending;
            ++events;
        } else {
            link = &t->next;
        }
    }
    return events;
}

static bool alive(const crdma_peer_t *peer)
{
    return crdma_shm_alive(&((const endpoint_t *)peer->endpoint)->direct);
}

static const crdma_transport_t operations = {.name = "fake",
                                             .caps = CRDMA_CAP_GET | CRDMA_CAP_TARGET_PROGRESS,
                                             .put = put,
                                             .put_flagged = put_flagged,
                                             .put_user_flagged = put_user_flagged,
                                             .get = get,
                                             .get_user = get_user,
                                             .expose = expose,
                                             .conceal = conceal,
                                             .progress = progress,
                                             .alive = alive};

const crdma_transport_t *fake_transport(void)
{
    return &operations;
}

void fake_open(crdma_slab_t *slab, unsigned flags, int rank, uint64_t *progressed, uint64_t seed)
{
    (void)slab;
    fake.flags = flags;
    fake.rank = rank;
    fake.progressed = progressed;
    fake.random = seed;
}

int fake_pending(void)
{
    return fake.pending;
}

void fake_close(void)
{
    while (NULL != fake.first) {
        transfer_t *t = fake.first;

        fake.first = t->next;
        free(t->copy);
        free(t);
    }
    fake.pending = 0;
}

crdma_status_t fake_attach(crdma_peer_t *peer, const crdma_shm_card_t *card, int rank)
{
    endpoint_t *e = calloc(1, sizeof(*e));
    crdma_status_t status = crdma_shm_attach(&e->direct, card);

    if (CRDMA_OK != status) {
        free(e);
        return status;
    }
    e->rank = rank;
    *peer = (crdma_peer_t){.cookie = card->cookie, .transport = &operations, .endpoint = e};
    return CRDMA_OK;
}

void fake_detach(crdma_peer_t *peer)
{
    endpoint_t *e = peer->endpoint;

    crdma_shm_detach(&e->direct);
    free(e);
    peer->endpoint = NULL;
}
