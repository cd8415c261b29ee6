/* SPDX-License-Identifier: Apache-2.0
 *
 * The recurrence over micro-batches and stages (plan.h), in the order of time: a heap of what happens next. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "tasks/plan_internal.h"

struct event {
	double at;
	int64_t step;
	int stage; /* ready there; `stages`: it has left the last one */
};

struct clock {
	const struct plan_steps *steps;
	struct plan_timing *timing;
	bool overlap;
	struct event *heap; /* [slots + 1] and more: each step in flight has one event */
	int events;
	int64_t *waiting;   /* [slots] formed, but may not enter yet */
	int waits;
	bool *done;         /* has left the last stage */
	bool *passed;       /* has left the first */
	int64_t formed, consumed; /* all below have left */
	double *compute, *links;  /* [stages] taken until then */
};

static bool before(const struct event *a, const struct event *b)
{
	if (a->at != b->at)
		return a->at < b->at;
	return a->step != b->step ? a->step < b->step : a->stage < b->stage;
}

static void push(struct clock *k, double at, int64_t step, int stage)
{
	int i = k->events++;
	struct event event = { at, step, stage };
	for (; i > 0 && before(&event, &k->heap[(i - 1) / 2]); i = (i - 1) / 2)
		k->heap[i] = k->heap[(i - 1) / 2];
	k->heap[i] = event;
}

static struct event pop(struct clock *k)
{
	struct event top = k->heap[0], last = k->heap[--k->events];
	int i = 0;
	for (;;) {
		int child = 2 * i + 1;
		if (child >= k->events)
			break;
		if (child + 1 < k->events && before(&k->heap[child + 1], &k->heap[child]))
			child++;
		if (before(&last, &k->heap[child]))
			break;
		k->heap[i] = k->heap[child];
		i = child;
	}
	k->heap[i] = last;
	return top;
}

/* Whether its tokens are sampled, and it is its turn. */
static bool may_enter(const struct clock *k, int64_t step)
{
	const struct plan_step *s = &k->steps->step[step];
	if (s->enters_after >= 0 && !k->passed[s->enters_after])
		return false;
	for (int64_t i = 0; i < s->after; i++)
		if (!k->done[k->steps->after[s->first_after + i]])
			return false;
	return true;
}

/* What the host forms now that results are in, and what waited for tokens or its turn. */
static void form(struct clock *k, double now)
{
	for (int i = 0; i < k->waits;) {
		if (may_enter(k, k->waiting[i])) {
			push(k, now, k->waiting[i], 0);
			k->waiting[i] = k->waiting[--k->waits];
		} else {
			i++;
		}
	}
	while (k->consumed < k->formed && k->done[k->consumed])
		k->consumed++;
	while (k->formed < k->steps->count && k->steps->step[k->formed].consumed <= k->consumed) {
		if (may_enter(k, k->formed))
			push(k, now, k->formed, 0);
		else
			k->waiting[k->waits++] = k->formed;
		k->formed++;
		while (k->consumed < k->formed && k->done[k->consumed])
			k->consumed++;
	}
}

static double serve(struct clock *k, const struct event *e)
{
	const struct plan_stage *work = &k->steps->stage[e->step * k->steps->stages + e->stage];
	double *compute = &k->compute[e->stage], *links = &k->links[e->stage];
	if (!k->overlap) {
		*compute = fmax(*compute, e->at) + work->compute + work->comm + work->wait + work->send;
		return *compute - work->send; /* the send itself is added on the way to the next stage */
	}
	*compute = fmax(*compute, e->at) + work->compute;
	*links = fmax(*links, e->at) + work->comm + work->send;
	return fmax(e->at + work->compute + work->comm + work->wait, fmax(*compute, *links - work->send));
}

int plan_time(const struct plan_steps *steps, int slots, bool overlap, struct plan_timing *timing, struct error *error)
{
	struct clock k = { .steps = steps, .timing = timing, .overlap = overlap };
	size_t n = (size_t) steps->count, stages = (size_t) steps->stages;
	timing->end = calloc(n + 1, sizeof *timing->end);
	timing->ready = calloc(n * stages + 1, sizeof *timing->ready);
	timing->left = calloc(n * stages + 1, sizeof *timing->left);
	k.heap = calloc((size_t) slots + 2, sizeof *k.heap);
	k.waiting = calloc((size_t) slots + 2, sizeof *k.waiting);
	k.done = calloc(n + 1, sizeof *k.done);
	k.passed = calloc(n + 1, sizeof *k.passed);
	k.compute = calloc(2 * stages, sizeof *k.compute);
	int code = timing->end && timing->ready && timing->left && k.heap && k.waiting && k.done && k.passed && k.compute
		? 0 : error_memory(error, "planning");
	k.links = k.compute ? k.compute + stages : NULL;
	if (!code)
		form(&k, 0);
	while (!code && k.events) {
		struct event e = pop(&k);
		if (e.stage == steps->stages) {
			timing->end[e.step] = e.at;
			k.done[e.step] = true;
			form(&k, e.at);
			continue;
		}
		int64_t at = e.step * steps->stages + e.stage;
		if (e.stage == 1) {
			k.passed[e.step] = true;
			form(&k, e.at);
		}
		timing->ready[at] = e.at;
		timing->left[at] = serve(&k, &e);
		push(&k, timing->left[at] + steps->stage[at].send, e.step, e.stage + 1);
	}
	free(k.heap);
	free(k.waiting);
	free(k.done);
	free(k.passed);
	free(k.compute);
	return code;
}

void plan_timing_free(struct plan_timing *timing)
{
	free(timing->end);
	free(timing->ready);
	free(timing->left);
	*timing = (struct plan_timing){ NULL, NULL, NULL };
}

/* ---- shares of a window */

static double within(double from, double to, double first, double last)
{
	double begin = fmax(from, first), end = fmin(to, last);
	return end > begin ? end - begin : 0;
}

struct interval {
	double from, to;
	double compute, comm, wait;
};

static int by_begin(const void *a, const void *b)
{
	const struct interval *x = a, *y = b;
	return (x->from > y->from) - (x->from < y->from);
}

/* Of a stage's micro-batches within [first, last]: the span from the first to the last of them, and of it the seconds in
 * which a collective keeps the stage from computing (`exposed`) and in which nothing does (`idle`): of the seconds with a
 * micro-batch there that are not compute, each has its part of what micro-batches spend in collectives and in waiting. */
static void sum_window(const struct interval *interval, int64_t count, double first, double last, double *exposed,
	double *idle, double *span)
{
	double covered = first, begin = INFINITY, end = 0, active = 0, compute = 0, comm = 0, wait = 0;
	for (int64_t i = 0; i < count; i++) {
		const struct interval *v = &interval[i];
		double part = within(v->from, v->to, first, last);
		if (part <= 0)
			continue;
		active += within(fmax(v->from, covered), v->to, first, last);
		compute += v->compute * part / (v->to - v->from);
		comm += v->comm * part / (v->to - v->from);
		wait += v->wait * part / (v->to - v->from);
		covered = fmax(covered, v->to);
		begin = fmin(begin, fmax(v->from, first));
		end = fmax(end, fmin(v->to, last));
	}
	*span = end > begin ? end - begin : 0;
	*exposed = comm > 0 ? fmax(0, active - compute) * comm / (comm + wait) : 0;
	*idle = *span - active + (wait > 0 ? fmax(0, active - compute) * wait / (comm + wait) : 0);
}

int plan_times_make(const struct plan_steps *steps, const struct plan_timing *timing, double prefill_s,
	struct plan_times *times, struct error *error)
{
	struct interval *interval = calloc((size_t) steps->count + 1, sizeof *interval);
	double makespan = 0;
	if (!interval)
		return error_memory(error, "planning");
	for (int64_t i = 0; i < steps->count; i++)
		makespan = fmax(makespan, timing->end[i]);
	*times = (struct plan_times){ .makespan_s = makespan, .prefill_s = prefill_s, .decode_s = makespan - prefill_s };
	const double windows[PLAN_PHASES + 1][2] = { { 0, prefill_s }, { prefill_s, makespan }, { 0, makespan } };
	for (int s = 0; s < steps->stages; s++) {
		for (int64_t i = 0; i < steps->count; i++) {
			int64_t at = i * steps->stages + s;
			interval[i] = (struct interval){ timing->ready[at], timing->left[at], steps->stage[at].compute,
				steps->stage[at].comm, steps->stage[at].wait };
		}
		qsort(interval, (size_t) steps->count, sizeof *interval, by_begin);
		for (int w = 0; w <= PLAN_PHASES; w++) {
			double exposed, idle, span, length = windows[w][1] - windows[w][0];
			sum_window(interval, steps->count, windows[w][0], windows[w][1], &exposed, &idle, &span);
			if (length > 0)
				times->exposed[w] += exposed / length / steps->stages;
			if (span > 0)
				times->bubble[w] += idle / span / steps->stages;
		}
	}
	free(interval);
	return 0;
}

/* ---- what no schedule can beat */

static double longest_path(const struct plan_steps *steps, double *end)
{
	double longest = 0;
	for (int64_t i = 0; i < steps->count; i++) {
		const struct plan_step *step = &steps->step[i];
		double begin = 0;
		for (int64_t a = 0; a < step->after; a++)
			begin = fmax(begin, end[steps->after[step->first_after + a]]);
		for (int s = 0; s < steps->stages; s++) {
			const struct plan_stage *stage = &steps->stage[i * steps->stages + s];
			begin += stage->compute + stage->comm + stage->send;
		}
		end[i] = begin;
		longest = fmax(longest, begin);
	}
	return longest;
}

int plan_bound_make(const struct plan_steps *steps, struct plan *plan, struct error *error)
{
	/* least seconds until anything reaches a stage, and from there to the end: with its own send, and after it */
	double head[MESH_MAX_STAGES], tail[MESH_MAX_STAGES], after_send[MESH_MAX_STAGES];
	double *end = calloc((size_t) steps->count + 1, sizeof *end);
	if (!end)
		return error_memory(error, "planning");
	for (int s = 0; s < steps->stages; s++)
		head[s] = tail[s] = after_send[s] = INFINITY;
	for (int64_t i = 0; i < steps->count; i++) {
		double before_it = 0, after_it = 0;
		for (int s = 0, r = steps->stages - 1; s < steps->stages; s++, r--) {
			const struct plan_stage *stage = &steps->stage[i * steps->stages + s];
			head[s] = fmin(head[s], before_it);
			before_it += stage->compute + stage->comm + stage->send;
			after_send[r] = fmin(after_send[r], after_it);
			stage = &steps->stage[i * steps->stages + r];
			tail[r] = fmin(tail[r], after_it + stage->send);
			after_it += stage->send + stage->compute + stage->comm;
		}
	}
	plan->path_s = longest_path(steps, end);
	plan->area_s = 0;
	for (int d = 0; d < plan->graph->mesh.devices && steps->count; d++) {
		const struct plan_device *device = &plan->device[d];
		double compute = 0, comm = 0;
		for (int p = 0; p < PLAN_PHASES; p++) {
			compute += device->phase[p].compute_s;
			comm += device->phase[p].comm_s - device->phase[p].received_s;
		}
		compute += head[device->stage] + tail[device->stage];
		comm += head[device->stage] + after_send[device->stage]; /* its sends are among them */
		plan->area_s = fmax(plan->area_s, fmax(compute, comm));
	}
	plan->lower_bound_s = fmax(plan->area_s, plan->path_s);
	free(end);
	return 0;
}
