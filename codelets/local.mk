# SPDX-License-Identifier: Apache-2.0
#
# libcodelets.a: the kernels of each task kind. One line a module, headers too, in alphabetical order:
# libcodelets_a_SOURCES += codelets/cpu/NAME.c codelets/NAME.h
