/*
 * Images of buffers in GPU memory.
 *
 * Data without gaps is one copy. A derived datatype with gaps is copied piece by piece, as Open MPI's
 * convertor lists the pieces: gaps may hold data that a kernel is working on, so they must not be
 * written. Predefined datatypes with padding (MPI_DOUBLE_INT) count as having no gaps.
 *
 * A datatype with absolute addresses (buffer MPI_BOTTOM) may describe pieces in host and GPU memory at
 * once, wide apart. Then each piece is asked for, and the image is a sparse mapping as wide as
 * the whole.
 */
#include "coll_rdma/component/gpu_image.h"

#include <sys/mman.h>

#include "ompi/datatype/ompi_datatype_internal.h"
#include "opal/datatype/opal_convertor.h"

#define SPARSE_FROM ((size_t) 1 << 20) /* a span of this and 4 times the data is not worth pinning */
enum { PIECES = 64 };

/* Calls visit(context, address, bytes) for each piece of the buffer until it returns false. */
static bool for_each_piece(const void *buf, int count, ompi_datatype_t *dtype,
                           bool (*visit)(void *context, void *piece, size_t bytes), void *context)
{
    opal_convertor_t convertor;
    struct iovec iov[PIECES];
    bool go_on = true, finished = false;

    OBJ_CONSTRUCT(&convertor, opal_convertor_t);
    if (OPAL_SUCCESS
        != opal_convertor_copy_and_prepare_for_send(ompi_mpi_local_convertor, &dtype->super,
                                                    (size_t) count, buf, 0, &convertor)) {
        OBJ_DESTRUCT(&convertor);
        return false;
    }
    while (go_on && !finished) {
        uint32_t n = PIECES;
        size_t bytes = 0;

        finished = 0 != opal_convertor_raw(&convertor, iov, &n, &bytes);
        if (0 == n && !finished) {
            go_on = false;
        }
        for (uint32_t i = 0; go_on && i < n; ++i) {
            go_on = visit(context, iov[i].iov_base, iov[i].iov_len);
        }
    }
    OBJ_DESTRUCT(&convertor);
    return go_on;
}

static bool has_no_gaps(int count, ompi_datatype_t *dtype)
{
    return ompi_datatype_is_contiguous_memory_layout(dtype, count)
           || ompi_datatype_is_predefined(dtype);
}

static bool is_elsewhere(void *context, void *piece, size_t bytes)
{
    const void **found = context;

    (void) bytes;
    if (crdma_cuda_owns(piece)) {
        *found = piece;
    }
    return NULL == *found;
}

const void *coll_rdma_gpu_address(const void *buf, int count, ompi_datatype_t *dtype)
{
    const void *found = NULL;

    if (0 == count || 0 == dtype->super.size) {
        return NULL;
    }
    if (MPI_BOTTOM == buf) {
        (void) for_each_piece(buf, count, dtype, is_elsewhere, &found);
    } else {
        ptrdiff_t gap = 0;

        (void) opal_datatype_span(&dtype->super, count, &gap);
        (void) is_elsewhere(&found, (char *) (uintptr_t) buf + gap, 1);
    }
    return found;
}

int coll_rdma_image_make(coll_rdma_image_t *image, int count, ompi_datatype_t *dtype,
                         const void *on_device)
{
    char *base;

    *image = (coll_rdma_image_t) {
        .count = count,
        .dtype = dtype,
        .whole = has_no_gaps(count, dtype),
        .packed = ompi_datatype_is_contiguous_memory_layout(dtype, count)};
    image->span = (size_t) opal_datatype_span(&dtype->super, count, &image->gap);
    if (SPARSE_FROM < image->span && image->span / 4 > dtype->super.size * (size_t) count) {
        image->map = mmap(NULL, image->span, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        base = MAP_FAILED == image->map ? NULL : image->map;
    } else {
        image->stage = crdma_cuda_stage_get(image->span, on_device);
        base = NULL == image->stage ? NULL : image->stage->data;
    }
    if (NULL == base) {
        crdma_log(CRDMA_LOG_ERROR, "no host memory for %zu bytes of GPU data", image->span);
        return OMPI_ERR_OUT_OF_RESOURCE;
    }
    image->buf = (void *) ((uintptr_t) base - (uintptr_t) image->gap);
    return OMPI_SUCCESS;
}

void coll_rdma_image_free(coll_rdma_image_t *image)
{
    if (NULL != image->stage) {
        crdma_cuda_stage_put(image->stage);
    } else {
        munmap(image->map, image->span);
    }
}

typedef struct transfer {
    uintptr_t to_image; /* from an address in the user's buffer, modulo 2^64 */
    bool write;         /* to the user */
    crdma_cuda_queue_t queue;
} transfer_t;

static bool copy_piece(void *context, void *piece, size_t bytes)
{
    transfer_t *t = context;
    void *mine = (void *) ((uintptr_t) piece + t->to_image);

    crdma_cuda_queue_copy(&t->queue, t->write ? piece : mine, t->write ? mine : piece, bytes);
    return CRDMA_OK == t->queue.status;
}

static int transfer(coll_rdma_image_t *image, const void *buf, const void *on_device, bool write)
{
    transfer_t t = {.to_image = (uintptr_t) image->buf - (uintptr_t) buf, .write = write};
    bool listed = true;

    crdma_cuda_queue_begin(&t.queue, on_device);
    if (image->whole && MPI_BOTTOM != buf) {
        (void) copy_piece(&t, (char *) (uintptr_t) buf + image->gap, image->span);
    } else {
        listed = for_each_piece(buf, image->count, image->dtype, copy_piece, &t);
    }
    return CRDMA_OK == crdma_cuda_queue_end(&t.queue) && listed ? OMPI_SUCCESS : MPI_ERR_OTHER;
}

int coll_rdma_image_read(coll_rdma_image_t *image, const void *buf, const void *on_device)
{
    return transfer(image, buf, on_device, false);
}

int coll_rdma_image_write(coll_rdma_image_t *image, void *buf, const void *on_device)
{
    return transfer(image, buf, on_device, true);
}
