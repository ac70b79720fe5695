/*
 * Collectives on buffers of every kind of memory: on a GPU, or on its stand-in (tests/fakecuda), whose
 * memory kills whoever touches it from the host.
 *
 * Catches: device pointers that reach host code or the module below, in any of the ways a call may
 * take (served, left to the module below, repeated, in place, derived datatypes, user-defined
 * operations, MPI_BOTTOM); results copied before they are complete; gaps or neighbours overwritten; ranks
 * with buffers in different kinds of memory that do not meet on the wire; a driver that is
 * loaded after the first collectives; pinning or stream creation in every call; a failed copy that
 * leaves the other ranks waiting.
 *
 * Modes: data (default), fail, fail-large (emulation only: a rank's copy fails).
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tests/gpu/buffers.h"
#include "tests/mpi/common.h"

static MPI_Comm comm;

/* How the kinds of this round are spread. Below GPU_NKINDS squared: the same pair on all ranks; above:
 * each rank its own. */
static gpu_kind_t kind_of(int round, int which)
{
    if (round < GPU_NKINDS * GPU_NKINDS) {
        return (gpu_kind_t) (0 == which ? round / GPU_NKINDS : round % GPU_NKINDS);
    }
    return (gpu_kind_t) (test_hash(test_opt.seed, (uint64_t) round, (uint64_t) which,
                                   (uint64_t) test_rank)
                         % GPU_NKINDS);
}

/* What rank r contributes: small numbers, whose sums are exact. */
static int value_of(int rank, size_t i, int round)
{
    return (rank + 1) * (int) ((i * 7 + (size_t) round) % 1000);
}

static void expect_ints(const int *got, size_t count, int round, int factor, const char *what)
{
    for (size_t i = 0; i < count; ++i) {
        if (got[i] != factor * value_of(0, i, round)) {
            test_fail("%s: element %zu of %zu is %d, not %d", what, i, count, got[i],
                      factor * value_of(0, i, round));
        }
    }
    test_passed();
}

/* Both buffers of a call, and their copies in host memory. */
typedef struct pair {
    gpu_buffer_t in, out;
    int *host;
    size_t count;
    int round;
} pair_t;

static pair_t pair_new(int round, size_t count)
{
    const size_t bytes = count * sizeof(int), odd = 0 == round % 3 ? 4 * (size_t) (round % 16) : 0;
    pair_t p = {.count = count, .round = round, .host = malloc(bytes)};

    p.in = gpu_buffer_new(kind_of(round, 0), bytes, odd);
    p.out = gpu_buffer_new(kind_of(round, 1), bytes, 0);
    return p;
}

static void pair_free(pair_t *p)
{
    gpu_buffer_free(&p->in);
    gpu_buffer_free(&p->out);
    free(p->host);
}

static void pair_fill(const pair_t *p, const gpu_buffer_t *buffer)
{
    for (size_t i = 0; i < p->count; ++i) {
        p->host[i] = value_of(test_rank, i, p->round);
    }
    gpu_put(buffer, p->host);
}

static void pair_expect(const pair_t *p, const gpu_buffer_t *buffer, int factor, const char *what)
{
    gpu_get(buffer, p->host);
    expect_ints(p->host, p->count, p->round, factor, what);
}

static void note(const pair_t *p, const char *call)
{
    test_note("%s of %zu ints, round %d, %s -> %s", call, p->count, p->round,
              gpu_kind_name(p->in.kind), gpu_kind_name(p->out.kind));
    gpu_guard(true);
}

static void plain_calls(int round, size_t count)
{
    const int n = (int) count, sum = test_size * (test_size + 1) / 2, root = round % test_size;
    pair_t p = pair_new(round, count);

    for (int repeat = 0; repeat < 2; ++repeat) {
        pair_fill(&p, &p.in);
        note(&p, "MPI_Allreduce");
        MPI_Allreduce(p.in.data, p.out.data, n, MPI_INT, MPI_SUM, comm);
        gpu_guard(false);
        pair_expect(&p, &p.out, sum, "allreduce");
        pair_expect(&p, &p.in, test_rank + 1, "allreduce's input");

        note(&p, "MPI_Reduce");
        MPI_Reduce(p.in.data, test_rank == root ? p.out.data : (void *) p.in.data, n, MPI_INT,
                   MPI_MAX, root, comm);
        gpu_guard(false);
        pair_expect(&p, &p.out, test_rank == root ? test_size : sum, "reduce");
        MPI_Barrier(comm);
    }
    pair_fill(&p, &p.out);
    note(&p, "MPI_Allreduce in place");
    MPI_Allreduce(MPI_IN_PLACE, p.out.data, n, MPI_INT, MPI_SUM, comm);
    gpu_guard(false);
    pair_expect(&p, &p.out, sum, "allreduce in place");

    pair_fill(&p, &p.out);
    note(&p, "MPI_Reduce in place");
    MPI_Reduce(test_rank == root ? MPI_IN_PLACE : p.in.data, p.out.data, n, MPI_INT, MPI_SUM, root,
               comm);
    gpu_guard(false);
    pair_expect(&p, &p.out, test_rank == root ? sum : test_rank + 1, "reduce in place");

    note(&p, "MPI_Bcast");
    MPI_Bcast(p.in.data, n, MPI_INT, root, comm);
    gpu_guard(false);
    pair_expect(&p, &p.in, root + 1, "bcast");
    pair_free(&p);
}

/* What is under way in the default stream counts. */
static void behind_the_default_stream(int round)
{
    const size_t count = 5000;
    pair_t p = pair_new(round, count);

    gpu_fill_later(&p.in, (unsigned char) (1 + round % 7));
    note(&p, "MPI_Allreduce (BAND)");
    MPI_Allreduce(p.in.data, p.out.data, (int) count, MPI_INT, MPI_BAND, comm);
    gpu_guard(false);
    gpu_get(&p.out, p.host);
    for (size_t i = 0; i < count * sizeof(int); ++i) {
        if (1 + round % 7 != ((unsigned char *) p.host)[i]) {
            test_fail("byte %zu is %d, not %d", i, ((unsigned char *) p.host)[i], 1 + round % 7);
        }
    }
    test_passed();
    pair_free(&p);
}

static void add_ints(void *in, void *inout, int *len, MPI_Datatype *type)
{
    MPI_Aint lb, extent;
    int size;

    MPI_Type_get_extent(*type, &lb, &extent);
    MPI_Type_size(*type, &size);
    /* A vector of pairs at every fifth int, or nothing but ints. */
    for (int e = 0; e < *len; ++e) {
        int *a = (int *) ((char *) in + e * extent), *b = (int *) ((char *) inout + e * extent);

        for (MPI_Aint i = 0; i < extent / (MPI_Aint) sizeof(int); ++i) {
            if (size == extent || 2 > i % 5) {
                b[i] += a[i];
            }
        }
    }
}

/* A user-defined operation on elements of `each` ints: packed, or pairs with gaps of three ints. More
 * than a block of the component are left to the module below. */
static void user_op(int round, int elements, int each, bool gaps)
{
    const int ints = gaps ? each / 2 * 5 : each;
    const size_t count = (size_t) elements * (size_t) ints;
    pair_t p = pair_new(round, count);
    MPI_Datatype type, vector;
    MPI_Op op;

    if (gaps) {
        MPI_Type_vector(each / 2, 2, 5, MPI_INT, &vector);
        MPI_Type_create_resized(vector, 0, ints * (MPI_Aint) sizeof(int), &type);
        MPI_Type_free(&vector);
    } else {
        MPI_Type_contiguous(each, MPI_INT, &type);
    }
    MPI_Type_commit(&type);
    MPI_Op_create(add_ints, 1, &op);
    pair_fill(&p, &p.in);
    memset(p.host, 0x77, count * sizeof(int));
    gpu_put(&p.out, p.host);
    note(&p, gaps ? "MPI_Allreduce (user, gaps)" : "MPI_Allreduce (user)");
    MPI_Allreduce(p.in.data, p.out.data, elements, type, op, comm);
    gpu_guard(false);
    gpu_get(&p.out, p.host);
    for (size_t i = 0; i < count; ++i) {
        const int sum = test_size * (test_size + 1) / 2 * value_of(0, i, round);

        if (p.host[i] != (gaps && 2 <= i % 5 ? 0x77777777 : sum)) {
            test_fail("int %zu is 0x%x, the sum 0x%x", i, (unsigned) p.host[i], (unsigned) sum);
        }
    }
    test_passed();
    MPI_Op_free(&op);
    MPI_Type_free(&type);
    pair_free(&p);
}

/* Padding inside a predefined type. */
static void pairs(int round)
{
    typedef struct {
        double value;
        int index;
    } element_t;
    enum { COUNT = 1000 };
    static element_t host[COUNT];
    gpu_buffer_t in = gpu_buffer_new(kind_of(round, 0), sizeof(host), 0);
    gpu_buffer_t out = gpu_buffer_new(kind_of(round, 1), sizeof(host), 0);

    memset(host, 0, sizeof(host));
    for (int i = 0; i < COUNT; ++i) {
        host[i].value = (test_rank * 7 + i) % 11;
        host[i].index = test_rank;
    }
    gpu_put(&in, host);
    test_note("MPI_Allreduce of MPI_DOUBLE_INT, round %d, %s -> %s", round,
              gpu_kind_name(in.kind), gpu_kind_name(out.kind));
    gpu_guard(true);
    MPI_Allreduce(in.data, out.data, COUNT, MPI_DOUBLE_INT, MPI_MAXLOC, comm);
    gpu_guard(false);
    gpu_get(&out, host);
    for (int i = 0; i < COUNT; ++i) {
        int best = 0;

        for (int r = 1; r < test_size; ++r) {
            best = (r * 7 + i) % 11 > (best * 7 + i) % 11 ? r : best;
        }
        if (host[i].index != best || host[i].value != (best * 7 + i) % 11) {
            test_fail("element %d: {%g, %d}, not {%d, %d}", i, host[i].value, host[i].index,
                      (best * 7 + i) % 11, best);
        }
    }
    test_passed();
    gpu_buffer_free(&in);
    gpu_buffer_free(&out);
}

/* Absolute addresses in two buffers of different kinds, MPI_BOTTOM. */
static void bottom(int round)
{
    const size_t count = 300;
    const int root = round % test_size;
    pair_t p = pair_new(round, count);
    MPI_Aint at[2];
    int lengths[2] = {(int) count, (int) count - 1};
    MPI_Datatype type;

    pair_fill(&p, &p.in);
    pair_fill(&p, &p.out);
    MPI_Get_address(p.in.data, &at[0]);
    MPI_Get_address(p.out.data + sizeof(int), &at[1]);
    MPI_Type_create_hindexed(2, lengths, at, MPI_INT, &type);
    MPI_Type_commit(&type);
    note(&p, "MPI_Bcast from MPI_BOTTOM");
    MPI_Bcast(MPI_BOTTOM, 1, type, root, comm);
    gpu_guard(false);
    pair_expect(&p, &p.in, root + 1, "first piece");
    gpu_get(&p.out, p.host);
    if (p.host[0] != value_of(test_rank, 0, round)) {
        test_fail("the int before the second piece is %d", p.host[0]);
    }
    p.host[0] = value_of(root, 0, round);
    expect_ints(p.host, count, round, root + 1, "second piece");
    MPI_Type_free(&type);
    pair_free(&p);
}

/* After the first calls of a size nothing is pinned or created any more. */
static void steady(int count)
{
    enum { COSTLY = 4 };
    static const char *const costly[COSTLY] = {"register", "stream", "event", "alloc"};
    const int round = GPU_DEVICE * GPU_NKINDS + GPU_DEVICE;
    pair_t p = pair_new(round, (size_t) count);
    long before[COSTLY] = {0};

    pair_fill(&p, &p.in);
    for (int i = 0; i < 6; ++i) {
        MPI_Allreduce(p.in.data, p.out.data, count, MPI_INT, MPI_SUM, comm);
        MPI_Bcast(p.out.data, count, MPI_INT, 0, comm);
        for (int c = 0; c < COSTLY; ++c) {
            if (1 < i && gpu_calls(costly[c]) != before[c]) {
                test_fail("%ld calls of the driver's \"%s\" in call %d",
                          gpu_calls(costly[c]) - before[c], costly[c], i);
            }
            before[c] = gpu_calls(costly[c]);
        }
    }
    test_passed();
    pair_free(&p);
}

static void data_mode(void)
{
    static const size_t counts[] = {1, 2, 31, 1000, 20001, 300000};
    const int own = test_opt.quick ? 4 : 12;
    const int rounds = GPU_NKINDS * GPU_NKINDS + own;

    for (int round = 0; round < rounds; ++round) {
        const bool last = round >= GPU_NKINDS * GPU_NKINDS;

        for (int c = 0; c < 6; ++c) {
            /* The large ones take time. */
            if (5 > c || last || 0 == round % (test_opt.quick ? 6 : 2)) {
                plain_calls(round, counts[c]);
            }
        }
        behind_the_default_stream(round);
        if (last || 0 == round % 6) {
            pairs(round);
            user_op(round, 50, 3, false);
            user_op(round, 40, 8, true);
            user_op(round, 2, 3000, false);
            bottom(round);
        }
    }
    steady(30000);
    steady(300000);
}

/* Rank `broken`'s copy fails: it gets an error, and so do the others, whose data would be wrong. */
static void fail_mode(int count)
{
    const int broken = test_size - 1;
    pair_t p = pair_new(GPU_DEVICE * GPU_NKINDS + GPU_DEVICE, (size_t) count);
    int rc, in = test_rank, out = -1;
    MPI_Comm other;

    if (!gpu_is_emulated()) {
        test_skip("a real driver cannot be told to fail");
    }
    MPI_Comm_dup(comm, &other);
    MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
    pair_fill(&p, &p.in);
    MPI_Allreduce(&in, &out, 1, MPI_INT, MPI_SUM, other);
    MPI_Allreduce(p.in.data, p.out.data, count, MPI_INT, MPI_SUM, comm);
    pair_expect(&p, &p.out, test_size * (test_size + 1) / 2, "before the failure");
    if (test_rank == broken) {
        gpu_break_call("copy", 1);
    }
    note(&p, "MPI_Allreduce with a failing copy");
    rc = MPI_Allreduce(p.in.data, p.out.data, count, MPI_INT, MPI_SUM, comm);
    if (MPI_SUCCESS == rc) {
        test_fail("no error");
    }
    rc = MPI_Allreduce(&in, &out, 1, MPI_INT, MPI_SUM, comm);
    if (MPI_SUCCESS == rc) {
        test_fail("the communicator goes on");
    }
    /* Another communicator, without GPU memory, does go on. */
    test_success(MPI_Allreduce(&in, &out, 1, MPI_INT, MPI_SUM, other), "MPI_Allreduce");
    if (out != test_size * (test_size - 1) / 2) {
        test_fail("sum %d", out);
    }
    test_passed();
    MPI_Comm_free(&other);
}

int main(int argc, char **argv)
{
    const char *reason;
    int sum = 0;

    test_begin(&argc, &argv, "test_gpu", MPI_THREAD_SINGLE);
    comm = MPI_COMM_WORLD;
    for (int i = 0; i < 5; ++i) { /* before a driver is loaded */
        MPI_Allreduce(&test_rank, &sum, 1, MPI_INT, MPI_SUM, comm);
    }
    reason = gpu_open(test_rank);
    if (NULL != reason) {
        test_skip("%s", reason);
    }
    if (NULL != test_opt.mode && 0 == strcmp(test_opt.mode, "fail")) {
        fail_mode(1000);
    } else if (NULL != test_opt.mode && 0 == strcmp(test_opt.mode, "fail-large")) {
        fail_mode(1000000);
    } else {
        data_mode();
    }
    return test_end();
}
