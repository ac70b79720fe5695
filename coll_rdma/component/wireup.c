/*
 * Reaching the ranks on other hosts: which transport, and their cards.
 *
 *   1. each rank opens what it can; all learn the lengths of all cards (allgather). A length of 0
 *      means that the rank cannot use the transport.
 *   2. the cards (allgatherv)
 *   3. for each transport that every rank can use, best first: attach; agree whether everybody
 *      could; if not, try the next.
 *
 * All through the lower module, and every decision is on what all ranks know, so all choose the same.
 */
#include "coll_rdma/component/coll_rdma.h"

#include <stdlib.h>
#include <string.h>

#include "coll_rdma/component/coll_rdma_card.h"

enum { N = COLL_RDMA_NTRANSPORTS };

typedef struct cards {
    const crdma_transport_t *transport[N]; /* that this rank has open */
    const void *mine[N];
    int *lengths; /* N of each rank, in bytes */
    char *all;    /* rank after rank, transport after transport */
} cards_t;

static void open_transports(cards_t *cards, int my_lengths[N])
{
    coll_rdma_context_lock();
    for (int i = 0; i < N; ++i) {
        size_t length = 0;

        cards->transport[i] = coll_rdma_context_open_remote(i);
        if (NULL == cards->transport[i]
            || CRDMA_OK != cards->transport[i]->card(&cards->mine[i], &length)
            || INT32_MAX / N < length) {
            length = 0;
        }
        my_lengths[i] = (int) length;
    }
    coll_rdma_context_unlock();
}

static int gather(cards_t *cards, coll_rdma_module_t *module, ompi_communicator_t *comm, int size)
{
    coll_rdma_lower_t *lower = &module->lower;
    int *counts = calloc(2 * (size_t) size, sizeof(*counts));
    int *offsets = NULL == counts ? NULL : counts + size;
    int my_lengths[N], my_count = 0, ret, memory_ok;
    char *mine = NULL;
    int64_t total = 0;

    cards->lengths = calloc((size_t) size * N, sizeof(*cards->lengths));
    open_transports(cards, my_lengths);
    memory_ok = NULL != cards->lengths && NULL != counts;
    ret = coll_rdma_agree(module, comm, &memory_ok, 1);
    if (OMPI_SUCCESS != ret || !memory_ok) {
        ret = OMPI_SUCCESS == ret ? OMPI_ERR_OUT_OF_RESOURCE : ret;
        goto out;
    }
    ret = lower->allgather(my_lengths, N, MPI_INT, cards->lengths, N, MPI_INT, comm,
                           lower->allgather_module);
    if (OMPI_SUCCESS != ret) {
        goto out;
    }
    for (int r = 0; r < size; ++r) {
        int64_t count = 0;

        for (int i = 0; i < N; ++i) {
            count += cards->lengths[r * N + i];
        }
        offsets[r] = (int) total;
        counts[r] = (int) count;
        total += count;
    }
    for (int i = 0; i < N; ++i) {
        my_count += my_lengths[i];
    }
    mine = malloc((size_t) my_count + 1);
    cards->all = malloc((size_t) total + 1);
    memory_ok = NULL != mine && NULL != cards->all && total < INT32_MAX;
    ret = coll_rdma_agree(module, comm, &memory_ok, 1);
    if (OMPI_SUCCESS != ret || !memory_ok) {
        ret = OMPI_SUCCESS == ret ? OMPI_ERR_OUT_OF_RESOURCE : ret;
        goto out;
    }
    for (int i = 0, at = 0; i < N; at += my_lengths[i++]) {
        if (0 < my_lengths[i]) {
            memcpy(mine + at, cards->mine[i], (size_t) my_lengths[i]);
        }
    }
    ret = lower->allgatherv(mine, my_count, MPI_BYTE, cards->all, counts, offsets, MPI_BYTE, comm,
                            lower->allgatherv_module);
out:
    free(mine);
    free(counts);
    return ret;
}

static bool all_have(const cards_t *cards, int size, int i)
{
    for (int r = 0; r < size; ++r) {
        if (0 == cards->lengths[r * N + i]) {
            return false;
        }
    }
    return true;
}

/* Everybody that has no peer yet, through transport i. */
static bool attach(const cards_t *cards, int rank, int size, int i, const coll_rdma_card_t *known,
                   crdma_peer_t **peers)
{
    const char *at = cards->all;
    bool ok = true;

    coll_rdma_context_lock();
    for (int r = 0; r < size; ++r) {
        for (int j = 0; j < N; ++j) {
            const int length = cards->lengths[r * N + j];

            if (ok && i == j && r != rank && NULL == peers[r]) {
                ok = CRDMA_OK
                     == coll_rdma_context_remote_peer(cards->transport[i], known[r].shm.cookie, at,
                                                      (size_t) length, &peers[r]);
            }
            at += length;
        }
    }
    coll_rdma_context_unlock();
    return ok;
}

static void detach(const crdma_transport_t *transport, int size, crdma_peer_t **peers)
{
    coll_rdma_context_lock();
    for (int r = 0; r < size; ++r) {
        if (NULL != peers[r] && transport == peers[r]->transport) {
            coll_rdma_context_release_peer(peers[r]);
            peers[r] = NULL;
        }
    }
    coll_rdma_context_unlock();
}

int coll_rdma_wireup(coll_rdma_module_t *module, ompi_communicator_t *comm,
                     const coll_rdma_card_t *known, crdma_peer_t **peers, const char **reason)
{
    const int rank = ompi_comm_rank(comm), size = ompi_comm_size(comm);
    cards_t cards = {.lengths = NULL};
    int ret = gather(&cards, module, comm, size);

    *reason = "the transport between hosts cannot be used on every rank: no usable device, or see "
              "coll_rdma_verbose 1";
    if (OMPI_ERR_OUT_OF_RESOURCE == ret) {
        *reason = "no memory";
        ret = OMPI_SUCCESS; /* agreed on: all decline */
        goto out;
    }
    for (int i = 0; OMPI_SUCCESS == ret && NULL != *reason && i < N; ++i) {
        int ok;

        if (!all_have(&cards, size, i)) {
            continue;
        }
        ok = attach(&cards, rank, size, i, known, peers);
        ret = coll_rdma_agree(module, comm, &ok, 1);
        if (OMPI_SUCCESS == ret && ok) {
            *reason = NULL;
        } else {
            detach(cards.transport[i], size, peers);
            *reason = "a rank on another host cannot be reached, see coll_rdma_verbose 1";
        }
    }
out:
    free(cards.lengths);
    free(cards.all);
    return ret;
}
