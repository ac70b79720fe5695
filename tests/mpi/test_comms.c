/*
 * Every way to make a communicator, with collectives on the result.
 *
 * Catches: a component that breaks on communicators it does not serve (intercommunicators,
 * MPI_COMM_SELF, one that declined through the info key), set-up that blocks inside the creation of
 * a communicator (several MPI_Comm_idup under way complete in any order), state shared by mistake
 * between communicators, a rank order other than that of MPI_COMM_WORLD, spawned processes,
 * sessions, and many communicators alive at once.
 *
 * Modes: "all" (default) is everything but the last two; "spawn" needs free slots, "many" keeps
 * 1000 communicators (--iterations) alive.
 */
#include "tests/mpi/common.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Allreduce, broadcast, reduce and barrier with known results on an intracommunicator. The ranks
 * are numbered by `comm`, the members by their `id`, which may repeat between communicators. */
static void use(MPI_Comm comm, const char *name, int salt)
{
    static const int counts[] = {1, 100, 5000};
    int rank, size;

    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &size);
    for (int c = 0; c < 3; ++c) {
        int count = counts[c], root = (salt + c) % size;
        long *data = malloc(sizeof(long) * (size_t)count);
        long *result = malloc(sizeof(long) * (size_t)count);

        for (int i = 0; i < count; ++i) {
            data[i] = 1000003L * salt + 17L * rank + i;
        }
        test_note("MPI_Allreduce(%d x MPI_LONG, MPI_SUM) on %s, %d ranks", count, name, size);
        MPI_Allreduce(data, result, count, MPI_LONG, MPI_SUM, comm);
        for (int i = 0; i < count; ++i) {
            long expected = size * (1000003L * salt + i) + 17L * size * (size - 1) / 2;

            if (expected != result[i]) {
                test_fail("index %d: expected %ld, got %ld", i, expected, result[i]);
            }
        }
        test_note("MPI_Reduce(%d x MPI_LONG, MPI_MAX, root %d) on %s, %d ranks", count, root, name,
                  size);
        memset(result, 0, sizeof(long) * (size_t)count);
        MPI_Reduce(data, result, count, MPI_LONG, MPI_MAX, root, comm);
        for (int i = 0; i < count && rank == root; ++i) {
            long expected = 1000003L * salt + 17L * (size - 1) + i;

            if (expected != result[i]) {
                test_fail("index %d: expected %ld, got %ld", i, expected, result[i]);
            }
        }
        test_note("MPI_Bcast(%d x MPI_LONG, root %d) on %s, %d ranks", count, root, name, size);
        MPI_Bcast(data, count, MPI_LONG, root, comm);
        for (int i = 0; i < count; ++i) {
            long expected = 1000003L * salt + 17L * root + i;

            if (expected != data[i]) {
                test_fail("index %d: expected %ld, got %ld", i, expected, data[i]);
            }
        }
        free(data);
        free(result);
    }
    test_note("MPI_Barrier on %s, %d ranks", name, size);
    MPI_Barrier(comm);
    test_passed();
}

static void use_and_free(MPI_Comm *comm, const char *name, int salt)
{
    if (MPI_COMM_NULL != *comm) {
        use(*comm, name, salt);
        test_note("MPI_Comm_free of %s", name);
        MPI_Comm_free(comm);
    }
}

static void intracommunicators(void)
{
    MPI_Comm comm, other[4];
    MPI_Request requests[4];
    MPI_Group world, group;
    MPI_Info info;
    int *ranks = malloc(sizeof(int) * (size_t)test_size);

    use(MPI_COMM_WORLD, "MPI_COMM_WORLD", 1);
    use(MPI_COMM_SELF, "MPI_COMM_SELF", 2);

    MPI_Comm_dup(MPI_COMM_WORLD, &comm);
    use(comm, "dup", 3);
    MPI_Comm_dup(comm, &other[0]); /* of a communicator already in use */
    use_and_free(&comm, "dup", 4);
    use_and_free(&other[0], "dup of a dup, whose parent is gone", 5);
    MPI_Comm_dup(MPI_COMM_SELF, &comm);
    use_and_free(&comm, "dup of MPI_COMM_SELF", 6);

    MPI_Comm_split(MPI_COMM_WORLD, test_rank % 2, -test_rank, &comm);
    use_and_free(&comm, "split odd-even, reversed", 7);
    MPI_Comm_split(MPI_COMM_WORLD, 0 == test_rank ? MPI_UNDEFINED : 0, test_rank, &comm);
    use_and_free(&comm, "split without rank 0", 8);
    MPI_Comm_split(MPI_COMM_WORLD, test_rank, 0, &comm);
    use_and_free(&comm, "split into single ranks", 9);
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &comm);
    use_and_free(&comm, "split by host", 10);

    MPI_Comm_group(MPI_COMM_WORLD, &world);
    for (int i = 0; i < test_size; ++i) {
        ranks[i] = test_size - 1 - i;
    }
    MPI_Group_incl(world, (test_size + 1) / 2, ranks, &group);
    MPI_Comm_create(MPI_COMM_WORLD, group, &comm);
    use_and_free(&comm, "create of the upper half, reversed", 11);
    if (test_rank >= test_size / 2) { /* only members call create_group */
        MPI_Comm_create_group(MPI_COMM_WORLD, group, 7, &comm);
        use_and_free(&comm, "create_group of the upper half, reversed", 12);
    }
    MPI_Group_free(&group);
    MPI_Group_free(&world);
    free(ranks);

    /* Four at once: their creation may complete in another order on each rank. */
    test_note("MPI_Comm_idup x 4");
    for (int i = 0; i < 4; ++i) {
        MPI_Comm_idup(MPI_COMM_WORLD, &other[i], &requests[i]);
    }
    for (int i = 0; i < 4; ++i) {
        int at = 0 == test_rank % 2 ? i : 3 - i;

        MPI_Wait(&requests[at], MPI_STATUS_IGNORE);
    }
    for (int i = 3; i >= 0; --i) {
        use_and_free(&other[i], "idup", 13 + i);
    }

    MPI_Info_create(&info);
    MPI_Info_set(info, "coll_rdma", "false");
    MPI_Comm_dup_with_info(MPI_COMM_WORLD, info, &comm);
    MPI_Info_set(info, "coll_rdma", "true");
    MPI_Comm_dup_with_info(MPI_COMM_WORLD, info, &other[0]);
    MPI_Info_free(&info);
    use(comm, "dup_with_info coll_rdma=false", 17);
    use(MPI_COMM_WORLD, "MPI_COMM_WORLD beside it", 18);
    use_and_free(&other[0], "dup_with_info coll_rdma=true", 19);
    use_and_free(&comm, "dup_with_info coll_rdma=false", 20);
}

/* The collectives of an intercommunicator: the result goes to the other side. */
static void use_inter(MPI_Comm inter, const char *name)
{
    int rank, size, remote;
    long mine, got = -1;
    MPI_Comm merged;

    MPI_Comm_rank(inter, &rank);
    MPI_Comm_size(inter, &size);
    MPI_Comm_remote_size(inter, &remote);
    test_note("MPI_Allreduce on %s, %d with %d ranks", name, size, remote);
    mine = size; /* known to the other side as its remote size */
    MPI_Allreduce(&mine, &got, 1, MPI_LONG, MPI_SUM, inter);
    if (got != (long)remote * remote) {
        test_fail("expected %ld, got %ld", (long)remote * remote, got);
    }
    test_note("MPI_Barrier on %s, %d with %d ranks", name, size, remote);
    MPI_Barrier(inter);
    test_note("MPI_Intercomm_merge of %s", name);
    MPI_Intercomm_merge(inter, 0, &merged);
    use_and_free(&merged, "merged intercommunicator", 21);
    test_passed();
}

static void intercommunicators(void)
{
    MPI_Comm half, inter;
    bool low = test_rank < (test_size + 1) / 2;
    long value = low && 0 == test_rank ? 4711 : 0;

    if (test_size < 2) {
        return;
    }
    MPI_Comm_split(MPI_COMM_WORLD, low, test_rank, &half);
    MPI_Intercomm_create(half, 0, MPI_COMM_WORLD, low ? (test_size + 1) / 2 : 0, 5, &inter);
    use_inter(inter, "intercommunicator");
    test_note("MPI_Bcast on the intercommunicator");
    MPI_Bcast(&value, 1, MPI_LONG, !low ? 0 : 0 == test_rank ? MPI_ROOT : MPI_PROC_NULL, inter);
    if (!low && 4711 != value) {
        test_fail("expected 4711, got %ld", value);
    }
    MPI_Comm_free(&inter);
    MPI_Comm_free(&half);
}

/* Rank 0 shares so many communicators with one other each that it may forget what it knew of all
 * ranks together, and the others not: the next duplicates must not depend on anybody's memory. */
static void forgetful(void)
{
    MPI_Comm comm;

    for (int other = 1; other < test_size; ++other) {
        const int in = 0 == test_rank || other == test_rank;

        for (int reversed = 0; reversed < 2; ++reversed) {
            MPI_Comm_split(MPI_COMM_WORLD, in ? 0 : MPI_UNDEFINED,
                           reversed ? -test_rank : test_rank, &comm);
            use_and_free(&comm, "rank 0 and another", 30 + 2 * other + reversed);
        }
        if (1 == other % 2) {
            MPI_Comm_dup(MPI_COMM_WORLD, &comm);
            use_and_free(&comm, "dup, known to some", 28);
        }
    }
    for (int i = 0; i < 2; ++i) {
        MPI_Comm_dup(MPI_COMM_WORLD, &comm);
        use_and_free(&comm, "dup, forgotten by rank 0", 29);
    }
}

static void many(int communicators)
{
    MPI_Comm *comms = malloc(sizeof(MPI_Comm) * (size_t)communicators);

    for (int round = 0; round < 2; ++round) {
        for (int i = 0; i < communicators; ++i) {
            long value = i + test_rank, sum = -1;
            long expected = (long)i * test_size + (long)test_size * (test_size - 1) / 2;

            if (0 == round) {
                test_note("MPI_Comm_dup with %d communicators alive", i);
                MPI_Comm_dup(MPI_COMM_WORLD, &comms[i]);
            }
            test_note("MPI_Allreduce on communicator %d of %d, round %d", i, communicators, round);
            MPI_Allreduce(&value, &sum, 1, MPI_LONG, MPI_SUM, comms[i]);
            if (expected != sum) {
                test_fail("expected %ld, got %ld", expected, sum);
            }
            test_passed();
        }
    }
    for (int i = 0; i < communicators; ++i) {
        MPI_Comm_free(&comms[communicators - 1 - i]);
    }
    free(comms);
}

static void spawn(char *program, MPI_Comm parent)
{
    char *arguments[] = {"--mode", "spawn", NULL};
    MPI_Comm children, merged;

    if (MPI_COMM_NULL == parent) {
        test_note("MPI_Comm_spawn of 2 processes");
        MPI_Comm_spawn(program, arguments, 2, MPI_INFO_NULL, 0, MPI_COMM_WORLD, &children,
                       MPI_ERRCODES_IGNORE);
        use_inter(children, "intercommunicator to spawned processes");
        MPI_Intercomm_merge(children, 0, &merged);
    } else {
        children = parent;
        use(MPI_COMM_WORLD, "MPI_COMM_WORLD of spawned processes", 22);
        use_inter(children, "intercommunicator to the parents");
        MPI_Intercomm_merge(children, 1, &merged);
    }
    use_and_free(&merged, "parents and spawned processes", 23);
    test_note("MPI_Comm_disconnect of the spawned processes");
    MPI_Comm_disconnect(&children);
}

#if MPI_VERSION >= 4
static void session(void)
{
    MPI_Session session;
    MPI_Group group;
    MPI_Comm comm;

    test_note("MPI_Session_init");
    MPI_Session_init(MPI_INFO_NULL, MPI_ERRORS_ARE_FATAL, &session);
    MPI_Group_from_session_pset(session, "mpi://WORLD", &group);
    test_note("MPI_Comm_create_from_group");
    MPI_Comm_create_from_group(group, "tests.mpi.comms", MPI_INFO_NULL, MPI_ERRORS_ARE_FATAL,
                               &comm);
    use_and_free(&comm, "communicator of a session", 24);
    MPI_Group_free(&group);
    test_note("MPI_Session_finalize");
    MPI_Session_finalize(&session);
}
#endif

int main(int argc, char **argv)
{
    const char *mode;
    MPI_Comm parent;

    test_begin(&argc, &argv, "test_comms", MPI_THREAD_SINGLE);
    MPI_Comm_get_parent(&parent);
    mode = NULL == test_opt.mode ? "all" : test_opt.mode;
    if (0 == strcmp(mode, "spawn")) {
        spawn(argv[0], parent);
    } else if (0 == strcmp(mode, "many")) {
        many(0 < test_opt.iterations ? test_opt.iterations : test_opt.quick ? 100 : 1000);
    } else if (0 == strcmp(mode, "all")) {
        for (int again = 0; again < (test_opt.quick ? 1 : 3); ++again) {
            intracommunicators();
            intercommunicators();
            forgetful();
        }
#if MPI_VERSION >= 4
        session();
#endif
    } else {
        test_note("start");
        test_fail("unknown mode %s", mode);
    }
    return test_end();
}
