/* SPDX-License-Identifier: Apache-2.0
 *
 * The recurrence over micro-batches and their tasks (plan.h), in the order of time.
 *
 *   flight   a micro-batch under way. In a stage each lane goes on by itself until the next task of all of them, a collective or
 *            a send; at the task that it is at, it has an event, or waits in a queue
 *   place    what serves one task at a time: a lane, or a stage's links; decode first, then the deepest task
 *
 * Without overlap a stage has one flight at a time, from its first task there until what it sends has been sent. */
#include <math.h>
#include <stdlib.h>
#include "tasks/plan_internal.h"

struct position {         /* in the program */
	int run, task, round; /* round: of the run's repetitions */
};

struct part {             /* of a flight, in a lane */
	struct position at;
	int priority;         /* of that task */
	int64_t order;        /* in which it became ready */
};

struct flight {
	int64_t step;         /* −1: none */
	struct part *part;    /* [lanes] */
	int parts;            /* that have not come to the next task of all */
	int passing;          /* that have not come by where another one may take its place */
};

struct event { /* the flight's task ends, in a lane */
	double at;
	int64_t step;
	int flight, lane;
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

struct sum { /* of a lane in a window, seconds */
	double compute, busy; /* in which it computes; in which it computes or communicates */
	double first, last;   /* when it was busy first and last */
};

struct lane {
	struct place compute;
	double at; /* summed until then */
	struct sum window[PLAN_PHASES]; /* until the last first token, and since */
};

struct stage {
	struct lane *lane;
	struct place links;
	struct queue queue; /* without overlap: flights that wait for the stage */
	bool taken;
};

struct clock {
	const struct plan_steps *steps;
	struct plan_timing *timing;
	bool overlap;
	struct stage *stage;
	struct lane *lane;        /* of all stages */
	struct flight *flight;    /* [slots] */
	struct part *part;        /* of all flights */
	struct event *heap;       /* [slots · lanes] */
	int slots, events;
	int *lists;               /* of all queues */
	int64_t *waiting;         /* [slots] formed, but may not enter yet */
	int waits;
	bool *done;               /* has left the last stage */
	bool *passed;             /* another one may have its place in the first */
	int64_t formed, consumed; /* all below have left */
	int64_t order;
	double first_token_s;     /* the last one until now */
	int passing;              /* the task after which another one may take its place; −1: none */
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
	if (a->at != b->at)
		return a->at < b->at;
	return a->step != b->step ? a->step < b->step : a->lane < b->lane;
}

static void push(struct clock *k, double at, int flight, int lane)
{
	int i = k->events++;
	struct event event = { at, k->flight[flight].step, flight, lane };
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

/* ---- what lanes do meanwhile */

static const struct sum no_sum = { 0, 0, INFINITY, 0 };

static struct sum join(const struct sum *a, const struct sum *b)
{
	return (struct sum){ a->compute + b->compute, a->busy + b->busy, smaller(a->first, b->first), larger(a->last, b->last) };
}

/* Sums until `now`, before anything begins or ends there. What a stage sends keeps the next one busy too. */
static void advance(struct clock *k, int s, int l, double now)
{
	const struct stage *stage = &k->stage[s];
	struct lane *lane = &stage->lane[l];
	const struct place *places[] = { &lane->compute, &stage->links, s && stage[-1].links.sends ? &stage[-1].links : NULL };
	struct sum *sum = &lane->window[PLAN_DECODE];
	double from[3], to[3], covered = lane->at;
	int n = 0;
	if (now <= lane->at)
		return;
	for (int p = 0; p < 3; p++) {
		double begin = places[p] ? larger(places[p]->from, lane->at) : 0, end = places[p] ? smaller(places[p]->to, now) : 0;
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
	lane->at = now;
}

static void advance_all(struct clock *k, int s, double now)
{
	for (int l = 0; l < k->steps->lanes; l++)
		advance(k, s, l, now);
}

/* What was summed is of prefill: a first token has come. */
static void end_window(struct clock *k, double now)
{
	for (int s = 0; s < k->steps->stages; s++)
		advance_all(k, s, now);
	for (int l = 0; l < k->steps->stages * k->steps->lanes; l++) {
		struct sum *window = k->lane[l].window;
		window[PLAN_PREFILL] = join(&window[PLAN_PREFILL], &window[PLAN_DECODE]);
		window[PLAN_DECODE] = no_sum;
	}
	k->first_token_s = now;
}

static void fill_shares(const struct clock *k, double end, struct plan_times *times)
{
	const double length[] = { k->first_token_s, end - k->first_token_s, end };
	*times = (struct plan_times){ .makespan_s = end, .prefill_s = k->first_token_s, .decode_s = end - k->first_token_s };
	int lanes = k->steps->stages * k->steps->lanes;
	for (int l = 0; l < lanes; l++) {
		const struct sum *w = k->lane[l].window, sums[] = { w[0], w[1], join(&w[0], &w[1]) };
		for (int i = 0; i <= PLAN_PHASES; i++) {
			double span = sums[i].last - sums[i].first;
			if (length[i] > 0)
				times->exposed[i] += larger(0, sums[i].busy - sums[i].compute) / length[i] / lanes;
			if (span > 0)
				times->bubble[i] += larger(0, span - sums[i].busy) / span / lanes;
		}
	}
}

/* ---- places serve tasks */

static const struct plan_task *task_at(const struct clock *k, const struct position *at)
{
	return &k->steps->task[at->task];
}

static struct place *place_of(struct clock *k, const struct plan_task *task, int lane)
{
	struct stage *stage = &k->stage[task->stage];
	return task->moves ? &stage->links : &stage->lane[lane].compute;
}

static double seconds_of(const struct clock *k, const struct flight *f, int task, int lane)
{
	return k->steps->seconds[(f->step * k->steps->tasks + task) * k->steps->lanes + lane];
}

/* Sums what its place has done until it begins or ends there. */
static void settle(struct clock *k, const struct plan_task *task, int lane, double now)
{
	if (!task->moves) {
		advance(k, task->stage, lane, now);
		return;
	}
	advance_all(k, task->stage, now);
	if (task->stage + 1 < k->steps->stages) /* what it sends, or has sent, keeps that busy */
		advance_all(k, task->stage + 1, now);
}

/* The next one of those that wait: the highest priority, and of equals the first. */
static void serve(struct clock *k, struct place *place, int lane, double now)
{
	const struct part *best = NULL;
	int index = 0;
	if (place->busy || !place->queue.count)
		return;
	for (int i = 0; i < place->queue.count; i++) {
		const struct part *part = &k->flight[place->queue.flight[i]].part[lane];
		if (!best || part->priority > best->priority || (part->priority == best->priority && part->order < best->order)) {
			best = part;
			index = i;
		}
	}
	const struct plan_task *task = task_at(k, &best->at);
	settle(k, task, lane, now);
	int flight = place->queue.flight[index];
	place->queue.flight[index] = place->queue.flight[--place->queue.count];
	place->busy = true;
	place->sends = task->sends;
	place->from = now + task->wait;
	place->to = place->from + seconds_of(k, &k->flight[flight], best->at.task, lane);
	push(k, place->to, flight, lane);
}

static void ask(struct clock *k, int flight, int lane, double now)
{
	struct part *part = &k->flight[flight].part[lane];
	const struct plan_task *task = task_at(k, &part->at);
	struct place *place = place_of(k, task, lane);
	bool decodes = k->steps->step[k->flight[flight].step].phase == PLAN_DECODE;
	part->priority = k->steps->in_order ? 0 : task->depth + part->at.round + (decodes ? k->steps->deepest + 1 : 0);
	part->order = k->order++;
	place->queue.flight[place->queue.count++] = flight;
	serve(k, place, lane, now);
}

/* To the next task; false: there is none. */
static bool next(const struct clock *k, struct position *at)
{
	const struct plan_run *run = &k->steps->run[at->run];
	if (++at->task == run->end && ++at->round < run->repeat)
		at->task = run->first;
	if (at->task == run->end) {
		at->round = 0;
		return ++at->run < k->steps->runs;
	}
	return true;
}

/* From `at` on to what the lane has to do, or, false, to where it waits for the others: a task of all lanes, of another stage, or
 * the end. */
static bool find_own(const struct clock *k, const struct flight *f, int lane, int stage, struct position *at)
{
	for (bool more = at->run < k->steps->runs; more; more = next(k, at)) {
		const struct plan_task *task = task_at(k, at);
		double seconds = seconds_of(k, f, at->task, task->moves ? 0 : lane);
		if (task->stage != stage || (task->moves && seconds > 0))
			return false;
		if (seconds > 0)
			return true;
	}
	return false;
}

/* All lanes go on from where the first part is, to what they have to do in its stage. */
static void start(struct clock *k, int flight, double now);

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
	start(k, first, now);
}

static void arrive(struct clock *k, int flight, double now)
{
	struct stage *stage = &k->stage[task_at(k, &k->flight[flight].part[0].at)->stage];
	if (!k->overlap && stage->taken) {
		stage->queue.flight[stage->queue.count++] = flight;
		return;
	}
	stage->taken = true;
	start(k, flight, now);
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
	f->step = step;
	f->passing = 0;
	for (int l = 0; l < k->steps->lanes; l++) {
		f->part[l].at = (struct position){ 0, 0, 0 };
		f->passing += k->passing >= 0 && seconds_of(k, f, k->passing, l) > 0;
	}
	arrive(k, i, now);
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

/* The flight's lanes have all come to one task, in which parts[0] is: it is of all of them, of another stage, or none. */
static void meet(struct clock *k, int flight, int stage, double now)
{
	struct flight *f = &k->flight[flight];
	int64_t step = f->step;
	if (f->part[0].at.run < k->steps->runs) {
		if (task_at(k, &f->part[0].at)->stage == stage) {
			f->parts = 1;
			ask(k, flight, 0, now);
			return;
		}
		leave(k, stage, now);
		arrive(k, flight, now);
		return;
	}
	f->step = -1;
	leave(k, stage, now);
	finish(k, step, now);
	form(k, now);
}

static void start(struct clock *k, int flight, double now)
{
	struct flight *f = &k->flight[flight];
	int stage = task_at(k, &f->part[0].at)->stage, own = 0;
	for (int l = 1; l < k->steps->lanes; l++)
		f->part[l].at = f->part[0].at;
	for (int l = 0; l < k->steps->lanes; l++)
		own += find_own(k, f, l, stage, &f->part[l].at);
	f->parts = own;
	if (!own) {
		meet(k, flight, stage, now);
		return;
	}
	for (int l = 0; l < k->steps->lanes; l++) {
		const struct position *at = &f->part[l].at;
		if (at->run < k->steps->runs && task_at(k, at)->stage == stage && !task_at(k, at)->moves)
			ask(k, flight, l, now);
	}
}

/* The flight's task has ended in a lane. */
static void end_task(struct clock *k, const struct event *e)
{
	struct flight *f = &k->flight[e->flight];
	struct position *at = &f->part[e->lane].at;
	const struct plan_task *task = task_at(k, at);
	struct place *place = place_of(k, task, e->lane);
	bool passes = at->task == k->passing && at->round + 1 == k->steps->run[at->run].repeat && --f->passing == 0;
	settle(k, task, e->lane, e->at);
	place->busy = false;
	bool stays = next(k, at) && task_at(k, at)->stage == task->stage;
	if (task->moves && stays)
		start(k, e->flight, e->at);
	else if (task->moves)
		meet(k, e->flight, task->stage, e->at);
	else if (find_own(k, f, e->lane, task->stage, at))
		ask(k, e->flight, e->lane, e->at);
	else if (--f->parts == 0)
		meet(k, e->flight, task->stage, e->at);
	serve(k, place, e->lane, e->at);
	if (passes) {
		k->passed[e->step] = true;
		form(k, e->at);
	}
}

static int make_room(struct clock *k, struct error *error)
{
	size_t n = (size_t) k->steps->count + 1, stages = (size_t) k->steps->stages, slots = (size_t) k->slots;
	size_t lanes = (size_t) k->steps->lanes;
	k->timing->end = calloc(n, sizeof *k->timing->end);
	k->stage = calloc(stages, sizeof *k->stage);
	k->flight = calloc(slots, sizeof *k->flight);
	k->part = calloc(slots * lanes, sizeof *k->part);
	k->lane = calloc(stages * lanes, sizeof *k->lane);
	k->heap = calloc(slots * lanes, sizeof *k->heap);
	k->lists = calloc((2 + lanes) * stages * slots, sizeof *k->lists);
	k->waiting = calloc(slots, sizeof *k->waiting);
	k->done = calloc(n, sizeof *k->done);
	k->passed = calloc(n, sizeof *k->passed);
	if (!k->timing->end || !k->stage || !k->lane || !k->part || !k->flight || !k->heap || !k->lists || !k->waiting || !k->done || !k->passed)
		return error_memory(error, "planning");
	for (size_t i = 0; i < slots; i++)
		k->flight[i] = (struct flight){ .step = -1, .part = k->part + i * lanes };
	int *list = k->lists;
	for (size_t s = 0; s < stages; s++) {
		struct stage *stage = &k->stage[s];
		stage->lane = k->lane + s * lanes;
		stage->links.queue.flight = list;
		stage->queue.flight = list + slots;
		list += 2 * slots;
		for (size_t l = 0; l < lanes; l++, list += slots) {
			stage->lane[l].compute.queue.flight = list;
			stage->lane[l].window[PLAN_PREFILL] = stage->lane[l].window[PLAN_DECODE] = no_sum;
		}
	}
	return 0;
}

int plan_time(const struct plan_steps *steps, int slots, bool overlap, struct plan_timing *timing, struct plan_times *times,
	struct error *error)
{
	/* micro-batches hold their slots until their results are in; one more is being formed */
	struct clock k = { .steps = steps, .timing = timing, .overlap = overlap, .slots = slots + 1, .passing = -1 };
	double end = 0;
	for (int i = 0; i < steps->tasks; i++)
		k.passing = steps->task[i].passes ? i : k.passing;
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
			advance_all(&k, s, end);
		fill_shares(&k, end, times);
	}
	free(k.stage);
	free(k.lane);
	free(k.part);
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
