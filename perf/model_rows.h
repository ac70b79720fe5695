/*
 * What coll_rdma_model prices: one row per (ranks, bytes, algorithm, degree, RDMA or send-receive).
 */
#ifndef PERF_MODEL_ROWS_H
#define PERF_MODEL_ROWS_H

#include <stdbool.h>
#include <stdio.h>

#include "coll_rdma/model/best.h"

enum { MODEL_LIST_MAX = 64 };

/* Numbers of the command line. */
struct model_list {
    size_t value[MODEL_LIST_MAX];
    int n;
};

struct model_query {
    crdma_model_machine_t machine;
    crdma_coll_t coll;
    struct model_list ranks, bytes;
    struct model_list degrees;           /* empty: the best one */
    bool every_degree;                   /* all that are worth trying instead */
    crdma_alg_t algorithm[CRDMA_NALGS];  /* empty: all of the collective */
    int nalgorithms;
    int per_node;
    bool send_receive; /* counterparts too */
    size_t segment;    /* bytes, 0: one */
};

struct model_row {
    int ranks, per_node;
    size_t bytes;
    crdma_alg_t alg;
    int degree;
    bool send_receive;
    bool formula; /* too many messages for the walker */
    double best_us, worst_us;
};

struct model_rows {
    struct model_row *row;
    int n, room;
};

/* "4096", "4K", "1M". */
bool model_size_parse(const char *text, size_t *bytes);

/* "4,8,1K", "4:4K" (doubling), or both mixed. */
bool model_list_parse(const char *text, struct model_list *list);

/* 0, or -1 with a message on stderr. Rows that no generator or formula serves are left out. */
int model_rows_make(const struct model_query *query, struct model_rows *rows);
void model_rows_free(struct model_rows *rows);

void model_rows_print(FILE *to, const struct model_query *query, const struct model_rows *rows);
void model_rows_csv(FILE *to, const struct model_query *query, const struct model_rows *rows);

/* "tree", or what it is called in send-receive libraries. */
const char *model_row_name(const struct model_row *row, char *text, size_t size);

/* The case that a row stands for. */
crdma_model_case_t model_case(const struct model_query *query, int ranks, crdma_alg_t alg,
                              int degree);

#endif
