/* SPDX-License-Identifier: Apache-2.0
 *
 * The roofline of a deployment's tasks on this machine: what each kind did in micro-batches of chosen sizes, beside what
 * the processor multiplies and memory delivers.
 *
 *   limit of a task = max(FLOPs / peak, bytes / bandwidth), of one worker while all of them work
 *   share           = limit / measured seconds
 *
 * The peak is of what a kind multiplies in: matrices in the graph's `compute`; routers, sampling and attention over keys in
 * FP32. FLOPs and bytes are tasks/work.h's: the least that must be done and moved. A share above 1 says that bytes came from
 * a cache which the count takes for memory. Three things can bind: compute, memory, or the call, where the limit of the
 * whole task is less than what the runtime needs to start it. */
#ifndef OCTANT_TOOLS_BENCH_H
#define OCTANT_TOOLS_BENCH_H

#include "runtime/topology.h"
#include "tasks/calibrate.h"

enum { BENCH_MAX_CASES = 64 };

struct bench_size {
	bool decode;
	int batch;   /* decode: sequences, a row of each; prefill: rows of a chunk */
	int context; /* keys that the last row attends to */
};

enum bench_bound { BENCH_COMPUTE, BENCH_MEMORY, BENCH_CALL, BENCH_BOUNDS };
extern const char *const bench_bound_names[BENCH_BOUNDS];

struct bench_limits { /* of one worker while all work */
	struct topology_speed speed;
	double call_s; /* that a worker needs for a task besides its behaviour */
};

struct bench_task { /* all tasks of one kind in one case */
	int kind;
	double calls;          /* of all micro-batches in flight */
	double seconds;        /* of one */
	double flops, key_flops, bytes; /* of one; key_flops: those of the FLOPs that attention does over keys */
	enum bench_bound bound;
	double limit_share;
	double time_share;     /* of the workers' time from the first task's beginning to the last one's end */
};

struct bench_case {
	struct bench_size size;
	struct calibrate_shape shape;
	double span_s, tokens_per_s; /* span 0: it does not fit the graph's limits */
	double limit_share;          /* the sum of all tasks' limits / the workers' time */
	double waiting_share;        /* of the workers' time, in which no task ran */
	int tasks;
	struct bench_task task[CALL_KINDS]; /* by time, largest first */
};

struct bench {
	const struct topology *topology;
	const struct graph *graph;
	int workers;
	struct bench_limits limits;
	int cases;
	struct bench_case each[BENCH_MAX_CASES];
};

/* Adds the sizes of a list such as "1x128,32x2048" (batch × context), none of "none". Errors: ERROR_INPUT, which names `option`. */
int bench_parse(struct bench *bench, const char *option, const char *list, bool decode, struct error *error);

/* The micro-batches of each size as a run of the graph with more work behind has them: decode in
 * schedule.decode.micro_batches groups, prefill in chunks of at most schedule.prefill.tokens, as many in flight as there
 * are workers or stages to keep busy. Needs graph and workers. */
void bench_shape(struct bench *bench);

/* From samples and spans [cases] to figures. Needs the limits. */
void bench_evaluate(struct bench *bench, const struct calibrate_samples *samples, const double *span_s);

/* Standard output: tables, or one JSON object. Errors: ERROR_MEMORY, ERROR_RUN. */
void bench_print(const struct bench *bench);
int bench_print_json(const struct bench *bench, struct error *error);

#endif
