/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of plan*.c share: the micro-batches of a workload with their seconds. */
#ifndef OCTANT_TASKS_PLAN_INTERNAL_H
#define OCTANT_TASKS_PLAN_INTERNAL_H

#include "tasks/plan.h"

struct plan_stage { /* of one micro-batch on one stage, seconds */
	double compute, comm, send;
	double wait; /* from the end of each task to the start of the one that waits for it: others may run meanwhile */
};

struct plan_step { /* one micro-batch */
	enum plan_phase phase;
	int64_t consumed; /* results that were in before it was formed: all with smaller numbers */
	int64_t first_after, after; /* into plan_steps.after: micro-batches whose sampled tokens it needs */
	int64_t enters_after;       /* whose place in the first stage it takes; −1: none */
};

struct plan_token {
	int64_t micro_batch;
	int32_t sequence;
};

struct plan_steps {
	int stages;
	int64_t count, room;
	struct plan_step *step;
	struct plan_stage *stage; /* [count][stages] */
	int64_t afters, after_room;
	int64_t *after;
	int64_t tokens, token_room;
	struct plan_token *token; /* kept tokens, in order */
};

struct plan_timing { /* of one way to overlap */
	double *end;            /* [count] when the micro-batch left the last stage */
	double *ready, *left;   /* [count][stages] */
};

/* plan_work.c: seconds by stage of a micro-batch, and its sums. `repeat` [calls]: how many equal calls one stands for. */
struct plan_work {
	struct deployment *deployment;
	int *repeat;
	int index[MESH_MAX_DEVICES]; /* device number → stage · S + index */
	struct flow *flow;           /* [CALL_MAX_FLOWS] */
};
int plan_work_create(struct deployment *deployment, struct plan_work *work, struct error *error);
void plan_work_destroy(struct plan_work *work);
void plan_work_add(struct plan_work *work, struct micro_batch *micro_batch, struct plan *plan, struct plan_stage *stage);

/* plan_time.c */
int plan_time(const struct plan_steps *steps, int slots, bool overlap, struct plan_timing *timing, struct error *error);
void plan_timing_free(struct plan_timing *timing);
/* Windows and shares; `prefill_s`: when the last first token came. */
int plan_times_make(const struct plan_steps *steps, const struct plan_timing *timing, double prefill_s,
	struct plan_times *times, struct error *error);
int plan_bound_make(const struct plan_steps *steps, struct plan *plan, struct error *error);

/* plan_why.c: says of each requirement what binds. */
void plan_explain(struct plan *plan);

/* plan_memory.c: device[].…, pages, pages_wanted. */
int plan_memory_make(const struct graph *graph, const struct batcher_options *options, struct deployment_sizes *sizes,
	struct plan *plan, struct error *error);

#endif
