/*
 * The lists behind types.h: which predefined types and operations there are, which group each
 * type is in and which groups each operation accepts. A wrong or forgotten row here would
 * leave a pair untested, so the lists follow the order of MPI's own tables.
 */
#include "tests/mpi/types.h"

#define T(mpi_type, kind, group)                                                                   \
    {                                                                                              \
#mpi_type, mpi_type, kind, group                                                           \
    }

const test_type_t *test_types(int *count)
{
    static test_type_t list[80];
    static int listed = 0;
    const test_kind_t long_kind = 8 == sizeof(long) ? KIND_I64 : KIND_I32;
    const test_kind_t ulong_kind = 8 == sizeof(long) ? KIND_U64 : KIND_U32;
    const test_type_t all[] = {
        T(MPI_INT, KIND_I32, GROUP_C_INTEGER),
        T(MPI_LONG, long_kind, GROUP_C_INTEGER),
        T(MPI_SHORT, KIND_I16, GROUP_C_INTEGER),
        T(MPI_UNSIGNED_SHORT, KIND_U16, GROUP_C_INTEGER),
        T(MPI_UNSIGNED, KIND_U32, GROUP_C_INTEGER),
        T(MPI_UNSIGNED_LONG, ulong_kind, GROUP_C_INTEGER),
        T(MPI_LONG_LONG_INT, KIND_I64, GROUP_C_INTEGER),
        T(MPI_LONG_LONG, KIND_I64, GROUP_C_INTEGER),
        T(MPI_UNSIGNED_LONG_LONG, KIND_U64, GROUP_C_INTEGER),
        T(MPI_SIGNED_CHAR, KIND_I8, GROUP_C_INTEGER),
        T(MPI_UNSIGNED_CHAR, KIND_U8, GROUP_C_INTEGER),
        T(MPI_INT8_T, KIND_I8, GROUP_C_INTEGER),
        T(MPI_INT16_T, KIND_I16, GROUP_C_INTEGER),
        T(MPI_INT32_T, KIND_I32, GROUP_C_INTEGER),
        T(MPI_INT64_T, KIND_I64, GROUP_C_INTEGER),
        T(MPI_UINT8_T, KIND_U8, GROUP_C_INTEGER),
        T(MPI_UINT16_T, KIND_U16, GROUP_C_INTEGER),
        T(MPI_UINT32_T, KIND_U32, GROUP_C_INTEGER),
        T(MPI_UINT64_T, KIND_U64, GROUP_C_INTEGER),
        T(MPI_INTEGER, KIND_I32, GROUP_FORTRAN_INTEGER),
#ifdef MPI_INTEGER1
        T(MPI_INTEGER1, KIND_I8, GROUP_FORTRAN_INTEGER),
        T(MPI_INTEGER2, KIND_I16, GROUP_FORTRAN_INTEGER),
        T(MPI_INTEGER4, KIND_I32, GROUP_FORTRAN_INTEGER),
        T(MPI_INTEGER8, KIND_I64, GROUP_FORTRAN_INTEGER),
#endif
        T(MPI_FLOAT, KIND_FLOAT, GROUP_FLOATING),
        T(MPI_DOUBLE, KIND_DOUBLE, GROUP_FLOATING),
        T(MPI_LONG_DOUBLE, KIND_LDOUBLE, GROUP_FLOATING),
        T(MPI_REAL, KIND_FLOAT, GROUP_FLOATING),
        T(MPI_DOUBLE_PRECISION, KIND_DOUBLE, GROUP_FLOATING),
#ifdef MPI_REAL4
        T(MPI_REAL4, KIND_FLOAT, GROUP_FLOATING),
        T(MPI_REAL8, KIND_DOUBLE, GROUP_FLOATING),
#endif
        T(MPI_LOGICAL, KIND_LOGICAL4, GROUP_LOGICAL),
#ifdef MPI_LOGICAL1
        T(MPI_LOGICAL1, KIND_LOGICAL1, GROUP_LOGICAL),
        T(MPI_LOGICAL2, KIND_LOGICAL2, GROUP_LOGICAL),
        T(MPI_LOGICAL4, KIND_LOGICAL4, GROUP_LOGICAL),
        T(MPI_LOGICAL8, KIND_LOGICAL8, GROUP_LOGICAL),
#endif
        T(MPI_C_BOOL, KIND_BOOL, GROUP_LOGICAL),
#ifdef MPI_CXX_BOOL
        T(MPI_CXX_BOOL, KIND_BOOL, GROUP_LOGICAL),
        T(MPI_CXX_FLOAT_COMPLEX, KIND_CFLOAT, GROUP_COMPLEX),
        T(MPI_CXX_DOUBLE_COMPLEX, KIND_CDOUBLE, GROUP_COMPLEX),
        T(MPI_CXX_LONG_DOUBLE_COMPLEX, KIND_CLDOUBLE, GROUP_COMPLEX),
#endif
        T(MPI_COMPLEX, KIND_CFLOAT, GROUP_COMPLEX),
#ifdef MPI_DOUBLE_COMPLEX
        T(MPI_DOUBLE_COMPLEX, KIND_CDOUBLE, GROUP_COMPLEX),
#endif
#ifdef MPI_COMPLEX8
        T(MPI_COMPLEX8, KIND_CFLOAT, GROUP_COMPLEX),
        T(MPI_COMPLEX16, KIND_CDOUBLE, GROUP_COMPLEX),
#endif
        T(MPI_C_COMPLEX, KIND_CFLOAT, GROUP_COMPLEX),
        T(MPI_C_FLOAT_COMPLEX, KIND_CFLOAT, GROUP_COMPLEX),
        T(MPI_C_DOUBLE_COMPLEX, KIND_CDOUBLE, GROUP_COMPLEX),
        T(MPI_C_LONG_DOUBLE_COMPLEX, KIND_CLDOUBLE, GROUP_COMPLEX),
        T(MPI_BYTE, KIND_U8, GROUP_BYTE),
        T(MPI_AINT, 8 == sizeof(MPI_Aint) ? KIND_I64 : KIND_I32, GROUP_MULTI),
        T(MPI_OFFSET, 8 == sizeof(MPI_Offset) ? KIND_I64 : KIND_I32, GROUP_MULTI),
        T(MPI_COUNT, 8 == sizeof(MPI_Count) ? KIND_I64 : KIND_I32, GROUP_MULTI),
        T(MPI_FLOAT_INT, KIND_FLOAT_INT, GROUP_PAIR),
        T(MPI_DOUBLE_INT, KIND_DOUBLE_INT, GROUP_PAIR),
        T(MPI_LONG_INT, KIND_LONG_INT, GROUP_PAIR),
        T(MPI_2INT, KIND_2INT, GROUP_PAIR),
        T(MPI_SHORT_INT, KIND_SHORT_INT, GROUP_PAIR),
        T(MPI_LONG_DOUBLE_INT, KIND_LDOUBLE_INT, GROUP_PAIR),
        T(MPI_2REAL, KIND_2FLOAT, GROUP_PAIR),
        T(MPI_2DOUBLE_PRECISION, KIND_2DOUBLE, GROUP_PAIR),
        T(MPI_2INTEGER, KIND_2INT, GROUP_PAIR),
    };

    for (size_t i = 0; 0 == listed && i < sizeof(all) / sizeof(all[0]); ++i) {
        MPI_Aint lb = 0, extent = 0;
        static int found = 0;

        /* A type that this library lacks is null or has another size. */
        if (MPI_DATATYPE_NULL != all[i].type &&
            MPI_SUCCESS == MPI_Type_get_extent(all[i].type, &lb, &extent) &&
            (size_t)extent == test_kind_extent(all[i].kind)) {
            list[found++] = all[i];
        }
        if (i + 1 == sizeof(all) / sizeof(all[0])) {
            listed = found;
        }
    }
    *count = listed;
    return list;
}

#define O(mpi_op, code, groups)                                                                    \
    {                                                                                              \
#mpi_op, mpi_op, code, groups                                                              \
    }

#define NUMBER  (GROUP_C_INTEGER | GROUP_FORTRAN_INTEGER | GROUP_FLOATING | GROUP_MULTI)
#define TRUTH   (GROUP_C_INTEGER | GROUP_LOGICAL)
#define BITWISE (GROUP_C_INTEGER | GROUP_FORTRAN_INTEGER | GROUP_BYTE | GROUP_MULTI)

const test_op_t *test_ops(int *count)
{
    static test_op_t list[12];
    const test_op_t all[] = {
        O(MPI_MAX, OP_MAX, NUMBER),
        O(MPI_MIN, OP_MIN, NUMBER),
        O(MPI_SUM, OP_SUM, NUMBER | GROUP_COMPLEX),
        O(MPI_PROD, OP_PROD, NUMBER | GROUP_COMPLEX),
        O(MPI_LAND, OP_LAND, TRUTH),
        O(MPI_BAND, OP_BAND, BITWISE),
        O(MPI_LOR, OP_LOR, TRUTH),
        O(MPI_BOR, OP_BOR, BITWISE),
        O(MPI_LXOR, OP_LXOR, TRUTH),
        O(MPI_BXOR, OP_BXOR, BITWISE),
        O(MPI_MAXLOC, OP_MAXLOC, GROUP_PAIR),
        O(MPI_MINLOC, OP_MINLOC, GROUP_PAIR),
    };

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); ++i) {
        list[i] = all[i];
    }
    *count = (int)(sizeof(all) / sizeof(all[0]));
    return list;
}
