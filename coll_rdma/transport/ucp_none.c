/*
 * The UCP transport of a build without UCX: nothing is available.
 */
#include "coll_rdma/transport/ucp.h"

crdma_ucp_order_t crdma_ucp_force_order = CRDMA_UCP_ORDER_AUTO;

crdma_status_t crdma_ucp_open(crdma_slab_t *slab)
{
    (void)slab;
    return CRDMA_ERR_UNSUPPORTED;
}

crdma_status_t crdma_ucp_open_wire(crdma_slab_t *slab)
{
    return crdma_ucp_open(slab);
}

void crdma_ucp_close(void)
{
}

crdma_status_t crdma_ucp_card(const void **card, size_t *len)
{
    (void)card;
    (void)len;
    return CRDMA_ERR_UNSUPPORTED;
}

crdma_status_t crdma_ucp_attach(crdma_peer_t *peer, const void *card, size_t len)
{
    (void)peer;
    (void)card;
    (void)len;
    return CRDMA_ERR_UNSUPPORTED;
}

void crdma_ucp_detach(crdma_peer_t *peer)
{
    (void)peer;
}

bool crdma_ucp_alive(const crdma_peer_t *peer)
{
    (void)peer;
    return false;
}

crdma_status_t crdma_ucp_note_send(crdma_peer_t *peer, const void *bytes, size_t len)
{
    (void)peer;
    (void)bytes;
    (void)len;
    return CRDMA_ERR_UNSUPPORTED;
}

size_t crdma_ucp_note_take(void *bytes, size_t room)
{
    (void)bytes;
    (void)room;
    return 0;
}

bool crdma_ucp_watch_memory(void)
{
    return true; /* no UCX, no hooks of UCX */
}

void crdma_ucp_unwatch_memory(void)
{
}

const crdma_transport_t *crdma_ucp_transport(void)
{
    return NULL;
}

const char *crdma_ucp_describe(void)
{
    return "built without UCX";
}
