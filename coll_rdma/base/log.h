/*
 * Messages to stderr, one complete line per call, prefixed "coll_rdma: ".
 * Level 0 is always printed: use it for errors that the user must see.
 */
#ifndef CRDMA_BASE_LOG_H
#define CRDMA_BASE_LOG_H

enum { CRDMA_LOG_ERROR = 0, CRDMA_LOG_SETUP = 1, CRDMA_LOG_CALL = 2 };

/* Print if crdma_params.verbose >= level. A newline is added. */
void crdma_log(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
