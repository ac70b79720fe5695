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
    AS_IF([test $crdma_have_verbs = yes && test $crdma_have_ucx != yes],
        [crdma_verbs="$crdma_verbs, not used without UCX"])])

AC_DEFUN([CRDMA_HWLOC],
    [CRDMA_OPTIONAL([HWLOC], [hwloc], [hwloc], [2.0], [libhwloc-dev],
        [look for hwloc; nothing uses it yet])])

# CRDMA_CUDA: only records where nvcc is.
AC_DEFUN([CRDMA_CUDA], [
    AC_ARG_WITH([cuda],
        [AS_HELP_STRING([--with-cuda@<:@=DIR@:>@],
            [look for CUDA's nvcc, in DIR/bin or in PATH; nothing uses it yet])],
        [], [with_cuda=auto])
    AC_ARG_VAR([NVCC], [CUDA compiler])
    crdma_cuda=no
    AS_CASE([$with_cuda],
        [no], [NVCC=
               crdma_cuda="no (--without-cuda)"],
        [yes|auto], [AC_PATH_PROG([NVCC], [nvcc], [], [$PATH$PATH_SEPARATOR/usr/local/cuda/bin])],
        [AC_PATH_PROG([NVCC], [nvcc], [], [$with_cuda/bin])])
    AS_IF([test -n "$NVCC"],
        [crdma_cuda="$NVCC"],
        [AS_CASE([$with_cuda],
            [no], [],
            [auto], [crdma_cuda="no (nvcc not found)"],
            [AC_MSG_ERROR([nvcc was not found: install nvidia-cuda-toolkit or use --with-cuda=DIR])])])
    AM_CONDITIONAL([HAVE_NVCC], [test -n "$NVCC"])
])

# CRDMA_UNIT_TESTS: Check, the unit test library. Without it `make check` says that it skips.
AC_DEFUN([CRDMA_UNIT_TESTS],
    [CRDMA_OPTIONAL([CHECK], [check], [check], [0.11], [check], [the unit tests])])
