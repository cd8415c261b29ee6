# SPDX-License-Identifier: Apache-2.0
#
# build/octant, and the scripts beside it. One line a module, headers too, in alphabetical order:
# octant_SOURCES += tools/NAME.c tools/NAME.h
# The program itself (`bin_PROGRAMS += octant`) is listed with the file that has main.

EXTRA_DIST += tools/build tools/check tools/common.sh tools/make_model tools/quickstart tools/setup tools/starpu.sh
octant_SOURCES += tools/cmd_graph.c tools/commands.h
octant_SOURCES += tools/draw.c tools/draw.h
octant_SOURCES += tools/draw_svg.c tools/draw_svg.h
octant_SOURCES += tools/graph_show.c tools/graph_show.h
octant_SOURCES += tools/graph_show_json.c
