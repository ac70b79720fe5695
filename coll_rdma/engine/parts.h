/*
 * Reductions by parts between user buffers of one host; see parts.c.
 */
#ifndef CRDMA_ENGINE_PARTS_H
#define CRDMA_ENGINE_PARTS_H

#include "coll_rdma/engine/op_internal.h"

/* Does the call run like this? Equal on all ranks. */
bool crdma_parts_serves(const crdma_group_t *group, const crdma_op_args_t *args);
/* Part of crdma_op_progress, after the pending sends. */
crdma_status_t crdma_parts_progress(crdma_op_t *op);
/* The call has failed: no peer's buffer is touched after this. */
void crdma_parts_withdraw(crdma_op_t *op);

#endif
