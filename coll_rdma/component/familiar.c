/*
 * The lists and their doors; see familiar.h for how they work and why nobody waits for ever.
 *
 * A word: state in bits 0 and 1, 30 bits of mark, the line of the region in the upper half. 0: not there yet.
 * Words of eight consecutive ids of one rank share a cache line, which has one writer:
 *
 *   table  | ids 0..7: rank 0 (64 B), rank 1, ... | ids 8..15: rank 0, rank 1, ... |
 */
#include "coll_rdma/component/familiar.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "coll_rdma/device/cuda.h"
#include "ompi/proc/proc.h"
#include "opal/runtime/opal_progress.h"

/* Lists kept; those of a program's rows, columns and halves of a grid among many hundred ranks. */
#define LISTS 64
/* Every rank writes to every other: more ranks exchange cards. */
#define RANKS_MOST 256
/* Words of a table, a communicator with a larger id exchanges cards: 512 KB of addresses, of which pages are
 * touched as ids are used. */
#define WORDS 65536
#define IDS_MOST 4096
#define IDS_PER_LINE 8

enum { WANTS_CARDS = 1, READY = 2, STATE = 3 };

/* Polls between two calls of opal_progress, and before the processor is yielded; as engine/watch.c. */
#define POLLS_PER_IDLE 128
#define SPIN 20000
#define YIELDS_PER_IDLE 16

struct coll_rdma_familiar {
    coll_rdma_familiar_t *next;
    coll_rdma_visit_t *visits; /* set-ups under way */
    int rank, size;
    bool open;
    uint64_t parameters;
    uint32_t mark; /* 30 bits */
    coll_rdma_agreed_t agreed;
    crdma_slab_t *slab;
    crdma_addr_t doors;   /* in my slab */
    size_t bytes;
    uint64_t *names;      /* by rank, from here on */
    crdma_peer_t **peers; /* NULL at own rank */
    crdma_addr_t *others; /* their doors */
};

static coll_rdma_familiar_t *lists;
static int nlists;
/* Set-ups under way that have no list. A list that came into being now would not know of them (2). */
static int strangers;

static uint64_t name_of(ompi_communicator_t *comm, int rank)
{
    const opal_process_name_t name = ompi_comm_peer_lookup(comm, rank)->super.proc_name;
    uint64_t number;

    _Static_assert(sizeof(name) == sizeof(number), "a process name is two 32-bit numbers");
    memcpy(&number, &name, sizeof(number));
    return number;
}

static unsigned ids_of(int size)
{
    const unsigned fit = WORDS / (unsigned) size / IDS_PER_LINE * IDS_PER_LINE;

    return fit < IDS_MOST ? fit : IDS_MOST;
}

/* The word of `rank` for communicator `cid`, in a table at `base`. */
static uint64_t *word_at(char *base, int size, unsigned cid, int rank)
{
    const size_t line = (size_t) (cid / IDS_PER_LINE) * (size_t) size + (size_t) rank;

    return (uint64_t *) (base + line * CRDMA_LINE) + cid % IDS_PER_LINE;
}

static void list_free(coll_rdma_familiar_t *list)
{
    if (0 != list->doors) {
        crdma_slab_free(list->slab, list->doors, list->bytes);
        crdma_slab_unreserve(list->slab, list->bytes);
    }
    free(list->names);
    free(list->peers);
    free(list->others);
    free(list);
}

static bool make_doors(coll_rdma_familiar_t *list)
{
    bool fresh;

    list->bytes = crdma_slab_promise_size((size_t) ids_of(list->size) * (size_t) list->size
                                          * sizeof(uint64_t));
    /* Not in a slab that is kept small on purpose. */
    if (list->bytes > list->slab->size / 128
        || CRDMA_OK != crdma_slab_reserve(list->slab, list->bytes)) {
        return false;
    }
    if (CRDMA_OK != crdma_slab_alloc(list->slab, list->bytes, &list->doors, &fresh)) {
        crdma_slab_unreserve(list->slab, list->bytes);
        return false;
    }
    if (!fresh) {
        memset(crdma_slab_at(list->slab, list->doors), 0, list->bytes);
    }
    return true;
}

/* Doors that could never be used would only be memory that an adapter pins. */
static bool on_this_host(ompi_communicator_t *comm)
{
    for (int r = 0; r < ompi_comm_size(comm); ++r) {
        if (!OPAL_PROC_ON_LOCAL_NODE(ompi_comm_peer_lookup(comm, r)->super.proc_flags)) {
            return false;
        }
    }
    return CRDMA_TRANSPORT_UCP != crdma_params.transport
           && CRDMA_TRANSPORT_VERBS != crdma_params.transport;
}

static coll_rdma_familiar_t *list_create(ompi_communicator_t *comm, crdma_slab_t *slab)
{
    const size_t n = (size_t) ompi_comm_size(comm);
    coll_rdma_familiar_t *list = calloc(1, sizeof(*list));

    if (NULL == list) {
        return NULL;
    }
    list->rank = ompi_comm_rank(comm);
    list->size = (int) n;
    list->slab = slab;
    list->names = malloc(n * sizeof(*list->names));
    list->peers = calloc(n, sizeof(*list->peers));
    list->others = calloc(n, sizeof(*list->others));
    if (NULL == list->names || NULL == list->peers || NULL == list->others || !make_doors(list)) {
        list_free(list);
        return NULL;
    }
    for (int r = 0; r < list->size; ++r) {
        list->names[r] = name_of(comm, r);
    }
    list->next = lists;
    lists = list;
    ++nlists;
    return list;
}

static bool is_list_of(const coll_rdma_familiar_t *list, ompi_communicator_t *comm)
{
    if (list->size != ompi_comm_size(comm) || list->rank != ompi_comm_rank(comm)) {
        return false;
    }
    for (int r = 0; r < list->size; ++r) {
        if (list->names[r] != name_of(comm, r)) {
            return false;
        }
    }
    return true;
}

void coll_rdma_familiar_begin(coll_rdma_visit_t *visit, ompi_communicator_t *comm, crdma_slab_t *slab)
{
    const int size = ompi_comm_size(comm);
    coll_rdma_familiar_t *list = lists;

    *visit = (coll_rdma_visit_t) {.cid = coll_rdma_cid(comm)};
    while (NULL != list && !is_list_of(list, comm)) {
        list = list->next;
    }
    if (NULL == list && NULL != slab && 0 == strangers && RANKS_MOST >= size && LISTS > nlists
        && on_this_host(comm)) {
        list = list_create(comm, slab);
    }
    visit->list = list;
    if (NULL == list) {
        ++strangers;
        return;
    }
    visit->numbered = coll_rdma_cid_is_global(comm) && visit->cid < ids_of(size);
    visit->next = list->visits;
    list->visits = visit;
}

bool coll_rdma_familiar_find(const coll_rdma_visit_t *visit, uint64_t parameters, crdma_peer_t **peers,
                             coll_rdma_agreed_t *agreed)
{
    const coll_rdma_familiar_t *list = visit->list;

    if (NULL == list || !list->open || !visit->numbered || list->parameters != parameters
        || (!list->agreed.gpu && crdma_cuda_possible())) { /* which has been loaded since */
        return false;
    }
    for (int r = 0; r < list->size; ++r) {
        peers[r] = list->peers[r];
        if (NULL != peers[r]) {
            ++peers[r]->refs;
        }
    }
    *agreed = list->agreed;
    return true;
}

static void leave(coll_rdma_visit_t *visit, uint64_t word)
{
    const coll_rdma_familiar_t *list = visit->list;

    for (int r = 0; r < list->size; ++r) {
        if (r != list->rank) {
            /* Release: my region is clean before others may know of it. Pairs with the load in
             * coll_rdma_familiar_wait. */
            __atomic_store_n(word_at(list->peers[r]->map + list->others[r], list->size, visit->cid,
                                     list->rank),
                             word, __ATOMIC_RELEASE);
        }
    }
    visit->word = word;
    visit->left = true;
}

void coll_rdma_familiar_leave_word(coll_rdma_visit_t *visit, uint64_t region)
{
    const coll_rdma_familiar_t *list = visit->list;

    if (NULL != list && list->open && visit->numbered && !visit->left) {
        leave(visit, 0 == region ? WANTS_CARDS
                                 : region / CRDMA_LINE << 32 | (uint64_t) list->mark << 2 | READY);
    }
}

crdma_addr_t coll_rdma_familiar_doors(const coll_rdma_visit_t *visit)
{
    return NULL == visit->list ? 0 : visit->list->doors;
}

void coll_rdma_familiar_seal(coll_rdma_visit_t *visit)
{
    visit->left = true;
}

void coll_rdma_familiar_end(coll_rdma_visit_t *visit)
{
    coll_rdma_visit_t **link;

    if (NULL == visit->list) {
        --strangers;
        return;
    }
    for (link = &visit->list->visits; *link != visit; link = &(*link)->next) {
    }
    *link = visit->next;
}

void coll_rdma_familiar_open(const coll_rdma_visit_t *visit, uint64_t parameters, crdma_peer_t *const *peers,
                             const crdma_addr_t *doors, const coll_rdma_agreed_t *agreed)
{
    coll_rdma_familiar_t *list = visit->list;
    const uint64_t hash = (parameters ^ (uint64_t) (agreed->cma + 2 * agreed->gpu
                                                    + 4 * agreed->oversubscribed
                                                    + 8 * agreed->xpmem))
                          * 0x9e3779b97f4a7c15u;

    memcpy(list->peers, peers, (size_t) list->size * sizeof(*list->peers));
    memcpy(list->others, doors, (size_t) list->size * sizeof(*list->others));
    list->parameters = parameters;
    list->agreed = *agreed;
    list->mark = (uint32_t) (hash >> 34);
    list->open = true;
    for (coll_rdma_visit_t *other = list->visits; NULL != other; other = other->next) {
        coll_rdma_familiar_leave_word(other, 0); /* invariant 2 */
    }
}

void coll_rdma_familiar_forget(const crdma_peer_t *peer)
{
    coll_rdma_familiar_t **link = &lists;

    while (NULL != *link) {
        coll_rdma_familiar_t *list = *link;
        bool of_it = NULL == peer;

        for (int r = 0; !of_it && r < list->size; ++r) {
            of_it = list->open && list->peers[r] == peer;
        }
        if (of_it && NULL == list->visits) {
            *link = list->next;
            --nlists;
            list_free(list);
        } else {
            list->open = list->open && !of_it;
            link = &list->next;
        }
    }
}

/* Wait for one word. */
static uint64_t await(const uint64_t *word, bool shared)
{
    uint64_t seen;

    /* Acquire: pairs with the store in leave(). */
    for (unsigned polls = 1; 0 == (seen = __atomic_load_n(word, __ATOMIC_ACQUIRE)); ++polls) {
        if (0 == polls % (shared ? YIELDS_PER_IDLE : POLLS_PER_IDLE)) {
            opal_progress();
        }
        if (shared || SPIN < polls) {
            sched_yield();
        }
    }
    return seen;
}

bool coll_rdma_familiar_wait(const coll_rdma_visit_t *visit, uint64_t *regions, bool shared)
{
    const coll_rdma_familiar_t *list = visit->list;
    char *mine;

    if (READY != (visit->word & STATE)) {
        return false;
    }
    mine = crdma_slab_at(list->slab, list->doors);
    for (int r = 0; r < list->size; ++r) {
        const uint64_t word = r == list->rank
                                  ? visit->word
                                  : await(word_at(mine, list->size, visit->cid, r), shared);

        if ((uint32_t) word != (uint32_t) visit->word) {
            return false; /* state or mark differ: everybody sees that some two do */
        }
        regions[r] = (word >> 32) * CRDMA_LINE;
    }
    coll_rdma_familiar_clear(visit);
    return true;
}

void coll_rdma_familiar_clear(const coll_rdma_visit_t *visit)
{
    const coll_rdma_familiar_t *list = visit->list;

    for (int r = 0; NULL != list && visit->numbered && r < list->size; ++r) {
        uint64_t *word = word_at(crdma_slab_at(list->slab, list->doors), list->size, visit->cid, r);

        if (0 != __atomic_load_n(word, __ATOMIC_RELAXED)) { /* an untouched page stays so */
            __atomic_store_n(word, 0, __ATOMIC_RELAXED);
        }
    }
}
