/*
 * What a rank finds out and makes by itself when a communicator is set up: is it able, its region and card, the
 * peers on its host, its group.
 */
#include "coll_rdma/component/setup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coll_rdma/base/map.h"
#include "opal/util/proc.h"

const char coll_rdma_other_rank[] = "another rank declined";

static uint64_t mix(uint64_t hash, uint64_t value)
{
    return (hash ^ value) * 0x9e3779b97f4a7c15u;
}

static uint64_t hash_parameters(void)
{
    uint64_t hash = 1;

    hash = mix(hash, sizeof(coll_rdma_card_t));
    hash = mix(hash, (uint64_t) crdma_params.transport);
    hash = mix(hash, (uint64_t) crdma_params.ll_max);
    hash = mix(hash, (uint64_t) crdma_params.block_size);
    hash = mix(hash, (uint64_t) crdma_params.block_count);
    hash = mix(hash, (uint64_t) crdma_params.rendezvous);
    hash = mix(hash, crdma_params.rendezvous_min);
    hash = mix(hash, (uint64_t) crdma_params.single_copy);
    hash = mix(hash, crdma_params.board_max);
    hash = mix(hash, crdma_params.sequence_start);
    hash = mix(hash, crdma_params.net_latency);
    hash = mix(hash, crdma_params.net_bandwidth);
    hash = mix(hash, NULL != coll_rdma_rules() ? coll_rdma_rules()->hash : 0);
    /* Read at every call, so they may change later (on all ranks alike). */
    hash = mix(hash, (uint64_t) crdma_params.two_level);
    hash = mix(hash, crdma_params.segment_size);
    for (int c = 0; c < CRDMA_PARAM_NCOLLS; ++c) {
        hash = mix(hash, (uint64_t) crdma_params.algorithm[c]);
        hash = mix(hash, (uint64_t) crdma_params.degree[c]);
    }
    return hash;
}

void coll_rdma_setup_fail(coll_rdma_setup_t *s, const char *reason)
{
    if (s->ok) {
        s->ok = false;
        s->reason = reason;
    }
}

void coll_rdma_setup_release_peers(coll_rdma_setup_t *s)
{
    for (int r = 0; NULL != s->peers && r < s->size; ++r) {
        coll_rdma_context_release_peer(s->peers[r]);
        s->peers[r] = NULL;
    }
}

crdma_status_t coll_rdma_setup_finish(coll_rdma_setup_t *s, int remote_blocks, size_t remote_rndv_min)
{
    return crdma_group_finish(s->group,
                              &(crdma_group_config_t) {.peers = s->peers,
                                                       .regions = s->regions,
                                                       .node = s->node,
                                                       .nnodes = s->nnodes,
                                                       .cma = s->agreed.cma,
                                                        .xpmem = s->agreed.xpmem,
                                                       .gpu = s->agreed.gpu,
                                                       .oversubscribed = s->agreed.oversubscribed,
                                                       .remote_blocks = remote_blocks,
                                                       .remote_rndv_min = remote_rndv_min});
}

/* Everything but the regions, if all ranks have been set up together before. */
static bool prepare_familiar(coll_rdma_setup_t *s)
{
    if (!coll_rdma_familiar_find(&s->visit, s->parameters, s->peers, &s->agreed)) {
        return false;
    }
    s->nnodes = 1; /* and s->node is zero everywhere */
    if (CRDMA_OK != coll_rdma_setup_finish(s, 0, 0)) {
        coll_rdma_setup_fail(s, "no preregistered memory left (coll_rdma_memory_limit)");
        coll_rdma_setup_release_peers(s);
    }
    return s->ok;
}

/* Why not; the caller has just failed to get it. */
static const char *no_slab(void)
{
    static char reason[128];

    snprintf(reason, sizeof(reason), "no preregistered memory: %s", strerror(errno));
    return reason;
}

void coll_rdma_setup_prepare(coll_rdma_setup_t *s, ompi_communicator_t *comm)
{
    const size_t n = (size_t) s->size;
    const char *complaint = coll_rdma_params_complaint();
    coll_rdma_card_t *mine;
    char name[32];
    bool ready;

    s->cards = calloc(n, sizeof(*s->cards));
    s->peers = calloc(n, sizeof(*s->peers));
    s->regions = calloc(n, sizeof(*s->regions));
    s->node = calloc(n, sizeof(*s->node));
    if (NULL == s->cards || NULL == s->peers || NULL == s->regions || NULL == s->node) {
        return;
    }
    s->ok = true;
    if (NULL != complaint) {
        coll_rdma_setup_fail(s, complaint);
    } else if (CRDMA_OK != coll_rdma_context_slab(&s->slab)) {
        coll_rdma_setup_fail(s, no_slab());
    } else {
        snprintf(name, sizeof(name), "cid %u", coll_rdma_cid(comm));
        if (CRDMA_OK != crdma_group_begin(s->slab, s->rank, s->size, name, &s->group)) {
            coll_rdma_setup_fail(s, "no preregistered memory left (coll_rdma_memory_limit)");
        }
    }
    mine = &s->cards[s->rank];
    s->parameters = hash_parameters();
    coll_rdma_familiar_begin(&s->visit, comm, s->slab);
    s->visiting = true;
    ready = s->ok && prepare_familiar(s);
    coll_rdma_familiar_leave_word(&s->visit, ready ? s->group->region_addr : 0);
    mine->doors = coll_rdma_familiar_doors(&s->visit);
    if (s->ok) {
        crdma_shm_card_fill(s->slab, &mine->shm);
        if (0 != mine->shm.segment) {
            coll_rdma_memory_watch(); /* attachments are kept only if somebody tells what goes */
        }
        mine->region = s->group->region_addr;
    }
    if (0 < coll_rdma_ranks_per_host) {
        mine->shm.host = mix(mine->shm.host, 1 + (uint64_t) (s->rank / coll_rdma_ranks_per_host));
    }
    mine->parameters = s->parameters;
    mine->ok = s->ok;
}

long coll_rdma_setup_ranks_here(const coll_rdma_setup_t *s)
{
    long here = 0;

    for (int r = 0; r < s->size; ++r) {
        here += s->cards[r].shm.machine == s->cards[s->rank].shm.machine;
    }
    return here;
}

/* Those of the job that the launcher put on this host count too. */
bool coll_rdma_setup_is_oversubscribed(const coll_rdma_setup_t *s)
{
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);

    return 0 < processors
           && (coll_rdma_setup_ranks_here(s) > processors
               || (long) opal_process_info.num_local_peers + 1 > processors);
}

/* Step 2 of setup.c and the local half of 3. */
void coll_rdma_setup_attach(coll_rdma_setup_t *s)
{
    const coll_rdma_card_t *mine = &s->cards[s->rank];

    s->shm_ok = true;
    s->agreed.cma = CRDMA_SINGLE_NONE != crdma_params.single_copy;
    s->agreed.xpmem = CRDMA_SINGLE_AUTO == crdma_params.single_copy
                      || CRDMA_SINGLE_XPMEM == crdma_params.single_copy;
    if (CRDMA_OK != crdma_map_number(&s->cards[0].shm.host, sizeof(s->cards[0]), s->size, s->node,
                                     &s->nnodes)) {
        coll_rdma_setup_fail(s, "no memory");
        return;
    }
    for (int r = 0; r < s->size; ++r) {
        const coll_rdma_card_t *card = &s->cards[r];

        if (!card->ok) {
            coll_rdma_setup_fail(s, coll_rdma_other_rank);
            return;
        }
        if (card->parameters != mine->parameters) {
            coll_rdma_setup_fail(s, "ranks have different values of coll_rdma parameters");
            return;
        }
        s->regions[r] = card->region;
        if (r == s->rank) {
            continue;
        }
        if (card->shm.host != mine->shm.host || CRDMA_TRANSPORT_UCP == crdma_params.transport
            || CRDMA_TRANSPORT_VERBS == crdma_params.transport) {
            s->need_remote = true;
        } else if (CRDMA_OK != coll_rdma_context_direct_peer(card, &s->peers[r])) {
            s->shm_ok = false;
        } else {
            s->agreed.cma = s->agreed.cma && s->peers[r]->cma;
            s->agreed.xpmem = s->agreed.xpmem && NULL != s->peers[r]->xpmem;
        }
    }
    if (s->need_remote && CRDMA_TRANSPORT_SHM == crdma_params.transport) {
        coll_rdma_setup_fail(s, "ranks are on several hosts and coll_rdma_transport is shm");
    }
    if (!s->shm_ok && CRDMA_TRANSPORT_SHM == crdma_params.transport) {
        coll_rdma_setup_fail(s, "the memory of a rank on this host cannot be mapped");
    }
}
