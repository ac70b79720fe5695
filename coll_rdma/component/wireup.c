/*
 * Reaching the ranks on other hosts: which transport, and their cards. For each transport, best first:
 *
 *   1. open it; agree whether every rank could. What opening costs (memory that a network adapter
 *      pins) is thus paid only for the transport that is used, or for a better one that failed.
 *   2. the lengths of the cards, the cards (allgather, allgatherv)
 *   3. attach; agree whether everybody could; if not, try the next.
 *
 * All through the lower module, and every decision is on what all ranks know, so all choose the same.
 */
#include "coll_rdma/component/coll_rdma.h"

#include <stdlib.h>
#include <string.h>

#include "coll_rdma/component/coll_rdma_card.h"

typedef struct cards {
    const crdma_transport_t *transport;
    char *mine, *all; /* all: rank after rank */
    int *lengths, *offsets;
} cards_t;

static void cards_free(cards_t *cards)
{
    free(cards->mine);
    free(cards->all);
    free(cards->lengths);
}

/* Our card, copied: another thread may open another transport meanwhile. */
static bool copy_card(cards_t *cards, int *length)
{
    const void *card;
    size_t size = 0;
    bool ok = false;

    coll_rdma_context_lock();
    if (CRDMA_OK == cards->transport->card(&card, &size) && 0 < size && INT32_MAX > size) {
        cards->mine = malloc(size);
        ok = NULL != cards->mine;
    }
    if (ok) {
        memcpy(cards->mine, card, size);
        *length = (int) size;
    }
    coll_rdma_context_unlock();
    return ok;
}

/* *ok becomes false if it is so on any rank. */
static int agree_on(coll_rdma_module_t *module, ompi_communicator_t *comm, bool *ok)
{
    int all = *ok;
    const int ret = coll_rdma_agree(module, comm, &all, 1);

    *ok = OMPI_SUCCESS == ret && 0 != all;
    return ret;
}

/* Step 2. */
static int gather(cards_t *cards, coll_rdma_module_t *module, ompi_communicator_t *comm, bool *ok)
{
    coll_rdma_lower_t *lower = &module->lower;
    const int size = ompi_comm_size(comm);
    int64_t total = 0;
    int length = 0, ret;

    cards->lengths = calloc(2 * (size_t) size, sizeof(*cards->lengths));
    *ok = NULL != cards->lengths && copy_card(cards, &length);
    ret = agree_on(module, comm, ok);
    if (OMPI_SUCCESS != ret || !*ok) {
        return ret;
    }
    cards->offsets = cards->lengths + size;
    ret = lower->allgather(&length, 1, MPI_INT, cards->lengths, 1, MPI_INT, comm,
                           lower->allgather_module);
    if (OMPI_SUCCESS != ret) {
        return ret;
    }
    for (int r = 0; r < size; ++r) {
        cards->offsets[r] = (int) total;
        total += cards->lengths[r];
    }
    cards->all = malloc((size_t) total);
    *ok = NULL != cards->all && INT32_MAX > total;
    ret = agree_on(module, comm, ok);
    if (OMPI_SUCCESS != ret || !*ok) {
        return ret;
    }
    return lower->allgatherv(cards->mine, length, MPI_BYTE, cards->all, cards->lengths,
                             cards->offsets, MPI_BYTE, comm, lower->allgatherv_module);
}

/* Everybody that has no peer yet. */
static bool attach(const cards_t *cards, ompi_communicator_t *comm, const coll_rdma_card_t *known,
                   crdma_peer_t **peers)
{
    const int rank = ompi_comm_rank(comm), size = ompi_comm_size(comm);
    bool ok = true;

    coll_rdma_context_lock();
    for (int r = 0; ok && r < size; ++r) {
        if (r != rank && NULL == peers[r]) {
            ok = CRDMA_OK
                 == coll_rdma_context_remote_peer(cards->transport, known[r].shm.cookie,
                                                  cards->all + cards->offsets[r],
                                                  (size_t) cards->lengths[r], &peers[r]);
        }
    }
    coll_rdma_context_unlock();
    return ok;
}

static void detach(const crdma_transport_t *transport, int size, crdma_peer_t **peers)
{
    coll_rdma_context_lock();
    for (int r = 0; r < size; ++r) {
        if (NULL != peers[r] && NULL != transport && transport == peers[r]->transport) {
            coll_rdma_context_release_peer(peers[r]);
            peers[r] = NULL;
        }
    }
    coll_rdma_context_unlock();
}

static int try_transport(int i, coll_rdma_module_t *module, ompi_communicator_t *comm,
                         const coll_rdma_card_t *known, crdma_peer_t **peers, const char **reason)
{
    cards_t cards = {.transport = NULL};
    bool ok;
    int ret;

    coll_rdma_context_lock();
    cards.transport = coll_rdma_context_open_remote(i);
    coll_rdma_context_unlock();
    ok = NULL != cards.transport;
    ret = agree_on(module, comm, &ok);
    if (OMPI_SUCCESS != ret || !ok) {
        return ret;
    }
    ret = gather(&cards, module, comm, &ok);
    if (OMPI_SUCCESS == ret && !ok) {
        *reason = "no memory";
    } else if (OMPI_SUCCESS == ret) {
        ok = attach(&cards, comm, known, peers);
        ret = agree_on(module, comm, &ok);
        *reason = ok ? NULL : "a rank on another host cannot be reached, see coll_rdma_verbose 1";
    }
    if (OMPI_SUCCESS != ret || NULL != *reason) {
        detach(cards.transport, ompi_comm_size(comm), peers);
    }
    cards_free(&cards);
    return ret;
}

int coll_rdma_wireup(coll_rdma_module_t *module, ompi_communicator_t *comm,
                     const coll_rdma_card_t *known, crdma_peer_t **peers, const char **reason)
{
    int ret = OMPI_SUCCESS;

    *reason = "the transport between hosts cannot be used on every rank: no usable device, or see "
              "coll_rdma_verbose 1";
    for (int i = 0; OMPI_SUCCESS == ret && NULL != *reason && i < COLL_RDMA_NTRANSPORTS; ++i) {
        ret = try_transport(i, module, comm, known, peers, reason);
    }
    return ret;
}
