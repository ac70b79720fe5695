/* Pricing and choosing; see best.h. */
#include "coll_rdma/model/best.h"

#include <float.h>

#include "coll_rdma/model/formula.h"

enum { DEGREES_MAX = 64 };

/* A job may be NULL: then by formula. */
static crdma_status_t price(const crdma_model_job_t *job, const crdma_model_case_t *what,
                            const crdma_model_machine_t *machine, const crdma_model_call_t *call,
                            double *ns)
{
    crdma_model_result_t result;
    crdma_status_t status;
    bool exact;

    if (NULL == job) {
        return crdma_model_formula(what, machine, call, ns, &exact);
    }
    status = crdma_model_walk(job, machine, call, &result);
    if (CRDMA_OK == status) {
        *ns = result.ns;
    }
    return status;
}

/* Messages of an exchange among n with degree k, at least: all full rounds. */
static int64_t exchange_messages(int64_t n, int64_t k)
{
    int64_t rounds = 0;

    for (int64_t reach = k + 1; reach <= n; reach *= k + 1) {
        ++rounds;
    }
    return 0 == rounds ? n * (n - 1) : n * k * rounds;
}

/* More messages than a job may have, without making it. */
static bool is_too_large(const crdma_model_case_t *what)
{
    const int64_t n = what->two_level ? crdma_model_nnodes(what) : what->size;
    const crdma_alg_t alg =
        what->two_level && CRDMA_ALG_AUTO != what->inter_alg ? what->inter_alg : what->alg;
    const int64_t k = what->two_level ? what->inter_degree : what->degree;

    switch (alg) {
    case CRDMA_ALG_RING:
        return n * n > CRDMA_MODEL_MESSAGES_MAX / 2;
    case CRDMA_ALG_EXCHANGE:
    case CRDMA_ALG_SCATTER_ALLGATHER:
        return exchange_messages(n, k < n ? k : n - 1) > CRDMA_MODEL_MESSAGES_MAX;
    case CRDMA_ALG_RSAG:
        return (CRDMA_ALLREDUCE == what->coll ? 2 : 1) * exchange_messages(n, k < n ? k : n - 1)
               > CRDMA_MODEL_MESSAGES_MAX;
    default:
        return false;
    }
}

crdma_status_t crdma_model_make(const crdma_model_case_t *what, crdma_model_job_t **job)
{
    crdma_status_t status = CRDMA_ERR_NOMEM;

    *job = NULL;
    if (!is_too_large(what)) {
        status = crdma_model_job_create(what, job);
    }
    return CRDMA_ERR_NOMEM == status ? CRDMA_OK : status;
}

crdma_status_t crdma_model_price(const crdma_model_case_t *what,
                                 const crdma_model_machine_t *machine,
                                 const crdma_model_call_t *call, double *ns, bool *walked)
{
    crdma_model_job_t *job;
    crdma_status_t status = crdma_model_make(what, &job);

    if (CRDMA_OK == status) {
        *walked = NULL != job;
        status = price(job, what, machine, call, ns);
    }
    crdma_model_job_free(job);
    return status;
}

int crdma_model_degrees(int size, int *degree, int room)
{
    static const int always[] = {1, 3, 7, 15};
    int n = 0;

    for (int d = 62; d >= 1 && n < room; --d) {
        int low = 1, high = size - 1 > 1 ? size - 1 : 1;

        while (low < high) { /* the least K with (K+1)^d >= N */
            const int k = low + (high - low) / 2;
            int64_t reach = 1;

            for (int i = 0; i < d && reach < size; ++i) {
                reach *= (int64_t) k + 1;
            }
            if (reach >= size) {
                high = k;
            } else {
                low = k + 1;
            }
        }
        if (0 == n || degree[n - 1] != low) {
            degree[n++] = low;
        }
    }
    for (size_t i = 0; i < sizeof(always) / sizeof(always[0]); ++i) {
        int at = 0;

        while (at < n && degree[at] < always[i]) {
            ++at;
        }
        if (always[i] < size && n < room && (at == n || degree[at] != always[i])) {
            for (int j = n++; j > at; --j) {
                degree[j] = degree[j - 1];
            }
            degree[at] = always[i];
        }
    }
    return n;
}

crdma_status_t crdma_model_best_degree(const crdma_model_case_t *what,
                                       const crdma_model_machine_t *machine,
                                       const crdma_model_call_t *call, const size_t *bytes, int n,
                                       int *degree, double *ns)
{
    int candidates[DEGREES_MAX];
    const int size = what->two_level ? crdma_model_nnodes(what) : what->size;
    const int count = crdma_model_degrees(size, candidates, DEGREES_MAX);
    crdma_status_t status = CRDMA_OK;

    for (int i = 0; i < n; ++i) {
        ns[i] = DBL_MAX;
        degree[i] = 1;
    }
    for (int c = 0; c < count && CRDMA_OK == status; ++c) {
        crdma_model_case_t trial = *what;
        crdma_model_job_t *job;

        *(what->two_level ? &trial.inter_degree : &trial.degree) = candidates[c];
        status = crdma_model_make(&trial, &job);
        for (int i = 0; i < n && CRDMA_OK == status; ++i) {
            crdma_model_call_t this_call = *call;
            double took = 0;

            this_call.bytes = bytes[i];
            status = price(job, &trial, machine, &this_call, &took);
            if (CRDMA_OK == status && took < ns[i]) {
                ns[i] = took;
                degree[i] = candidates[c];
            }
        }
        if (CRDMA_ERR_UNSUPPORTED == status && NULL == job) {
            status = CRDMA_OK; /* too large for the walker, and no formula: not a candidate */
        }
        crdma_model_job_free(job);
    }
    return status;
}
