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

static size_t bytes_of(const goal_t *g, const crdma_step_t *step, int64_t seg, int block, int i)
{
    return crdma_cut_length(&g->cut, seg, block + i * step->stride, step->nblocks);
}

/* As many bytes as the port is busy for: headers and marks count. */
static unsigned long on_wire(const goal_t *g, int level, const crdma_model_message_t *m)
{
    const double byte = g->machine->level[level].byte;
    const double bytes = 0 < byte ? m->wire / byte : (double) m->bytes;

    return bytes < 1 ? 1 : (unsigned long) (bytes + 0.5);
}

/* The sender's processor, then the message. */
static void sends(goal_t *g, const crdma_step_t *step, const int32_t *edges, int64_t seg)
{
    for (int i = 0; i < step->npeers; ++i) {
        const int level = level_of(g, edges[i]);
        crdma_model_message_t m;

        crdma_model_message_cost(g->machine, level, g->call->send_receive,
                                 bytes_of(g, step, seg, step->src_block, i), &m);
        calc(g, m.send_first + m.send_rest);
        requires(g, g->label, g->label - 1);
        fprintf(g->to, "l%ld: send %lub to %d tag 0\n", ++g->label, on_wire(g, level, &m),
                g->job->edges[edges[i]].to);
        requires(g, g->label, g->label - 1);
    }
}

/* Each message is found (and copied) when it is there; reductions follow it at best, and the last
 * message at worst. The step is over when all of that is: the last label stands for it. */
static void receives(goal_t *g, const crdma_step_t *step, const int32_t *edges, int64_t seg)
{
    const bool reduces = CRDMA_STEP_REDUCE == step->kind;
    const bool late = CRDMA_MODEL_WORST == g->call->overlap && !g->call->send_receive;
    const long before = g->label;
    double after = 0;

    for (int i = 0; i < step->npeers; ++i) {
        if (CRDMA_SELF == edges[i]) {
            continue;
        }
        const int level = level_of(g, edges[i]);
        crdma_model_message_t m;

        crdma_model_message_cost(g->machine, level, g->call->send_receive,
                                 bytes_of(g, step, seg, step->dst_block, i), &m);
        const double combine = reduces ? g->machine->reduce * (double) m.bytes : 0;
        const bool in_place = reduces && !g->call->send_receive
                              && (0 < g->machine->level[level].byte || !late);

        fprintf(g->to, "l%ld: recv %lub from %d tag 0\n", ++g->label, on_wire(g, level, &m),
                g->job->edges[edges[i]].from);
        requires(g, g->label, before);
        calc(g, m.notify_all + (in_place ? 0 : m.copy_all) + (late ? 0 : combine));
        requires(g, g->label, g->label - 1);
        after += late ? combine : 0;
    }
    const long last = g->label;

    calc(g, after);
    for (long label = before + 2; label <= last; label += 2) {
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
        calc(&g, CRDMA_MODEL_WORST == call->overlap ? machine->call : 0);
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
