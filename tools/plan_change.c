/* SPDX-License-Identifier: Apache-2.0
 *
 * Trials: each is a few overrides, planned anew, and judged by the requirements that do not hold. */
#include "tools/plan_change.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TRIAL_SETS = 8, MOST_REQUIREMENTS = 2 * GRAPH_MAX_REQUIREMENTS };

struct trial {
	char what[128];
	struct {
		const char *path;
		char value[256];
	} set[TRIAL_SETS];
	int sets;
};

struct search {
	const struct plan *plan;
	const struct plan_options *options;
	plan_read *read;
	void *context;
	struct plan_change *changes;
	int count;
	/* best of a class of trials, by requirement of the plan */
	struct {
		double value;
		bool holds;
		char what[128];
	} best[MOST_REQUIREMENTS];
	bool mesh_holds[MOST_REQUIREMENTS]; /* with another mesh of the same devices */
	int code; /* ERROR_MEMORY */
	struct error *error;
};

__attribute__((format(printf, 2, 3))) static void begin(struct trial *t, const char *format, ...)
{
	va_list args;
	t->sets = 0;
	va_start(args, format);
	vsnprintf(t->what, sizeof t->what, format, args);
	va_end(args);
}

__attribute__((format(printf, 3, 4))) static void set(struct trial *t, const char *path, const char *format, ...)
{
	va_list args;
	if (t->sets == TRIAL_SETS)
		return;
	t->set[t->sets].path = path;
	va_start(args, format);
	vsnprintf(t->set[t->sets].value, sizeof t->set[0].value, format, args);
	va_end(args);
	t->sets++;
}

static bool fails(const struct search *s, int i)
{
	return s->plan->metrics.requirement[i].holds == 0;
}

/* The trial's plan, or NULL: it cannot be (degrees that do not divide, memory that is too small). */
static struct plan *perform(struct search *s, const struct trial *t, struct graph **graph)
{
	struct graph_override overrides[TRIAL_SETS];
	struct error error = { 0 };
	struct plan *plan = NULL;
	*graph = NULL;
	for (int i = 0; i < t->sets; i++)
		overrides[i] = (struct graph_override){ t->set[i].path, t->set[i].value };
	int code = s->code ? s->code : s->read(s->context, overrides, t->sets, graph, &error);
	if (!code)
		code = plan_make(*graph, s->options, &plan, &error);
	if (code == ERROR_MEMORY && !s->code) {
		s->code = code;
		if (s->error)
			*s->error = error;
	}
	return code ? NULL : plan;
}

static const struct metrics_requirement *same_requirement(const struct plan *plan, const char *name)
{
	for (int i = 0; i < plan->metrics.requirements; i++)
		if (!strcmp(plan->metrics.requirement[i].name, name))
			return &plan->metrics.requirement[i];
	return NULL;
}

static bool at_least(const char *name)
{
	return !strncmp(name, "tokens_per_ms", 13);
}

static void clear(struct search *s)
{
	for (int i = 0; i < MOST_REQUIREMENTS; i++) {
		s->best[i].value = NAN;
		s->best[i].holds = false;
		s->best[i].what[0] = '\0';
	}
}

/* Notes the trial where it is the first to hold, or the nearest so far. `all`: the best of those that hold. */
static void attempt(struct search *s, const struct trial *t, bool all)
{
	struct graph *graph;
	struct plan *plan = perform(s, t, &graph);
	for (int i = 0; plan && i < s->plan->metrics.requirements; i++) {
		const char *name = s->plan->metrics.requirement[i].name;
		const struct metrics_requirement *r = same_requirement(plan, name);
		if (!fails(s, i) || !r || !isfinite(r->value))
			continue;
		bool holds = r->holds == 1;
		bool better = !s->best[i].what[0] || (at_least(name) ? r->value > s->best[i].value : r->value < s->best[i].value);
		if (s->best[i].holds && !(all && holds && better))
			continue;
		if (!holds && !better)
			continue;
		s->best[i].value = r->value;
		s->best[i].holds = holds;
		snprintf(s->best[i].what, sizeof s->best[i].what, "%s", t->what);
	}
	plan_destroy(plan);
	graph_destroy(graph);
}

/* Turns what a class of trials found into lines; `settled` [requirements]: those that need none, or NULL. */
static void conclude(struct search *s, const bool *settled, const char *none)
{
	for (int i = 0; i < s->plan->metrics.requirements; i++) {
		const struct metrics_requirement *r = &s->plan->metrics.requirement[i];
		if (!fails(s, i) || (settled && settled[i]) || !s->best[i].what[0] || s->count == PLAN_MAX_CHANGES)
			continue;
		double gain = at_least(r->name) ? s->best[i].value / r->value : r->value / s->best[i].value;
		if (!s->best[i].holds && !(gain > 1.01))
			continue;
		struct plan_change *change = &s->changes[s->count++];
		snprintf(change->requirement, sizeof change->requirement, "%s", r->name);
		if (s->best[i].holds)
			snprintf(change->text, sizeof change->text, "%s would make it hold: %.4g%s%s", s->best[i].what, s->best[i].value,
				*r->unit ? " " : "", r->unit);
		else
			snprintf(change->text, sizeof change->text, "%s; nearest: %s, %.4g%s%s", none, s->best[i].what, s->best[i].value,
				*r->unit ? " " : "", r->unit);
	}
}

/* ---- the classes */

static void try_schedule(struct search *s)
{
	const struct graph *g = s->plan->graph;
	static const double factors[] = { 2, 4, 0.5, 0.25 };
	struct trial t;
	clear(s);
	if (g->residual == DTYPE_FP32 && g->compute != DTYPE_FP32) {
		begin(&t, "residual = \"%s\"", dtype_name(graph_narrow_residual(g)));
		set(&t, "residual", "\"%s\"", dtype_name(graph_narrow_residual(g)));
		attempt(s, &t, false);
	}
	for (size_t i = 0; i < sizeof factors / sizeof *factors; i++) {
		int tokens = (int) fmax(1, g->schedule.prefill_tokens * factors[i]);
		begin(&t, "schedule.prefill.tokens = %d", tokens);
		set(&t, "schedule.prefill.tokens", "%d", tokens);
		attempt(s, &t, false);
	}
	for (int parts = 1; parts <= 2 * g->mesh.stages; parts *= 2) {
		begin(&t, "schedule.decode.micro_batches = %d", parts);
		set(&t, "schedule.decode.micro_batches", "%d", parts);
		attempt(s, &t, false);
	}
	begin(&t, "schedule.slots = %d", 2 * g->schedule.slots);
	set(&t, "schedule.slots", "%d", 2 * g->schedule.slots);
	attempt(s, &t, false);
	if (g->schedule.interleave != INTERLEAVE_PREFILL_FIRST) {
		begin(&t, "schedule.interleave = \"prefill_first\"");
		set(&t, "schedule.interleave", "prefill_first");
		attempt(s, &t, false);
	}
	if (g->model.experts) {
		begin(&t, "dispatch and combine \"local\"");
		set(&t, "layer", "( { task = \"attention\"; }, { task = \"all_reduce\"; over = \"tensor\"; }, { task = \"route\"; }, "
			"{ task = \"dispatch\"; how = \"local\"; }, { task = \"experts\"; }, { task = \"combine\"; how = \"local\"; }, "
			"{ task = \"all_reduce\"; over = \"experts\"; } )");
		attempt(s, &t, false);
	}
	conclude(s, NULL, "no change of the schedule, the chain or the residual stream is enough");
}

static int lcm(int a, int b)
{
	int x = a, y = b;
	while (y) {
		int rest = x % y;
		x = y;
		y = rest;
	}
	return a / x * b;
}

/* All meshes of so many devices, whose degrees divide heads and experts. */
static void try_meshes(struct search *s, int devices, bool more)
{
	const struct graph *g = s->plan->graph;
	const struct mesh *mesh = &g->mesh;
	for (int stages = 1; stages <= devices && stages <= g->model.layers; stages++)
		for (int tensor = 1; tensor <= devices / stages; tensor++)
			for (int experts = 1; experts <= devices / stages; experts++) {
				struct trial t;
				if (lcm(tensor, experts) * stages != devices || g->model.heads % tensor
					|| (g->model.experts ? g->model.experts % experts : experts > 1))
					continue;
				if (!more && tensor == mesh->tensor && experts == mesh->experts && stages == mesh->stages)
					continue;
				begin(&t, "tensor %d × experts %d × stages %d%s", tensor, experts, stages, "");
				if (more) {
					begin(&t, "tensor %d × experts %d × stages %d on %d devices", tensor, experts, stages, devices);
					set(&t, "machine.devices[0].count", "%d", devices);
				}
				set(&t, "mesh", "{ tensor = %d; experts = %d; stages = %d; }", tensor, experts, stages);
				attempt(s, &t, true);
			}
}

/* Binary search for the largest value of a key at which requirement i holds; −1: at none from `least` on. */
static int search_largest(struct search *s, int i, int least, int most, void (*make)(struct trial *t, int value))
{
	int holds = -1, low = least, high = most;
	while (low <= high && !s->code) {
		int middle = holds < 0 && low == least ? least : low + (high - low) / 2;
		struct trial t;
		begin(&t, "?");
		make(&t, middle);
		clear(s);
		attempt(s, &t, false);
		if (s->best[i].holds) {
			holds = middle;
			low = middle + 1 + (most - least) / 128;
		} else {
			if (middle == least)
				return -1;
			high = middle - 1;
		}
	}
	return holds;
}

static void set_prompts(struct trial *t, int value)
{
	set(t, "require.workload.prompt_tokens", "%d", value);
}

static void set_sequences(struct trial *t, int value)
{
	set(t, "limits.sequences", "%d", value);
	set(t, "require.workload.sequences", "%d", value);
}

static void set_limit(struct trial *t, int value)
{
	set(t, "limits.tokens_per_sequence", "%d", value);
}

static void try_fewer(struct search *s)
{
	const struct graph *g = s->plan->graph;
	for (int i = 0; i < s->plan->metrics.requirements && s->count < PLAN_MAX_CHANGES; i++) {
		const struct metrics_requirement *r = &s->plan->metrics.requirement[i];
		if (!fails(s, i))
			continue;
		bool memory = !strcmp(r->name, "memory_gb_per_device");
		int sequences = -1, tokens = memory
			? search_largest(s, i, 2, g->limits.tokens_per_sequence, set_limit)
			: search_largest(s, i, 1, g->workload.prompt_max, set_prompts);
		if (memory || !strcmp(r->name, "ttft_s"))
			sequences = search_largest(s, i, 1, g->limits.sequences, set_sequences);
		struct plan_change *change = &s->changes[s->count++];
		snprintf(change->requirement, sizeof change->requirement, "%s", r->name);
		size_t n;
		if (tokens < 0)
			n = (size_t) snprintf(change->text, sizeof change->text, "no length of prompts makes it hold: %.4g%s%s with prompts "
				"of 1 token", s->best[i].value, *r->unit ? " " : "", r->unit);
		else
			n = (size_t) snprintf(change->text, sizeof change->text, memory ? "limits.tokens_per_sequence = %d would make it hold"
				: "prompts of %d tokens would make it hold", tokens);
		if (sequences >= 0)
			snprintf(change->text + n, sizeof change->text - n, "; so would %d sequences", sequences);
	}
}

static bool all_hold(const struct search *s)
{
	for (int i = 0; i < s->plan->metrics.requirements; i++)
		if (fails(s, i) && !s->best[i].holds)
			return false;
	return true;
}

int plan_changes_make(const struct plan *plan, const struct plan_options *options, plan_read *read, void *context,
	struct plan_change *changes, int *count, struct error *error)
{
	struct search s = { .plan = plan, .options = options, .read = read, .context = context, .changes = changes,
		.error = error };
	*count = 0;
	if (!metrics_fails(&plan->metrics))
		return 0;
	try_schedule(&s);
	clear(&s);
	try_meshes(&s, plan->graph->mesh.devices, false);
	bool enough = all_hold(&s);
	for (int i = 0; i < plan->metrics.requirements; i++)
		s.mesh_holds[i] = s.best[i].holds;
	conclude(&s, NULL, "no other mesh of these devices is enough");
	try_fewer(&s);
	if (!enough && !plan->graph->machine.host) {
		clear(&s);
		for (int devices = 2 * plan->graph->mesh.devices; devices <= 4 * plan->graph->mesh.devices
			&& devices <= MESH_MAX_DEVICES && !all_hold(&s); devices *= 2)
			try_meshes(&s, devices, true);
		conclude(&s, s.mesh_holds, "no mesh of up to four times the devices is enough");
	}
	*count = s.count;
	return s.code;
}
