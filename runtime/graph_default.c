/* SPDX-License-Identifier: Apache-2.0
 *
 * What a description that says little means: the chains that it leaves out, and the whole graph of a
 * machine for which none is named.
 *
 *   layer, tensor == S:  attention, all_reduce tensor, route, dispatch local, experts, combine local,
 *                        all_reduce experts
 *   layer, tensor <  S:  attention, reduce_scatter tensor, route, dispatch all_to_all, experts,
 *                        combine all_to_all, all_gather tensor
 *   dense_layer:         attention, all_reduce tensor, mlp, all_reduce experts
 *
 * Where tensor = S each device has all rows anyway, and picking its own experts' out of them moves least. */
#include <stdio.h>
#include <string.h>
#include "runtime/graph_internal.h"

struct default_step {
	const char *task;
	enum chain_over over;
	enum chain_how how;
};

static const struct default_step before[] = {{"embed", OVER_NONE, HOW_ANY}, {0}};
static const struct default_step folded[] = {
	{"attention", OVER_TENSOR, HOW_ANY},
	{"all_reduce", OVER_TENSOR, HOW_ANY},
	{"route", OVER_NONE, HOW_ANY},
	{"dispatch", OVER_EXPERTS, HOW_LOCAL},
	{"experts", OVER_EXPERTS, HOW_ANY},
	{"combine", OVER_EXPERTS, HOW_LOCAL},
	{"all_reduce", OVER_EXPERTS, HOW_ANY},
	{0},
};
static const struct default_step grouped[] = {
	{"attention", OVER_TENSOR, HOW_ANY},
	{"reduce_scatter", OVER_TENSOR, HOW_ANY},
	{"route", OVER_NONE, HOW_ANY},
	{"dispatch", OVER_EXPERTS, HOW_ALL_TO_ALL},
	{"experts", OVER_EXPERTS, HOW_ANY},
	{"combine", OVER_EXPERTS, HOW_ALL_TO_ALL},
	{"all_gather", OVER_TENSOR, HOW_ANY},
	{0},
};
static const struct default_step dense[] = {
	{"attention", OVER_TENSOR, HOW_ANY},
	{"all_reduce", OVER_TENSOR, HOW_ANY},
	{"mlp", OVER_NONE, HOW_ANY},
	{"all_reduce", OVER_EXPERTS, HOW_ANY},
	{0},
};
static const struct default_step between[] = {{"send", OVER_NONE, HOW_ANY}, {0}};
static const struct default_step after[] = {{"head", OVER_TENSOR, HOW_ANY}, {"sample", OVER_NONE, HOW_ANY}, {0}};

static int fill(struct graph_chain *chain, const struct default_step *steps, const struct graph *graph,
	const struct graph_kinds *kinds, struct error *error)
{
	if (chain->count)
		return 0;
	for (; steps->task; steps++) {
		int index = graph_kind_find(kinds, steps->task);
		if (index < 0)
			return error_set(error, ERROR_RUN, NULL,
				"the table of kinds lacks \"%s\", of which a default chain is made", steps->task);
		struct graph_step *step = &chain->step[chain->count++];
		*step = (struct graph_step){
			.kind = &kinds->kind[index], .kind_index = index, .over = steps->over, .how = steps->how};
		snprintf(step->place.file, sizeof step->place.file, "%.255s", graph->path);
	}
	return 0;
}

int graph_default_chains(struct graph *graph, const struct graph_kinds *kinds, struct error *error)
{
	int code;
	if ((code = fill(&graph->before, before, graph, kinds, error)) ||
		(code = fill(&graph->layer, graph->mesh.groups == 1 ? folded : grouped, graph, kinds, error)) ||
		(code = fill(&graph->dense_layer, dense, graph, kinds, error)) ||
		(code = fill(&graph->between_stages, between, graph, kinds, error)))
		return code;
	return fill(&graph->after, after, graph, kinds, error);
}

/* Devices of a stage of these degrees; 0 where they do not fold. */
static int fold(const struct graph *graph, int tensor, int experts)
{
	struct mesh mesh;
	return mesh_make(&mesh, tensor, experts, 1, graph->expert_tensor, 1, NULL) ? 0 : mesh.per_stage;
}

/* An expert's columns on a device are worth a matrix of their own from here on. To cut the experts themselves (degree 1)
 * keeps all devices of a stage busy whatever experts a row chooses, a single one too; to spread them saves each device the
 * rows of the others' experts, whose copying shows where the columns are few. */
#define LEAST_COLUMNS 512

/* The degree of experts for so many cores and this degree of tensor, among those that divide the experts and fold onto the
 * most devices: the least that leaves a device LEAST_COLUMNS of each expert, else the largest. 0: none folds. */
static int choose_experts(const struct graph *graph, const struct model *model, int tensor, int most)
{
	int chosen = 0, devices = 0;
	for (int experts = most; experts >= 1; experts--) {
		bool fits = graph->experts_given || !model->experts ? experts == graph->experts : model->experts % experts == 0;
		int here = fits ? fold(graph, tensor, experts) : 0;
		if (here > most || here < devices || here == 0)
			continue;
		if (here > devices || (long) model->expert_hidden * experts >= (long) LEAST_COLUMNS * here)
			chosen = experts;
		devices = here;
	}
	return chosen;
}

/* Degrees that nobody gave, tensor first: the largest that divides what it cuts and folds onto a stage's share of
 * the cores. Given ones stay as they are, and may ask for more devices than there are cores. */
void graph_default_degrees(struct graph *graph, const struct model *model, int cores)
{
	int most = cores / graph->stages, given = graph->tensor;
	if (most > MESH_MAX_DEVICES / graph->stages)
		most = MESH_MAX_DEVICES / graph->stages;
	int least = fold(graph, graph->tensor, graph->experts); /* what is not given is 1 here */
	if (most < least)
		most = least;
	for (int tensor = most; tensor >= 1; tensor--) {
		bool fits = graph->tensor_given ? tensor == given : model->heads % tensor == 0 && model->kv_heads % tensor == 0;
		int experts = fits ? choose_experts(graph, model, tensor, most) : 0;
		if (experts) {
			graph->tensor = tensor;
			graph->experts = experts;
			return;
		}
	}
}

int graph_default(const struct model *model, int cores, const struct graph_kinds *kinds,
	const struct graph_override *overrides, int override_count, struct graph **graph, struct error *error)
{
	int code = graph_make(NULL, kinds, overrides, override_count, NULL, graph, error);
	if (!code)
		graph_default_degrees(*graph, model, cores);
	return code;
}
