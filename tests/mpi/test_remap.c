/*
 * The same addresses, other memory: between calls the buffers are given back and taken anew.
 *
 * Catches: a registration that outlives the memory it was made for. The adapter would then read or
 * write pages that are no longer at that address, and the buffer would not change, or an old one be sent.
 *
 * --mode keep: nothing is given back. Else each rank does it in its own way and order: unmap and map again at the same place, map over
 * it, discard the pages, move them away, or free() and malloc(). (Not: mremap with a fixed address over the
 * buffer, which no memory hooks notice.) Some rounds change nothing, so that registrations
 * that are kept are used as well.
 */
#define _GNU_SOURCE
#include "tests/mpi/common.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { BYTES = 256 << 10, WORDS = BYTES / 8, WAYS = 6 };

static const char *const ways[WAYS] = {"nothing", "munmap, mmap", "madvise", "mremap",
                                       "free, malloc", "mmap over it"};

static uint64_t *map(void *at)
{
    void *memory = mmap(at, BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | (NULL != at ? MAP_FIXED : 0), -1, 0);

    if (MAP_FAILED == memory) {
        test_fail("mmap of %d bytes", BYTES);
    }
    return memory;
}

typedef struct memory {
    uint64_t *words;
    bool allocated; /* by malloc */
} memory_t;

static void give_back(memory_t *memory)
{
    if (memory->allocated) {
        free(memory->words);
    } else {
        munmap(memory->words, BYTES);
    }
    memory->words = NULL;
}

static void change(memory_t *memory, int way)
{
    uint64_t *other;

    if (0 == way) {
        return;
    }
    if (4 == way || memory->allocated) {
        give_back(memory);
        memory->allocated = 4 == way;
        memory->words = memory->allocated ? malloc(BYTES) : map(NULL);
        if (NULL == memory->words) {
            test_fail("malloc of %d bytes", BYTES);
        }
        return;
    }
    switch (way) {
    case 1:
        munmap(memory->words, BYTES);
        map(memory->words);
        break;
    case 5: map(memory->words); break;
    case 2: madvise(memory->words, BYTES, MADV_DONTNEED); break;
    default:
        other = mremap(memory->words, BYTES, 2 * BYTES, MREMAP_MAYMOVE);
        if (MAP_FAILED == (void *)other) {
            test_fail("mremap of %d bytes", BYTES);
        }
        munmap(other + WORDS, BYTES);
        if (other != memory->words) {
            memory->words = map(memory->words);
            munmap(other, BYTES);
        }
        break;
    }
}

/* The word that `rank` contributes to round `round`. */
static uint64_t word(int round, int rank, int i)
{
    return test_hash(test_opt.seed, (uint64_t)round, (uint64_t)rank, (uint64_t)i) >> 8;
}

static void bcast(int round, uint64_t *data)
{
    const int root = round % test_size;

    for (int i = 0; i < WORDS; ++i) {
        data[i] = test_rank == root ? word(round, root, i % 512) : ~(uint64_t)0;
    }
    MPI_Bcast(data, WORDS, MPI_UINT64_T, root, MPI_COMM_WORLD);
    for (int i = 0; i < WORDS; ++i) {
        if (word(round, root, i % 512) != data[i]) {
            test_fail("word %d of %d is %#" PRIx64, i, WORDS, data[i]);
        }
    }
}

static void allreduce(int round, uint64_t *mine, uint64_t *sum)
{
    for (int i = 0; i < WORDS; ++i) {
        mine[i] = word(round, test_rank, i % 512);
        sum[i] = ~(uint64_t)0;
    }
    MPI_Allreduce(mine, sum, WORDS, MPI_UINT64_T, MPI_SUM, MPI_COMM_WORLD);
    for (int i = 0; i < WORDS; ++i) {
        uint64_t expected = 0;

        for (int rank = 0; 512 > i && rank < test_size; ++rank) {
            expected += word(round, rank, i);
        }
        if ((512 > i ? expected : sum[i - 512]) != sum[i]) { /* the values repeat */
            test_fail("word %d of %d is %#" PRIx64, i, WORDS, sum[i]);
        }
    }
}

int main(int argc, char **argv)
{
    memory_t send = {NULL, false}, recv = {NULL, false};
    bool keep;
    int rounds;

    test_begin(&argc, &argv, "test_remap", MPI_THREAD_SINGLE);
    keep = NULL != test_opt.mode && 0 == strcmp(test_opt.mode, "keep");
    rounds = 0 < test_opt.iterations ? test_opt.iterations : test_opt.quick ? 40 : 200;
    send.words = map(NULL);
    recv.words = map(NULL);
    for (int round = 0; round < rounds; ++round) {
        const uint64_t choice = test_hash(test_opt.seed, (uint64_t)round, (uint64_t)test_rank, 1);
        const int way = keep ? 0 : (int)(choice % WAYS), way_recv = keep ? 0 : (int)(choice / WAYS % WAYS);

        change(&send, way);
        change(&recv, way_recv);
        if (0 == round % 2) {
            test_note("MPI_Bcast, round %d, after %s", round, ways[way_recv]);
            bcast(round, recv.words);
        } else {
            test_note("MPI_Allreduce, round %d, after %s and %s", round, ways[way], ways[way_recv]);
            allreduce(round, send.words, recv.words);
        }
        test_passed();
    }
    give_back(&send);
    give_back(&recv);
    return test_end();
}
