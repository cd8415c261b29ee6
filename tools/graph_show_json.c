/* SPDX-License-Identifier: Apache-2.0
 *
 * `octant graph show --json`: the same for programs. Device entries have the keys of metrics.json. */
#include <jansson.h>
#include "tools/graph_show.h"

/* A count of bytes or parameters; limits that no machine has may exceed 64 bits. */
static json_int_t whole(double count)
{
	return count < 9e18 ? (json_int_t) count : (json_int_t) 9e18;
}

static json_t *range_json(struct range range)
{
	return json_pack("[i, i]", range.first, range.end);
}

static json_t *device_json(const struct graph_shown *shown, int i)
{
	const struct graph *graph = shown->graph;
	const struct mesh_part *part = &graph->mesh.part[i];
	const struct account *account = &shown->account[i];
	const struct deployment_account *memory = &shown->memory[i];
	const struct mesh *mesh = &graph->mesh;
	const struct model *model = &graph->model;
	struct range layers = {mesh->first_layer[part->stage], mesh->first_layer[part->stage + 1]};
	return json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:o, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f}",
		"id", part->device, "stage", part->stage, "tensor", part->tensor, "group", part->group, "experts",
		part->experts, "expert_slice", part->slice, "layers", range_json(layers), "heads",
		range_json(mesh_heads(mesh, model, part->tensor)), "kv_heads",
		range_json(mesh_kv_heads(mesh, model, part->tensor)), "expert_range",
		model->experts ? range_json(mesh_expert_range(mesh, model, part->experts)) : json_null(), "parameters",
		whole(account->parameters), "weight_bytes", (json_int_t) memory->weights, "kv_bytes",
		(json_int_t) memory->kv, "activation_bytes", (json_int_t) memory->activations, "workspace_bytes",
		(json_int_t) memory->workspace, "total_bytes", whole(shown->total[i]), "memory_bytes",
		whole(account->limit), "flops_per_token",
		account->flops);
}

static json_t *chain_json(const struct graph_chain *chain)
{
	static const char *const overs[] = {NULL, "tensor", "experts"};
	static const char *const hows[] = {NULL, "local", "all_to_all"};
	json_t *steps = json_array();
	for (int i = 0; i < chain->count; i++) {
		const struct graph_step *step = &chain->step[i];
		json_array_append_new(
			steps, json_pack("{s:s, s:s?, s:s?, s:s, s:s, s:b, s:b}", "task", step->kind->name, "over",
				       overs[step->over], "how", hows[step->how], "takes", form_name(step->takes),
				       "leaves", form_name(step->leaves), "inserted", step->inserted, "collective",
				       step->kind->collective && step->how != HOW_LOCAL));
	}
	return steps;
}

static json_t *model_json(const struct graph *graph)
{
	const struct model *model = &graph->model;
	struct model_parameters count;
	json_t *differences = json_array(), *declared = json_null();
	char text[256];
	model_count_parameters(model, &count);
	for (int i = 0; graph_card_differs(graph, model, i, text, sizeof text); i++)
		json_array_append_new(differences, json_string(text));
	if (graph->has_card && graph->card.declared_parameters > 0)
		declared = json_real(graph->card.declared_parameters);
	return json_pack("{s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:I, s:I, s:o, s:o}", "name",
		model->name, "family", model_family_name(model->family), "dtype", dtype_name(model->dtype), "layers",
		model->layers, "hidden", model->hidden, "heads", model->heads, "kv_heads", model->kv_heads, "head_dim",
		model->head_dim, "experts", model->experts, "top_k", model->top_k, "expert_hidden",
		model->expert_hidden, "vocab", model->vocab, "parameters", whole(count.total), "active_parameters",
		whole(count.active), "declared_parameters", declared, "differs_from_card", differences);
}

static json_t *requirements_json(const struct graph *graph)
{
	json_t *requirements = json_object();
	for (int i = 0; i < graph->requirements; i++)
		json_object_set_new(requirements, graph->requirement[i].name, json_real(graph->requirement[i].limit));
	if (graph->workload.given)
		json_object_set_new(requirements, "workload",
			json_pack("{s:i, s:[i, i], s:i, s:I}", "sequences", graph->workload.sequences, "prompt_tokens",
				graph->workload.prompt_min, graph->workload.prompt_max, "new_tokens",
				graph->workload.new_tokens, "seed", (json_int_t) graph->workload.seed));
	return requirements;
}

int graph_show_json(const struct graph_shown *shown, FILE *file, struct error *error)
{
	const struct graph *graph = shown->graph;
	const struct lowered *lowered = &shown->lowered;
	const struct mesh *mesh = &graph->mesh;
	json_t *devices = json_array();
	for (int i = 0; i < mesh->devices; i++)
		json_array_append_new(devices, device_json(shown, i));
	json_t *root = json_pack("{s:s, s:s, s:o, s:s, s:{s:i, s:i, s:i, s:i, s:i, s:i, s:i}, s:o, s:{s:f, s:f}, "
				 "s:{s:o, s:o, s:o, s:o, s:o}, s:b, s:s, s:s, s:s, s:o}",
		"graph", graph->name, "path", graph->path, "model", model_json(graph), "machine", graph->machine.name,
		"mesh", "stages", mesh->stages, "tensor", mesh->tensor, "experts", mesh->experts, "expert_tensor",
		mesh->expert_tensor, "per_stage", mesh->per_stage, "groups", mesh->groups, "devices", mesh->devices,
		"devices", devices, "imbalance", "memory",
		shown->memory_imbalance, "load", shown->load_imbalance, "chains", "before", chain_json(&lowered->before),
		"layer", chain_json(&lowered->layer), "dense_layer", chain_json(&lowered->dense_layer), "between_stages",
		chain_json(&lowered->between_stages), "after", chain_json(&lowered->after), "send_before_all_gather", graph->between_before_gather, "compute",
		dtype_name(graph->compute), "kv_dtype", dtype_name(graph->kv.dtype), "policy", graph->schedule.policy,
		"require", requirements_json(graph));
	if (!root)
		return error_memory(error, "writing JSON");
	int failed = json_dumpf(root, file, JSON_INDENT(2));
	json_decref(root);
	if (failed || fputc('\n', file) == EOF)
		return error_set(error, ERROR_RUN, NULL, "the output cannot be written");
	return 0;
}
