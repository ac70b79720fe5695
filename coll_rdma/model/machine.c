/*
 * The parameters of a machine as a table, built-in machines, and their text form.
 */
#include "coll_rdma/model/machine.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

typedef struct field {
    const char *name;
    const char *unit;
    size_t offset;
} field_t;

const double crdma_model_knot[CRDMA_MODEL_KNOTS] = {32, 96, 192, 384, 768, 1536, 3072, 4032,
                                                      CRDMA_MODEL_STAGED};

#define OF(member) offsetof(crdma_model_machine_t, member)
#define LEVEL(prefix, i)                                                                          \
    {prefix ".latency", "ns", OF(level[i].latency)},                                              \
        {prefix ".overhead", "ns", OF(level[i].overhead)},                                        \
        {prefix ".notify", "ns", OF(level[i].notify)},                                            \
        {prefix ".gap", "ns", OF(level[i].gap)},                                                  \
        {prefix ".byte", "ns/B", OF(level[i].byte)},                                              \
        {prefix ".copy_out", "ns/B", OF(level[i].copy_out)},                                      \
        {prefix ".copy_in", "ns/B", OF(level[i].copy_in)},                                        \
        {prefix ".rndv_min", "B", OF(level[i].rndv_min)},                                         \
        {prefix ".rndv_byte", "ns/B", OF(level[i].rndv_byte)},                                    \
        {prefix ".sr_overhead", "ns", OF(level[i].sr_overhead)},                                  \
        {prefix ".sr_match", "ns", OF(level[i].sr_match)},                                        \
        {prefix ".sr_copy_out", "ns/B", OF(level[i].sr_copy_out)},                                \
        {prefix ".sr_copy_in", "ns/B", OF(level[i].sr_copy_in)},                                  \
        {prefix ".sr_eager_max", "B", OF(level[i].sr_eager_max)},                                 \
        {prefix ".ll", "ns", OF(level[i].ll)},                                                    \
        {prefix ".way_32", "ns", OF(level[i].way[0])},                                            \
        {prefix ".way_96", "ns", OF(level[i].way[1])},                                            \
        {prefix ".way_192", "ns", OF(level[i].way[2])},                                           \
        {prefix ".way_384", "ns", OF(level[i].way[3])},                                           \
        {prefix ".way_768", "ns", OF(level[i].way[4])},                                           \
        {prefix ".way_1536", "ns", OF(level[i].way[5])},                                          \
        {prefix ".way_3072", "ns", OF(level[i].way[6])},                                          \
        {prefix ".way_4032", "ns", OF(level[i].way[7])},                                          \
        {prefix ".way_4096", "ns", OF(level[i].way[8])},                                          \
        {prefix ".cross", "", OF(level[i].cross)},                                                \
        {prefix ".work", "ns", OF(level[i].work)},                                                \
        {prefix ".work_byte", "ns/B", OF(level[i].work_byte)},                                    \
        {prefix ".spread", "", OF(level[i].spread)}

static const field_t fields[] = {
    LEVEL("inside", CRDMA_MODEL_INSIDE),
    LEVEL("between", CRDMA_MODEL_BETWEEN),
    {"call", "ns", OF(call)},
    {"reduce", "ns/B", OF(reduce)},
    {"ll_max", "B", OF(ll_max)},
    {"block_size", "B", OF(block_size)},
    {"processors", "", OF(processors)},
};

enum { NFIELDS = sizeof(fields) / sizeof(fields[0]) };

/* coll_rdma_tune, 2 ranks, virtual machine on AMD EPYC, 2 processors (doc/scale.md). */
#define SHM_LEVEL                                                                                 \
    {                                                                                             \
        .overhead = 49.493, .notify = 73.638, .copy_out = 0.048365, .copy_in = 0.059925,          \
        .rndv_min = 16384, .rndv_byte = 0.039968, .sr_overhead = 6.2059, .sr_match = 152.22,      \
        .sr_copy_out = 0.14652, .sr_copy_in = 0, .sr_eager_max = 4096, .ll = 53.486,              \
        .way = {90.679, 92.566, 92.141, 100.99, 117.11, 209.99, 411.55, 526.89, 596.82},          \
        .cross = 0.10773                                                                          \
    }

/* Inside a node of the machines that were not measured: orders of magnitude. */
#define NODE_LEVEL                                                                                \
    {                                                                                             \
        .latency = 60, .overhead = 30, .notify = 20, .copy_out = 0.05, .copy_in = 0.1,            \
        .rndv_min = 16384, .rndv_byte = 0.06, .sr_overhead = 60, .sr_match = 60,                  \
        .sr_copy_out = 0.05, .sr_copy_in = 0.1, .sr_eager_max = 4096                              \
    }

static const struct {
    crdma_model_machine_t machine;
    const char *origin;
} machines[] = {
    {{.name = "shm", .level = {SHM_LEVEL, SHM_LEVEL}, .call = 53.486, .reduce = 0.014872,
      .ll_max = 16, .block_size = 8192},
     "measured by coll_rdma_tune: 2 ranks in a virtual machine on AMD EPYC; both levels alike"},
    {{.name = "tcp",
      .level = {SHM_LEVEL,
                {.latency = 1072300, .overhead = 12488, .notify = 77744, .gap = 24692,
                 .byte = 8.6705, .copy_out = 1.7227, .copy_in = 4.0817, .rndv_min = 32768,
                 .sr_overhead = 16811, .sr_match = 72848, .sr_copy_out = 0.79119,
                 .sr_copy_in = 0.27877, .sr_eager_max = 65536}},
      .call = 63667, .reduce = 0.015686, .ll_max = 16, .block_size = 8192},
     "measured by coll_rdma_tune: emulated hosts, 1 ms, 1 Gbit/s, TCP through UCX (tests/hosts)"},
    {{.name = "infiniband",
      .level = {NODE_LEVEL,
                {.latency = 1000, .overhead = 100, .notify = 50, .gap = 10, .byte = 0.1,
                 .copy_out = 0.05, .copy_in = 0.1, .rndv_min = 32768, .sr_overhead = 150,
                 .sr_match = 200, .sr_copy_out = 0.05, .sr_copy_in = 0.1, .sr_eager_max = 8192}},
      .reduce = 0.05, .ll_max = 16, .block_size = 8192},
     "InfiniBand of 100 Gbit/s by the order of magnitude of data sheets; not measured"},
    {{.name = "clan",
      .level = {NODE_LEVEL,
                {.latency = 7000, .overhead = 1500, .notify = 500, .byte = 9,
                 .copy_out = 2, .copy_in = 2, .rndv_min = 5121, .sr_overhead = 2500,
                 .sr_match = 2500, .sr_copy_out = 2, .sr_copy_in = 2, .sr_eager_max = 5120}},
      .reduce = 3, .ll_max = 0, .block_size = 5120},
     "the paper's 1 GHz processors and GigaNet cLAN; assumed, see doc/model.md; not measured"},
};

enum { NMACHINES = sizeof(machines) / sizeof(machines[0]) };

const crdma_model_machine_t *crdma_model_machine_at(int i, const char **origin)
{
    if (i < 0 || i >= NMACHINES) {
        return NULL;
    }
    *origin = machines[i].origin;
    return &machines[i].machine;
}

const crdma_model_machine_t *crdma_model_machine_find(const char *name)
{
    for (int i = 0; i < NMACHINES; ++i) {
        if (0 == strcmp(name, machines[i].machine.name)) {
            return &machines[i].machine;
        }
    }
    return NULL;
}

const char *crdma_model_machine_field(crdma_model_machine_t *machine, int i, double **value,
                                      const char **unit)
{
    if (i < 0 || i >= NFIELDS) {
        return NULL;
    }
    *value = (double *) (void *) ((char *) machine + fields[i].offset);
    *unit = fields[i].unit;
    return fields[i].name;
}

static int assign(crdma_model_machine_t *machine, const char *name, const char *text)
{
    char *end;
    const double value = strtod(text, &end);

    if (0 == strcmp(name, "name")) {
        snprintf(machine->name, sizeof(machine->name), "%.39s", text);
        return 1;
    }
    if (end == text || '\0' != *end || !(value >= 0)) {
        return 0;
    }
    for (int i = 0; i < NFIELDS; ++i) {
        if (0 == strcmp(name, fields[i].name)) {
            *(double *) (void *) ((char *) machine + fields[i].offset) = value;
            return 1;
        }
    }
    return 0;
}

crdma_status_t crdma_model_machine_read(FILE *from, crdma_model_machine_t *machine, int *line)
{
    char text[512], word[32], name[64], value[64];

    for (*line = 1; NULL != fgets(text, sizeof(text), from); ++*line) {
        text[strcspn(text, "#\n")] = '\0';
        if (1 != sscanf(text, "%31s", word) || 0 != strcmp(word, "param")) {
            continue;
        }
        if (2 != sscanf(text, "%*s %63s %63s", name, value) || !assign(machine, name, value)) {
            return CRDMA_ERR_PARAM;
        }
    }
    return CRDMA_OK;
}

void crdma_model_machine_write(FILE *to, const crdma_model_machine_t *machine)
{
    fprintf(to, "param name %s\n", machine->name);
    for (int i = 0; i < NFIELDS; ++i) {
        fprintf(to, "param %-21s %-10.5g # %s\n", fields[i].name,
                *(const double *) (const void *) ((const char *) machine + fields[i].offset),
                fields[i].unit);
    }
}
