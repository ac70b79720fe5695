/*
 * From a validated call to a finished one: choose, get the plan, trace, run.
 */
#include "coll_rdma/component/coll_rdma.h"

#include "coll_rdma/engine/device.h"
#include "coll_rdma/protocol/signature.h"

/* Ranks of a node are consecutive: then node numbers never decrease. */
static bool nodes_are_consecutive(const crdma_group_t *g)
{
    for (int r = 1; r < g->size; ++r) {
        if (g->node[r] < g->node[r - 1]) {
            return false;
        }
    }
    return true;
}

static void trace(crdma_group_t *g, const crdma_op_args_t *args, crdma_coll_t coll,
                  const crdma_choice_t *choice, crdma_op_id_t op, crdma_type_id_t type)
{
    const size_t bytes = args->count * args->elsize;
    const size_t segment = 0 != choice->segment && choice->segment < bytes ? choice->segment
                                                                           : bytes;
    const size_t segments = 0 == segment ? 1 : (bytes + segment - 1) / segment;
    const size_t message = segment / (size_t) args->plan->sched->nblocks;
    bool direct = false, remote = false;
    const char *protocol, *memory = "";
    char levels[64] = "1";

    for (int i = 0; i < args->plan->sched->npeers; ++i) {
        if (NULL != args->plan->edges[i]) {
            direct = direct || !args->plan->edges[i]->remote;
            remote = remote || args->plan->edges[i]->remote;
        }
    }
    protocol = crdma_protocol_name(
        crdma_protocol_of(&g->direct, remote ? &g->rndv_remote : &g->rndv_direct[coll], message));
    if (2 == choice->levels) {
        snprintf(levels, sizeof(levels), "2 inter_algorithm=%s inter_degree=%d",
                 crdma_alg_name(choice->inter_alg), choice->inter_degree);
    }
    if (NULL != args->device) {
        memory = " memory=gpu";
    } else {
        if (crdma_board_serves(g, args->plan, bytes, args->elsize, args->segment)) {
            protocol = "board";
        }
        if (direct && message >= g->rndv_direct[coll].min) {
            memory = g->rndv_direct[coll].mapped ? " single_copy=xpmem" : " single_copy=cma";
        }
    }
    crdma_log(CRDMA_LOG_CALL,
              "rank %d/%d %s: %s %zu B%s%s%s%s: algorithm=%s degree=%d levels=%s protocol=%s "
              "segments=%zu transport=%s%s%s%s",
              g->rank, g->size, g->name, crdma_coll_name(coll), bytes,
              CRDMA_OP_NONE != op ? " " : "",
              CRDMA_OP_NONE != op ? crdma_type_name(type) : "", CRDMA_OP_NONE != op ? " " : "",
              CRDMA_OP_NONE != op ? crdma_op_name(op) : "", crdma_alg_name(choice->alg),
              choice->degree, levels, protocol, segments, direct || !remote ? "shm" : "",
              direct && remote ? "+" : "", remote ? coll_rdma_remote_name(g) : "", memory);
}

static int to_ompi(crdma_status_t status)
{
    switch (status) {
    case CRDMA_OK:
        return OMPI_SUCCESS;
    case CRDMA_ERR_NOMEM:
        return OMPI_ERR_OUT_OF_RESOURCE;
    case CRDMA_ERR_UNSUPPORTED:
        return OMPI_ERR_NOT_SUPPORTED;
    default:
        return MPI_ERR_OTHER;
    }
}

int coll_rdma_run(coll_rdma_module_t *module, crdma_coll_t coll, int root, bool ordered,
                  crdma_op_args_t *args, crdma_op_id_t op, crdma_type_id_t type)
{
    crdma_group_t *g = module->group;
    const crdma_select_args_t select = {.coll = coll,
                                        .size = g->size,
                                        .nnodes = g->nnodes,
                                        .oversubscribed = g->oversubscribed,
                                        .all_direct = g->all_direct,
                                        .consecutive = 1 == g->nnodes || nodes_are_consecutive(g),
                                        .ordered = ordered,
                                        .bytes = args->count * args->elsize,
                                        .rndv_min = g->rndv_direct[coll].min,
                                        .board_max = crdma_group_board(g) ? g->board_max[coll] : 0,
                                        .parts_min = g->parts_min[coll],
                                        .network = &module->network,
                                        .rules = coll_rdma_rules()};
    crdma_choice_t choice;
    crdma_plan_key_t key;
    crdma_status_t status;

    crdma_select(&select, &choice);
    key = (crdma_plan_key_t) {.coll = coll,
                              .alg = (int) choice.alg,
                              .degree = choice.degree,
                              .root = root,
                              .ordered = ordered,
                              .levels = choice.levels,
                              .inter_alg = (int) choice.inter_alg,
                              .inter_degree = choice.inter_degree};
    status = crdma_plan_get(g, &key, &args->plan);
    if (CRDMA_OK != status) {
        return to_ompi(status);
    }
    args->segment = choice.segment;
    if (NULL != args->device && CRDMA_OK != crdma_device_fits(g, args)) {
        return COLL_RDMA_NOT_DIRECT;
    }
    args->sig = crdma_sig_make(coll, op, CRDMA_OP_NONE != op ? args->elsize : 0, root,
                               args->count * args->elsize);
    if (CRDMA_LOG_CALL <= crdma_params.verbose) {
        trace(g, args, coll, &choice, op, type);
    }
    crdma_op_prepare(g, args);
    status = crdma_op_run(g, args);
    if (NULL != args->device) {
        crdma_device_end(g, args);
    }
    return to_ompi(status);
}

void coll_rdma_remember(coll_rdma_module_t *module, crdma_coll_t coll,
                        const ompi_datatype_t *dtype, const ompi_op_t *op, int count, int root,
                        const crdma_op_args_t *args)
{
    module->recent[coll][(unsigned) root % COLL_RDMA_RECENT] = (coll_rdma_recent_t) {.dtype = dtype,
                                                 .op = op,
                                                 .count = count,
                                                 .root = root,
                                                 .epoch = module->group->epoch,
                                                 .algorithm = crdma_params.algorithm[coll],
                                                 .degree = crdma_params.degree[coll],
                                                 .two_level = crdma_params.two_level,
                                                 .segment_size = crdma_params.segment_size,
                                                 .args = *args};
}

int coll_rdma_rerun(coll_rdma_module_t *module, const crdma_op_args_t *args)
{
    crdma_group_t *g = module->group;
    crdma_status_t status = 0 != args->small ? crdma_op_run_small(g, args) : CRDMA_AGAIN;

    if (OPAL_LIKELY(CRDMA_OK == status)) {
        return OMPI_SUCCESS;
    }
    return to_ompi(CRDMA_AGAIN == status ? crdma_op_run(g, args) : status);
}
