/* SPDX-License-Identifier: Apache-2.0
 *
 * Plans candidates in threads: a coarse grid on every base, then neighbours of the best until none is better. */
#define _GNU_SOURCE /* qsort_r */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "tools/search.h"

const char *const search_goal_names[SEARCH_GOALS] = { [GOAL_MAKESPAN] = "makespan", [GOAL_TTFT] = "ttft",
	[GOAL_PREFILL] = "prefill", [GOAL_DECODE] = "decode", [GOAL_TOTAL] = "total", [GOAL_MEMORY] = "memory",
	[GOAL_EXPOSED] = "exposed" };

enum { VALUES = 16, CENTRES = 12, FRONT_CENTRES = 8, ROUNDS = 8, MOST_THREADS = 64, MOST_CANDIDATES = 1 << 20 };

struct values {
	int count, value[VALUES];
};

/* ---- schedules to try */

static void add_value(struct values *v, int value, int least, int most)
{
	for (int i = 0; i < v->count; i++)
		if (v->value[i] == value)
			return;
	if (v->count < VALUES && value >= least && value <= most)
		v->value[v->count++] = value;
}

/* What the graph says, where 0 stands for one a stage. */
static int given(const struct graph *g, int key)
{
	const struct graph_schedule *s = &g->schedule;
	const int value[SEARCH_KEYS] = { s->prefill_tokens, s->slots, s->ahead,
		s->prefill_micro_batches ? s->prefill_micro_batches : g->mesh.stages,
		s->decode_micro_batches ? s->decode_micro_batches : g->mesh.stages, (int) s->interleave };
	return value[key];
}

/* `fine`: all of a key; else the few of the grid. */
static void list_values(const struct search *s, const struct search_base *b, int key, bool fine, struct values *v)
{
	static const int tokens[] = { 2048, 4096, 8192, 16384, 512, 1024, 3072, 6144, 12288, 32768 };
	static const int slots[] = { 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64 };
	int stages = b->graph->mesh.stages;
	v->count = 0;
	add_value(v, given(b->graph, key), 0, 1 << 20);
	if (search_is_pinned(s, search_key_paths[key]))
		return;
	switch (key) {
	case KEY_TOKENS:
		for (int i = 0; i < (fine ? 10 : 4); i++)
			add_value(v, tokens[i], 1, 1 << 20);
		break;
	case KEY_SLOTS:
		for (int i = 0; fine && i < 12; i++)
			add_value(v, slots[i], 1, 1024);
		add_value(v, 2 * stages, 1, 1024);
		add_value(v, 4 * stages, 1, 1024);
		break;
	case KEY_AHEAD:
		for (int i = 1; fine && i <= 8; i *= 2)
			add_value(v, i, 1, 64);
		break;
	case KEY_CHUNKS:
	case KEY_GROUPS:
		add_value(v, stages, 1, 64);
		for (int i = 1; fine && i <= 8 * stages; i *= 2)
			add_value(v, i, 1, 64);
		break;
	default:
		add_value(v, INTERLEAVE_CHUNKED, 0, 2);
		add_value(v, INTERLEAVE_PREFILL_FIRST, 0, 2);
		if (fine)
			add_value(v, INTERLEAVE_MIXED, 0, 2);
	}
}

/* ---- the list of candidates */

static int add(struct search *s, int base, const int key[SEARCH_KEYS], struct error *error)
{
	for (int i = 0; i < s->candidates; i++)
		if (s->candidate[i].base == base && !memcmp(s->candidate[i].key, key, sizeof s->candidate[i].key))
			return 0;
	if (s->candidates == MOST_CANDIDATES)
		return 0;
	if (s->candidates == s->room) {
		int room = s->room ? 2 * s->room : 4096;
		struct search_candidate *larger = realloc(s->candidate, (size_t) room * sizeof *larger);
		if (!larger)
			return error_memory(error, "searching");
		s->candidate = larger;
		s->room = room;
	}
	struct search_candidate *c = &s->candidate[s->candidates++];
	*c = (struct search_candidate){ .base = base };
	memcpy(c->key, key, sizeof c->key);
	return 0;
}

static int add_grid(struct search *s, int base, bool fine, struct error *error)
{
	struct values values[SEARCH_KEYS];
	int at[SEARCH_KEYS] = { 0 }, key[SEARCH_KEYS], code = 0, k = 0;
	for (int i = 0; i < SEARCH_KEYS; i++)
		list_values(s, &s->base[base], i, fine, &values[i]);
	while (!code && k < SEARCH_KEYS) {
		for (int i = 0; i < SEARCH_KEYS; i++)
			key[i] = values[i].value[at[i]];
		code = add(s, base, key, error);
		for (k = 0; k < SEARCH_KEYS && ++at[k] == values[k].count; k++)
			at[k] = 0;
	}
	return code;
}

static int add_neighbours(struct search *s, int centre, struct error *error)
{
	int base = s->candidate[centre].base, code = 0;
	for (int k = 0; k < SEARCH_KEYS; k++) {
		struct values values;
		list_values(s, &s->base[base], k, true, &values);
		for (int i = 0; !code && i < values.count; i++) {
			int key[SEARCH_KEYS];
			memcpy(key, s->candidate[centre].key, sizeof key);
			key[k] = values.value[i];
			code = add(s, base, key, error);
		}
	}
	return code;
}

/* ---- planning them */

static void apply(struct graph *g, const struct search_candidate *c)
{
	g->schedule.prefill_tokens = c->key[KEY_TOKENS];
	g->schedule.slots = c->key[KEY_SLOTS];
	g->schedule.ahead = c->key[KEY_AHEAD];
	g->schedule.prefill_micro_batches = c->key[KEY_CHUNKS];
	g->schedule.decode_micro_batches = c->key[KEY_GROUPS];
	g->schedule.interleave = (enum interleave) c->key[KEY_INTERLEAVE];
}

double search_limits_missed(const struct search *s, const struct search_figures *f, const char **name, double *value,
	double *limit)
{
	double exposed = f->exposed_prefill / s->most_exposed - 1, bubbles = f->bubble_prefill / s->most_bubbles - 1;
	bool worse = bubbles > exposed;
	*name = worse ? "bubbles in prefill" : "exposed communication in prefill";
	*value = worse ? f->bubble_prefill : f->exposed_prefill;
	*limit = worse ? s->most_bubbles : s->most_exposed;
	return fmax(0, worse ? bubbles : exposed);
}

static void judge(const struct search *s, const struct plan *plan, struct search_candidate *c)
{
	for (int i = 0; i < plan->metrics.requirements; i++) {
		const struct metrics_requirement *r = &plan->metrics.requirement[i];
		if (r->holds)
			continue;
		double factor = !strncmp(r->name, "tokens_per_ms", 13) ? r->limit / r->value : r->value / r->limit;
		double miss = isfinite(factor) ? fmax(factor - 1, 1e-12) : 1e300;
		if (miss <= c->miss)
			continue;
		c->miss = miss;
		c->missed_value = r->value;
		c->missed_limit = r->limit;
		snprintf(c->missed, sizeof c->missed, "%s", r->name);
		snprintf(c->missed_unit, sizeof c->missed_unit, "%s", r->unit);
	}
	const char *name;
	double value, limit, miss = search_limits_missed(s, &c->planned, &name, &value, &limit);
	if (miss > c->miss) {
		c->miss = miss;
		c->missed_value = value;
		c->missed_limit = limit;
		c->missed_unit[0] = '\0';
		snprintf(c->missed, sizeof c->missed, "%s", name);
	}
}

static void keep(const struct search *s, const struct plan *plan, struct search_candidate *c)
{
	const struct metrics *m = &plan->metrics;
	const struct plan_times *t = &plan->overlapped;
	c->planned = (struct search_figures){ m->makespan_s, t->ttft_s, t->prefill_rate, t->decode_rate,
		m->total_tokens_per_s / 1e3 / m->devices, t->exposed[PLAN_PHASES], t->exposed[PLAN_PREFILL],
		fmax(0, t->bubble[PLAN_PHASES]), fmax(0, t->bubble[PLAN_PREFILL]) }; /* rounding makes them less */
	for (int i = 0; i < m->devices; i++)
		c->memory = fmax(c->memory, plan->device[i].total);
	c->bound = plan->lower_bound_s;
	judge(s, plan, c);
	c->state = SEARCH_PLANNED;
}

struct work_list {
	struct search *search;
	atomic_int next;
	pthread_mutex_t lock; /* of the error */
	int code, failed;     /* ERROR_MEMORY; of those that do not fit the first */
	struct error error, unfit;
};

static void fail(struct work_list *list, int index, int code, const struct error *error)
{
	pthread_mutex_lock(&list->lock);
	if (code == ERROR_MEMORY) {
		list->code = code;
		list->error = *error;
	} else if (list->failed < 0 || index < list->failed) {
		list->failed = index;
		list->unfit = *error;
	}
	pthread_mutex_unlock(&list->lock);
}

static void *work(void *context)
{
	struct work_list *list = context;
	struct search *s = list->search;
	struct graph *graph = malloc(sizeof *graph);
	struct error error = { 0 };
	if (!graph) {
		fail(list, 0, error_memory(&error, "searching"), &error);
		return NULL;
	}
	for (int i; (i = atomic_fetch_add(&list->next, 1)) < s->candidates;) {
		struct search_candidate *c = &s->candidate[i];
		struct plan *plan;
		if (c->state != SEARCH_NEW)
			continue;
		*graph = *s->base[c->base].graph;
		apply(graph, c);
		error = (struct error){ 0 };
		int code = plan_make(graph, s->plan, &plan, &error);
		if (code) {
			c->state = SEARCH_UNFIT;
			fail(list, i, code, &error);
			continue;
		}
		keep(s, plan, c);
		plan_destroy(plan);
	}
	free(graph);
	return NULL;
}

/* All that are not planned yet. */
static int plan_all(struct search *s, struct work_list *list)
{
	pthread_t thread[MOST_THREADS];
	int threads = s->threads ? s->threads : (int) sysconf(_SC_NPROCESSORS_ONLN), started = 0;
	list->next = 0;
	while (started < threads - 1 && started < MOST_THREADS && !pthread_create(&thread[started], NULL, work, list))
		started++;
	work(list);
	for (int i = 0; i < started; i++)
		pthread_join(thread[i], NULL);
	return list->code;
}

/* ---- which are best */

double search_value(const struct search *s, const struct search_figures *f, double memory)
{
	const double value[SEARCH_GOALS] = { f->makespan, f->ttft, -f->prefill, -f->decode, -f->total, memory, f->exposed };
	return isfinite(value[s->goal]) ? value[s->goal] : INFINITY;
}

static int compare(const void *a, const void *b, void *context)
{
	const struct search *s = context;
	int x = *(const int *) a, y = *(const int *) b;
	const struct search_candidate *p = &s->candidate[x], *q = &s->candidate[y];
	bool p_simulated = p->simulated.makespan > 0, q_simulated = q->simulated.makespan > 0;
	if (p_simulated != q_simulated)
		return q_simulated - p_simulated;
	if (p_simulated && !s->regardless && p->simulated_holds != q->simulated_holds)
		return q->simulated_holds - p->simulated_holds;
	if (!s->regardless && p->miss != q->miss && (p->miss > 0 || q->miss > 0))
		return p->miss < q->miss ? -1 : 1;
	double v = search_value(s, p_simulated ? &p->simulated : &p->planned, p->memory);
	double w = search_value(s, q_simulated ? &q->simulated : &q->planned, q->memory);
	if (v != w)
		return v < w ? -1 : 1;
	if (p->planned.makespan != q->planned.makespan)
		return p->planned.makespan < q->planned.makespan ? -1 : 1;
	if (p->memory != q->memory)
		return p->memory < q->memory ? -1 : 1;
	return (x > y) - (x < y);
}

/* Schedules that differ where it makes no difference: of the ranked ones, neighbours or nearly. */
static void mark_twins(struct search *s)
{
	for (int i = 0; i < s->ranked; i++) {
		struct search_candidate *c = &s->candidate[s->best[i]];
		c->twin = false;
		for (int j = i - 1; j >= 0 && !c->twin && j >= i - 64; j--) {
			const struct search_candidate *d = &s->candidate[s->best[j]];
			c->twin = d->base == c->base && !memcmp(&d->planned, &c->planned, sizeof c->planned)
				&& !(c->simulated.makespan > 0);
		}
	}
}

static int by_ttft(const void *a, const void *b, void *context)
{
	const struct search *s = context;
	int x = *(const int *) a, y = *(const int *) b;
	const struct search_figures *p = &s->candidate[x].planned, *q = &s->candidate[y].planned;
	if (p->ttft != q->ttft)
		return p->ttft < q->ttft ? -1 : 1;
	if (p->total != q->total)
		return p->total > q->total ? -1 : 1;
	return (x > y) - (x < y);
}

int search_rank(struct search *s, struct error *error)
{
	int *best = realloc(s->best, ((size_t) s->candidates + 1) * sizeof *best);
	double most = -INFINITY;
	if (!best)
		return error_memory(error, "searching");
	s->best = best;
	s->ranked = s->unfit = 0;
	for (int i = 0; i < s->candidates; i++) {
		s->candidate[i].front = false;
		if (s->candidate[i].state == SEARCH_PLANNED)
			best[s->ranked++] = i;
		else
			s->unfit += s->candidate[i].state == SEARCH_UNFIT;
	}
	s->planned = s->ranked;
	qsort_r(best, (size_t) s->ranked, sizeof *best, by_ttft, s);
	for (int i = 0; i < s->ranked; i++) {
		struct search_candidate *c = &s->candidate[best[i]];
		c->front = (s->regardless || c->miss <= 0) && c->planned.total > most;
		most = c->front ? c->planned.total : most;
	}
	qsort_r(best, (size_t) s->ranked, sizeof *best, compare, s);
	mark_twins(s);
	return 0;
}

/* The best of different bases, and some of the front. */
static int refine(struct search *s, struct error *error)
{
	int centre[CENTRES + FRONT_CENTRES], count = 0, code = 0;
	for (int i = 0; i < s->ranked && count < CENTRES; i++) {
		int same = 0;
		for (int j = 0; j < count; j++)
			same += s->candidate[centre[j]].base == s->candidate[s->best[i]].base;
		if (same < 2 && !s->candidate[s->best[i]].twin)
			centre[count++] = s->best[i];
	}
	for (int i = 0, more = 0; i < s->ranked && more < FRONT_CENTRES; i++)
		if (s->candidate[s->best[i]].front) {
			centre[count++] = s->best[i];
			more++;
		}
	for (int i = 0; !code && i < count; i++)
		code = add_neighbours(s, centre[i], error);
	return code;
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double) t.tv_sec + (double) t.tv_nsec * 1e-9;
}

int search_run(struct search *s, struct error *error)
{
	struct work_list list = { .search = s, .lock = PTHREAD_MUTEX_INITIALIZER, .failed = -1 };
	double start = now();
	int code = 0;
	for (int b = 0; !code && b < s->bases; b++)
		code = s->base[b].excluded ? 0 : add_grid(s, b, s->exhaustive, error);
	for (int round = 0, before = 0; !code && before < s->candidates && round < ROUNDS; round++) {
		before = s->candidates;
		code = plan_all(s, &list);
		if (code)
			*error = list.error;
		if (!code)
			code = search_rank(s, error);
		if (!code && !s->exhaustive && round < ROUNDS - 1)
			code = refine(s, error);
	}
	s->seconds = now() - start;
	if (!code && !s->ranked) {
		*error = list.unfit;
		code = list.unfit.code ? list.unfit.code : error_set(error, ERROR_INPUT, NULL, "no mesh of these degrees folds on the devices and divides heads and "
			"experts; other --tp-size, --ep-size, --pp-size, or --devices, would be right");
	}
	pthread_mutex_destroy(&list.lock);
	return code;
}

int search_neighbours(struct search *s, int centre, struct error *error)
{
	struct work_list list = { .search = s, .lock = PTHREAD_MUTEX_INITIALIZER, .failed = -1 };
	int code = add_neighbours(s, centre, error);
	if (!code && (code = plan_all(s, &list)))
		*error = list.error;
	pthread_mutex_destroy(&list.lock);
	return code ? code : search_rank(s, error);
}

int search_bound(const struct search *s, struct search_candidate *c, struct error *error)
{
	struct graph *graph = malloc(sizeof *graph);
	struct plan *plan;
	if (!graph)
		return error_memory(error, "searching");
	*graph = *s->base[c->base].graph;
	apply(graph, c);
	graph->workload.new_tokens = 1;
	int code = plan_make(graph, s->plan, &plan, error);
	if (!code) {
		c->prefill_bound = plan->lower_bound_s;
		plan_destroy(plan);
	}
	free(graph);
	return code;
}

void search_free(struct search *s)
{
	for (int i = 0; i < s->bases; i++)
		graph_destroy(s->base[i].graph);
	free(s->base);
	free(s->candidate);
	free(s->best);
}
