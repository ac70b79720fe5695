/*
 * Status codes of every layer below the component. 0 is success, errors are
 * negative, CRDMA_AGAIN is the only positive value ("not yet: call again").
 */
#ifndef CRDMA_BASE_STATUS_H
#define CRDMA_BASE_STATUS_H

typedef enum crdma_status {
    CRDMA_OK = 0,
    CRDMA_AGAIN = 1,            /* not finished yet, nothing is wrong */
    CRDMA_ERR_PARAM = -1,       /* an argument is out of range */
    CRDMA_ERR_NOMEM = -2,       /* no memory, or the memory limit is reached */
    CRDMA_ERR_UNSUPPORTED = -3, /* this generator, op or transport cannot serve the request */
    CRDMA_ERR_MISMATCH = -4,    /* ranks disagree on the call */
    CRDMA_ERR_PEER = -5,        /* a peer died or left the communicator */
    CRDMA_ERR_TIMEOUT = -6,     /* coll_rdma_timeout elapsed */
    CRDMA_ERR_TRANSPORT = -7,   /* the transport reported an error */
    CRDMA_ERR_SYSTEM = -8,      /* a system call failed, errno was logged */
    CRDMA_ERR_DEVICE = -9       /* the GPU's driver reported an error, which was logged */
} crdma_status_t;

/* A short English name, never NULL. */
const char *crdma_status_string(crdma_status_t status);

#endif
