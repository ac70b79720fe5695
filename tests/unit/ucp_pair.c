/*
 * See ucp_pair.h.
 *
 * One failure is not ours. When sending over tcp fails with a zero-copy operation under way, UCX
 * (1.12 to 1.22 at least) completes that operation twice: uct_tcp_ep_handle_send_err purges it,
 * then its caller uct_tcp_ep_sendv completes it again. Without assertions that is harmless, because
 * the counter of a request that is no longer used becomes -1; a UCX built with assertions, as that
 * of Debian 12, aborts the surviving process. So what the ranks of a kill print is kept and read.
 */
#define _GNU_SOURCE
#include "tests/unit/ucp_pair.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static int output = -1; /* what the ranks print, if that is kept */
static char shm_directory[] = "/dev/shm/crdma-test-XXXXXX";

static void apply(const char *setting)
{
    char copy[512], name[64], *word, *rest;

    snprintf(copy, sizeof(copy), "%s", setting);
    word = strtok_r(copy, " ", &rest);
    if (0 == strcmp(word, "default")) {
        unsetenv("UCX_TLS");
    } else {
        setenv("UCX_TLS", word, 1);
    }
    while (NULL != (word = strtok_r(NULL, " ", &rest))) {
        char *value = strchr(word, '=');

        REQUIRE(NULL != value);
        *value = '\0';
        snprintf(name, sizeof(name), "UCX_%s", word);
        setenv(name, value + 1, 1);
    }
}

/* What pair_run hands to the ranks. */
static const char *rank_setting;
static crdma_ucp_order_t rank_order;
static void (*rank_run)(void);

static int rank_main(void)
{
    if (0 <= output) {
        (void)dup2(output, STDOUT_FILENO);
        (void)dup2(output, STDERR_FILENO);
    }
    crdma_ucp_force_order = rank_order;
    apply(rank_setting);
    if (!ranks_open(AREA)) {
        return PAIR_SKIP;
    }
    if (0 == me) {
        snprintf(ranks_shared->transport, sizeof(ranks_shared->transport), "%s",
                 tested->describe());
    }
    rank_run();
    if (NULL != peer.endpoint) { /* as when one communicator ends and the next begins */
        tested->detach(&peer);
        REQUIRE(CRDMA_OK == tested->attach(&peer, ranks_shared->card[1 - me],
                                           (size_t)ranks_shared->card_length[1 - me]));
    }
    ranks_close(5);
    crdma_slab_destroy(slab);
    return 0;
}

/* What the two processes could leave behind: segments of POSIX shared memory, which UCX makes in a
 * directory of ours, and SysV segments that they created. */
static int count_leftovers(const pid_t *ranks)
{
    DIR *dir = opendir(shm_directory);
    FILE *segments = fopen("/proc/sysvipc/shm", "r");
    char line[512];
    int count = 0;

    for (struct dirent *d; NULL != dir && NULL != (d = readdir(dir));) {
        count += '.' != d->d_name[0];
    }
    if (NULL != dir) {
        closedir(dir);
    }
    while (NULL != segments && NULL != fgets(line, sizeof(line), segments)) {
        int creator = 0;

        (void)sscanf(line, "%*s %*s %*s %*s %d", &creator);
        count += creator == ranks[0] || creator == ranks[1];
    }
    if (NULL != segments) {
        fclose(segments);
    }
    return count;
}

/* Print what the ranks printed, unless they ended by UCX's assertion. */
static bool output_shows_abort(void)
{
    static char text[65536];
    size_t length = 0;
    bool aborted;

    for (ssize_t n = 1; 0 < n && sizeof(text) - 1 > length; length += (size_t)(0 < n ? n : 0)) {
        n = pread(output, text + length, sizeof(text) - 1 - length, (off_t)length);
    }
    text[length] = '\0';
    aborted = NULL != strstr(text, "Assertion `comp->count > 0' failed");
    if (!aborted) {
        fputs(text, stderr);
    }
    close(output);
    output = -1;
    return aborted;
}

int pair_run(const char *setting, crdma_ucp_order_t order, bool killed, void (*run)(void))
{
    pid_t ranks[2];
    int result;

    rank_setting = setting;
    rank_order = order;
    rank_run = run;
    output = killed ? memfd_create("output", MFD_CLOEXEC) : -1;
    result = ranks_fork(2, killed ? 1 : -1, PAIR_TIME_LIMIT, rank_main, ranks);
    if (0 < count_leftovers(ranks)) {
        fprintf(stderr, "something was left in /dev/shm or among the SysV segments\n");
        result = 1;
    }
    if (0 <= output && output_shows_abort()) {
        return PAIR_UCX_ABORT;
    }
    return 0 == result || PAIR_SKIP == result ? result : 1;
}

/* False: there is nothing to test. */
bool pair_prepare(void)
{
    tested = crdma_ucp_transport();
    if (!ranks_prepare() || NULL == tested) {
        fprintf(stderr, "skipped: built without UCX\n");
        return false;
    }
    if (NULL == mkdtemp(shm_directory)) {
        perror(shm_directory);
        return false;
    }
    setenv("UCX_POSIX_DIR", shm_directory, 1);
    return true;
}

void pair_cleanup(void)
{
    rmdir(shm_directory);
}
