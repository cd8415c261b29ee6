/* SPDX-License-Identifier: Apache-2.0
 *
 * The recurrence over micro-batches and their tasks (plan.h), in the order of time.
 *
 *   flight   a micro-batch under way, and the task of the program that it is at: it has an event, or waits in a queue
 *   place    what serves one task at a time: a stage's devices, or its links; decode first, then the deepest task
 *
 * Without overlap a stage has one flight at a time, from its first task there until what it sends has been sent. */
#include <math.h>
#include <stdlib.h>
#include "tasks/plan_internal.h"

struct flight {
	int64_t step;         /* −1: none */
	int run, task, round; /* round: of the run's repetitions */
	int priority;         /* of that task */
	int64_t order;        /* in which it became ready */
};

struct event { /* the flight's task ends */
	double at;
	int64_t step;
	int flight;
};

struct queue {
	int *flight; /* [slots] */
	int count;
};

struct place {
	bool busy, sends;
	double from, to; /* of the task that it serves, or served last */
	struct queue queue;
};

struct sum { /* of a stage in a window, seconds */
	double compute, busy; /* in which it computes; in which it computes or communicates */
	double first, last;   /* when it was busy first and last */
};

struct stage {
	struct place compute, links;
	struct queue queue; /* without overlap: flights that wait for the stage */
	bool taken;
	double at;          /* summed until then */
	struct sum window[PLAN_PHASES]; /* until the last first token, and since */
};

struct clock {
	const struct plan_steps *steps;
	struct plan_timing *timing;
	bool overlap;
	struct stage *stage;
	struct flight *flight;    /* [slots] */
	struct event *heap;       /* [slots] */
	int slots, events;
	int *lists;               /* of all queues */
	int64_t *waiting;         /* [slots] formed, but may not enter yet */
	int waits;
	bool *done;               /* has left the last stage */
	bool *passed;             /* another one may have its place in the first */
	int64_t formed, consumed; /* all below have left */
	int64_t order;
	double first_token_s;     /* the last one until now */
};

/* As fmax and fmin, which the C library would be called for: no number here is a NaN. */
static inline double larger(double a, double b)
{
	return a > b ? a : b;
}

static inline double smaller(double a, double b)
{
	return a < b ? a : b;
}

static bool before(const struct event *a, const struct event *b)
{
	return a->at != b->at ? a->at < b->at : a->step < b->step;
}

static void push(struct clock *k, double at, int flight)
{
	int i = k->events++;
	struct event event = { at, k->flight[flight].step, flight };
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

/* ---- what stages do meanwhile */

static const struct sum no_sum = { 0, 0, INFINITY, 0 };

static struct sum join(const struct sum *a, const struct sum *b)
{
	return (struct sum){ a->compute + b->compute, a->busy + b->busy, smaller(a->first, b->first), larger(a->last, b->last) };
}

/* Sums until `now`, before anything begins or ends there. What a stage sends keeps the next one busy too. */
static void advance(struct clock *k, int s, double now)
{
	struct stage *stage = &k->stage[s];
	const struct place *places[] = { &stage->compute, &stage->links, s && stage[-1].links.sends ? &stage[-1].links : NULL };
	struct sum *sum = &stage->window[PLAN_DECODE];
	double from[3], to[3], covered = stage->at;
	int n = 0;
	if (now <= stage->at)
		return;
	for (int p = 0; p < 3; p++) {
		double begin = places[p] ? larger(places[p]->from, stage->at) : 0, end = places[p] ? smaller(places[p]->to, now) : 0;
		if (end <= begin)
			continue;
		sum->compute += p == 0 ? end - begin : 0;
		sum->first = smaller(sum->first, begin);
		sum->last = larger(sum->last, end);
		int i = n++;
		for (; i > 0 && from[i - 1] > begin; i--) {
			from[i] = from[i - 1];
			to[i] = to[i - 1];
		}
		from[i] = begin;
		to[i] = end;
	}
	for (int i = 0; i < n; i++) {
		sum->busy += larger(0, to[i] - larger(from[i], covered));
		covered = larger(covered, to[i]);
	}
	stage->at = now;
}

/* What was summed is of prefill: a first token has come. */
static void end_window(struct clock *k, double now)
{
	for (int s = 0; s < k->steps->stages; s++) {
		struct sum *window = k->stage[s].window;
		advance(k, s, now);
		window[PLAN_PREFILL] = join(&window[PLAN_PREFILL], &window[PLAN_DECODE]);
		window[PLAN_DECODE] = no_sum;
	}
	k->first_token_s = now;
}

static void fill_shares(const struct clock *k, double end, struct plan_times *times)
{
	const double length[] = { k->first_token_s, end - k->first_token_s, end };
	*times = (struct plan_times){ .makespan_s = end, .prefill_s = k->first_token_s, .decode_s = end - k->first_token_s };
	for (int s = 0; s < k->steps->stages; s++) {
		const struct sum *w = k->stage[s].window, sums[] = { w[0], w[1], join(&w[0], &w[1]) };
		for (int i = 0; i <= PLAN_PHASES; i++) {
			double span = sums[i].last - sums[i].first;
			if (length[i] > 0)
				times->exposed[i] += larger(0, sums[i].busy - sums[i].compute) / length[i] / k->steps->stages;
			if (span > 0)
				times->bubble[i] += larger(0, span - sums[i].busy) / span / k->steps->stages;
		}
	}
}

/* ---- places serve tasks */

static const struct plan_task *task_of(const struct clock *k, const struct flight *f)
{
	return &k->steps->task[f->task];
}

static struct place *place_of(struct clock *k, const struct plan_task *task)
{
	struct stage *stage = &k->stage[task->stage];
	return task->moves ? &stage->links : &stage->compute;
}

static int take(struct queue *queue, int index)
{
	int flight = queue->flight[index];
	queue->flight[index] = queue->flight[--queue->count];
	return flight;
}

/* The next one of those that wait: the highest priority, and of equals the first. */
static void serve(struct clock *k, struct place *place, double now)
{
	const struct flight *best = NULL;
	int index = 0;
	if (place->busy || !place->queue.count)
		return;
	for (int i = 0; i < place->queue.count; i++) {
		const struct flight *f = &k->flight[place->queue.flight[i]];
		if (!best || f->priority > best->priority || (f->priority == best->priority && f->order < best->order)) {
			best = f;
			index = i;
		}
	}
	const struct plan_task *task = task_of(k, best);
	advance(k, task->stage, now);
	if (task->moves && task->stage + 1 < k->steps->stages)
		advance(k, task->stage + 1, now);
	place->busy = true;
	place->sends = task->sends;
	place->from = now + task->wait;
	place->to = place->from + k->steps->seconds[best->step * k->steps->tasks + best->task];
	push(k, place->to, take(&place->queue, index));
}

static void ask(struct clock *k, int flight, double now)
{
	struct flight *f = &k->flight[flight];
	const struct plan_task *task = task_of(k, f);
	struct place *place = place_of(k, task);
	f->priority = k->steps->in_order ? 0
		: task->depth + f->round + (k->steps->step[f->step].phase == PLAN_DECODE ? k->steps->deepest + 1 : 0);
	f->order = k->order++;
	place->queue.flight[place->queue.count++] = flight;
	serve(k, place, now);
}

/* Leaves a stage, where flights do not overlap. */
static void leave(struct clock *k, int s, double now)
{
	struct stage *stage = &k->stage[s];
	if (k->overlap)
		return;
	stage->taken = stage->queue.count > 0;
	if (!stage->taken)
		return;
	int first = stage->queue.flight[0]; /* flights come one after the other, and leave so */
	for (int i = 1; i < stage->queue.count; i++)
		stage->queue.flight[i - 1] = stage->queue.flight[i];
	stage->queue.count--;
	ask(k, first, now);
}

static void arrive(struct clock *k, int flight, double now)
{
	struct stage *stage = &k->stage[task_of(k, &k->flight[flight])->stage];
	if (!k->overlap && stage->taken) {
		stage->queue.flight[stage->queue.count++] = flight;
		return;
	}
	stage->taken = true;
	ask(k, flight, now);
}

/* To the next task that takes time; false: there is none. */
static bool move_on(const struct clock *k, struct flight *f)
{
	const struct plan_steps *steps = k->steps;
	const double *seconds = steps->seconds + f->step * steps->tasks;
	for (;;) {
		const struct plan_run *run = &steps->run[f->run];
		if (++f->task == run->end && ++f->round < run->repeat)
			f->task = run->first;
		if (f->task == run->end) {
			f->round = 0;
			if (++f->run == steps->runs)
				return false;
		}
		if (seconds[f->task] > 0)
			return true;
	}
}

/* ---- micro-batches come and go */

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

static void finish(struct clock *k, int64_t step, double now)
{
	k->timing->end[step] = now;
	k->done[step] = k->passed[step] = true;
	while (k->consumed < k->formed && k->done[k->consumed])
		k->consumed++;
	if (k->steps->step[step].first_tokens)
		end_window(k, now);
}

static void enter(struct clock *k, int64_t step, double now)
{
	int i = 0;
	while (k->flight[i].step >= 0)
		i++;
	struct flight *f = &k->flight[i];
	*f = (struct flight){ .step = step, .task = -1 };
	if (move_on(k, f)) {
		arrive(k, i, now);
		return;
	}
	f->step = -1; /* nothing to do */
	finish(k, step, now);
}

/* What the host forms now that results are in, and what waited for tokens or its turn. */
static void form(struct clock *k, double now)
{
	for (int i = 0; i < k->waits;) {
		if (may_enter(k, k->waiting[i])) {
			int64_t step = k->waiting[i];
			k->waiting[i] = k->waiting[--k->waits];
			enter(k, step, now);
		} else {
			i++;
		}
	}
	while (k->formed < k->steps->count && k->steps->step[k->formed].consumed <= k->consumed) {
		int64_t step = k->formed++;
		if (may_enter(k, step))
			enter(k, step, now);
		else
			k->waiting[k->waits++] = step;
	}
}

/* The flight's task has ended. */
static void end_task(struct clock *k, const struct event *e)
{
	struct flight *f = &k->flight[e->flight];
	const struct plan_task *task = task_of(k, f);
	struct place *place = place_of(k, task);
	int stage = task->stage;
	bool passes = task->passes && f->round + 1 == k->steps->run[f->run].repeat;
	advance(k, stage, e->at);
	if (task->sends && stage + 1 < k->steps->stages)
		advance(k, stage + 1, e->at);
	place->busy = false;
	bool more = move_on(k, f);
	if (more && task_of(k, f)->stage == stage) {
		ask(k, e->flight, e->at);
	} else {
		leave(k, stage, e->at);
		if (more) {
			arrive(k, e->flight, e->at);
		} else {
			f->step = -1;
			finish(k, e->step, e->at);
		}
	}
	serve(k, place, e->at);
	if (passes)
		k->passed[e->step] = true;
	if (passes || !more)
		form(k, e->at);
}

static int make_room(struct clock *k, struct error *error)
{
	size_t n = (size_t) k->steps->count + 1, stages = (size_t) k->steps->stages, slots = (size_t) k->slots;
	k->timing->end = calloc(n, sizeof *k->timing->end);
	k->stage = calloc(stages, sizeof *k->stage);
	k->flight = calloc(slots, sizeof *k->flight);
	k->heap = calloc(slots, sizeof *k->heap);
	k->lists = calloc(3 * stages * slots, sizeof *k->lists);
	k->waiting = calloc(slots, sizeof *k->waiting);
	k->done = calloc(n, sizeof *k->done);
	k->passed = calloc(n, sizeof *k->passed);
	if (!k->timing->end || !k->stage || !k->flight || !k->heap || !k->lists || !k->waiting || !k->done || !k->passed)
		return error_memory(error, "planning");
	for (size_t i = 0; i < slots; i++)
		k->flight[i].step = -1;
	for (size_t s = 0; s < stages; s++) {
		struct stage *stage = &k->stage[s];
		stage->compute.queue.flight = k->lists + 3 * s * slots;
		stage->links.queue.flight = stage->compute.queue.flight + slots;
		stage->queue.flight = stage->links.queue.flight + slots;
		stage->window[PLAN_PREFILL] = stage->window[PLAN_DECODE] = no_sum;
	}
	return 0;
}

int plan_time(const struct plan_steps *steps, int slots, bool overlap, struct plan_timing *timing, struct plan_times *times,
	struct error *error)
{
	/* micro-batches hold their slots until their results are in; one more is being formed */
	struct clock k = { .steps = steps, .timing = timing, .overlap = overlap, .slots = slots + 1 };
	double end = 0;
	int code = make_room(&k, error);
	if (!code)
		form(&k, 0);
	while (!code && k.events) {
		struct event e = pop(&k);
		end = e.at;
		end_task(&k, &e);
	}
	if (!code) {
		for (int s = 0; s < steps->stages; s++)
			advance(&k, s, end);
		fill_shares(&k, end, times);
	}
	free(k.stage);
	free(k.flight);
	free(k.heap);
	free(k.lists);
	free(k.waiting);
	free(k.done);
	free(k.passed);
	return code;
}

void plan_timing_free(struct plan_timing *timing)
{
	free(timing->end);
	*timing = (struct plan_timing){ NULL };
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
