/*
 * What a process has once: the slab, the peers, the transports between hosts.
 *
 * One lock protects the table of peers and serialises set-up and tear-down; it is never held
 * across communication or progress. Peers stay known while any communicator uses them, and a
 * while longer: a program that duplicates and frees communicators in a loop maps its peers once.
 * Peers without communicators whose process is gone are forgotten when new peers are attached: they are
 * looked for once each time that the lock is taken, so attaching N peers takes O(N) steps.
 */
#include "coll_rdma/component/coll_rdma.h"

#include <pthread.h>
#include <stdlib.h>

#include "coll_rdma/base/map.h"
#include "coll_rdma/component/coll_rdma_card.h"
#include "coll_rdma/component/familiar.h"
#include "coll_rdma/device/cuda.h"
#include "coll_rdma/transport/shm.h"
#include "coll_rdma/transport/ucp.h"
#include "coll_rdma/transport/verbs.h"
#include "coll_rdma/transport/xpmem.h"
#include "opal/util/proc.h"
#include "opal/runtime/opal_progress.h"

#define MIB ((size_t) 1 << 20)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static crdma_slab_t *slab;
static crdma_peer_t **peers; /* direct and remote ones are different entries */
static int npeers, capacity;
/* Where a peer is in the table. May lack some, after a failure or because peers have moved; then it
 * is made again. */
static crdma_map_t places;
static bool places_complete = true;
static bool swept; /* since the lock was taken */

/* The transports between hosts, best first, and which of them are open. */
enum { NTRANSPORTS = COLL_RDMA_NTRANSPORTS };
static bool opened[NTRANSPORTS];

static const crdma_transport_t *transport_at(int i)
{
    return 0 == i ? crdma_verbs_transport() : crdma_ucp_transport();
}

void coll_rdma_context_lock(void)
{
    pthread_mutex_lock(&lock);
    swept = false;
}

void coll_rdma_context_unlock(void)
{
    pthread_mutex_unlock(&lock);
}

/* Callers hold the lock from here on. */

crdma_status_t coll_rdma_context_slab(crdma_slab_t **out)
{
    size_t size = crdma_params.memory_limit;
    crdma_status_t status = CRDMA_OK;

    if (0 == size) {
#if CRDMA_OMPI_MAJOR >= 5
        const int job_size = (int) opal_process_info.num_procs; /* also without MPI_COMM_WORLD */
#else
        const int job_size = ompi_comm_size(&ompi_mpi_comm_world.comm);
#endif
        const bool one_host = (int) opal_process_info.num_local_peers + 1 >= job_size;

        /* Address space only where pages are committed when touched; between hosts a network
         * adapter may pin all of it. */
        size = one_host && CRDMA_TRANSPORT_UCP != crdma_params.transport
                       && CRDMA_TRANSPORT_VERBS != crdma_params.transport
                   ? 1024 * MIB
                   : 256 * MIB;
    }
    if (NULL == slab) {
        status = crdma_slab_create(size, &slab);
    }
    if (CRDMA_OK == status) {
        *out = slab;
    }
    return status;
}

static void forget(int i)
{
    crdma_peer_t *peer = peers[i];

    coll_rdma_familiar_forget(peer);
    if (NULL != peer->map) {
        crdma_shm_detach(peer);
    } else if (NULL != peer->endpoint) {
        peer->transport->detach(peer);
    }
    free(peer);
    peers[i] = peers[--npeers];
    places_complete = false;
}

static uint64_t key_of(uint64_t cookie, const crdma_transport_t *transport)
{
    return cookie ^ (uint64_t) (uintptr_t) transport;
}

static void remember_place(int i)
{
    places_complete = CRDMA_OK == crdma_map_put(&places, key_of(peers[i]->cookie, peers[i]->transport), i)
                      && places_complete;
}

/* transport: NULL for a direct peer. */
static crdma_peer_t *find(uint64_t cookie, const crdma_transport_t *transport)
{
    int64_t i;

    if (!places_complete) {
        crdma_map_clear(&places);
        places_complete = true;
        for (int p = 0; p < npeers; ++p) {
            remember_place(p);
        }
    }
    i = crdma_map_find(&places, key_of(cookie, transport));
    if (0 > i || peers[i]->cookie != cookie || transport != peers[i]->transport) {
        return NULL; /* unknown, or, between random numbers, as good as never, known twice */
    }
    ++peers[i]->refs;
    return peers[i];
}

static void add(crdma_peer_t *peer)
{
    peers[npeers] = peer;
    remember_place(npeers++);
}

/* A new entry; it is not in the table yet. */
static crdma_peer_t *new_peer(uint64_t cookie)
{
    crdma_peer_t *peer;

    for (int i = swept ? -1 : npeers - 1; 0 <= i; --i) {
        if (0 == peers[i]->refs && NULL != peers[i]->map && !crdma_shm_alive(peers[i])) {
            forget(i);
        }
    }
    swept = true;
    if (npeers == capacity) {
        const int more = 0 == capacity ? 16 : 2 * capacity;
        crdma_peer_t **grown = realloc(peers, (size_t) more * sizeof(*peers));

        if (NULL == grown) {
            return NULL;
        }
        peers = grown;
        capacity = more;
    }
    peer = calloc(1, sizeof(*peer));
    if (NULL != peer) {
        peer->cookie = cookie;
        peer->refs = 1;
    }
    return peer;
}

crdma_status_t coll_rdma_context_direct_peer(const coll_rdma_card_t *card, crdma_peer_t **out)
{
    crdma_peer_t *peer = find(card->shm.cookie, NULL);
    crdma_status_t status;

    if (NULL == peer) {
        peer = new_peer(card->shm.cookie);
        if (NULL == peer) {
            return CRDMA_ERR_NOMEM;
        }
        status = crdma_shm_attach(peer, &card->shm);
        if (CRDMA_OK != status) {
            free(peer);
            return status;
        }
        add(peer);
    }
    *out = peer;
    return CRDMA_OK;
}

crdma_status_t coll_rdma_context_remote_peer(const crdma_transport_t *transport, uint64_t cookie,
                                             const void *card, size_t len, crdma_peer_t **out)
{
    crdma_peer_t *peer = find(cookie, transport);
    crdma_status_t status;

    if (NULL == peer) {
        peer = new_peer(cookie);
        if (NULL == peer) {
            return CRDMA_ERR_NOMEM;
        }
        status = transport->attach(peer, card, len);
        if (CRDMA_OK != status) {
            free(peer);
            return status;
        }
        add(peer);
    }
    *out = peer;
    return CRDMA_OK;
}

void coll_rdma_context_release_peer(crdma_peer_t *peer)
{
    if (NULL != peer) {
        --peer->refs;
    }
}

/* Puts may need the target's progress (CRDMA_CAP_TARGET_PROGRESS), at any time. */
static int progress(void)
{
    int events = 0;

    for (int i = 0; i < NTRANSPORTS; ++i) {
        if (opened[i]) {
            events += transport_at(i)->progress();
        }
    }
    return events;
}

static bool any_open(void)
{
    for (int i = 0; i < NTRANSPORTS; ++i) {
        if (opened[i]) {
            return true;
        }
    }
    return false;
}

const crdma_transport_t *coll_rdma_context_open_remote(int i)
{
    const crdma_transport_t *transport = transport_at(i);
    const bool wanted = CRDMA_TRANSPORT_AUTO == crdma_params.transport
                        || (0 == i ? CRDMA_TRANSPORT_VERBS : CRDMA_TRANSPORT_UCP)
                               == crdma_params.transport;

    if (NULL == transport || !wanted) {
        return NULL;
    }
    if (!opened[i]) {
        if (0 != crdma_params.verbs_cache) {
            coll_rdma_memory_watch();
        }
        if (CRDMA_OK != transport->open(slab)) {
            return NULL;
        }
        crdma_log(CRDMA_LOG_SETUP, "between hosts: %s", transport->describe());
        if (!any_open()) {
            opal_progress_register(progress);
        }
        opened[i] = true;
    }
    return transport;
}

void coll_rdma_context_close(void)
{
    coll_rdma_context_lock();
    coll_rdma_rules_release();
    if (any_open()) {
        opal_progress_unregister(progress);
    }
    for (int i = 0; i < NTRANSPORTS; ++i) {
        if (opened[i]) {
            transport_at(i)->close();
            opened[i] = false;
        }
    }
    crdma_ucp_close(); /* verbs leaves it open */
    coll_rdma_memory_unwatch();
    crdma_group_reap_all();
    coll_rdma_familiar_forget(NULL);
    while (0 < npeers) {
        forget(npeers - 1);
    }
    free(peers);
    peers = NULL;
    capacity = 0;
    crdma_xpmem_close();
    crdma_map_clear(&places);
    places_complete = true;
    crdma_slab_destroy(slab);
    slab = NULL;
    crdma_cuda_close();
    coll_rdma_context_unlock();
}
