/* SPDX-License-Identifier: Apache-2.0
 *
 * What somebody claims of the deployment (`claims` in its description), beside what the plan finds. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "runtime/accounts.h"
#include "tasks/plan_internal.h"

enum relation { EQUAL, AT_LEAST, AT_MOST };

struct found {
	double value;
	char why[256];
};

__attribute__((format(printf, 2, 3))) static void say(struct found *found, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(found->why, sizeof found->why, format, args);
	va_end(args);
}

__attribute__((format(printf, 2, 3))) static void add(struct found *found, const char *format, ...)
{
	size_t used = strlen(found->why);
	va_list args;
	va_start(args, format);
	vsnprintf(found->why + used, sizeof found->why - used, format, args);
	va_end(args);
}

static const struct plan_device *fullest(const struct plan *plan)
{
	const struct plan_device *most = &plan->device[0];
	for (int d = 1; d < plan->graph->mesh.devices; d++)
		if (plan->device[d].total > most->total)
			most = &plan->device[d];
	return most;
}

static void find_parameters(const struct plan *plan, struct found *f)
{
	const struct model_parameters *p = &plan->parameters;
	const struct model *model = &plan->graph->model;
	f->value = p->total;
	say(f, "%d layers of %.1f M are %.2f B, embedding and head %.3f B", model->layers,
		(p->total - p->embedding - p->head) / model->layers * 1e-6, (p->total - p->embedding - p->head) * 1e-9,
		(p->embedding + p->head) * 1e-9);
}

static void find_weights(const struct plan *plan, struct found *f)
{
	const struct model *model = &plan->graph->model;
	f->value = plan->parameters.total * (double) dtype_bytes(model->dtype) * 1e-9;
	say(f, "%.3f B parameters of %d bytes", plan->parameters.total * 1e-9, (int) dtype_bytes(model->dtype));
}

/* Of one token over all layers. */
static double kv_bytes(const struct graph *graph)
{
	const struct model *model = &graph->model;
	return 2.0 * model->layers * model->kv_heads * model->head_dim * (double) dtype_bytes(graph->kv.dtype);
}

static void find_kv(const struct plan *plan, struct found *f)
{
	const struct graph_limits *limits = &plan->graph->limits;
	double tokens = (double) limits->sequences * limits->tokens_per_sequence;
	f->value = kv_bytes(plan->graph) * tokens * 1e-9;
	say(f, "%.3g KiB a token, %.1f GiB for %d × %d tokens", kv_bytes(plan->graph) / 1024,
		kv_bytes(plan->graph) * tokens / 1073741824, limits->sequences, limits->tokens_per_sequence);
}

static void find_weights_device(const struct plan *plan, struct found *f)
{
	const struct plan_device *most = &plan->device[0]; /* need not be the fullest */
	for (int d = 1; d < plan->graph->mesh.devices; d++)
		if (plan->device[d].weights > most->weights)
			most = &plan->device[d];
	f->value = most->weights * 1e-9;
	say(f, "device %d, as packed", most->device);
}

static void find_kv_device(const struct plan *plan, struct found *f)
{
	f->value = fullest(plan)->kv * 1e-9;
	say(f, "device %d; the workload uses %.2f GB of it", fullest(plan)->device, fullest(plan)->kv_used * 1e-9);
}

static void find_memory(const struct plan *plan, struct found *f)
{
	f->value = fullest(plan)->total * 1e-9;
	say(f, "device %d, with %.2f GB of slots and workspace", fullest(plan)->device,
		(fullest(plan)->activations + fullest(plan)->workspace) * 1e-9);
}

static void find_memory_share(const struct plan *plan, struct found *f)
{
	f->value = fullest(plan)->limit > 0 ? fullest(plan)->total / fullest(plan)->limit : NAN;
	say(f, "of %.0f GB", fullest(plan)->limit * 1e-9);
}

static void find_rate(const struct plan *plan, struct found *f)
{
	struct plan_rates prefill, decode;
	plan_rates_make(plan, PLAN_PREFILL, &prefill);
	plan_rates_make(plan, PLAN_DECODE, &decode);
	f->value = fmax(prefill.planned, decode.planned);
	say(f, "prefill %.4g (FLOP/s allow %.4g", prefill.planned, prefill.by_flops);
	if (isfinite(prefill.by_links))
		add(f, ", links %.4g", prefill.by_links);
	add(f, ")");
	if (isfinite(decode.planned))
		add(f, ", decode %.3g (memory allows %.3g)", decode.planned, decode.by_bytes);
}

static void find_flops(const struct plan *plan, struct found *f)
{
	struct plan_rates prefill;
	double required = NAN, flops = 0;
	plan_rates_make(plan, PLAN_PREFILL, &prefill);
	for (int i = 0; i < plan->graph->requirements; i++)
		if (!strcmp(plan->graph->requirement[i].name, "tokens_per_ms_per_device"))
			required = plan->graph->requirement[i].limit;
	for (int d = 0; d < plan->graph->mesh.devices; d++)
		flops += plan->device[d].phase[PLAN_PREFILL].flops;
	flops /= fmax(1, (double) plan->phase_rows[PLAN_PREFILL]);
	f->value = (isfinite(required) ? required : prefill.planned) / prefill.by_flops;
	if (isfinite(required))
		say(f, "%.0f tokens/ms of %.0f MFLOP each; as planned prefill takes %.0f %%", required, flops * 1e-6,
			100 * prefill.planned / prefill.by_flops);
	else
		say(f, "prefill, %.0f MFLOP a token", flops * 1e-6);
}

static void find_ttft(const struct plan *plan, struct found *f)
{
	f->value = plan->overlapped.ttft_s;
	say(f, "the last of %d sequences; %.3g s without overlap", plan->metrics.sequences, plan->serial.ttft_s);
}

static void find_comm(const struct plan *plan, struct found *f)
{
	f->value = plan->metrics.comm_over_compute;
	say(f, "%.3g s of collectives beside %.3g s of compute a device; exposed %.0f %% of the makespan with full overlap, "
		"%.0f %% without",
		plan->metrics.comm_s, plan->metrics.compute_s, 100 * plan->overlapped.exposed[PLAN_PHASES],
		100 * plan->serial.exposed[PLAN_PHASES]);
}

static void find_bandwidth(const struct plan *plan, struct found *f)
{
	double share[PLAN_PHASES];
	for (int p = 0; p < PLAN_PHASES; p++) {
		struct plan_rates rates;
		plan_rates_make(plan, (enum plan_phase) p, &rates);
		share[p] = rates.by_tasks / rates.by_bytes;
	}
	bool decodes = isfinite(share[PLAN_DECODE]);
	f->value = decodes ? share[PLAN_DECODE] : share[PLAN_PREFILL];
	say(f, "while %s tasks run", decodes ? "decode" : "prefill");
	if (decodes)
		add(f, "; %.0f %% while prefill tasks run", 100 * share[PLAN_PREFILL]);
}

static const struct {
	const char *name, *label, *unit;
	enum relation relation;
	void (*find)(const struct plan *plan, struct found *found);
} kinds[] = {
	{ "parameters", "parameters", "", EQUAL, find_parameters },
	{ "weights_gb", "weights", "GB", EQUAL, find_weights },
	{ "kv_gb", "KV at the limits", "GB", EQUAL, find_kv },
	{ "weights_gb_per_device", "weights a device", "GB", EQUAL, find_weights_device },
	{ "kv_gb_per_device", "KV pool a device", "GB", EQUAL, find_kv_device },
	{ "memory_gb_per_device", "memory a device", "GB", EQUAL, find_memory },
	{ "memory_share", "memory in use", "share", EQUAL, find_memory_share },
	{ "tokens_per_ms_per_device", "tokens/ms a device", "tokens/ms", AT_LEAST, find_rate },
	{ "flops_share", "compute in use", "share", EQUAL, find_flops },
	{ "ttft_s", "time to first token", "s", AT_MOST, find_ttft },
	{ "comm_over_compute", "communication / compute", "share", AT_MOST, find_comm },
	{ "bandwidth_share", "memory bandwidth in use", "share", AT_MOST, find_bandwidth },
};

int plan_claims_make(const struct plan *plan, struct plan_claim *claims)
{
	static const char *const signs[] = { "=", "≥", "≤" };
	int count = 0;
	for (int i = 0; i < plan->graph->claims; i++)
		for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
			const struct graph_claim *said = &plan->graph->claim[i];
			struct plan_claim *claim = &claims[count];
			struct found found = { NAN, "" };
			if (strcmp(said->name, kinds[k].name))
				continue;
			kinds[k].find(plan, &found);
			*claim = (struct plan_claim){ .name = kinds[k].name, .unit = kinds[k].unit, .claimed = said->value,
				.value = found.value };
			snprintf(claim->label, sizeof claim->label, "%s", kinds[k].label);
			snprintf(claim->relation, sizeof claim->relation, "%s", signs[kinds[k].relation]);
			snprintf(claim->why, sizeof claim->why, "%s", found.why);
			claim->holds = kinds[k].relation == EQUAL ? fabs(found.value - said->value) <= 0.1 * said->value
				: kinds[k].relation == AT_LEAST   ? found.value >= said->value
								  : found.value <= said->value;
			count++;
		}
	return count;
}
