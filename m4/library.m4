dnl SPDX-License-Identifier: Apache-2.0
dnl
dnl OCTANT_LIBRARY(NAME, MODULE, PACKAGE): a library that pkg-config knows as MODULE sets NAME_CFLAGS and
dnl NAME_LIBS, or the message says which Debian PACKAGE has it.
AC_DEFUN([OCTANT_LIBRARY], [
PKG_CHECK_MODULES([$1], [$2], [],
	[AC_MSG_ERROR([$2 is missing: install Debian's $3, or run tools/setup, which installs all that is needed])])
])
