/* SPDX-License-Identifier: Apache-2.0
 *
 * Once the model is known: its parts get their devices, left-out chains their default, and the chains are
 * checked. */
#include <stdio.h>
#include <string.h>
#include "runtime/graph_internal.h"

int graph_check_cpu(const struct graph *graph, enum dtype compute, struct error *error)
{
	if (compute == DTYPE_FP16)
		return graph_error(error, &graph->compute_place,
			"compute = \"fp16\" needs a GPU; use \"bf16\", \"int8\" or \"fp32\" on CPUs");
	if (graph->residual != DTYPE_FP32)
		return graph_error(error, &graph->residual_place, "residual = \"%s\" needs a GPU; use \"fp32\" on CPUs",
			dtype_name(graph->residual));
	return 0;
}

/* The sums of int8's products must fit 32 bits. */
static int check_int8(const struct graph *graph, const struct model *m, struct error *error)
{
	const int64_t columns[] = { m->hidden, (int64_t) m->heads * m->head_dim, m->expert_hidden, m->shared_hidden,
		m->mlp_hidden };
	for (size_t i = 0; i < sizeof columns / sizeof *columns && graph->compute == DTYPE_INT8; i++)
		if (columns[i] > DTYPE_INT8_TERMS)
			return graph_error(error, &graph->compute_place,
				"compute = \"int8\" multiplies matrices of at most %d columns, but the model has one of %lld; use "
				"\"bf16\" or \"fp32\"",
				DTYPE_INT8_TERMS, (long long) columns[i]);
	return 0;
}

int graph_resolve_all(struct graph *graph, const struct model *model, const struct graph_kinds *kinds,
	struct graph_faults *faults, struct error *error)
{
	int code;
	if (!model && graph->empty)
		return error_set(error, ERROR_INPUT, *graph->path ? graph->path : NULL, "the description says nothing; model = { … }; "
			"machine = { … }; … would be right (octant graph keys lists all), or --model DIR");
	if (!model && !graph->has_card)
		return error_set(error, ERROR_INPUT, *graph->path ? graph->path : NULL,
			"the description has no model card; a `model` group, or a checkpoint (--model DIR), is needed");
	if (model)
		graph->model = *model;
	if ((code = graph_keep(faults, graph_place_parts(graph, &graph->model, faults, error), error)))
		return code;
	if (graph->machine.host &&
		(code = graph_keep(faults, graph_check_cpu(graph, graph->compute, error), error)))
		return code;
	if ((code = graph_keep(faults, check_int8(graph, &graph->model, error), error)))
		return code;
	if (graph->mesh.devices && ((code = graph_default_chains(graph, kinds, error)) ||
					   (code = graph_compose(graph, kinds, faults, error))))
		return code;
	if (faults && faults->count)
		return ERROR_INPUT;
	/* what runs on a host may choose by its CPU; any GPU has bf16 */
	graph_set_default_compute(graph, !graph->machine.host);
	if (graph->limits.tokens_per_sequence > graph->model.max_positions) {
		graph->limits.tokens_per_sequence = graph->model.max_positions;
		graph_shorten_workload(graph);
	}
	return 0;
}

int graph_resolve(struct graph *graph, const struct model *model, const struct graph_kinds *kinds, struct error *error)
{
	return graph_resolve_all(graph, model, kinds, NULL, error);
}
