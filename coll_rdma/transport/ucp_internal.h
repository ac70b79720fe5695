/*
 * What the files of the UCP transport share.
 *
 *   ucp.c           the process: context, worker, slab registration, card, progress, close
 *   ucp_endpoint.c  one peer process: connection on demand, keys, failure
 *   ucp_op.c        records of what is under way, and the pieces of operations
 *   ucp_message.c   puts as active messages; exposed user buffers
 *   ucp_gpu.c       GPU memory
 *   ucp_note.c      a few bytes to a peer, for another transport
 *   ucp_ops.c       put, get, progress
 *   ucp_order.c     which UCX version gets which ordering of payload and flag
 *
 * Invariants
 * 1. One lock covers UCX (the worker is asked for "serialized" use only) and all state below, so
 *    an entry point costs one lock and callbacks, which UCX runs inside our calls, need none.
 * 2. A callback never calls UCX: what it finds to do is queued and done at the top of progress().
 * 3. An operation record lives until UCX has completed every request that names it. The caller's
 *    tx is let go earlier: when the source may be reused and the flag is on its way, or
 *    at once when the peer has failed (then tx is NULL and UCX may complete the record later).
 */
#ifndef CRDMA_TRANSPORT_UCP_INTERNAL_H
#define CRDMA_TRANSPORT_UCP_INTERNAL_H

#include <pthread.h>
#include <sys/types.h>
#include <ucp/api/ucp.h>

#include "coll_rdma/memory/gpucache.h"
#include "coll_rdma/transport/ucp.h"

typedef struct crdma_ucp_endpoint crdma_ucp_endpoint_t;
typedef struct crdma_ucp_op crdma_ucp_op_t;
typedef struct crdma_ucp_exposure crdma_ucp_exposure_t;
typedef struct crdma_ucp_note crdma_ucp_note_t;

/* An unpacked key, see the note on caching in ucp_endpoint.c. */
typedef struct crdma_ucp_rkey {
    struct crdma_ucp_rkey *next; /* most recently used first */
    ucp_rkey_h handle;
    int users;      /* operations in flight */
    bool slab_like; /* same memory domains as the peer's slab: same lane, same order */
    uint32_t length;
    uint8_t bytes[];
} crdma_ucp_rkey_t;

struct crdma_ucp_endpoint {
    crdma_ucp_endpoint_t *next;
    uint64_t cookie;
    uint64_t base; /* of the slab in the peer's address space */
    uint64_t size;
    pid_t pid; /* 0: another host */
    bool failed;
    bool closable;          /* has UCX's error handling, so that it can be closed by force */
    bool settling, settled; /* connected both ways: UCX changes no lane any more */
    bool emulated;          /* no real remote write: the peer's CPU stores what we put */
    bool messages;          /* active messages were sent since the last drain */
    int deferred;           /* flags that wait for a flush */
    ucp_ep_h ep;            /* NULL until the first operation */
    ucp_rkey_h slab_rkey;
    crdma_ucp_op_t *inflight;
    crdma_ucp_rkey_t *rkeys;
    int nrkeys;
    uint32_t address_length, key_length;
    uint8_t bytes[]; /* worker address, then packed slab key */
};

/* What an active message carries besides its payload. */
typedef struct crdma_ucp_message {
    uint64_t dst;          /* in the peer's slab, or an address if to_user */
    crdma_addr_t flag_dst; /* 0: no flag */
    uint64_t flag;
    uint64_t to_user;
} crdma_ucp_message_t;

enum crdma_ucp_step { CRDMA_UCP_STEP_NONE = 0, CRDMA_UCP_STEP_FLAG, CRDMA_UCP_STEP_SETTLED };

struct crdma_ucp_op {
    crdma_ucp_op_t *next, *previous; /* in endpoint->inflight; next also in free and todo lists */
    crdma_ucp_op_t *todo;
    crdma_ucp_endpoint_t *endpoint;
    crdma_tx_t *tx;
    crdma_ucp_rkey_t *rkey;
    int requests;                /* UCX requests that name this record, + 1 while issuing */
    bool source_busy;            /* the payload's request is under way */
    bool flag_due;               /* the flag has not been issued yet */
    enum crdma_ucp_step step;    /* what progress() has to do after the flush */
    crdma_ucp_message_t message; /* flag and flag_dst are used by every mode */
};

typedef struct crdma_ucp_state {
    pthread_mutex_t lock;
    bool open;
    bool wire; /* opened for notes only: the slab is not registered */
    crdma_slab_t *slab;
    ucp_context_h context;
    ucp_worker_h worker;
    ucp_mem_h slab_memory;
    void *card;
    size_t card_length;
    crdma_ucp_order_t order; /* of puts; MESSAGE is chosen per endpoint on top of it */
    bool use_messages, only_messages;
    char description[96];
    crdma_ucp_endpoint_t *endpoints;
    crdma_ucp_op_t *free_ops;
    struct crdma_ucp_chunk *chunks; /* memory of the operation records */
    crdma_ucp_op_t *todo_first, **todo_last;
    struct landing *landings;        /* long messages to be fetched */
    crdma_ucp_exposure_t *exposures; /* user buffers that peers may write to */
    crdma_gpucache_t *gpu;           /* ucp_gpu.c; NULL: this UCX has no CUDA */
    bool gpu_tried, gpu_works;
    crdma_ucp_note_t *notes;         /* received, oldest first */
    bool reap;                       /* some endpoint failed and wants closing */
} crdma_ucp_state_t;

extern crdma_ucp_state_t crdma_ucp_state;

/* ucp_order.c: options of UCX. The value as read from its file and the environment; set one. */
void crdma_ucp_option_get(const ucp_config_t *config, const char *name, char *value, size_t size);
bool crdma_ucp_option_set(ucp_config_t *config, const char *name, const char *value);

/* ucp_order.c: set the configuration for this version; say how puts are ordered and which of UCX's
 * protocols, 1 or 2, will run. */
crdma_status_t crdma_ucp_order_configure(ucp_config_t *config, unsigned major, unsigned minor,
                                         crdma_ucp_order_t *order, int *protocols);
const char *crdma_ucp_order_name(crdma_ucp_order_t order);

/* ucp_endpoint.c */
crdma_status_t crdma_ucp_connect(crdma_ucp_endpoint_t *endpoint);
crdma_status_t crdma_ucp_rkey_get(crdma_ucp_endpoint_t *endpoint, const crdma_exposed_t *exposed,
                                  crdma_ucp_rkey_t **rkey);
void crdma_ucp_rkey_put(crdma_ucp_rkey_t *rkey);
void crdma_ucp_endpoint_fail(crdma_ucp_endpoint_t *endpoint);
void crdma_ucp_endpoint_settled(crdma_ucp_endpoint_t *endpoint);
void crdma_ucp_endpoints_reap(void);
void crdma_ucp_endpoints_check(void);
void crdma_ucp_endpoints_close(void);

/* ucp_op.c: records. op_get counts tx up; op_leave ends the call that started the operation: it
 * returns rc, and lets tx go unless a callback will. */
crdma_ucp_op_t *crdma_ucp_op_get(crdma_ucp_endpoint_t *endpoint, crdma_tx_t *tx);
crdma_status_t crdma_ucp_op_leave(crdma_ucp_op_t *op, crdma_status_t rc);
void crdma_ucp_op_release(crdma_ucp_op_t *op);
void crdma_ucp_ops_release(void);
crdma_status_t crdma_ucp_status(const crdma_ucp_endpoint_t *endpoint, ucs_status_t status);
void crdma_ucp_tx_finish(crdma_ucp_op_t *op, crdma_status_t status);
void crdma_ucp_todo_run(void);

/* ucp_op.c: pieces */
ucp_request_param_t crdma_ucp_callback(crdma_ucp_op_t *op, ucp_send_nbx_callback_t function);
void crdma_ucp_on_source(void *request, ucs_status_t status, void *arg);
crdma_status_t crdma_ucp_started(crdma_ucp_op_t *op, ucs_status_ptr_t request);
crdma_status_t crdma_ucp_issue_payload(crdma_ucp_op_t *op, const void *src, uint64_t address,
                                       ucp_rkey_h rkey, size_t len);
crdma_status_t crdma_ucp_issue_flag(crdma_ucp_op_t *op);
crdma_status_t crdma_ucp_issue_fenced_flag(crdma_ucp_op_t *op);
crdma_status_t crdma_ucp_issue_flush(crdma_ucp_op_t *op, enum crdma_ucp_step step, bool *complete);

/* ucp_op.c: start a flush whose end is seen as endpoint->settled or, in a drain, by tx. */
void crdma_ucp_settle(crdma_ucp_endpoint_t *endpoint);
void crdma_ucp_drain(crdma_ucp_endpoint_t *endpoint, crdma_tx_t *tx);

/* ucp_message.c */
bool crdma_ucp_by_message(const crdma_ucp_endpoint_t *endpoint);
crdma_status_t crdma_ucp_issue_message(crdma_ucp_op_t *op, const void *src, size_t len);
ucs_status_t crdma_ucp_message_receive(void *arg, const void *header, size_t header_length,
                                       void *data, size_t length, const ucp_am_recv_param_t *param);
void crdma_ucp_landings_run(void);
crdma_status_t crdma_ucp_expose(void *address, size_t len, crdma_exposed_t *exposed, void **handle);
void crdma_ucp_conceal(void *handle);
void crdma_ucp_exposures_release(void);

/* ucp_gpu.c; device_*: as in transport.h. expose: false: it is not GPU memory. local: say so in the parameters of
 * an operation if the local buffer is in GPU memory. */
void crdma_ucp_gpu_open(crdma_ucp_state_t *s);
void crdma_ucp_gpu_close(crdma_ucp_state_t *s);
bool crdma_ucp_device_possible(void);
crdma_status_t crdma_ucp_device_enter(const crdma_peer_t *peer, const void *address, size_t len,
                                      void **handle);
void crdma_ucp_device_leave(void *handle);
bool crdma_ucp_gpu_expose(const void *address, crdma_exposed_t *exposed);
void crdma_ucp_gpu_local(const void *address, ucp_request_param_t *param);

/* ucp_note.c */
ucs_status_t crdma_ucp_note_receive(void *arg, const void *header, size_t header_length, void *data,
                                    size_t length, const ucp_am_recv_param_t *param);
void crdma_ucp_notes_release(void);

enum { CRDMA_UCP_MESSAGE_ID = 1, CRDMA_UCP_NOTE_ID = 2 };

/* A word of every slab that nobody reads (page 0 is never handed out): target of the last put
 * of a drain, whose acknowledgement shows that earlier messages were handled. */
enum { CRDMA_UCP_SCRATCH = 4096 - 8 };

#endif
