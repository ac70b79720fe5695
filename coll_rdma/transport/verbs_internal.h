/*
 * What the files of the verbs transport share.
 *
 *   verbs.c           the process: opening, card, progress, closing
 *   verbs_device.c    which device, port and address
 *   verbs_memory.c    registration: the slab in steps, user buffers, buffers of our own
 *   verbs_gpu.c       registration of GPU memory
 *   verbs_endpoint.c  one peer process: attaching, failure
 *   verbs_connect.c   its queue pair: made, connected, ended
 *   verbs_queue.c     work requests: posting, waiting for room, completion
 *   verbs_ops.c       put, get
 *
 * Invariants
 * 1. One lock covers all state below. It may be held while UCX's is taken, never the other way. The
 *    hook by which the slab grows runs under the slab's lock and takes neither: it only writes
 *    `chunks` and the table of keys, and then `nregistered`.
 * 2. Every queue pair has a completion queue of its own, with room for a completion of every work
 *    request that its send queue holds. So none can overflow, also not when a queue pair fails and
 *    completes everything at once.
 * 3. Operations on a peer start in the order in which they were called: while one waits (for the
 *    connection, a key, room in the queue), later ones wait behind it.
 * 4. A caller's tx is let go once: when the data are copied into a work request, or when a completion
 *    covers it, or when the endpoint fails. An endpoint fails only after its queue pair has been
 *    destroyed: then the device does not touch anybody's buffers any more.
 */
#ifndef CRDMA_TRANSPORT_VERBS_INTERNAL_H
#define CRDMA_TRANSPORT_VERBS_INTERNAL_H

#include <infiniband/verbs.h>
#include <pthread.h>

#include "coll_rdma/memory/gpucache.h"
#include "coll_rdma/memory/regcache.h"
#include "coll_rdma/transport/verbs.h"
#include "coll_rdma/transport/verbs_card.h"

typedef struct crdma_verbs_endpoint crdma_verbs_endpoint_t;
typedef struct crdma_verbs_op crdma_verbs_op_t;

/* The port in use. */
typedef struct crdma_verbs_port {
    struct ibv_context *context;
    struct ibv_device_attr device;
    struct ibv_port_attr attr;
    uint8_t number;
    int gid_index;
    union ibv_gid gid;
    uint32_t gid_type;
    bool global; /* packets need the global header: Ethernet */
    enum ibv_mtu mtu;
    char name[80]; /* DEVICE:PORT */
} crdma_verbs_port_t;

enum {
    /* In page 0 of the slab: of each chunk 1 << 32 | key, or 0. Peers read it. */
    CRDMA_VERBS_KEYS = 1024,
    CRDMA_VERBS_CHUNKS_MAX = 256,
    /* A word there that nobody reads: target of the last write before closing. */
    CRDMA_VERBS_SCRATCH = 1024 - 8,
    CRDMA_VERBS_BOUNCE = 4096 /* bytes of one buffer of our own */
};

/* What a work request holds until it is complete. */
typedef struct crdma_verbs_slot {
    crdma_tx_t *tx;                       /* let go */
    crdma_registration_t *memory;         /* given back */
    char *bounce;                         /* given back */
    void *copy_to;                        /* the bounce buffer is copied here first */
    uint32_t copy_length;
    bool signaled;
    bool keys; /* it was the table of keys */
} crdma_verbs_slot_t;

struct crdma_verbs_endpoint {
    crdma_verbs_endpoint_t *next;
    crdma_verbs_endpoint_t *next_busy, *next_waiting;
    crdma_peer_t wire; /* the same process over UCX: notes, and whether it lives */
    crdma_verbs_card_t card;
    uint64_t *keys; /* of its chunks, as in its table */
    int nkeys;
    bool reading_keys;
    bool failed;
    bool left;       /* it said BYE */
    bool connected;  /* my queue pair takes and sends */
    bool told_ready; /* I said so */
    bool peer_ready; /* it said so */
    bool busy, waiting; /* in the list of that name */
    struct ibv_qp *qp;  /* NULL until the first operation of either side */
    struct ibv_cq *cq;
    uint32_t psn;
    crdma_verbs_slot_t *slots; /* state->depth; a work request's number modulo depth */
    uint64_t head, tail;       /* numbers: next to post, oldest that is not complete */
    unsigned unsignaled;       /* posted since the last one that asks for a completion */
    unsigned signaled;         /* that ask for one and are not complete */
    crdma_verbs_op_t *first, **last; /* that wait */
};

struct crdma_verbs_op {
    crdma_verbs_op_t *next;
    crdma_tx_t *tx;
    char *local;
    uint64_t remote; /* in the peer's slab, or an address if user */
    size_t len, done;
    uint64_t flag;
    crdma_addr_t flag_dst;        /* 0: no flag, or it is posted */
    crdma_registration_t *memory; /* of local, if it needs one of its own */
    const struct ibv_mr *gpu;     /* local is GPU memory: its registration, the caller's. Else NULL */
    uint32_t key;                 /* of the user buffer */
    bool user;
    bool get;
};

typedef struct crdma_verbs_state {
    pthread_mutex_t lock;
    bool open;
    crdma_slab_t *slab;
    crdma_verbs_port_t port;
    struct ibv_pd *pd;
    unsigned depth; /* of send queues, a power of two */
    uint32_t inline_max;
    uint8_t reads; /* that a queue pair may have under way */
    /* verbs_memory.c */
    size_t chunk_size;
    int nregistered; /* chunks [0, nregistered) are registered */
    struct ibv_mr *chunks[CRDMA_VERBS_CHUNKS_MAX];
    crdma_regcache_t *cache;
    crdma_gpucache_t *gpu; /* verbs_gpu.c */
    bool gpu_tried, gpu_works;
    char *bounce;
    struct ibv_mr *bounce_memory;
    char *bounce_free; /* each starts with a pointer to the next */
    /* verbs_endpoint.c, verbs_connect.c, verbs_queue.c */
    crdma_verbs_endpoint_t *endpoints;
    crdma_verbs_endpoint_t *busy;    /* have work requests that ask for a completion */
    crdma_verbs_endpoint_t *waiting; /* are connected and have operations that wait */
    int connecting;                  /* endpoints whose connection is being made */
    crdma_verbs_op_t *free_ops;
    struct crdma_verbs_op_chunk *op_chunks;
    /* verbs.c */
    void *card;
    size_t card_length;
    unsigned polls;
    uint64_t wire_due, look_due; /* ns */
    char description[192];
} crdma_verbs_state_t;

extern crdma_verbs_state_t crdma_verbs_state;

/* verbs_device.c. One line says what is wrong. */
crdma_status_t crdma_verbs_port_open(crdma_verbs_port_t *port);
void crdma_verbs_port_close(crdma_verbs_port_t *port);
/* Is it still up; events of the device. Makes system calls. */
void crdma_verbs_port_look(crdma_verbs_port_t *port);
/* The address in words. */
const char *crdma_verbs_port_address(const crdma_verbs_port_t *port, char *text, size_t size);

/* verbs_memory.c */
crdma_status_t crdma_verbs_memory_open(crdma_verbs_state_t *s);
void crdma_verbs_memory_close(crdma_verbs_state_t *s);
char *crdma_verbs_bounce_get(void);
void crdma_verbs_bounce_put(char *buffer);
/* The registration of [address, len) as a local buffer: NULL if it needs none of its own. */
crdma_status_t crdma_verbs_local(const void *address, size_t len, bool write,
                                 crdma_registration_t **memory);
crdma_status_t crdma_verbs_expose(void *address, size_t len, crdma_exposed_t *exposed,
                                  void **handle);
void crdma_verbs_conceal(void *handle);

/* verbs_gpu.c; device_*: as in transport.h */
crdma_status_t crdma_verbs_gpu_open(crdma_verbs_state_t *s);
void crdma_verbs_gpu_close(crdma_verbs_state_t *s);
bool crdma_verbs_device_possible(void);
crdma_status_t crdma_verbs_device_enter(const crdma_peer_t *peer, const void *address, size_t len,
                                        void **handle);
void crdma_verbs_device_leave(void *handle);

/* The registration of GPU memory that is in use for this address, or NULL: host memory. */
static inline const struct ibv_mr *crdma_verbs_gpu_memory(const void *address)
{
    const crdma_gpu_registration_t *r = crdma_gpucache_find(crdma_verbs_state.gpu, address);

    return NULL == r ? NULL : r->handle;
}

static inline uint32_t crdma_verbs_local_key(const crdma_registration_t *memory)
{
    return ((const struct ibv_mr *)memory->handle)->lkey;
}

/* verbs_endpoint.c */
crdma_status_t crdma_verbs_attach(crdma_peer_t *peer, const void *card, size_t len);
void crdma_verbs_detach(crdma_peer_t *peer);
bool crdma_verbs_alive(const crdma_peer_t *peer);
crdma_verbs_endpoint_t *crdma_verbs_endpoint_find(uint64_t cookie);
/* why: what to tell the user; NULL: nothing. */
void crdma_verbs_endpoint_fail(crdma_verbs_endpoint_t *e, const char *why);
/* Fail it if it is gone without our having noticed. Makes system calls. */
void crdma_verbs_endpoint_look(crdma_verbs_endpoint_t *e);
void crdma_verbs_endpoints_close(void);

/* verbs_connect.c */
crdma_status_t crdma_verbs_queue_pair_create(crdma_verbs_state_t *s, void *context,
                                             struct ibv_qp **qp, struct ibv_cq **cq);
crdma_status_t crdma_verbs_connect(crdma_verbs_endpoint_t *e);
void crdma_verbs_notes_handle(void);
void crdma_verbs_bye(crdma_verbs_endpoint_t *e);

static inline bool crdma_verbs_is_ready(const crdma_verbs_endpoint_t *e)
{
    return e->connected && e->peer_ready;
}

/* verbs_ops.c: as in transport.h */
crdma_status_t crdma_verbs_put(crdma_peer_t *peer, const void *src, crdma_addr_t dst, size_t len,
                               crdma_tx_t *tx);
crdma_status_t crdma_verbs_put_flagged(crdma_peer_t *peer, const void *src, crdma_addr_t dst,
                                       size_t len, const uint64_t *flag_src, crdma_addr_t flag_dst,
                                       crdma_tx_t *tx);
crdma_status_t crdma_verbs_put_user_flagged(crdma_peer_t *peer, const void *src,
                                            const crdma_exposed_t *dst, size_t offset, size_t len,
                                            const uint64_t *flag_src, crdma_addr_t flag_dst,
                                            crdma_tx_t *tx);
crdma_status_t crdma_verbs_get(crdma_peer_t *peer, void *dst, crdma_addr_t src, size_t len,
                               crdma_tx_t *tx);
crdma_status_t crdma_verbs_get_user(crdma_peer_t *peer, void *dst, const crdma_exposed_t *src,
                                    size_t offset, size_t len, crdma_tx_t *tx);

/* verbs_queue.c. start: post what can be posted, the rest waits. */
crdma_status_t crdma_verbs_start(crdma_verbs_endpoint_t *e, crdma_verbs_op_t *op);
void crdma_verbs_pump(crdma_verbs_endpoint_t *e);
int crdma_verbs_poll(crdma_verbs_endpoint_t *e);
int crdma_verbs_poll_all(void);
/* Ask for a completion behind all that is posted. */
void crdma_verbs_close_queue(crdma_verbs_endpoint_t *e);
bool crdma_verbs_is_idle(const crdma_verbs_endpoint_t *e);
/* All that is posted or waits ends with CRDMA_ERR_PEER. */
void crdma_verbs_cancel(crdma_verbs_endpoint_t *e);
void crdma_verbs_ops_release(void);

#endif
