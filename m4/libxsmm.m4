dnl SPDX-License-Identifier: Apache-2.0
dnl
dnl OCTANT_LIBXSMM: small GEMMs compiled at run time. Debian ships a static archive whose BLAS fallback is
dnl a library of its own that aborts when called; Octant never calls it, so noblas completes the link.
AC_DEFUN([OCTANT_LIBXSMM], [
LIBXSMM_LIBS="-lxsmm -lxsmmnoblas -ldl -lpthread -lm"
octant_saved_libs=$LIBS
LIBS="$LIBXSMM_LIBS $LIBS"
AC_MSG_CHECKING([for libxsmm])
AC_LINK_IFELSE([AC_LANG_PROGRAM([[#include <libxsmm.h>]], [[libxsmm_init(); libxsmm_finalize();]])],
	[AC_MSG_RESULT([yes])],
	[AC_MSG_RESULT([no])
	 AC_MSG_ERROR([libxsmm is missing: install Debian's libxsmm-dev, or run tools/setup, which installs all that is needed])])
LIBS=$octant_saved_libs
AC_SUBST([LIBXSMM_LIBS])
])
