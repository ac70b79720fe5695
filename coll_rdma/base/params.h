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

enum { CRDMA_TRANSPORT_AUTO = 0, CRDMA_TRANSPORT_SHM, CRDMA_TRANSPORT_UCP, CRDMA_TRANSPORT_VERBS };
enum { CRDMA_RNDV_AUTO = 0, CRDMA_RNDV_OFF, CRDMA_RNDV_READ, CRDMA_RNDV_WRITE };
enum { CRDMA_SINGLE_AUTO = 0, CRDMA_SINGLE_XPMEM, CRDMA_SINGLE_CMA, CRDMA_SINGLE_NONE };
enum { CRDMA_GPU_AUTO = 0, CRDMA_GPU_STAGED, CRDMA_GPU_DIRECT };
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
    int single_copy;          /* CRDMA_SINGLE_*, within a host [agreed] */
    size_t stage_min;         /* bytes of a message; 0: choose (protocol/stage.h) */
    size_t board_max;         /* bytes of a call; 0: any, 1: none (protocol/board.h) [agreed] */
    size_t memory_limit;      /* bytes of preregistered memory per process; 0: choose */
    size_t net_latency;       /* ns, one way, between hosts; 0: measure [agreed] */
    size_t net_bandwidth;     /* MB/s of a port; 0: measure [agreed] */
    char *rules_file;         /* NULL or empty: none [agreed: its contents] */
    int gpu;                  /* CRDMA_GPU_*, each rank its own */
    size_t gpu_min;           /* bytes of a call from which it stays in GPU memory, each rank its own */
    int spin;                 /* polls before the processor is yielded; 0: choose */
    int check_interval;       /* ms of waiting before peers are examined */
    int timeout;              /* s of waiting before an operation fails; 0: never */
    size_t sequence_start;    /* position of the first message of an edge [agreed] */

    /* transport/verbs, each rank its own */
    char *verbs_device;      /* DEVICE[:PORT],...; NULL or empty: the nearest active port */
    int verbs_gid_index;     /* -1: choose (RoCE v2 with an IPv4 address first) */
    int verbs_service_level; /* 0 .. 15 */
    int verbs_traffic_class; /* 0 .. 255 */
    int verbs_path_mtu;      /* bytes; 0: the port's active MTU */
    int verbs_timeout;       /* exponent: 4.096 us * 2^timeout until a packet is sent again */
    int verbs_retry_count;   /* 0 .. 7 */
    int verbs_signal;        /* one copied work request in so many asks for a completion */
    size_t verbs_inline;     /* largest payload (bytes) that is copied into the work request */
    size_t verbs_cache;      /* bytes of user buffers that stay registered for later calls */
} crdma_params_t;

extern crdma_params_t crdma_params;

/* Check values that the parameter system cannot: returns NULL, or a static sentence that names
 * the parameter and the allowed values. */
const char *crdma_params_check(const crdma_params_t *params);

#endif
