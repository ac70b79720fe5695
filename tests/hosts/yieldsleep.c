/*
 * Preloaded (LD_PRELOAD): sched_yield sleeps for YIELD_US microseconds (50) instead.
 *
 * With more ranks than processors a waiting rank yields at every poll, and dozens of yielding ranks
 * still keep the processors from the emulated network and from the one rank that has work. Asleep
 * they take none, for a lateness of about YIELD_US, which is little beside a network delay of a
 * millisecond.
 */
#include <sched.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

int sched_yield(void)
{
    static _Thread_local struct timespec pause = {.tv_nsec = -1};

    if (0 > pause.tv_nsec) {
        const char *text = getenv("YIELD_US");
        long us = NULL == text ? 50 : atol(text);

        pause.tv_sec = us / 1000000;
        pause.tv_nsec = us % 1000000 * 1000;
        /* The kernel may else add 50 us; it is a property of the thread. */
        prctl(PR_SET_TIMERSLACK, 1);
    }
    nanosleep(&pause, NULL);
    return 0;
}
