/*
 * A machine as the model sees it: what a message costs inside a node and between nodes, what
 * processors need for copies and reductions, and from which sizes on protocols change. Times in
 * ns, sizes in bytes. The base is LogGP (Alexandrov, Ionescu, Schauser, Scheiman 1995) with
 * the receiver's cost of a put (notification) and that of a matched message kept apart.
 *
 * A machine is text, one `NAME VALUE` per line, so that coll_rdma_tune can write what it measured
 * and others can describe what they have.
 */
#ifndef CRDMA_MODEL_MACHINE_H
#define CRDMA_MODEL_MACHINE_H

#include <stdio.h>

#include "coll_rdma/base/status.h"

enum { CRDMA_MODEL_INSIDE = 0, CRDMA_MODEL_BETWEEN, CRDMA_MODEL_NLEVELS };

/* Bytes of the messages whose way is known where a line does not describe it (way[]). Those below
 * CRDMA_MODEL_STAGED go through a block; a piece of so many bytes, the last knot, lies in the sender's stage
 * (protocol/stage.h). */
enum { CRDMA_MODEL_KNOTS = 9, CRDMA_MODEL_STAGED = 4096 };
extern const double crdma_model_knot[CRDMA_MODEL_KNOTS];

/* All double, so that one table reads, writes and documents them. */
typedef struct crdma_model_level {
    double latency;   /* ns, from the handing over of a put to its first byte's arrival */
    double overhead;  /* ns of the sender's processor per put */
    double notify;    /* ns of the receiver's processor per put: found, checked, credited */
    double gap;       /* ns between two messages of one port */
    double byte;      /* ns per byte of one port; 0: processors move the bytes (copy_*) */
    double copy_out;  /* ns per byte, sender: user buffer to block */
    double copy_in;   /* ns per byte, receiver: block to user buffer */
    double rndv_min;  /* bytes from which a put goes from user buffer to user buffer; 0: never */
    double rndv_byte; /* ns per byte of such a copy inside a node */
    double sr_overhead; /* send-receive: ns of the sender's processor per message */
    double sr_match;    /* send-receive: ns of the receiver's processor per message, matching
                           and descriptors included */
    double sr_copy_out; /* send-receive, ns per byte: user buffer to eager buffer */
    double sr_copy_in;  /* ns per byte, eager buffer to user buffer */
    double sr_eager_max; /* send-receive: largest message without a rendezvous */
    double ll;           /* ns one way of an LL message, all parts together; 0: as the line says */
    double way[CRDMA_MODEL_KNOTS]; /* the same of a piece of so many bytes; 0: not known */
    double cross;  /* share of its way that a message inside a node takes longer, if one in the other
                      direction crosses it: both ranks write lines that the other polls */
    double work;   /* ns of the shared processors per message, of those who carry it (an emulated
                      network); worst case only */
    double work_byte; /* ns per byte, the same */
    double spread; /* share by which points that the parameters were found from lie beside the model */
} crdma_model_level_t;

typedef struct crdma_model_machine {
    char name[40];
    crdma_model_level_t level[CRDMA_MODEL_NLEVELS];
    double call;       /* ns of every rank per collective; worst case only */
    double reduce;     /* ns per byte of one operand, combined with what is there already */
    double ll_max;     /* bytes of payload of an LL message */
    double block_size; /* bytes of payload of a block */
    double processors; /* that all ranks share in the worst case; 0: one for each rank */
} crdma_model_machine_t;

/* "shm", "tcp", "infiniband", "clan": see machine.c for where each comes from. NULL: unknown. */
const crdma_model_machine_t *crdma_model_machine_find(const char *name);
/* The i-th of them and where its figures come from, NULL behind the last. */
const crdma_model_machine_t *crdma_model_machine_at(int i, const char **origin);

/* Read `NAME VALUE` lines on top of what *machine holds; '#' begins a comment, lines
 * that begin with another word than `param` are left to others (select/rules.h).
 * CRDMA_ERR_PARAM with *line set to the number of the first wrong line. */
crdma_status_t crdma_model_machine_read(FILE *from, crdma_model_machine_t *machine, int *line);
void crdma_model_machine_write(FILE *to, const crdma_model_machine_t *machine);

/* The name of the i-th parameter ("between.latency"), its value and its unit; NULL behind the
 * last. */
const char *crdma_model_machine_field(crdma_model_machine_t *machine, int i, double **value,
                                      const char **unit);

#endif
