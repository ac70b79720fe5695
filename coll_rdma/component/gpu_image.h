/*
 * The image of a user's buffer: host memory with the same layout, whose address may be given to any
 * code in place of the buffer's, with the same count and datatype.
 */
#ifndef COLL_RDMA_GPU_IMAGE_H
#define COLL_RDMA_GPU_IMAGE_H

#include "coll_rdma/component/coll_rdma.h"
#include "coll_rdma/device/cuda.h"

typedef struct coll_rdma_image {
    void *buf;     /* stands for the user's buffer */
    int count;
    ompi_datatype_t *dtype;
    bool whole;    /* nothing but the user's data lies between first and last byte */
    bool packed;   /* and it is what goes over the wire */
    ptrdiff_t gap; /* bytes from the buffer's address to its first byte */
    size_t span;   /* bytes from the first to behind the last */
    crdma_cuda_stage_t *stage;
    void *map;     /* instead of a stage: sparse */
} coll_rdma_image_t;

/* An address in [buf, count x dtype) that is in GPU memory, or NULL if there is none. */
const void *coll_rdma_gpu_address(const void *buf, int count, ompi_datatype_t *dtype);

/* Without data yet. An Open MPI error, or OMPI_SUCCESS: `image` must be freed then. */
int coll_rdma_image_make(coll_rdma_image_t *image, int count, ompi_datatype_t *dtype,
                         const void *on_device);
/* Copy the data of a buffer of that count and datatype into the image, or the image's into it.
 * MPI_ERR_OTHER if the driver fails, which has been logged. Bytes between the user's data are not
 * written in his buffer. */
int coll_rdma_image_read(coll_rdma_image_t *image, const void *buf, const void *on_device);
int coll_rdma_image_write(coll_rdma_image_t *image, void *buf, const void *on_device);
void coll_rdma_image_free(coll_rdma_image_t *image);

#endif
