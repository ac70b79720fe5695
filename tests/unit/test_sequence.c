/*
 * Positions: ring layout, LL words, marks that must never match. The invariants of ring.h are tested
 * by playing both sides on a plain piece of memory.
 *
 *   geometry    parts do not overlap, are aligned, are as large as needed
 *   ll          every length and alignment, each word missing in turn, other signatures, bytes around
 *   marks       fresh, cleared and scrubbed memory matches no position of its cell; around 2^31 and
 *               2^32
 *   scrub       every index is scrubbed at least once in 2^32 positions
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "coll_rdma/protocol/ll.h"
#include "coll_rdma/protocol/ring.h"
#include "coll_rdma/protocol/slot.h"
#include "tests/unit/run_suite.h"

static const uint64_t P31 = (uint64_t)1 << 31, P32 = (uint64_t)1 << 32;

static const struct {
    uint32_t slots, block_count, ll_max, block_size; /* slots: 0 for a remote peer */
    bool no_ll;
} shapes[] = {{0, 2, 0, 64, false},       {0, 2, 128, 64, false},      {0, 4, 4, 128, false},
              {0, 16, 128, 8192, false},  {0, 1024, 4096, 64, false},  {0, 8, 256, 1 << 16, false},
              {8, 2, 16, 8192, false},    {2, 2, 16, 7808, false},     {8, 4, 256, 64, false},
              {1024, 1024, 16, 64, false}, {8, 2, 16, 8192, true},     {8, 4, 0, 64, true}};

enum { NSHAPES = sizeof(shapes) / sizeof(shapes[0]) };

static crdma_ring_geometry_t make(int i)
{
    crdma_ring_geometry_t g;

    crdma_ring_geometry_init(&g, shapes[i].slots, shapes[i].block_count, shapes[i].ll_max,
                             shapes[i].block_size);
    if (shapes[i].no_ll) {
        crdma_ring_geometry_drop_ll(&g);
    }
    return g;
}

/* In these tests the blocks follow the head. */
static char *slots_of(const crdma_ring_geometry_t *g, char *ring)
{
    return crdma_ring_slots(g, ring, ring + g->head);
}

START_TEST(geometry)
{
    crdma_ring_geometry_t g = make(_i);
    char *ring = aligned_alloc(64, g.remote_size);
    char *end = ring + 64; /* of the credit line */

    ck_assert_uint_ge(g.cell_size, 8 * crdma_ll_words(g.ll_max));
    ck_assert_uint_ge(CRDMA_GRANT_STRIDE, 64 + sizeof(crdma_exposed_t));
    ck_assert_uint_ge(g.window, g.cell_count);
    ck_assert_uint_ge(g.window, g.slot_count);
    ck_assert(1 <= g.credit_every && 2 * g.credit_every <= g.cell_count &&
              2 * g.credit_every <= g.slot_count);
    ck_assert(1 <= g.credit_blocks && g.credit_blocks <= g.block_count);
    for (uint64_t p = P32; p < P32 + g.cell_count && !g.slots_in_head; ++p) {
        char *cell = (char *)crdma_ring_cell(&g, ring, p);

        ck_assert(cell >= end && 0 == (cell - ring) % 64);
        end = cell + 8 * crdma_ll_words(g.ll_max);
        ck_assert_ptr_eq(cell, (char *)crdma_ring_cell(&g, ring, p + g.cell_count));
    }
    ck_assert(g.slots_in_head || g.head == (size_t)(end - ring + 63) / 64 * 64);
    for (uint64_t p = P32; p < P32 + g.slot_count; ++p) {
        crdma_slot_t *slot = crdma_ring_slot(&g, slots_of(&g, ring), p);

        ck_assert((char *)slot >= end && 0 == ((char *)slot - ring) % 64);
        end = 0 == shapes[_i].slots ? crdma_slot_payload(slot) + g.block_size
                                    : (char *)slot + CRDMA_SLOT_STRIDE;
        ck_assert(0 == shapes[_i].slots || 0 == ((char *)slot - ring) % 128);
    }
    for (uint32_t b = 0; b < g.block_count && 0 != shapes[_i].slots; ++b) {
        char *block = crdma_ring_payload(&g, ring + g.head, b);

        ck_assert(block >= end && 0 == (block - ring) % 64);
        end = block + g.block_size;
    }
    ck_assert_uint_ge(g.size, (size_t)(end - ring));
    ck_assert_uint_eq(0, g.size % 64);
    end = ring + 2 * g.size; /* the shadow lies between */
    for (uint64_t p = 0; p < g.slot_count; ++p) {
        ck_assert_uint_ge(crdma_ring_grant(&g, p), (size_t)(end - ring));
        end = ring + crdma_ring_grant(&g, p) + 64 + sizeof(crdma_exposed_t);
    }
    ck_assert_uint_ge(g.remote_size, (size_t)(end - ring));
    free(ring);
}
END_TEST

/* ---- LL ---- */

enum { LL_MOST = 256, WORDS = 2 + LL_MOST / 4 };

static const uint64_t positions[] = {1,           77,          0x7fffffff,
                                     0x80000000,  0xfffffff6,  0xffffffff,
                                     0x100000000, 0x100000001, 0x7fffffffffffffff};

START_TEST(ll_lengths)
{
    static const uint64_t sig = 0xfedcba9876543210;
    char data[LL_MOST + 16], got[LL_MOST + 16];
    uint64_t cell[WORDS], partial[WORDS];

    for (size_t i = 0; i < sizeof(data); ++i) {
        data[i] = (char)(i * 37 + 11);
    }
    for (size_t len = 0; len <= LL_MOST; ++len) {
        for (size_t align = 0; align < 8; ++align) {
            const uint64_t p = positions[(len + align) % 9];
            const size_t words = crdma_ll_words(len);
            uint64_t seen = sig;

            ck_assert_uint_le(words, WORDS);
            memset(cell, 0x5c, sizeof(cell));
            crdma_ll_encode(cell, p, sig, data + align, len);
            memset(got, 0x77, sizeof(got));
            ck_assert(crdma_ll_decode(cell, p, &seen, got + align, len) && seen == sig);
            ck_assert_mem_eq(got + align, data + align, len);
            for (size_t i = 0; i < sizeof(got); ++i) { /* not one byte more */
                ck_assert(0x77 == got[i] || (i >= align && i < align + len));
            }
            for (size_t i = words; i < WORDS; ++i) {
                ck_assert_uint_eq(0x5c5c5c5c5c5c5c5c, cell[i]);
            }
            if (0 != align) {
                continue;
            }
            for (size_t missing = 0; missing < words; ++missing) {
                memcpy(partial, cell, sizeof(cell));
                partial[missing] = (p - 2) << 32; /* what an earlier message left */
                seen = sig;
                ck_assert(!crdma_ll_decode(partial, p, &seen, got, len));
                ck_assert(seen == sig);
            }
            /* neighbours in the sequence are other messages */
            ck_assert(!crdma_ll_decode(cell, p + 1, &seen, got, len));
            ck_assert(!crdma_ll_decode(cell, p - 1, &seen, got, len));
        }
    }
}
END_TEST

START_TEST(ll_signatures)
{
    const uint64_t p = P32 + 5;
    char data[64] = "somebody else's", got[64] = "untouched";
    uint64_t cell[WORDS];

    for (int bit = 0; bit < 64; ++bit) {
        const uint64_t theirs = 0x123456789abcdef0;
        uint64_t seen = theirs ^ (uint64_t)1 << bit;

        memset(cell, 0, sizeof(cell));
        crdma_ll_encode(cell, p, theirs, data, 16);
        /* it is told at once, though not all of the message that we expect is there */
        ck_assert(crdma_ll_decode(cell, p, &seen, got, 64));
        ck_assert(seen == theirs);
        ck_assert_str_eq(got, "untouched");
        seen = theirs ^ (uint64_t)1 << bit;
        cell[bit / 32 ^ 1] = 0; /* half of it: nothing is known */
        ck_assert(!crdma_ll_decode(cell, p, &seen, got, 64));
    }
}
END_TEST

/* ---- marks ---- */

static bool accepts(const crdma_ring_geometry_t *g, char *ring, uint64_t p, size_t len)
{
    const crdma_slot_t *slot = crdma_ring_slot(g, slots_of(g, ring), p);
    char got[4096];
    uint64_t sig = 0;

    /* with the signature that happens to be there, the worst case */
    const uint64_t *cell = crdma_ring_cell(g, ring, p);
    sig = cell[1] << 32 | (uint32_t)cell[0];
    return (!g->slots_in_head && crdma_ll_decode(cell, p, &sig, got, len))
           || slot->flag >> 32 == (uint32_t)p;
}

static void clear(const crdma_ring_geometry_t *g, char *ring, uint64_t start, bool fresh)
{
    crdma_ring_clear_cells(g, ring, start, fresh);
    crdma_ring_clear_slots(g, slots_of(g, ring), start, fresh);
    crdma_ring_clear_grants(g, ring, fresh);
}

static void scrub(const crdma_ring_geometry_t *g, char *ring, uint64_t p)
{
    if (!g->slots_in_head) {
        crdma_ring_scrub_cell(g, ring, p);
    }
    crdma_ring_scrub_slot(g, slots_of(g, ring), p);
}

static const uint64_t around[] = {0,
                                  1,
                                  ((uint64_t)1 << 31) - 2048,
                                  ((uint64_t)1 << 32) - 2048,
                                  ((uint64_t)3 << 31) - 2048,
                                  ((uint64_t)1 << 33) - 2048,
                                  ((uint64_t)1 << 62) - 2048};

START_TEST(marks)
{
    crdma_ring_geometry_t g = make(_i);
    char *ring = aligned_alloc(64, g.remote_size);

    for (int fresh = 0; fresh < 2; ++fresh) {
        memset(ring, 0, g.remote_size);
        if (!fresh) { /* whatever was there before */
            for (uint64_t p = 0; p < g.window; ++p) {
                char data[4096] = "old";

                if (!g.slots_in_head) {
                    crdma_ll_encode(crdma_ring_cell(&g, ring, p), p, 0, data, g.ll_max);
                }
                crdma_ring_slot(&g, slots_of(&g, ring), p)->flag = p << 32 | 3;
                *(uint64_t *)(ring + crdma_ring_grant(&g, p)) = p << 32;
            }
        }
        clear(&g, ring, 0, fresh);
        for (size_t a = 0; a < sizeof(around) / sizeof(around[0]); ++a) {
            for (uint64_t p = around[a]; p < around[a] + 4096; ++p) {
                ck_assert_msg(!accepts(&g, ring, p, g.ll_max), "fresh %d position %#llx", fresh,
                              (unsigned long long)p);
                ck_assert(*(uint64_t *)(ring + crdma_ring_grant(&g, p)) >> 32 != (uint32_t)p);
            }
        }
    }
    /* scrubbing one cell touches no other, and leaves a mark that is never its own */
    memset(ring, 0x11, g.size);
    for (size_t a = 0; a < sizeof(around) / sizeof(around[0]); ++a) {
        for (uint64_t p = around[a]; p < around[a] + 2048 + g.window; ++p) {
            scrub(&g, ring, p);
            for (int back = -2; back <= 2; ++back) {
                const uint64_t same = p + (uint64_t)back * g.window;

                ck_assert(!accepts(&g, ring, same, g.ll_max));
                ck_assert(!accepts(&g, ring, same + P32, g.ll_max));
            }
        }
    }
    memset(ring, 0x11, g.size);
    scrub(&g, ring, 1);
    ck_assert_uint_eq(0x11, ring[0]);
    ck_assert(g.slots_in_head || 0x1111111111111111 == *crdma_ring_cell(&g, ring, 0));
    ck_assert_uint_eq(0x1111111111111111, crdma_ring_slot(&g, slots_of(&g, ring), 0)->flag);
    ck_assert_uint_eq(0x1111111111111111, crdma_ring_slot(&g, slots_of(&g, ring), 1)->sig);
    free(ring);
}
END_TEST

/* Fresh memory is not touched unless positions that zero would match come before the first scrubbing. */
START_TEST(untouched)
{
    static const struct {
        uint64_t start;
        bool touched;
    } cases[] = {{1, false},       {P31, false},      {P31 + 1, true},
                 {P32 - 10, true}, {P32, true},       {P32 + 1, false},
                 {3 * P32, true},  {7 * P32 + 5, false}};
    crdma_ring_geometry_t g = make(_i);
    char *ring = aligned_alloc(64, g.remote_size);

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); ++i) {
        size_t touched = 0;

        memset(ring, 0, g.remote_size);
        crdma_ring_clear_cells(&g, ring, cases[i].start, true);
        crdma_ring_clear_slots(&g, slots_of(&g, ring), cases[i].start, true);
        for (size_t k = 0; k < g.remote_size; ++k) {
            touched += 0 != ring[k];
        }
        ck_assert_int_eq(cases[i].touched, 0 != touched);
        /* either way, positions from there on are consumed before they match again */
        for (uint64_t p = cases[i].start; p < cases[i].start + 64; ++p) {
            ck_assert(!accepts(&g, ring, p, g.ll_max));
        }
        for (uint64_t p = (cases[i].start + P31 - 1) / P31 * P31, n = 0; n < 4 * g.window;
             ++n, ++p) {
            ck_assert_msg(!accepts(&g, ring, p, g.ll_max), "start %#llx position %#llx",
                          (unsigned long long)cases[i].start, (unsigned long long)p);
            if (crdma_ring_needs_scrub(&g, p)) {
                scrub(&g, ring, p);
            }
        }
        ck_assert(!accepts(&g, ring, (cases[i].start / P32 + 1) * P32, g.ll_max));
    }
    free(ring);
}
END_TEST

/* Invariant 2: every index is scrubbed, and at least once in 2^32 positions; but not in the first ring. */
START_TEST(scrub_times)
{
    crdma_ring_geometry_t g = make(_i);

    for (uint64_t window = 0; window < 4; ++window) {
        for (uint32_t index = 0; index < g.window; ++index) {
            /* the position of this index in the first ring of each half */
            ck_assert((0 < window) == (0 != crdma_ring_needs_scrub(&g, window * P31 + index)));
            ck_assert(!crdma_ring_needs_scrub(&g, window * P31 + index + g.window));
            ck_assert(!crdma_ring_needs_scrub(&g, (window + 1) * P31 - 1 - index));
        }
    }
}
END_TEST

static Suite *sequence_suite(void)
{
    Suite *suite = suite_create("sequence");
    TCase *tcase = tcase_create("sequence");

    tcase_add_loop_test(tcase, geometry, 0, NSHAPES);
    tcase_add_test(tcase, ll_lengths);
    tcase_add_test(tcase, ll_signatures);
    tcase_add_loop_test(tcase, marks, 0, NSHAPES);
    tcase_add_loop_test(tcase, untouched, 0, NSHAPES);
    tcase_add_loop_test(tcase, scrub_times, 0, NSHAPES);
    tcase_set_timeout(tcase, 60);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return run_suite(sequence_suite(), CK_ENV);
}
