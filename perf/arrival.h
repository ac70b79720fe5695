/*
 * How ranks come to a call in programs that do more than calling: each at a time of its own, and
 * from work that has used the caches.
 *
 * Delays are a function of (turn, rank) alone, so that every rank knows everybody's, and both sides
 * of a pair that is compared meet the same ones. Per turn they are uniform in [0, most],
 * independent from rank to rank: the order of entry is random and so are the gaps.
 */
#ifndef PERF_ARRIVAL_H
#define PERF_ARRIVAL_H

#include <stddef.h>

/* How much later than the agreed instant this rank enters call `turn`, ns, at most `most`. */
double perf_arrival_delay(long turn, int rank, double most);

/* The same of the rank that comes last. */
double perf_arrival_last(long turn, int ranks, double most);

/* Work for `ns`: reads and writes `size` bytes of `memory` over and over. */
void perf_work(double ns, unsigned char *memory, size_t size);

#endif
