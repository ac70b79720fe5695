# CRDMA_COMPILER: the language, warnings, and the sanitisers.
#
# Sanitisers become part of CC, not of CFLAGS, so that libtool hands them to every link too.
# WARN_CFLAGS holds -Werror only after configure's own tests have run: automake uses it, configure
# does not.

AC_DEFUN([CRDMA_COMPILER], [
    AC_ARG_ENABLE([werror],
        [AS_HELP_STRING([--enable-werror], [treat warnings as errors (for CI)])],
        [], [enable_werror=no])
    AC_ARG_ENABLE([asan],
        [AS_HELP_STRING([--enable-asan], [build with AddressSanitizer])],
        [], [enable_asan=no])
    AC_ARG_ENABLE([ubsan],
        [AS_HELP_STRING([--enable-ubsan],
            [build with UndefinedBehaviorSanitizer; a finding ends the program])],
        [], [enable_ubsan=no])

    crdma_sanitizers=none
    AS_IF([test "x$enable_asan" = xyes],
        [CRDMA_SANITIZER([AddressSanitizer], [-fsanitize=address -fno-omit-frame-pointer])])
    AS_IF([test "x$enable_ubsan" = xyes],
        [CRDMA_SANITIZER([UndefinedBehaviorSanitizer],
            [-fsanitize=undefined -fno-sanitize-recover=undefined])])

    AC_MSG_CHECKING([whether $CC compiles C11 with 8-byte lock-free atomics])
    crdma_save_CFLAGS=$CFLAGS
    CFLAGS="$CFLAGS -std=gnu11"
    AC_COMPILE_IFELSE([AC_LANG_SOURCE([[
        #include <stdatomic.h>
        #include <stddef.h>
        _Static_assert(2 == ATOMIC_LLONG_LOCK_FREE, "8-byte atomics need a lock");
        _Static_assert(8 == sizeof(size_t), "64-bit machines only");
        int main(void) { return 0; }
    ]])],
        [AC_MSG_RESULT([yes])],
        [AC_MSG_RESULT([no])
         AC_MSG_ERROR([a C11 compiler for a 64-bit machine with lock-free 8-byte atomics is needed])])
    CFLAGS=$crdma_save_CFLAGS

    WARN_CFLAGS="-Wall -Wextra"
    crdma_werror=no
    AS_IF([test "x$enable_werror" = xyes],
        [WARN_CFLAGS="$WARN_CFLAGS -Werror"
         crdma_werror=yes])
    AC_SUBST([WARN_CFLAGS])
])

# CRDMA_SANITIZER(name, flags): adds the flags to CC if a program that uses them links.
AC_DEFUN([CRDMA_SANITIZER], [
    AC_MSG_CHECKING([for $1])
    crdma_save_CC=$CC
    CC="$CC $2"
    AC_LINK_IFELSE([AC_LANG_PROGRAM([], [])],
        [AC_MSG_RESULT([yes])
         AS_IF([test "x$crdma_sanitizers" = xnone],
            [crdma_sanitizers=$1],
            [crdma_sanitizers="$crdma_sanitizers, $1"])],
        [AC_MSG_RESULT([no])
         CC=$crdma_save_CC
         AC_MSG_ERROR([$1 was asked for, but $CC $2 does not link])])
])
