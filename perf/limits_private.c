/*
 * Raw operations on private buffers; see limits_private.h.
 */
#define _GNU_SOURCE
#include "perf/limits_private.h"

#include <mpi.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "coll_rdma/device/host_copy.h"

/* Tried: pieces of 32 to 512 KB, chunks of 8 to 64 KB; these were at or near the best of each. */
#define PIECE    ((size_t)128 * 1024)
#define CHUNK    ((size_t)16 * 1024)
#define PLACES   64
#define PATIENCE 20000

#if defined(__x86_64__)
#define FAST __attribute__((target_clones("avx2", "default"), optimize("O3")))
#else
#define FAST __attribute__((optimize("O3")))
#endif

/* What a rank tells: chunks of input and of sums that are in its stage, chunks it has read of both.
 */
struct counts {
    _Alignas(64) _Atomic uint64_t posted;
    _Alignas(64) _Atomic uint64_t summed;
    _Alignas(64) _Atomic uint64_t taken;
};

struct rank {
    pid_t pid;
    uint64_t in, out; /* addresses in that process */
};

struct stage {
    struct counts *counts;
    char *inputs; /* PLACES chunks for each rank: of the part that it adds */
    char *sums;   /* PLACES chunks */
};

struct private_all {
    struct rank ranks[PRIVATE_MOST];
    struct stage stages[PRIVATE_MOST];
    MPI_Win window;
    float *in, *out;
    char *scratch;
    uint64_t base; /* chunks of all operations so far, on every rank */
    int rank, size;
};

FAST static void add(float *to, const float *a, const float *b, size_t n)
{
#pragma GCC ivdep
    for (size_t i = 0; i < n; i++) {
        to[i] = a[i] + b[i];
    }
}

static size_t part(const struct private_all *p, size_t n, int r)
{
    return r == p->size ? n : n * (size_t)r / (size_t)p->size / 16 * 16;
}

static bool get(pid_t pid, void *to, uint64_t from, size_t len)
{
    struct iovec here = {to, len}, there = {(void *)(uintptr_t)from, len};

    return (ssize_t)len == process_vm_readv(pid, &here, 1, &there, 1, 0);
}

static bool put(pid_t pid, const void *from, uint64_t to, size_t len)
{
    struct iovec here = {(void *)(uintptr_t)from, len}, there = {(void *)(uintptr_t)to, len};

    return (ssize_t)len == process_vm_writev(pid, &here, 1, &there, 1, 0);
}

bool private_cma_bcast(struct private_all *p, size_t n, int root, void (*meet)(void *),
                       void *context)
{
    /* The root's share of each other rank's buffer. */
    const size_t own = n / (size_t)p->size / 16 * 16 * sizeof(float), len = n * sizeof(float);
    bool done = true;

    meet(context);
    if (p->rank == root) {
        for (int r = 0; r < p->size; r++) {
            done = done && (r == root || put(p->ranks[r].pid, p->in, p->ranks[r].out, own));
        }
    } else {
        done = get(p->ranks[root].pid, (char *)p->out + own, p->ranks[root].in + own, len - own);
    }
    meet(context);
    return done;
}

bool private_cma_allreduce(struct private_all *p, size_t n, void (*meet)(void *), void *context)
{
    const size_t end = part(p, n, p->rank + 1), step = PIECE / sizeof(float);
    bool done = true;

    meet(context);
    for (size_t at = part(p, n, p->rank); at < end && done; at += step) {
        const size_t count = end - at < step ? end - at : step, len = count * sizeof(float);
        const uint64_t off = at * sizeof(float);
        const float *sum = p->in + at;

        for (int r = 0; r < p->size; r++) {
            if (r != p->rank) {
                done = done && get(p->ranks[r].pid, p->scratch, p->ranks[r].in + off, len);
                add(p->out + at, sum, (float *)(void *)p->scratch, count);
                sum = p->out + at;
            }
        }
        for (int r = 0; r < p->size; r++) {
            done = done &&
                   (r == p->rank || put(p->ranks[r].pid, p->out + at, p->ranks[r].out + off, len));
        }
    }
    meet(context);
    return done;
}

static void await(_Atomic uint64_t *counter, uint64_t least)
{
    long polls = 0;

    while (atomic_load_explicit(counter, memory_order_acquire) < least) {
        if (++polls > PATIENCE) {
            sched_yield();
        }
    }
}

static void tell(_Atomic uint64_t *counter, uint64_t value)
{
    atomic_store_explicit(counter, value, memory_order_release);
}

static void copy_in(char *to, const void *from, size_t len, bool past_caches)
{
    (past_caches ? crdma_copy_stream : crdma_copy_ordinary)(to, from, len);
}

void private_stage_bcast(struct private_all *p, size_t n, int root, bool past_caches)
{
    const size_t len = n * sizeof(float), chunks = (len + CHUNK - 1) / CHUNK;
    struct counts *mine = p->stages[p->rank].counts;

    for (size_t c = 0; c < chunks; c++) {
        const uint64_t number = p->base + c;
        const size_t at = c * CHUNK, bytes = len - at < CHUNK ? len - at : CHUNK;
        char *place = p->stages[root].sums + number % PLACES * CHUNK;

        if (p->rank == root) {
            for (int r = 0; r < p->size && number >= PLACES; r++) {
                if (r != root) {
                    await(&p->stages[r].counts->taken, number - PLACES + 1);
                }
            }
            copy_in(place, (char *)p->in + at, bytes, past_caches);
            tell(&mine->summed, number + 1);
            tell(&mine->taken, number + 1);
        } else {
            await(&p->stages[root].counts->summed, number + 1);
            memcpy((char *)p->out + at, place, bytes);
            tell(&mine->taken, number + 1);
            tell(&mine->summed, number + 1); /* others that are roots later */
        }
    }
    p->base += chunks;
    tell(&mine->posted, p->base);
}

/* Chunk c of part r: its bytes, 0 beyond the end; *at: where it is. */
static size_t chunk_of(const struct private_all *p, size_t n, int r, size_t c, size_t *at)
{
    const size_t begin = part(p, n, r) * sizeof(float), end = part(p, n, r + 1) * sizeof(float);

    *at = begin + c * CHUNK;
    return *at >= end ? 0 : end - *at < CHUNK ? end - *at : CHUNK;
}

static void post(struct private_all *p, size_t n, size_t c, bool past_caches)
{
    const uint64_t number = p->base + c;
    struct stage *mine = &p->stages[p->rank];

    for (int r = 0; r < p->size; r++) {
        size_t at;
        const size_t len = chunk_of(p, n, r, c, &at);

        if (r != p->rank) {
            if (number >= PLACES) {
                await(&p->stages[r].counts->summed, number - PLACES + 1);
            }
            copy_in(mine->inputs + ((size_t)r * PLACES + number % PLACES) * CHUNK,
                    (char *)p->in + at, len, past_caches);
        }
    }
    tell(&mine->counts->posted, number + 1);
}

static void sum(struct private_all *p, size_t n, size_t c, bool past_caches)
{
    const uint64_t number = p->base + c;
    struct stage *mine = &p->stages[p->rank];
    size_t at;
    const size_t len = chunk_of(p, n, p->rank, c, &at);
    float *out = (float *)(void *)((char *)p->out + at);
    const float *so_far = (float *)(void *)((char *)p->in + at);

    for (int r = 0; r < p->size; r++) {
        if (r != p->rank) {
            const char *place =
                p->stages[r].inputs + ((size_t)p->rank * PLACES + number % PLACES) * CHUNK;

            await(&p->stages[r].counts->posted, number + 1);
            add(out, so_far, (const float *)(const void *)place, len / sizeof(float));
            so_far = out;
        }
    }
    for (int r = 0; r < p->size && number >= PLACES; r++) {
        if (r != p->rank) {
            await(&p->stages[r].counts->taken, number - PLACES + 1);
        }
    }
    copy_in(mine->sums + number % PLACES * CHUNK, out, len, past_caches);
    tell(&mine->counts->summed, number + 1);
}

static void take(struct private_all *p, size_t n, size_t c)
{
    const uint64_t number = p->base + c;

    for (int r = 0; r < p->size; r++) {
        size_t at;
        const size_t len = chunk_of(p, n, r, c, &at);

        if (r != p->rank) {
            await(&p->stages[r].counts->summed, number + 1);
            memcpy((char *)p->out + at, p->stages[r].sums + number % PLACES * CHUNK, len);
        }
    }
    tell(&p->stages[p->rank].counts->taken, number + 1);
}

void private_stage_allreduce(struct private_all *p, size_t n, bool past_caches)
{
    const size_t most = (n / (size_t)p->size + 16 * 2) * sizeof(float);
    const size_t chunks = (most + CHUNK - 1) / CHUNK;

    for (size_t c = 0; c < chunks + 2; c++) {
        if (c < chunks) {
            post(p, n, c, past_caches);
        }
        if (c >= 1 && c - 1 < chunks) {
            sum(p, n, c - 1, past_caches);
        }
        if (c >= 2) {
            take(p, n, c - 2);
        }
    }
    p->base += chunks;
}

static void map(struct private_all *p)
{
    const size_t inputs = (size_t)p->size * PLACES * CHUNK, sums = PLACES * CHUNK;
    char *base;

    MPI_Win_allocate_shared((MPI_Aint)(4096 + inputs + sums + 4096), 1, MPI_INFO_NULL,
                            MPI_COMM_WORLD, &base, &p->window);
    memset(base, 0, 4096 + inputs + sums + 4096); /* its pages, now */
    for (int r = 0; r < p->size; r++) {
        MPI_Aint size;
        int unit;

        MPI_Win_shared_query(p->window, r, &size, &unit, &base);
        base += (64 - (uintptr_t)base % 64) % 64;
        p->stages[r] =
            (struct stage){(struct counts *)(void *)base, base + 4096, base + 4096 + inputs};
    }
    /* Our pages of the others' stages. */
    for (int r = 0; r < p->size; r++) {
        for (size_t i = 0; i < inputs + sums; i += 4096) {
            (void)*(volatile char *)(p->stages[r].inputs + i);
        }
    }
}

struct private_all *private_create(float *in, float *out)
{
    struct private_all *p = calloc(1, sizeof(*p));
    struct rank mine = {getpid(), (uintptr_t)in, (uintptr_t)out};
    int works, all;
    float word;

    (void)prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
    if (NULL == p || 0 != posix_memalign((void **)&p->scratch, 4096, PIECE)) {
        MPI_Abort(MPI_COMM_WORLD, 1);
        return NULL;
    }
    memset(p->scratch, 0, PIECE);
    p->in = in;
    p->out = out;
    MPI_Comm_rank(MPI_COMM_WORLD, &p->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &p->size);
    MPI_Allgather(&mine, sizeof(mine), MPI_BYTE, p->ranks, sizeof(mine), MPI_BYTE, MPI_COMM_WORLD);
    works = get(p->ranks[(p->rank + 1) % p->size].pid, &word, p->ranks[(p->rank + 1) % p->size].in,
                sizeof(word));
    MPI_Allreduce(&works, &all, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
    if (!all) {
        free(p->scratch);
        free(p);
        return NULL;
    }
    map(p);
    MPI_Barrier(MPI_COMM_WORLD);
    return p;
}

void private_free(struct private_all *p)
{
    if (NULL != p) {
        MPI_Win_free(&p->window);
        free(p->scratch);
        free(p);
    }
}
