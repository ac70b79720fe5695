/*
 * Which device, port and address (GID) this process uses.
 *
 * The user's list (coll_rdma_verbs_device), first active port first; else of all active ports the best
 * by: InfiniBand before Ethernet (a network for storage beside one for messages), near to the
 * processors this process may run on, rate, order of names.
 *
 * InfiniBand addresses a port of the subnet by its LID. RoCE puts packets into UDP over IP (version
 * 2), so the address is the GID made from an IP address: IPv4 first, because it is what
 * administrators route; then a routable IPv6 one, then the link-local one, then version 1, which is not
 * routed at all.
 */
#define _GNU_SOURCE
#include "coll_rdma/transport/verbs_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coll_rdma/base/log.h"
#include "coll_rdma/base/params.h"

/* What a process that did not ask for verbs need not hear: it uses UCX. */
static int asked_level(void)
{
    const bool asked = CRDMA_TRANSPORT_VERBS == crdma_params.transport ||
                       (NULL != crdma_params.verbs_device && '\0' != crdma_params.verbs_device[0]);

    return asked ? CRDMA_LOG_ERROR : CRDMA_LOG_SETUP;
}

static bool is_usable(struct ibv_device *device)
{
    return IBV_NODE_CA == device->node_type && IBV_TRANSPORT_IB == device->transport_type;
}

/* Are the processors of this process among those of the device? Unknown: yes. */
static bool is_near(const char *device)
{
    char path[256], *text = NULL, *rest, *word;
    bool near = true;
    size_t room = 0;
    cpu_set_t mine;
    FILE *file;

    snprintf(path, sizeof(path), "/sys/class/infiniband/%s/device/local_cpulist", device);
    file = fopen(path, "r");
    if (NULL == file) {
        return true;
    }
    if (0 < getline(&text, &room, file) && '\n' != text[0] &&
        0 == sched_getaffinity(0, sizeof(mine), &mine)) {
        near = false;
        for (word = strtok_r(text, ",\n", &rest); NULL != word;
             word = strtok_r(NULL, ",\n", &rest)) {
            int first = 0, last = 0;
            const int n = sscanf(word, "%d-%d", &first, &last);

            for (int cpu = first; 1 <= n && cpu <= (2 == n ? last : first); ++cpu) {
                near |= 0 <= cpu && CPU_SETSIZE > cpu && CPU_ISSET(cpu, &mine);
            }
        }
    }
    free(text);
    fclose(file);
    return near;
}

/* Larger is better; ties go to the first. */
static unsigned score(const char *device, const struct ibv_port_attr *attr)
{
    static const unsigned lanes[] = {[1] = 1, [2] = 4, [4] = 8, [8] = 12, [16] = 2};
    const unsigned width = attr->active_width < sizeof(lanes) / sizeof(lanes[0])
                               ? lanes[attr->active_width]
                               : 1;
    const unsigned rate = attr->active_speed * width; /* grows with the rate, no more */

    return (IBV_LINK_LAYER_INFINIBAND == attr->link_layer ? 1u << 30 : 0) |
           (is_near(device) ? 1u << 29 : 0) | (rate & ((1u << 29) - 1));
}

typedef struct candidate {
    struct ibv_device *device;
    int port;
    unsigned score;
} candidate_t;

/* libibverbs says "no such file" whatever it is. */
static void report_closed(struct ibv_device *device)
{
    int error = errno;
    char file[64];

    snprintf(file, sizeof(file), "/dev/infiniband/%.32s", device->dev_name);
    if (0 != access(file, R_OK | W_OK)) {
        error = errno;
    }
    crdma_log(CRDMA_LOG_ERROR, "verbs: device %s cannot be opened: %s: %s (this process needs to read and "
              "write that file)", ibv_get_device_name(device), file, strerror(error));
}

/* The active ports among `wanted` (DEVICE or DEVICE:PORT; NULL: all), the best one in *best. */
static int count_active(struct ibv_device **devices, const char *wanted, candidate_t *best,
                        int *inactive)
{
    int active = 0;

    for (struct ibv_device **d = devices; NULL != *d; ++d) {
        const char *name = ibv_get_device_name(*d);
        const size_t n = strlen(name);
        struct ibv_device_attr device;
        struct ibv_context *context;

        if (!is_usable(*d) ||
            (NULL != wanted && (0 != strncmp(wanted, name, n) ||
                                ('\0' != wanted[n] && ':' != wanted[n])))) {
            continue;
        }
        context = ibv_open_device(*d);
        if (NULL == context) {
            report_closed(*d);
            ++*inactive;
            continue;
        }
        if (0 != ibv_query_device(context, &device)) {
            device.phys_port_cnt = 0;
        }
        for (int p = 1; p <= device.phys_port_cnt; ++p) {
            struct ibv_port_attr attr;
            unsigned s;

            if ((NULL != wanted && ':' == wanted[n] && p != atoi(wanted + n + 1)) ||
                0 != ibv_query_port(context, (uint8_t)p, &attr)) {
                continue;
            }
            if (IBV_PORT_ACTIVE != attr.state) {
                crdma_log(asked_level(), "verbs: port %s:%d is not active but %s", name, p,
                          ibv_port_state_str(attr.state));
                ++*inactive;
                continue;
            }
            s = score(name, &attr);
            if (0 == active++ || s > best->score) {
                *best = (candidate_t){.device = *d, .port = p, .score = s};
            }
        }
        ibv_close_device(context);
    }
    return active;
}

static crdma_status_t choose(struct ibv_device **devices, candidate_t *best)
{
    const char *list = crdma_params.verbs_device;
    char copy[1024], *word, *rest;
    int inactive = 0;

    if (NULL == list || '\0' == list[0]) {
        if (0 < count_active(devices, NULL, best, &inactive)) {
            return CRDMA_OK;
        }
        if (0 == inactive) {
            crdma_log(asked_level(), "verbs: there is no InfiniBand or RoCE device");
            return CRDMA_ERR_UNSUPPORTED;
        }
        return CRDMA_ERR_TRANSPORT; /* each port has its line */
    }
    snprintf(copy, sizeof(copy), "%s", list);
    for (word = strtok_r(copy, ", ", &rest); NULL != word; word = strtok_r(NULL, ", ", &rest)) {
        if (0 < count_active(devices, word, best, &inactive)) {
            return CRDMA_OK;
        }
    }
    copy[0] = '\0';
    for (struct ibv_device **d = devices; NULL != *d; ++d) {
        const size_t used = strlen(copy);

        snprintf(copy + used, sizeof(copy) - used, " %s", ibv_get_device_name(*d));
    }
    crdma_log(CRDMA_LOG_ERROR, "verbs: no active port in coll_rdma_verbs_device=%s (devices here:%s)",
              list, '\0' == copy[0] ? " none" : copy);
    return CRDMA_ERR_TRANSPORT;
}

static bool is_ipv4(const union ibv_gid *gid)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

    return 0 == memcmp(gid->raw, mapped, sizeof(mapped));
}

static int gid_rank(const struct ibv_gid_entry *entry)
{
    if (IBV_GID_TYPE_ROCE_V2 != entry->gid_type) {
        return 1;
    }
    return is_ipv4(&entry->gid) ? 4 : 0xfe == entry->gid.raw[0] ? 2 : 3;
}

static crdma_status_t choose_gid(crdma_verbs_port_t *port)
{
    const int wanted = crdma_params.verbs_gid_index;
    int best = 0;

    for (int i = 0; i < port->attr.gid_tbl_len; ++i) {
        struct ibv_gid_entry entry;

        if ((0 <= wanted && i != wanted) ||
            0 != ibv_query_gid_ex(port->context, port->number, (uint32_t)i, &entry, 0)) {
            continue;
        }
        if (gid_rank(&entry) > best) {
            best = gid_rank(&entry);
            port->gid_index = i;
            port->gid = entry.gid;
            port->gid_type = entry.gid_type;
        }
    }
    if (0 < best) {
        return CRDMA_OK;
    }
    if (0 <= wanted) {
        crdma_log(CRDMA_LOG_ERROR, "verbs: port %s has no address (GID) with index %d", port->name,
                  wanted);
    } else {
        crdma_log(CRDMA_LOG_ERROR,
                  "verbs: port %s has no address (GID): its network interface needs an IP address",
                  port->name);
    }
    return CRDMA_ERR_TRANSPORT;
}

static crdma_status_t set_address(crdma_verbs_port_t *port)
{
    port->global = IBV_LINK_LAYER_ETHERNET == port->attr.link_layer;
    port->mtu = port->attr.active_mtu;
    for (int mtu = IBV_MTU_256; 0 != crdma_params.verbs_path_mtu && mtu <= (int)port->mtu; ++mtu) {
        if (128 << mtu == crdma_params.verbs_path_mtu) {
            port->mtu = (enum ibv_mtu)mtu;
        }
    }
    if (port->global) {
        return choose_gid(port);
    }
    port->gid_index = 0;
    if (0 != ibv_query_gid(port->context, port->number, 0, &port->gid)) {
        crdma_log(CRDMA_LOG_ERROR, "verbs: the address (GID) of port %s cannot be read: %s", port->name,
                  strerror(errno));
        return CRDMA_ERR_TRANSPORT;
    }
    return CRDMA_OK;
}

crdma_status_t crdma_verbs_port_open(crdma_verbs_port_t *port)
{
    crdma_status_t rc;
    candidate_t best;
    struct ibv_device **devices;
    int n = 0;

    /* Before anything is registered: pages that a device uses stay ours when the application forks.
     * Newer kernels see to that themselves, and it may be too late or not possible. */
    n = ibv_fork_init();
    if (0 != n) {
        crdma_log(CRDMA_LOG_SETUP, "verbs: ibv_fork_init: %s", strerror(n));
    }
    devices = ibv_get_device_list(&n);
    if (NULL == devices || 0 == n) {
        crdma_log(asked_level(), "verbs: there is no InfiniBand or RoCE device%s%s",
                  NULL == devices ? ": " : "", NULL == devices ? strerror(errno) : "");
        if (NULL != devices) {
            ibv_free_device_list(devices);
        }
        return CRDMA_ERR_UNSUPPORTED;
    }
    memset(port, 0, sizeof(*port));
    rc = choose(devices, &best);
    if (CRDMA_OK == rc) {
        snprintf(port->name, sizeof(port->name), "%s:%d", ibv_get_device_name(best.device),
                 best.port);
        port->number = (uint8_t)best.port;
        port->context = ibv_open_device(best.device);
        if (NULL == port->context || 0 != ibv_query_device(port->context, &port->device) ||
            0 != ibv_query_port(port->context, port->number, &port->attr)) {
            crdma_log(CRDMA_LOG_ERROR, "verbs: port %s cannot be used: %s", port->name,
                      strerror(errno));
            rc = CRDMA_ERR_TRANSPORT;
        } else {
            rc = set_address(port);
        }
    }
    if (CRDMA_OK == rc) {
        (void)fcntl(port->context->async_fd, F_SETFL,
                    fcntl(port->context->async_fd, F_GETFL) | O_NONBLOCK);
    } else {
        crdma_verbs_port_close(port);
    }
    ibv_free_device_list(devices);
    return rc;
}

void crdma_verbs_port_close(crdma_verbs_port_t *port)
{
    if (NULL != port->context) {
        ibv_close_device(port->context);
        port->context = NULL;
    }
}

void crdma_verbs_port_look(crdma_verbs_port_t *port)
{
    struct ibv_async_event event;

    while (0 == ibv_get_async_event(port->context, &event)) {
        const char *what = ibv_event_type_str(event.event_type);
        crdma_verbs_endpoint_t *e = NULL;

        switch (event.event_type) {
        case IBV_EVENT_QP_FATAL:
        case IBV_EVENT_QP_REQ_ERR:
        case IBV_EVENT_QP_ACCESS_ERR:
            e = event.element.qp->qp_context;
            break;
        case IBV_EVENT_CQ_ERR:
            e = event.element.cq->cq_context;
            break;
        case IBV_EVENT_PORT_ERR: /* it may come back; if not, what is under way fails */
        case IBV_EVENT_PORT_ACTIVE:
            if (port->number == event.element.port_num) {
                crdma_log(CRDMA_LOG_ERROR, "verbs: port %s: %s", port->name, what);
            }
            break;
        default:
            crdma_log(CRDMA_LOG_SETUP, "verbs: %s: %s", port->name, what);
        }
        ibv_ack_async_event(&event); /* a queue pair can be destroyed only after that */
        if (IBV_EVENT_DEVICE_FATAL == event.event_type) {
            for (e = crdma_verbs_state.endpoints; NULL != e; e = e->next) {
                crdma_verbs_endpoint_fail(e, what);
            }
        } else if (NULL != e) {
            crdma_verbs_endpoint_fail(e, what);
        }
    }
}

const char *crdma_verbs_port_address(const crdma_verbs_port_t *port, char *text, size_t size)
{
    char ip[INET6_ADDRSTRLEN] = "";

    if (!port->global) {
        snprintf(text, size, "InfiniBand, LID %u", port->attr.lid);
        return text;
    }
    if (is_ipv4(&port->gid)) {
        inet_ntop(AF_INET, port->gid.raw + 12, ip, sizeof(ip));
    } else {
        inet_ntop(AF_INET6, port->gid.raw, ip, sizeof(ip));
    }
    snprintf(text, size, "RoCE v%d, %s", IBV_GID_TYPE_ROCE_V2 == port->gid_type ? 2 : 1, ip);
    return text;
}

bool crdma_verbs_port_name(int i, char *name, size_t size)
{
    struct ibv_device **devices = ibv_get_device_list(NULL);
    bool found = false;

    for (struct ibv_device **d = devices; NULL != devices && NULL != *d && !found; ++d) {
        struct ibv_context *context = is_usable(*d) ? ibv_open_device(*d) : NULL;
        struct ibv_device_attr device = {.phys_port_cnt = 0};
        struct ibv_port_attr attr;

        if (NULL == context) {
            continue;
        }
        (void)ibv_query_device(context, &device);
        for (int p = 1; p <= device.phys_port_cnt && !found; ++p) {
            if (0 == ibv_query_port(context, (uint8_t)p, &attr) && IBV_PORT_ACTIVE == attr.state) {
                found = 0 == i--;
                snprintf(name, size, "%s:%d", ibv_get_device_name(*d), p);
            }
        }
        ibv_close_device(context);
    }
    if (NULL != devices) {
        ibv_free_device_list(devices);
    }
    return found;
}
