/*
 * The event loop of the walker (walk.h), and what a rank does in a step.
 *
 * Invariants:
 * 1. A rank is in the heap, or waits at an edge (`waiter`), or has finished.
 * 2. A queue of an edge holds messages that were sent and not received, in order.
 * 3. A step that receives takes its messages only when all are there, as the engine reads
 *    all operands before it combines them; arrival times are known then, so what it would have
 *    done earlier is computed afterwards.
 */
#include "coll_rdma/model/walk.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "coll_rdma/model/cost.h"
#include "coll_rdma/model/heap.h"

typedef struct flight {
    double first, last; /* eager: arrivals of the first and of the last piece */
    double sent;        /* rendezvous: when the sender has told */
    int32_t next;
} flight_t;

typedef struct queue {
    int32_t head, tail; /* in flights; -1: empty */
    int32_t waiter;     /* rank that waits here, or -1 */
} queue_t;

typedef struct place {
    double now;
    int64_t turn;
    int32_t step;
    int32_t peer;    /* next peer of the step */
    double entered;  /* when the step was reached */
} place_t;

typedef struct walk {
    const crdma_model_job_t *job;
    const crdma_model_machine_t *machine;
    const crdma_model_call_t *call;
    crdma_cut_t cut;
    place_t *places;
    queue_t *queues;
    flight_t *flights;
    int32_t nflights, room, unused;
    double *sent; /* by edge: when the last message was handed over; NULL: one rank per node */
    double *tx_free, *rx_free; /* ports, by node */
    double *cpu_free;          /* shared processors */
    int processors;
    crdma_heap_t heap;
    const flight_t **taken; /* of the step that is processed */
    int taken_room;
    crdma_model_message_t cost[CRDMA_MODEL_NLEVELS];
    bool cost_known[CRDMA_MODEL_NLEVELS];
    double latest;
    int last;
    int64_t messages;
} walk_t;

static double larger(double a, double b)
{
    return a > b ? a : b;
}

/* Somebody works for `ns` from `now` on: on a processor of his own, or on the shared one that is free
 * first, as a scheduler of one machine does it. */
static double work(walk_t *w, double now, double ns)
{
    if (0 < w->processors) {
        double *free_at = &w->cpu_free[0];

        for (int i = 1; i < w->processors; ++i) {
            free_at = w->cpu_free[i] < *free_at ? &w->cpu_free[i] : free_at;
        }
        now = larger(now, *free_at);
        *free_at = now + ns;
    }
    return now + ns;
}

static const crdma_model_message_t *cost_of(walk_t *w, int level, size_t bytes)
{
    crdma_model_message_t *m = &w->cost[level];

    if (!w->cost_known[level] || bytes != m->bytes) {
        crdma_model_message_cost(w->machine, level, w->call->send_receive, bytes, m);
        w->cost_known[level] = true;
    }
    return m;
}

static int level_of(const walk_t *w, int32_t edge)
{
    const crdma_model_edge_t *e = &w->job->edges[edge];

    if (1 >= w->job->what.per_node) {
        return CRDMA_MODEL_BETWEEN;
    }
    return crdma_model_node(&w->job->what, e->from) == crdma_model_node(&w->job->what, e->to)
               ? CRDMA_MODEL_INSIDE
               : CRDMA_MODEL_BETWEEN;
}

/* Through both ports, if the level has some: handed over at `now`. */
static void transfer(walk_t *w, int32_t edge, int level, const crdma_model_message_t *m, double now,
                     double handed, flight_t *f)
{
    const crdma_model_edge_t *e = &w->job->edges[edge];
    double start = now, end, in;

    if (CRDMA_MODEL_INSIDE == level) {
        f->first = now + m->latency + m->wire_first;
        f->last = larger(handed + m->latency + m->wire_last, now + m->latency + m->wire);
        return;
    }
    if (0 < w->processors && 0 < w->machine->level[level].work) {
        const double carried = w->machine->level[level].work * m->pieces
                               + w->machine->level[level].work_byte * (double) m->bytes;

        start = work(w, now, carried);
        handed += start - now;
    }
    double *tx = &w->tx_free[crdma_model_node(&w->job->what, e->from)];
    double *rx = &w->rx_free[crdma_model_node(&w->job->what, e->to)];

    start = larger(start, *tx);
    end = larger(start + m->wire, handed + m->wire_last);
    *tx = end;
    in = larger(start + m->latency, *rx);
    f->first = in + m->wire_first;
    f->last = larger(in + m->wire, end + m->latency);
    *rx = f->last;
}

static int32_t take_flight(walk_t *w)
{
    if (0 <= w->unused) {
        const int32_t f = w->unused;

        w->unused = w->flights[f].next;
        return f;
    }
    if (w->nflights == w->room) {
        const int32_t grown = 0 == w->room ? 1024 : w->room + w->room / 2;
        flight_t *moved = realloc(w->flights, (size_t) grown * sizeof(*moved));

        if (NULL == moved) {
            return -1;
        }
        w->flights = moved;
        w->room = grown;
    }
    return w->nflights++;
}

/* One message of a SEND. */
static crdma_status_t send_one(walk_t *w, int rank, const crdma_step_t *step, int64_t seg)
{
    place_t *p = &w->places[rank];
    const int32_t edge = w->job->peers[w->job->peer_base[rank] + step->first + p->peer];
    const int level = level_of(w, edge);
    const size_t bytes = crdma_cut_length(&w->cut, seg, step->src_block + p->peer * step->stride, step->nblocks);
    const crdma_model_message_t *m = cost_of(w, level, bytes);
    const int32_t f = take_flight(w);
    queue_t *q = &w->queues[edge];

    if (0 > f) {
        return CRDMA_ERR_NOMEM;
    }
    const double first = work(w, p->now, m->send_first);

    p->now = 0 < m->send_rest ? work(w, first, m->send_rest) : first;
    w->flights[f] = (flight_t) {.sent = first, .next = -1};
    if (CRDMA_MODEL_EAGER == m->way) {
        transfer(w, edge, level, m, first, p->now, &w->flights[f]);
    } else {
        w->flights[f].first = w->flights[f].last = first + m->latency;
    }
    if (NULL != w->sent) {
        w->sent[edge] = first;
    }
    if (0 > q->head) {
        q->head = f;
    } else {
        w->flights[q->tail].next = f;
    }
    q->tail = f;
    if (0 <= q->waiter) {
        const int waiter = q->waiter;

        q->waiter = -1;
        crdma_heap_push(&w->heap, larger(w->places[waiter].now, w->flights[f].last), waiter);
    }
    ++w->messages;
    ++p->peer;
    return CRDMA_OK;
}

/* A rendezvous: from when the receiver is ready and the sender has told. */
static void meet(walk_t *w, int32_t edge, int level, const crdma_model_message_t *m,
                 flight_t *f, double *now)
{
    const int from = w->job->edges[edge].from;

    if (CRDMA_MODEL_KERNEL_COPY == m->way) {
        *now = work(w, larger(*now, f->last), m->answer + m->kernel);
        f->first = f->last = *now;
    } else {
        const double ready = w->call->send_receive ? larger(*now, f->last) : *now;
        const double answered = work(w, ready, m->answer);
        const double put = larger(f->sent, answered + m->latency) + m->send_first;

        *now = answered;
        transfer(w, edge, level, m, put, put, f);
        if (f->last > w->latest) {
            w->latest = f->last;
            w->last = from;
        }
    }
}

/* A message meets one in the other direction on its way: at worst both arrive later. */
static void cross(const walk_t *w, int32_t edge, int level, const crdma_model_message_t *m,
                  flight_t *f)
{
    const double share = w->machine->level[level].cross;
    const double way = m->send_first + m->send_rest + m->latency + m->notify_all + m->copy_all;
    const int32_t back = NULL != w->job->back ? w->job->back[edge] : -1;

    if (0 < share && CRDMA_MODEL_INSIDE == level && CRDMA_MODEL_WORST == w->call->overlap
        && !w->call->send_receive && 0 <= back
        && fabs(w->sent[back] - f->sent) < way) {
        f->first += share * way;
        f->last += share * way;
    }
}

static int by_arrival(const void *a, const void *b)
{
    const double x = (*(const flight_t *const *) a)->last, y = (*(const flight_t *const *) b)->last;

    return (x > y) - (x < y);
}

/* Stable, and by insertion where there are few: they mostly are in order already. */
static void sort_by_arrival(const flight_t **f, int n)
{
    if (n > 32) {
        qsort(f, (size_t) n, sizeof(f[0]), by_arrival);
        return;
    }
    for (int i = 1; i < n; ++i) {
        const flight_t *mine = f[i];
        int at = i;

        for (; 0 < at && f[at - 1]->last > mine->last; --at) {
            f[at] = f[at - 1];
        }
        f[at] = mine;
    }
}

/* All messages of a RECV or REDUCE are there: invariant 3. */
static crdma_status_t receive_all(walk_t *w, int rank, const crdma_step_t *step, int64_t seg)
{
    place_t *p = &w->places[rank];
    const int32_t *peers = &w->job->peers[w->job->peer_base[rank] + step->first];
    const bool reduces = CRDMA_STEP_REDUCE == step->kind;
    const bool late = CRDMA_MODEL_WORST == w->call->overlap && !w->call->send_receive;
    double now = p->entered, waiting = 0;
    crdma_model_message_t m[CRDMA_MODEL_NLEVELS];
    int n = 0;

    if (w->taken_room < step->npeers) {
        free(w->taken);
        w->taken = malloc((size_t) step->npeers * sizeof(*w->taken));
        w->taken_room = NULL != w->taken ? step->npeers : 0;
        if (NULL == w->taken) {
            return CRDMA_ERR_NOMEM;
        }
    }
    for (int i = 0; i < step->npeers; ++i) {
        if (CRDMA_SELF == peers[i]) {
            continue;
        }
        const int level = level_of(w, peers[i]);
        const size_t bytes = crdma_cut_length(&w->cut, seg, step->dst_block + i * step->stride, step->nblocks);
        flight_t *f = &w->flights[w->queues[peers[i]].head];
        const crdma_model_message_t *cost = cost_of(w, level, bytes);

        if (CRDMA_MODEL_EAGER != cost->way) {
            meet(w, peers[i], level, cost, f, &now);
        } else {
            cross(w, peers[i], level, cost, f);
        }
        w->taken[n++] = f;
        f->sent = (double) i; /* which peer, from now on */
    }
    if (!w->call->send_receive) {
        sort_by_arrival(w->taken, n); /* matched messages are taken in the order of the step */
    }
    for (int k = 0; k < n; ++k) {
        const flight_t *f = w->taken[k];
        const int i = (int) f->sent;
        const int level = level_of(w, peers[i]);
        const size_t bytes = crdma_cut_length(&w->cut, seg, step->dst_block + i * step->stride, step->nblocks);
        /* What is combined is read in place. Inside a node the lines must be fetched all the same; at
         * best that overlaps. */
        const bool in_place = reduces && !w->call->send_receive
                              && (0 < w->machine->level[level].byte || !late);

        m[level] = *cost_of(w, level, bytes);
        const double all = m[level].notify_all + (in_place ? 0 : m[level].copy_all);
        const double last = m[level].notify + (in_place ? 0 : m[level].copy_last);
        const double reduction = reduces ? w->machine->reduce * (double) bytes : 0;

        now = work(w, larger(now, f->first), all - last);
        now = work(w, larger(now, f->last), last + (late ? 0 : reduction));
        waiting += late ? reduction : 0;
    }
    p->now = 0 < waiting ? work(w, now, waiting) : now;
    for (int i = 0; i < step->npeers; ++i) {
        if (CRDMA_SELF != peers[i]) {
            queue_t *q = &w->queues[peers[i]];
            const int32_t f = q->head;

            q->head = w->flights[f].next;
            w->flights[f].next = w->unused;
            w->unused = f;
        }
    }
    return CRDMA_OK;
}

/* When the last of the step's messages is there. */
static double all_there(const walk_t *w, const crdma_step_t *step, const int32_t *peers)
{
    double latest = 0;

    for (int i = 0; i < step->npeers; ++i) {
        if (CRDMA_SELF != peers[i]) {
            latest = larger(latest, w->flights[w->queues[peers[i]].head].last);
        }
    }
    return latest;
}

/* CRDMA_AGAIN: the rank waits at an edge, or in the heap. */
static crdma_status_t receive(walk_t *w, int rank, const crdma_step_t *step, int64_t seg)
{
    place_t *p = &w->places[rank];
    const int32_t *peers = &w->job->peers[w->job->peer_base[rank] + step->first];

    if (0 == p->peer) {
        p->entered = p->now;
    }
    for (; p->peer < step->npeers; ++p->peer) {
        if (CRDMA_SELF != peers[p->peer] && 0 > w->queues[peers[p->peer]].head) {
            w->queues[peers[p->peer]].waiter = rank;
            return CRDMA_AGAIN;
        }
    }
    if (0 < w->processors) {
        const double latest = all_there(w, step, peers);

        /* On their way still: who is ready before that has the shared processors first. */
        if (latest > p->now) {
            p->now = latest;
            crdma_heap_push(&w->heap, latest, rank);
            return CRDMA_AGAIN;
        }
    }
    return receive_all(w, rank, step, seg);
}

/* Take the rank's next message, or its next step; *more: it has something left to do. */
static crdma_status_t advance(walk_t *w, int rank, bool *more)
{
    const crdma_model_rank_t *r = &w->job->ranks[rank];
    place_t *p = &w->places[rank];

    /* Phases stand in the list in the order of their skews, so one segment takes the list once. */
    const bool single = 1 == w->cut.nseg;
    const int64_t turns = single ? 1 : w->cut.nseg + r->lag;

    *more = true;
    for (; p->turn < turns; ++p->turn, p->step = 0) {
        for (; p->step < r->nsteps; ++p->step, p->peer = 0) {
            const crdma_step_t *step = &w->job->steps[r->step + p->step];
            const int64_t seg = single ? 0 : p->turn - r->skew[step->phase];
            crdma_status_t status = CRDMA_OK;

            if (0 > seg || seg >= w->cut.nseg) {
                continue;
            }
            if (CRDMA_STEP_SEND == step->kind) {
                if (p->peer < step->npeers) {
                    return send_one(w, rank, step, seg);
                }
                continue;
            }
            if (CRDMA_STEP_COPY == step->kind) {
                p->now = work(w, p->now,
                              w->machine->level[CRDMA_MODEL_INSIDE].copy_in
                                  * (double) crdma_cut_length(&w->cut, seg, step->dst_block, step->nblocks));
            } else {
                status = receive(w, rank, step, seg);
            }
            if (CRDMA_OK == status) {
                ++p->step;
                p->peer = 0;
            }
            return status;
        }
    }
    *more = false;
    return CRDMA_OK;
}

static crdma_status_t run(walk_t *w)
{
    int finished = 0;

    while (0 < w->heap.n) {
        const int rank = crdma_heap_pop(&w->heap);
        crdma_status_t status;
        bool more;

        for (int i = 0; i < 5 && i < w->heap.n; ++i) { /* who comes next: mostly out of the cache */
            __builtin_prefetch(&w->places[w->heap.entry[i].rank]);
            __builtin_prefetch(&w->job->ranks[w->heap.entry[i].rank]);
        }

        do {
            status = advance(w, rank, &more);
        } while (CRDMA_OK == status && more && w->places[rank].now < crdma_heap_least(&w->heap));
        if (CRDMA_AGAIN == status) {
            continue;
        }
        if (CRDMA_OK != status) {
            return status;
        }
        if (more) {
            crdma_heap_push(&w->heap, w->places[rank].now, rank);
            continue;
        }
        ++finished;
        if (w->places[rank].now > w->latest) {
            w->latest = w->places[rank].now;
            w->last = rank;
        }
    }
    return finished == w->job->what.size ? CRDMA_OK : CRDMA_ERR_MISMATCH;
}

static crdma_status_t prepare(walk_t *w)
{
    const crdma_model_job_t *job = w->job;
    const size_t nodes = (size_t) crdma_model_nnodes(&job->what), ranks = (size_t) job->what.size;

    crdma_cut_init(&w->cut, w->call->bytes, w->call->segment, w->call->elsize, job->nblocks);
    w->processors = CRDMA_MODEL_WORST == w->call->overlap ? (int) w->machine->processors : 0;
    w->unused = -1;
    w->places = calloc(ranks, sizeof(*w->places));
    w->queues = malloc((size_t) (job->nedges + 1) * sizeof(*w->queues));
    w->tx_free = calloc(nodes, sizeof(*w->tx_free));
    w->rx_free = calloc(nodes, sizeof(*w->rx_free));
    w->cpu_free = calloc((size_t) w->processors + 1, sizeof(*w->cpu_free));
    if (NULL == w->places || NULL == w->queues || NULL == w->tx_free || NULL == w->rx_free
        || NULL == w->cpu_free || CRDMA_OK != crdma_heap_create(&w->heap, (int) ranks)) {
        return CRDMA_ERR_NOMEM;
    }
    if (NULL != job->back) {
        w->sent = malloc((size_t) (job->nedges + 1) * sizeof(*w->sent));
        if (NULL == w->sent) {
            return CRDMA_ERR_NOMEM;
        }
        for (int64_t e = 0; e < job->nedges; ++e) {
            w->sent[e] = -INFINITY;
        }
    }
    for (int64_t e = 0; e < job->nedges; ++e) {
        w->queues[e] = (queue_t) {.head = -1, .tail = -1, .waiter = -1};
    }
    for (int r = 0; r < job->what.size; ++r) {
        w->places[r].now =
            CRDMA_MODEL_WORST == w->call->overlap ? work(w, 0, w->machine->call) : 0;
        crdma_heap_push(&w->heap, w->places[r].now, r);
    }
    return CRDMA_OK;
}

crdma_status_t crdma_model_walk(const crdma_model_job_t *job, const crdma_model_machine_t *machine,
                                const crdma_model_call_t *call, crdma_model_result_t *result)
{
    walk_t w = {.job = job, .machine = machine, .call = call};
    crdma_status_t status = prepare(&w);

    if (CRDMA_OK == status) {
        status = run(&w);
    }
    if (CRDMA_OK == status) {
        *result = (crdma_model_result_t) {.ns = w.latest, .messages = w.messages, .last = w.last};
    }
    free(w.places);
    free(w.queues);
    free(w.sent);
    free(w.flights);
    free(w.tx_free);
    free(w.rx_free);
    free(w.cpu_free);
    free(w.taken);
    crdma_heap_destroy(&w.heap);
    return status;
}
