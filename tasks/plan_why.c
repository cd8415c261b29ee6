/* SPDX-License-Identifier: Apache-2.0
 *
 * Why a plan's figures are what they are: which bound binds in each phase, and in each requirement. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "tasks/plan_internal.h"

const char *const plan_bound_names[PLAN_BOUNDS] = {
	[BOUND_FLOPS] = "FLOP/s", [BOUND_BYTES] = "memory", [BOUND_LINKS] = "links", [BOUND_LAUNCH] = "launches" };
const char *const plan_axis_names[PLAN_AXES] = {
	[PLAN_TENSOR] = "tensor", [PLAN_EXPERTS] = "experts", [PLAN_STAGES] = "stages" };

static double over(double above, double below)
{
	return below > 0 ? above / below : NAN;
}

/* Tokens that a phase's rows are: prompt rows, or tokens that are sampled while decoding. */
void plan_rates_make(const struct plan *plan, enum plan_phase phase, struct plan_rates *rates)
{
	const struct graph_machine *machine = &plan->graph->machine;
	double tokens = (double) plan->phase_rows[phase] / 1e3, flops = 0, bytes = 0, compute = 0, comm = 0;
	double bound[PLAN_BOUNDS] = { 0 }, all = 0;
	for (int d = 0; d < plan->graph->mesh.devices; d++) {
		const struct plan_device *device = &plan->device[d];
		flops += device->phase[phase].flops / cost_flops(machine, device->device);
		bytes += device->phase[phase].bytes / cost_bandwidth(machine, device->device);
		compute += device->phase[phase].compute_s;
		comm += device->phase[phase].comm_s;
	}
	for (int k = 0; k < CALL_KINDS; k++)
		for (int b = 0; b < PLAN_BOUNDS && !plan->kind[k][phase].collective; b++) {
			bound[b] += plan->kind[k][phase].bound_s[b];
			all += plan->kind[k][phase].bound_s[b];
		}
	*rates = (struct plan_rates){
		.planned = phase == PLAN_PREFILL ? plan->overlapped.prefill_rate : plan->overlapped.decode_rate,
		.serial = phase == PLAN_PREFILL ? plan->serial.prefill_rate : plan->serial.decode_rate,
		.by_flops = over(tokens, flops),
		.by_bytes = over(tokens, bytes),
		.by_tasks = over(tokens, compute),
		.by_links = over(tokens, comm),
		.links_bind = comm > compute,
	};
	for (int b = 1; b < PLAN_BOUNDS; b++)
		if (bound[b] > bound[rates->binds])
			rates->binds = (enum plan_bound) b;
	rates->binds_share = over(bound[rates->binds], all);
}

__attribute__((format(printf, 3, 4))) static void say(struct metrics_requirement *r, size_t keep, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(r->why + keep, sizeof r->why - keep, format, args);
	va_end(args);
}

/* Four digits, or "-" where there is nothing that could bound. */
static const char *figure(double value, char *text, size_t size)
{
	snprintf(text, size, isfinite(value) ? "%.4g" : "-", value);
	return text;
}
#define R(value) figure(value, (char[24]){ 0 }, 24)

static void explain_rate(const struct plan *plan, struct metrics_requirement *r, enum plan_phase phase)
{
	struct plan_rates rates;
	plan_rates_make(plan, phase, &rates);
	say(r, 0, "%s%s: at most %s by FLOP/s, %s by memory, %s with launches, %s by links; %s without overlap",
		rates.links_bind ? "collectives" : plan_bound_names[rates.binds],
		rates.links_bind || rates.binds == BOUND_LAUNCH ? " bind" : " binds",
		R(rates.by_flops), R(rates.by_bytes), R(rates.by_tasks), R(rates.by_links), R(rates.serial));
}

static void explain_memory(const struct plan *plan, struct metrics_requirement *r)
{
	int fullest = 0;
	for (int d = 1; d < plan->graph->mesh.devices; d++)
		if (plan->device[d].total > plan->device[fullest].total)
			fullest = d;
	const struct plan_device *d = &plan->device[fullest];
	say(r, 0, "device %d: weights %.2f, KV pool %.2f (used %.2f), slots %.2f, workspace %.2f GB", d->device,
		d->weights * 1e-9, d->kv * 1e-9, d->kv_used * 1e-9, d->activations * 1e-9, d->workspace * 1e-9);
}

static void explain_comm(const struct plan *plan, struct metrics_requirement *r)
{
	double compute = plan->metrics.compute_s * plan->metrics.devices, share[PLAN_AXES];
	for (int a = 0; a < PLAN_AXES; a++)
		share[a] = over(plan->axis[a][PLAN_PREFILL].seconds + plan->axis[a][PLAN_DECODE].seconds, compute);
	double prefill = 0, decode = 0, computes[PLAN_PHASES] = { 0, 0 };
	for (int d = 0; d < plan->graph->mesh.devices; d++) {
		prefill += plan->device[d].phase[PLAN_PREFILL].comm_s;
		decode += plan->device[d].phase[PLAN_DECODE].comm_s;
		computes[0] += plan->device[d].phase[PLAN_PREFILL].compute_s;
		computes[1] += plan->device[d].phase[PLAN_DECODE].compute_s;
	}
	say(r, 0, "tensor %s, experts %s, stages %s; prefill %s, decode %s; hidden or not", R(share[PLAN_TENSOR]),
		R(share[PLAN_EXPERTS]), R(share[PLAN_STAGES]), R(over(prefill, computes[0])), R(over(decode, computes[1])));
}

void plan_explain(struct plan *plan)
{
	struct metrics *m = &plan->metrics;
	for (int i = 0; i < m->requirements; i++) {
		struct metrics_requirement *r = &m->requirement[i];
		if (r->holds < 0) /* metrics_judge has said why */
			continue;
		if (!strcmp(r->name, "ttft_s"))
			say(r, 0, "the last of %d sequences; %.3g s without overlap; prompts through prefill at %.3g tokens/ms a device",
				m->sequences, plan->serial.ttft_s, plan->overlapped.prefill_rate);
		else if (!strcmp(r->name, "tokens_per_ms_per_device.prefill"))
			explain_rate(plan, r, PLAN_PREFILL);
		else if (!strcmp(r->name, "tokens_per_ms_per_device.decode"))
			explain_rate(plan, r, PLAN_DECODE);
		else if (!strcmp(r->name, "memory_gb_per_device"))
			explain_memory(plan, r);
		else if (!strcmp(r->name, "comm_over_compute"))
			explain_comm(plan, r);
	}
}
