/* SPDX-License-Identifier: Apache-2.0
 *
 * `octant plan --over KEY=A:B[:N]`: one plan for each of N values of a key, as a table, as CSV, as a picture. */
#ifndef OCTANT_TOOLS_PLAN_OVER_H
#define OCTANT_TOOLS_PLAN_OVER_H

#include "tools/plan_change.h"

enum { PLAN_OVER_POINTS = 256 };

struct plan_point {
	int value;
	struct plan_times overlapped, serial;
	struct plan_rates rates[PLAN_PHASES];
	double lower_bound_s, comm_over_compute, memory, flops_a_token; /* memory: bytes of the fullest device */
	int requirements;
	struct metrics_requirement requirement[2 * GRAPH_MAX_REQUIREMENTS];
};

/* Prints the table (or, with `csv`, comma-separated values) on stdout and, where `picture` is not NULL, writes an SVG.
 * Values are spaced evenly in their logarithm. Where a prompt of that many tokens exceeds the graph's limit, the limit is
 * raised for that point. Errors: ERROR_INPUT for a text that is none, and where no point can be planned; ERROR_RUN for
 * a picture that cannot be written. */
/* The key that `text` varies and its last value. Errors: ERROR_INPUT. */
struct plan_over_end {
	char path[160], value[16];
};
int plan_over_end(const char *text, struct plan_over_end *end, struct error *error);

int plan_over(const char *text, bool csv, const char *picture, const struct plan_options *options, plan_read *read,
	void *context, struct error *error);

#endif
