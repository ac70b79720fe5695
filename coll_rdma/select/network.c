/*
 * Costs of the algorithms between hosts, and the cheapest of them.
 *
 * With d = rounds(K) = ceil(log_{K+1} N), m bytes:
 *
 *   h(m)        L, or 2 L for a rendezvous: the receiver's grant comes first
 *   c(m)        messages that m bytes are sent as: blocks, two if m > 4 KB; of a rendezvous the
 *               grant, the flag, and the payload by fragments
 *   p(k, m, b)  max(k o b c(m), o b + k (m + H) G): until the processor and the port are free again
 *
 *   tree                d (h(m) + p(K, m, 1))                   broadcast, reduce
 *   scatter, gather     sum over rounds i of h(m') + p(K, m', 1), m' = m / (K + 1)^i
 *   allgather, reduce-scatter   the same with b = 2 s
 *   K chains of segments S      ceil((N - 1) / K) (h(S) + p(1, S, 2 s)) + (m/S - 1) K max(2 s o c, S G)
 *   exchange            d (h(m) + p(K, m, 2 s))                   allreduce, barrier
 *   ring                2 (N - 1) (h(m/N) + p(1, m/N, 2 s))
 *
 * b is how many overheads a processor pays while one message goes: 2 s where all ranks send and
 * receive at once. For each number of rounds only the smallest K counts: a larger one sends more.
 *
 * Measured against it (16 emulated hosts, 1 ms, 1 Gbit/s, 2 processors, UCX 1.13 over tcp, o = 14 us;
 * 30 points of allreduce, 16 of broadcast, up to 2 MB): root of the mean square error 19 %; the
 * choice among what was measured is at most 6 % slower than the best. With the parts of all rounds as
 * large as those of the first, or with a rendezvous whose payload costs no processor time, allreduce
 * of 256 KB took 1.7 times the best.
 */
#include "coll_rdma/select/network.h"

/* InfiniBand of 100 Gbit/s, by its data sheets' order of magnitude; not measured. */
const crdma_network_t crdma_network_default = {.latency_ns = 2000,
                                               .overhead_ns = 400,
                                               .gap_ps = 100,
                                               .sharing = 1,
                                               .block_size = 8192,
                                               .rndv_min = 32 * 1024};

/* Most peers that one rank sends to in a round: each needs a ring of blocks. */
#define DEGREE_MAX 64
/* Copying a byte into and out of a block. */
#define COPY_PS 200
/* Bytes of a rendezvous that take as much processor time as a message. Over tcp 1.15 ns per byte at
 * each end (the measurement above); where an adapter moves them the product with o is next to
 * nothing. */
#define FRAGMENT (16 * 1024)
/* What goes through blocks and is longer is sent as two messages at least (engine/op.c). */
#define SPLIT 4096
/* What a message adds on the wire, bytes: headers of TCP/IP, UCX and ours, frame and gap (a message
 * of 8 B had 167 B). */
#define HEADERS 160

typedef struct best {
    uint64_t cost;
    crdma_alg_t alg;
    int degree;
    size_t segment;
} best_t;

static void offer(best_t *best, uint64_t cost, crdma_alg_t alg, int degree, size_t segment)
{
    if (cost < best->cost) {
        *best = (best_t) {cost, alg, degree, segment};
    }
}

static uint64_t hop(const crdma_network_t *n, size_t m)
{
    return m >= n->rndv_min ? 2 * n->latency_ns : n->latency_ns;
}

/* Every rank sends and receives, and so do those with which it shares a processor. */
static uint64_t all_busy(const crdma_network_t *n)
{
    return 2 * n->sharing;
}

static uint64_t messages(const crdma_network_t *n, size_t m)
{
    if (m >= n->rndv_min) {
        return 2 + m / FRAGMENT;
    }
    if (m <= SPLIT) {
        return 1;
    }
    return m <= 2 * n->block_size ? 2 : (m + n->block_size - 1) / n->block_size;
}

static uint64_t port(const crdma_network_t *n, int k, size_t m, uint64_t busy)
{
    const uint64_t o = n->overhead_ns * busy;
    const uint64_t wire = o + (uint64_t) k * (m + HEADERS) * n->gap_ps / 1000;
    const uint64_t processor = (uint64_t) k * o * messages(n, m);

    return wire > processor ? wire : processor;
}

static uint64_t rounds(int ranks, int degree)
{
    uint64_t d = 0;

    for (int64_t reach = 1; reach < ranks; reach *= degree + 1) {
        ++d;
    }
    return d;
}

static uint64_t tree(const crdma_network_t *n, int ranks, int k, size_t m)
{
    return rounds(ranks, k) * (hop(n, m) + port(n, k, m, 1));
}

static uint64_t exchange(const crdma_network_t *n, int ranks, int k, size_t m)
{
    return rounds(ranks, k) * (hop(n, m) + port(n, k, m, all_busy(n)));
}

/* Every rank's part goes to everybody, or comes from everybody. */
static uint64_t parts(const crdma_network_t *n, int ranks, int k, size_t m, uint64_t busy)
{
    uint64_t sum = 0;
    size_t part = m;

    for (int64_t reach = 1; reach < ranks; reach *= k + 1) {
        part /= (size_t) (k + 1);
        sum += hop(n, part) + port(n, k, part, busy);
    }
    return sum;
}

static uint64_t chain(const crdma_network_t *n, int ranks, int k, size_t m, size_t segment)
{
    const uint64_t processor = n->overhead_ns * all_busy(n) * messages(n, segment);
    const uint64_t wire = (uint64_t) segment * n->gap_ps / 1000;
    const uint64_t next = (uint64_t) k * (wire > processor ? wire : processor);
    const uint64_t count = (m + segment - 1) / segment, length = (uint64_t) ((ranks - 2) / k + 1);

    return length * (hop(n, segment) + port(n, 1, segment, all_busy(n))) + (count - 1) * next;
}

static uint64_t ring(const crdma_network_t *n, int ranks, size_t m)
{
    const size_t part = m / (size_t) ranks;

    return 2 * (uint64_t) (ranks - 1) * (hop(n, part) + port(n, 1, part, all_busy(n)));
}

/* A segment that needs a grant would stop the pipeline. Two ranks have nothing to pipeline. */
static void offer_chains(const crdma_network_t *n, int ranks, size_t m, best_t *best)
{
    for (size_t segment = n->block_size; segment < m && segment < n->rndv_min; segment *= 2) {
        for (int k = 1; k <= 3 && k + 1 < ranks; ++k) {
            offer(best, chain(n, ranks, k, m, segment), CRDMA_ALG_CHAIN, k, segment);
        }
    }
}

void crdma_network_override(crdma_network_t *n, const crdma_network_hint_t *hint)
{
    n->latency_ns = 0 != hint->latency_ns ? hint->latency_ns : n->latency_ns;
    n->overhead_ns = 0 != hint->overhead_ns ? hint->overhead_ns : n->overhead_ns;
    n->gap_ps = 0 != hint->gap_ps ? hint->gap_ps : n->gap_ps;
}

size_t crdma_network_rndv_min(const crdma_network_t *n, size_t least)
{
    /* Through blocks each byte costs its copies and its share of a message. */
    const uint64_t byte_ps = COPY_PS + 1000 * n->overhead_ns * n->sharing / n->block_size;
    const uint64_t worth = n->latency_ns * 1000 / byte_ps;

    return worth < least ? least : (size_t) worth;
}

int crdma_network_blocks(const crdma_network_t *n, int least, int most)
{
    /* Credits come back in halves of a ring, a latency after the block was read: four times what
     * is on the wire keeps the wire full. */
    const uint64_t bytes = 4 * n->latency_ns * 1000 / (0 == n->gap_ps ? 1 : n->gap_ps);
    int blocks = least;

    while (blocks < most && (uint64_t) blocks * n->block_size < bytes) {
        blocks *= 2;
    }
    return blocks;
}

void crdma_network_choose(const crdma_network_t *n, crdma_coll_t coll, int ranks, size_t bytes,
                          bool ordered, crdma_alg_t *alg, int *degree, size_t *segment)
{
    best_t best = {.cost = UINT64_MAX, .alg = CRDMA_ALG_EXCHANGE, .degree = 1};

    for (int d = 1, last = 0; 1 != last; ++d) {
        int k = 1;

        while (rounds(ranks, k) > (uint64_t) d && k < DEGREE_MAX) {
            ++k;
        }
        if (k == last) {
            continue; /* degree DEGREE_MAX again */
        }
        last = k;
        switch (coll) {
        case CRDMA_BCAST:
            offer(&best, tree(n, ranks, k, bytes), CRDMA_ALG_TREE, k, 0);
            offer(&best, parts(n, ranks, k, bytes, 1) + parts(n, ranks, k, bytes, all_busy(n)),
                  CRDMA_ALG_SCATTER_ALLGATHER, k, 0);
            break;
        case CRDMA_REDUCE:
            offer(&best, tree(n, ranks, k, bytes), CRDMA_ALG_TREE, k, 0);
            offer(&best, parts(n, ranks, k, bytes, all_busy(n)) + parts(n, ranks, k, bytes, 1),
                  CRDMA_ALG_RSAG, k, 0);
            break;
        case CRDMA_ALLREDUCE:
            offer(&best, exchange(n, ranks, k, bytes), CRDMA_ALG_EXCHANGE, k, 0);
            offer(&best, 2 * tree(n, ranks, k, bytes), CRDMA_ALG_TREE, k, 0);
            offer(&best, 2 * parts(n, ranks, k, bytes, all_busy(n)), CRDMA_ALG_RSAG, k, 0);
            break;
        default:
            offer(&best, exchange(n, ranks, k, 0), CRDMA_ALG_EXCHANGE, k, 0);
            break;
        }
    }
    if (CRDMA_BCAST == coll || CRDMA_REDUCE == coll) {
        offer_chains(n, ranks, bytes, &best);
    } else if (CRDMA_ALLREDUCE == coll && !ordered) {
        offer(&best, ring(n, ranks, bytes), CRDMA_ALG_RING, 1, 0);
    }
    *alg = best.alg;
    *degree = best.degree;
    *segment = best.segment;
}
