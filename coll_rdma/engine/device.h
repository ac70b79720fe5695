/*
 * Steps of an operation whose data is in GPU memory (op->args.device); device.c.
 *
 * fits: can the call be done so? It depends on this rank alone: what the others see is the same
 * messages, with other descriptors (protocol/rendezvous.h). CRDMA_ERR_UNSUPPORTED: do it through
 * the host; nothing has happened then. What it reserves, crdma_device_end gives back after the
 * call.
 */
#ifndef CRDMA_ENGINE_DEVICE_H
#define CRDMA_ENGINE_DEVICE_H

#include "coll_rdma/engine/op.h"

/* Could any call be? A quick look. */
bool crdma_device_possible(const crdma_group_t *group);
crdma_status_t crdma_device_fits(crdma_group_t *group, const crdma_op_args_t *args);
void crdma_device_end(crdma_group_t *group, const crdma_op_args_t *args);

/* For op.c. */
void crdma_device_begin_step(crdma_op_t *op, int npeers);
crdma_status_t crdma_device_recv(crdma_op_t *op, int i, char *dst);
crdma_status_t crdma_device_copy(crdma_op_t *op, char *dst, const char *src, size_t len);
crdma_status_t crdma_device_reduce(crdma_op_t *op, const crdma_step_t *step, char *dst,
                                   const char *self, size_t len);
/* The call has failed. quiet: nothing of ours touches a peer's memory any more; release: after the
 * sends have been withdrawn. */
void crdma_device_quiet(crdma_op_t *op);
void crdma_device_release(crdma_op_t *op);

#endif
