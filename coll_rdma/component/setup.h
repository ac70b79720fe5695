/*
 * What the set-up of one communicator needs on the way, and what its three files share: setup.c is what the ranks
 * do together, setup_local.c what each finds out and makes by itself, setup_network.c what they agree on about
 * messages between hosts.
 */
#ifndef COLL_RDMA_SETUP_H
#define COLL_RDMA_SETUP_H

#include "coll_rdma/component/coll_rdma_card.h"
#include "coll_rdma/component/familiar.h"

typedef struct coll_rdma_setup {
    int rank, size;
    crdma_slab_t *slab;
    crdma_group_t *group;
    coll_rdma_card_t *cards;
    crdma_peer_t **peers;
    crdma_addr_t *regions;
    int *node;
    int nnodes;
    uint64_t parameters; /* hash */
    coll_rdma_visit_t visit;
    bool visiting;
    bool ok;         /* this rank */
    bool need_remote;
    bool shm_ok;
    coll_rdma_agreed_t agreed;
    const char *reason; /* why not, if !ok */
    int failer;         /* lowest rank that is unable for a reason of its own; size: none */
} coll_rdma_setup_t;

/* Why a rank that is able itself gives up. */
extern const char coll_rdma_other_rank[];

/* The first reason counts. */
void coll_rdma_setup_fail(coll_rdma_setup_t *s, const char *reason);

/* setup_local.c. Callers hold the context's lock, except for finish and is_oversubscribed. */

/* Everything before cards and words: s->node is NULL if there was no memory for anything. */
void coll_rdma_setup_prepare(coll_rdma_setup_t *s, ompi_communicator_t *comm);
/* With the cards of all: attach the peers on this host. */
void coll_rdma_setup_attach(coll_rdma_setup_t *s);
/* The group, now that all is known. */
crdma_status_t coll_rdma_setup_finish(coll_rdma_setup_t *s, int remote_blocks, size_t remote_rndv_min);
/* The references to the peers, back to the context. */
void coll_rdma_setup_release_peers(coll_rdma_setup_t *s);
/* Ranks of this communicator on this machine, in whichever containers they are. */
long coll_rdma_setup_ranks_here(const coll_rdma_setup_t *s);
/* More ranks than processors on this machine? */
bool coll_rdma_setup_is_oversubscribed(const coll_rdma_setup_t *s);

/* setup_network.c: collective. Sets module->network, and s->failer; an Open MPI error only if the lower module
 * fails. */
int coll_rdma_setup_network(coll_rdma_setup_t *s, coll_rdma_module_t *module, ompi_communicator_t *comm);
/* Blocks of a ring between hosts. */
int coll_rdma_setup_network_blocks(const crdma_network_t *network);

#endif
