/*
 * What a kernel allows for buffers that only their owner maps, as an application's are, if it has
 * nothing better than process_vm_readv and process_vm_writev (CMA): raw operations for `limits`.
 *
 *   CMA     one system call per piece moves it from process to process. All ranks copy at once: of
 *           a broadcast the root writes a part of what each other rank gets and they read the rest;
 *           of an allreduce each rank reads its part of all inputs piece by piece, adds while the
 *           piece is in its cache, and writes the sum to all results
 *   stage   memory that all map, in between: every byte is copied (added) in and out, chunk by
 *           chunk, in a pipeline of two stages (allreduce: three), by ordinary stores or past the
 *           caches
 *
 * Nothing is found out on the way, and nothing is checked: no faster way is known to us, so this is
 * the limit that a library can be measured against on such a kernel.
 *
 * Invariants: a counter is written by one rank, by a release store after what it counts, and read
 * by acquire loads; a place of the stage is written again only when all that read it have counted
 * past it.
 */
#ifndef PERF_LIMITS_PRIVATE_H
#define PERF_LIMITS_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>

enum { PRIVATE_MOST = 256 };

struct private_all;

/* Collective over MPI_COMM_WORLD, whose ranks share a host. in, out: this rank's buffers. NULL: CMA
 * is not allowed here. */
struct private_all *private_create(float *in, float *out);
void private_free(struct private_all *p);

/* n floats; `meet` lets all ranks wait for all. False: the kernel refused. */
bool private_cma_bcast(struct private_all *p, size_t n, int root, void (*meet)(void *),
                       void *context);
bool private_cma_allreduce(struct private_all *p, size_t n, void (*meet)(void *), void *context);
/* past_caches: how the stage is written. */
void private_stage_bcast(struct private_all *p, size_t n, int root, bool past_caches);
void private_stage_allreduce(struct private_all *p, size_t n, bool past_caches);

#endif
