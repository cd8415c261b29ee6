/* SPDX-License-Identifier: Apache-2.0
 *
 * A plan as text: memory, work, communication, times, bounds, requirements, claims. */
#include "tools/plan_print.h"
#include <math.h>
#include <string.h>

static const char *const phases[] = { "prefill", "decode" };

/* "1.23 ms": three digits and a unit that suits. */
static const char *seconds(double value, char *text, size_t size)
{
	if (!isfinite(value))
		snprintf(text, size, "-");
	else if (value >= 1)
		snprintf(text, size, "%.3g s", value);
	else if (value >= 1e-3)
		snprintf(text, size, "%.3g ms", value * 1e3);
	else
		snprintf(text, size, "%.3g µs", value * 1e6);
	return text;
}

static const char *percent(double share, char *text, size_t size)
{
	snprintf(text, size, isfinite(share) ? "%.1f %%" : "-", 100 * share);
	return text;
}

static const char *figure(double value, char *text, size_t size)
{
	snprintf(text, size, isfinite(value) ? "%.4g" : "-", value);
	return text;
}

#define R(value) figure(value, (char[32]){ 0 }, 32)
#define S(value) seconds(value, (char[32]){ 0 }, 32)
#define P(value) percent(value, (char[32]){ 0 }, 32)

static void print_head(const struct plan *plan, FILE *f)
{
	const struct graph *g = plan->graph;
	const struct graph_workload *w = &g->workload;
	fprintf(f, "%s: %s on %s, tensor %d × experts %d × stages %d on %d devices, %s, residual stream %s\n", g->name, g->model.name,
		g->machine.name, g->mesh.tensor, g->mesh.experts, g->mesh.stages, g->mesh.devices, dtype_name(g->compute),
		dtype_name(g->residual));
	fprintf(f, "workload: %d sequence%s, prompt%s of ", w->sequences, w->sequences == 1 ? "" : "s", w->sequences == 1 ? "" : "s");
	if (w->prompt_min == w->prompt_max)
		fprintf(f, "%d tokens, ", w->prompt_min);
	else
		fprintf(f, "%d to %d tokens (mean %.0f, seed %llu), ", w->prompt_min, w->prompt_max,
			(double) plan->metrics.prompt_tokens / fmax(1, w->sequences), (unsigned long long) w->seed);
	fprintf(f, "%d new tokens each; %lld micro-batches: %lld prefill, %lld decode\n", w->new_tokens,
		(long long) plan->counters.micro_batches, (long long) plan->phase_micro_batches[PLAN_PREFILL],
		(long long) plan->phase_micro_batches[PLAN_DECODE]);
	if (plan->load)
		fprintf(f, "routing: largest / mean load of an expert %.2f, dropped %.1f %%\n", plan->metrics.imbalance,
			100 * plan->dropped);
}

static void print_memory(const struct plan *plan, FILE *f)
{
	fprintf(f, "\nmemory, GB    weights  KV pool  (used)    slots  workspace    total    limit\n");
	for (int i = 0; i < plan->graph->mesh.devices; i++) {
		const struct plan_device *d = &plan->device[i];
		char limit[32] = "host's";
		if (d->limit > 0)
			snprintf(limit, sizeof limit, "%.1f", d->limit * 1e-9);
		fprintf(f, "device %-5d %8.3f %8.3f %7.3f %8.3f %10.3f %8.3f %8s\n", d->device, d->weights * 1e-9, d->kv * 1e-9,
			d->kv_used * 1e-9, d->activations * 1e-9, d->workspace * 1e-9, d->total * 1e-9, limit);
	}
	fprintf(f, "KV pool: %lld pages of %d tokens an attention group; sequences' last pages leave %.2f %% of theirs empty\n",
		(long long) plan->pages, plan->graph->kv.page_tokens, 100 * plan->page_waste);
	if (plan->pages < plan->pages_wanted)
		fprintf(f, "the memory allows %lld of %lld KV pages a group that the limits need: sequences wait, or are preempted\n",
			(long long) plan->pages, (long long) plan->pages_wanted);
}

static void print_kinds(const struct plan *plan, enum plan_phase phase, FILE *f)
{
	fprintf(f, "\n%-14s %9s %10s %9s %9s %10s  %s\n", phases[phase], "calls", "GFLOP", "GB", "links GB", "seconds", "bound by");
	for (int k = 0; k < CALL_KINDS; k++) {
		const struct plan_kind *kind = &plan->kind[k][phase];
		if (!kind->calls)
			continue;
		fprintf(f, "%-14s %9lld %10.4g %9.4g %9.4g %10.4g ", call_kind_names[k], (long long) kind->calls, kind->flops * 1e-9,
			kind->bytes * 1e-9, kind->link_bytes * 1e-9, kind->seconds);
		for (int b = 0; b < PLAN_BOUNDS; b++)
			if (kind->bound_s[b] > 0.005 * kind->seconds)
				fprintf(f, " %s %.0f %%", plan_bound_names[b], 100 * kind->bound_s[b] / kind->seconds);
		fputc('\n', f);
	}
}

static void print_axes(const struct plan *plan, FILE *f)
{
	double devices = plan->graph->mesh.devices, compute = plan->metrics.compute_s;
	/* what joins or exchanges experts' rows, and an MLP's addends, spans the whole stage */
	const int degree[PLAN_AXES] = { plan->graph->mesh.tensor, plan->graph->mesh.per_stage, plan->graph->mesh.stages };
	/* the exposed share at best is the stage's: shared out by the axes' times */
	double comm = plan->metrics.comm_s, best = plan->overlapped.exposed[PLAN_PHASES];
	fprintf(f, "\ncommunication a device  members     GB sent      seconds   of compute   exposed at best   no overlap\n");
	for (int a = 0; a < PLAN_AXES; a++) {
		double bytes = plan->axis[a][0].bytes + plan->axis[a][1].bytes;
		double time = plan->axis[a][0].seconds + plan->axis[a][1].seconds;
		fprintf(f, "%-23s %7d %11.4g %12s %12s %17s %12s\n", plan_axis_names[a], degree[a], bytes / devices * 1e-9,
			S(time / devices), P(compute > 0 ? time / devices / compute : NAN), P(comm > 0 ? best * time / devices / comm : 0),
			P(time / devices / plan->serial.makespan_s));
	}
}

static void print_times(const struct plan *plan, FILE *f)
{
	const struct plan_times *t[] = { &plan->overlapped, &plan->serial };
	static const char *const names[] = { "full overlap", "no overlap" };
	fprintf(f, "\n%-14s %10s %10s %10s %10s %10s %9s %9s\n", "", "makespan", "prefill", "decode", "TTFT", "tokens/ms a device:",
		"prefill", "decode");
	for (int i = 0; i < 2; i++)
		fprintf(f, "%-14s %10s %10s %10s %10s %19s %9s %9s\n", names[i], S(t[i]->makespan_s), S(t[i]->prefill_s),
			S(t[i]->decode_s), S(t[i]->ttft_s), "", R(t[i]->prefill_rate), R(t[i]->decode_rate));
	fprintf(f, "%-14s %10s   area of the busiest device %s, longest path %s\n", "lower bound", S(plan->lower_bound_s), S(plan->area_s),
		S(plan->path_s));
	for (int i = 0; i < 2; i++)
		fprintf(f, "%-14s exposed communication %s (prefill %s, decode %s), bubbles %s (prefill %s, decode %s)\n", names[i],
			P(t[i]->exposed[PLAN_PHASES]), P(t[i]->exposed[PLAN_PREFILL]), P(t[i]->exposed[PLAN_DECODE]),
			P(t[i]->bubble[PLAN_PHASES]), P(t[i]->bubble[PLAN_PREFILL]), P(t[i]->bubble[PLAN_DECODE]));
	fprintf(f, "\nrooflines, tokens/ms a device   FLOP/s    memory  tasks with launches   links   binds\n");
	for (int p = 0; p < PLAN_PHASES; p++) {
		struct plan_rates r;
		plan_rates_make(plan, (enum plan_phase) p, &r);
		fprintf(f, "%-30s %8s %9s %20s %7s   ", phases[p], R(r.by_flops), R(r.by_bytes), R(r.by_tasks), R(r.by_links));
		if (r.links_bind)
			fprintf(f, "links; ");
		fprintf(f, isfinite(r.binds_share) ? "%s %.0f %% of compute\n" : "-\n", plan_bound_names[r.binds], 100 * r.binds_share);
	}
}

static void print_requirements(const struct plan *plan, const struct plan_change *changes, int count, FILE *f)
{
	const struct metrics *m = &plan->metrics;
	fprintf(f, "\n%s", m->requirements ? "requirements\n" : "");
	for (int i = 0; i < m->requirements; i++) {
		const struct metrics_requirement *r = &m->requirement[i];
		fprintf(f, "  %-33s %9s %s %-8.4g %-9s %s", r->name, R(r->value), strncmp(r->name, "tokens", 6) ? "≤" : "≥", r->limit,
			r->unit, r->holds < 0 ? "not judged" : r->holds ? "holds" : "DOES NOT HOLD");
		if (r->limit > 0 && isfinite(r->value))
			fprintf(f, ", by a factor of %.3g", r->value > r->limit ? r->value / r->limit : r->limit / r->value);
		fprintf(f, "\n    %s\n", r->why);
		for (int c = 0; c < count; c++)
			if (!strcmp(changes[c].requirement, r->name))
				fprintf(f, "    %s\n", changes[c].text);
	}
}

static void print_claims(const struct plan *plan, FILE *f)
{
	struct plan_claim claim[GRAPH_MAX_CLAIMS];
	int count = plan_claims_make(plan, claim);
	if (count)
		fprintf(f, "\n%-27s %9s %10s\n", "claims", "claimed", "is");
	for (int i = 0; i < count; i++) {
		double scale = !strcmp(claim[i].unit, "share") ? 100 : *claim[i].unit ? 1 : 1e-9;
		const char *unit = scale > 1 ? "%" : scale < 1 ? "billion" : claim[i].unit;
		fprintf(f, "  %-25s %s %8.4g %9s %-9s %-12s  %s\n", claim[i].label, claim[i].relation, claim[i].claimed * scale,
			R(claim[i].value * scale), unit, claim[i].holds ? "confirmed" : "contradicted", claim[i].why);
	}
}

void plan_print(const struct plan *plan, const struct plan_change *changes, int count, FILE *file)
{
	print_head(plan, file);
	print_memory(plan, file);
	print_kinds(plan, PLAN_PREFILL, file);
	print_kinds(plan, PLAN_DECODE, file);
	print_axes(plan, file);
	print_times(plan, file);
	print_requirements(plan, changes, count, file);
	print_claims(plan, file);
}
