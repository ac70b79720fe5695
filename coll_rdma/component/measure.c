/*
 * What a message between hosts costs here, measured when the first communicator that spans hosts is
 * set up: each rank reads from a rank on the next host, 8 bytes and then more. Also the first real
 * use of the transport: where it cannot reach a peer, set-up ends here and not in the first call.
 *
 * The results of a process are kept. They differ between ranks; the caller agrees on them.
 */
#include "coll_rdma/component/coll_rdma.h"

#include <time.h>

#include "opal/runtime/opal_progress.h"

#define SHORT_BYTES 8
#define LONG_BYTES (64 * 1024)
#define SHORT_READS 6 /* the first ones connect */
#define LONG_READS 3
#define LIMIT_NS (20 * UINT64_C(1000000000))
#define ALIVE_NS (100 * UINT64_C(1000000))

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t) t.tv_sec * 1000000000u + (uint64_t) t.tv_nsec;
}

/* The time of one read, or 0 if it failed. *settled: nothing of it is under way any more. */
static uint64_t read_once(crdma_peer_t *peer, void *dst, size_t bytes, crdma_tx_t *tx)
{
    const crdma_transport_t *transport = peer->transport;
    const uint64_t begin = now_ns();
    uint64_t now = begin, check = begin + ALIVE_NS;

    if (CRDMA_OK != transport->get(peer, dst, 0, bytes, tx)) {
        return 0;
    }
    while (0 != __atomic_load_n(&tx->pending, __ATOMIC_ACQUIRE)) {
        transport->progress();
        opal_progress();
        now = now_ns();
        if (now > check) {
            check = now + ALIVE_NS;
            if (!transport->alive(peer) || now - begin > LIMIT_NS) {
                return 0;
            }
        }
    }
    now = now_ns();
    return CRDMA_OK == tx->status ? now - begin + 1 : 0;
}

static uint64_t least(crdma_peer_t *peer, void *dst, size_t bytes, int reads, crdma_tx_t *tx)
{
    uint64_t best = UINT64_MAX;

    for (int i = 0; i < reads; ++i) {
        const uint64_t took = read_once(peer, dst, bytes, tx);

        if (0 == took) {
            return 0;
        }
        best = took < best ? took : best;
    }
    return best;
}

crdma_status_t coll_rdma_measure(crdma_slab_t *slab, crdma_peer_t *peer, crdma_network_t *network)
{
    /* Static: a read that has not ended when we give up still counts down in it. */
    static crdma_tx_t tx;
    static crdma_network_t known;
    uint64_t brief, full;
    crdma_addr_t addr;

    if (0 != known.latency_ns) {
        *network = known;
        return CRDMA_OK;
    }
    if (0 != tx.pending || CRDMA_OK != crdma_slab_alloc(slab, LONG_BYTES, &addr, NULL)) {
        return CRDMA_ERR_NOMEM;
    }
    tx.status = CRDMA_OK;
    brief = least(peer, crdma_slab_at(slab, addr), SHORT_BYTES, SHORT_READS, &tx);
    full = 0 == brief ? 0 : least(peer, crdma_slab_at(slab, addr), LONG_BYTES, LONG_READS, &tx);
    if (0 == full) {
        return CRDMA_ERR_PEER; /* the block stays: the transport may still write to it */
    }
    crdma_slab_free(slab, addr, LONG_BYTES);
    known = crdma_network_default;
    known.latency_ns = brief / 2 + 1;
    known.gap_ps = full > brief ? (full - brief) * 1000 / LONG_BYTES : 0;
    known.overhead_ns = peer->transport->overhead(peer);
    *network = known;
    return CRDMA_OK;
}
