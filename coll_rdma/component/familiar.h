/*
 * Lists of processes that share a host and have set up a communicator together before: what they found out
 * and agreed on then holds for the next one too, so it needs no exchange through the lower module.
 *
 * Every rank has a table in its slab per list, its doors: one word per rank and communicator. A rank that
 * sets up a communicator leaves a word at the door of every other rank: where its region is, or that it
 * wants the exchange of cards (setup.c) after all. When all have said the former, all are ready; each
 * sees all words, so all decide alike.
 *
 * 1. A communicator is known by its id, which all members share and no two communicators of a process have at
 *    the same time. A rank clears its words of a communicator before it can take part in making another with
 *    this id, so a word is never mistaken for one of an earlier communicator.
 * 2. A list is open on a rank once a set-up through cards has told it the doors of all others. Ranks complete
 *    that at different times; another thread may meanwhile set up another communicator of the list. A
 *    rank whose list was not open when it began leaves no words and goes to the exchange of cards, while those
 *    who had it open wait at their doors: so when the list opens, its rank leaves words for all its set-ups
 *    under way that have not (coll_rdma_familiar_open). It opens on every rank, because the set-up that
 *    opened it on one needs nothing more from that one.
 * 3. No word is left for a communicator after its rank has left the exchange of cards, and words are
 *    cleared only after an agreement among all ranks that follows it, so none is left behind.
 * 4. A list that is open stays so. It is forgotten when one of its processes is gone: then no communicator of
 *    it can be made any more.
 * 5. The words of all ranks must agree on `mark`, a hash of the parameters and of what was agreed on: some
 *    ranks may know of a later agreement than others.
 */
#ifndef COLL_RDMA_FAMILIAR_H
#define COLL_RDMA_FAMILIAR_H

#include "coll_rdma/component/coll_rdma.h"

typedef struct coll_rdma_agreed {
    bool cma;            /* every rank can copy from its direct peers */
    bool xpmem;          /* and attach their memory */
    bool gpu;            /* a rank had a GPU's driver loaded, or a GPU */
    bool oversubscribed; /* somewhere ranks share processors */
} coll_rdma_agreed_t;

/* One list of processes. */
typedef struct coll_rdma_familiar coll_rdma_familiar_t;

/* A set-up under way, in the memory of the caller. */
typedef struct coll_rdma_visit {
    struct coll_rdma_visit *next;
    coll_rdma_familiar_t *list; /* NULL: there is no room for this list */
    unsigned cid;
    bool numbered; /* cid is equal on all ranks, and has a place in the table */
    bool left;     /* words at all doors, or there will be none any more */
    uint64_t word; /* the one that was left */
} coll_rdma_visit_t;

/* The callers of these hold the context's lock. */

/* Begin: before anything of the set-up is told to others. */
void coll_rdma_familiar_begin(coll_rdma_visit_t *visit, ompi_communicator_t *comm, crdma_slab_t *slab);
/* True if the list is open, for these parameters: fills peers (a reference each is taken) and what was
 * agreed on. */
bool coll_rdma_familiar_find(const coll_rdma_visit_t *visit, uint64_t parameters, crdma_peer_t **peers,
                             coll_rdma_agreed_t *agreed);
/* If the list is open: tell all that this rank is ready, its region at `region`; 0: that it wants cards. */
void coll_rdma_familiar_leave_word(coll_rdma_visit_t *visit, uint64_t region);
/* Where my doors are, for my card; 0: nowhere. */
crdma_addr_t coll_rdma_familiar_doors(const coll_rdma_visit_t *visit);
/* The exchange of cards is over: no word from now on. */
void coll_rdma_familiar_seal(coll_rdma_visit_t *visit);
/* The set-up is over. */
void coll_rdma_familiar_end(coll_rdma_visit_t *visit);
/* After a set-up that all ranks completed, peers all direct. doors: by rank, all nonzero. */
void coll_rdma_familiar_open(const coll_rdma_visit_t *visit, uint64_t parameters, crdma_peer_t *const *peers,
                             const crdma_addr_t *doors, const coll_rdma_agreed_t *agreed);
/* A process is gone; NULL: forget all, the slab is about to go. */
void coll_rdma_familiar_forget(const crdma_peer_t *peer);

/* These are called without the lock, by the thread of the set-up. */

/* Wait for the words of all others, if words were left. True: everybody is ready, the regions are known, and
 * nothing is left to do. False: exchange cards. */
bool coll_rdma_familiar_wait(const coll_rdma_visit_t *visit, uint64_t *regions, bool shared);
/* Clear my words; after the exchange of cards and an agreement. */
void coll_rdma_familiar_clear(const coll_rdma_visit_t *visit);

#endif
