/* SPDX-License-Identifier: Apache-2.0
 *
 * What a run tells about itself: a progress line while it runs, and afterwards metrics.json, trace.json and a
 * short summary. */
#ifndef OCTANT_TOOLS_RUN_REPORT_H
#define OCTANT_TOOLS_RUN_REPORT_H

#include <stdbool.h>
#include "runtime/engine.h"
#include "runtime/topology.h"
#include "tools/run_memory.h"
#include "tools/run_options.h"
#include "tools/run_results.h"
#include "tools/run_routing.h"

struct run_report;

struct run_report_source { /* everything that the figures are made of */
	const struct graph *graph;
	const struct run_memory *memory;
	const struct run_results *results;
	const struct run_routing *routing;
	const struct batcher *batcher;
	struct engine *engine;
	const struct topology *topology;
	const struct output *output;
	const char *directory;
	double start_s, end_s; /* start on the engine's clock; end since the start */
	bool trace;
};

int run_report_create(const struct run_options *options, int sequences, struct run_report **report,
	struct error *error);
void run_report_destroy(struct run_report *report); /* accepts NULL */

/* Called when a micro-batch has ended; prints at most four times a second, and only to a terminal. */
void run_report_progress(struct run_report *report, const struct micro_batch *micro_batch,
	const struct run_results *results, double now_s);

/* Writes metrics.json and trace.json, and prints the summary. */
int run_report_finish(struct run_report *report, const struct run_report_source *source, struct error *error);

/* Writes metrics.json without times where it is missing although every sequence is finished: the run that finished the
 * last one was cut off before it told about itself. *written says whether. */
int run_report_repair(const struct graph *graph, const char *directory, int finished, bool *written, struct error *error);

/* Whether a requirement of the graph was judged and does not hold. */
bool run_report_failed(const struct run_report *report);

#endif
