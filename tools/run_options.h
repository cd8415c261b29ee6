/* SPDX-License-Identifier: Apache-2.0
 *
 * The command line of `octant run`. */
#ifndef OCTANT_TOOLS_RUN_OPTIONS_H
#define OCTANT_TOOLS_RUN_OPTIONS_H

#include <stdbool.h>
#include "runtime/error.h"
#include "runtime/graph.h"
#include "runtime/request.h"

enum { RUN_MAX_OVERRIDES = 256 };

struct run_options {
	const char *graph; /* NULL: the machine's default graph */
	const char *model, *input, *output;
	bool resume, force, dry_run, json, quiet, measure, no_trace, help;
	bool record_routing;
	const char *routing; /* file; NULL: routing.jsonl in the output folder */
	int workers;         /* 0: as many as this machine offers */
	double watchdog_s;
	struct request_options request; /* defaults of rows that do not say */
	struct graph_override override[RUN_MAX_OVERRIDES];
	char *copy[RUN_MAX_OVERRIDES]; /* of the arguments that overrides point into */
	const char *origin[RUN_MAX_OVERRIDES]; /* the option that is another name of --set PATH; NULL: --set itself */
	int overrides;
};

/* Accepts `--tp_size` for `--tp-size` and so on, as the deployment plan writes them. */
int run_options_parse(int argc, char **argv, struct run_options *options, struct error *error);
/* An error at "--set mesh.tensor" is put where the user wrote it: "--tp-size". */
void run_options_locate(const struct run_options *options, struct error *error);
void run_options_free(struct run_options *options);
void run_options_usage(void);

#endif
