dnl SPDX-License-Identifier: Apache-2.0
dnl
dnl OCTANT_STARPU: the task runtime, 1.4.10 or newer but below 1.5 (its names carry the version), from the
dnl prefix that --with-starpu names or from where pkg-config finds it. Its headers are system headers, so
dnl that only our own code must be free of warnings.
AC_DEFUN([OCTANT_STARPU], [
AC_ARG_WITH([starpu], [AS_HELP_STRING([--with-starpu=PREFIX],
	[where StarPU is installed; `tools/setup` builds it and prints the prefix])],
	[], [with_starpu=])
AS_CASE(["$with_starpu"],
	[yes|no], [AC_MSG_ERROR([--with-starpu wants the prefix of an installed StarPU])],
	[?*], [
		STARPU_PC_PATH="$with_starpu/lib/pkgconfig:$with_starpu/lib64/pkgconfig:$with_starpu/lib/$(gcc -print-multiarch 2>/dev/null)/pkgconfig"
		PKG_CONFIG_PATH="$STARPU_PC_PATH${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}"
		export PKG_CONFIG_PATH
	])
PKG_CHECK_MODULES([STARPU], [starpu-1.4 >= 1.4.10], [],
	[AC_MSG_ERROR([StarPU 1.4.10 or newer (below 1.5) is missing: run tools/setup and pass the prefix it prints as --with-starpu=PREFIX])])
STARPU_CFLAGS=$(AS_ECHO(["$STARPU_CFLAGS"]) | sed 's/-I\( *\)/-isystem /g')
octant_starpu_libdir=$($PKG_CONFIG --variable=libdir starpu-1.4)
AS_IF([test -n "$with_starpu"], [STARPU_LIBS="$STARPU_LIBS -Wl,-rpath,$octant_starpu_libdir"])
STARPU_VERSION=$($PKG_CONFIG --modversion starpu-1.4)
AC_DEFINE_UNQUOTED([OCTANT_STARPU_VERSION], ["$STARPU_VERSION"], [The StarPU that Octant was configured with.])
STARPU_CONFIGURE_FLAG=${with_starpu:+--with-starpu=$with_starpu}
AC_SUBST([STARPU_CONFIGURE_FLAG])
])
