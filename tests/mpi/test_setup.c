/*
 * Setting up communicators, where their making overlaps: in time, in threads, in the processes they share.
 *
 * Catches: what a rank remembers about processes it has met (lists of them, their memory) and another
 * rank does not remember, or not yet; a lasting word of an earlier communicator with the same number;
 * set-up that waits for a rank that waits elsewhere; lists kept for ever that run out.
 *
 * Modes:
 *   groups   MPI_Comm_split and MPI_Comm_create_group in random groups and orders, a few alive at a time,
 *            freed in another order: far more lists of processes than anybody keeps
 *   idup     MPI_Comm_idup under way while collectives run; completed in different orders
 *   threads  threads that duplicate, use and free at the same time, from the first use of their processes on,
 *            so that one thread's set-up is complete on some ranks only when another's begins
 *   files    the limit of open files is reached on some ranks when the first communicator is set up, and
 *            lifted later
 *   all      the first two (default)
 */
#include "tests/mpi/common.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* Which ranks, by MPI_COMM_WORLD's numbers, are in `comm`? Every member adds its own. */
static void use(MPI_Comm comm, const char *name, int salt)
{
    int rank, size, root;
    long value, sum = -1, most = -1;

    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &size);
    root = salt % size;
    value = 1000L * salt + rank;
    switch (salt % 3) {
    case 0: /* the first call, by which it is set up, is another one each time */
        test_note("MPI_Allreduce on %s, number %d, %d ranks", name, salt, size);
        MPI_Allreduce(&value, &sum, 1, MPI_LONG, MPI_SUM, comm);
        break;
    case 1:
        test_note("MPI_Reduce and MPI_Bcast, root %d, on %s, number %d, %d ranks", root, name, salt, size);
        MPI_Reduce(&value, &sum, 1, MPI_LONG, MPI_SUM, root, comm);
        MPI_Bcast(&sum, 1, MPI_LONG, root, comm);
        break;
    default:
        test_note("MPI_Barrier and MPI_Allreduce on %s, number %d, %d ranks", name, salt, size);
        MPI_Barrier(comm);
        MPI_Allreduce(&value, &sum, 1, MPI_LONG, MPI_SUM, comm);
        break;
    }
    if (1000L * salt * size + (long)size * (size - 1) / 2 != sum) {
        test_fail("expected %ld, got %ld", 1000L * salt * size + (long)size * (size - 1) / 2, sum);
    }
    MPI_Allreduce(&value, &most, 1, MPI_LONG, MPI_MAX, comm);
    if (1000L * salt + size - 1 != most) {
        test_fail("expected %ld, got %ld", 1000L * salt + size - 1, most);
    }
    test_passed();
}

/* ---- groups ---- */

#define ALIVE 8

static int chance(int round, int a, int b, int most)
{
    return (int)((test_hash(test_opt.seed, (uint64_t)round, (uint64_t)a, (uint64_t)b) >> 20) %
                 (uint64_t)most);
}

/* A random subset of the world in a random order; the same on all ranks. */
static MPI_Group random_group(int round, bool *member)
{
    int *ranks = malloc(sizeof(int) * (size_t)test_size), n = 0;
    MPI_Group world, group;

    *member = false;
    for (int r = 0; r < test_size; ++r) {
        if (0 != chance(round, r, 1, 3) || r == round % test_size) {
            ranks[n++] = r;
            *member = *member || r == test_rank;
        }
    }
    for (int i = n - 1; i > 0; --i) {
        const int at = chance(round, i, 2, i + 1), swap = ranks[i];

        ranks[i] = ranks[at];
        ranks[at] = swap;
    }
    MPI_Comm_group(MPI_COMM_WORLD, &world);
    MPI_Group_incl(world, n, ranks, &group);
    MPI_Group_free(&world);
    free(ranks);
    return group;
}

static void groups(int rounds)
{
    MPI_Comm alive[ALIVE], comm;

    for (int i = 0; i < ALIVE; ++i) {
        alive[i] = MPI_COMM_NULL;
    }
    for (int round = 0; round < rounds; ++round) {
        const int at = chance(round, 0, 3, ALIVE);
        bool member;
        MPI_Group group;

        if (MPI_COMM_NULL != alive[at]) { /* of which I may be a member, and others not */
            use(alive[at], "a communicator before its end", 3 * round + 1);
            MPI_Comm_free(&alive[at]);
        }
        if (0 == round % 2) {
            const int color = chance(round, test_rank, 4, 3);

            test_note("MPI_Comm_split number %d", round);
            MPI_Comm_split(MPI_COMM_WORLD, 0 == color ? MPI_UNDEFINED : color,
                           chance(round, test_rank, 5, 100), &comm);
        } else {
            group = random_group(round, &member);
            comm = MPI_COMM_NULL;
            if (member) {
                test_note("MPI_Comm_create_group number %d", round);
                MPI_Comm_create_group(MPI_COMM_WORLD, group, round, &comm);
            }
            MPI_Group_free(&group);
        }
        if (MPI_COMM_NULL == comm) {
            continue;
        }
        use(comm, "a communicator of some", round);
        if (0 == round % 3) {
            MPI_Comm again;

            MPI_Comm_dup(comm, &again);
            use(again, "its duplicate", round + 1);
            MPI_Comm_free(&comm);
            comm = again;
        }
        if (MPI_COMM_NULL == alive[at]) {
            alive[at] = comm;
        } else {
            MPI_Comm_free(&comm);
        }
    }
    for (int i = 0; i < ALIVE; ++i) {
        if (MPI_COMM_NULL != alive[i]) {
            MPI_Comm_free(&alive[i]);
        }
    }
}

/* ---- idup ---- */

static void idups(int rounds)
{
    enum { FLYING = 3 };
    MPI_Comm now[FLYING], next[FLYING];
    MPI_Request requests[FLYING];

    for (int i = 0; i < FLYING; ++i) {
        MPI_Comm_dup(MPI_COMM_WORLD, &now[i]);
    }
    for (int round = 0; round < rounds; ++round) {
        test_note("MPI_Comm_idup x %d, round %d", FLYING, round);
        for (int i = 0; i < FLYING; ++i) {
            MPI_Comm_idup(0 == round % 2 ? MPI_COMM_WORLD : now[i], &next[i], &requests[i]);
        }
        for (int i = 0; i < FLYING; ++i) { /* their first use, on some, and the world's */
            use(0 == i ? MPI_COMM_WORLD : now[i], "a communicator with duplicates under way", round + i);
        }
        for (int i = 0; i < FLYING; ++i) {
            test_note("MPI_Wait for duplicate %d, round %d", i, round);
            MPI_Wait(&requests[0 == (test_rank + round) % 2 ? i : FLYING - 1 - i], MPI_STATUS_IGNORE);
        }
        for (int i = 0; i < FLYING; ++i) {
            MPI_Comm_free(&now[(i + round) % FLYING]);
        }
        memcpy(now, next, sizeof(now));
    }
    for (int i = 0; i < FLYING; ++i) {
        use(now[i], "the last duplicates", i);
        MPI_Comm_free(&now[i]);
    }
}

/* ---- threads ---- */

#define THREADS 4

typedef struct task {
    pthread_t thread;
    int number, rounds;
    uint64_t first; /* different in each generation of threads */
    MPI_Comm parent;
} task_t;

static void *work(void *argument)
{
    task_t *task = argument;

    for (int round = 0; round < task->rounds; ++round) {
        MPI_Comm comm, second;

        const uint64_t delay = test_hash(test_opt.seed, (uint64_t)task->number, task->first + (uint64_t)round,
                                         10 + (uint64_t)test_rank);

        test_note("thread %d, round %d: MPI_Comm_dup", task->number, round);
        MPI_Comm_dup(task->parent, &comm);
        if (0 == round || 0 == delay % 4) {
            test_delay((unsigned)(delay >> 32) % 400); /* another rank's thread is ahead */
        }
        use(comm, "a thread's duplicate", 10 * round + task->number);
        MPI_Comm_dup(comm, &second);
        if (0 == round % 2) {
            MPI_Comm_free(&comm);
        }
        use(second, "a thread's second duplicate", 10 * round + task->number + 1);
        if (0 != round % 2) {
            MPI_Comm_free(&comm);
        }
        MPI_Comm_free(&second);
    }
    return NULL;
}

/* Threads on communicators of the same processes in the order of `key`, which nobody has used before. */
static void start_together(int round, int rounds)
{
    task_t tasks[THREADS];

    for (int t = 0; t < THREADS; ++t) {
        tasks[t] = (task_t){.number = t, .rounds = rounds, .first = 1000 * (uint64_t)round};
        /* two lists of processes, three threads on one of them */
        MPI_Comm_split(MPI_COMM_WORLD, 0, chance(round, test_rank, t / 3, 1000), &tasks[t].parent);
    }
    for (int t = 0; t < THREADS; ++t) {
        const int at = (t + test_rank) % THREADS;

        if (0 != pthread_create(&tasks[at].thread, NULL, work, &tasks[at])) {
            test_fail("pthread_create failed");
        }
    }
    test_note("the threads' end");
    for (int t = 0; t < THREADS; ++t) {
        pthread_join(tasks[t].thread, NULL);
    }
    for (int t = 0; t < THREADS; ++t) {
        MPI_Comm_free(&tasks[t].parent);
    }
}

/* ---- files ---- */

static rlim_t open_files(void)
{
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;
    rlim_t highest = 2;

    while (NULL != dir && NULL != (entry = readdir(dir))) {
        const rlim_t number = (rlim_t)strtoul(entry->d_name, NULL, 10);

        if (number > highest && number != (rlim_t)dirfd(dir)) {
            highest = number;
        }
    }
    if (NULL != dir) {
        closedir(dir);
    }
    return highest + 1;
}

static void files(void)
{
    struct rlimit usual, none;
    MPI_Comm plain, comm;
    MPI_Info info;

    /* Every pair of ranks has talked before, so MPI itself needs no more files. */
    MPI_Info_create(&info);
    MPI_Info_set(info, "coll_rdma", "false");
    MPI_Comm_dup_with_info(MPI_COMM_WORLD, info, &plain);
    MPI_Info_free(&info);
    for (int i = 0; i < 3; ++i) {
        long *all = calloc((size_t)test_size, 2 * sizeof(long));

        MPI_Alltoall(all, 1, MPI_LONG, all + test_size, 1, MPI_LONG, plain);
        MPI_Allgather(MPI_IN_PLACE, 0, MPI_LONG, all, 1, MPI_LONG, plain);
        free(all);
        use(plain, "a communicator without the component", i);
    }
    if (0 != getrlimit(RLIMIT_NOFILE, &usual)) {
        test_skip("getrlimit failed");
    }
    none = usual;
    none.rlim_cur = open_files();
    if (0 == test_rank % 2 && 0 != setrlimit(RLIMIT_NOFILE, &none)) {
        test_skip("setrlimit failed");
    }
    for (int i = 0; i < 3; ++i) {
        use(MPI_COMM_WORLD, "the world, without a file left", i);
        MPI_Comm_dup(MPI_COMM_WORLD, &comm);
        use(comm, "a duplicate, without a file left", i);
        MPI_Comm_free(&comm);
    }
    setrlimit(RLIMIT_NOFILE, &usual);
    for (int i = 0; i < 3; ++i) {
        MPI_Comm_dup(MPI_COMM_WORLD, &comm);
        use(comm, "a duplicate, with files again", i);
        MPI_Comm_free(&comm);
    }
    MPI_Comm_free(&plain);
}

int main(int argc, char **argv)
{
    bool threads = false;
    const char *mode;
    int provided;

    for (int i = 1; i < argc; ++i) {
        threads = threads || 0 == strcmp(argv[i], "threads");
    }
    provided = test_begin(&argc, &argv, "test_setup",
                          threads ? MPI_THREAD_MULTIPLE : MPI_THREAD_SINGLE);
    mode = NULL == test_opt.mode ? "all" : test_opt.mode;
    if (0 == strcmp(mode, "threads")) {
        if (provided < MPI_THREAD_MULTIPLE) {
            test_skip("this MPI library provides thread level %d, not MPI_THREAD_MULTIPLE", provided);
        }
        for (int round = 0; round < (test_opt.quick ? 8 : 40); ++round) {
            start_together(round, 4);
        }
    } else if (0 == strcmp(mode, "files")) {
        files();
    } else {
        if (0 != strcmp(mode, "idup")) {
            groups(0 < test_opt.iterations ? test_opt.iterations : test_opt.quick ? 150 : 600);
        }
        if (0 != strcmp(mode, "groups")) {
            idups(test_opt.quick ? 10 : 50);
        }
    }
    return test_end();
}
