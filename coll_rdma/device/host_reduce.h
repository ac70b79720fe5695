/*
 * Inside the host reductions: what the lookup, the kernels of each instruction set and their test
 * share. Everybody else includes reduce.h.
 */
#ifndef CRDMA_DEVICE_HOST_REDUCE_H
#define CRDMA_DEVICE_HOST_REDUCE_H

#include "coll_rdma/device/reduce.h"

typedef enum crdma_isa {
    CRDMA_ISA_BASE = 0, /* what the compiler's default target has (SSE2 on x86-64) */
    CRDMA_ISA_AVX2,
    CRDMA_ISA_AVX512, /* F, BW, VL and DQ */
    CRDMA_NISAS
} crdma_isa_t;

/* The best instruction set of this processor that this build has kernels for. */
crdma_isa_t crdma_isa_best(void);

/* "base", "avx2", "avx512"; never NULL. */
const char *crdma_isa_name(crdma_isa_t isa);

/* As crdma_reduce_lookup, but from this instruction set; also NULL if the processor lacks it. */
crdma_reduce_fn_t crdma_reduce_lookup_isa(crdma_op_id_t op, crdma_type_id_t type, crdma_isa_t isa);

typedef crdma_reduce_fn_t crdma_reduce_table_t[CRDMA_NOPS][CRDMA_NTYPES];
extern const crdma_reduce_table_t crdma_reduce_table_base;
extern const crdma_reduce_table_t crdma_reduce_table_avx2;
extern const crdma_reduce_table_t crdma_reduce_table_avx512;

/* Inputs that a kernel folds in one loop. */
#define CRDMA_REDUCE_FANIN 4

/*
 * Folds any other number of inputs with kernel, which is called for 2 .. CRDMA_REDUCE_FANIN inputs
 * of at most a strip of elements each. Arguments otherwise as in reduce.h.
 */
void crdma_reduce_strips(crdma_reduce_fn_t kernel, size_t element_size, void *dst,
                         const void *const *src, int nsrc, size_t count);

#endif
