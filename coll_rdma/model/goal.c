/* Writing GOAL; see goal.h. */
#include "coll_rdma/model/goal.h"

#include "coll_rdma/model/cost.h"

typedef struct goal {
    FILE *to;
    const crdma_model_job_t *job;
    const crdma_model_machine_t *machine;
    const crdma_model_call_t *call;
    crdma_cut_t cut;
    long label; /* of the last operation, 0: none */
} goal_t;

static void requires(const goal_t *g, long label, long after)
{
    if (0 < after) {
        fprintf(g->to, "l%ld requires l%ld\n", label, after);
    }
}

static int level_of(const goal_t *g, int32_t edge)
{
    const crdma_model_edge_t *e = &g->job->edges[edge];

    return crdma_model_node(&g->job->what, e->from) == crdma_model_node(&g->job->what, e->to)
               ? CRDMA_MODEL_INSIDE
               : CRDMA_MODEL_BETWEEN;
}

static void calc(goal_t *g, double ns)
{
    fprintf(g->to, "l%ld: calc %.0f\n", ++g->label, ns);
}

static void sends(goal_t *g, const crdma_step_t *step, const int32_t *edges, int64_t seg)
{
    for (int i = 0; i < step->npeers; ++i) {
        const size_t bytes = crdma_cut_length(&g->cut, seg, step->src_block + i * step->stride,
                                              step->nblocks);

        fprintf(g->to, "l%ld: send %zub to %d tag 0\n", g->label + 1, 0 == bytes ? 1 : bytes,
                g->job->edges[edges[i]].to);
        ++g->label;
        requires(g, g->label, g->label - 1);
    }
}

static void receives(goal_t *g, const crdma_step_t *step, const int32_t *edges, int64_t seg)
{
    const long before = g->label;
    double ns = 0;

    for (int i = 0; i < step->npeers; ++i) {
        if (CRDMA_SELF == edges[i]) {
            continue;
        }
        const size_t bytes = crdma_cut_length(&g->cut, seg, step->dst_block + i * step->stride,
                                              step->nblocks);
        crdma_model_message_t m;

        crdma_model_message_cost(g->machine, level_of(g, edges[i]), g->call->send_receive, bytes,
                                 &m);
        ns += m.notify_all
              + (CRDMA_STEP_REDUCE == step->kind ? g->machine->reduce * (double) bytes
                                                 : m.copy_all);
        fprintf(g->to, "l%ld: recv %zub from %d tag 0\n", ++g->label, 0 == bytes ? 1 : bytes,
                g->job->edges[edges[i]].from);
        requires(g, g->label, before);
    }
    const long last = g->label;

    calc(g, ns);
    for (long label = before + 1; label <= last; ++label) {
        requires(g, g->label, label);
    }
    if (last == before) {
        requires(g, g->label, before);
    }
}

crdma_status_t crdma_model_goal_write(FILE *to, const crdma_model_job_t *job,
                                      const crdma_model_machine_t *machine,
                                      const crdma_model_call_t *call)
{
    goal_t g = {.to = to, .job = job, .machine = machine, .call = call};

    crdma_cut_init(&g.cut, call->bytes, call->segment, call->elsize, job->nblocks);
    fprintf(to, "num_ranks %d\n", job->what.size);
    for (int r = 0; r < job->what.size; ++r) {
        const crdma_model_rank_t *rank = &job->ranks[r];

        g.label = 0;
        fprintf(to, "\nrank %d {\n", r);
        calc(&g, machine->call);
        for (int64_t turn = 0; turn < g.cut.nseg + rank->lag; ++turn) {
            for (int i = 0; i < rank->nsteps; ++i) {
                const crdma_step_t *step = &job->steps[rank->step + i];
                const int32_t *edges = &job->peers[job->peer_base[r] + step->first];
                const int64_t seg = turn - rank->skew[step->phase];

                if (0 > seg || seg >= g.cut.nseg) {
                    continue;
                }
                if (CRDMA_STEP_SEND == step->kind) {
                    sends(&g, step, edges, seg);
                } else if (CRDMA_STEP_COPY != step->kind) {
                    receives(&g, step, edges, seg);
                }
            }
        }
        fprintf(to, "}\n");
    }
    return ferror(to) ? CRDMA_ERR_SYSTEM : CRDMA_OK;
}
