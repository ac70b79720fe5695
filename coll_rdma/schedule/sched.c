/*
 * The entry of the schedule layer: checks the arguments, looks the generator up in the table
 * of (collective, algorithm), and lets it build one part for everybody, or a
 * two-level composition of parts.
 *
 * An algorithm joins by one row of the table.
 */
#include "coll_rdma/schedule/schedule.h"

#include <stdlib.h>

#include "coll_rdma/schedule/generators.h"

static int one_block(int size, int degree)
{
    (void)size;
    (void)degree;
    return 1;
}

static int block_per_member(int size, int degree)
{
    (void)degree;
    return size;
}

static const crdma_generator_t generators[] = {
    {CRDMA_BCAST, CRDMA_ALG_TREE, 1, one_block, crdma_generate_tree_bcast},
    {CRDMA_BCAST, CRDMA_ALG_CHAIN, 1, one_block, crdma_generate_chain_bcast},
    {CRDMA_BCAST, CRDMA_ALG_SCATTER_ALLGATHER, 1, block_per_member,
     crdma_generate_scatter_allgather_bcast},
    {CRDMA_REDUCE, CRDMA_ALG_TREE, 1, one_block, crdma_generate_tree_reduce},
    {CRDMA_REDUCE, CRDMA_ALG_RSAG, 1, crdma_rsag_nblocks, crdma_generate_rsag_reduce},
    {CRDMA_REDUCE, CRDMA_ALG_CHAIN, 1, one_block, crdma_generate_chain_reduce},
    {CRDMA_ALLREDUCE, CRDMA_ALG_TREE, 1, one_block, crdma_generate_tree_allreduce},
    {CRDMA_ALLREDUCE, CRDMA_ALG_EXCHANGE, 1, one_block, crdma_generate_exchange_allreduce},
    {CRDMA_ALLREDUCE, CRDMA_ALG_RSAG, 1, crdma_rsag_nblocks, crdma_generate_rsag_allreduce},
    {CRDMA_ALLREDUCE, CRDMA_ALG_RING, 0, block_per_member, crdma_generate_ring_allreduce},
    {CRDMA_BARRIER, CRDMA_ALG_TREE, 1, one_block, crdma_generate_tree_barrier},
    {CRDMA_BARRIER, CRDMA_ALG_EXCHANGE, 1, one_block, crdma_generate_exchange_barrier},
};

const crdma_generator_t *crdma_generator_find(crdma_coll_t coll, crdma_alg_t alg)
{
    for (size_t i = 0; i < sizeof(generators) / sizeof(generators[0]); i++) {
        if (coll == generators[i].coll && alg == generators[i].alg) {
            return &generators[i];
        }
    }
    return NULL;
}

int crdma_sched_supported(crdma_coll_t coll, crdma_alg_t alg)
{
    return NULL != crdma_generator_find(coll, alg);
}

static int in_range(int value, int end)
{
    return 0 <= value && value < end;
}

static int is_rooted(crdma_coll_t coll)
{
    return CRDMA_BCAST == coll || CRDMA_REDUCE == coll;
}

static int has_two_levels(const crdma_sched_args_t *args)
{
    return NULL != args->node && args->nnodes > 1 && args->nnodes != args->size;
}

static crdma_status_t check(const crdma_sched_args_t *args)
{
    if (!in_range((int)args->coll, CRDMA_NCOLLS) || !in_range((int)args->alg, CRDMA_NALGS) ||
        CRDMA_ALG_AUTO == args->alg || args->size < 1 || !in_range(args->rank, args->size) ||
        args->degree < 1 || (is_rooted(args->coll) && !in_range(args->root, args->size))) {
        return CRDMA_ERR_PARAM;
    }
    if (has_two_levels(args) &&
        (args->inter_degree < 1 || !in_range((int)args->inter_alg, CRDMA_NALGS))) {
        return CRDMA_ERR_PARAM;
    }
    return CRDMA_OK;
}

/* One level: a single part with all ranks. */
static crdma_buf_t generate_flat(crdma_build_t *b, const crdma_sched_args_t *args,
                                 const crdma_generator_t *generator)
{
    int to_tmp = CRDMA_REDUCE == args->coll && args->rank != args->root;
    crdma_part_t part = {
        .group = {.size = args->size,
                  .me = args->rank,
                  .root = is_rooted(args->coll) ? args->root : 0},
        .degree = args->degree,
        .ordered = args->ordered,
        .in = CRDMA_BUF_IN,
        .acc = to_tmp ? CRDMA_BUF_TMP : CRDMA_BUF_OUT,
    };

    return generator->generate(b, &part);
}

crdma_status_t crdma_sched_create(const crdma_sched_args_t *args, crdma_sched_t **sched)
{
    if (NULL == args || NULL == sched || CRDMA_OK != check(args)) {
        return CRDMA_ERR_PARAM;
    }
    int two_levels = has_two_levels(args);
    int inherits = !two_levels || CRDMA_ALG_AUTO == args->inter_alg;
    const crdma_generator_t *generator =
        crdma_generator_find(args->coll, inherits ? args->alg : args->inter_alg);

    if (NULL == generator || !crdma_sched_supported(args->coll, args->alg) ||
        (args->ordered && !generator->ordered)) {
        return CRDMA_ERR_UNSUPPORTED;
    }
    crdma_build_t b;
    crdma_buf_t result;
    crdma_status_t status =
        crdma_build_init(&b, two_levels ? generator->nblocks(args->nnodes, args->inter_degree)
                                        : generator->nblocks(args->size, args->degree));
    if (CRDMA_OK != status) {
        return status;
    }
    if (two_levels) {
        status = crdma_generate_twolevel(&b, args, generator, &result);
        if (CRDMA_OK != status) {
            crdma_build_abort(&b);
            return status;
        }
    } else {
        result = generate_flat(&b, args, generator);
    }
    int has_result =
        CRDMA_ALLREDUCE == args->coll || (CRDMA_REDUCE == args->coll && args->rank == args->root);
    if (has_result && CRDMA_BUF_OUT != result) {
        crdma_build_copy(&b, CRDMA_BUF_OUT, result, b.sched->nblocks);
    }
    b.sched->args = *args;
    b.sched->args.node = NULL;
    b.sched->args.nodes = NULL;
    return crdma_build_finish(&b, sched);
}

void crdma_sched_free(crdma_sched_t *sched)
{
    if (NULL != sched) {
        free(sched->steps);
        free(sched->peers);
        free(sched);
    }
}

const char *crdma_coll_name(crdma_coll_t coll)
{
    static const char *const names[CRDMA_NCOLLS] = {
        [CRDMA_BCAST] = "bcast",
        [CRDMA_REDUCE] = "reduce",
        [CRDMA_ALLREDUCE] = "allreduce",
        [CRDMA_BARRIER] = "barrier",
    };

    return in_range((int)coll, CRDMA_NCOLLS) ? names[coll] : "unknown";
}

const char *crdma_alg_name(crdma_alg_t alg)
{
    static const char *const names[CRDMA_NALGS] = {
        [CRDMA_ALG_AUTO] = "auto",
        [CRDMA_ALG_TREE] = "tree",
        [CRDMA_ALG_EXCHANGE] = "exchange",
        [CRDMA_ALG_RSAG] = "rsag",
        [CRDMA_ALG_RING] = "ring",
        [CRDMA_ALG_CHAIN] = "chain",
        [CRDMA_ALG_SCATTER_ALLGATHER] = "scatter_allgather",
    };

    return in_range((int)alg, CRDMA_NALGS) ? names[alg] : "unknown";
}

void crdma_sched_range(size_t count, size_t grain, int nblocks, int block, int n, size_t *begin,
                       size_t *end)
{
    size_t units = count / grain + (0 != count % grain);
    size_t each = units / (size_t)nblocks, longer = units % (size_t)nblocks;
    size_t first = (size_t)block, last = (size_t)block + (size_t)n;
    size_t from = first * each + (first < longer ? first : longer);
    size_t to = last * each + (last < longer ? last : longer);

    /* only the last unit may be short; units * grain itself may not be representable */
    *begin = from >= units ? count : from * grain;
    *end = to >= units ? count : to * grain;
}
