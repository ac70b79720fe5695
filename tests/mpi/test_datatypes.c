/*
 * Broadcast of derived datatypes, the same on all ranks or different ones with equal signatures.
 *
 * Catches: gaps overwritten, elements in memory order instead of typemap order, a lower bound or
 * an extent ignored, a choice of path made from the local datatype or count (one rank contiguous
 * and another not is legal and must meet on the wire), zero-size types and count 0 treated as
 * something to wait for.
 *
 * A layout is a datatype, a count and the list of the spans of memory that the typemap names, in
 * its order, computed here without MPI. The bytes broadcast are one stream; span after span must
 * hold it, and all other bytes must keep their value.
 */
#include "tests/mpi/common.h"

#include <stdlib.h>
#include <string.h>

#define GAP 0x5a

typedef struct span {
    ptrdiff_t offset;
    size_t bytes;
} span_t;

typedef struct layout {
    MPI_Datatype type;
    int count;
    span_t *spans;
    size_t nspans;
} layout_t;

static void add_span(layout_t *layout, ptrdiff_t offset, size_t bytes)
{
    layout->spans[layout->nspans].offset = offset;
    layout->spans[layout->nspans++].bytes = bytes;
}

/* --- layouts of 12 m ints --- */

static void contiguous_ints(int m, layout_t *layout)
{
    MPI_Type_dup(MPI_INT, &layout->type);
    layout->count = 12 * m;
    for (int i = 0; i < 12 * m; ++i) {
        add_span(layout, 4 * i, 4);
    }
}

static void contiguous_rows(int m, layout_t *layout)
{
    MPI_Type_contiguous(12, MPI_INT, &layout->type);
    layout->count = m;
    for (int i = 0; i < m; ++i) {
        add_span(layout, 48 * i, 48);
    }
}

static void vector(int m, layout_t *layout)
{
    MPI_Type_vector(4 * m, 3, 5, MPI_INT, &layout->type);
    layout->count = 1;
    for (int i = 0; i < 4 * m; ++i) {
        add_span(layout, 20 * i, 12);
    }
}

/* A matrix of 4 rows sent by columns: neighbours in the stream are far apart in memory. */
static void columns(int m, layout_t *layout)
{
    MPI_Datatype column;

    MPI_Type_vector(4, 1, 3 * m, MPI_INT, &column);
    MPI_Type_create_resized(column, 0, 4, &layout->type);
    MPI_Type_free(&column);
    layout->count = 3 * m;
    for (int c = 0; c < 3 * m; ++c) {
        for (int row = 0; row < 4; ++row) {
            add_span(layout, 4 * (3 * m * row + c), 4);
        }
    }
}

static void descending(int m, layout_t *layout)
{
    int lengths[] = {1, 2, 3, 2, 4}, displacements[] = {40, 33, 25, 20, 2};

    MPI_Type_indexed(5, lengths, displacements, MPI_INT, &layout->type);
    layout->count = m;
    for (int k = 0; k < m; ++k) {
        for (int b = 0; b < 5; ++b) {
            add_span(layout, 4 * (k * 39 + displacements[b]), 4 * (size_t)lengths[b]);
        }
    }
}

static void negative(int m, layout_t *layout)
{
    int lengths[] = {5, 7};
    MPI_Aint displacements[] = {16, -32};
    MPI_Datatype bare;

    MPI_Type_create_hindexed(2, lengths, displacements, MPI_INT, &bare);
    MPI_Type_create_resized(bare, -40, 88, &layout->type);
    MPI_Type_free(&bare);
    layout->count = m;
    for (int k = 0; k < m; ++k) {
        add_span(layout, 88 * k + 16, 20);
        add_span(layout, 88 * k - 32, 28);
    }
}

/* Elements go to falling addresses: a negative extent is legal. */
static void backwards(int m, layout_t *layout)
{
    MPI_Datatype row;

    MPI_Type_contiguous(12, MPI_INT, &row);
    MPI_Type_create_hvector(m, 1, -48, row, &layout->type);
    MPI_Type_free(&row);
    layout->count = 0 < m ? 1 : 0;
    for (int k = 0; k < m; ++k) {
        add_span(layout, -48 * k, 48);
    }
}

static void huge_extent(int m, layout_t *layout)
{
    MPI_Aint extent = m <= 2 ? 1 << 20 : m <= 100 ? 4096 : 68;

    MPI_Type_create_resized(MPI_INT, 0, extent, &layout->type);
    layout->count = 12 * m;
    for (int i = 0; i < 12 * m; ++i) {
        add_span(layout, i * extent, 4);
    }
}

static void subarray(int m, layout_t *layout)
{
    int sizes[] = {m + 2, 5, 7}, sub[] = {m, 3, 4}, start[] = {1, 1, 2};

    if (0 == m) {
        contiguous_ints(0, layout);
        return;
    }
    MPI_Type_create_subarray(3, sizes, sub, start, MPI_ORDER_C, MPI_INT, &layout->type);
    layout->count = 1;
    for (int i = 0; i < m; ++i) {
        for (int j = 0; j < 3; ++j) {
            add_span(layout, 4 * (((i + 1) * 5 + j + 1) * 7 + 2), 16);
        }
    }
}

/* --- layouts of 2 m structures {char, int, double}, all with that signature --- */

static void structure(int m, layout_t *layout, const MPI_Aint *offset, MPI_Aint extent)
{
    static const size_t bytes[] = {1, 4, 8};
    int lengths[] = {1, 1, 1};
    MPI_Datatype types[] = {MPI_CHAR, MPI_INT, MPI_DOUBLE}, bare;

    MPI_Type_create_struct(3, lengths, offset, types, &bare);
    MPI_Type_create_resized(bare, 0, extent, &layout->type);
    MPI_Type_free(&bare);
    layout->count = 2 * m;
    for (int k = 0; k < 2 * m; ++k) {
        for (int f = 0; f < 3; ++f) {
            add_span(layout, k * extent + offset[f], bytes[f]);
        }
    }
}

static void structure_as_in_c(int m, layout_t *layout)
{
    structure(m, layout, (MPI_Aint[]){0, 4, 8}, 16);
}

static void structure_packed(int m, layout_t *layout)
{
    structure(m, layout, (MPI_Aint[]){0, 1, 5}, 13);
}

static void structure_spread(int m, layout_t *layout)
{
    structure(m, layout, (MPI_Aint[]){33, 24, 8}, 48);
}

typedef struct family {
    const char *name;
    void (*make)(int m, layout_t *layout);
    int signature;
} family_t;

static const family_t families[] = {
    {"contiguous ints", contiguous_ints, 0},
    {"contiguous rows", contiguous_rows, 0},
    {"vector", vector, 0},
    {"columns", columns, 0},
    {"descending indexed", descending, 0},
    {"negative displacements", negative, 0},
    {"backwards", backwards, 0},
    {"huge extent", huge_extent, 0},
    {"subarray", subarray, 0},
    {"struct as in C", structure_as_in_c, 1},
    {"struct packed", structure_packed, 1},
    {"struct spread", structure_spread, 1},
};

#define FAMILIES ((int)(sizeof(families) / sizeof(families[0])))

static unsigned char stream_byte(uint64_t call, size_t at)
{
    return (unsigned char)(test_hash(test_opt.seed, call, at / 8, 0) >> at % 8 * 8);
}

static void try_bcast(int m, int root, int root_family, int my_family, const char *how)
{
    static uint64_t call;
    const family_t *family = &families[test_rank == root ? root_family : my_family];
    layout_t layout = {.spans = malloc(sizeof(span_t) * (size_t)(12 * m + 1))};
    ptrdiff_t low = 0, high = 0;
    test_buffer_t buffer;
    size_t at = 0, gap;

    ++call;
    family->make(m, &layout);
    MPI_Type_commit(&layout.type);
    for (size_t s = 0; s < layout.nspans; ++s) {
        ptrdiff_t end = layout.spans[s].offset + (ptrdiff_t)layout.spans[s].bytes;

        low = layout.spans[s].offset < low ? layout.spans[s].offset : low;
        high = end > high ? end : high;
    }
    low -= (16 + low % 16) % 16 + 32; /* keeps the alignment of the base address */
    buffer = test_buffer_new((size_t)(high - low) + 32, 0);
    memset(buffer.data, GAP, buffer.bytes);
    for (size_t s = 0; s < layout.nspans && test_rank == root; ++s) {
        for (size_t b = 0; b < layout.spans[s].bytes; ++b) {
            buffer.data[layout.spans[s].offset + (ptrdiff_t)b - low] = stream_byte(call, at++);
        }
    }

    test_note("MPI_Bcast of %d x \"%s\" (m = %d, root %d has \"%s\", %s)", layout.count,
              family->name, m, root, families[root_family].name, how);
    MPI_Bcast(buffer.data - low, layout.count, layout.type, root, MPI_COMM_WORLD);

    at = 0;
    for (size_t s = 0; s < layout.nspans; ++s) {
        unsigned char *span = buffer.data + layout.spans[s].offset - low;

        for (size_t b = 0; b < layout.spans[s].bytes; ++b, ++at) {
            if (span[b] != stream_byte(call, at)) {
                test_fail("index %zu of the data: expected 0x%02x, got 0x%02x", at,
                          stream_byte(call, at), span[b]);
            }
            span[b] = GAP;
        }
    }
    gap = test_byte_find(buffer.data, buffer.bytes, GAP);
    if (TEST_NOWHERE != gap) {
        test_fail("gap byte at %td from the buffer's address overwritten with 0x%02x",
                  (ptrdiff_t)gap + low, buffer.data[gap]);
    }
    test_buffer_check(&buffer, "buffer");
    test_passed();
    test_buffer_free(&buffer);
    free(layout.spans);
    MPI_Type_free(&layout.type);
}

static void try_empty(int root)
{
    MPI_Datatype nothing, hollow;
    int lengths[] = {0, 0};
    MPI_Aint displacements[] = {64, -64};
    MPI_Datatype types[] = {MPI_INT, MPI_DOUBLE};
    bool odd = 0 != test_rank % 2;

    MPI_Type_contiguous(0, MPI_INT, &nothing);
    MPI_Type_create_struct(2, lengths, displacements, types, &hollow);
    MPI_Type_commit(&nothing);
    MPI_Type_commit(&hollow);
    test_note("MPI_Bcast of a zero-size type, root %d", root);
    MPI_Bcast(NULL, 5, nothing, root, MPI_COMM_WORLD);
    MPI_Bcast(NULL, 3, hollow, root, MPI_COMM_WORLD);
    test_note("MPI_Bcast of nothing: zero-size type here, count 0 there, root %d", root);
    if (!test_opt.stock) {
        MPI_Bcast(NULL, odd ? 7 : 0, odd ? nothing : MPI_INT, root, MPI_COMM_WORLD);
    }
    test_note("MPI_Reduce and MPI_Allreduce of count 0, root %d", root);
    MPI_Reduce(NULL, NULL, 0, MPI_DOUBLE, MPI_SUM, root, MPI_COMM_WORLD);
    MPI_Allreduce(NULL, NULL, 0, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    MPI_Type_free(&nothing);
    MPI_Type_free(&hollow);
    test_passed();
}

static void try_packed(int root)
{
    unsigned char packed[256];
    int position = 0, number = test_rank == root ? 4711 : 0;
    double value = test_rank == root ? 0.125 : 0;

    MPI_Pack(&number, 1, MPI_INT, packed, sizeof(packed), &position, MPI_COMM_WORLD);
    MPI_Pack(&value, 1, MPI_DOUBLE, packed, sizeof(packed), &position, MPI_COMM_WORLD);
    test_note("MPI_Bcast(%d x MPI_PACKED, root %d)", position, root);
    MPI_Bcast(packed, position, MPI_PACKED, root, MPI_COMM_WORLD);
    position = 0;
    MPI_Unpack(packed, sizeof(packed), &position, &number, 1, MPI_INT, MPI_COMM_WORLD);
    MPI_Unpack(packed, sizeof(packed), &position, &value, 1, MPI_DOUBLE, MPI_COMM_WORLD);
    if (4711 != number || 0.125 != value) {
        test_fail("expected 4711 and 0.125, got %d and %g", number, value);
    }
    test_passed();
}

int main(int argc, char **argv)
{
    static const int sizes[] = {0, 1, 2, 5, 83, 2000, 30000};
    int nsizes = (int)(sizeof(sizes) / sizeof(sizes[0]));

    test_begin(&argc, &argv, "test_datatypes", MPI_THREAD_SINGLE);
    for (int s = 0; s < nsizes - (test_opt.quick ? 1 : 0); ++s) {
        for (int f = 0; f < FAMILIES; ++f) {
            int root = (s + f) % test_size, signature = families[f].signature;
            int first = 0 == signature ? 0 : FAMILIES - 3,
                others = 0 == signature ? FAMILIES - 3 : 3;

            try_bcast(sizes[s], root, f, f, "the same on all ranks");
            if (test_opt.stock && (0 == sizes[s] || 2000 <= sizes[s])) {
                continue;
            }
            try_bcast(sizes[s], root, first, f, "first layout at the root");
            try_bcast(sizes[s], root, f, first, "first layout elsewhere");
            try_bcast(sizes[s], root, f, first + (f + test_rank) % others,
                      "another layout on each rank");
        }
    }
    for (int root = 0; root < test_size; ++root) {
        try_empty(root);
        try_packed(root);
    }
    return test_end();
}
