/* SPDX-License-Identifier: Apache-2.0
 *
 * The command line of `octant simulate`, and the workload that it or the graph describes. */
#ifndef OCTANT_TOOLS_SIMULATE_OPTIONS_H
#define OCTANT_TOOLS_SIMULATE_OPTIONS_H

#include <stdbool.h>
#include "runtime/error.h"
#include "runtime/graph.h"
#include "tasks/simulate.h"
#include "tools/options.h"

struct simulate_options {
	const char *graph;
	const char *model, *input, *output, *tasks;
	const char *machine, *routing, *against;
	double capacity;
	int channels, workers;
	double submit_us, task_us;
	bool json, quiet, no_trace, help;
	struct option_overrides overrides;
};

int simulate_options_parse(int argc, char **argv, struct simulate_options *options, struct error *error);
void simulate_options_usage(void);

/* The lengths: of a file's sequences, or the graph's workload with the options' overrides. The caller frees *sequences.
 * Errors: ERROR_INPUT where there is no workload, or a file's line is wrong; ERROR_MEMORY. */
int simulate_workload(const struct simulate_options *options, const struct graph *graph,
	struct simulate_sequence **sequences, int *count, struct error *error);

#endif
