/*
 * Datatypes and ops.
 *
 * Everything on the wire is packed, so ranks may use different layouts of the same type
 * signature. A user-defined op sees elements in the layout of its datatype: operands that are not
 * contiguous are unpacked for it and its result is packed again.
 *
 * MPI ops compute `inout = in op inout` with `in` as the left operand. To combine
 * s0 op s1 op ... in rank order with only the right operand overwritten, the fold runs from the
 * right: acc = s[n-1]; acc = s[n-2] op acc; ... Ops are associative, and all ranks fold alike.
 */
#include "coll_rdma/component/convert.h"

#include <stdlib.h>
#include <string.h>

#include "coll_rdma/component/coll_rdma_types.h"
#include "ompi/datatype/ompi_datatype_internal.h"
#include "opal/datatype/opal_convertor.h"

/* Between the user's layout and packed bytes, in one direction or the other. */
static int convert(void *buf, size_t count, ompi_datatype_t *dtype, void *packed, size_t bytes,
                   bool pack)
{
    opal_convertor_t convertor;
    struct iovec iov = {packed, bytes};
    uint32_t n = 1;
    size_t done = bytes;
    int ret;

    if (0 == bytes) {
        return OMPI_SUCCESS;
    }
    OBJ_CONSTRUCT(&convertor, opal_convertor_t);
    ret = pack ? opal_convertor_copy_and_prepare_for_send(ompi_mpi_local_convertor, &dtype->super,
                                                          count, buf, 0, &convertor)
               : opal_convertor_copy_and_prepare_for_recv(ompi_mpi_local_convertor, &dtype->super,
                                                          count, buf, 0, &convertor);
    if (OPAL_SUCCESS == ret) {
        (void) (pack ? opal_convertor_pack(&convertor, &iov, &n, &done)
                     : opal_convertor_unpack(&convertor, &iov, &n, &done));
        ret = bytes == done ? OMPI_SUCCESS : OMPI_ERROR;
    }
    OBJ_DESTRUCT(&convertor);
    return ret;
}

int coll_rdma_pack(const void *buf, size_t count, ompi_datatype_t *dtype, void *packed,
                   size_t bytes)
{
    return convert((void *) (uintptr_t) buf, count, dtype, packed, bytes, true);
}

int coll_rdma_unpack(void *buf, size_t count, ompi_datatype_t *dtype, const void *packed,
                     size_t bytes)
{
    return convert(buf, count, dtype, (void *) (uintptr_t) packed, bytes, false);
}

char *coll_rdma_stage(coll_rdma_module_t *module, int which, size_t bytes)
{
    if (module->stage_size[which] < bytes) {
        free(module->stage[which]);
        module->stage_size[which] = 0;
        module->stage[which] = malloc(bytes);
        if (NULL != module->stage[which]) {
            module->stage_size[which] = bytes;
        }
    }
    return module->stage[which];
}

static bool grow(coll_rdma_user_op_t *user, size_t size)
{
    if (user->size < size) {
        free(user->a);
        free(user->b);
        /* zeroed: gaps of user types are defined bytes */
        user->a = calloc(1, size);
        user->b = calloc(1, size);
        user->size = NULL != user->a && NULL != user->b ? size : 0;
    }
    return user->size >= size;
}

/* Packed operands are what the op works on. */
static bool reduce_contiguous(coll_rdma_user_op_t *user, char *dst, const void *const *src,
                              int nsrc, size_t count)
{
    const ptrdiff_t lb = user->dtype->super.true_lb;
    const size_t bytes = count * user->elsize;
    char *acc = dst;

    for (int i = 0; i < nsrc - 1; ++i) {
        if (src[i] == dst) { /* dst is still needed as an operand: accumulate elsewhere */
            if (!grow(user, bytes)) {
                return false;
            }
            acc = user->b;
            break;
        }
    }
    if (acc != src[nsrc - 1]) {
        memcpy(acc, src[nsrc - 1], bytes);
    }
    for (int i = nsrc - 2; 0 <= i; --i) {
        ompi_op_reduce(user->op, (char *) (uintptr_t) src[i] - lb, acc - lb, (int) count,
                       user->dtype);
    }
    if (acc != dst) {
        memcpy(dst, acc, bytes);
    }
    return true;
}

static bool reduce_unpacked(coll_rdma_user_op_t *user, char *dst, const void *const *src, int nsrc,
                            size_t count)
{
    ptrdiff_t gap = 0;
    const size_t span = (size_t) opal_datatype_span(&user->dtype->super, count, &gap);
    const size_t bytes = count * user->elsize;
    char *in, *acc;

    if (!grow(user, span)) {
        return false;
    }
    in = user->a - gap;
    acc = user->b - gap;
    if (OMPI_SUCCESS != coll_rdma_unpack(acc, count, user->dtype, src[nsrc - 1], bytes)) {
        return false;
    }
    for (int i = nsrc - 2; 0 <= i; --i) {
        if (OMPI_SUCCESS != coll_rdma_unpack(in, count, user->dtype, src[i], bytes)) {
            return false;
        }
        ompi_op_reduce(user->op, in, acc, (int) count, user->dtype);
    }
    return OMPI_SUCCESS == coll_rdma_pack(acc, count, user->dtype, dst, bytes);
}

void coll_rdma_user_reduce(void *context, void *dst, const void *const *src, int nsrc,
                           size_t count)
{
    coll_rdma_user_op_t *user = context;

    if (!(user->contiguous ? reduce_contiguous : reduce_unpacked)(user, dst, src, nsrc, count)) {
        crdma_log(CRDMA_LOG_ERROR, "out of memory while calling a user-defined operation");
        ompi_mpi_abort(&ompi_mpi_comm_world.comm, MPI_ERR_NO_MEM);
    }
}

int coll_rdma_reduction_begin(coll_rdma_module_t *module, const void *sbuf, void *rbuf, int count,
                              ompi_datatype_t *dtype, ompi_op_t *op, bool need_out,
                              coll_rdma_reduction_t *r)
{
    const void *input = MPI_IN_PLACE == sbuf ? rbuf : sbuf;
    crdma_reduce_fn_t kernel = NULL;
    size_t elsize, bytes;

    ompi_datatype_type_size(dtype, &elsize);
    bytes = elsize * (size_t) count;
    if (elsize > crdma_group_element_max(module->group)) {
        return OMPI_ERR_NOT_SUPPORTED;
    }
    r->op = coll_rdma_op_id(op);
    r->type = coll_rdma_type_id(dtype);
    r->unpack = false;
    r->user = (coll_rdma_user_op_t) {.op = op, .dtype = dtype, .elsize = elsize};
    if (CRDMA_OP_USER != r->op && CRDMA_TYPE_NONE != r->type) {
        kernel = crdma_reduce_lookup(r->op, r->type);
    }
    r->args = (crdma_op_args_t) {.count = (size_t) count, .elsize = elsize};
    if (NULL != kernel) {
        r->args.reducer.kernel = kernel;
    } else {
        r->user.contiguous = ompi_datatype_is_contiguous_memory_layout(dtype, count);
        r->args.reducer.call = coll_rdma_user_reduce;
        r->args.reducer.context = &r->user;
    }

    r->repeatable = NULL != kernel && ompi_datatype_is_predefined(dtype);
    r->args.in = coll_rdma_contiguous(input, (size_t) count, dtype);
    if (NULL == r->args.in) {
        char *packed = coll_rdma_stage(module, 0, bytes);
        int ret = NULL == packed ? OMPI_ERR_OUT_OF_RESOURCE
                                 : coll_rdma_pack(input, (size_t) count, dtype, packed, bytes);

        if (OMPI_SUCCESS != ret) {
            return ret;
        }
        r->args.in = packed;
        r->repeatable = false;
    }
    if (need_out) {
        r->args.out = coll_rdma_contiguous(rbuf, (size_t) count, dtype);
        if (NULL == r->args.out) {
            r->args.out = coll_rdma_stage(module, 1, bytes);
            r->unpack = true;
            r->repeatable = false;
            if (NULL == r->args.out) {
                return OMPI_ERR_OUT_OF_RESOURCE;
            }
        }
    }
    return OMPI_SUCCESS;
}

int coll_rdma_reduction_end(coll_rdma_reduction_t *r, void *rbuf, int count, int ret)
{
    free(r->user.a);
    free(r->user.b);
    if (OMPI_SUCCESS == ret && r->unpack) {
        ret = coll_rdma_unpack(rbuf, (size_t) count, r->user.dtype, r->args.out,
                               r->args.count * r->args.elsize);
    }
    return ret;
}
