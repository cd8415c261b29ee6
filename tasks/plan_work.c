/* SPDX-License-Identifier: Apache-2.0
 *
 * A micro-batch's seconds on each stage, and what its calls add to the plan's sums: each call is asked for its work and
 * flows, and the cost model for its seconds. Calls of one step of the chain run side by side on the stage's devices,
 * so that the slowest counts; where routing is even, equal layers are asked once. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "tasks/plan_internal.h"

static bool same_step(const struct call *a, const struct call *b)
{
	return a->base.type == b->base.type && a->base.layer == b->base.layer && a->stage == b->stage;
}

static int next_layer(const struct slot *slot, int first)
{
	int i = first;
	while (i < slot->calls && slot->call[i].base.layer == slot->call[first].base.layer
		&& slot->call[i].stage == slot->call[first].stage)
		i++;
	return i;
}

/* Whether the calls from a on and from b on, `count` each, are the same but for their layer. */
static bool same_calls(const struct slot *slot, int a, int b, int count)
{
	for (int i = 0; i < count; i++) {
		const struct call *x = &slot->call[a + i], *y = &slot->call[b + i];
		if (x->base.type != y->base.type || x->stage != y->stage || x->device != y->device || x->group != y->group
			|| x->takes != y->takes || x->members != y->members)
			return false;
	}
	return true;
}

static void count_repeats(const struct slot *slot, bool every_layer, int *repeat)
{
	int last = -1, last_count = 0; /* calls of the layer that others equal */
	for (int first = 0; first < slot->calls;) {
		int end = next_layer(slot, first), count = end - first;
		bool same = !every_layer && last >= 0 && slot->call[first].base.layer >= 0 && count == last_count
			&& same_calls(slot, last, first, count);
		for (int i = 0; i < count; i++) {
			repeat[first + i] = !same;
			if (same)
				repeat[last + i]++;
		}
		if (!same) {
			last = slot->call[first].base.layer >= 0 ? first : -1;
			last_count = count;
		}
		first = end;
	}
}

/* The calls from i on that count as one task: until the next step, or where repetition changes. */
static int task_end(const struct plan_work *w, int i)
{
	const struct slot *slot = &w->deployment->slot[0];
	int end = i;
	while (end < slot->calls && same_step(&slot->call[i], &slot->call[end]) && w->repeat[end] == w->repeat[i])
		end++;
	return end;
}

/* Between the end of what it waits for and its begin, a worker looks. A host's tasks run on whichever worker is free. */
static double wait_of(const struct deployment *d, const struct call *c)
{
	if (d->graph->machine.host)
		return 0;
	return engine_call_moves(&c->base) ? PLAN_LOOK_S : 2 * PLAN_LOOK_S + graph_runtime_of(d->graph).task_s;
}

/* As tasks/deployment.c gives priorities, and lets micro-batches enter in turn. */
static struct plan_task task_of(const struct deployment *d, const struct call *c)
{
	const struct mesh *mesh = d->mesh;
	const struct call_type *type = (const struct call_type *) c->base.type;
	struct plan_task task = { .stage = c->stage, .moves = engine_call_moves(&c->base), .wait = wait_of(d, c),
		.sends = type->engine.kind == TASK_SEND,
		.depth = c->base.layer >= 0 ? c->base.layer + 1 : type->engine.kind == TASK_EMBED ? 0 : d->model->layers + 1 };
	if (c->base.layer < 0 && type->engine.kind != TASK_EMBED && c->stage < mesh->stages - 1)
		task.depth = mesh->first_layer[c->stage + 1];
	task.passes = type->appends && c->stage == 0;
	return task;
}

static void write_program(struct plan_work *w)
{
	const struct slot *slot = &w->deployment->slot[0];
	int layer = 0, stage = -1;
	for (int i = 0; i < slot->calls; i = task_end(w, i)) {
		const struct call *c = &slot->call[i];
		if (!w->repeat[i])
			continue;
		if (c->stage != stage || c->base.layer != layer || w->run[w->runs - 1].repeat != w->repeat[i])
			w->run[w->runs++] = (struct plan_run){ w->tasks, w->tasks, w->repeat[i] };
		layer = c->base.layer;
		stage = c->stage;
		w->run[w->runs - 1].end++;
		w->task[w->tasks++] = task_of(w->deployment, c);
	}
	bool last = true; /* only the last of stage 0 lets another one in */
	for (int i = w->tasks - 1; i >= 0; i--)
		if (w->task[i].passes) {
			w->task[i].passes = last;
			last = false;
		}
}

int plan_work_create(struct deployment *d, struct plan_work *w, struct error *error)
{
	const struct slot *slot = &d->slot[0];
	*w = (struct plan_work){ .deployment = d };
	w->repeat = calloc((size_t) slot->calls + 1, sizeof *w->repeat);
	w->task = calloc((size_t) slot->calls + 1, sizeof *w->task);
	w->run = calloc((size_t) slot->calls + 1, sizeof *w->run);
	w->flow = calloc(CALL_MAX_FLOWS, sizeof *w->flow);
	if (!w->repeat || !w->task || !w->run || !w->flow)
		return error_memory(error, "planning");
	for (int i = 0; i < d->mesh->devices; i++)
		w->index[d->mesh->part[i].device] = i;
	count_repeats(slot, d->routing_known, w->repeat);
	write_program(w);
	return 0;
}

void plan_work_destroy(struct plan_work *w)
{
	free(w->repeat);
	free(w->task);
	free(w->run);
	free(w->flow);
}

static enum plan_axis axis_of(const struct call *c)
{
	switch (c->base.type->kind) {
	case TASK_SEND:
		return PLAN_STAGES;
	case TASK_DISPATCH:
	case TASK_COMBINE:
	case CALL_GATHER_ROWS:
		return PLAN_EXPERTS;
	default: /* joins over the stage are the experts' */
		return c->takes == FORM_PARTIAL_STAGE ? PLAN_EXPERTS : PLAN_TENSOR;
	}
}

static void add_sums(struct plan *plan, const struct plan_work *w, const struct call *c, enum plan_phase phase,
	const struct work *work, const struct cost *cost, int flows, int repeat)
{
	const double bound[PLAN_BOUNDS] = { cost->flops_s, cost->bytes_s, cost->links_s, cost->launch_s };
	struct plan_kind *kind = &plan->kind[c->base.type->kind][phase];
	bool collective = engine_call_moves(&c->base);
	struct plan_axis_sum *axis = &plan->axis[axis_of(c)][phase];
	int binds = 0;
	for (int i = 1; i < PLAN_BOUNDS; i++)
		binds = bound[i] > bound[binds] ? i : binds;
	kind->collective = collective;
	kind->calls += repeat;
	kind->flops += work->flops * repeat;
	kind->bytes += work->bytes * repeat;
	kind->seconds += cost->seconds * repeat;
	kind->bound_s[binds] += cost->seconds * repeat;
	for (int i = 0; i < flows; i++) {
		kind->link_bytes += w->flow[i].bytes * repeat;
		plan->device[w->index[w->flow[i].from]].phase[phase].sent += w->flow[i].bytes * repeat;
		if (collective)
			axis->bytes += w->flow[i].bytes * repeat;
	}
	int members = c->members + (c->other >= 0);
	for (int m = 0; m < members; m++) {
		struct plan_device *device = &plan->device[m < c->members ? c->device + m : c->other];
		double seconds = cost->seconds * repeat;
		*(collective ? &device->phase[phase].comm_s : &device->phase[phase].compute_s) += seconds;
		device->phase[phase].flops += work->flops * repeat / members;
		device->phase[phase].bytes += work->bytes * repeat / members;
		if (collective)
			axis->seconds += seconds;
		if (m == c->members)
			device->phase[phase].received_s += seconds;
	}
}

void plan_work_add(struct plan_work *w, struct micro_batch *b, struct plan *plan, struct plan_stage *stage, double *seconds)
{
	struct deployment *d = w->deployment;
	struct slot *slot = &d->slot[0];
	enum plan_phase phase = b->phase == PHASE_DECODE ? PLAN_DECODE : PLAN_PREFILL;
	int task = 0;
	slot->micro_batch = b;
	for (int s = 0; s < d->mesh->stages; s++)
		stage[s] = (struct plan_stage){ 0, 0, 0 };
	memset(seconds, 0, (size_t) w->tasks * (size_t) d->mesh->groups * sizeof *seconds);
	for (int i = 0; i < slot->calls;) {
		const struct call *first = &slot->call[i];
		double slowest = 0;
		int repeat = w->repeat[i];
		for (int end = task_end(w, i); i < end; i++) {
			const struct call *c = &slot->call[i];
			const struct call_type *type = (const struct call_type *) c->base.type;
			struct cost cost;
			struct work work;
			int flows, lane;
			if (!repeat || (type->wanted && !type->wanted(c)))
				continue;
			call_estimate(c, &cost, &work, w->flow, &flows);
			add_sums(plan, w, c, phase, &work, &cost, flows, repeat);
			slowest = fmax(slowest, cost.seconds);
			lane = engine_call_moves(&c->base) ? 0 : d->mesh->part[c->device].group;
			seconds[task * d->mesh->groups + lane] = fmax(seconds[task * d->mesh->groups + lane], cost.seconds);
		}
		if (!repeat)
			continue;
		task++;
		struct plan_stage *to = &stage[first->stage];
		*(first->base.type->kind == TASK_SEND ? &to->send
			: engine_call_moves(&first->base)     ? &to->comm
							  : &to->compute) += slowest * repeat;
	}
	plan->phase_micro_batches[phase]++;
	plan->phase_rows[phase] += b->rows;
}
