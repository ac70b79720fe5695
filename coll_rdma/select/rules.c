/* Reading, writing and finding rules; see rules.h. */
#include "coll_rdma/select/rules.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static const char *const levels[] = {"inside", "between"};

static bool parse_number(const char *text, char **end, size_t *value)
{
    errno = 0;
    *value = strtoull(text, end, 10);
    return *end != text && '-' != text[0] && 0 == errno;
}

/* "4-8", "4-" (no end), "4". */
static bool parse_range(const char *text, size_t most, size_t *low, size_t *high)
{
    char *end;

    if (!parse_number(text, &end, low)) {
        return false;
    }
    *high = *low;
    if ('-' == *end) {
        *high = most;
        if ('\0' == end[1]) {
            return *low <= most;
        }
        if (!parse_number(end + 1, &end, high)) {
            return false;
        }
    }
    return '\0' == *end && *low <= *high && *high <= most;
}

static int index_of(const char *text, const char *const *names, int n)
{
    for (int i = 0; i < n; ++i) {
        if (0 == strcmp(text, names[i])) {
            return i;
        }
    }
    return -1;
}

static bool parse_rule(const char *text, crdma_rule_t *rule)
{
    char coll[16], level[16], ranks[32], bytes[48], alg[32];
    size_t low, high, degree, segment;
    int end = 0, c = 0, a = 1, l;

    if (7 != sscanf(text, "%*s %15s %15s %31s %47s %31s %zu %zu %n", coll, level, ranks, bytes,
                    alg, &degree, &segment, &end)
        || '\0' != text[end] || 1 > degree || INT_MAX < degree) {
        return false;
    }
    while (c < CRDMA_NCOLLS && 0 != strcmp(coll, crdma_coll_name((crdma_coll_t) c))) {
        ++c;
    }
    while (a < CRDMA_NALGS && 0 != strcmp(alg, crdma_alg_name((crdma_alg_t) a))) {
        ++a;
    }
    l = index_of(level, levels, 2);
    if (CRDMA_NCOLLS == c || CRDMA_NALGS == a || 0 > l
        || !crdma_sched_supported((crdma_coll_t) c, (crdma_alg_t) a)
        || !parse_range(ranks, INT_MAX, &low, &high)) {
        return false;
    }
    memset(rule, 0, sizeof(*rule)); /* padding too: it is hashed */
    rule->coll = (crdma_coll_t) c;
    rule->level = (crdma_rule_level_t) l;
    rule->ranks_min = (int) low;
    rule->ranks_max = (int) high;
    rule->alg = (crdma_alg_t) a;
    rule->degree = (int) degree;
    rule->segment = segment;
    return parse_range(bytes, SIZE_MAX, &rule->bytes_min, &rule->bytes_max);
}

static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t n)
{
    for (size_t i = 0; i < n; ++i) {
        hash = (hash ^ ((const unsigned char *) bytes)[i]) * 1099511628211u; /* FNV-1a */
    }
    return hash;
}

static uint64_t hash_of(const crdma_rules_t *rules)
{
    const uint64_t hash = hash_bytes(14695981039346656037u, rules->rule,
                                     (size_t) rules->n * sizeof(*rules->rule));

    return hash_bytes(hash, &rules->network, sizeof(rules->network));
}

/* Values of the model that count here, as they are in the file. */
typedef struct params {
    double latency, overhead, notify, byte;
} params_t;

/* False: not `param NAME VALUE`. Names that are not of this layer are not looked at. */
static bool parse_param(const char *text, params_t *params)
{
    const struct {
        const char *name;
        double *value;
    } known[] = {{"between.latency", &params->latency},
                 {"between.overhead", &params->overhead},
                 {"between.notify", &params->notify},
                 {"between.byte", &params->byte}};
    char name[64], value[64], *end;

    if (2 != sscanf(text, "%*s %63s %63s", name, value)) {
        return false;
    }
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); ++i) {
        if (0 == strcmp(name, known[i].name)) {
            *known[i].value = strtod(value, &end);
            return end != value && '\0' == *end && *known[i].value >= 0
                   && *known[i].value < 1e15;
        }
    }
    return true;
}

static crdma_network_hint_t hint_of(const params_t *p)
{
    return (crdma_network_hint_t) {
        .latency_ns = (uint64_t) (p->latency + 0.5),
        .overhead_ns = (uint64_t) ((p->overhead + p->notify) / 2 + 0.5),
        .gap_ps = (uint64_t) (1000 * p->byte + 0.5)};
}

static bool append(crdma_rules_t *rules, int *room, const crdma_rule_t *rule)
{
    if (rules->n == *room) {
        const int grown = 0 == *room ? 64 : 2 * *room;
        crdma_rule_t *moved = realloc(rules->rule, (size_t) grown * sizeof(*moved));

        if (NULL == moved) {
            return false;
        }
        rules->rule = moved;
        *room = grown;
    }
    memcpy(&rules->rule[rules->n++], rule, sizeof(*rule));
    return true;
}

crdma_status_t crdma_rules_load(FILE *from, crdma_rules_t **out, int *line)
{
    crdma_rules_t *rules = calloc(1, sizeof(*rules));
    crdma_status_t status = NULL != rules ? CRDMA_OK : CRDMA_ERR_NOMEM;
    char text[512], word[16];
    params_t params = {0};
    int room = 0;

    for (*line = 1; CRDMA_OK == status && NULL != fgets(text, sizeof(text), from); ++*line) {
        crdma_rule_t rule;

        text[strcspn(text, "#\n")] = '\0';
        if (1 != sscanf(text, "%15s", word)) {
            continue;
        }
        if (0 == strcmp(word, "param")) {
            if (!parse_param(text, &params)) {
                status = CRDMA_ERR_PARAM;
                break;
            }
            continue;
        }
        if (0 != strcmp(word, "rule") || !parse_rule(text, &rule)) {
            status = CRDMA_ERR_PARAM;
            break;
        }
        status = append(rules, &room, &rule) ? CRDMA_OK : CRDMA_ERR_NOMEM;
    }
    if (CRDMA_OK == status && ferror(from)) {
        status = CRDMA_ERR_SYSTEM;
    }
    if (CRDMA_OK != status) {
        crdma_rules_free(rules);
        return status;
    }
    rules->network = hint_of(&params);
    rules->hash = hash_of(rules);
    *out = rules;
    return CRDMA_OK;
}

void crdma_rules_free(crdma_rules_t *rules)
{
    if (NULL != rules) {
        free(rules->rule);
        free(rules);
    }
}

const crdma_rule_t *crdma_rules_find(const crdma_rules_t *rules, crdma_coll_t coll,
                                     crdma_rule_level_t level, int ranks, size_t bytes,
                                     bool ordered)
{
    for (int i = 0; NULL != rules && i < rules->n; ++i) {
        const crdma_rule_t *rule = &rules->rule[i];

        if (coll == rule->coll && level == rule->level && ranks >= rule->ranks_min
            && ranks <= rule->ranks_max && bytes >= rule->bytes_min && bytes <= rule->bytes_max
            && !(ordered && CRDMA_ALG_RING == rule->alg)) {
            return rule;
        }
    }
    return NULL;
}

void crdma_rule_write(FILE *to, const crdma_rule_t *rule)
{
    char bytes[48] = "", ranks[32] = "";

    if (INT_MAX != rule->ranks_max) {
        snprintf(ranks, sizeof(ranks), "%d", rule->ranks_max);
    }
    if (SIZE_MAX != rule->bytes_max) {
        snprintf(bytes, sizeof(bytes), "%zu", rule->bytes_max);
    }
    fprintf(to, "rule %s %s %d-%s %zu-%s %s %d %zu\n", crdma_coll_name(rule->coll),
            levels[rule->level], rule->ranks_min, ranks, rule->bytes_min, bytes,
            crdma_alg_name(rule->alg), rule->degree, rule->segment);
}
