/* The host kernels for the compiler's default target: -O3 -ffp-contract=off. */
#define CRDMA_ISA_SUFFIX base
#include "coll_rdma/device/host_reduce_body.h"
