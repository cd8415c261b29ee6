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

dnl OCTANT_STARPU_SIM: a second StarPU, built on SimGrid, from the prefix that --with-starpu-sim names. With it
dnl octant-sim is built too; without, `octant simulate` says how to have it.
AC_DEFUN([OCTANT_STARPU_SIM], [
AC_ARG_WITH([starpu-sim], [AS_HELP_STRING([--with-starpu-sim=PREFIX],
	[where StarPU on SimGrid is installed, for octant-sim; `tools/setup --sim` builds it and prints the prefix])],
	[], [with_starpu_sim=])
AS_CASE(["$with_starpu_sim"],
	[yes], [AC_MSG_ERROR([--with-starpu-sim wants the prefix of an installed StarPU])],
	[no], [with_starpu_sim=])
AS_IF([test -n "$with_starpu_sim"], [
	octant_saved_path=$PKG_CONFIG_PATH
	PKG_CONFIG_PATH="$with_starpu_sim/lib/pkgconfig:$with_starpu_sim/lib64/pkgconfig:$with_starpu_sim/lib/$(gcc -print-multiarch 2>/dev/null)/pkgconfig"
	export PKG_CONFIG_PATH
	PKG_CHECK_MODULES([STARPU_SIM], [starpu-1.4 >= 1.4.10 simgrid >= 3.32], [],
		[AC_MSG_ERROR([$with_starpu_sim has no StarPU of a known kind, or SimGrid is missing: run tools/setup --sim and pass the prefix it prints])])
	STARPU_SIM_CFLAGS=$(AS_ECHO(["$STARPU_SIM_CFLAGS"]) | sed 's/-I\( *\)/-isystem /g')
	STARPU_SIM_LIBS="$STARPU_SIM_LIBS -Wl,-rpath,$($PKG_CONFIG --variable=libdir starpu-1.4) -lstdc++"
	PKG_CONFIG_PATH=$octant_saved_path
	export PKG_CONFIG_PATH
])
AM_CONDITIONAL([SIMULATION], [test -n "$with_starpu_sim" && test "x$enable_sanitize" != xyes])
STARPU_SIM_CONFIGURE_FLAG=${with_starpu_sim:+--with-starpu-sim=$with_starpu_sim}
AC_SUBST([STARPU_SIM_CONFIGURE_FLAG])
])
