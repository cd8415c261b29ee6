/* SPDX-License-Identifier: Apache-2.0
 *
 * The subcommands of octant. Each gets its own arguments, its name first, and returns the process's exit
 * status: 0 done, 1 the work failed, 2 bad usage or input. */
#ifndef OCTANT_TOOLS_COMMANDS_H
#define OCTANT_TOOLS_COMMANDS_H

int cmd_bench(int argc, char **argv);
int cmd_calibrate(int argc, char **argv);
int cmd_graph(int argc, char **argv);
int cmd_model(int argc, char **argv);
int cmd_plan(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_search(int argc, char **argv);
int cmd_simulate(int argc, char **argv);
int cmd_topology(int argc, char **argv);

#endif
