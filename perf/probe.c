/*
 * Two lines, one per rank, each written by its owner only; a flag goes there and back. The numbers
 * grow over the life of the probe, so a flag never returns to an earlier value.
 */
#include "perf/probe.h"

#include "perf/timing.h"

#include <stdatomic.h>

#define BATCHES     9
#define ROUND_TRIPS 100
#define APART       256 /* bytes: beyond what is prefetched in pairs */

void perf_probe_init(struct perf_probe *probe, MPI_Comm comm)
{
    MPI_Aint bytes;
    int unit;

    probe->comm = comm;
    probe->turn = 0;
    MPI_Comm_rank(comm, &probe->rank);
    MPI_Win_allocate_shared(2 * APART, 1, MPI_INFO_NULL, comm, &probe->mine, &probe->window);
    MPI_Win_shared_query(probe->window, 0 == probe->rank ? 1 : 0, &bytes, &unit, &probe->other);
    atomic_store_explicit((_Atomic unsigned long *)probe->mine, 0, memory_order_release);
    MPI_Barrier(comm);
}

void perf_probe_free(struct perf_probe *probe)
{
    MPI_Win_free(&probe->window);
}

double perf_probe_run(struct perf_probe *probe)
{
    _Atomic unsigned long *mine = probe->mine, *other = probe->other;
    double times[BATCHES];

    MPI_Barrier(probe->comm);
    for (int batch = 0; batch < BATCHES && probe->rank < 2; batch++) {
        int64_t begin = perf_now();

        for (int i = 0; i < ROUND_TRIPS; i++) {
            unsigned long turn = ++probe->turn;

            /* Pairs with the partner's store below and above: who receives answers with the same
             * number. */
            if (0 == probe->rank) {
                atomic_store_explicit(mine, turn, memory_order_release);
            }
            while (turn > atomic_load_explicit(other, memory_order_acquire)) {
            }
            if (0 != probe->rank) {
                atomic_store_explicit(mine, turn, memory_order_release);
            }
        }
        times[batch] = (double)(perf_now() - begin) / (2.0 * ROUND_TRIPS);
    }
    MPI_Barrier(probe->comm);
    return 0 == probe->rank ? perf_median_of(times, BATCHES).value : 0.0;
}
