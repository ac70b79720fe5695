/*
 * The reduction kernels where the data is: every operation and type against the host's reductions, and
 * how fast they are.
 *
 * Modes: data (default): the same bytes as the host, for several numbers of sources, sizes and
 * alignments, in place and not; floating point without NaNs. bandwidth: float SUM of 2 to 16
 * sources of 256 MiB (--quick: 16 MiB) beside a copy within the device, bytes read plus written over
 * the time of 20 of them. A GPU is needed for that: the stand-in is only good for the first mode.
 *
 * One rank is enough; with more, each takes a GPU of its own where there are several.
 */
#define CRDMA_NO_LONG_DOUBLE

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coll_rdma/device/cuda.h"
#include "coll_rdma/kernels/reduce_args.h"
#include "coll_rdma/kernels/reduce_ops.h"
#include "tests/gpu/buffers.h"
#include "tests/mpi/common.h"

#define ROW(OP, TYPE, op, tag) {CRDMA_OP_##OP, CRDMA_TYPE_##TYPE, #OP " " #TYPE},
static const struct {
    crdma_op_id_t op;
    crdma_type_id_t type;
    const char *name;
} rows[] = {CRDMA_REDUCE_TABLE(ROW)};

enum { NROWS = sizeof(rows) / sizeof(rows[0]), MAX_SRC = 20, ROOM = 16 * 20001 };

static gpu_buffer_t sources[MAX_SRC], result;
static unsigned char *host[MAX_SRC], expected[ROOM], got[ROOM];

/* Numbers from 1 to 3 with some bits behind the point; integers of all bits; pairs of both. */
static void fill(crdma_type_id_t type, unsigned char *to, size_t count, uint64_t seed)
{
    const size_t size = crdma_type_size(type);

    for (size_t i = 0; i < count; ++i, to += size) {
        const uint64_t random = test_hash(seed, i, type, 0);
        const double number = 1 + (double) (random >> 40) / (double) (1 << 23);
        const double small = (double) (random % 5), other = 3 - number;
        const float number_f = (float) number, small_f = (float) small, other_f = (float) other;
        const int index = (int) (random >> 50);

        switch (type) {
        case CRDMA_TYPE_FLOAT: memcpy(to, &number_f, 4); break;
        case CRDMA_TYPE_DOUBLE: memcpy(to, &number, 8); break;
        case CRDMA_TYPE_CFLOAT: memcpy(to, &number_f, 4), memcpy(to + 4, &other_f, 4); break;
        case CRDMA_TYPE_CDOUBLE: memcpy(to, &number, 8), memcpy(to + 8, &other, 8); break;
        case CRDMA_TYPE_2FLOAT: memcpy(to, &small_f, 4), memcpy(to + 4, &other_f, 4); break;
        case CRDMA_TYPE_2DOUBLE: memcpy(to, &small, 8), memcpy(to + 8, &other, 8); break;
        case CRDMA_TYPE_FLOAT_INT: memcpy(to, &small_f, 4), memcpy(to + 4, &index, 4); break;
        case CRDMA_TYPE_DOUBLE_INT: memcpy(to, &small, 8), memcpy(to + 8, &index, 4); break;
        default:
            memset(to, (int) (random % 3), size);
            memcpy(to, &random, size < 8 ? size : 8);
            break;
        }
    }
}

/* dst: a source, or -1: apart. Sources at different alignments if `odd`. */
static void check(int row, int nsrc, size_t count, size_t shift, bool odd, int dst)
{
    const size_t bytes = count * crdma_type_size(rows[row].type);
    const void *src[MAX_SRC], *from[MAX_SRC];
    char *to = result.data + shift;
    crdma_cuda_queue_t queue;

    test_note("%s, %d sources, %zu elements, shift %zu%s, dst %d", rows[row].name, nsrc, count, shift,
              odd ? " and others" : "", dst);
    for (int s = 0; s < nsrc; ++s) {
        src[s] = host[s];
        from[s] = sources[s].data + (odd ? (shift + (size_t) s * 3) % 16 : shift);
        gpu_copy((void *) (uintptr_t) from[s], host[s], bytes);
    }
    if (0 <= dst) {
        to = (char *) (uintptr_t) from[dst];
    }
    crdma_reduce_lookup(rows[row].op, rows[row].type)(expected, src, nsrc, count);
    crdma_cuda_queue_begin(&queue, to);
    crdma_cuda_queue_reduce(&queue, rows[row].op, rows[row].type, to, from, nsrc, count, NULL);
    if (CRDMA_OK != crdma_cuda_queue_end(&queue)) {
        test_fail("the reduction failed");
    }
    gpu_copy(got, to, bytes);
    for (size_t i = 0; i < bytes; ++i) {
        if (got[i] != expected[i]) {
            test_fail("byte %zu of %zu is %02x, on the host %02x", i, bytes, got[i], expected[i]);
        }
    }
    test_passed();
}

static void data_mode(void)
{
    static const int numbers[] = {1, 2, 3, 4, 5, 16, 20};
    static const size_t counts[] = {1, 37, 1000, 20000};

    for (int s = 0; s < MAX_SRC; ++s) {
        sources[s] = gpu_buffer_new(GPU_DEVICE, ROOM + 32, 0);
        host[s] = malloc(ROOM);
    }
    result = gpu_buffer_new(GPU_DEVICE, ROOM + 32, 0);
    for (int row = 0; row < NROWS; ++row) {
        const int step = test_opt.quick ? 2 : 1;

        for (int s = 0; s < MAX_SRC; ++s) {
            fill(rows[row].type, host[s], 20001, test_hash(test_opt.seed, (uint64_t) s, 0, 1));
        }
        for (int n = 0; n < 7; n += step) {
            for (int c = 0; c < 4; c += step) {
                check(row, numbers[n], counts[c], 0, false, -1);
                check(row, numbers[n], counts[c], (size_t) (row % 16), false, numbers[n] / 2 % 16);
                check(row, numbers[n], counts[c], 5, true, -1);
            }
        }
    }
}

/* GB/s of `times` pieces of work that read and write `bytes` each. */
static double rate(size_t bytes, int times, double seconds)
{
    return 1e-9 * (double) bytes * times / seconds;
}

static void bandwidth_mode(void)
{
    const size_t bytes = (size_t) (test_opt.quick ? 16 : 256) << 20;
    const int times = 20;
    const void *src[16];
    double copy = 0;

    if (gpu_is_emulated()) {
        test_skip("the bandwidth of an emulation is of no interest");
    }
    result = gpu_buffer_new(GPU_DEVICE, bytes, 0);
    for (int s = 0; s < 16; ++s) {
        sources[s] = gpu_buffer_new(GPU_DEVICE, bytes, 0);
        src[s] = sources[s].data;
    }
    for (int nsrc = 1; nsrc <= 16; nsrc = 1 == nsrc || 4 <= nsrc ? 2 * nsrc : nsrc + 1) {
        double best = 0;

        for (int repeat = 0; repeat < 5; ++repeat) {
            double start = MPI_Wtime(), now;
            crdma_cuda_queue_t queue;

            crdma_cuda_queue_begin(&queue, result.data);
            for (int i = 0; i < times; ++i) {
                if (1 == nsrc) {
                    crdma_cuda_queue_copy(&queue, result.data, src[0], bytes);
                } else {
                    crdma_cuda_queue_reduce(&queue, CRDMA_OP_SUM, CRDMA_TYPE_FLOAT, result.data,
                                            src, nsrc, bytes / sizeof(float), NULL);
                }
            }
            if (CRDMA_OK != crdma_cuda_queue_end(&queue)) {
                test_fail("the queue failed");
            }
            now = rate(((size_t) nsrc + 1) * bytes, times, MPI_Wtime() - start);
            best = now > best ? now : best;
        }
        copy = 1 == nsrc ? best : copy;
        printf("%-22s %2d source%s of %zu MiB: %8.1f GB/s, %5.1f %% of a copy\n",
               1 == nsrc ? "copy within the device" : "float SUM", nsrc, 1 == nsrc ? " " : "s",
               bytes >> 20, best, 100 * best / copy);
    }
    test_passed();
}

int main(int argc, char **argv)
{
    const char *reason;

    test_begin(&argc, &argv, "test_kernels", MPI_THREAD_SINGLE);
    reason = gpu_open(test_rank);
    if (NULL == reason
        && !(crdma_cuda_possible() && crdma_cuda_can_reduce(CRDMA_OP_SUM, CRDMA_TYPE_FLOAT))) {
        reason = "built without nvcc";
    }
    if (NULL != reason) {
        test_skip("%s", reason);
    }
    if (NULL != test_opt.mode && 0 == strcmp(test_opt.mode, "bandwidth")) {
        bandwidth_mode();
    } else {
        data_mode();
    }
    crdma_cuda_close();
    return test_end();
}
