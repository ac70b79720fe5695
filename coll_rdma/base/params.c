/*
 * Defaults and validity of the parameters.
 */
#include "coll_rdma/base/params.h"

crdma_params_t crdma_params = {
    .priority = 20,
    .ll_max = 16,
    .block_size = 8192,
    .check_interval = 200,
    .sequence_start = 1,
    .gpu_min = 256 * 1024,
    .verbs_gid_index = -1,
    .verbs_timeout = 18,
    .verbs_retry_count = 7,
    .verbs_signal = 32,
    .verbs_inline = 220,
    .verbs_cache = (size_t) 1 << 30,
};

const char *crdma_params_check(const crdma_params_t *p)
{
    if (p->ll_max < 0 || p->ll_max > 4096 || 0 != p->ll_max % 4) {
        return "coll_rdma_ll_max must be a multiple of 4 from 0 to 4096 bytes";
    }
    if (p->block_size < 64 || p->block_size > (1 << 24) || 0 != p->block_size % 64) {
        return "coll_rdma_block_size must be a multiple of 64 from 64 to 16777216 bytes";
    }
    if (0 != p->block_count
        && (p->block_count < 2 || p->block_count > 1024
            || 0 != (p->block_count & (p->block_count - 1)))) {
        return "coll_rdma_block_count must be 0 (choose) or a power of two from 2 to 1024 blocks";
    }
    if (p->check_interval < 1) {
        return "coll_rdma_check_interval must be at least 1 ms";
    }
    if (p->timeout < 0) {
        return "coll_rdma_timeout must be 0 (never) or a number of seconds";
    }
    if (p->spin < 0) {
        return "coll_rdma_spin must be 0 (choose) or a number of polls";
    }
    for (int c = 0; c < CRDMA_PARAM_NCOLLS; ++c) {
        if (p->degree[c] < 0) {
            return "the coll_rdma_*_degree parameters must be 0 (choose) or a degree K >= 1";
        }
    }
    if (p->verbs_gid_index < -1 || p->verbs_gid_index > 255) {
        return "coll_rdma_verbs_gid_index must be -1 (choose) or an index from 0 to 255";
    }
    if (p->verbs_service_level < 0 || p->verbs_service_level > 15) {
        return "coll_rdma_verbs_service_level must be from 0 to 15";
    }
    if (p->verbs_traffic_class < 0 || p->verbs_traffic_class > 255) {
        return "coll_rdma_verbs_traffic_class must be from 0 to 255";
    }
    if (0 != p->verbs_path_mtu
        && (p->verbs_path_mtu < 256 || p->verbs_path_mtu > 4096
            || 0 != (p->verbs_path_mtu & (p->verbs_path_mtu - 1)))) {
        return "coll_rdma_verbs_path_mtu must be 0 (the port's), 256, 512, 1024, 2048 or 4096 bytes";
    }
    if (p->verbs_timeout < 0 || p->verbs_timeout > 31) {
        return "coll_rdma_verbs_timeout must be from 0 (for ever) to 31";
    }
    if (p->verbs_retry_count < 0 || p->verbs_retry_count > 7) {
        return "coll_rdma_verbs_retry_count must be from 0 to 7";
    }
    if (p->verbs_signal < 1 || p->verbs_signal > 256) {
        return "coll_rdma_verbs_signal must be from 1 to 256";
    }
    if (0 == p->sequence_start) {
        return "coll_rdma_sequence_start must be at least 1";
    }
    return 0;
}
