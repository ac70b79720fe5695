/*
 * The GPU kernels, compiled for the host, against the host's reductions: the same bytes for every
 * operation and type that both have, 1 to 16 sources, all alignments, in place with each source,
 * and however many threads share the work. Reduction kernels on a GPU are compared by tests/gpu.
 */
#define CRDMA_NO_LONG_DOUBLE

#include <check.h>
#include <stdbool.h>
#include <stdlib.h>

#include "coll_rdma/device/reduce.h"
#include "coll_rdma/kernels/reduce_ops.h"
#include "tests/fakecuda/kernels.h"
#include "tests/unit/reduce_oracle.h"
#include "tests/unit/run_suite.h"

#define ROW(OP, TYPE, op, tag)                                                                     \
    {CRDMA_OP_##OP, CRDMA_TYPE_##TYPE, #OP " " #TYPE, "crdma_reduce_" #op "_" #tag},
static const struct {
    crdma_op_id_t op;
    crdma_type_id_t type;
    const char *what, *kernel;
} rows[] = {CRDMA_REDUCE_TABLE(ROW)};

enum { NROWS = sizeof(rows) / sizeof(rows[0]), MAX_SRC = CRDMA_KERNEL_FANIN, MOST = 3000, GUARD = 64 };
enum { ROOM = MOST * 16 + 16 + 2 * GUARD };

static _Alignas(64) unsigned char memory[MAX_SRC + 1][ROOM]; /* sources, then dst */
static unsigned char inputs[MAX_SRC][MOST * 16];
static unsigned char expected[MOST * 16];

/* Where inputs lie: `shift` bytes from alignment, source s further by s * spread. */
typedef struct shape {
    int nsrc;
    size_t count;
    unsigned shift, spread, threads;
    int in_place; /* -1: dst is apart, else which source it is */
} shape_t;

static void check_shape(int row, const shape_t *shape)
{
    const fakecuda_kernel_t kernel = fakecuda_kernel_find(rows[row].kernel);
    const crdma_reduce_fn_t host = crdma_reduce_lookup(rows[row].op, rows[row].type);
    const size_t size = crdma_type_size(rows[row].type), bytes = shape->count * size;
    crdma_kernel_args_t args = {.nsrc = (uint32_t) shape->nsrc, .count = shape->count};
    const void *src[MAX_SRC];
    unsigned char *dst = memory[MAX_SRC] + GUARD + shape->shift;
    unsigned char guard[GUARD];

    for (int s = 0; s < shape->nsrc; ++s) {
        args.src[s] = memcpy(memory[s] + GUARD + (shape->shift + (unsigned) s * shape->spread) % 16,
                             inputs[s], bytes);
        src[s] = inputs[s];
    }
    if (0 <= shape->in_place) {
        dst = (unsigned char *) (uintptr_t) args.src[shape->in_place];
    }
    memset(guard, 0xa5, GUARD);
    memcpy(dst - GUARD, guard, GUARD);
    memcpy(dst + bytes, guard, GUARD);
    host(expected, src, shape->nsrc, shape->count);
    args.dst = dst;
    (void) crdma_kernel_layout(&args, size);
    for (unsigned t = 0; t < shape->threads; ++t) {
        kernel(&args, t, shape->threads);
    }
    if (0 != memcmp(dst, expected, bytes)) {
        size_t i = 0;

        while (dst[i] == expected[i]) {
            ++i;
        }
        ck_abort_msg("%s: %d sources, %zu elements, shift %u spread %u, %u threads, in place %d: "
                     "byte %zu is %02x, not %02x",
                     rows[row].what, shape->nsrc, shape->count, shape->shift, shape->spread,
                     shape->threads, shape->in_place, i, dst[i], expected[i]);
    }
    if (0 != memcmp(dst - GUARD, guard, GUARD) || 0 != memcmp(dst + bytes, guard, GUARD)) {
        ck_abort_msg("%s: %d sources, %zu elements, shift %u spread %u: wrote outside dst",
                     rows[row].what, shape->nsrc, shape->count, shape->shift, shape->spread);
    }
}

START_TEST(every_row_has_a_kernel)
{
    ck_assert_msg(NULL != fakecuda_kernel_find(rows[_i].kernel), "%s", rows[_i].kernel);
    ck_assert_msg(NULL != crdma_reduce_lookup(rows[_i].op, rows[_i].type), "%s", rows[_i].what);
}
END_TEST

START_TEST(same_bytes_as_the_host)
{
    uint64_t state = (uint64_t) _i + 1;
    const size_t size = crdma_type_size(rows[_i].type);

    ck_assert_uint_ge(16, size);
    for (int s = 0; s < MAX_SRC; ++s) {
        oracle_fill(rows[_i].type, inputs[s], MOST, &state);
    }
    for (int nsrc = 1; nsrc <= MAX_SRC; ++nsrc) {
        for (unsigned shift = 0; shift < 16; ++shift) {
            for (size_t count = 0; count <= 40; count += 1 + count / 9) {
                check_shape(_i, &(shape_t) {nsrc, count, shift, 0, 3, -1});
                check_shape(_i, &(shape_t) {nsrc, count, shift, 1 + shift % 8, 3, -1});
            }
        }
        for (unsigned threads = 1; threads <= 256; threads *= 16) {
            check_shape(_i, &(shape_t) {nsrc, MOST, 0, 0, threads, -1});
            check_shape(_i, &(shape_t) {nsrc, MOST - 1, 4, 8, threads, -1});
        }
        for (int in_place = 0; in_place < nsrc; ++in_place) {
            check_shape(_i, &(shape_t) {nsrc, 100, 0, 0, 5, in_place});
            check_shape(_i, &(shape_t) {nsrc, 100, 5, 3, 5, in_place});
        }
    }
}
END_TEST

/* The layout promises what the kernel relies on: aligned units, nothing left out. */
START_TEST(layout)
{
    static const size_t sizes[] = {1, 2, 4, 6, 8, 12, 16};

    for (size_t z = 0; z < sizeof(sizes) / sizeof(sizes[0]); ++z) {
        const size_t size = sizes[z], unit = CRDMA_KERNEL_UNIT(size);

        ck_assert_uint_eq(0, unit % size);
        ck_assert_uint_eq(0, unit % CRDMA_KERNEL_VECTOR);
        for (unsigned d = 0; d < 16; ++d) {
            for (unsigned s = 0; s < 16; ++s) {
                for (uint64_t count = 0; count < 20; ++count) {
                    crdma_kernel_args_t a = {.dst = memory[0] + d,
                                             .src = {memory[1] + s},
                                             .nsrc = 1,
                                             .count = count};
                    const uint64_t threads = crdma_kernel_layout(&a, size);

                    ck_assert(a.head <= count && (0 == count || 0 < threads));
                    ck_assert_uint_eq(0, ((uintptr_t) a.dst + a.head * size) % a.width);
                    ck_assert_uint_eq(0, ((uintptr_t) a.src[0] + a.head * size) % a.width);
                    /* Equally misaligned by whole elements: always vectors. */
                    if (d == s && 0 == d % size && 16 == unit && a.head < count) {
                        ck_assert_uint_eq(16, a.width);
                    }
                }
            }
        }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kernels");
    TCase *tc = tcase_create("kernels");

    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, every_row_has_a_kernel, 0, NROWS);
    tcase_add_loop_test(tc, same_bytes_as_the_host, 0, NROWS);
    tcase_add_test(tc, layout);
    suite_add_tcase(suite, tc);
    return run_suite(suite, CK_NORMAL);
}
