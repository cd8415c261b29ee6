/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads the lowered chains off a sketched deployment's program: neighbouring calls of one kind are one step, which is
 * the chain's next one of that kind, or else inserted. */
#include "tools/lowered.h"
#include <string.h>
#include "tasks/call.h"

/* What no chain names. */
static const struct form_kind extra[CALL_KINDS] = {
	[CALL_NORM] = {.name = "norm", .help = "rows are normalised before they are gathered"},
	[CALL_GATHER_ROWS] = {.name = "gather_rows",
		.collective = true,
		.help = "every device of the stage gets the rows of all attention groups"},
	[CALL_SHARED_EXPERT] = {.name = "shared_expert", .help = "the model has one beside the routed experts; combine adds it"},
};

const char *lowered_why(const struct graph_step *step)
{
	if (step->kind->help && step->kind >= extra && step->kind < extra + CALL_KINDS)
		return step->kind->help;
	return "in place of attention: the model's q and k norms span all heads, whose squares must be summed over the "
	       "tensor ranks";
}

static int put(struct graph_chain *chain, int at, const struct graph_step *step, struct error *error)
{
	if (chain->count == GRAPH_MAX_STEPS)
		return error_set(error, ERROR_RUN, NULL, "a lowered chain has more than %d steps", GRAPH_MAX_STEPS);
	memmove(&chain->step[at + 1], &chain->step[at], (size_t) (chain->count - at) * sizeof *step);
	chain->step[at] = *step;
	chain->count++;
	return 0;
}

static int put_inserted(struct graph_chain *chain, const struct call *call, int kind, struct error *error)
{
	const struct graph_step *last = chain->count ? &chain->step[chain->count - 1] : NULL;
	struct graph_step step = {.kind = &extra[kind], .kind_index = kind, .takes = call->takes, .leaves = call->takes,
		.inserted = true};
	bool earlier = last && last->takes == step.takes && last->leaves != step.takes;
	if (!step.kind->name)
		return error_set(error, ERROR_RUN, NULL, "a task of the lowered graph has no name");
	return put(chain, chain->count - earlier, &step, error);
}

/* The calls from `first` to `end` as steps of the chain. */
static int merge(const struct graph_chain *written, const struct call *call, int first, int end, struct graph_chain *chain,
	struct error *error)
{
	int next = 0, code = 0;
	chain->count = 0;
	for (int i = first; i < end && !code; i++) {
		int kind = call[i].base.type->kind, at = next;
		if (i > first && kind == call[i - 1].base.type->kind)
			continue;
		while (at < written->count && written->step[at].kind_index != kind)
			at++;
		if (at == written->count)
			code = put_inserted(chain, &call[i], kind, error);
		for (; at < written->count && next <= at && !code; next++)
			code = put(chain, chain->count, &written->step[next], error);
	}
	for (; next < written->count && !code; next++) /* an all_gather that moved behind the send */
		code = put(chain, chain->count, &written->step[next], error);
	return code;
}

/* The calls of one layer stand together. */
static int merge_layer(const struct graph *graph, const struct slot *slot, const struct graph_chain *written,
	struct graph_chain *chain, struct error *error)
{
	int layer = 0, first = 0, end;
	while (layer < graph->model.layers && graph_chain_of(graph, layer) != written)
		layer++;
	if (layer == graph->model.layers) {
		*chain = *written;
		return 0;
	}
	while (first < slot->calls && slot->call[first].base.layer != layer)
		first++;
	for (end = first; end < slot->calls && slot->call[end].base.layer == layer; end++)
		;
	return merge(written, slot->call, first, end, chain, error);
}

int lowered_make(const struct graph *graph, struct lowered *lowered, struct error *error)
{
	const struct deployment_sizes least = {.slots = 1, .max_rows = 1, .max_samples = 1, .seats = 1, .pages = 1};
	struct deployment *sketch;
	int first = 0, code = deployment_sketch(graph, graph->compute, &least, &sketch, error);
	if (code)
		return code;
	const struct slot *slot = &sketch->slot[0];
	int last = slot->calls;
	while (first < slot->calls && slot->call[first].base.layer < 0)
		first++;
	while (last > first && slot->call[last - 1].base.layer < 0)
		last--;
	lowered->between_stages = graph->between_stages;
	if (!(code = merge(&graph->before, slot->call, 0, first, &lowered->before, error)) &&
		!(code = merge_layer(graph, slot, &graph->layer, &lowered->layer, error)) &&
		!(code = merge_layer(graph, slot, &graph->dense_layer, &lowered->dense_layer, error)))
		code = merge(&graph->after, slot->call, last, slot->calls, &lowered->after, error);
	deployment_destroy(sketch);
	return code;
}
