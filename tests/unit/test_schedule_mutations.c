/*
 * Proof that the schedule checker sees broken schedules.
 *
 * mutations   every step of every rank of a set of right schedules is broken in every way
 *             below; each broken set must be refused by at least one execution. None of
 *             these mutations can leave a schedule right.
 * hand-made   small wrong schedules, each wrong in one respect only: right when that
 *             respect is switched off, refused when it is on.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coll_rdma/schedule/build.h"
#include "tests/unit/sched_cases.h"

Suite *schedule_mutation_suite(void);

typedef enum mutation {
    DROP_STEP,
    DOUBLE_STEP,
    OTHER_PEER,
    DROP_OPERAND,
    SWAP_OPERANDS, /* in ordered reductions */
    OTHER_SOURCE,
    OTHER_TARGET,
    WRITE_IN,
    SHIFT_SOURCE,
    SHIFT_TARGET,
    SHORTEN,
    SWAP_DEPENDENT, /* run a step before the one that it must follow */
    NMUTATIONS
} mutation_t;

/* ---- mutations ---------------------------------------------------------------------------- */

static crdma_sched_t *copy_of(const crdma_sched_t *s)
{
    crdma_sched_t *copy = malloc(sizeof(*copy));

    *copy = *s;
    copy->steps = calloc((size_t)s->nsteps + 1, sizeof(crdma_step_t));
    copy->peers = calloc((size_t)s->npeers + 1, sizeof(int32_t));
    if (s->nsteps > 0) {
        memcpy(copy->steps, s->steps, (size_t)s->nsteps * sizeof(crdma_step_t));
    }
    if (s->npeers > 0) {
        memcpy(copy->peers, s->peers, (size_t)s->npeers * sizeof(int32_t));
    }
    return copy;
}

static int reads(const crdma_step_t *step)
{
    return CRDMA_STEP_RECV != step->kind && step->nblocks > 0;
}

static int writes(const crdma_step_t *step)
{
    return CRDMA_STEP_SEND != step->kind && step->nblocks > 0;
}

static int overlap(int buf1, int block1, int n1, int buf2, int block2, int n2)
{
    return buf1 == buf2 && block1 < block2 + n2 && block2 < block1 + n1;
}

/* Does `second` read what `first` writes, or the other way round? Single ranges only. */
static int dependent(const crdma_step_t *first, const crdma_step_t *second)
{
    const crdma_step_t *writer = writes(first) ? first : second;
    const crdma_step_t *reader = writes(first) ? second : first;

    return writes(writer) && reads(reader) && CRDMA_STEP_SEND == reader->kind &&
           (CRDMA_STEP_RECV != writer->kind || 1 == writer->npeers) &&
           (1 == reader->npeers || 0 == reader->stride) &&
           overlap(writer->dst, writer->dst_block, writer->nblocks, reader->src, reader->src_block,
                   reader->nblocks);
}

/* Replace the block by another one whose range fits; 0 if there is none. */
static int shift(const crdma_sched_t *s, const crdma_step_t *step, int32_t *block, int npeers)
{
    int reach = step->nblocks + (npeers - 1) * step->stride;

    if (0 == step->nblocks || reach >= s->nblocks) {
        return 0;
    }
    *block += *block + reach < s->nblocks ? 1 : -1;
    return 1;
}

/* Break step `at` of *s; 0 if this mutation does not apply there. */
static int mutate(crdma_sched_t *s, int at, mutation_t mutation)
{
    crdma_step_t *step = &s->steps[at], other;
    int32_t *peers = &s->peers[step->first];
    int rest = s->nsteps - at - 1, is_reduce = CRDMA_STEP_REDUCE == step->kind;

    switch (mutation) {
    case DROP_STEP:
        memmove(step, step + 1, (size_t)rest * sizeof(*step));
        s->nsteps--;
        return 1;
    case DOUBLE_STEP:
        memmove(step + 1, step, (size_t)(rest + 1) * sizeof(*step)); /* copy_of left room */
        s->nsteps++;
        return CRDMA_STEP_COPY != step->kind;
    case OTHER_PEER:
        if (s->args.size < 3 || 0 == step->npeers) {
            return 0;
        }
        peers = CRDMA_SELF == *peers ? peers + 1 : peers;
        *peers = (*peers + 1) % s->args.size;
        *peers = *peers == s->args.rank ? (*peers + 1) % s->args.size : *peers;
        return 1;
    case DROP_OPERAND:
        step->npeers--;
        return is_reduce && step->npeers > 0;
    case SWAP_OPERANDS:
        if (!is_reduce || !s->args.ordered || step->npeers < 2) {
            return 0;
        }
        int32_t first = peers[0];
        peers[0] = peers[1];
        peers[1] = first;
        return 1;
    case OTHER_SOURCE:
        step->src = CRDMA_BUF_IN == step->src ? CRDMA_BUF_OUT : CRDMA_BUF_IN;
        return reads(step);
    case OTHER_TARGET:
        step->dst = CRDMA_BUF_TMP == step->dst ? CRDMA_BUF_OUT : CRDMA_BUF_TMP;
        s->uses_tmp = 1;
        return writes(step);
    case WRITE_IN:
        step->dst = CRDMA_BUF_IN;
        return writes(step);
    case SHIFT_SOURCE:
        return reads(step) &&
               shift(s, step, &step->src_block, CRDMA_STEP_SEND == step->kind ? step->npeers : 1);
    case SHIFT_TARGET:
        return writes(step) &&
               shift(s, step, &step->dst_block, CRDMA_STEP_RECV == step->kind ? step->npeers : 1);
    case SHORTEN:
        step->nblocks--;
        return step->nblocks > 0;
    case SWAP_DEPENDENT:
        if (0 == rest || !dependent(step, step + 1)) {
            return 0;
        }
        other = step[1];
        step[1] = step[0];
        step[0] = other;
        step[0].phase = step[1].phase;
        step[1].phase = other.phase;
        return 1;
    default:
        return 0;
    }
}

static const sched_exec_config_t executions[] = {
    {.nsegments = 1, .capacity = 1, .aliased = 0},
    {.nsegments = 1, .capacity = 1, .aliased = 1},
    {.nsegments = 2, .capacity = 1, .aliased = 0},
};

/* NULL if all executions are content. */
static const char *refusal(sched_exec_t *x, crdma_sched_t **all)
{
    for (size_t i = 0; i < sizeof(executions) / sizeof(executions[0]); i++) {
        const char *error = sched_exec_run(x, (const crdma_sched_t *const *)all, &executions[i]);
        if (NULL != error) {
            return error;
        }
    }
    return NULL;
}

static long break_all(sched_exec_t *x, const crdma_sched_args_t *args)
{
    crdma_sched_t **all = sched_build_all(args);
    char text[512];
    long broken = 0;

    ck_assert_ptr_null(refusal(x, all));
    for (int r = 0; r < args->size; r++) {
        crdma_sched_t *right = all[r];
        for (int at = 0; at < right->nsteps; at++) {
            for (int m = 0; m < NMUTATIONS; m++) {
                all[r] = copy_of(right);
                if (mutate(all[r], at, (mutation_t)m)) {
                    broken++;
                    if (NULL == refusal(x, all)) {
                        sched_describe(args, text, sizeof(text));
                        ck_abort_msg("%s: mutation %d of rank %d, step %d not seen", text, m, r,
                                     at);
                    }
                }
                crdma_sched_free(all[r]);
            }
        }
        all[r] = right;
    }
    sched_free_all(all, args->size);
    return broken;
}

START_TEST(mutations)
{
    static const int sizes[] = {1, 2, 3, 5, 8, 11}, degrees[] = {1, 2, 7};
    static const int nodes[] = {0, 0, 0, 1, 1, 2, 3, 3, 3, 3, 3};
    const sched_row_t *row = &sched_rows[_i];
    sched_exec_t *x = sched_exec_new();
    long broken = 0;

    for (int ordered = 0; ordered <= sched_row_orders(row); ordered++) {
        for (size_t d = 0; d < 3; d++) {
            crdma_sched_args_t args = {.coll = row->coll,
                                       .alg = row->alg,
                                       .degree = degrees[d],
                                       .ordered = ordered,
                                       .inter_degree = 1};
            for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                args.size = sizes[i];
                args.root = sizes[i] / 2;
                broken += break_all(x, &args);
            }
            args.node = nodes;
            args.nnodes = 4;
            broken += break_all(x, &args);
        }
    }
    printf("mutations  %-9s %-17s %7ld broken, all seen\n", crdma_coll_name(row->coll),
           crdma_alg_name(row->alg), broken);
    fflush(stdout);
    ck_assert_int_gt(broken, 0);
    sched_exec_free(x);
}
END_TEST

/* ---- hand-made ---------------------------------------------------------------------------- */

static crdma_build_t builder(void)
{
    crdma_build_t b;

    ck_assert_int_eq(crdma_build_init(&b, 1), CRDMA_OK);
    return b;
}

static crdma_sched_t *built(crdma_build_t *b, crdma_coll_t coll, int size, int rank)
{
    crdma_sched_t *s;

    b->sched->args = (crdma_sched_args_t){.coll = coll, .size = size, .rank = rank, .degree = 1};
    ck_assert_int_eq(crdma_build_finish(b, &s), CRDMA_OK);
    return s;
}

static const char *run(sched_exec_t *x, crdma_sched_t **all, sched_exec_config_t config)
{
    return sched_exec_run(x, (const crdma_sched_t *const *)all, &config);
}

static void reduce_three(crdma_build_t *b, int me)
{
    crdma_build_reduce(b, CRDMA_BUF_OUT, CRDMA_BUF_IN, 0, 1);
    for (int r = 0; r < 3; r++) {
        crdma_build_operand(b, r == me ? CRDMA_SELF : r);
    }
}

/* Rank 1 sends its input after it has written the result: wrong only with IN == OUT. */
START_TEST(input_overwritten_early)
{
    sched_exec_t *x = sched_exec_new();
    crdma_sched_t *all[3];
    crdma_build_t b;

    for (int r = 0; r < 3; r++) {
        b = builder();
        crdma_build_send(&b, CRDMA_BUF_IN, 0 == r ? 1 : 0, 0, 1);
        if (1 == r) {
            reduce_three(&b, r);
        }
        crdma_build_send(&b, CRDMA_BUF_IN, 2 == r ? 1 : 2, 0, 1);
        if (1 != r) {
            reduce_three(&b, r);
        }
        all[r] = built(&b, CRDMA_ALLREDUCE, 3, r);
    }
    ck_assert_ptr_null(
        run(x, all, (sched_exec_config_t){.nsegments = 1, .capacity = 1, .aliased = 0}));
    const char *error =
        run(x, all, (sched_exec_config_t){.nsegments = 1, .capacity = 1, .aliased = 1});
    ck_assert_ptr_nonnull(error);
    ck_assert_ptr_nonnull(strstr(error, "twice"));
    for (int r = 0; r < 3; r++) {
        crdma_sched_free(all[r]);
    }
    sched_exec_free(x);
}
END_TEST

/* Rank 0 overwrites what its second message to rank 1 is read from, and rank 1 takes the first
 * one only after rank 0 went on: right with two messages per edge, a deadlock with one. */
START_TEST(overwrites_undelivered_message)
{
    sched_exec_t *x = sched_exec_new();
    crdma_sched_t *all[3];
    crdma_build_t b = builder();

    crdma_build_copy(&b, CRDMA_BUF_OUT, CRDMA_BUF_IN, 1);
    crdma_build_send(&b, CRDMA_BUF_OUT, 1, 0, 1);
    crdma_build_send(&b, CRDMA_BUF_OUT, 1, 0, 1);
    crdma_build_reduce(&b, CRDMA_BUF_OUT, CRDMA_BUF_OUT, 0, 1);
    crdma_build_operand(&b, CRDMA_SELF);
    crdma_build_operand(&b, 1);
    crdma_build_operand(&b, 2);
    crdma_build_send(&b, CRDMA_BUF_OUT, 2, 0, 1);
    all[0] = built(&b, CRDMA_ALLREDUCE, 3, 0);
    b = builder();
    crdma_build_send(&b, CRDMA_BUF_IN, 0, 0, 1);
    crdma_build_recv(&b, CRDMA_BUF_OUT, 2, 0, 1);
    crdma_build_recv(&b, CRDMA_BUF_TMP, 0, 0, 1);
    crdma_build_recv(&b, CRDMA_BUF_TMP, 0, 0, 1);
    all[1] = built(&b, CRDMA_ALLREDUCE, 3, 1);
    b = builder();
    crdma_build_send(&b, CRDMA_BUF_IN, 0, 0, 1);
    crdma_build_recv(&b, CRDMA_BUF_OUT, 0, 0, 1);
    crdma_build_send(&b, CRDMA_BUF_OUT, 1, 0, 1);
    all[2] = built(&b, CRDMA_ALLREDUCE, 3, 2);

    ck_assert_ptr_null(run(x, all, (sched_exec_config_t){.nsegments = 1, .capacity = 2}));
    for (int capacity = 0; capacity < 2; capacity++) {
        const char *error =
            run(x, all, (sched_exec_config_t){.nsegments = 1, .capacity = capacity});
        ck_assert_ptr_nonnull(error);
        ck_assert_ptr_nonnull(strstr(error, "deadlock"));
    }
    for (int r = 0; r < 3; r++) {
        crdma_sched_free(all[r]);
    }
    sched_exec_free(x);
}
END_TEST

/* Each of two ranks puts itself first: right contributions, different bits. */
START_TEST(different_bits)
{
    sched_exec_t *x = sched_exec_new();
    crdma_sched_t *all[2];

    for (int r = 0; r < 2; r++) {
        crdma_build_t b = builder();
        crdma_build_send(&b, CRDMA_BUF_IN, 1 - r, 0, 1);
        crdma_build_reduce(&b, CRDMA_BUF_OUT, CRDMA_BUF_IN, 0, 1);
        crdma_build_operand(&b, CRDMA_SELF);
        crdma_build_operand(&b, 1 - r);
        all[r] = built(&b, CRDMA_ALLREDUCE, 2, r);
    }
    const char *error = run(x, all, (sched_exec_config_t){.nsegments = 1, .capacity = 1});
    ck_assert_ptr_nonnull(error);
    ck_assert_ptr_nonnull(strstr(error, "other bits"));
    for (int r = 0; r < 2; r++) {
        crdma_sched_free(all[r]);
    }
    sched_exec_free(x);
}
END_TEST

/* Both ranks wait before they send. */
START_TEST(circular_wait)
{
    sched_exec_t *x = sched_exec_new();
    crdma_sched_t *all[2];

    for (int r = 0; r < 2; r++) {
        crdma_build_t b = builder();
        crdma_build_recv(&b, CRDMA_BUF_OUT, 1 - r, 0, 0);
        crdma_build_send(&b, CRDMA_BUF_OUT, 1 - r, 0, 0);
        all[r] = built(&b, CRDMA_BARRIER, 2, r);
    }
    const char *error = run(x, all, (sched_exec_config_t){.nsegments = 1, .capacity = 1});
    ck_assert_ptr_nonnull(error);
    ck_assert_ptr_nonnull(strstr(error, "deadlock"));
    for (int r = 0; r < 2; r++) {
        crdma_sched_free(all[r]);
    }
    sched_exec_free(x);
}
END_TEST

/* A barrier that lets everybody go after hearing of the neighbour only. */
START_TEST(barrier_too_short)
{
    sched_exec_t *x = sched_exec_new();
    crdma_sched_t *all[3];

    for (int r = 0; r < 3; r++) {
        crdma_build_t b = builder();
        crdma_build_send(&b, CRDMA_BUF_OUT, (r + 1) % 3, 0, 0);
        crdma_build_recv(&b, CRDMA_BUF_OUT, (r + 2) % 3, 0, 0);
        all[r] = built(&b, CRDMA_BARRIER, 3, r);
    }
    const char *error = run(x, all, (sched_exec_config_t){.nsegments = 1, .capacity = 1});
    ck_assert_ptr_nonnull(error);
    ck_assert_ptr_nonnull(strstr(error, "leaves before"));
    for (int r = 0; r < 3; r++) {
        crdma_sched_free(all[r]);
    }
    sched_exec_free(x);
}
END_TEST

/* A ring does not fold in rank order. */
START_TEST(wrong_order)
{
    sched_exec_t *x = sched_exec_new();
    crdma_sched_args_t args = {
        .coll = CRDMA_ALLREDUCE, .alg = CRDMA_ALG_RING, .size = 4, .degree = 1};
    crdma_sched_t **all = sched_build_all(&args);

    ck_assert_ptr_null(refusal(x, all));
    for (int r = 0; r < 4; r++) {
        all[r]->args.ordered = 1;
    }
    const char *error = refusal(x, all);
    ck_assert_ptr_nonnull(error);
    ck_assert_ptr_nonnull(strstr(error, "not in rank order"));
    sched_free_all(all, 4);
    sched_exec_free(x);
}
END_TEST

/* Members of a reduce-scatter + allgather lag differently: one segment is right, but with
 * several the two messages of an edge get mixed up. */
START_TEST(unequal_lags)
{
    sched_exec_t *x = sched_exec_new();
    crdma_sched_args_t args = {
        .coll = CRDMA_ALLREDUCE, .alg = CRDMA_ALG_RSAG, .size = 4, .degree = 3};
    crdma_sched_t **all = sched_build_all(&args);
    sched_exec_config_t config = {.nsegments = 1, .capacity = 1};

    all[0]->skew[all[0]->nphases - 1]++;
    ck_assert_ptr_null(run(x, all, config));
    config.nsegments = 5;
    ck_assert_ptr_nonnull(run(x, all, config));
    sched_free_all(all, 4);
    sched_exec_free(x);
}
END_TEST

Suite *schedule_mutation_suite(void)
{
    Suite *suite = suite_create("schedule mutations");
    TCase *tests = tcase_create("mutations");

    tcase_add_loop_test(tests, mutations, 0, sched_nrows);
    tcase_add_test(tests, input_overwritten_early);
    tcase_add_test(tests, overwrites_undelivered_message);
    tcase_add_test(tests, different_bits);
    tcase_add_test(tests, circular_wait);
    tcase_add_test(tests, barrier_too_short);
    tcase_add_test(tests, wrong_order);
    tcase_add_test(tests, unequal_lags);
    tcase_set_timeout(tests, 600);
    suite_add_tcase(suite, tests);
    return suite;
}
