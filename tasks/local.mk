# SPDX-License-Identifier: Apache-2.0
#
# libtasks.a: one file per kind of task. One line a module, headers too, in alphabetical order:
# libtasks_a_SOURCES += tasks/NAME.c tasks/NAME.h
libtasks_a_SOURCES += tasks/kinds.c tasks/kinds.h
