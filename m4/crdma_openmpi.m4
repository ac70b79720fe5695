# CRDMA_OPENMPI: the Open MPI that the component is built for.
#
# The component includes Open MPI's internal headers, so it belongs to one exact release: numbers
# and the library's own version string go into config.h and are compared when it is loaded.
#
# Sets  MPICC OMPI_INFO
#       MPI_CPPFLAGS MPI_LIBS      for MPI programs
#       OMPI_CPPFLAGS OMPI_LIBS    for the component (internal headers, libopen-pal)
#       OMPI_VERSION               for the module file
#       PMIX_COMPONENTDIR          for env.sh: where PMIx keeps its own components (5.0)

AC_DEFUN([CRDMA_OPENMPI], [
    AC_ARG_WITH([mpi],
        [AS_HELP_STRING([--with-mpi=DIR], [Open MPI's prefix (default: the mpicc of PATH)])],
        [AS_CASE([$withval],
            [yes], [],
            [no|''], [AC_MSG_ERROR([--with-mpi needs Open MPI's prefix])],
            [AS_IF([test -x "$withval/bin/mpicc"],
                [MPICC=$withval/bin/mpicc],
                [AC_MSG_ERROR([there is no $withval/bin/mpicc: --with-mpi needs Open MPI's prefix])])])])
    AC_ARG_VAR([MPICC], [Open MPI's C compiler wrapper])

    # With two MPIs installed the plain name may be another MPI's.
    AC_MSG_CHECKING([for Open MPI's mpicc])
    crdma_mpicc=
    crdma_other_mpicc=
    for crdma_try in ${MPICC:-mpicc mpicc.openmpi}; do
        crdma_path=`command -v "$crdma_try" 2>/dev/null` || continue
        AS_IF(["$crdma_path" --showme:version 2>&1 | grep 'Open MPI' >/dev/null],
            [crdma_mpicc=$crdma_path; break],
            [crdma_other_mpicc=$crdma_path])
    done
    AS_IF([test -z "$crdma_mpicc"],
        [AC_MSG_RESULT([no])
         AS_IF([test -n "$crdma_other_mpicc"],
            [AC_MSG_ERROR([$crdma_other_mpicc is not Open MPI's: coll/rdma is a component of Open MPI 4.1 and 5.0 (choose with --with-mpi=DIR or MPICC)])],
            [test -n "$MPICC"],
            [AC_MSG_ERROR([MPICC=$MPICC cannot be run])],
            [AC_MSG_ERROR([mpicc was not found: install openmpi-bin and libopenmpi-dev, or use --with-mpi=DIR])])])
    MPICC=$crdma_mpicc
    AC_MSG_RESULT([$MPICC])

    AC_MSG_CHECKING([for its ompi_info])
    OMPI_INFO=`dirname "$MPICC"`/ompi_info
    AS_IF([test ! -x "$OMPI_INFO"], [OMPI_INFO=`command -v ompi_info 2>/dev/null`])
    AS_IF([test -z "$OMPI_INFO"],
        [AC_MSG_RESULT([no])
         AC_MSG_ERROR([ompi_info was not found beside $MPICC: install openmpi-bin])])
    AC_MSG_RESULT([$OMPI_INFO])
    AC_SUBST([OMPI_INFO])

    AC_MSG_CHECKING([Open MPI's version])
    crdma_ompi_version=`"$OMPI_INFO" --version 2>/dev/null | $SED -n 's/^Open MPI v//p' | $SED 1q`
    AS_IF([test -z "$crdma_ompi_version"],
        [AC_MSG_RESULT([unknown])
         AC_MSG_ERROR([$OMPI_INFO does not tell its version: run it by hand to see why])])
    AC_MSG_RESULT([$crdma_ompi_version])
    AS_CASE([$crdma_ompi_version],
        [4.1.*|5.0.*], [],
        [AC_MSG_ERROR([Open MPI $crdma_ompi_version is not supported: coll/rdma needs 4.1 or 5.0])])
    AS_IF(["$MPICC" --showme:version 2>&1 | grep "Open MPI $crdma_ompi_version " >/dev/null], [],
        [AC_MSG_ERROR([$MPICC and $OMPI_INFO belong to different Open MPI releases])])
    crdma_major=`AS_ECHO(["$crdma_ompi_version"]) | cut -d. -f1`
    crdma_minor=`AS_ECHO(["$crdma_ompi_version"]) | cut -d. -f2`
    crdma_release=`AS_ECHO(["$crdma_ompi_version"]) | cut -d. -f3 | $SED 's/@<:@^0-9@:>@.*//'`
    AC_DEFINE_UNQUOTED([CRDMA_OMPI_MAJOR], [$crdma_major], [Open MPI built for: major number])
    AC_DEFINE_UNQUOTED([CRDMA_OMPI_MINOR], [$crdma_minor], [Open MPI built for: minor number])
    AC_DEFINE_UNQUOTED([CRDMA_OMPI_RELEASE], [$crdma_release], [Open MPI built for: release number])
    OMPI_VERSION=$crdma_ompi_version
    AC_SUBST([OMPI_VERSION])

    CRDMA_OMPI_PATH([crdma_ompi_incdir], [incdir])

    AC_MSG_CHECKING([for Open MPI's internal headers])
    AS_IF([test -r "$crdma_ompi_incdir/openmpi/ompi/mca/coll/coll.h"],
        [AC_MSG_RESULT([$crdma_ompi_incdir/openmpi])],
        [AC_MSG_RESULT([no])
         AC_MSG_ERROR([there is no $crdma_ompi_incdir/openmpi/ompi/mca/coll/coll.h: install libopenmpi-dev, or an Open MPI configured with --with-devel-headers])])

    MPI_CPPFLAGS=`"$MPICC" --showme:compile`
    MPI_LIBS=`"$MPICC" --showme:link`
    OMPI_CPPFLAGS="-I$crdma_ompi_incdir/openmpi -I$crdma_ompi_incdir"
    OMPI_LIBS="$MPI_LIBS -lopen-pal"

    PMIX_COMPONENTDIR=
    AS_IF([test "$crdma_major" -ge 5],
        [PKG_CHECK_MODULES([PMIX], [pmix],
            [OMPI_CPPFLAGS="$OMPI_CPPFLAGS $PMIX_CFLAGS"
             crdma_pmixdir=`$PKG_CONFIG --variable=libdir pmix`/pmix
             AS_IF([test -d "$crdma_pmixdir"], [PMIX_COMPONENTDIR=$crdma_pmixdir])],
            [AC_MSG_ERROR([pmix.h, which Open MPI 5.0's headers include, was not found: install libpmix-dev])])])

    AC_SUBST([PMIX_COMPONENTDIR])

    crdma_save_CPPFLAGS=$CPPFLAGS
    crdma_save_CFLAGS=$CFLAGS
    crdma_save_LIBS=$LIBS
    CFLAGS="$CFLAGS -std=gnu11"

    # The string is known to the library only, and may be asked for before MPI_Init.
    AC_MSG_CHECKING([the library's version string])
    CPPFLAGS="$CPPFLAGS $MPI_CPPFLAGS"
    LIBS="$MPI_LIBS $LIBS"
    rm -f conftest.version
    AC_RUN_IFELSE([AC_LANG_PROGRAM([[
        #include <mpi.h>
        #include <stdio.h>
    ]], [[
        char text[MPI_MAX_LIBRARY_VERSION_STRING];
        int length;
        FILE *out = fopen("conftest.version", "w");
        if (NULL == out || MPI_SUCCESS != MPI_Get_library_version(text, &length)) {
            return 1;
        }
        fputs(text, out);
        return 0 != fclose(out);
    ]])],
        [crdma_library_version=`$SED 1q conftest.version`],
        [AC_MSG_RESULT([unknown])
         AC_MSG_ERROR([an MPI program cannot be built and run with $MPICC (see config.log)])],
        [AC_MSG_ERROR([cross-compiling is not supported: the version string of the MPI library is needed])])
    rm -f conftest.version
    AC_MSG_RESULT([$crdma_library_version])
    crdma_library_version=`AS_ECHO(["$crdma_library_version"]) | $SED 's/\\\\/\\\\\\\\/g; s/"/\\\\"/g'`
    AC_DEFINE_UNQUOTED([CRDMA_OMPI_LIBRARY_VERSION], ["$crdma_library_version"],
        [MPI_Get_library_version of the Open MPI built for])

    # A component in miniature: the headers, our shims for those that no Open MPI installs, and the
    # version of the coll interface.
    AC_MSG_CHECKING([whether a coll component compiles against the headers])
    CPPFLAGS="$crdma_save_CPPFLAGS $OMPI_CPPFLAGS -idirafter $srcdir/coll_rdma/component/shims"
    LIBS="$OMPI_LIBS $crdma_save_LIBS"
    AC_LINK_IFELSE([AC_LANG_PROGRAM([[
        #include "ompi_config.h"
        #include "ompi/communicator/communicator.h"
        #include "ompi/datatype/ompi_datatype.h"
        #include "ompi/mca/coll/base/base.h"
        #include "ompi/mca/coll/coll.h"
        #include "ompi/op/op.h"
        #include "opal/runtime/opal_progress.h"
        #if $crdma_major == 4
        static mca_coll_base_component_t probe = { .collm_version = { MCA_COLL_BASE_VERSION_2_0_0 } };
        #else
        static mca_coll_base_component_t probe = { .collm_version = { MCA_COLL_BASE_VERSION_2_4_0 } };
        #endif
        #if $crdma_major != OMPI_MAJOR_VERSION || $crdma_minor != OMPI_MINOR_VERSION || \
            $crdma_release != OMPI_RELEASE_VERSION
        #error "the headers belong to another release than ompi_info"
        #endif
    ]], [[
        opal_progress();
        return (int) sizeof(probe) - (int) sizeof(mca_coll_base_component_t);
    ]])],
        [AC_MSG_RESULT([yes])],
        [AC_MSG_RESULT([no])
         AC_MSG_ERROR([Open MPI $crdma_ompi_version's internal headers in $crdma_ompi_incdir/openmpi do not compile (see config.log): reinstall libopenmpi-dev])])

    CPPFLAGS=$crdma_save_CPPFLAGS
    CFLAGS=$crdma_save_CFLAGS
    LIBS=$crdma_save_LIBS

    AC_SUBST([MPI_CPPFLAGS])
    AC_SUBST([MPI_LIBS])
    AC_SUBST([OMPI_CPPFLAGS])
    AC_SUBST([OMPI_LIBS])
])

# CRDMA_OMPI_PATH(variable, name): one of Open MPI's installation directories.
AC_DEFUN([CRDMA_OMPI_PATH], [
    $1=`"$OMPI_INFO" --parsable --path $2 2>/dev/null | $SED -n 's/^path:$2://p' | $SED 1q`
    AS_IF([test -z "$$1"], [AC_MSG_ERROR([$OMPI_INFO --path $2 tells nothing])])
])
