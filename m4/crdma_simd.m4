# CRDMA_SIMD: instruction sets for which extra copies of the reduction kernels are compiled.
# The processor is asked at run time which copy it can run, so the test here is of the compiler only.
#
# REDUCE_CFLAGS goes to all reduction kernels. Contraction of a*b+c into one rounding is off: it
# happens with some instruction sets only, and every rank must get the same bits whatever its processor.

AC_DEFUN([CRDMA_SIMD], [
    REDUCE_CFLAGS=
    CRDMA_TRY_CFLAGS([-ffp-contract=off], [REDUCE_CFLAGS="$REDUCE_CFLAGS -ffp-contract=off"])
    CRDMA_TRY_CFLAGS([-ftree-vectorize -fvect-cost-model=dynamic],
        [REDUCE_CFLAGS="$REDUCE_CFLAGS -ftree-vectorize -fvect-cost-model=dynamic"])
    AC_SUBST([REDUCE_CFLAGS])

    AC_ARG_ENABLE([simd],
        [AS_HELP_STRING([--disable-simd], [no AVX2 and AVX-512 copies of the reduction kernels])],
        [], [enable_simd=yes])

    AVX2_CFLAGS=
    AVX512_CFLAGS=
    crdma_have_avx2=no
    crdma_have_avx512=no
    AS_IF([test "x$enable_simd" != xno],
        [AS_CASE([$host_cpu],
            [x86_64|amd64],
            [CRDMA_TRY_CFLAGS([-mavx2],
                [AVX2_CFLAGS="-mavx2"
                 crdma_have_avx2=yes])
             CRDMA_TRY_CFLAGS([-mavx512f -mavx512bw -mavx512dq -mavx512vl],
                [AVX512_CFLAGS="-mavx512f -mavx512bw -mavx512dq -mavx512vl"
                 crdma_have_avx512=yes])])])
    AC_SUBST([AVX2_CFLAGS])
    AC_SUBST([AVX512_CFLAGS])

    crdma_simd="baseline of $host_cpu"
    AS_IF([test $crdma_have_avx2 = yes],
        [AC_DEFINE([CRDMA_HAVE_AVX2], [1], [AVX2 copies of the reduction kernels are compiled in])
         crdma_simd="$crdma_simd, AVX2"])
    AS_IF([test $crdma_have_avx512 = yes],
        [AC_DEFINE([CRDMA_HAVE_AVX512], [1],
            [AVX-512 copies of the reduction kernels are compiled in])
         crdma_simd="$crdma_simd, AVX-512"])
    AM_CONDITIONAL([HAVE_AVX2], [test $crdma_have_avx2 = yes])
    AM_CONDITIONAL([HAVE_AVX512], [test $crdma_have_avx512 = yes])
])

# CRDMA_TRY_CFLAGS(flags, if-accepted)
AC_DEFUN([CRDMA_TRY_CFLAGS], [
    AC_MSG_CHECKING([whether $CC accepts $1])
    crdma_save_CFLAGS=$CFLAGS
    CFLAGS="$CFLAGS $1 -Werror"
    AC_COMPILE_IFELSE([AC_LANG_SOURCE([[int crdma_probe(int a); int crdma_probe(int a) { return a; }]])],
        [crdma_accepted=yes], [crdma_accepted=no])
    CFLAGS=$crdma_save_CFLAGS
    AC_MSG_RESULT([$crdma_accepted])
    AS_IF([test $crdma_accepted = yes], [$2])
])
