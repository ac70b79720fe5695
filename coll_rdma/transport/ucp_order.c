/*
 * How a flag stays behind its payload, by UCX version.
 *
 * UCX has two ways to serve a put, and they order differently:
 *
 * - Protocols v1 (default up to 1.15, complete up to 1.21). A key resolves to exactly one lane of
 * the endpoint: one with real remote writes or, if the transport has none, the lane of active
 *   messages, on which short and fragmented puts are sent, and stored by the target, in order.
 *   Two puts with the same memory domains share a lane, and what that lane needs between them
 *   is what ucp_worker_fence asks of it (InfiniBand: a fence bit, and a key without relaxed
 *   ordering for the second put; tcp and shared memory: nothing). The weak fence is right.
 * - Protocols v2 (complete since 1.14, default since 1.16, the only ones since 1.22) pick lane and
 * protocol by size. A long payload may go by a bulk lane (another rail, tcp's own put, a copy by
 * the kernel) while the flag goes by another. Nothing orders lanes, and a weak fence does not
 * either. UCX's "auto" fence is then strong: it blocks until all endpoints are flushed. Since 1.19
 *   there is "ep_based": UCX remembers the lanes in use per endpoint and blocks only if the
 *   next put would go by another one.
 *
 * Hence the table. Where v1 still serves and the user has not asked for v2, we take v1: its weak
 * fence costs nothing and never blocks. Whatever the table cannot arrange (an option is missing,
 * the user wants v2 on a version without ep_based) ends at FLUSH, which is right everywhere: the
 * flag is put when the flush of the payload has completed, and nothing blocks meanwhile.
 *
 * FENCE_MODE is always ours, because the protocol relies on it. So is PROTO_ENABLE where the other
 * protocols do not serve: 1.12 crashes in a rendezvous by v2, 1.13 aborts when a peer is lost, and
 * since 1.22 every put by v1 is refused. Every other UCX_* variable of the user counts.
 *
 * UCX 1.12 needs PROTO_INDIRECT_ID=y as well. Its "auto" gives an endpoint an indirect id if error
 * handling was asked for when the endpoint was made; but when the peer's connection comes first,
 * UCX makes it without, and our own call finds it. A put that arrives after such an endpoint was
 * closed is then answered over the closed endpoint, and UCX aborts ("unexpected error: Endpoint
 * timeout").
 *
 * doc/decisions.md says which versions were run.
 */
#include "coll_rdma/transport/ucp_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "coll_rdma/base/log.h"

enum { V1 = 0, V2 = 1 };

static const struct version_row {
    unsigned minor; /* UCX 1.minor and later, until the next row */
    int wanted;     /* the protocols that we ask for */
    bool only;      /* the others do not serve: the user's wish for them does not count */
    crdma_ucp_order_t order[2]; /* by the protocols that run */
    const char *fence_mode[2];  /* value of FENCE_MODE, NULL: this version has no such option */
    const char *indirect;       /* value of PROTO_INDIRECT_ID, NULL: its default is right */
} versions[] = {
    {12, V1, true, {CRDMA_UCP_ORDER_WEAK, CRDMA_UCP_ORDER_FLUSH}, {NULL, NULL}, "y"},
    {13, V1, true, {CRDMA_UCP_ORDER_WEAK, CRDMA_UCP_ORDER_FLUSH}, {NULL, NULL}, NULL},
    {14, V1, false, {CRDMA_UCP_ORDER_WEAK, CRDMA_UCP_ORDER_FLUSH}, {"weak", "weak"}, NULL},
    {19, V2, false, {CRDMA_UCP_ORDER_WEAK, CRDMA_UCP_ORDER_EP_BASED}, {"weak", "ep_based"}, NULL},
    {22, V2, true, {CRDMA_UCP_ORDER_FLUSH, CRDMA_UCP_ORDER_EP_BASED}, {"weak", "ep_based"}, NULL},
};

const char *crdma_ucp_order_name(crdma_ucp_order_t order)
{
    static const char *const names[] = {"auto",    "weak", "flush",   "ep_based",
                                        "message", "none", "reversed"};

    return names[order];
}

static const struct version_row *find_row(unsigned major, unsigned minor)
{
    const struct version_row *row = NULL;

    for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); ++i) {
        if (1 < major || versions[i].minor <= minor) {
            row = &versions[i];
        }
    }
    return row;
}

/* The value of an option as UCX has read it from its file and the environment. */
void crdma_ucp_option_get(const ucp_config_t *config, const char *name, char *value, size_t size)
{
    char *text = NULL, *line, *rest;
    size_t length = 0;
    FILE *stream = open_memstream(&text, &length);

    value[0] = '\0';
    if (NULL == stream) {
        return;
    }
    ucp_config_print(config, stream, NULL, UCS_CONFIG_PRINT_CONFIG);
    fclose(stream);
    for (line = strtok_r(text, "\n", &rest); NULL != line; line = strtok_r(NULL, "\n", &rest)) {
        size_t n = strlen(name);

        if (0 == strncmp(line, "UCX_", 4) && 0 == strncmp(line + 4, name, n) &&
            '=' == line[4 + n]) {
            snprintf(value, size, "%s", line + 5 + n);
            break;
        }
    }
    free(text);
}

bool crdma_ucp_option_set(ucp_config_t *config, const char *name, const char *value)
{
    ucs_status_t status = ucp_config_modify(config, name, value);

    if (UCS_OK != status) {
        crdma_log(CRDMA_LOG_SETUP, "UCX does not take %s=%s: %s", name, value,
                  ucs_status_string(status));
    }
    return UCS_OK == status;
}

/* Does the user's list of transports include `name`, directly or by one of its groups? */
static bool transport_listed(const char *list, const char *name)
{
    static const char *const groups[] = {"all", "sm", "shm", "mm"};
    bool negated = '^' == list[0];
    char copy[512], *word, *rest;
    bool found = false;

    if ('\0' == list[0]) {
        return true;
    }
    snprintf(copy, sizeof(copy), "%s", negated ? list + 1 : list);
    for (word = strtok_r(copy, ",", &rest); NULL != word; word = strtok_r(NULL, ",", &rest)) {
        found |= 0 == strcmp(word, name);
        for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); ++i) {
            found |= 0 == strcmp(word, groups[i]);
        }
    }
    return found != negated;
}

/* An endpoint with error handling uses a transport only if that claims to report a dead peer;
 * shared memory does when told to. (UCX offers the value to every transport, and complains if
 * none has such an option: hence the look at the list.) */
static void allow_shared_memory(ucp_config_t *config)
{
    char list[512];

    crdma_ucp_option_get(config, "TLS", list, sizeof(list));
    if (transport_listed(list, "posix") || transport_listed(list, "sysv") ||
        transport_listed(list, "xpmem")) {
        (void)crdma_ucp_option_set(config, "MM_ERROR_HANDLING", "y");
    }
}

/* The protocols that UCX will run with this configuration. */
static int protocols_set(const ucp_config_t *config)
{
    char value[16];

    crdma_ucp_option_get(config, "PROTO_ENABLE", value, sizeof(value));
    return 0 == strcasecmp(value, "n") || 0 == strcasecmp(value, "no") || 0 == strcmp(value, "0") ||
                   0 == strcasecmp(value, "off")
               ? V1
               : V2;
}

crdma_status_t crdma_ucp_order_configure(ucp_config_t *config, unsigned major, unsigned minor,
                                         crdma_ucp_order_t *order, int *protocols)
{
    const struct version_row *row = find_row(major, minor);
    crdma_ucp_order_t forced = crdma_ucp_force_order;
    const bool asked = NULL != getenv("UCX_PROTO_ENABLE");
    int which;

    if (NULL == row) {
        return CRDMA_ERR_UNSUPPORTED;
    }
    if (NULL != row->indirect && NULL == getenv("UCX_PROTO_INDIRECT_ID")) {
        (void)crdma_ucp_option_set(config, "PROTO_INDIRECT_ID", row->indirect);
    }
    which = protocols_set(config);
    if (which != row->wanted && (row->only || !asked)) {
        (void)crdma_ucp_option_set(config, "PROTO_ENABLE", V1 == row->wanted ? "n" : "y");
        which = protocols_set(config);
    }
    *protocols = V1 == which ? 1 : 2;
    *order = row->order[which];

    if (CRDMA_UCP_ORDER_EP_BASED == forced && CRDMA_UCP_ORDER_EP_BASED != *order) {
        return CRDMA_ERR_UNSUPPORTED;
    }
    if (CRDMA_UCP_ORDER_AUTO != forced && CRDMA_UCP_ORDER_MESSAGE != forced) {
        *order = forced;
    }
    if (NULL != row->fence_mode[which]) {
        const char *mode = CRDMA_UCP_ORDER_EP_BASED == *order ? "ep_based" : "weak";

        if (!crdma_ucp_option_set(config, "FENCE_MODE", mode)) {
            *order = CRDMA_UCP_ORDER_FLUSH;
        }
    }
    allow_shared_memory(config);
    return CRDMA_OK;
}
