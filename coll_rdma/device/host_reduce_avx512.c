/*
 * The host kernels for x86-64 with AVX-512 (F, BW, VL, DQ): -mavx512f -mavx512bw -mavx512vl
 * -mavx512dq -O3 -ffp-contract=off. Empty on other processors.
 */
#include "coll_rdma/device/host_reduce.h"

#ifdef __x86_64__
#if !defined(__AVX512F__) || !defined(__AVX512BW__) || !defined(__AVX512VL__) ||                   \
    !defined(__AVX512DQ__)
#error "compile this file with -mavx512f -mavx512bw -mavx512vl -mavx512dq"
#endif
#define CRDMA_ISA_SUFFIX avx512
#include "coll_rdma/device/host_reduce_body.h"
#endif
