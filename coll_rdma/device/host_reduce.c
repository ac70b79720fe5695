/*
 * Host reductions: the choice of kernels, the fold of many inputs, sizes and names.
 *
 * The kernels themselves are in host_reduce_body.h, compiled once for each instruction set; each
 * compilation exports one table indexed by operation and type. The processor is asked once which
 * of the tables it can run.
 */
#include "coll_rdma/device/host_reduce.h"

#include <stdint.h>
#include <string.h>

#include "coll_rdma/kernels/reduce_ops.h"

crdma_isa_t crdma_isa_best(void)
{
#ifdef __x86_64__
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
        return CRDMA_ISA_AVX512;
    }
    if (__builtin_cpu_supports("avx2")) {
        return CRDMA_ISA_AVX2;
    }
#endif
    return CRDMA_ISA_BASE;
}

const char *crdma_isa_name(crdma_isa_t isa)
{
    static const char *const names[CRDMA_NISAS] = {"base", "avx2", "avx512"};
    return (unsigned)isa < CRDMA_NISAS ? names[isa] : "unknown";
}

static const crdma_reduce_table_t *table_of(crdma_isa_t isa)
{
#ifdef __x86_64__
    if (CRDMA_ISA_AVX512 == isa) {
        return &crdma_reduce_table_avx512;
    }
    if (CRDMA_ISA_AVX2 == isa) {
        return &crdma_reduce_table_avx2;
    }
#endif
    return CRDMA_ISA_BASE == isa ? &crdma_reduce_table_base : NULL;
}

static crdma_reduce_fn_t table_entry(const crdma_reduce_table_t *table, crdma_op_id_t op,
                                     crdma_type_id_t type)
{
    if ((unsigned)op >= CRDMA_NOPS || (unsigned)type >= CRDMA_NTYPES) {
        return NULL;
    }
    return (*table)[op][type];
}

crdma_reduce_fn_t crdma_reduce_lookup_isa(crdma_op_id_t op, crdma_type_id_t type, crdma_isa_t isa)
{
    const crdma_reduce_table_t *table = isa <= crdma_isa_best() ? table_of(isa) : NULL;
    return NULL == table ? NULL : table_entry(table, op, type);
}

crdma_reduce_fn_t crdma_reduce_lookup(crdma_op_id_t op, crdma_type_id_t type)
{
    /* Threads that meet here at first store the same pointer to constant data, so that neither
     * their order nor its visibility matters. */
    static const crdma_reduce_table_t *best;
    const crdma_reduce_table_t *table = __atomic_load_n(&best, __ATOMIC_RELAXED);
    if (NULL == table) {
        table = table_of(crdma_isa_best());
        __atomic_store_n(&best, table, __ATOMIC_RELAXED);
    }
    return table_entry(table, op, type);
}

/*
 * A strip of the result stays in the first-level cache while the inputs pass by it, so that memory
 * sees every input once and dst once:
 *
 *     acc = s0 s1 s2 s3,  acc = acc s4 s5 s6,  ...,  dst = acc s[n-3] s[n-2] s[n-1]
 *
 * The strip lives beside dst and not in it, because dst may be an input that is still to be read.
 */
void crdma_reduce_strips(crdma_reduce_fn_t kernel, size_t element_size, void *dst,
                         const void *const *src, int nsrc, size_t count)
{
    enum { STRIP = 4096 };
    _Alignas(64) unsigned char acc[STRIP];
    const size_t strip = STRIP / element_size;

    if (1 >= nsrc) {
        if (1 == nsrc && dst != src[0] && 0 != count) {
            memcpy(dst, src[0], count * element_size);
        }
        return;
    }
    for (size_t done = 0; done < count; done += strip) {
        const size_t n = count - done < strip ? count - done : strip;
        const size_t offset = done * element_size;
        const void *in[CRDMA_REDUCE_FANIN];
        int next = 0, held = 0;

        do {
            while (held < CRDMA_REDUCE_FANIN && next < nsrc) {
                in[held++] = (const unsigned char *)src[next++] + offset;
            }
            kernel(next < nsrc ? acc : (unsigned char *)dst + offset, in, held, n);
            in[0] = acc;
            held = 1;
        } while (next < nsrc);
    }
}

static const struct {
    size_t size;
    const char *name;
} types[CRDMA_NTYPES] = {
    [CRDMA_TYPE_NONE] = {0, "none"},
    [CRDMA_TYPE_INT8] = {1, "int8"},
    [CRDMA_TYPE_UINT8] = {1, "uint8"},
    [CRDMA_TYPE_INT16] = {2, "int16"},
    [CRDMA_TYPE_UINT16] = {2, "uint16"},
    [CRDMA_TYPE_INT32] = {4, "int32"},
    [CRDMA_TYPE_UINT32] = {4, "uint32"},
    [CRDMA_TYPE_INT64] = {8, "int64"},
    [CRDMA_TYPE_UINT64] = {8, "uint64"},
    [CRDMA_TYPE_FLOAT] = {sizeof(float), "float"},
    [CRDMA_TYPE_DOUBLE] = {sizeof(double), "double"},
    [CRDMA_TYPE_LDOUBLE] = {sizeof(long double), "long_double"},
    [CRDMA_TYPE_BYTE] = {1, "byte"},
    [CRDMA_TYPE_BOOL] = {1, "bool"},
    [CRDMA_TYPE_LOGICAL1] = {1, "logical1"},
    [CRDMA_TYPE_LOGICAL2] = {2, "logical2"},
    [CRDMA_TYPE_LOGICAL4] = {4, "logical4"},
    [CRDMA_TYPE_LOGICAL8] = {8, "logical8"},
    [CRDMA_TYPE_CFLOAT] = {sizeof(crdma_cf32_t), "float_complex"},
    [CRDMA_TYPE_CDOUBLE] = {sizeof(crdma_cf64_t), "double_complex"},
    [CRDMA_TYPE_CLDOUBLE] = {sizeof(crdma_cldb_t), "long_double_complex"},
    [CRDMA_TYPE_FLOAT_INT] = {sizeof(crdma_float_int_t), "float_int"},
    [CRDMA_TYPE_DOUBLE_INT] = {sizeof(crdma_double_int_t), "double_int"},
    [CRDMA_TYPE_LONG_INT] = {sizeof(crdma_long_int_t), "long_int"},
    [CRDMA_TYPE_2INT] = {sizeof(crdma_2int_t), "2int"},
    [CRDMA_TYPE_SHORT_INT] = {sizeof(crdma_short_int_t), "short_int"},
    [CRDMA_TYPE_LDOUBLE_INT] = {sizeof(crdma_ldb_int_t), "long_double_int"},
    [CRDMA_TYPE_2FLOAT] = {sizeof(crdma_2float_t), "2float"},
    [CRDMA_TYPE_2DOUBLE] = {sizeof(crdma_2double_t), "2double"},
};

_Static_assert(1 == sizeof(_Bool), "BOOL kernels are those of one byte");

size_t crdma_type_size(crdma_type_id_t type)
{
    return (unsigned)type < CRDMA_NTYPES ? types[type].size : 0;
}

const char *crdma_type_name(crdma_type_id_t type)
{
    return (unsigned)type < CRDMA_NTYPES ? types[type].name : "unknown";
}

const char *crdma_op_name(crdma_op_id_t op)
{
    static const char *const names[CRDMA_NOPS] = {
        "none", "max",  "min",  "sum",    "prod",   "land",    "band",  "lor",
        "bor",  "lxor", "bxor", "maxloc", "minloc", "replace", "no_op", "user"};
    return (unsigned)op < CRDMA_NOPS ? names[op] : "unknown";
}
