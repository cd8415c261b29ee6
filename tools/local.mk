# SPDX-License-Identifier: Apache-2.0
#
# build/octant, and the scripts beside it. One line a module, headers too, in alphabetical order:
# octant_SOURCES += tools/NAME.c tools/NAME.h

EXTRA_DIST += tools/build tools/check tools/common.sh tools/make_model tools/quickstart tools/setup tools/starpu.sh
octant_SOURCES += tools/calibrate_card.c tools/calibrate_card.h
octant_SOURCES += tools/cmd_calibrate.c
octant_SOURCES += tools/cmd_graph.c tools/commands.h
octant_SOURCES += tools/cmd_model.c
octant_SOURCES += tools/cmd_topology.c
octant_SOURCES += tools/draw.c tools/draw.h
octant_SOURCES += tools/draw_svg.c tools/draw_svg.h
octant_SOURCES += tools/graph_load.c tools/graph_load.h
octant_SOURCES += tools/graph_show.c tools/graph_show.h
octant_SOURCES += tools/graph_show_json.c
octant_SOURCES += tools/cmd_run.c
octant_SOURCES += tools/cmd_plan.c
octant_SOURCES += tools/cmd_simulate.c
octant_SOURCES += tools/lowered.c tools/lowered.h
octant_SOURCES += tools/metrics_print.c tools/metrics_print.h
octant_SOURCES += tools/model_card.c tools/model_card.h
octant_SOURCES += tools/octant.c
octant_SOURCES += tools/options.c tools/options.h
octant_SOURCES += tools/machine_file.c tools/machine_file.h
octant_SOURCES += tools/plan_change.c tools/plan_change.h
octant_SOURCES += tools/plan_json.c
octant_SOURCES += tools/plan_over.c tools/plan_over.h
octant_SOURCES += tools/plan_print.c tools/plan_print.h
octant_SOURCES += tools/plan_svg.c tools/plan_svg.h
octant_SOURCES += tools/replay.c tools/replay.h
octant_SOURCES += tools/run_identity.c tools/run_identity.h
octant_SOURCES += tools/run_memory.c tools/run_memory.h
octant_SOURCES += tools/run_options.c tools/run_options.h
octant_SOURCES += tools/run_report.c tools/run_report.h
octant_SOURCES += tools/run_results.c tools/run_results.h
octant_SOURCES += tools/run_routing.c tools/run_routing.h
octant_SOURCES += tools/simulate_against.c tools/simulate_against.h
octant_SOURCES += tools/simulate_options.c tools/simulate_options.h
octant_SOURCES += tools/tokenize.c tools/tokenize.h
bin_PROGRAMS += octant
