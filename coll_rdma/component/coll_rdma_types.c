/*
 * From Open MPI's operations and datatypes to the ids of the reduction kernels.
 *
 * Open MPI numbers its predefined datatypes (ompi_datatype_t::id), but differently in each release,
 * gives several of them one number, and decides at its own configuration how large the Fortran
 * ones are. So the list below names one datatype object for each kind and number; the first lookup
 * reads their numbers and sizes and fills a table from number to id.
 */
#include "ompi_config.h"

#include <float.h>
#include <stdint.h>

#include "ompi/datatype/ompi_datatype.h"
#include "ompi/datatype/ompi_datatype_internal.h"
#include "ompi/op/op.h"

#include "coll_rdma/component/coll_rdma_types.h"

enum kind { K_SIGNED, K_UNSIGNED, K_REAL, K_COMPLEX, K_BOOL, K_LOGICAL, K_PAIR };

static const struct {
    struct ompi_predefined_datatype_t *datatype;
    enum kind kind;
    crdma_type_id_t pair; /* K_PAIR only */
} predefined[] = {
    {&ompi_mpi_int8_t, K_SIGNED, 0},
    {&ompi_mpi_int16_t, K_SIGNED, 0},
    {&ompi_mpi_int32_t, K_SIGNED, 0},
    {&ompi_mpi_int64_t, K_SIGNED, 0},
    {&ompi_mpi_uint8_t, K_UNSIGNED, 0},
    {&ompi_mpi_uint16_t, K_UNSIGNED, 0},
    {&ompi_mpi_uint32_t, K_UNSIGNED, 0},
    {&ompi_mpi_uint64_t, K_UNSIGNED, 0},
    {&ompi_mpi_char, K_SIGNED, 0},
    {&ompi_mpi_unsigned_char, K_UNSIGNED, 0},
    {&ompi_mpi_signed_char, K_SIGNED, 0},
    {&ompi_mpi_byte, K_UNSIGNED, 0},
    {&ompi_mpi_short, K_SIGNED, 0},
    {&ompi_mpi_unsigned_short, K_UNSIGNED, 0},
    {&ompi_mpi_int, K_SIGNED, 0},
    {&ompi_mpi_unsigned, K_UNSIGNED, 0},
    {&ompi_mpi_long, K_SIGNED, 0},
    {&ompi_mpi_unsigned_long, K_UNSIGNED, 0},
    {&ompi_mpi_long_long_int, K_SIGNED, 0},
    {&ompi_mpi_unsigned_long_long, K_UNSIGNED, 0},
    {&ompi_mpi_aint, K_SIGNED, 0},
    {&ompi_mpi_offset, K_SIGNED, 0},
    {&ompi_mpi_count, K_SIGNED, 0},
    {&ompi_mpi_character, K_UNSIGNED, 0},
    {&ompi_mpi_integer, K_SIGNED, 0},
    {&ompi_mpi_integer1, K_SIGNED, 0},
    {&ompi_mpi_integer2, K_SIGNED, 0},
    {&ompi_mpi_integer4, K_SIGNED, 0},
    {&ompi_mpi_integer8, K_SIGNED, 0},

    {&ompi_mpi_float, K_REAL, 0},
    {&ompi_mpi_double, K_REAL, 0},
    {&ompi_mpi_long_double, K_REAL, 0},
    {&ompi_mpi_real, K_REAL, 0},
    {&ompi_mpi_dblprec, K_REAL, 0},
    {&ompi_mpi_real4, K_REAL, 0},
    {&ompi_mpi_real8, K_REAL, 0},

    {&ompi_mpi_c_float_complex, K_COMPLEX, 0},
    {&ompi_mpi_c_double_complex, K_COMPLEX, 0},
    {&ompi_mpi_c_long_double_complex, K_COMPLEX, 0},
    {&ompi_mpi_cxx_cplex, K_COMPLEX, 0},
    {&ompi_mpi_cxx_dblcplex, K_COMPLEX, 0},
    {&ompi_mpi_cxx_ldblcplex, K_COMPLEX, 0},
    {&ompi_mpi_cplex, K_COMPLEX, 0},
    {&ompi_mpi_dblcplex, K_COMPLEX, 0},
    {&ompi_mpi_ldblcplex, K_COMPLEX, 0},
    {&ompi_mpi_complex8, K_COMPLEX, 0},
    {&ompi_mpi_complex16, K_COMPLEX, 0},
#if 113 == LDBL_MANT_DIG
    {&ompi_mpi_complex32, K_COMPLEX, 0},
#endif

    {&ompi_mpi_c_bool, K_BOOL, 0},
    {&ompi_mpi_cxx_bool, K_BOOL, 0},
    {&ompi_mpi_logical, K_LOGICAL, 0},

    {&ompi_mpi_float_int, K_PAIR, CRDMA_TYPE_FLOAT_INT},
    {&ompi_mpi_double_int, K_PAIR, CRDMA_TYPE_DOUBLE_INT},
    {&ompi_mpi_long_int, K_PAIR, CRDMA_TYPE_LONG_INT},
    {&ompi_mpi_2int, K_PAIR, CRDMA_TYPE_2INT},
    {&ompi_mpi_short_int, K_PAIR, CRDMA_TYPE_SHORT_INT},
    {&ompi_mpi_longdbl_int, K_PAIR, CRDMA_TYPE_LDOUBLE_INT},
    {&ompi_mpi_2integer, K_PAIR, CRDMA_TYPE_2INT},
    {&ompi_mpi_2real, K_PAIR, CRDMA_TYPE_2FLOAT},
    {&ompi_mpi_2dblprec, K_PAIR, CRDMA_TYPE_2DOUBLE},
};

/* The candidates of each kind, of which the one of the right size is taken. */
static const crdma_type_id_t candidates[][4] = {
    [K_SIGNED] = {CRDMA_TYPE_INT8, CRDMA_TYPE_INT16, CRDMA_TYPE_INT32, CRDMA_TYPE_INT64},
    [K_UNSIGNED] = {CRDMA_TYPE_UINT8, CRDMA_TYPE_UINT16, CRDMA_TYPE_UINT32, CRDMA_TYPE_UINT64},
    [K_REAL] = {CRDMA_TYPE_FLOAT, CRDMA_TYPE_DOUBLE, CRDMA_TYPE_LDOUBLE},
    [K_COMPLEX] = {CRDMA_TYPE_CFLOAT, CRDMA_TYPE_CDOUBLE, CRDMA_TYPE_CLDOUBLE},
    [K_BOOL] = {CRDMA_TYPE_BOOL},
    [K_LOGICAL] = {CRDMA_TYPE_LOGICAL1, CRDMA_TYPE_LOGICAL2, CRDMA_TYPE_LOGICAL4,
                   CRDMA_TYPE_LOGICAL8},
};

static crdma_type_id_t match(enum kind kind, crdma_type_id_t pair, size_t size)
{
    if (K_PAIR == kind) {
        return crdma_type_size(pair) == size ? pair : CRDMA_TYPE_NONE;
    }
    for (int i = 0; i < 4; i++) {
        if (crdma_type_size(candidates[kind][i]) == size) {
            return candidates[kind][i];
        }
    }
    return CRDMA_TYPE_NONE;
}

/* Indexed by ompi_datatype_t::id. */
static struct {
    uint8_t type; /* crdma_type_id_t */
    uint8_t size;
} table[OMPI_DATATYPE_MPI_MAX_PREDEFINED];
static int table_filled;

/* Threads that come here together write the same bytes. */
static void fill_table(void)
{
    for (size_t i = 0; i < sizeof(predefined) / sizeof(predefined[0]); i++) {
        const struct ompi_datatype_t *datatype = &predefined[i].datatype->dt;
        const crdma_type_id_t type =
            match(predefined[i].kind, predefined[i].pair, datatype->super.size);
        if (CRDMA_TYPE_NONE != type && OMPI_DATATYPE_MPI_MAX_PREDEFINED > (unsigned)datatype->id) {
            __atomic_store_n(&table[datatype->id].size, (uint8_t)datatype->super.size,
                             __ATOMIC_RELAXED);
            __atomic_store_n(&table[datatype->id].type, (uint8_t)type, __ATOMIC_RELAXED);
        }
    }
    /* Pairs with the load in coll_rdma_type_id. */
    __atomic_store_n(&table_filled, 1, __ATOMIC_RELEASE);
}

crdma_type_id_t coll_rdma_type_id(struct ompi_datatype_t *datatype)
{
    if (OPAL_UNLIKELY(!__atomic_load_n(&table_filled, __ATOMIC_ACQUIRE))) {
        fill_table();
    }
    if (!ompi_datatype_is_predefined(datatype) ||
        OMPI_DATATYPE_MPI_MAX_PREDEFINED <= (unsigned)datatype->id) {
        return CRDMA_TYPE_NONE;
    }
#if 113 != LDBL_MANT_DIG
    /* Has the number of a long double of the same size, but is no such number. */
    if (OPAL_UNLIKELY(&ompi_mpi_real16.dt == datatype)) {
        return CRDMA_TYPE_NONE;
    }
#endif
    /* A type that this Open MPI lacks has a number too, but size 0. */
    if (table[datatype->id].size != datatype->super.size) {
        return CRDMA_TYPE_NONE;
    }
    return (crdma_type_id_t)table[datatype->id].type;
}

crdma_op_id_t coll_rdma_op_id(struct ompi_op_t *op)
{
    static const uint8_t ids[OMPI_OP_NUM_OF_TYPES] = {
        [OMPI_OP_NULL] = CRDMA_OP_NONE,     [OMPI_OP_MAX] = CRDMA_OP_MAX,
        [OMPI_OP_MIN] = CRDMA_OP_MIN,       [OMPI_OP_SUM] = CRDMA_OP_SUM,
        [OMPI_OP_PROD] = CRDMA_OP_PROD,     [OMPI_OP_LAND] = CRDMA_OP_LAND,
        [OMPI_OP_BAND] = CRDMA_OP_BAND,     [OMPI_OP_LOR] = CRDMA_OP_LOR,
        [OMPI_OP_BOR] = CRDMA_OP_BOR,       [OMPI_OP_LXOR] = CRDMA_OP_LXOR,
        [OMPI_OP_BXOR] = CRDMA_OP_BXOR,     [OMPI_OP_MAXLOC] = CRDMA_OP_MAXLOC,
        [OMPI_OP_MINLOC] = CRDMA_OP_MINLOC, [OMPI_OP_REPLACE] = CRDMA_OP_REPLACE,
    };
    if (!ompi_op_is_intrinsic(op)) {
        return CRDMA_OP_USER;
    }
    if (OMPI_OP_NUM_OF_TYPES > (unsigned)op->op_type) {
        return (crdma_op_id_t)ids[op->op_type];
    }
    return OMPI_OP_BASE_FORTRAN_NO_OP == op->o_f_to_c_index ? CRDMA_OP_NO_OP : CRDMA_OP_NONE;
}
