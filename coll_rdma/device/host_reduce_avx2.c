/*
 * The host kernels for x86-64 with AVX2: -mavx2 -O3 -ffp-contract=off.
 * Empty on other processors.
 */
#include "coll_rdma/device/host_reduce.h"

#ifdef __x86_64__
#ifndef __AVX2__
#error "compile this file with -mavx2"
#endif
#define CRDMA_ISA_SUFFIX avx2
#include "coll_rdma/device/host_reduce_body.h"
#endif
