dnl SPDX-License-Identifier: Apache-2.0
dnl
dnl OCTANT_BUILD_KIND: the kinds of build a person may ask for. It comes before AC_PROG_CC, because
dnl each kind has its own default of CFLAGS; a CFLAGS that the caller sets is kept.
AC_DEFUN([OCTANT_BUILD_KIND], [
AC_ARG_ENABLE([werror], [AS_HELP_STRING([--enable-werror], [warnings are errors])])
AC_ARG_ENABLE([debug], [AS_HELP_STRING([--enable-debug],
	[a poisoned memory arena for each logical device, checks that cost time, no optimisation])])
AC_ARG_ENABLE([sanitize], [AS_HELP_STRING([--enable-sanitize],
	[AddressSanitizer and UndefinedBehaviorSanitizer; includes --enable-debug's checks])])
AS_IF([test "x$enable_sanitize" = xyes],
	[enable_debug=yes; octant_cflags="-O1 -g -fno-omit-frame-pointer"],
	[test "x$enable_debug" = xyes], [octant_cflags="-O0 -g3"],
	[octant_cflags="-O2 -g"])
: "${CFLAGS=$octant_cflags}"
AS_IF([test "x$enable_debug" = xyes],
	[octant_debug=1], [octant_debug=0])
AC_DEFINE_UNQUOTED([OCTANT_DEBUG], [$octant_debug], [Whether checks that cost time are made.])
])

dnl OCTANT_COMPILER_FLAGS: the language, the warnings and the sanitizers, kept apart from the user's CFLAGS.
AC_DEFUN([OCTANT_COMPILER_FLAGS], [
WARNING_CFLAGS="-Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes"
AS_IF([test "x$enable_werror" = xyes], [WARNING_CFLAGS="$WARNING_CFLAGS -Werror"])
SANITIZE_CFLAGS=
AS_IF([test "x$enable_sanitize" = xyes],
	[SANITIZE_CFLAGS="-fsanitize=address,undefined -fno-sanitize-recover=undefined"])
AC_SUBST([WARNING_CFLAGS])
AC_SUBST([SANITIZE_CFLAGS])
])
