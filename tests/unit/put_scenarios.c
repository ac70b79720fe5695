/*
 * See put_scenarios.h.
 */
#define _GNU_SOURCE
#include "tests/unit/put_scenarios.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

long hunt_puts;

/* ---- hunt: whoever sees the flag must see the payload ------------------------------------- */

static const size_t hunt_sizes[] = {8,    64,   120,  216,  248,  512,   1024,  1032,  2048,
                                    4096, 4104, 8000, 8192, 8200, 12288, 16392, 32768, 65536};

enum { NSIZES = sizeof(hunt_sizes) / sizeof(hunt_sizes[0]), NSMALL = 14 };

/* mostly small: a long one in 16, so that short ones can overtake it */
static size_t hunt_size(uint64_t seq)
{
    return hunt_sizes[0 == seq % 16 ? (seq / 16) % NSIZES : seq % NSMALL];
}

/* Before one put in four a word of its own is put, which must be there when the flag is: the
 * rendezvous relies on it. */
static bool hunt_leads(uint64_t seq)
{
    return 1 == seq % 4 || 0 == seq % 16;
}

static void hunt_send(void)
{
    static uint64_t lead[RING];
    static crdma_tx_t tx[RING];
    uint64_t *source[RING];
    crdma_addr_t shadow;

    /* one half of the sources in the slab, one half not */
    REQUIRE(CRDMA_OK == crdma_slab_alloc(slab, RING * SLOT, &shadow, NULL));
    for (size_t i = 0; i < RING; ++i) {
        source[i] = 0 == i % 2 ? malloc(SLOT) : crdma_slab_at(slab, shadow + i * SLOT);
    }
    for (uint64_t seq = 1; seq <= (uint64_t)hunt_puts; ++seq) {
        const size_t slot = seq % RING, size = hunt_size(seq);
        /* how far the sender runs ahead varies, so that queues are full and empty in turn */
        const uint64_t ahead = 0 == (seq >> 8) % 2 ? RING : 1;

        while (read_word(acks) + ahead < seq) {
            poll_once();
        }
        finish(&tx[slot]);
        fill(source[slot], size, seq);
        if (hunt_leads(seq)) {
            lead[slot] = seq;
            REQUIRE(CRDMA_OK == tested->put(&peer, &lead[slot], area + slot * 64, 8, &tx[slot]));
        }
        REQUIRE(CRDMA_OK == tested->put_flagged(&peer, source[slot], ring + slot * SLOT, size, &seq,
                                                flags + slot * 64, &tx[slot]));
    }
    for (int slot = 0; slot < RING; ++slot) {
        finish(&tx[slot]);
    }
    while (read_word(acks) < (uint64_t)hunt_puts) {
        poll_once();
    }
}

static bool hunt_arrived(uint64_t seq)
{
    const size_t slot = seq % RING;

    return intact(crdma_slab_at(slab, ring + slot * SLOT), hunt_size(seq), seq) &&
           (!hunt_leads(seq) || seq == read_word(area + slot * 64));
}

static long hunt_receive(void)
{
    static uint64_t ack;
    crdma_tx_t tx = {0};
    long torn = 0;

    for (uint64_t seq = 1; seq <= (uint64_t)hunt_puts; ++seq) {
        while (seq != read_word(flags + seq % RING * 64)) {
            poll_once();
        }
        if (!hunt_arrived(seq)) {
            ++torn;
            /* let it arrive, so that the count goes on with a known state */
            while (!hunt_arrived(seq)) {
                poll_once();
            }
        }
        finish(&tx);
        ack = seq;
        REQUIRE(CRDMA_OK == tested->put(&peer, &ack, acks, sizeof(ack), &tx));
    }
    finish(&tx);
    return torn;
}

void run_hunt(void)
{
    if (0 == me) {
        hunt_send();
    } else {
        ranks_shared->note[0] = hunt_receive();
    }
    barrier();
}

/* ---- bulk --------------------------------------------------------------------------------- */

void bulk_exchange(size_t size, uint64_t round)
{
    uint64_t *buffer = malloc(size + 64);
    crdma_tx_t tx = {0};
    void *handle;

    REQUIRE(NULL != buffer);
    if (1 == me) {
        fill(buffer, size, round);
        expose_to_peer(buffer, size, &handle);
        barrier(); /* rank 0 reads key and data, then writes the inverse */
        while (round != read_word(flags)) {
            poll_once();
        }
        REQUIRE(intact(buffer, size, ~round));
        barrier();
        tested->conceal(handle);
    } else {
        crdma_exposed_t exposed;

        barrier();
        fetch_exposed(&exposed);
        memset(buffer, 0, size);
        REQUIRE(CRDMA_OK == tested->get_user(&peer, buffer, &exposed, 0, size / 2, &tx));
        REQUIRE(CRDMA_OK == tested->get_user(&peer, (char *)buffer + size / 2, &exposed, size / 2,
                                             size - size / 2, &tx));
        finish(&tx);
        REQUIRE(intact(buffer, size, round));
        fill(buffer, size, ~round);
        REQUIRE(CRDMA_OK ==
                tested->put_user_flagged(&peer, buffer, &exposed, 0, size, &round, flags, &tx));
        finish(&tx);
        memset(buffer, 0x55, size); /* the source is ours again */
        barrier();
    }
    free(buffer);
}

/* ---- threads ------------------------------------------------------------------------------ */

static uint64_t thread_rounds;

/* Threads of one number talk to each other; two slots each, since a side may be one ahead. */
static void *thread_main(void *arg)
{
    enum { SIZE = 3000 / 8 * 8 };
    const size_t number = (size_t)(uintptr_t)arg;
    uint64_t *source = malloc(SIZE);
    crdma_tx_t tx = {0};

    for (uint64_t seq = 1; seq <= thread_rounds; ++seq) {
        const size_t slot = 2 * number + seq % 2;

        fill(source, SIZE, seq + number);
        REQUIRE(CRDMA_OK == tested->put_flagged(&peer, source, ring + slot * SLOT, SIZE, &seq,
                                                flags + slot * 64, &tx));
        finish(&tx);
        while (seq != read_word(flags + slot * 64)) {
            poll_once();
        }
        REQUIRE(intact(crdma_slab_at(slab, ring + slot * SLOT), SIZE, seq + number));
    }
    free(source);
    return NULL;
}

void run_threads(uint64_t rounds)
{
    pthread_t threads[3];

    thread_rounds = rounds;
    for (size_t i = 0; i < 3; ++i) {
        REQUIRE(0 == pthread_create(&threads[i], NULL, thread_main, (void *)(uintptr_t)i));
    }
    for (size_t i = 0; i < 3; ++i) {
        pthread_join(threads[i], NULL);
    }
    barrier();
}

/* ---- killed ------------------------------------------------------------------------------- */

/* Put, to slab and user memory, until the peer is known to be gone. */
static void put_until_failure(const crdma_exposed_t *there, double seconds)
{
    static uint64_t source[BULK / 8];
    crdma_tx_t tx = {0};
    crdma_status_t rc = CRDMA_OK;
    const double limit = now() + seconds;
    double check = 0;
    uint64_t seq = 0;

    while (CRDMA_OK == rc) {
        REQUIRE(now() < limit);
        if (16 > __atomic_load_n(&tx.pending, __ATOMIC_ACQUIRE)) {
            ++seq;
            rc = 0 == seq % 8
                     ? tested->put_user_flagged(&peer, source, there, 0, BULK, &seq, flags, &tx)
                     : tested->put_flagged(&peer, source, ring, hunt_sizes[seq % NSIZES], &seq,
                                           flags, &tx);
        }
        poll_once();
        if (now() > check) {
            (void)tested->alive(&peer);
            check = now() + 0.2; /* s, as coll_rdma_check_interval */
        }
    }
    REQUIRE(CRDMA_ERR_PEER == rc);
    while (0 < __atomic_load_n(&tx.pending, __ATOMIC_ACQUIRE)) {
        REQUIRE(now() < limit);
        poll_once();
    }
    REQUIRE(CRDMA_ERR_PEER == tx.status || CRDMA_OK == tx.status);
    REQUIRE(!tested->alive(&peer));
}

void run_killed(uint64_t puts, double seconds)
{
    static uint64_t target[BULK / 8];
    crdma_exposed_t there;
    void *handle;

    if (1 == me) {
        expose_to_peer(target, BULK, &handle);
        barrier();
        while (puts > read_word(flags)) {
            poll_once();
        }
        kill(getpid(), SIGKILL);
    }
    barrier();
    fetch_exposed(&there);
    put_until_failure(&there, seconds);
    tested->detach(&peer);
    REQUIRE(CRDMA_ERR_PEER ==
            tested->attach(&peer, ranks_shared->card[1], (size_t)ranks_shared->card_length[1]));
    peer.endpoint = NULL;
}
