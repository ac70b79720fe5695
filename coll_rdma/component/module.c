/*
 * A module per communicator. Enabling saves what lies below and touches nothing else: set-up
 * needs communication, which is not possible here (the functions run inside progress
 * callbacks for all but the predefined communicators), so the first blocking collective does it.
 */
#include "coll_rdma/component/coll_rdma.h"

#include <stdlib.h>

#include "opal/util/info.h"

static int module_enable(mca_coll_base_module_t *base, ompi_communicator_t *comm);
static int module_disable(mca_coll_base_module_t *base, ompi_communicator_t *comm);

static void module_construct(coll_rdma_module_t *module)
{
    module->state = COLL_RDMA_NEW;
    module->enabled = false;
    memset(&module->lower, 0, sizeof(module->lower));
    module->group = NULL;
    module->gpu_refused = false;
    memset(module->recent, 0, sizeof(module->recent));
    memset(module->stage, 0, sizeof(module->stage));
    memset(module->stage_size, 0, sizeof(module->stage_size));
}

#define FOR_EACH_LOWER(M) \
    M(allgather);         \
    M(allgatherv);        \
    M(allreduce);         \
    M(barrier);           \
    M(bcast);             \
    M(reduce)

static void release_lower(coll_rdma_module_t *module)
{
    coll_rdma_lower_t *lower = &module->lower;

#define RELEASE(name)                          \
    if (NULL != lower->name##_module) {        \
        OBJ_RELEASE(lower->name##_module);     \
        lower->name##_module = NULL;           \
        lower->name = NULL;                    \
    }                                          \
    (void) 0
    FOR_EACH_LOWER(RELEASE);
#undef RELEASE
}

static void release_group(coll_rdma_module_t *module)
{
    crdma_group_t *group = module->group;

    if (NULL == group) {
        return;
    }
    module->group = NULL;
    module->state = COLL_RDMA_DECLINED;
    coll_rdma_context_lock();
    for (int r = 0; r < group->size; ++r) {
        coll_rdma_context_release_peer(group->peers[r]);
    }
    crdma_group_free(group);
    coll_rdma_context_unlock();
}

static void module_destruct(coll_rdma_module_t *module)
{
    release_group(module);
    release_lower(module);
    free(module->stage[0]);
    free(module->stage[1]);
}

OBJ_CLASS_INSTANCE(coll_rdma_module_t, mca_coll_base_module_t, module_construct, module_destruct);

static bool declined_by_info(ompi_communicator_t *comm)
{
    bool value = true;
    int found = 0;

    if (NULL != comm->super.s_info) {
        (void) opal_info_get_bool(comm->super.s_info, (char *) "coll_rdma", &value, &found);
    }
    return 0 != found && !value;
}

mca_coll_base_module_t *coll_rdma_comm_query(ompi_communicator_t *comm, int *priority)
{
    coll_rdma_module_t *module;

    /* All of these are equal on all ranks. */
    if (OMPI_COMM_IS_INTER(comm) || declined_by_info(comm) || 0 > crdma_params.priority) {
        return NULL;
    }
    module = OBJ_NEW(coll_rdma_module_t);
    if (NULL == module) {
        return NULL;
    }
    if (2 > ompi_comm_size(comm)) {
        module->state = COLL_RDMA_DECLINED; /* here to keep GPU memory from coll/self */
    }
    module->super.coll_module_enable = module_enable;
    module->super.coll_module_disable = module_disable;
    module->super.coll_bcast = coll_rdma_bcast;
    module->super.coll_reduce = coll_rdma_reduce;
    module->super.coll_allreduce = coll_rdma_allreduce;
    module->super.coll_barrier = coll_rdma_barrier;
    *priority = coll_rdma_is_alone() && 90 > crdma_params.priority ? 90 : crdma_params.priority;
    return &module->super;
}

static int module_enable(mca_coll_base_module_t *base, ompi_communicator_t *comm)
{
    coll_rdma_module_t *module = (coll_rdma_module_t *) base;
    coll_rdma_lower_t *lower = &module->lower;

    if (module->enabled) {
        return OMPI_SUCCESS;
    }
#define CHECK(name)                                                                             \
    if (NULL == comm->c_coll->coll_##name || NULL == comm->c_coll->coll_##name##_module) {      \
        crdma_log(CRDMA_LOG_SETUP, "no component below offers %s: not used on %s", #name,       \
                  comm->c_name);                                                                \
        return OMPI_ERR_NOT_FOUND;                                                              \
    }                                                                                           \
    (void) 0
    FOR_EACH_LOWER(CHECK);
#undef CHECK
#define SAVE(name)                                             \
    lower->name = comm->c_coll->coll_##name;                   \
    lower->name##_module = comm->c_coll->coll_##name##_module; \
    OBJ_RETAIN(lower->name##_module)
    FOR_EACH_LOWER(SAVE);
#undef SAVE
    module->enabled = true;
    return OMPI_SUCCESS;
}

/* Called once per function that we own: everything here may run again. */
static int module_disable(mca_coll_base_module_t *base, ompi_communicator_t *comm)
{
    (void) comm;
    release_group((coll_rdma_module_t *) base);
    return OMPI_SUCCESS;
}
