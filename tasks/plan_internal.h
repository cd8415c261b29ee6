/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of plan*.c share: the micro-batches of a workload with the seconds of their tasks. */
#ifndef OCTANT_TASKS_PLAN_INTERNAL_H
#define OCTANT_TASKS_PLAN_INTERNAL_H

#include "tasks/plan.h"

/* The program that every micro-batch goes through: what a stage's devices do side by side is one task, and what equal layers
 * have in common is written once. A lane is an attention group's devices, of which the slowest counts; lanes that have
 * nothing to do for a micro-batch serve others meanwhile.
 *
 *   run    embed │ attention reduce_scatter route … all_gather, 8 times │ send │ attention … , 8 times │ head sample      */
struct plan_task {
	int stage;
	int depth;    /* the deeper, the higher its priority; of a run's first round */
	bool moves;   /* takes the stage's links (seconds in lane 0); else its lanes */
	bool sends;   /* to the next stage */
	bool passes;  /* when it ends in the run's last round, another micro-batch may enter in its turn */
	double wait;  /* from the end of what it waited for, or of the task before it, until it begins */
};

struct plan_run { /* tasks [first, end), one after the other, `repeat` times */
	int first, end, repeat;
};

struct plan_stage { /* of one micro-batch on one stage: sums of seconds, without waits */
	double compute, comm, send;
};

struct plan_step { /* one micro-batch */
	enum plan_phase phase;
	bool first_tokens; /* of some sequence */
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
	int tasks, runs, lanes;
	const struct plan_task *task;
	const struct plan_run *run;
	int deepest;   /* the largest depth */
	bool in_order; /* the policy knows no priorities: tasks are served as they become ready */
	int64_t count, room;
	struct plan_step *step;
	struct plan_stage *stage; /* [count][stages] */
	double *seconds;          /* [count][tasks][lanes]; 0: there is nothing to do */
	int64_t afters, after_room;
	int64_t *after;
	int64_t tokens, token_room;
	struct plan_token *token; /* kept tokens, in order */
};

struct plan_timing { /* of one way to overlap */
	double *end; /* [count] when the micro-batch left the last stage */
};

/* plan_work.c: the program, and of each micro-batch its seconds by task and by stage and what it adds to the sums.
 * `repeat` [calls]: how many equal calls one stands for. */
struct plan_work {
	struct deployment *deployment;
	int *repeat;
	int tasks, runs;
	struct plan_task *task;
	struct plan_run *run;
	int index[MESH_MAX_DEVICES]; /* device number → stage · S + index */
	struct flow *flow;           /* [CALL_MAX_FLOWS] */
};
int plan_work_create(struct deployment *deployment, struct plan_work *work, struct error *error);
void plan_work_destroy(struct plan_work *work);
void plan_work_add(struct plan_work *work, struct micro_batch *micro_batch, struct plan *plan, struct plan_stage *stage,
	double *seconds);

/* plan_time.c: when micro-batches end, and the windows and shares of `times`; its rates and first token are left 0. */
int plan_time(const struct plan_steps *steps, int slots, bool overlap, struct plan_timing *timing, struct plan_times *times,
	struct error *error);
void plan_timing_free(struct plan_timing *timing);

/* plan_bound.c: area_s, path_s, lower_bound_s. */
int plan_bound_make(const struct plan_steps *steps, struct plan *plan, struct error *error);

/* plan_why.c: says of each requirement what binds. */
void plan_explain(struct plan *plan);

/* plan_memory.c: device[].…, pages, pages_wanted. */
int plan_memory_make(const struct graph *graph, const struct batcher_options *options, struct deployment_sizes *sizes,
	struct plan *plan, struct error *error);

#endif
