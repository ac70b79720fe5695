# Optional libraries. --with-X=no leaves one out, --with-X=yes insists on it, the default takes it
# if it is there. Other places are given through PKG_CONFIG_PATH.

# CRDMA_OPTIONAL(variable prefix, option, pkg-config module, least version, package to install, use)
# Sets crdma_<option> to the version or the reason, <PREFIX>_CFLAGS, <PREFIX>_LIBS, HAVE_<PREFIX>.
AC_DEFUN([CRDMA_OPTIONAL], [
    AC_ARG_WITH([$2],
        [AS_HELP_STRING([--with-$2], [$6 (default: if present)])],
        [], [with_$2=auto])
    AS_CASE([$with_$2],
        [yes|no|auto], [],
        [AC_MSG_ERROR([--with-$2 is yes or no; name another place in PKG_CONFIG_PATH])])
    crdma_have_$2=no
    AS_IF([test "x$with_$2" = xno],
        [crdma_$2="no (--without-$2)"],
        [PKG_CHECK_MODULES([$1], [$3 >= $4],
            [crdma_have_$2=yes
             crdma_$2=`$PKG_CONFIG --modversion $3`],
            [AS_IF([test "x$with_$2" = xyes],
                [AC_MSG_ERROR([$3 >= $4 was not found: install $5])])
             crdma_$2="no ($3 >= $4 not found: install $5)"])])
    AS_IF([test $crdma_have_$2 = yes],
        [AC_DEFINE([CRDMA_HAVE_$1], [1], [Built with $3])],
        [$1_CFLAGS=
         $1_LIBS=])
    AM_CONDITIONAL([HAVE_$1], [test $crdma_have_$2 = yes])
])

AC_DEFUN([CRDMA_UCX],
    [CRDMA_OPTIONAL([UCX], [ucx], [ucx], [1.12], [libucx-dev], [the transport between hosts])])

AC_DEFUN([CRDMA_VERBS],
    [CRDMA_OPTIONAL([VERBS], [verbs], [libibverbs], [1.11], [libibverbs-dev],
        [queue pairs of our own between hosts; needs UCX too])
    AM_CONDITIONAL([HAVE_VERBS_TRANSPORT],
        [test $crdma_have_verbs = yes && test $crdma_have_ucx = yes])
    AS_IF([test $crdma_have_verbs = yes],
        [crdma_saved_libs=$LIBS
         LIBS="$VERBS_LIBS $LIBS"
         AC_CHECK_FUNC([ibv_reg_dmabuf_mr], [AC_DEFINE([HAVE_IBV_REG_DMABUF_MR], [1],
             [libibverbs registers a dma-buf (1.12 and later)])])
         LIBS=$crdma_saved_libs])
    AS_IF([test $crdma_have_verbs = yes && test $crdma_have_ucx != yes],
        [crdma_verbs="$crdma_verbs, not used without UCX"])])

AC_DEFUN([CRDMA_HWLOC],
    [CRDMA_OPTIONAL([HWLOC], [hwloc], [hwloc], [2.0], [libhwloc-dev],
        [look for hwloc; nothing uses it yet])])

# CRDMA_CUDA: nvcc for the reduction kernels of GPUs. Without it GPU data is reduced by the host.
# Sets NVCC and CUDA_GENCODE: machine code for each architecture, and PTX of the last one for newer ones.
AC_DEFUN([CRDMA_CUDA], [
    AC_ARG_WITH([cuda],
        [AS_HELP_STRING([--with-cuda@<:@=DIR@:>@],
            [compile kernels for GPUs with nvcc, of DIR/bin or of PATH (default: if present)])],
        [], [with_cuda=auto])
    AC_ARG_WITH([cuda-arch],
        [AS_HELP_STRING([--with-cuda-arch=LIST],
            [architectures to compile for, e.g. "75 80 90"
             (default: those of 70 80 90 that nvcc has, 75 where it has no 70)])],
        [], [with_cuda_arch=])
    AC_ARG_VAR([NVCC], [CUDA compiler])
    CUDA_GENCODE=
    crdma_cuda=no
    AS_CASE([$with_cuda],
        [no], [NVCC=
               crdma_cuda="no (--without-cuda)"],
        [yes|auto], [AC_PATH_PROG([NVCC], [nvcc], [], [$PATH$PATH_SEPARATOR/usr/local/cuda/bin])],
        [AC_PATH_PROG([NVCC], [nvcc], [], [$with_cuda/bin])])
    AS_IF([test -n "$NVCC"],
        [CRDMA_CUDA_TARGETS],
        [AS_CASE([$with_cuda],
            [no], [],
            [auto], [crdma_cuda="no (nvcc not found)"],
            [AC_MSG_ERROR([nvcc was not found: install nvidia-cuda-toolkit or use --with-cuda=DIR])])])
    AC_SUBST([CUDA_GENCODE])
    AM_CONDITIONAL([HAVE_NVCC], [test -n "$NVCC"])
    AS_IF([test -n "$NVCC"],
        [AC_DEFINE([CRDMA_HAVE_CUDA_KERNELS], [1], [Built with kernels for GPUs])])
])

# CRDMA_CUDA_TARGETS: fills CUDA_GENCODE; NVCC is emptied if it cannot compile a kernel.
AC_DEFUN([CRDMA_CUDA_TARGETS], [
    AC_MSG_CHECKING([for which GPUs $NVCC compiles])
    crdma_cuda_known=" `"$NVCC" --list-gpu-arch 2>/dev/null | $SED 's/compute_//' | tr '\n' ' '`"
    crdma_cuda_arch=$with_cuda_arch
    AS_IF([test -z "$crdma_cuda_arch"],
        [for crdma_arch in 70 75 80 90; do
             AS_CASE([$crdma_arch,$crdma_cuda_arch], [75,*70*], [continue])
             AS_CASE([$crdma_cuda_known],
                 [*" $crdma_arch "*], [crdma_cuda_arch="$crdma_cuda_arch $crdma_arch"])
         done])
    for crdma_arch in $crdma_cuda_arch; do
        CUDA_GENCODE="$CUDA_GENCODE -gencode arch=compute_$crdma_arch,code=sm_$crdma_arch"
    done
    CUDA_GENCODE="$CUDA_GENCODE -gencode arch=compute_$crdma_arch,code=compute_$crdma_arch"
    cat >conftest.cu <<_ACEOF
#include <math.h>
#include <stdint.h>
extern "C" __global__ void crdma_probe(float *x) { *x = copysignf(*x, 1.0f); }
_ACEOF
    AS_IF([test -n "$crdma_cuda_arch" &&
           AC_TRY_COMMAND([$NVCC --fatbin $CUDA_GENCODE -o conftest.fatbin conftest.cu >&AS_MESSAGE_LOG_FD 2>&1])],
        [crdma_cuda="$NVCC, for`AS_ECHO([" $crdma_cuda_arch"]) | tr -s ' '`"
         AC_MSG_RESULT([$crdma_cuda_arch])],
        [AC_MSG_RESULT([none])
         AS_IF([test "x$with_cuda" != xauto || test -n "$with_cuda_arch"],
            [AC_MSG_ERROR([$NVCC cannot compile a kernel for$crdma_cuda_arch (see config.log); it knows$crdma_cuda_known])])
         crdma_cuda="no ($NVCC cannot compile a kernel, see config.log)"
         NVCC=])
    rm -f conftest.cu conftest.fatbin
])

# CRDMA_UNIT_TESTS: Check, the unit test library. Without it `make check` says that it skips.
AC_DEFUN([CRDMA_UNIT_TESTS],
    [CRDMA_OPTIONAL([CHECK], [check], [check], [0.11], [check], [the unit tests])])
