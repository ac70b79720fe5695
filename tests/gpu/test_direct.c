/*
 * Large calls that stay in GPU memory: on a GPU, or on its stand-in (tests/fakecuda). What test_gpu
 * checks of all calls is not repeated here.
 *
 * Catches: a call that goes through the host although it need not; more than one kernel for a
 * rank's part; memory allocated, named, opened or pinned in every call; memory read that its owner
 * has freed; kernels whose bits differ from the host's; a peer told of data that is not complete.
 *
 * Modes:
 *   data         (default) all of that; peers open the component's memory
 *   direct       the same, where they open the application's (coll_rdma_gpu = direct)
 *   driverless   the last rank never loads a driver; emulation or GPU
 *   threads      several threads, each with a communicator of its own
 *   many         more ranks than a kernel has sources
 *   far          between hosts, the network adapters read and write the GPUs' memory; those that do not
 *                are told apart by the trace (memory=gpu)
 * Emulation only:
 *   order        with FAKECUDA_LIE=all nobody waits for the GPU: passes if results are then wrong, so
 *                that the same calls of mode data do prove something
 *   order-flag, order-done, order-staged
 *                with FAKECUDA_LIE=0 rank 0 alone does not wait, and is late: before it tells that data
 *                is there (rank 1 must get wrong results), before it tells that it has read (rank 0
 *                must), before it tells a rank without a driver that its copy is there (that rank must)
 *   refuse-CALL  the first CALL of one rank fails (alloc, ipc_get, ipc_open, event, stream): results
 *                are right
 *   far-reuse    as far, with coll_rdma_gpu = direct: the adapters' registrations of memory that was freed
 *   far-lost     FAKECUDA_RDMA=lost: flushes do nothing; passes if results are then wrong
 *   fail-CALL    a CALL of one rank fails when it is done (copy, launch), or, where CALL is nothing,
 *                one rank calls another operation: an error on all ranks
 */
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "coll_rdma/device/cuda.h"
#include "tests/gpu/buffers.h"
#include "tests/mpi/types.h"

static _Thread_local MPI_Comm comm;
static bool direct;
static bool has_kernels; /* else reductions go through the host */

static int value_of(int rank, size_t i, int round)
{
    return (rank + 1) * (int)((i * 7 + (size_t)round) % 1000);
}

/* One allreduce in GPU memory. The number of wrong elements. */
static size_t allreduce(gpu_buffer_t *in, gpu_buffer_t *out, int *host, size_t count, int round)
{
    const int sum = test_size * (test_size + 1) / 2;
    size_t wrong = 0;

    for (size_t i = 0; i < count; ++i) {
        host[i] = value_of(test_rank, i, round);
    }
    gpu_put(in, host);
    test_note("MPI_Allreduce of %zu ints, round %d", count, round);
    test_success(MPI_Allreduce(in->data, out->data, (int)count, MPI_INT, MPI_SUM, comm),
                 "MPI_Allreduce");
    gpu_get(out, host);
    for (size_t i = 0; i < count; ++i) {
        wrong += host[i] != sum * value_of(0, i, round);
    }
    return wrong;
}

static void expect_right(size_t wrong)
{
    if (0 != wrong) {
        test_fail("%zu elements are wrong", wrong);
    }
    test_passed();
}

enum { COSTLY = 8 };

/* Since the counts in `before`, which are brought up to date, nothing that costs much was called. */
static void expect_cheap(long before[COSTLY], bool expected)
{
    static const char *const costly[COSTLY] = {"register", "stream",   "event",     "alloc",
                                               "ipc_get",  "ipc_open", "ipc_close", "dmabuf"};

    for (int c = 0; c < COSTLY; ++c) {
        const long calls = gpu_calls(costly[c]);

        if (expected && calls != before[c]) {
            test_fail("%ld calls of the driver's \"%s\"", calls - before[c], costly[c]);
        }
        before[c] = calls;
    }
}

/* One kernel for a call, and nothing that costs much after the first calls. */
static void steady(size_t count)
{
    gpu_buffer_t in = gpu_buffer_new(GPU_DEVICE, count * sizeof(int), 0);
    gpu_buffer_t out = gpu_buffer_new(GPU_DEVICE, count * sizeof(int), 0);
    int *host = malloc(count * sizeof(int));
    long before[COSTLY] = {0};

    for (int round = 0; round < 8; ++round) {
        const long kernels = gpu_calls("launch");

        expect_right(allreduce(&in, &out, host, count, round));
        if (gpu_is_emulated() && has_kernels && 1 != gpu_calls("launch") - kernels) {
            test_fail("%ld kernels", gpu_calls("launch") - kernels);
        }
        MPI_Bcast(out.data, (int)count, MPI_INT, 0, comm);
        MPI_Reduce(0 == test_rank ? MPI_IN_PLACE : in.data, in.data, (int)count, MPI_INT, MPI_MAX,
                   0, comm);
        expect_cheap(before, 1 < round);
        test_passed();
    }
    free(host);
    gpu_buffer_free(&in);
    gpu_buffer_free(&out);
}

/* The application frees its memory and gets the same addresses again, for other data. */
static void reuse(size_t unit)
{
    for (int round = 0; round < 12; ++round) {
        const size_t count = (0 == round % 3 ? 4 : 3) * unit;
        gpu_buffer_t in = gpu_buffer_new(GPU_DEVICE, count * sizeof(int), 0);
        gpu_buffer_t out = gpu_buffer_new(GPU_DEVICE, count * sizeof(int), 0);
        int *host = malloc(count * sizeof(int));

        for (int i = 0; i < 2; ++i) {
            expect_right(allreduce(&in, &out, host, count, round));
        }
        free(host);
        gpu_buffer_free(&in);
        gpu_buffer_free(&out);
    }
    if (!direct && 0 != gpu_calls("freed_while_open")) {
        test_fail("memory was freed while others had it open");
    }
    test_passed();
}

/* Bits of the host's result, for every operation and type. */
static void operations(int count)
{
    int ntypes, nops;
    const test_type_t *types = test_types(&ntypes);
    const test_op_t *ops = test_ops(&nops);
    const size_t most = (size_t)count * 32;
    gpu_buffer_t buffer = gpu_buffer_new(GPU_DEVICE, most, 16);
    unsigned char *host = malloc(most), *expected = malloc(most);

    for (int t = 0; t < ntypes; ++t) {
        const size_t extent = test_kind_extent(types[t].kind), bytes = (size_t)count * extent;

        for (int o = 0; o < nops; ++o) {
            if (0 == (types[t].group & ops[o].groups) || bytes > most) {
                continue;
            }
            memset(host, 0, bytes);
            for (int i = 0; i < count; ++i) {
                test_element_make(
                    types[t].kind, ops[o].code,
                    test_hash((uint64_t)t, (uint64_t)o, (uint64_t)test_rank, (uint64_t)i % 997),
                    true, host + (size_t)i * extent);
            }
            memcpy(expected, host, bytes);
            gpu_copy(buffer.data, host, bytes);
            test_note("MPI_Allreduce of %d x %s, %s", count, types[t].name, ops[o].name);
            MPI_Allreduce(MPI_IN_PLACE, expected, count, types[t].type, ops[o].op, comm);
            MPI_Allreduce(MPI_IN_PLACE, buffer.data, count, types[t].type, ops[o].op, comm);
            gpu_copy(host, buffer.data, bytes);
            for (int i = 0; i < count; ++i) {
                if (!test_element_equal(types[t].kind, expected + (size_t)i * extent,
                                        host + (size_t)i * extent)) {
                    test_fail("element %d differs from the host's", i);
                }
            }
            test_passed();
        }
    }
    free(host);
    free(expected);
    gpu_buffer_free(&buffer);
}

/* Calls of several sizes; how many elements were wrong on all ranks, and, added, on this one. */
static int64_t several(int64_t *mine)
{
    int64_t wrong = 0;

    for (int round = 0; round < 6; ++round) {
        const size_t count = (size_t)100000 + (size_t)round * 54321;
        gpu_buffer_t in = gpu_buffer_new(GPU_DEVICE, count * sizeof(int), 0);
        gpu_buffer_t out = gpu_buffer_new(GPU_DEVICE, count * sizeof(int), 0);
        int *host = malloc(count * sizeof(int));

        wrong += (int64_t)allreduce(&in, &out, host, count, round);
        free(host);
        gpu_buffer_free(&in);
        gpu_buffer_free(&out);
    }
    if (NULL != mine) {
        *mine += wrong;
    }
    MPI_Allreduce(MPI_IN_PLACE, &wrong, 1, MPI_INT64_T, MPI_SUM, comm);
    return wrong;
}

/* Rank `broken`'s call fails after some that have worked, or is another one ("nothing"): an error
 * everywhere. */
static void failing(const char *call)
{
    enum { COUNT = 500000 };
    const int broken = test_size - 1;
    const bool other_op = 0 == strcmp(call, "nothing");
    MPI_Op op = MPI_SUM;
    gpu_buffer_t in = gpu_buffer_new(GPU_DEVICE, COUNT * sizeof(int), 0);
    gpu_buffer_t out = gpu_buffer_new(GPU_DEVICE, COUNT * sizeof(int), 0);
    int *host = malloc(COUNT * sizeof(int)), one = 1, sum = 0, rc;
    MPI_Comm other;

    MPI_Comm_dup(comm, &other);
    MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
    MPI_Allreduce(&one, &sum, 1, MPI_INT, MPI_SUM, other);
    for (int round = 0; round < 3; ++round) {
        expect_right(allreduce(&in, &out, host, COUNT, round));
    }
    if (other_op) {
        op = test_rank == broken ? MPI_MAX : MPI_SUM;
    } else if (test_rank == broken) {
        gpu_break_call(call, 1 + test_size % 2);
    }
    test_note("MPI_Allreduce with a failing %s", call);
    rc = MPI_Allreduce(in.data, out.data, COUNT, MPI_INT, op, comm);
    if (MPI_SUCCESS == rc) {
        rc = MPI_Allreduce(in.data, out.data, COUNT, MPI_INT, MPI_SUM, comm);
    }
    if (MPI_SUCCESS == rc || MPI_SUCCESS == MPI_Allreduce(&one, &sum, 1, MPI_INT, MPI_SUM, comm)) {
        test_fail("no error");
    }
    test_success(MPI_Allreduce(&one, &sum, 1, MPI_INT, MPI_SUM, other), "MPI_Allreduce");
    if (sum != test_size) {
        test_fail("sum %d", sum);
    }
    test_passed();
    MPI_Comm_free(&other);
    free(host);
}

/* Wrong elements on this rank. */
static int64_t driverless(void)
{
    enum { COUNT = 300000 };
    const bool has_driver = test_rank < test_size - 1;
    const char *reason = has_driver ? gpu_open(test_rank) : NULL;
    int missing = NULL != reason;
    gpu_buffer_t in = {.kind = GPU_HOST}, out = in;
    int *host = malloc(COUNT * sizeof(int));
    int64_t wrong = 0;

    MPI_Allreduce(MPI_IN_PLACE, &missing, 1, MPI_INT, MPI_MAX, comm);
    if (0 != missing) {
        test_skip("%s", NULL != reason ? reason : "another rank has no GPU");
    }
    for (int round = 0; round < 10; ++round) {
        const int root = round % test_size, sum = test_size * (test_size + 1) / 2;
        int *input = host, *output = malloc(COUNT * sizeof(int));

        for (size_t i = 0; i < COUNT; ++i) {
            host[i] = value_of(test_rank, i, round);
        }
        if (has_driver) {
            in = gpu_buffer_new(GPU_DEVICE, COUNT * sizeof(int), 0);
            out = gpu_buffer_new(GPU_DEVICE, COUNT * sizeof(int), 0);
            gpu_put(&in, host);
            input = (int *)(void *)in.data;
        }
        test_note("calls with a rank that has no driver, round %d", round);
        MPI_Allreduce(input, has_driver ? (int *)(void *)out.data : output, COUNT, MPI_INT, MPI_SUM,
                      comm);
        MPI_Bcast(input, COUNT, MPI_INT, root, comm);
        if (has_driver) {
            gpu_get(&out, output);
            gpu_get(&in, host);
            gpu_buffer_free(&in);
            gpu_buffer_free(&out);
        }
        for (size_t i = 0; i < COUNT; ++i) {
            wrong += output[i] != sum * value_of(0, i, round) || host[i] != value_of(root, i, round);
        }
        test_passed();
        free(output);
    }
    free(host);
    return wrong;
}

/* Nobody waited for the GPU on some rank: rank `where`, or one of all (-1), must have noticed. */
static void expect_wrong(int64_t wrong, int where)
{
    if (0 <= where) {
        MPI_Bcast(&wrong, 1, MPI_INT64_T, where, comm);
    }
    if (0 == wrong) {
        test_fail("results are right although nobody waited for the GPU");
    }
    test_passed();
}

static void order(void)
{
    int64_t all = 0, mine = 0;

    for (int i = 0; i < 5; ++i) {
        all += several(&mine);
    }
    if (0 == strcmp(test_opt.mode, "order-flag")) {
        expect_wrong(mine, 1);
    } else if (0 == strcmp(test_opt.mode, "order-done")) {
        expect_wrong(mine, 0);
    } else {
        expect_wrong(all, -1);
    }
}

/* Each thread has its own communicator, and the device as a new thread of an application sets it. */
static void *work(void *argument)
{
    comm = *(MPI_Comm *) argument;
    if (NULL != gpu_open(test_rank)) {
        test_fail("a thread finds no GPU");
    }
    expect_right((size_t) several(NULL));
    return NULL;
}

static void threads(void)
{
    enum { THREADS = 3 };
    MPI_Comm comms[THREADS];
    pthread_t thread[THREADS];

    for (int t = 0; t < THREADS; ++t) {
        MPI_Comm_dup(comm, &comms[t]);
    }
    for (int t = 0; t < THREADS; ++t) {
        if (0 != pthread_create(&thread[t], NULL, work, &comms[t])) {
            test_fail("no thread");
        }
    }
    for (int t = 0; t < THREADS; ++t) {
        pthread_join(thread[t], NULL);
        MPI_Comm_free(&comms[t]);
    }
}

/* More operands than one kernel takes. */
static void many(void)
{
    const size_t count = (size_t)test_size * 2000;
    const long expected = test_size <= 16 ? 1 : 1 + (test_size - 16 + 14) / 15;
    gpu_buffer_t in = gpu_buffer_new(GPU_DEVICE, count * sizeof(int), 0);
    gpu_buffer_t out = gpu_buffer_new(GPU_DEVICE, count * sizeof(int), 0);
    int *host = malloc(count * sizeof(int));

    for (int round = 0; round < 3; ++round) {
        const long kernels = gpu_calls("launch");

        expect_right(allreduce(&in, &out, host, count, round));
        if (gpu_is_emulated() && has_kernels && expected != gpu_calls("launch") - kernels) {
            test_fail("%ld kernels, not %ld", gpu_calls("launch") - kernels, expected);
        }
    }
    free(host);
    gpu_buffer_free(&in);
    gpu_buffer_free(&out);
    operations(test_size * 1100);
}

/* Calls of every collective between hosts: the number of wrong elements on this rank. After the first ones nothing is
 * allocated, registered or asked for. */
static int64_t far_calls(size_t count, int rounds)
{
    gpu_buffer_t in = gpu_buffer_new(GPU_DEVICE, count * sizeof(int), 0);
    gpu_buffer_t out = gpu_buffer_new(GPU_DEVICE, count * sizeof(int), 0);
    int *host = malloc(count * sizeof(int));
    long before[COSTLY] = {0};
    int64_t wrong = 0;

    for (int round = 0; round < rounds; ++round) {
        const int root = round % test_size;

        wrong += (int64_t) allreduce(&in, &out, host, count, round);
        test_note("MPI_Bcast of %zu ints, root %d", count, root);
        MPI_Bcast(in.data, (int)count, MPI_INT, root, comm);
        gpu_get(&in, host);
        for (size_t i = 0; i < count; ++i) {
            wrong += host[i] != value_of(root, i, round);
            host[i] = value_of(test_rank, i, round + 1);
        }
        gpu_put(&in, host);
        test_note("MPI_Reduce of %zu ints, root %d", count, root);
        MPI_Reduce(in.data, out.data, (int)count, MPI_INT, MPI_MAX, root, comm);
        if (root == test_rank) {
            gpu_get(&out, host);
            for (size_t i = 0; i < count; ++i) {
                wrong += host[i] != value_of(test_size - 1, i, round + 1);
            }
        }
        expect_cheap(before, test_size < round);
        test_passed();
    }
    free(host);
    gpu_buffer_free(&in);
    gpu_buffer_free(&out);
    return wrong;
}

static bool is_mode(const char *prefix)
{
    return NULL != test_opt.mode && 0 == strncmp(test_opt.mode, prefix, strlen(prefix));
}

int main(int argc, char **argv)
{
    const char *reason = NULL;
    int sum = 0, level = MPI_THREAD_SINGLE;

    for (int i = 1; i < argc; ++i) {
        level = 0 == strcmp(argv[i], "threads") ? MPI_THREAD_MULTIPLE : level;
    }
    if (level > test_begin(&argc, &argv, "test_direct", level)) {
        test_skip("this MPI library has no threads");
    }
    comm = MPI_COMM_WORLD;
    if (!is_mode("driverless") && !is_mode("order-staged")) {
        /* Before the first call, which sets the communicator up: two ranks keep the rendezvous for it. */
        reason = gpu_open(0); /* all on one device */
    }
    MPI_Allreduce(&test_rank, &sum, 1, MPI_INT, MPI_SUM, comm);
    for (int i = 0; is_mode("far") && i < 100; ++i) { /* UCX knows its ways after some calls */
        MPI_Allreduce(&test_rank, &sum, 1, MPI_INT, MPI_SUM, comm);
    }
    direct = is_mode("direct");
    has_kernels = crdma_cuda_can_reduce(CRDMA_OP_SUM, CRDMA_TYPE_INT32);
    if (!has_kernels && is_mode("order-staged")) {
        test_skip("built without nvcc");
    }
    if (is_mode("driverless")) {
        expect_right((size_t)driverless());
        return test_end();
    }
    if (is_mode("order-staged")) {
        expect_wrong(driverless(), test_size - 1);
        return test_end();
    }
    if (NULL != reason) {
        test_skip("%s", reason);
    }
    if (!has_kernels && (is_mode("order") || is_mode("fail-launch") || is_mode("refuse-alloc"))) {
        test_skip("built without nvcc");
    }
    if (is_mode("many")) {
        many();
    } else if (is_mode("far-lost")) {
        int64_t wrong = far_calls(20000, 3);

        MPI_Allreduce(MPI_IN_PLACE, &wrong, 1, MPI_INT64_T, MPI_SUM, comm);
        expect_wrong(wrong, -1);
    } else if (is_mode("far-reuse")) {
        direct = true; /* the runner's parameter */
        reuse(5000);
    } else if (is_mode("far")) {
        expect_right((size_t)far_calls(20000, 2 * test_size + 2));
        expect_right((size_t)far_calls(150001, test_size + 3));
        operations(test_opt.quick ? 4000 : 20000);
    } else if (is_mode("threads")) {
        threads();
    } else if (is_mode("order")) {
        order();
    } else if (is_mode("fail-")) {
        failing(test_opt.mode + strlen("fail-"));
    } else if (is_mode("refuse-")) {
        if (test_size - 1 == test_rank) {
            gpu_buffer_t buffer = gpu_buffer_new(GPU_DEVICE, 1, 0);

            /* The second allocation of a call is the component's first one. */
            gpu_break_call(test_opt.mode + strlen("refuse-"), is_mode("refuse-alloc") ? 3 : 1);
            gpu_buffer_free(&buffer);
        }
        expect_right((size_t)several(NULL));
    } else {
        expect_right((size_t)several(NULL));
        steady(1000000);
        steady(150001);
        reuse(100000);
        operations(test_opt.quick ? 40000 : 100003);
    }
    return test_end();
}
