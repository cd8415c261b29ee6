/* SPDX-License-Identifier: Apache-2.0
 *
 * The command line of `octant run`. */
#ifndef OCTANT_TOOLS_RUN_OPTIONS_H
#define OCTANT_TOOLS_RUN_OPTIONS_H

#include <stdbool.h>
#include "runtime/error.h"
#include "runtime/request.h"
#include "tools/options.h"

struct run_options {
	const char *graph; /* NULL: the machine's default graph */
	const char *model, *input, *output;
	const char *weights_cache; /* NULL: off */
	const char *tasks; /* file that lists the tasks submitted; NULL: none */
	bool resume, force, dry_run, json, quiet, measure, no_trace, help;
	struct option_optional routing; /* file; without: routing.jsonl in the output folder */
	int workers;         /* 0: as many as this machine offers */
	double watchdog_s;
	struct request_options request; /* defaults of rows that do not say */
	struct option_overrides overrides;
};

/* Accepts `--tp_size` for `--tp-size` and so on, as the deployment plan writes them. */
int run_options_parse(int argc, char **argv, struct run_options *options, struct error *error);
void run_options_usage(void);

#endif
