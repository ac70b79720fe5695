/*
 * One write(2) per line, so that lines of different ranks do not mix.
 */
#include "coll_rdma/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "coll_rdma/base/params.h"

void crdma_log(int level, const char *format, ...)
{
    static const char prefix[] = "coll_rdma: ";
    char line[1024];
    size_t used = sizeof(prefix) - 1;
    va_list args;
    int n;

    if (level > crdma_params.verbose) {
        return;
    }
    memcpy(line, prefix, used);
    va_start(args, format);
    n = vsnprintf(line + used, sizeof(line) - used - 1, format, args);
    va_end(args);
    if (0 > n) {
        return;
    }
    used += (size_t) n < sizeof(line) - used - 1 ? (size_t) n : sizeof(line) - used - 2;
    line[used++] = '\n';
    if (0 > write(STDERR_FILENO, line, used)) {
        return; /* nobody left to tell */
    }
}
