/*
 * Choosing the factors of an exchange, and the folding of what does not factor (core.h).
 *
 * Two candidates are compared:
 * - exact: N itself as a product of as few factors as possible; depth-first over the
 *   divisors of N (at most 128 for N <= 65536);
 * - folded: M < N, groups of g = ceil(N / M) members. One fold takes K followers at most,
 *   g <= K+1, so R rounds suffice when (K+1)^R >= ceil(N / (K+1)). All but the last factor are
 *   tried in descending order; the last one follows from N and g.
 * Both are pure functions of (N, K): all ranks choose alike.
 */
#include "coll_rdma/schedule/core.h"

#include <string.h>

typedef struct crdma_choice {
    int nrounds; /* 0: nothing found */
    int product;
    int64_t cost; /* messages one after another: sum of f - 1, and 2 (g - 1) for the fold */
    int factor[CRDMA_CORE_MAX_ROUNDS];
} crdma_choice_t;

typedef struct crdma_search {
    int size;
    int radix;
    crdma_core_goal_t goal;
    int nrounds; /* wanted, folded search only */
    int ndivisors;
    int divisor[CRDMA_CORE_MAX_ROUNDS * 64]; /* ascending, 2 .. radix; 1536 at most below 2^31 */
    crdma_choice_t trial;
    crdma_choice_t best;
} crdma_search_t;

static int ceil_div(int n, int d)
{
    return n / d + (0 != n % d);
}

static void keep_if_better(crdma_search_t *s, int better)
{
    if (0 == s->best.nrounds || better) {
        s->best = s->trial;
    }
}

static void find_divisors(crdma_search_t *s)
{
    int upper[CRDMA_CORE_MAX_ROUNDS * 32], nupper = 0;

    for (int d = 1; (int64_t)d * d <= s->size; d++) {
        if (0 == s->size % d) {
            if (d > 1 && d <= s->radix) {
                s->divisor[s->ndivisors++] = d;
            }
            if (s->size / d <= s->radix && s->size / d != d) {
                upper[nupper++] = s->size / d;
            }
        }
    }
    while (nupper > 0) {
        s->divisor[s->ndivisors++] = upper[--nupper];
    }
}

/* Factor `rest` into divisors number `largest` and below. */
static void search_exact(crdma_search_t *s, int rest, int largest)
{
    crdma_choice_t *t = &s->trial;

    if (1 == rest) {
        keep_if_better(s, t->nrounds < s->best.nrounds ||
                              (t->nrounds == s->best.nrounds && t->cost < s->best.cost));
        return;
    }
    for (int i = largest; i >= 0; i--) {
        int f = s->divisor[i];
        int64_t reach = 1;

        /* f and smaller ones cannot beat the best any more */
        for (int r = t->nrounds; reach < rest && r < CRDMA_CORE_MAX_ROUNDS &&
                                 (0 == s->best.nrounds || r < s->best.nrounds);
             r++) {
            reach *= f;
        }
        if (reach < rest) {
            return;
        }
        if (0 == rest % f) {
            t->factor[t->nrounds++] = f;
            t->cost += f - 1;
            search_exact(s, rest / f, i);
            t->cost -= f - 1;
            t->nrounds--;
        }
    }
}

static void finish_folded(crdma_search_t *s, int64_t product, int largest)
{
    crdma_choice_t *t = &s->trial;
    int last = (int)(s->size / product) < largest ? (int)(s->size / product) : largest;
    int limit = CRDMA_CORE_FEW_ROUNDS == s->goal ? s->radix : 2;

    if (last < 2) {
        return;
    }
    int g = ceil_div(s->size, (int)product * last);
    if (g > limit) {
        return;
    }
    if (CRDMA_CORE_FEW_ROUNDS == s->goal) {
        last = ceil_div(ceil_div(s->size, g), (int)product); /* the smallest with this g */
    }
    t->factor[t->nrounds] = last;
    t->product = (int)product * last;
    int64_t cost = t->cost;
    t->cost += last - 1 + 2 * (int64_t)(g - 1);
    t->nrounds++;
    if (CRDMA_CORE_FEW_ROUNDS == s->goal) {
        keep_if_better(s, t->cost < s->best.cost ||
                              (t->cost == s->best.cost && t->product > s->best.product));
    } else {
        keep_if_better(s, t->product > s->best.product);
    }
    t->nrounds--;
    t->cost = cost;
}

static void search_folded(crdma_search_t *s, int64_t product, int largest)
{
    crdma_choice_t *t = &s->trial;

    if (t->nrounds == s->nrounds - 1) {
        finish_folded(s, product, largest);
        return;
    }
    for (int f = largest; f >= 2; f--) {
        if (product * f > s->size) {
            continue;
        }
        t->factor[t->nrounds++] = f;
        t->cost += f - 1;
        search_folded(s, product * f, f);
        t->cost -= f - 1;
        t->nrounds--;
    }
}

int crdma_core_factor(int size, int radix, crdma_core_goal_t goal, int *factor, int *product)
{
    crdma_search_t s;
    crdma_choice_t exact;

    *product = size;
    if (size <= radix) {
        factor[0] = size;
        return size > 1;
    }
    memset(&s, 0, offsetof(crdma_search_t, divisor));
    memset(&s.trial, 0, sizeof(s.trial));
    memset(&s.best, 0, sizeof(s.best));
    s.size = size;
    s.radix = radix;
    s.goal = goal;
    find_divisors(&s);
    s.trial.product = size;
    search_exact(&s, size, s.ndivisors - 1);
    exact = s.best;

    /* the least number of rounds that a folded core needs, whether or not N factors */
    int least = CRDMA_CORE_FEW_ROUNDS == goal ? ceil_div(size, radix) : ceil_div(size, 2);
    int64_t reach = 1;
    for (s.nrounds = 0; reach < least; s.nrounds++) {
        reach *= radix;
    }
    int fold =
        0 == exact.nrounds || (CRDMA_CORE_FEW_ROUNDS == goal && exact.nrounds >= s.nrounds + 2);
    if (fold) {
        s.best.nrounds = 0;
        for (; 0 == s.best.nrounds; s.nrounds++) {
            search_folded(&s, 1, radix);
        }
        if (exact.nrounds > 0 &&
            (exact.nrounds < s.best.nrounds + 2 ||
             (exact.nrounds == s.best.nrounds + 2 && exact.cost <= s.best.cost))) {
            fold = 0;
        }
    }
    const crdma_choice_t *chosen = fold ? &s.best : &exact;
    memcpy(factor, chosen->factor, (size_t)chosen->nrounds * sizeof(factor[0]));
    *product = chosen->product;
    return chosen->nrounds;
}

void crdma_core_init(crdma_core_t *core, const crdma_part_t *part, int root, crdma_core_goal_t goal)
{
    core->nrounds = crdma_core_factor(part->group.size, crdma_part_radix(part), goal, core->factor,
                                      &core->groups.parts);
    core->groups.n = part->group.size;
    core->root = root;
    core->me = crdma_split_find(core->groups, part->group.me);
    core->leader = crdma_core_member(core, core->me);
}

int crdma_core_member(const crdma_core_t *core, int i)
{
    int first = crdma_split_first(core->groups, i);

    if (core->root >= first && core->root < first + crdma_split_count(core->groups, i)) {
        return core->root;
    }
    return first;
}

crdma_buf_t crdma_core_fold_in(crdma_build_t *b, const crdma_part_t *part, const crdma_core_t *core)
{
    const crdma_group_t *group = &part->group;
    int first = crdma_split_first(core->groups, core->me);
    int count = crdma_split_count(core->groups, core->me);

    if (crdma_core_follows(core, part)) {
        crdma_build_send(b, part->in, crdma_group_rank(group, core->leader), 0, b->sched->nblocks);
        return part->in;
    }
    if (1 == count) {
        return part->in;
    }
    crdma_build_reduce(b, part->acc, part->in, 0, b->sched->nblocks);
    for (int m = first; m < first + count; m++) {
        crdma_build_operand(b, m == group->me ? CRDMA_SELF : crdma_group_rank(group, m));
    }
    return part->acc;
}

void crdma_core_fold_out(crdma_build_t *b, const crdma_part_t *part, const crdma_core_t *core)
{
    const crdma_group_t *group = &part->group;
    int first = crdma_split_first(core->groups, core->me);
    int count = crdma_split_count(core->groups, core->me);

    if (crdma_core_follows(core, part)) {
        crdma_build_recv(b, part->acc, crdma_group_rank(group, core->leader), 0, b->sched->nblocks);
        return;
    }
    for (int m = first; m < first + count; m++) {
        if (m != group->me) {
            crdma_build_send(b, part->acc, crdma_group_rank(group, m), 0, b->sched->nblocks);
        }
    }
}
