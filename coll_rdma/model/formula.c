/* The closed formulas; see formula.h and doc/model.md. */
#include "coll_rdma/model/formula.h"

#include "coll_rdma/model/cost.h"

static double larger(double a, double b)
{
    return a > b ? a : b;
}

/* Rounds of radix K+1 among N: the least d with (K+1)^d >= N; *full: equality. */
static int rounds(int size, int degree, bool *full)
{
    int64_t reach = 1;
    int d = 0;

    for (; reach < size; ++d) {
        reach *= (int64_t) degree + 1;
    }
    *full = reach == size || degree >= size - 1;
    return d;
}

void crdma_model_terms(const crdma_model_machine_t *machine, const crdma_model_call_t *call,
                       size_t bytes, crdma_model_terms_t *terms)
{
    crdma_model_message_t m;

    crdma_model_message_cost(machine, CRDMA_MODEL_BETWEEN, call->send_receive, bytes, &m);
    *terms = (crdma_model_terms_t) {.ts = m.send_first + m.send_rest,
                                    .tt = m.wire,
                                    .tn = m.latency + m.notify_all,
                                    .to = machine->reduce * (double) bytes,
                                    .tc = m.copy_all,
                                    .found = m.notify_all};
    if (CRDMA_MODEL_GRANTED == m.way) {
        terms->ts += m.answer + m.latency; /* the receiver's answer comes first */
        if (call->send_receive) {
            terms->ts += m.send_first + m.latency; /* and before it the sender's request */
        }
    }
}

/* k messages through the receiver's port, all sent at 0: from then until they are combined. */
static double fan_in(const crdma_model_terms_t *t, int k, double combine, double after)
{
    const double each = t->found + combine;

    return t->ts + (t->tn - t->found)
           + larger(k * t->tt + each, t->tt + k * each) + after;
}

double crdma_model_receiver(const crdma_model_terms_t *t, int k, crdma_model_overlap_t overlap)
{
    return (CRDMA_MODEL_BEST == overlap ? fan_in(t, k, t->to, 0) : fan_in(t, k, 0, k * t->to))
           + t->tc;
}

/* A sender's k messages, the last one received and copied. */
static double fan_out(const crdma_model_terms_t *t, int k)
{
    return t->ts + (k - 1) * larger(t->ts, t->tt) + t->tt + t->tn + t->tc;
}

static double bcast_tree(const crdma_model_terms_t *t, int d, int k)
{
    return d * fan_out(t, k);
}

/* The engine combines the operands of all levels of a rank in one step: at worst those of the
 * lower levels wait too. */
static double reduce_tree(const crdma_model_terms_t *t, int d, int k, const crdma_model_call_t *call)
{
    if (call->send_receive) { /* matched and copied, then combined, one after another */
        return d * fan_in(t, k, t->to + t->tc, 0);
    }
    if (CRDMA_MODEL_BEST == call->overlap) {
        return d * fan_in(t, k, t->to, 0);
    }
    return d * fan_in(t, k, 0, 0) + k * t->to * d * (d + 1) / 2;
}

/* One round of an exchange among f: everybody sends to f - 1 others, each at another time. `combine`
 * is what a message costs the receiver besides finding it. */
static double exchange_round(const crdma_model_terms_t *t, int f, double combine, bool late)
{
    const int k = f - 1;
    const double first = t->ts + (t->tn - t->found) + t->tt;
    const double last = first + (k - 1) * larger(t->ts, t->tt);
    const double each = t->found + (late ? 0 : combine), sent = k * t->ts;

    return larger(larger(first, sent) + k * each, last + each) + (late ? k * combine : 0);
}

static double rsag(const crdma_model_machine_t *machine, const crdma_model_call_t *call, int d,
                   int radix, bool late)
{
    double part = (double) call->bytes, ns = 0;

    for (int r = 0; r < d; ++r) {
        crdma_model_terms_t t;

        part /= radix;
        crdma_model_terms(machine, call, (size_t) part, &t);
        ns += exchange_round(&t, radix, t.to + (call->send_receive ? t.tc : 0), late);
        ns += exchange_round(&t, radix, t.tc, false);
    }
    return ns;
}

static double ring(const crdma_model_machine_t *machine, const crdma_model_call_t *call, int size)
{
    crdma_model_terms_t t;

    crdma_model_terms(machine, call, (call->bytes + (size_t) size - 1) / (size_t) size, &t);
    return (size - 1)
           * (2 * (t.ts + t.tt + t.tn) + t.to + t.tc + (call->send_receive ? t.tc : 0));
}

crdma_status_t crdma_model_formula(const crdma_model_case_t *what,
                                   const crdma_model_machine_t *machine,
                                   const crdma_model_call_t *call, double *ns, bool *exact)
{
    const int k = what->degree < what->size - 1 ? what->degree : what->size - 1;
    const bool late = CRDMA_MODEL_WORST == call->overlap && !call->send_receive;
    crdma_model_terms_t t;
    crdma_model_message_t m;
    bool full = true;

    if (CRDMA_ALG_RSAG == what->alg && call->bytes < 64 * (size_t) what->size && 0 != call->bytes) {
        return CRDMA_ERR_UNSUPPORTED; /* most blocks are empty, a few ranks do all the work */
    }
    if (what->two_level || what->per_node > 1 || what->size < 1 || what->degree < 1
        || (0 != call->segment && call->segment < call->bytes)) {
        return CRDMA_ERR_UNSUPPORTED;
    }
    const int d = 1 < what->size ? rounds(what->size, k, &full) : 0;

    crdma_model_terms(machine, call, call->bytes, &t);
    crdma_model_message_cost(machine, CRDMA_MODEL_BETWEEN, call->send_receive, call->bytes, &m);
    *ns = CRDMA_MODEL_WORST == call->overlap ? machine->call : 0;
    *exact = 1 == what->size
             || (full && CRDMA_MODEL_EAGER == m.way && 0 == m.send_rest && !(late && machine->processors > 0));
    if (1 == what->size) {
        return CRDMA_OK;
    }
    if (1 < k
        && (CRDMA_ALG_RSAG == what->alg || (CRDMA_ALG_EXCHANGE == what->alg && call->send_receive))) {
        *exact = false; /* messages are taken in another order than they arrive in */
    }
    if ((CRDMA_ALG_RSAG == what->alg || CRDMA_ALG_RING == what->alg)
        && 0 != call->bytes % (64 * (size_t) what->size)) {
        *exact = false; /* blocks end at cache lines, so they are not all of one size */
    }
    if (CRDMA_BCAST == what->coll && CRDMA_ALG_TREE == what->alg) {
        *ns += bcast_tree(&t, d, k);
    } else if (CRDMA_REDUCE == what->coll && CRDMA_ALG_TREE == what->alg) {
        *ns += reduce_tree(&t, d, k, call);
    } else if (CRDMA_ALLREDUCE == what->coll && CRDMA_ALG_TREE == what->alg) {
        *ns += reduce_tree(&t, d, k, call) + bcast_tree(&t, d, k);
    } else if (CRDMA_ALLREDUCE == what->coll && CRDMA_ALG_EXCHANGE == what->alg) {
        *ns += d * exchange_round(&t, k + 1, t.to + (call->send_receive ? t.tc : 0), late);
    } else if (CRDMA_ALLREDUCE == what->coll && CRDMA_ALG_RSAG == what->alg) {
        *ns += rsag(machine, call, d, k + 1, late);
    } else if (CRDMA_ALLREDUCE == what->coll && CRDMA_ALG_RING == what->alg) {
        *ns += ring(machine, call, what->size);
    } else {
        return CRDMA_ERR_UNSUPPORTED;
    }
    return CRDMA_OK;
}
