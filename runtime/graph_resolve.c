/* SPDX-License-Identifier: Apache-2.0
 *
 * Once the model is known: its parts get their devices, left-out chains their default, and the chains are
 * checked. */
#include <stdio.h>
#include <string.h>
#include "runtime/graph_internal.h"

int graph_resolve(struct graph *graph, const struct model *model, const struct graph_kinds *kinds, struct error *error)
{
	int code;
	if (!model && !graph->has_card)
		return error_set(error, ERROR_INPUT, *graph->path ? graph->path : NULL,
			"the description has no model card; a `model` group, or a checkpoint (--model DIR), is needed");
	if (model)
		graph->model = *model;
	if ((code = graph_place_parts(graph, &graph->model, error)) ||
		(code = graph_default_chains(graph, kinds, error)) || (code = graph_compose(graph, kinds, error)))
		return code;
	/* a host's programs choose by its CPU (graph_set_compute); any GPU has bf16 */
	if (!graph->compute_given && !graph->machine.host && graph->model.dtype != DTYPE_FP32)
		graph_set_compute(graph, DTYPE_BF16);
	if (graph->limits.tokens_per_sequence > graph->model.max_positions) {
		graph->limits.tokens_per_sequence = graph->model.max_positions;
		graph_shorten_workload(graph);
	}
	return 0;
}
