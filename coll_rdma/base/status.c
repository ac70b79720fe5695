/* Names of the status codes, for log lines and test output. */
#include "coll_rdma/base/status.h"

const char *crdma_status_string(crdma_status_t status)
{
    switch (status) {
    case CRDMA_OK:
        return "ok";
    case CRDMA_AGAIN:
        return "not finished yet";
    case CRDMA_ERR_PARAM:
        return "invalid argument";
    case CRDMA_ERR_NOMEM:
        return "out of memory";
    case CRDMA_ERR_UNSUPPORTED:
        return "not supported";
    case CRDMA_ERR_MISMATCH:
        return "ranks disagree on the call";
    case CRDMA_ERR_PEER:
        return "peer failed";
    case CRDMA_ERR_TIMEOUT:
        return "timed out";
    case CRDMA_ERR_TRANSPORT:
        return "transport error";
    case CRDMA_ERR_SYSTEM:
        return "system call failed";
    case CRDMA_ERR_DEVICE:
        return "GPU driver error";
    }
    return "unknown status";
}
