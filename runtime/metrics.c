/* SPDX-License-Identifier: Apache-2.0
 *
 * Rates and delays from the times of tokens, and the verdicts of requirements. */
#include "runtime/metrics.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void metrics_begin(struct metrics *m, enum metrics_source source, const struct graph *graph)
{
	double *unknown[] = {&m->makespan_s, &m->prefill_window_s, &m->decode_window_s, &m->prefill_tokens_per_s,
		&m->decode_tokens_per_s, &m->total_tokens_per_s, &m->prefill_tokens_per_busy_s,
		&m->decode_tokens_per_busy_s, &m->tokens_per_ms_per_device.prefill, &m->tokens_per_ms_per_device.decode,
		&m->ttft_s.p50, &m->ttft_s.p99, &m->ttft_s.max, &m->itl_s.p50, &m->itl_s.p99, &m->itl_s.max, &m->comm_s,
		&m->compute_s, &m->comm_over_compute, &m->exposed_comm_share, &m->exposed_comm_share_prefill,
		&m->exposed_comm_share_decode, &m->bubble_share, &m->bubble_share_prefill, &m->bubble_share_decode,
		&m->runtime_overhead_share, &m->imbalance};

	memset(m, 0, sizeof *m);
	for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
		*unknown[i] = NAN;
	m->source = source;
	m->mesh = graph->mesh;
	snprintf(m->graph, sizeof m->graph, "%s", graph->name);
	snprintf(m->model, sizeof m->model, "%s", graph->model.name);
	snprintf(m->machine, sizeof m->machine, "%s", graph->machine.name);
	snprintf(m->policy, sizeof m->policy, "%s", graph->schedule.policy);
	m->devices = graph->mesh.devices;
	for (int d = 0; d < m->devices; d++) {
		const struct mesh_part *part = &graph->mesh.part[d];
		m->device[d] = (struct metrics_device){.id = part->device,
			.stage = part->stage,
			.tensor = part->tensor,
			.group = part->group,
			.experts = part->experts,
			.slice = part->slice,
			.layers = {graph->mesh.first_layer[part->stage], graph->mesh.first_layer[part->stage + 1]},
			.busy_share = NAN};
		if (graph->model.experts)
			m->device[d].expert_range = mesh_expert_range(&graph->mesh, &graph->model, part->experts);
	}
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *) a, y = *(const double *) b;

	return (x > y) - (x < y);
}

/* Nearest rank: the smallest value that `share` of all do not exceed. Sorts. */
static struct metrics_spread spread_of(double *values, size_t count)
{
	struct metrics_spread spread = {NAN, NAN, NAN};

	if (!count)
		return spread;
	qsort(values, count, sizeof *values, by_value);
	spread.p50 = values[(size_t) ceil(0.50 * (double) count) - 1];
	spread.p99 = values[(size_t) ceil(0.99 * (double) count) - 1];
	spread.max = values[count - 1];
	return spread;
}

static double over(double above, double below)
{
	return below > 0 ? above / below : NAN;
}

int metrics_tokens(struct metrics *m, const struct metrics_sequence *sequences, int count, double start_s, double end_s,
	struct error *error)
{
	size_t firsts = 0, gaps = 0, room = 1;
	double *first, *gap, last_first = NAN;
	int64_t prefilled = 0, after = 0;

	for (int i = 0; i < count; i++)
		room += (size_t) sequences[i].tokens;
	first = malloc(((size_t) count + 1) * sizeof *first);
	gap = malloc(room * sizeof *gap);
	if (!first || !gap) {
		free(first);
		free(gap);
		return error_memory(error, "computing metrics");
	}
	m->sequences = count;
	for (int i = 0; i < count; i++) {
		const struct metrics_sequence *s = &sequences[i];

		m->prompt_min = !i || s->prompt_tokens < m->prompt_min ? s->prompt_tokens : m->prompt_min;
		m->prompt_max = s->prompt_tokens > m->prompt_max ? s->prompt_tokens : m->prompt_max;
		m->prompt_tokens += s->prompt_tokens;
		m->new_tokens += s->tokens;
		if (!s->tokens)
			continue;
		m->decoded_tokens += s->tokens - 1;
		prefilled += s->prompt_tokens;
		first[firsts++] = s->token_s[0];
		if (!(last_first >= s->token_s[0])) /* also where it is NAN */
			last_first = s->token_s[0];
		for (int k = 1; k < s->tokens; k++)
			gap[gaps++] = s->token_s[k] - s->token_s[k - 1];
	}
	for (int i = 0; i < count; i++)
		for (int k = 0; k < sequences[i].tokens; k++)
			after += sequences[i].token_s[k] > last_first;
	m->ttft_s = spread_of(first, firsts);
	m->itl_s = spread_of(gap, gaps);
	m->makespan_s = end_s - start_s;
	m->prefill_window_s = last_first;
	m->decode_window_s = m->makespan_s - last_first;
	m->prefill_tokens_per_s = over((double) prefilled, m->prefill_window_s);
	if (after)
		m->decode_tokens_per_s = over((double) after, m->decode_window_s);
	m->total_tokens_per_s = over((double) (prefilled + m->new_tokens), m->makespan_s);
	m->tokens_per_ms_per_device.prefill = m->prefill_tokens_per_s / 1e3 / m->devices;
	m->tokens_per_ms_per_device.decode = m->decode_tokens_per_s / 1e3 / m->devices;
	free(first);
	free(gap);
	return 0;
}

void metrics_load(struct metrics *m, const int64_t *load, int layers, int experts)
{
	double sum = 0;
	int counted = 0;

	m->load = load;
	m->layers = layers;
	m->experts = experts;
	for (int l = 0; l < layers; l++) {
		int64_t total = 0, largest = 0;

		for (int e = 0; e < experts; e++) {
			int64_t rows = load[(size_t) l * (size_t) experts + (size_t) e];
			total += rows;
			largest = rows > largest ? rows : largest;
		}
		if (!total) /* a dense layer */
			continue;
		sum += (double) largest * experts / (double) total;
		counted++;
	}
	m->imbalance = counted ? sum / counted : NAN;
}

struct judge {
	struct metrics *metrics;
	bool judged;
	char because[128]; /* not judged */
};

__attribute__((format(printf, 7, 8))) static void add_verdict(struct judge *judge, const char *name, double limit,
	double value, const char *unit, bool at_least, const char *format, ...)
{
	struct metrics *m = judge->metrics;
	struct metrics_requirement *r = &m->requirement[m->requirements];
	va_list args;

	if (m->requirements == (int) (sizeof m->requirement / sizeof *m->requirement))
		return;
	m->requirements++;
	snprintf(r->name, sizeof r->name, "%s", name);
	r->limit = limit;
	r->value = value;
	r->unit = unit;
	r->holds = -1;
	va_start(args, format);
	vsnprintf(r->why, sizeof r->why, format, args);
	va_end(args);
	if (!isfinite(value))
		snprintf(r->why, sizeof r->why, "not judged: there is no figure");
	else if (!judge->judged)
		snprintf(r->why, sizeof r->why, "not judged: %s", judge->because);
	else
		r->holds = at_least ? value >= limit : value <= limit;
}

void metrics_judge(struct metrics *m, const struct graph *graph, bool on_machine)
{
	struct judge judge = {.metrics = m, .judged = m->source != METRICS_MEASURED || on_machine};
	double peak = NAN;
	int fullest = 0;

	snprintf(judge.because, sizeof judge.because, "measured on %.40s, the graph names %.40s",
		m->measured_on[0] ? m->measured_on : "another machine", m->machine[0] ? m->machine : "none");
	for (int d = 0; d < m->devices; d++)
		if (!(m->device[d].peak_bytes <= peak)) {
			peak = m->device[d].peak_bytes;
			fullest = m->device[d].id;
		}
	m->requirements = 0;
	for (int i = 0; i < graph->requirements; i++) {
		const struct graph_requirement *r = &graph->requirement[i];

		if (!strcmp(r->name, "ttft_s")) {
			add_verdict(&judge, r->name, r->limit, m->ttft_s.max, "s", false,
				"the largest of %d sequences, from the run's start", m->sequences);
		} else if (!strcmp(r->name, "tokens_per_ms_per_device")) {
			add_verdict(&judge, "tokens_per_ms_per_device.prefill", r->limit,
				m->tokens_per_ms_per_device.prefill, "tokens/ms", true,
				"prompt tokens until the last first token, by %d devices", m->devices);
			add_verdict(&judge, "tokens_per_ms_per_device.decode", r->limit,
				m->tokens_per_ms_per_device.decode, "tokens/ms", true,
				"tokens after the last first token, by %d devices", m->devices);
		} else if (!strcmp(r->name, "memory_gb_per_device")) {
			add_verdict(&judge, r->name, r->limit, peak / 1e9, "GB", false, "device %d, the fullest of %d",
				fullest, m->devices);
		} else if (!strcmp(r->name, "comm_over_compute")) {
			add_verdict(&judge, r->name, r->limit, m->comm_over_compute, "", false,
				"seconds of collectives / seconds of compute, hidden or not");
		} else {
			add_verdict(&judge, r->name, r->limit, NAN, "", false, "not known");
		}
	}
}

bool metrics_fails(const struct metrics *m)
{
	for (int i = 0; i < m->requirements; i++)
		if (m->requirement[i].holds == 0)
			return true;
	return false;
}
