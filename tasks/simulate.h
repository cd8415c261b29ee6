/* SPDX-License-Identifier: Apache-2.0
 *
 * A workload through the batcher, the lowered graph and the scheduler, on a simulated machine: what `octant run` would
 * do, with time from the cost model and from the links in place of computing.
 *
 *   simulate_prepare   sizes of slots and KV pools against the machine's memory; outside of the simulation
 *   simulate_run       the run (an engine that simulates is needed); fills what the figures are made of
 *   simulate_metrics   the figures, in the form that a measured run has
 *
 * No token is computed: every sequence gets as many new tokens as it may, all of them 0. Which rows an expert gets is said by
 * `routing`, before each micro-batch is submitted. */
#ifndef OCTANT_TASKS_SIMULATE_H
#define OCTANT_TASKS_SIMULATE_H

#include <stdio.h>
#include "runtime/metrics.h"
#include "runtime/routing.h"
#include "tasks/pool.h"
#include "tasks/run.h"

struct simulate_sequence {
	int prompt_tokens, new_tokens; /* ≥ 1 */
};

struct simulation {
	/* what to simulate: set by the caller, which keeps it */
	const struct graph *graph; /* resolved */
	const struct simulate_sequence *sequence; /* [sequences] */
	int sequences;
	struct routing *routing; /* NULL: rows spread evenly over the experts */
	int channels;            /* collectives that a set of devices has under way at once */
	int workers;             /* of a host machine */
	double submit_s, task_s; /* what StarPU itself costs: a submission, and a task on its worker */
	double hop_s, wake_s;    /* the latter for a worker that waited for the task, and for one that slept; on a host */
	double awake_s;          /* for so long it waits before it sleeps */
	FILE *tasks;             /* gets a line a task submitted; NULL: none */
	/* Called after each micro-batch with the simulated time; NULL: none. */
	void (*progress)(void *context, const struct micro_batch *micro_batch, double now_s);
	void *context;

	/* set by simulate_prepare */
	struct deployment_sizes sizes;
	struct pool pool;

	/* set by simulate_run */
	char without_curve[256];    /* on a calibrated host: kinds of task, joined by commas, that its card does not know */
	struct task_record *record; /* ordered by start_s */
	size_t records;
	double start_s, end_s;      /* on the records' clock */
	struct metrics_sequence *result; /* [sequences] */
	double *token_s;                 /* of all */
	int finished, failed;
	struct batcher_counters counters;
};

/* Errors: ERROR_INPUT where the machine cannot hold the model (by how much), or has no links. */
int simulate_prepare(struct simulation *simulation, struct error *error);

/* Errors: ERROR_INPUT, ERROR_RUN, ERROR_MEMORY. Once in a process. */
int simulate_run(struct simulation *simulation, struct error *error);

int simulate_metrics(const struct simulation *simulation, struct metrics *metrics, struct error *error);

/* Frees what simulate_run left. */
void simulate_free(struct simulation *simulation);

#endif
