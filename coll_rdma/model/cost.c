/* The costs of one message; see cost.h. */
#include "coll_rdma/model/cost.h"

#define HEADER 64 /* bytes of a block's header, and of a send-receive envelope, on the wire */

static double larger(double a, double b)
{
    return a > b ? a : b;
}

/* Pieces as the engine cuts them (engine/op.c, crdma_op_chunk): two at least above 4 KB. */
static size_t piece_of(size_t bytes, double block_size)
{
    const size_t block = block_size >= 64 ? (size_t) block_size : 64;
    const size_t piece = bytes > 4096 ? (bytes / 2 < 4096 ? 4096 : bytes / 2) : bytes;

    return piece < block ? piece : block;
}

/* The measured way of a piece: straight between the knots; beyond the last through blocks as from the one
 * before the last but one, also above a staged piece if that is known. */
static double curve(const crdma_model_level_t *l, double bytes)
{
    enum { BLOCKS = CRDMA_MODEL_KNOTS - 1 };
    const double *x = crdma_model_knot, *y = l->way;
    const double slope = (y[BLOCKS - 1] - y[BLOCKS - 3]) / (x[BLOCKS - 1] - x[BLOCKS - 3]);
    const int last = x[BLOCKS] <= bytes && 0 < y[BLOCKS] ? BLOCKS : BLOCKS - 1;
    int i = 1;

    if (bytes <= x[0]) {
        return y[0];
    }
    if (bytes >= x[last]) {
        return y[last] + slope * (bytes - x[last]);
    }
    while (bytes > x[i]) {
        ++i;
    }
    return y[i] + (y[i] - y[i - 1]) / (x[i] - x[i - 1]) * (bytes - x[i]);
}

/* The lines say which part of a way is whose; where its length is known better, all parts are
 * stretched to it. */
static void stretch(const crdma_model_level_t *l, bool ll, double piece, crdma_model_message_t *m)
{
    const double known = ll ? l->ll : 0 < l->way[0] ? curve(l, piece) : 0;
    const double line =
        l->latency + l->overhead + l->notify + l->copy_out * piece + (ll ? 0 : l->copy_in * piece);

    if (0 < known && 0 < line) {
        const double by = known / line;

        m->latency *= by;
        m->send_first *= by;
        m->send_rest *= by;
        m->notify *= by;
        m->notify_all *= by;
        m->copy_last *= by;
        m->copy_all *= by;
    }
}

static void eager(const crdma_model_machine_t *machine, const crdma_model_level_t *l,
                  crdma_model_message_t *m)
{
    const double bytes = (double) m->bytes;
    const bool ll = bytes <= machine->ll_max;
    const size_t piece = ll || 0 == m->bytes ? m->bytes : piece_of(m->bytes, machine->block_size);
    const size_t count = 0 == piece ? 1 : (m->bytes + piece - 1) / piece;
    const double last = bytes - (double) ((count - 1) * piece), n = (double) count;
    const double marks = ll ? 16 + bytes : HEADER; /* what travels beside the payload */

    m->send_first = l->overhead + l->copy_out * (double) piece;
    m->send_rest = (n - 1) * l->overhead + l->copy_out * (bytes - (double) piece);
    m->wire_first = larger(l->gap, ((double) piece + marks) * l->byte);
    m->wire_last = larger(l->gap, (last + marks) * l->byte);
    m->wire = (n - 1) * m->wire_first + m->wire_last;
    m->notify = l->notify;
    m->notify_all = n * l->notify;
    m->copy_last = ll ? 0 : l->copy_in * last;
    m->copy_all = ll ? 0 : l->copy_in * bytes;
    m->pieces = n;
    stretch(l, ll, (double) piece, m);
}

static void matched(const crdma_model_level_t *l, crdma_model_message_t *m)
{
    const double bytes = (double) m->bytes;

    m->send_first = l->sr_overhead + l->sr_copy_out * bytes;
    m->wire = m->wire_first = m->wire_last = larger(l->gap, (bytes + HEADER) * l->byte);
    m->notify = m->notify_all = l->sr_match;
    m->copy_last = m->copy_all = l->sr_copy_in * bytes;
}

/* The payload moves once: over the port, or by the kernel inside a node. */
static void rendezvous(const crdma_model_level_t *l, double overhead, double notify,
                       crdma_model_message_t *m)
{
    const double bytes = (double) m->bytes;

    m->send_first = overhead;
    m->notify = m->notify_all = notify;
    if (0 == l->byte) {
        m->way = CRDMA_MODEL_KERNEL_COPY;
        m->answer = notify;
        m->kernel = l->rndv_byte * bytes;
        m->wire = m->wire_first = m->wire_last = l->gap;
    } else {
        m->way = CRDMA_MODEL_GRANTED;
        m->answer = overhead;
        m->wire = m->wire_first = m->wire_last = larger(l->gap, (bytes + HEADER) * l->byte);
    }
}

void crdma_model_message_cost(const crdma_model_machine_t *machine, int level, bool send_receive,
                              size_t bytes, crdma_model_message_t *m)
{
    const crdma_model_level_t *l = &machine->level[level];

    *m = (crdma_model_message_t) {.bytes = bytes, .latency = l->latency, .pieces = 1};
    if (send_receive) {
        if ((double) bytes <= l->sr_eager_max) {
            matched(l, m);
        } else {
            rendezvous(l, l->sr_overhead, l->sr_match, m);
            /* the request travels first, and matching it is what the answer waits for */
            m->answer = l->sr_match + l->sr_overhead;
        }
    } else if (0 < l->rndv_min && (double) bytes >= l->rndv_min) {
        rendezvous(l, l->overhead, l->notify, m);
    } else {
        eager(machine, l, m);
    }
}
