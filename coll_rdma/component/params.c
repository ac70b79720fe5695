/*
 * The MCA parameters, as tables: name, unit, default, one sentence. Values go straight into
 * crdma_params (base/params.h).
 *
 * All but those that shape memory are read at every call, so they can be set through MPI_T; they
 * must then be set to the same value on all ranks.
 */
#include "coll_rdma/component/coll_rdma.h"

#include <stdlib.h>

#include "opal/mca/base/mca_base_var_enum.h"

char *coll_rdma_alone_components;
int coll_rdma_ranks_per_host;

typedef struct int_param {
    const char *name;
    int *value;
    int level;
    const char *help;
} int_param_t;

typedef struct size_param {
    const char *name;
    size_t *value;
    int level;
    const char *help;
} size_param_t;

typedef struct enum_param {
    const char *name;
    int *value;
    const mca_base_var_enum_value_t *values;
    const char *help;
} enum_param_t;

#define P crdma_params

static const int_param_t int_params[] = {
    {"priority", &P.priority, 1,
     "Priority of the component; below 0: never used. With an include list (--mca coll rdma) "
     "at least 90 is used"},
    {"verbose", &P.verbose, 2,
     "What to print on stderr: 0 errors only, 1 set-up and reasons for declining, 2 one line for "
     "every call on every rank"},
    {"ll_max", &P.ll_max, 5,
     "Largest message (bytes) whose words carry their own sequence number (protocol LL); two ranks of "
     "one host use slots instead unless it is above 16"},
    {"block_size", &P.block_size, 5,
     "Payload (bytes) of one preregistered block (protocol slot)"},
    {"block_count", &P.block_count, 5,
     "Preregistered blocks per pair of communicating ranks and direction, a power of two; 0: "
     "2 within a host, 8 there if ranks share processors, 16 between hosts"},
    {"spin", &P.spin, 5,
     "Polls of a waiting rank before it yields its processor at every poll; 0: chosen by whether "
     "there is a processor for every rank"},
    {"check_interval", &P.check_interval, 6,
     "Time (ms) a rank waits before it looks whether its peer disagrees, left or died"},
    {"timeout", &P.timeout, 6, "Time (s) a rank waits before a call fails; 0: for ever"},
    {"bcast_degree", &P.degree[CRDMA_BCAST], 4, "Degree K of MPI_Bcast; 0: choose"},
    {"reduce_degree", &P.degree[CRDMA_REDUCE], 4, "Degree K of MPI_Reduce; 0: choose"},
    {"allreduce_degree", &P.degree[CRDMA_ALLREDUCE], 4, "Degree K of MPI_Allreduce; 0: choose"},
    {"barrier_degree", &P.degree[CRDMA_BARRIER], 4, "Degree K of MPI_Barrier; 0: choose"},
    {"verbs_gid_index", &P.verbs_gid_index, 5,
     "Index of the address (GID) of a RoCE port; -1: choose, RoCE v2 over IPv4 first"},
    {"verbs_service_level", &P.verbs_service_level, 5, "Service level of the queue pairs, 0 .. 15"},
    {"verbs_traffic_class", &P.verbs_traffic_class, 5,
     "Traffic class of the queue pairs where packets carry a global header (RoCE), 0 .. 255"},
    {"verbs_path_mtu", &P.verbs_path_mtu, 5,
     "Path MTU (bytes) of the queue pairs: 256, 512, 1024, 2048 or 4096; 0: the port's active MTU"},
    {"verbs_timeout", &P.verbs_timeout, 5,
     "Time until an unacknowledged packet is sent again, 4.096 us * 2 to the power of this, 1 .. 31; "
     "0: never"},
    {"verbs_retry_count", &P.verbs_retry_count, 5,
     "How often a packet is sent again before the queue pair fails, 0 .. 7"},
    {"verbs_signal", &P.verbs_signal, 6,
     "Of the work requests that carry their payload (verbs_inline) one in so many asks the device for a "
     "completion, 1 .. 256"},
    {"ranks_per_host", &coll_rdma_ranks_per_host, 9,
     "For tests: treat every so many consecutive ranks as a host of their own; 0: real hosts"},
};

static const size_param_t size_params[] = {
    {"segment_size", &P.segment_size, 4,
     "Segment (bytes) into which a message is cut for pipelining; 0: choose"},
    {"rendezvous_min", &P.rendezvous_min, 4,
     "Smallest message (bytes) that goes from user buffer to user buffer; 0: choose"},
    {"stage_min", &P.stage_min, 5,
     "Smallest message (bytes) through blocks that a peer on this host reads in the sender's memory "
     "instead of blocks of its own; 0: choose"},
    {"board_max", &P.board_max, 5,
     "Largest call (bytes) that ranks of one host which share processors make through memory of "
     "one of them instead of messages; 0: any, 1: none, barriers neither"},
    {"memory_limit", &P.memory_limit, 4,
     "Preregistered memory (bytes) per process that communicators may reserve; a communicator "
     "that would exceed it is left to other components; 0: 1 GiB of address space if all ranks "
     "share a host, else 256 MiB"},
    {"net_latency", &P.net_latency, 4,
     "Latency (ns, one way) between hosts, by which algorithms are chosen; 0: measure at set-up"},
    {"net_bandwidth", &P.net_bandwidth, 4,
     "Bandwidth (MB/s) of a host's port, by which algorithms are chosen; 0: measure at set-up"},
    {"gpu_min", &P.gpu_min, 5,
     "Smallest call (bytes) on buffers in GPU memory that is done there, see gpu"},
    {"verbs_inline", &P.verbs_inline, 5,
     "Largest payload (bytes) that is copied into its work request, as far as the device allows"},
    {"verbs_cache", &P.verbs_cache, 5,
     "User buffers (bytes) that stay registered with the device for later calls; 0: none"},
    {"sequence_start", &P.sequence_start, 9,
     "For tests: sequence number of the first message between two ranks"},
};

static const mca_base_var_enum_value_t transports[] = {{CRDMA_TRANSPORT_AUTO, "auto"},
                                                       {CRDMA_TRANSPORT_SHM, "shm"},
                                                       {CRDMA_TRANSPORT_UCP, "ucp"},
                                                       {CRDMA_TRANSPORT_VERBS, "verbs"},
                                                       {0, NULL}};
static const mca_base_var_enum_value_t rendezvous[] = {{CRDMA_RNDV_AUTO, "auto"},
                                                       {CRDMA_RNDV_OFF, "off"},
                                                       {CRDMA_RNDV_READ, "read"},
                                                       {CRDMA_RNDV_WRITE, "write"},
                                                       {0, NULL}};
static const mca_base_var_enum_value_t single_copies[] = {{CRDMA_SINGLE_AUTO, "auto"},
                                                          {CRDMA_SINGLE_XPMEM, "xpmem"},
                                                          {CRDMA_SINGLE_CMA, "cma"},
                                                          {CRDMA_SINGLE_NONE, "none"},
                                                          {0, NULL}};
static const mca_base_var_enum_value_t gpu_ways[] = {{CRDMA_GPU_AUTO, "auto"},
                                                     {CRDMA_GPU_STAGED, "staged"},
                                                     {CRDMA_GPU_DIRECT, "direct"},
                                                     {0, NULL}};
static const mca_base_var_enum_value_t levels[] = {{CRDMA_LEVELS_AUTO, "auto"},
                                                   {CRDMA_LEVELS_ON, "on"},
                                                   {CRDMA_LEVELS_OFF, "off"},
                                                   {0, NULL}};
static const mca_base_var_enum_value_t bcast_algs[] = {
    {CRDMA_ALG_AUTO, "auto"},
    {CRDMA_ALG_TREE, "tree"},
    {CRDMA_ALG_CHAIN, "chain"},
    {CRDMA_ALG_SCATTER_ALLGATHER, "scatter_allgather"},
    {0, NULL}};
static const mca_base_var_enum_value_t reduce_algs[] = {{CRDMA_ALG_AUTO, "auto"},
                                                        {CRDMA_ALG_TREE, "tree"},
                                                        {CRDMA_ALG_RSAG, "rsag"},
                                                        {CRDMA_ALG_CHAIN, "chain"},
                                                        {0, NULL}};
static const mca_base_var_enum_value_t allreduce_algs[] = {{CRDMA_ALG_AUTO, "auto"},
                                                           {CRDMA_ALG_TREE, "tree"},
                                                           {CRDMA_ALG_EXCHANGE, "exchange"},
                                                           {CRDMA_ALG_RSAG, "rsag"},
                                                           {CRDMA_ALG_RING, "ring"},
                                                           {0, NULL}};
static const mca_base_var_enum_value_t barrier_algs[] = {{CRDMA_ALG_AUTO, "auto"},
                                                         {CRDMA_ALG_EXCHANGE, "exchange"},
                                                         {0, NULL}};

static const enum_param_t enum_params[] = {
    {"transport", &P.transport, transports,
     "How to reach other ranks: shm (one host only), ucp (everywhere), verbs (everywhere), auto (shm "
     "within a host, verbs between hosts if all ranks can, else ucp)"},
    {"rendezvous", &P.rendezvous, rendezvous,
     "Who copies a large message: the receiver (read), the sender (write), nobody: it goes through "
     "blocks (off); auto: both sides within a host, the sender between hosts"},
    {"single_copy", &P.single_copy, single_copies,
     "How a large message goes from user buffer to user buffer within a host: loads and stores to attached memory "
     "(xpmem), the kernel's copy between processes (cma), not at all (none); auto: xpmem if all ranks can, else cma. "
     "With xpmem too, what cannot be attached goes by cma"},
    {"gpu", &P.gpu, gpu_ways,
     "Buffers in GPU memory: copied to the host and back (staged); large calls, where ranks share a host or "
     "network adapters reach GPU memory, reduced and copied by the GPUs, from copies in GPU memory that the other ranks open (auto) or from the "
     "application's own memory (direct)"},
    {"two_level", &P.two_level, levels,
     "Node first, then across nodes: on, off, or auto (if several ranks share nodes)"},
    {"bcast_algorithm", &P.algorithm[CRDMA_BCAST], bcast_algs, "Algorithm of MPI_Bcast"},
    {"reduce_algorithm", &P.algorithm[CRDMA_REDUCE], reduce_algs, "Algorithm of MPI_Reduce"},
    {"allreduce_algorithm", &P.algorithm[CRDMA_ALLREDUCE], allreduce_algs,
     "Algorithm of MPI_Allreduce"},
    {"barrier_algorithm", &P.algorithm[CRDMA_BARRIER], barrier_algs, "Algorithm of MPI_Barrier"},
};

static char invalid[96];

/* The rules of coll_rdma_rules_file, read when the first communicator is set up. */
static crdma_rules_t *rules;
static bool rules_read;

static void read_rules(void)
{
    const char *name = crdma_params.rules_file;
    crdma_status_t status = CRDMA_ERR_SYSTEM;
    FILE *f;
    int line = 0;

    rules_read = true;
    if (NULL == name || '\0' == name[0]) {
        return;
    }
    f = fopen(name, "r");
    if (NULL != f) {
        status = crdma_rules_load(f, &rules, &line);
        fclose(f);
    }
    if (CRDMA_ERR_PARAM == status) {
        snprintf(invalid, sizeof(invalid), "coll_rdma_rules_file: line %d is wrong", line);
    } else if (CRDMA_OK != status) {
        snprintf(invalid, sizeof(invalid), "coll_rdma_rules_file cannot be read");
    }
}

const crdma_rules_t *coll_rdma_rules(void)
{
    if (!rules_read) {
        read_rules();
    }
    return rules;
}

void coll_rdma_rules_release(void)
{
    crdma_rules_free(rules);
    rules = NULL;
    rules_read = false;
}

const char *coll_rdma_params_complaint(void)
{
    (void) coll_rdma_rules();
    return '\0' != invalid[0] ? invalid : crdma_params_check(&crdma_params);
}

static void register_value(const char *name, const char *help, mca_base_var_type_t type,
                           mca_base_var_enum_t *values, int level, void *value)
{
    /* Open MPI has told the user what is wrong with the value; the default is then in force. */
    const int index = mca_base_component_var_register(&mca_coll_rdma_component.collm_version, name, help,
                                           type, values, 0, MCA_BASE_VAR_FLAG_SETTABLE,
                                           (mca_base_var_info_lvl_t) (level - 1),
                                           MCA_BASE_VAR_SCOPE_ALL, value);

    if (0 > index) {
        snprintf(invalid, sizeof(invalid), "coll_rdma_%s has an invalid value", name);
    }
}

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

int coll_rdma_register_params(void)
{
    for (size_t i = 0; i < COUNT(int_params); ++i) {
        register_value(int_params[i].name, int_params[i].help, MCA_BASE_VAR_TYPE_INT, NULL,
                       int_params[i].level, int_params[i].value);
    }
    for (size_t i = 0; i < COUNT(size_params); ++i) {
        register_value(size_params[i].name, size_params[i].help, MCA_BASE_VAR_TYPE_SIZE_T, NULL,
                       size_params[i].level, size_params[i].value);
    }
    for (size_t i = 0; i < COUNT(enum_params); ++i) {
        mca_base_var_enum_t *values = NULL;

        if (OPAL_SUCCESS
            != mca_base_var_enum_create(enum_params[i].name, enum_params[i].values, &values)) {
            return OMPI_ERR_OUT_OF_RESOURCE;
        }
        register_value(enum_params[i].name, enum_params[i].help, MCA_BASE_VAR_TYPE_INT, values, 3,
                       enum_params[i].value);
        OBJ_RELEASE(values);
    }
    coll_rdma_alone_components = "self,inter,basic,libnbc,tuned";
    register_value("verbs_device",
                   "Devices of the verbs transport, DEVICE[:PORT], separated by commas, the first active "
                   "one is used; empty: the active port nearest to the processor",
                   MCA_BASE_VAR_TYPE_STRING, NULL, 3, &P.verbs_device);
    register_value("rules_file",
                   "File of rules that say which algorithm, degree and segment serve a call "
                   "(coll_rdma_tune writes one); empty: the built-in rules",
                   MCA_BASE_VAR_TYPE_STRING, NULL, 4, &P.rules_file);
    register_value("alone_components",
                   "Components to load for what this one does not serve when it is listed alone "
                   "(--mca coll rdma)",
                   MCA_BASE_VAR_TYPE_STRING, NULL, 5, &coll_rdma_alone_components);
    return OMPI_SUCCESS;
}
