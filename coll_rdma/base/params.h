/*
 * The parameters of the component, as one plain structure that every layer may
 * read. The component registers each field as an MCA parameter (same name, prefix
 * coll_rdma_); tests set the fields directly. Values marked [agreed] are compared
 * between the ranks of a communicator when it is set up.
 */
#ifndef CRDMA_BASE_PARAMS_H
#define CRDMA_BASE_PARAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CRDMA_TRANSPORT_AUTO = 0, CRDMA_TRANSPORT_SHM, CRDMA_TRANSPORT_UCP };
enum { CRDMA_RNDV_AUTO = 0, CRDMA_RNDV_OFF, CRDMA_RNDV_READ, CRDMA_RNDV_WRITE };
enum { CRDMA_LEVELS_AUTO = 0, CRDMA_LEVELS_ON, CRDMA_LEVELS_OFF };

#define CRDMA_PARAM_NCOLLS 4

typedef struct crdma_params {
    int priority;
    int verbose;
    int transport; /* [agreed] */
    int algorithm[CRDMA_PARAM_NCOLLS]; /* crdma_alg_t by crdma_coll_t [agreed at the call] */
    int degree[CRDMA_PARAM_NCOLLS];    /* 0: choose [agreed at the call] */
    int two_level;                     /* [agreed at the call] */
    int ll_max;               /* bytes of payload [agreed] */
    int block_size;           /* bytes of payload per slot block [agreed] */
    int block_count;          /* blocks per edge, a power of two; 0: choose [agreed] */
    size_t segment_size;      /* bytes; 0: choose [agreed at the call] */
    int rendezvous;           /* CRDMA_RNDV_* [agreed] */
    size_t rendezvous_min;    /* bytes; 0: choose [agreed] */
    size_t memory_limit;      /* bytes of preregistered memory per process; 0: choose */
    int spin;                 /* polls before the processor is yielded; 0: choose */
    int check_interval;       /* ms of waiting before peers are examined */
    int timeout;              /* s of waiting before an operation fails; 0: never */
    size_t sequence_start;    /* position of the first message of an edge [agreed] */
} crdma_params_t;

extern crdma_params_t crdma_params;

/* Check values that the parameter system cannot: returns NULL, or a static sentence that names
 * the parameter and the allowed values. */
const char *crdma_params_check(const crdma_params_t *params);

#endif
