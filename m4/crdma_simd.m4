# CRDMA_SIMD: compiler flags of the reduction kernels.
#
# On x86-64 they are compiled three times; the processor is asked at run time which copy it can run,
# so the test here is of the compiler only. Elsewhere the copies are empty files.
#
# REDUCE_CFLAGS goes to all of them. Contraction of a*b+c into one rounding is off: it happens with
# some instruction sets only, and every rank must get the same bits whatever its processor. The other
# flags keep the loops vectorised when the user's CFLAGS say -O2.

AC_DEFUN([CRDMA_SIMD], [
    REDUCE_CFLAGS=
    CRDMA_TRY_CFLAGS([-ffp-contract=off],
        [REDUCE_CFLAGS="-ffp-contract=off"],
        [AC_MSG_ERROR([$CC must accept -ffp-contract=off, or ranks could get different bits])])
    CRDMA_TRY_CFLAGS([-ftree-vectorize -fvect-cost-model=dynamic],
        [REDUCE_CFLAGS="$REDUCE_CFLAGS -ftree-vectorize -fvect-cost-model=dynamic"])
    AC_SUBST([REDUCE_CFLAGS])

    AVX2_CFLAGS=
    AVX512_CFLAGS=
    crdma_simd="baseline of $host_cpu"
    AS_CASE([$host_cpu],
        [x86_64|amd64],
        [CRDMA_TRY_CFLAGS([-mavx2],
            [AVX2_CFLAGS="-mavx2"],
            [AC_MSG_ERROR([$CC does not compile for AVX2: use a newer compiler])])
         CRDMA_TRY_CFLAGS([-mavx512f -mavx512bw -mavx512vl -mavx512dq],
            [AVX512_CFLAGS="-mavx512f -mavx512bw -mavx512vl -mavx512dq"],
            [AC_MSG_ERROR([$CC does not compile for AVX-512: use a newer compiler])])
         crdma_simd="$crdma_simd, AVX2, AVX-512 (chosen at run time)"])
    AC_SUBST([AVX2_CFLAGS])
    AC_SUBST([AVX512_CFLAGS])
])

# CRDMA_TRY_CFLAGS(flags, if-accepted, if-refused)
AC_DEFUN([CRDMA_TRY_CFLAGS], [
    AC_MSG_CHECKING([whether $CC accepts $1])
    crdma_save_CFLAGS=$CFLAGS
    CFLAGS="$CFLAGS $1 -Werror"
    AC_COMPILE_IFELSE([AC_LANG_SOURCE([[int crdma_probe(int a); int crdma_probe(int a) { return a; }]])],
        [crdma_accepted=yes], [crdma_accepted=no])
    CFLAGS=$crdma_save_CFLAGS
    AC_MSG_RESULT([$crdma_accepted])
    AS_IF([test $crdma_accepted = yes], [$2], [$3])
])
