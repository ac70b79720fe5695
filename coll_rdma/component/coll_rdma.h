/*
 * coll/rdma as Open MPI sees it: one component, one module per communicator.
 */
#ifndef COLL_RDMA_H
#define COLL_RDMA_H

#include "config.h"

#include "ompi_config.h"

#include "mpi.h"
#include "ompi/communicator/communicator.h"
#include "ompi/datatype/ompi_datatype.h"
#include "ompi/mca/coll/base/base.h"
#include "ompi/mca/coll/coll.h"
#include "ompi/op/op.h"
#include "opal/mca/base/base.h"

#include "coll_rdma/base/log.h"
#include "coll_rdma/base/params.h"
#include "coll_rdma/engine/op.h"
#include "coll_rdma/select/select.h"

extern mca_coll_base_component_t mca_coll_rdma_component;

/* The functions of the module below, which we call for what we do not serve. */
typedef struct coll_rdma_lower {
#define COLL_RDMA_LOWER(name)                     \
    mca_coll_base_module_##name##_fn_t name;      \
    mca_coll_base_module_t *name##_module
    COLL_RDMA_LOWER(allgather);
    COLL_RDMA_LOWER(allgatherv);
    COLL_RDMA_LOWER(allreduce);
    COLL_RDMA_LOWER(barrier);
    COLL_RDMA_LOWER(bcast);
    COLL_RDMA_LOWER(reduce);
#undef COLL_RDMA_LOWER
} coll_rdma_lower_t;

typedef enum coll_rdma_state {
    COLL_RDMA_NEW = 0,  /* not set up: the first blocking collective does it */
    COLL_RDMA_READY,    /* group serves */
    COLL_RDMA_DECLINED  /* all ranks agreed to leave the communicator to the lower module */
} coll_rdma_state_t;

#define COLL_RDMA_APART __attribute__((noinline))

/* The last call of a collective that used predefined types only: everything but the buffers, so
 * that a program which repeats it pays for comparing, not for choosing. */
typedef struct coll_rdma_recent {
    const ompi_datatype_t *dtype; /* NULL: nothing remembered */
    const ompi_op_t *op;
    int count, root;
    unsigned epoch; /* of the group's plans */
    int algorithm, degree, two_level; /* parameters that were read */
    size_t segment_size;
    crdma_op_args_t args;
} coll_rdma_recent_t;

/* By collective and root % 2, so that two ranks may take turns. */
#define COLL_RDMA_RECENT 2

typedef struct coll_rdma_module {
    mca_coll_base_module_t super;
    coll_rdma_state_t state;
    bool enabled;
    coll_rdma_lower_t lower;
    crdma_group_t *group;
    crdma_network_t network; /* between hosts; equal on all ranks */
    coll_rdma_recent_t recent[CRDMA_NCOLLS][COLL_RDMA_RECENT];
    bool gpu_refused;     /* a rank could not open another's GPU memory: calls are staged */
    char *stage[2];       /* packed copies of input and output, grown on demand */
    size_t stage_size[2];
} coll_rdma_module_t;

OBJ_CLASS_DECLARATION(coll_rdma_module_t);

/* params.c */
int coll_rdma_register_params(void);
/* What is wrong with the parameters, or NULL. */
const char *coll_rdma_params_complaint(void);
/* The rules of coll_rdma_rules_file, read at the first use; NULL: none. */
const crdma_rules_t *coll_rdma_rules(void);
void coll_rdma_rules_release(void);
extern char *coll_rdma_alone_components;
extern int coll_rdma_ranks_per_host;

/* alone.c: make `--mca coll rdma` work without listing the components that it needs. */
void coll_rdma_load_lower_components(void);
bool coll_rdma_is_alone(void);

/* module.c */
mca_coll_base_module_t *coll_rdma_comm_query(ompi_communicator_t *comm, int *priority);

/* context.c: what the process has once. */
crdma_status_t coll_rdma_context_slab(crdma_slab_t **slab);
/* The peer behind a card: known or attached now; a reference is taken. */
struct coll_rdma_card;
crdma_status_t coll_rdma_context_direct_peer(const struct coll_rdma_card *card,
                                             crdma_peer_t **peer);
crdma_status_t coll_rdma_context_remote_peer(const crdma_transport_t *transport, uint64_t cookie,
                                             const void *card, size_t len, crdma_peer_t **peer);
void coll_rdma_context_release_peer(crdma_peer_t *peer);
/* Open transport i between hosts, best first, and start progressing it; NULL if it is not wanted
 * (coll_rdma_transport), not built or cannot be used here. */
enum { COLL_RDMA_NTRANSPORTS = 2 };
const crdma_transport_t *coll_rdma_context_open_remote(int i);
void coll_rdma_context_close(void);
/* Serialises local set-up work of several threads; never held while communicating. */
void coll_rdma_context_lock(void);
void coll_rdma_context_unlock(void);

/* setup.c: collective over the communicator, through the lower module. Sets state; returns
 * an Open MPI error only if the lower module does. */
int coll_rdma_setup(coll_rdma_module_t *module, ompi_communicator_t *comm);
/* The minimum over all ranks of each value, through the lower module. */
int coll_rdma_agree(coll_rdma_module_t *module, ompi_communicator_t *comm, int *values, int n);

/* wireup.c: collective too. Fills in the peers that are NULL, all by one transport. *reason, equal on
 * all ranks: why not, or NULL. */
int coll_rdma_wireup(coll_rdma_module_t *module, ompi_communicator_t *comm,
                     const struct coll_rdma_card *cards, crdma_peer_t **peers, const char **reason);

/* memory_hooks.c: set crdma_regcache_hooked if Open MPI tells what the application frees. watch: before
 * a registration cache is used; calling it again is harmless. */
void coll_rdma_memory_watch(void);
void coll_rdma_memory_unwatch(void);

/* measure.c: what messages to a remote peer cost, from a cache after the first time. Fails if it
 * cannot be reached. The caller holds no lock. */
crdma_status_t coll_rdma_measure(crdma_slab_t *slab, crdma_peer_t *peer, crdma_network_t *network);

/* The four collectives, one file each. */
int coll_rdma_bcast(void *buf, int count, ompi_datatype_t *dtype, int root,
                    ompi_communicator_t *comm, mca_coll_base_module_t *module);
int coll_rdma_reduce(const void *sbuf, void *rbuf, int count, ompi_datatype_t *dtype,
                     ompi_op_t *op, int root, ompi_communicator_t *comm,
                     mca_coll_base_module_t *module);
int coll_rdma_allreduce(const void *sbuf, void *rbuf, int count, ompi_datatype_t *dtype,
                        ompi_op_t *op, ompi_communicator_t *comm, mca_coll_base_module_t *module);
int coll_rdma_barrier(ompi_communicator_t *comm, mca_coll_base_module_t *module);

/* Set up if needed; true if the group serves this call. *error is set otherwise: OMPI_SUCCESS
 * means "ask the lower module". */
static inline bool coll_rdma_serves(coll_rdma_module_t *module, ompi_communicator_t *comm,
                                    int *error)
{
    if (OPAL_LIKELY(COLL_RDMA_READY == module->state)) {
        return true;
    }
    *error = COLL_RDMA_NEW == module->state ? coll_rdma_setup(module, comm) : OMPI_SUCCESS;
    return OMPI_SUCCESS == *error && COLL_RDMA_READY == module->state;
}

/* A number for messages: the communicator's local id. */
static inline unsigned coll_rdma_cid(ompi_communicator_t *comm)
{
#if CRDMA_OMPI_MAJOR >= 5
    return (unsigned) ompi_comm_get_local_cid(comm);
#else
    return (unsigned) ompi_comm_get_cid(comm);
#endif
}

/* True if that number is equal on all ranks. */
static inline bool coll_rdma_cid_is_global(ompi_communicator_t *comm)
{
#if CRDMA_OMPI_MAJOR >= 5
    return OMPI_COMM_IS_GLOBAL_INDEX(comm);
#else
    (void) comm;
    return true;
#endif
}

/* run.c: the remembered arguments of an equal call, or NULL. dtype and op are predefined if they
 * were remembered, so equal pointers mean equal objects. */
static inline crdma_op_args_t *coll_rdma_recall(coll_rdma_module_t *module, crdma_coll_t coll,
                                                const ompi_datatype_t *dtype,
                                                const ompi_op_t *op, int count, int root)
{
    coll_rdma_recent_t *recent =
        &module->recent[coll][(unsigned) root % COLL_RDMA_RECENT];

    return recent->dtype == dtype && recent->op == op && recent->count == count
                   && recent->root == root && COLL_RDMA_READY == module->state
                   && recent->epoch == module->group->epoch
                   && recent->algorithm == crdma_params.algorithm[coll]
                   && recent->degree == crdma_params.degree[coll]
                   && recent->two_level == crdma_params.two_level
                   && recent->segment_size == crdma_params.segment_size
                   && CRDMA_LOG_CALL > crdma_params.verbose
               ? &recent->args
               : NULL;
}

/* Remember a call that coll_rdma_run has served. */
void coll_rdma_remember(coll_rdma_module_t *module, crdma_coll_t coll,
                        const ompi_datatype_t *dtype, const ompi_op_t *op, int count, int root,
                        const crdma_op_args_t *args);

/* Run what was recalled; an Open MPI or MPI error code. */
int coll_rdma_rerun(coll_rdma_module_t *module, const crdma_op_args_t *args);

/* The transport to the peers that are not direct; empty if there are none. */
static inline const char *coll_rdma_remote_name(const crdma_group_t *group)
{
    for (int r = 0; r < group->size; ++r) {
        if (NULL != group->peers[r] && NULL != group->peers[r]->transport) {
            return group->peers[r]->transport->name;
        }
    }
    return "";
}

/* run.c: choose, trace, run. `ordered`: operands must be combined in rank order. With args->device:
 * COLL_RDMA_NOT_DIRECT if it must be done through the host; then nothing has happened. */
#define COLL_RDMA_NOT_DIRECT OMPI_ERR_NOT_AVAILABLE
int coll_rdma_run(coll_rdma_module_t *module, crdma_coll_t coll, int root, bool ordered,
                  crdma_op_args_t *args, crdma_op_id_t op, crdma_type_id_t type);

#endif
