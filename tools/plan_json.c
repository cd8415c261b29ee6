/* SPDX-License-Identifier: Apache-2.0
 *
 * A plan as JSON: the metrics as every command prints them, and under "plan" what they have no place for. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "tools/plan_print.h"

static const char *const phases[] = { "prefill", "decode" };

static json_t *real(double value)
{
	return isfinite(value) ? json_real(value) : json_null();
}

static json_t *times(const struct plan_times *t)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "makespan_s", real(t->makespan_s), "prefill_window_s",
		real(t->prefill_s), "decode_window_s", real(t->decode_s), "ttft_s", real(t->ttft_s),
		"prefill_tokens_per_ms_per_device", real(t->prefill_rate), "decode_tokens_per_ms_per_device", real(t->decode_rate),
		"exposed_comm_share", real(t->exposed[PLAN_PHASES]), "bubble_share", real(t->bubble[PLAN_PHASES]));
}

static json_t *kinds(const struct plan *plan, int phase)
{
	json_t *list = json_array();
	for (int k = 0; k < CALL_KINDS; k++) {
		const struct plan_kind *kind = &plan->kind[k][phase];
		if (!kind->calls)
			continue;
		json_t *bounds = json_object();
		for (int b = 0; b < PLAN_BOUNDS; b++)
			json_object_set_new(bounds, plan_bound_names[b], real(kind->bound_s[b]));
		json_array_append_new(list, json_pack("{s:s, s:I, s:f, s:f, s:f, s:f, s:o}", "kind", call_kind_names[k], "calls",
			(json_int_t) kind->calls, "flops", kind->flops, "bytes", kind->bytes, "link_bytes", kind->link_bytes, "seconds",
			kind->seconds, "bound_s", bounds));
	}
	return list;
}

static json_t *axes(const struct plan *plan)
{
	json_t *object = json_object();
	for (int a = 0; a < PLAN_AXES; a++)
		json_object_set_new(object, plan_axis_names[a], json_pack("{s:f, s:f}", "bytes", plan->axis[a][0].bytes + plan->axis[a][1].bytes,
			"seconds", plan->axis[a][0].seconds + plan->axis[a][1].seconds));
	return object;
}

static json_t *rates(const struct plan *plan, enum plan_phase phase)
{
	struct plan_rates r;
	plan_rates_make(plan, phase, &r);
	return json_pack("{s:o, s:o, s:o, s:o, s:s, s:b}", "flops", real(r.by_flops), "memory", real(r.by_bytes), "tasks",
		real(r.by_tasks), "links", real(r.by_links), "binds", plan_bound_names[r.binds], "links_bind", r.links_bind);
}

static json_t *claims(const struct plan *plan)
{
	struct plan_claim claim[GRAPH_MAX_CLAIMS];
	json_t *list = json_array();
	int count = plan_claims_make(plan, claim);
	for (int i = 0; i < count; i++)
		json_array_append_new(list, json_pack("{s:s, s:s, s:f, s:o, s:s, s:b, s:s}", "name", claim[i].name, "relation",
			claim[i].relation, "claimed", claim[i].claimed, "value", real(claim[i].value), "unit", claim[i].unit, "holds",
			claim[i].holds, "why", claim[i].why));
	return list;
}

static json_t *memory(const struct plan *plan)
{
	json_t *list = json_array();
	for (int i = 0; i < plan->graph->mesh.devices; i++) {
		const struct plan_device *d = &plan->device[i];
		json_array_append_new(list, json_pack("{s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:o}", "device", d->device, "weights", d->weights,
			"kv", d->kv, "kv_used", d->kv_used, "activations", d->activations, "workspace", d->workspace, "total", d->total,
			"limit", d->limit > 0 ? json_real(d->limit) : json_null()));
	}
	return list;
}

static json_t *details(const struct plan *plan, const struct plan_change *changes, int count)
{
	json_t *object = json_object(), *list = json_array();
	json_object_set_new(object, "full_overlap", times(&plan->overlapped));
	json_object_set_new(object, "no_overlap", times(&plan->serial));
	json_object_set_new(object, "lower_bound_s", real(plan->lower_bound_s));
	json_object_set_new(object, "area_s", real(plan->area_s));
	json_object_set_new(object, "path_s", real(plan->path_s));
	json_object_set_new(object, "memory", memory(plan));
	for (int p = 0; p < PLAN_PHASES; p++) {
		json_object_set_new(object, phases[p], json_pack("{s:o, s:o}", "kinds", kinds(plan, p), "at_most",
			rates(plan, (enum plan_phase) p)));
	}
	json_object_set_new(object, "communication", axes(plan));
	json_object_set_new(object, "claims", claims(plan));
	json_object_set_new(object, "dropped_share", real(plan->dropped));
	for (int i = 0; i < count; i++)
		json_array_append_new(list, json_pack("{s:s, s:s}", "requirement", changes[i].requirement, "text", changes[i].text));
	json_object_set_new(object, "changes", list);
	return object;
}

int plan_text(const struct plan *plan, const struct plan_change *changes, int count, char **out, struct error *error)
{
	char *text, *line;
	int code = metrics_text(&plan->metrics, &text, error);
	if (code)
		return code;
	json_t *root = json_loads(text, 0, NULL);
	free(text);
	if (root)
		json_object_set_new(root, "plan", details(plan, changes, count));
	line = root ? json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(12)) : NULL;
	json_decref(root);
	if (!line)
		return error_memory(error, "writing the plan");
	size_t length = strlen(line);
	text = malloc(length + 2);
	if (text) {
		memcpy(text, line, length);
		memcpy(text + length, "\n", 2);
	}
	free(line);
	if (!text)
		return error_memory(error, "writing the plan");
	*out = text;
	return 0;
}
