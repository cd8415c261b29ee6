# SPDX-License-Identifier: Apache-2.0
#
# libruntime.a: what knows no model. One line a module, headers too, in alphabetical order.
libruntime_a_SOURCES += runtime/error.c runtime/error.h
libruntime_a_SOURCES += runtime/form.c runtime/form.h
libruntime_a_SOURCES += runtime/mesh.c runtime/mesh.h
