/*
 * A stand-in for a header of Open MPI 5.0 that its installation leaves out.
 */
#ifndef CRDMA_SHIM_THREADS_PTHREADS_H
#define CRDMA_SHIM_THREADS_PTHREADS_H

#include <sched.h>

/* Named by inline functions of installed headers that nothing here calls. */
static inline void opal_thread_yield(void)
{
    (void) sched_yield();
}

#endif
