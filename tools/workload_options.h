/* SPDX-License-Identifier: Apache-2.0
 *
 * The options that describe a workload and its routing, which plan, simulate and search share. */
#ifndef OCTANT_TOOLS_WORKLOAD_OPTIONS_H
#define OCTANT_TOOLS_WORKLOAD_OPTIONS_H

#include "tools/options.h"

#define WORKLOAD_OPTION_ROWS \
	{ "--sequences", "N", OPTION_OVERRIDE, 0, "require.workload.sequences", 0, 0, "sequences of the workload" }, \
	{ "--prompt-tokens", "N", OPTION_OVERRIDE, 0, "require.workload.prompt_tokens", 0, 0, \
		"tokens of each prompt, or [least,greatest]: uniform, seeded" }, \
	{ "--new-tokens", "N", OPTION_OVERRIDE, 0, "require.workload.new_tokens", 0, 0, "tokens generated for each" }, \
	{ "--seed", "N", OPTION_OVERRIDE, 0, "require.workload.seed", 0, 0, "of the lengths, and of --routing" }

/* `type` has the fields routing (const char *) and capacity (double). */
#define ROUTING_OPTION_ROWS(type) \
	{ "--routing", "HOW", OPTION_TEXT, offsetof(type, routing), NULL, 0, 0, \
		"balanced, zipf:EXPONENT, power_law:EXPONENT, or replay:FILE (default: even on average)" }, \
	{ "--capacity", "F", OPTION_NUMBER, offsetof(type, capacity), NULL, 0, 1e6, \
		"with --routing: an expert takes at most F times its even share, the rest is dropped (default: 0, all)" }

#define MACHINE_OPTION_ROW(type) \
	{ "--machine", "FILE", OPTION_TEXT, offsetof(type, machine), NULL, 0, 0, \
		"a machine file, or one that ships (h100-sxm-8), in place of the graph's machine" }

/* Reads a graph with the command line's overrides and `more`. */
typedef int workload_read(void *context, const struct graph_override *more, int count, struct graph **graph,
	struct error *error);

/* Where the command line, or `over` (NULL: none), asks for longer sequences than the graph's limits.tokens_per_sequence, which
 * it does not set itself: raises the limit by one more override, and says so on standard error unless `quiet`. */
int workload_raise_limit(struct option_overrides *overrides, const struct graph_override *over, workload_read *read,
	void *context, bool quiet, struct error *error);

#endif
