/* SPDX-License-Identifier: Apache-2.0
 *
 * The loop of a run: the batcher forms micro-batches, the deployment runs them, results go back in their order.
 * The same loop serves runs, tests and the simulation; it has no clock of its own. */
#ifndef OCTANT_TASKS_RUN_H
#define OCTANT_TASKS_RUN_H

#include "runtime/batcher.h"
#include "tasks/deployment.h"

struct run_hooks { /* all may be NULL */
	/* A micro-batch was formed and is about to be submitted. */
	void (*formed)(void *context, struct micro_batch *micro_batch);
	/* A micro-batch was formed and submitted; its description stays until its result is consumed. */
	void (*submitted)(void *context, const struct micro_batch *micro_batch);
	/* Its tasks have ended; its result is about to be consumed. */
	void (*ended)(void *context, const struct micro_batch *micro_batch);
	/* Asked before each micro-batch: true drains (Ctrl-C). */
	bool (*interrupted)(void *context);
	/* Asked after each result: a failure of the caller's (a full disk) ends the run. */
	int (*check)(void *context, struct error *error);
	void *context;
};

/* Batcher options that a graph and a model decide. `sequences` and `pages` (of each group's pool) come from the
 * caller, who knows workload and memory. */
void run_batcher_options(const struct graph *graph, int64_t pages, struct batcher_options *options);

/* Runs until nothing is left, drained, or failed; in each case nothing is in flight afterwards. */
int run_batcher(struct deployment *deployment, struct batcher *batcher, const struct run_hooks *hooks,
	struct error *error);

#endif
