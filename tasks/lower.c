/* SPDX-License-Identifier: Apache-2.0
 *
 * The lowering: one slot's program from the graph, stage by stage, layer by layer, step by step. */
#include "tasks/call.h"
#include <stdlib.h>

static call_insert *const inserts[TASK_KINDS] = {
	[TASK_EMBED] = embed_insert,
	[TASK_ATTENTION] = attention_insert,
	[TASK_QKV] = qkv_insert,
	[TASK_ATTEND] = attend_insert,
	[TASK_ALL_REDUCE] = all_reduce_insert,
	[TASK_REDUCE_SCATTER] = reduce_scatter_insert,
	[TASK_ALL_GATHER] = all_gather_insert,
	[TASK_ROUTE] = route_insert,
	[TASK_DISPATCH] = dispatch_insert,
	[TASK_EXPERTS] = experts_insert,
	[TASK_COMBINE] = combine_insert,
	[TASK_MLP] = mlp_insert,
	[TASK_SEND] = send_insert,
	[TASK_HEAD] = head_insert,
	[TASK_SAMPLE] = sample_insert,
};

static void lower_chain(struct lowering *l, const struct graph_chain *chain, int steps, int stage, int layer)
{
	for (int i = 0; i < steps; i++)
		inserts[chain->step[i].kind_index](l, &chain->step[i], stage, layer);
}

/* `between_stages.before = "all_gather"`: the last layer's all_gather moves behind the send. */
static const struct graph_step *moved_gather(const struct graph *graph, int layer)
{
	const struct graph_chain *chain = graph_chain_of(graph, layer);
	const struct graph_step *last = &chain->step[chain->count - 1];
	return graph->between_before_gather && last->kind_index == TASK_ALL_GATHER ? last : NULL;
}

static void lower_boundary(struct lowering *l, const struct graph *graph, int stage, const struct graph_step *gather)
{
	for (int i = 0; i < graph->between_stages.count; i++) {
		struct graph_step send = graph->between_stages.step[i];
		send.takes = gather ? FORM_SHARDED : FORM_REPLICATED;
		inserts[send.kind_index](l, &send, stage, -1);
	}
	if (gather)
		all_gather_insert(l, gather, stage + 1, -1);
}

int lower_slot(struct deployment *d, struct slot *slot, struct error *error)
{
	const struct graph *graph = d->graph;
	const struct mesh *mesh = d->mesh;
	int sample[MESH_MAX_DEVICES];
	struct lowering l = { .deployment = d, .slot = slot, .sample = sample, .error = error };
	for (int g = 0; g < mesh->groups; g++)
		sample[g] = -1;

	lower_chain(&l, &graph->before, graph->before.count, 0, -1);
	for (int stage = 0; stage < mesh->stages; stage++) {
		bool last_stage = stage == mesh->stages - 1;
		for (int layer = mesh->first_layer[stage]; layer < mesh->first_layer[stage + 1]; layer++) {
			const struct graph_chain *chain = graph_chain_of(graph, layer);
			bool moves = !last_stage && layer == mesh->first_layer[stage + 1] - 1 && moved_gather(graph, layer);
			lower_chain(&l, chain, chain->count - moves, stage, layer);
		}
		if (!last_stage)
			lower_boundary(&l, graph, stage, moved_gather(graph, mesh->first_layer[stage + 1] - 1));
	}
	lower_chain(&l, &graph->after, graph->after.count, mesh->stages - 1, -1);

	/* The next step's embedding waits for the token that this group's sample task leaves. */
	for (int i = 0; i < slot->calls; i++)
		if (slot->call[i].base.type->kind == TASK_EMBED)
			slot->call[i].after = sample[slot->call[i].group];
	return l.code;
}
