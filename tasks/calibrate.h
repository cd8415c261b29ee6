/* SPDX-License-Identifier: Apache-2.0
 *
 * Measures this machine with the tasks of a graph: how long tasks of each kind take, by what they do.
 *
 *   calibrate_measure    a graph's own deployment, with random weights, takes micro-batches of many shapes (few and many
 *                        rows, short and long contexts, one sequence and many), with all workers busy on devices of
 *                        their own, or with one worker: samples
 *   calibrate_fit        samples → a curve for each kind (runtime/curve.h)
 *   calibrate_runtime    what StarPU costs: calls that do nothing
 *
 * Tasks run in their own order, through the run's engine and kernels: caches are as a run leaves them, and both cores
 * draw on the memory's bandwidth. What is measured are shapes, never a workload. */
#ifndef OCTANT_TASKS_CALIBRATE_H
#define OCTANT_TASKS_CALIBRATE_H

#include <stdbool.h>
#include "runtime/curve.h"
#include "runtime/error.h"
#include "runtime/graph.h"
#include "tasks/call.h"

struct calibrate_shape { /* of a micro-batch */
	int segments, rows, position; /* rows and first position of each segment; decode: one row each */
	int in_flight;                /* as many of it at once; 0: as many as keep all workers busy on a stage's devices */
};

struct calibrate_sample { /* all tasks of one kind in one micro-batch, on average */
	int kind;
	int source, pass;             /* index into calibrate_samples.source; of several passes of measuring */
	int shape, calls;             /* index of the shape; tasks of the kind */
	int segments, rows, position; /* the micro-batch's shape */
	double flops, key_flops, bytes; /* of a task, as tasks/work.h counts them */
	double term[CURVE_TERMS];
	double seconds;
	double spread;  /* standard deviation / mean of equal ones of its tasks; 0: not known */
	double company; /* share of the other workers that were busy meanwhile */
};

enum { CALIBRATE_MAX_SOURCES = 64, CALIBRATE_SOURCE = 160 };

struct calibrate_samples { /* begin with zeros */
	struct calibrate_sample *sample; /* [count] */
	int count, size;
	char source[CALIBRATE_MAX_SOURCES][CALIBRATE_SOURCE]; /* "tp2_ep2_pp2, 2 workers": what samples were taken of */
	int sources;
};

/* Appends a sample; finds or appends a source. Errors: ERROR_MEMORY; ERROR_INPUT where there are too many sources. */
int calibrate_samples_add(struct calibrate_samples *samples, const struct calibrate_sample *sample, struct error *error);
int calibrate_samples_source(struct calibrate_samples *samples, const char *name, int *index, struct error *error);
void calibrate_samples_free(struct calibrate_samples *samples); /* leaves zeros */

/* Samples of one task (kind, source and all terms are the same) as one: the mean of their seconds, since what a run takes is
 * a sum, to which slow minutes add what they add. One of more than twice their median was stopped by something and does not
 * count: a task of a microsecond would be a hundred times as long by it, and in a run that happens to one in a thousand.
 * The caller frees *means. Errors: ERROR_MEMORY. */
int calibrate_samples_mean(const struct calibrate_samples *samples, struct calibrate_samples *means, struct error *error);

struct calibrate_options {
	const struct graph *graph; /* resolved, of a host */
	int workers;
	int repetitions;     /* of each shape; of those of very many rows half as many */
	bool every;          /* each repetition is a sample; else only the one at `quantile` */
	double quantile;     /* 0.25: what the machine can do, 0.5: what it does */
	int most_rows;       /* micro-batches of more rows are left out; 0: none are */
	double memory;       /* bytes that KV pools may take */
	const struct calibrate_shape *shape; /* [shapes]; NULL: those that a fit needs. What does not fit the graph is left out */
	int shapes;
	double *span_s;      /* [shapes]: from the first task's beginning to the end of the last, over the micro-batches in
				flight; 0: left out. NULL: not asked for */
	void (*progress)(void *context, int done, int of); /* NULL: none */
	void *context;
};

/* What KV pools may take where nobody says: 2 GB, or a tenth of what is available, bytes. */
double calibrate_memory(double available);

/* Adds the samples of one graph with so many workers. Errors: ERROR_INPUT, ERROR_RUN, ERROR_MEMORY. */
int calibrate_measure(const struct calibrate_options *options, struct calibrate_samples *samples, struct error *error);

/* `workers`: that were busy together, where more than one was. curve [CALL_KINDS] is filled, *count says how many; kinds
 * without samples get none. Samples of one task (its kind, source and terms are the same) count as one, their mean.
 * Errors: ERROR_MEMORY. */
int calibrate_fit(const struct calibrate_samples *samples, int workers, struct curve *curve, int *count, struct error *error);

/* What the runtime costs so many workers with a policy, in seconds:
 *
 *   submit_s  the submitter needs for a call
 *   task_s    a worker needs for a call besides its behaviour, one after the other
 *   hop_s     from a call's end to the beginning of one that it makes ready, on a worker that has just run out of calls
 *   wake_s    the same on one that sleeps
 *   awake_s   for so long a worker that has nothing to do looks on before it sleeps
 *
 * `policy` is then the one in effect: STARPU_SCHED may have had the last word. Errors: ERROR_INPUT, ERROR_RUN,
 * ERROR_MEMORY. */
int calibrate_runtime(int workers, const char *policy, struct graph_runtime *runtime, struct error *error);

#endif
