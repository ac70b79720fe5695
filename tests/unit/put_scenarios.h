/*
 * What every transport must pass, between two ranks (put_ranks.h).
 *
 *   hunt     a flag seen before its whole payload, or before what was put before it
 *   bulk     get, get_user, put_user_flagged of buffers that were freed and exposed again
 *   threads  entry points called by several threads at once
 *   killed   a peer killed with work under way: errors instead of a hang
 */
#ifndef TESTS_UNIT_PUT_SCENARIOS_H
#define TESTS_UNIT_PUT_SCENARIOS_H

#include "tests/unit/put_ranks.h"

extern long hunt_puts; /* flagged puts */
/* How many of them were torn: ranks_shared->note[0]. Needs RING * 64 bytes of area. */
void run_hunt(void);

/* One rendezvous of `size` bytes each way; rank 1 owns the buffer, which is fresh every time.
 * `round`: from 1 on, another one for each. */
void bulk_exchange(size_t size, uint64_t round);

/* Three threads on both sides, `rounds` messages each. */
void run_threads(uint64_t rounds);

/* Rank 1 dies when `puts` of rank 0's puts have arrived; everything must have come to an end within
 * `seconds`. */
void run_killed(uint64_t puts, double seconds);

#endif
