/*
 * A seeded random sequence of collectives on several communicators against an oracle.
 *
 * Catches what tests of one call at a time do not: state that one call leaves for the next (a flag,
 * a credit, a slot reused too early), two communicators that share something they should not, ranks
 * that run ahead of slow ones, calls of every size and type in any order, and collectives that do
 * not get along with point-to-point messages and nonblocking collectives under way.
 *
 * One iteration is a burst of 1 to 12 calls, issued back to back, each with buffers of its own, and
 * checked only afterwards. Everything about call `id` is a function of (seed, id), its data of
 * (seed, id, rank in MPI_COMM_WORLD), so all ranks make the same choices and know all results.
 * Random ranks sleep at random places. A failure prints the seed and the iteration: the same
 * command with that seed runs the same sequence.
 */
#include "tests/mpi/types.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PERIOD    251 /* elements until the data repeat: a prime, and the oracle stays cheap */
#define MAX_BURST 12
#define MAX_BYTES ((size_t)1 << 20)
#define WIDEST    32 /* extent of the largest predefined type */

typedef enum action { BCAST, REDUCE, ALLREDUCE, BARRIER, RING, ACTIONS } action_t;

typedef struct place {
    const char *name;
    MPI_Comm comm;
    int rank, size;
    int *world; /* rank in MPI_COMM_WORLD of every member */
} place_t;

typedef struct call {
    uint64_t id;
    action_t action;
    const place_t *place;
    const test_type_t *type;
    const test_op_t *op;
    int count, root;
    bool in_place, nonblocking;
    test_buffer_t input, output;
    MPI_Request requests[2];
} call_t;

static place_t places[8];
static int nplaces;

static uint64_t choose(uint64_t id, uint64_t question, uint64_t choices)
{
    return test_hash(test_opt.seed, id, question, 0) % choices;
}

static void add_place(const char *name, MPI_Comm comm)
{
    place_t *place = &places[nplaces++];

    place->name = name;
    place->comm = comm;
    MPI_Comm_rank(comm, &place->rank);
    MPI_Comm_size(comm, &place->size);
    place->world = malloc(sizeof(int) * (size_t)place->size);
    MPI_Allgather(&test_rank, 1, MPI_INT, place->world, 1, MPI_INT, comm);
}

static void make_places(void)
{
    MPI_Comm comm;

    add_place("MPI_COMM_WORLD", MPI_COMM_WORLD);
    MPI_Comm_dup(MPI_COMM_WORLD, &comm);
    add_place("dup", comm);
    MPI_Comm_split(MPI_COMM_WORLD, 0, -test_rank, &comm);
    add_place("reversed", comm);
    MPI_Comm_split(MPI_COMM_WORLD, test_rank % 2, test_rank, &comm);
    add_place("odd-even", comm);
    MPI_Comm_split(MPI_COMM_WORLD, test_rank < test_size / 2, -test_rank, &comm);
    add_place("half", comm);
    MPI_Comm_split(MPI_COMM_WORLD, 0,
                   (int)(test_hash(test_opt.seed, 0, (uint64_t)test_rank, 1) % 100000), &comm);
    add_place("shuffled", comm);
    add_place("MPI_COMM_SELF", MPI_COMM_SELF);
}

static call_t choose_call(uint64_t id)
{
    static const action_t likely[] = {BCAST,     BCAST,     REDUCE,  REDUCE, ALLREDUCE,
                                      ALLREDUCE, ALLREDUCE, BARRIER, RING};
    call_t call = {.id = id, .requests = {MPI_REQUEST_NULL, MPI_REQUEST_NULL}};
    int ntypes, nops;
    const test_type_t *types = test_types(&ntypes);
    const test_op_t *ops = test_ops(&nops);
    size_t most;

    call.action = likely[choose(id, 1, sizeof(likely) / sizeof(likely[0]))];
    call.place = &places[choose(id, 2, (uint64_t)nplaces)];
    call.op = &ops[choose(id, 3, (uint64_t)nops)];
    for (uint64_t try = 0;; ++try) {
        call.type = &types[choose(id, 100 + try, (uint64_t)ntypes)];
        if (BCAST == call.action || 0 != (call.op->groups & call.type->group)) {
            break;
        }
    }
    most = MAX_BYTES / test_kind_extent(call.type->kind);
    /* uniform in the number of bits: every power of two is as likely as every other */
    call.count = (int)(choose(id, 5, most) >> choose(id, 6, 21));
    call.root = (int)choose(id, 7, (uint64_t)call.place->size);
    call.in_place = 0 == choose(id, 8, 3);
    call.nonblocking = 0 == choose(id, 9, 8);
    return call;
}

/* The input pattern of one member. */
static void make_pattern(const call_t *call, int member, unsigned char *pattern)
{
    size_t extent = test_kind_extent(call->type->kind);
    /* Nonblocking calls are Open MPI's own, with its known bugs. */
    bool safe = test_opt.stock || call->nonblocking;

    for (int i = 0; i < PERIOD; ++i) {
        uint64_t hash = test_hash(test_opt.seed, call->id,
                                  1000 + (uint64_t)call->place->world[member], (uint64_t)i);

        test_element_make(call->type->kind, call->op->code, hash, safe,
                          pattern + (size_t)i * extent);
    }
}

static void make_expected(const call_t *call, unsigned char *expected)
{
    static unsigned char next[PERIOD * WIDEST];
    size_t extent = test_kind_extent(call->type->kind);

    if (BCAST == call->action || RING == call->action) {
        make_pattern(call,
                     BCAST == call->action
                         ? call->root
                         : (call->place->rank + call->place->size - 1) % call->place->size,
                     expected);
        return;
    }
    make_pattern(call, 0, expected);
    for (int member = 1; member < call->place->size; ++member) {
        make_pattern(call, member, next);
        for (size_t at = 0; at < PERIOD * extent; at += extent) {
            test_element_reduce(call->type->kind, call->op->code, expected + at, next + at);
        }
        memcpy(expected, next, PERIOD * extent);
    }
}

static void note(const call_t *call, const char *step)
{
    static const char *names[] = {"bcast", "reduce", "allreduce", "barrier", "ring"};

    test_note("call %llu, %s of %s%s(%d x %s, %s, root %d%s) on %s, %d ranks",
              (unsigned long long)call->id, step, call->nonblocking ? "nonblocking " : "",
              names[call->action], call->count, call->type->name, call->op->name, call->root,
              call->in_place ? ", in place" : "", call->place->name, call->place->size);
}

static bool is_root(const call_t *call)
{
    return call->place->rank == call->root;
}

static void prepare(call_t *call)
{
    static unsigned char pattern[PERIOD * WIDEST];
    size_t extent = test_kind_extent(call->type->kind);
    size_t bytes = (size_t)call->count * extent;
    uint64_t place = test_hash(test_opt.seed, call->id, (uint64_t)test_rank, 2);
    bool full = BCAST == call->action ? is_root(call) : call->in_place && RING != call->action;

    memset(pattern, 0, sizeof(pattern));
    make_pattern(call, call->place->rank, pattern);
    call->input = test_buffer_new(bytes, place % 4 * 16);
    call->output = test_buffer_new(bytes, place / 4 % 4 * 16);
    test_pattern_fill(call->input.data, bytes, pattern, PERIOD * extent);
    if (full) {
        test_pattern_fill(call->output.data, bytes, pattern, PERIOD * extent);
    } else {
        memset(call->output.data, 0xee, bytes);
    }
}

static void issue(call_t *call)
{
    const place_t *on = call->place;
    const void *send = call->in_place ? MPI_IN_PLACE : call->input.data;
    const void *to_root = call->in_place && is_root(call) ? MPI_IN_PLACE : call->input.data;
    void *recv = call->output.data;
    MPI_Datatype type = call->type->type;

    note(call, "issue");
    switch (call->action) {
    case BCAST:
        if (call->nonblocking) {
            MPI_Ibcast(recv, call->count, type, call->root, on->comm, &call->requests[0]);
        } else {
            MPI_Bcast(recv, call->count, type, call->root, on->comm);
        }
        break;
    case REDUCE:
        if (call->nonblocking) {
            MPI_Ireduce(to_root, recv, call->count, type, call->op->op, call->root, on->comm,
                        &call->requests[0]);
        } else {
            MPI_Reduce(to_root, recv, call->count, type, call->op->op, call->root, on->comm);
        }
        break;
    case ALLREDUCE:
        if (call->nonblocking) {
            MPI_Iallreduce(send, recv, call->count, type, call->op->op, on->comm,
                           &call->requests[0]);
        } else {
            MPI_Allreduce(send, recv, call->count, type, call->op->op, on->comm);
        }
        break;
    case BARRIER:
        if (call->nonblocking) {
            MPI_Ibarrier(on->comm, &call->requests[0]);
        } else {
            MPI_Barrier(on->comm);
        }
        break;
    default: /* a message to the next rank, under way until the burst ends */
        MPI_Irecv(recv, call->count, type, (on->rank + on->size - 1) % on->size,
                  (int)(call->id % 30000), on->comm, &call->requests[0]);
        MPI_Isend(call->input.data, call->count, type, (on->rank + 1) % on->size,
                  (int)(call->id % 30000), on->comm, &call->requests[1]);
        break;
    }
}

static void compare(const call_t *call, const test_buffer_t *buffer, const unsigned char *pattern,
                    const char *what)
{
    size_t extent = test_kind_extent(call->type->kind);
    size_t at = test_pattern_find(buffer->data, buffer->bytes, pattern, PERIOD * extent);

    /* Bytes may differ where values do not: padding, the sign of a zero. */
    for (size_t i = TEST_NOWHERE == at ? (size_t)call->count : at / extent; i < (size_t)call->count;
         ++i) {
        const void *expected = pattern + i % PERIOD * extent, *got = buffer->data + i * extent;
        char expected_text[96], got_text[96];

        if (!test_element_equal(call->type->kind, expected, got)) {
            test_element_print(call->type->kind, expected, expected_text, sizeof(expected_text));
            test_element_print(call->type->kind, got, got_text, sizeof(got_text));
            test_fail("%s: index %zu: expected %s, got %s", what, i, expected_text, got_text);
        }
    }
    test_buffer_check(buffer, what);
    test_passed();
}

static void check(call_t *call)
{
    static unsigned char pattern[PERIOD * WIDEST];

    note(call, "check");
    memset(pattern, 0, sizeof(pattern));
    make_pattern(call, call->place->rank, pattern);
    compare(call, &call->input, pattern, "input buffer");
    if (BARRIER != call->action && (REDUCE != call->action || is_root(call))) {
        make_expected(call, pattern);
        compare(call, &call->output, pattern, "result");
    }
    test_buffer_free(&call->input);
    test_buffer_free(&call->output);
}

int main(int argc, char **argv)
{
    static call_t burst[MAX_BURST];
    uint64_t id = 1;
    int iterations;

    test_begin(&argc, &argv, "test_random", MPI_THREAD_SINGLE);
    iterations = 0 < test_opt.iterations ? test_opt.iterations : test_opt.quick ? 40 : 250;
    make_places();
    for (int iteration = 0; iteration < iterations; ++iteration) {
        int calls = 1 + (int)choose(id, 0, MAX_BURST);

        for (int c = 0; c < calls; ++c) {
            burst[c] = choose_call(id++);
            prepare(&burst[c]);
        }
        for (int c = 0; c < calls; ++c) {
            if (0 == test_hash(test_opt.seed, burst[c].id, (uint64_t)test_rank, 3) % 40) {
                test_delay((unsigned)choose(burst[c].id, 10, 3000));
            }
            issue(&burst[c]);
        }
        for (int c = 0; c < calls; ++c) {
            note(&burst[c], "wait");
            MPI_Waitall(2, burst[c].requests, MPI_STATUSES_IGNORE);
        }
        for (int c = 0; c < calls; ++c) {
            check(&burst[c]);
        }
    }
    for (int p = 0; p < nplaces; ++p) {
        if (MPI_COMM_WORLD != places[p].comm && MPI_COMM_SELF != places[p].comm) {
            MPI_Comm_free(&places[p].comm);
        }
        free(places[p].world);
    }
    return test_end();
}
