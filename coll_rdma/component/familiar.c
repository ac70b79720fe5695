/*
 * Communicators whose processes have been set up together before: what the ranks found out and agreed
 * on then holds again, so a duplicate needs one exchange of region addresses and nothing else (setup.c).
 *
 * An entry is a list of process names in rank order. Names are not given twice in the life of a job,
 * and a name's memory file lives as long as its process uses MPI.
 *
 * 1. All ranks of a list made their entry in the same set-up: every complete set-up replaces the
 *    entry on all ranks. A rank may have lost its entry; then it says so, and all set up anew.
 * 2. An entry's peers are in the table of context.c. Whoever takes one out of there forgets all
 *    entries first.
 */
#include "coll_rdma/component/coll_rdma.h"

#include <stdlib.h>
#include <string.h>

#include "coll_rdma/device/cuda.h"
#include "ompi/proc/proc.h"

/* Lists kept: a program's world, its host's ranks, and rows and columns of a grid. */
#define KEPT 4

typedef struct entry {
    int rank, size;
    uint64_t parameters;
    coll_rdma_agreed_t agreed;
    uint64_t *names;
    crdma_peer_t **peers; /* NULL at own rank */
} entry_t;

static entry_t entries[KEPT];
static int next;

static uint64_t name_of(ompi_communicator_t *comm, int rank)
{
    const opal_process_name_t name = ompi_comm_peer_lookup(comm, rank)->super.proc_name;
    uint64_t number;

    _Static_assert(sizeof(name) == sizeof(number), "a process name is two 32-bit numbers");
    memcpy(&number, &name, sizeof(number));
    return number;
}

static void empty(entry_t *entry)
{
    free(entry->names);
    free(entry->peers);
    *entry = (entry_t) {.size = 0};
}

/* The entry of these processes, whatever the parameters were. */
static entry_t *find(ompi_communicator_t *comm)
{
    const int size = ompi_comm_size(comm);

    for (int i = 0; i < KEPT; ++i) {
        int same = 0;

        if (entries[i].size != size || entries[i].rank != ompi_comm_rank(comm)) {
            continue;
        }
        while (same < size && entries[i].names[same] == name_of(comm, same)) {
            ++same;
        }
        if (same == size) {
            return &entries[i];
        }
    }
    return NULL;
}

bool coll_rdma_familiar_find(ompi_communicator_t *comm, uint64_t parameters, crdma_peer_t **peers,
                             coll_rdma_agreed_t *agreed)
{
    const entry_t *entry = find(comm);

    if (NULL == entry || entry->parameters != parameters
        || (!entry->agreed.gpu && crdma_cuda_possible())) { /* which has been loaded since */
        return false;
    }
    for (int r = 0; r < entry->size; ++r) {
        peers[r] = entry->peers[r];
        if (NULL != peers[r]) {
            ++peers[r]->refs;
        }
    }
    *agreed = entry->agreed;
    return true;
}

void coll_rdma_familiar_add(ompi_communicator_t *comm, uint64_t parameters,
                            crdma_peer_t *const *peers, const coll_rdma_agreed_t *agreed)
{
    const size_t n = (size_t) ompi_comm_size(comm);
    entry_t *entry = find(comm);

    if (NULL == entry) {
        entry = &entries[next];
        next = (next + 1) % KEPT;
    }
    empty(entry);
    entry->names = malloc(n * sizeof(*entry->names));
    entry->peers = malloc(n * sizeof(*entry->peers));
    if (NULL == entry->names || NULL == entry->peers) {
        empty(entry);
        return;
    }
    for (int r = 0; r < (int) n; ++r) {
        entry->names[r] = name_of(comm, r);
    }
    memcpy(entry->peers, peers, n * sizeof(*entry->peers));
    entry->size = (int) n;
    entry->rank = ompi_comm_rank(comm);
    entry->parameters = parameters;
    entry->agreed = *agreed;
}

void coll_rdma_familiar_forget(void)
{
    for (int i = 0; i < KEPT; ++i) {
        empty(&entries[i]);
    }
}
