/*
 * A stand-in for a header of Open MPI 5.0 that its installation leaves out.
 */
#ifndef CRDMA_SHIM_THREADS_PTHREADS_THREADS_H
#define CRDMA_SHIM_THREADS_PTHREADS_THREADS_H

#include <pthread.h>
#include <signal.h>

#include "opal/mca/threads/pthreads/threads_pthreads.h"
#include "opal/mca/threads/threads.h"

#endif
