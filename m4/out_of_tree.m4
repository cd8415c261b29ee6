dnl SPDX-License-Identifier: Apache-2.0
dnl
dnl OCTANT_OUT_OF_TREE: refuses to build among the sources, where objects would hide between files
dnl and two kinds of build (plain, sanitized) would overwrite each other.
AC_DEFUN([OCTANT_OUT_OF_TREE], [
AS_IF([test "$(cd "$srcdir" && pwd -P)" = "$(pwd -P)"],
	[AC_MSG_ERROR([Octant is built out of its source tree: mkdir build && cd build && ../configure])])
])
