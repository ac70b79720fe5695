/* Building and running the cases of the schedule checker (sched_cases.h). */
#include "tests/unit/sched_cases.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

const sched_row_t sched_rows[] = {
    {CRDMA_BCAST, CRDMA_ALG_TREE, 1, 1},
    {CRDMA_BCAST, CRDMA_ALG_CHAIN, 1, 1},
    {CRDMA_BCAST, CRDMA_ALG_SCATTER_ALLGATHER, 1, 1},
    {CRDMA_REDUCE, CRDMA_ALG_TREE, 1, 1},
    {CRDMA_REDUCE, CRDMA_ALG_RSAG, 1, 1},
    {CRDMA_REDUCE, CRDMA_ALG_CHAIN, 1, 1},
    {CRDMA_ALLREDUCE, CRDMA_ALG_TREE, 1, 1},
    {CRDMA_ALLREDUCE, CRDMA_ALG_EXCHANGE, 1, 1},
    {CRDMA_ALLREDUCE, CRDMA_ALG_RSAG, 1, 1},
    {CRDMA_ALLREDUCE, CRDMA_ALG_RING, 0, 0},
    {CRDMA_BARRIER, CRDMA_ALG_TREE, 1, 1},
    {CRDMA_BARRIER, CRDMA_ALG_EXCHANGE, 1, 1},
};
const int sched_nrows = sizeof(sched_rows) / sizeof(sched_rows[0]);

int sched_row_rooted(const sched_row_t *row)
{
    return CRDMA_BCAST == row->coll || CRDMA_REDUCE == row->coll;
}

int sched_row_orders(const sched_row_t *row)
{
    return row->ordered && (CRDMA_REDUCE == row->coll || CRDMA_ALLREDUCE == row->coll);
}

void sched_describe(const crdma_sched_args_t *args, char *text, size_t room)
{
    int n =
        snprintf(text, room, "%s %s N %d K %d root %d ordered %d", crdma_coll_name(args->coll),
                 crdma_alg_name(args->alg), args->size, args->degree, args->root, args->ordered);

    if (NULL != args->node) {
        n += snprintf(text + n, room - (size_t)n, ", %d nodes K %d %s:", args->nnodes,
                      args->inter_degree, crdma_alg_name(args->inter_alg));
        for (int r = 0; r < args->size && n < (int)room; r++) {
            n += snprintf(text + n, room - (size_t)n, " %d", args->node[r]);
        }
    }
}

crdma_sched_t **sched_build_all(const crdma_sched_args_t *args)
{
    crdma_sched_t **all = calloc((size_t)args->size, sizeof(crdma_sched_t *));
    crdma_sched_args_t mine = *args;
    char text[512];

    ck_assert_ptr_nonnull(all);
    for (mine.rank = 0; mine.rank < args->size; mine.rank++) {
        crdma_status_t status = crdma_sched_create(&mine, &all[mine.rank]);
        if (CRDMA_OK != status) {
            sched_describe(args, text, sizeof(text));
            ck_abort_msg("%s: rank %d: %s", text, mine.rank, crdma_status_string(status));
        }
    }
    return all;
}

void sched_free_all(crdma_sched_t **all, int size)
{
    for (int r = 0; r < size; r++) {
        crdma_sched_free(all[r]);
    }
    free(all);
}

static void run(sched_exec_t *x, crdma_sched_t **all, const crdma_sched_args_t *args,
                const sched_exec_config_t *config, sched_tally_t *tally)
{
    const char *error = sched_exec_run(x, (const crdma_sched_t *const *)all, config);
    char text[512];

    tally->runs++;
    if (NULL != error) {
        sched_describe(args, text, sizeof(text));
        ck_abort_msg("%s; segments %d capacity %d aliased %d order %d: %s", text, config->nsegments,
                     config->capacity, config->aliased, (int)config->order, error);
    }
}

void sched_check_case(sched_exec_t *x, const crdma_sched_args_t *args, sched_depth_t depth,
                      sched_tally_t *tally)
{
    static const int segments[] = {1, 2, 5}, capacities[] = {1, 0, 3};
    /* rotates through all combinations whatever the order of the cases */
    unsigned turn = (unsigned)tally->cases * 2654435761u >> 8;
    crdma_sched_t **all = sched_build_all(args);
    sched_exec_config_t config = {.nsegments = 1, .seed = turn};

    tally->cases++;
    if (SCHED_DEPTH_FULL == depth) {
        for (unsigned i = 0; i < 3 * 3 * 2 * SCHED_EXEC_NORDERS; i++) {
            config.nsegments = segments[i % 3];
            config.capacity = capacities[i / 3 % 3];
            config.aliased = (int)(i / 9 % 2);
            config.order = (sched_exec_order_t)(i / 18);
            run(x, all, args, &config, tally);
        }
    } else {
        config.capacity = capacities[turn % 3];
        config.aliased = (int)(turn / 3 % 2);
        config.order = (sched_exec_order_t)(turn / 6 % SCHED_EXEC_NORDERS);
        run(x, all, args, &config, tally);
    }
    if (SCHED_DEPTH_TWO == depth) {
        config.nsegments = segments[1 + turn / 24 % 2];
        config.aliased = !config.aliased;
        config.capacity = capacities[turn / 48 % 3];
        config.order = (sched_exec_order_t)(turn / 144 % SCHED_EXEC_NORDERS);
        run(x, all, args, &config, tally);
    }
    sched_free_all(all, args->size);
}
