/*
 * Preloaded (LD_PRELOAD): sched_yield sleeps instead, until there is something to do.
 *
 * With more ranks than processors a waiting rank yields at every poll, and dozens of yielding ranks
 * keep the processors from the emulated network and from the one rank that has work. Asleep they
 * take none. How long:
 *
 * - What a thread polls without waiting (poll and epoll_wait with no timeout, as the progress
 *   functions of Open MPI and of UCX do) is what it would like to wait for. A yield after such a poll found
 *   nothing waits for all that was polled since the last yield, at most YIELD_WAIT_US microseconds
 *   (50). Where all that a rank waits for comes by sockets (one rank per host) that may be as long
 *   as the network's delay; what comes through shared memory wakes nobody.
 * - A yield after a poll that found something does not sleep: the caller has not looked yet at
 *   what it got.
 * - A yield with no poll before it sleeps YIELD_US microseconds (50).
 *
 * Invariant: only descriptors that the same thread has polled are waited for, so none is that
 * another thread empties.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { POLLED = 256, DEFAULT_US = 50 };

static _Thread_local struct {
    bool ready, found;
    struct timespec pause, wait;
    nfds_t count;
    struct pollfd polled[POLLED];
} mine;

static struct timespec duration(const char *name)
{
    const char *text = getenv(name);
    const long us = NULL == text ? DEFAULT_US : atol(text);

    return (struct timespec) {us / 1000000, us % 1000000 * 1000};
}

static void remember(const struct pollfd *what)
{
    for (nfds_t i = 0; i < mine.count; ++i) {
        if (what->fd == mine.polled[i].fd) {
            mine.polled[i].events |= what->events;
            return;
        }
    }
    if (POLLED > mine.count) {
        mine.polled[mine.count++] = *what;
    }
}

/* The function of this name that this library stands before. */
static void *other(const char *name)
{
    void *function = dlsym(RTLD_NEXT, name);

    return NULL == function ? (abort(), NULL) : function;
}

int epoll_wait(int descriptor, struct epoll_event *events, int most, int timeout)
{
    static int (*next)(int, struct epoll_event *, int, int);
    int count;

    if (NULL == next) {
        *(void **) &next = other("epoll_wait");
    }
    count = next(descriptor, events, most, timeout);
    if (0 == timeout) {
        mine.found |= 0 < count;
        remember(&(struct pollfd) {.fd = descriptor, .events = POLLIN});
    }
    return count;
}

int poll(struct pollfd *what, nfds_t number, int timeout)
{
    static int (*next)(struct pollfd *, nfds_t, int);
    int count;

    if (NULL == next) {
        *(void **) &next = other("poll");
    }
    count = next(what, number, timeout);
    if (0 == timeout) {
        mine.found |= 0 < count;
        for (nfds_t i = 0; i < number; ++i) {
            remember(&what[i]);
        }
    }
    return count;
}

int sched_yield(void)
{
    if (!mine.ready) {
        mine.pause = duration("YIELD_US");
        mine.wait = duration("YIELD_WAIT_US");
        mine.ready = true;
        /* The kernel may else add 50 us; it is a property of the thread. */
        prctl(PR_SET_TIMERSLACK, 1);
    }
    if (mine.found) {
        mine.found = false;
        syscall(SYS_sched_yield);
    } else if (0 < mine.count) {
        (void) ppoll(mine.polled, mine.count, &mine.wait, NULL);
    } else {
        nanosleep(&mine.pause, NULL);
    }
    mine.count = 0;
    return 0;
}
