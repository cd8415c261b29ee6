/* SPDX-License-Identifier: Apache-2.0
 *
 * Closed forms of what a device holds and computes; the header derives them. */
#include "runtime/accounts.h"
#include <math.h>
#include <string.h>

static double width(struct range range)
{
	return range.end - range.first;
}

/* The part of one layer that a device holds, in parameters, and its FLOPs for a token of the batch. */
struct share {
	double held;
	double flops;
};

struct shapes {                    /* of one device */
	double hidden, query, key; /* columns of its query heads, of its KV heads */
	double experts, expert_columns, shared_columns, mlp_columns, vocab;
};

/* Whether experts get their rows by all_to_all, from row shards. */
static bool rows_are_sharded(const struct graph *graph)
{
	for (int i = 0; i < graph->layer.count; i++)
		if (graph->layer.step[i].leaves == FORM_SHARDED_ROUTED)
			return true;
	return false;
}

static struct shapes shapes_of(const struct graph *graph, const struct mesh_part *part)
{
	const struct model *model = &graph->model;
	const struct mesh *mesh = &graph->mesh;
	return (struct shapes){
		.hidden = model->hidden,
		.query = width(mesh_heads(mesh, model, part->tensor)) * model->head_dim,
		.key = width(mesh_kv_heads(mesh, model, part->tensor)) * model->head_dim,
		.experts = model->experts ? width(mesh_expert_range(mesh, model, part->experts)) : 0,
		.expert_columns = width(range_cut(model->expert_hidden, mesh->expert_tensor, part->slice)),
		.shared_columns = rows_are_sharded(graph)
					  ? model->shared_hidden
					  : width(range_cut(model->shared_hidden, mesh->per_stage, part->index)),
		.mlp_columns = width(range_cut(model->mlp_hidden, mesh->per_stage, part->index)),
		.vocab = width(range_cut(model->vocab, mesh->tensor, part->tensor)),
	};
}

static struct share attention_share(const struct graph *graph, const struct shapes *s, double context)
{
	const struct model *model = &graph->model;
	double matrices = s->hidden * (2 * s->query + 2 * s->key);
	double vectors = s->hidden * 2; /* both norms of the layer */
	if (model->qkv_bias)
		vectors += s->query + 2 * s->key;
	if (model->output_bias)
		vectors += s->hidden;
	if (model->qk_norm == QK_NORM_HEAD)
		vectors += 2 * model->head_dim;
	else if (model->qk_norm == QK_NORM_ALL)
		vectors += s->query + s->key;
	/* a token is attended to on one of the groups: q·k and p·v, 2 FLOPs each, for every key and query column */
	return (struct share){matrices + vectors, (2 * matrices + 4 * context * s->query) / graph->mesh.groups};
}

static struct share experts_share(const struct graph *graph, const struct shapes *s)
{
	const struct model *model = &graph->model;
	bool sharded = rows_are_sharded(graph);
	double router = s->hidden * model->experts;
	double router_rows = 1.0 / graph->mesh.groups / (sharded ? graph->mesh.tensor : 1);
	double expert = 3 * s->hidden * s->expert_columns;
	double shared = model->shared_hidden ? 3 * s->hidden * s->shared_columns + s->hidden : 0;
	return (struct share){
		router + s->experts * expert + shared,
		2 * router * router_rows + 2 * expert * model->top_k * s->experts / model->experts +
			2 * shared / (sharded ? graph->mesh.per_stage : 1),
	};
}

static struct share mlp_share(const struct model *model, const struct shapes *s)
{
	double matrices = 3 * s->hidden * s->mlp_columns;
	double vectors = model->mlp_bias ? 2 * s->mlp_columns + s->hidden : 0;
	return (struct share){matrices + vectors, 2 * matrices};
}

double accounts_pages(const struct graph *graph)
{
	if (graph->kv.pages)
		return (double) graph->kv.pages;
	return ceil((double) graph->limits.sequences / graph->mesh.groups) *
	       ceil((double) graph->limits.tokens_per_sequence / graph->kv.page_tokens);
}

static void fill(const struct graph *graph, const struct mesh_part *part, double context, struct account *account)
{
	const struct model *model = &graph->model;
	const struct mesh *mesh = &graph->mesh;
	const struct shapes s = shapes_of(graph, part);
	const struct share attention = attention_share(graph, &s, context), mlp = mlp_share(model, &s);
	const struct share experts = model->experts ? experts_share(graph, &s) : (struct share){0, 0};
	bool first = part->stage == 0, last = part->stage == mesh->stages - 1;

	for (int l = mesh->first_layer[part->stage]; l < mesh->first_layer[part->stage + 1]; l++) {
		const struct share *block = !model->experts || model->dense[l] ? &mlp : &experts;
		account->parameters += attention.held + block->held;
		account->flops += attention.flops + block->flops;
	}
	if (first)
		account->parameters += (double) model->vocab * s.hidden;
	if (last) {
		account->parameters += s.hidden;
		if (!model->tied_embeddings || !first)
			account->parameters += s.vocab * s.hidden;
		account->flops += 2 * s.vocab * s.hidden / mesh->groups;
	}
}

void accounts_make(const struct graph *graph, struct account *accounts)
{
	double context = graph->workload.given ? (graph->workload.prompt_min + graph->workload.prompt_max) / 2.0 +
							 graph->workload.new_tokens / 2.0
					       : graph->limits.tokens_per_sequence / 2.0;
	if (context > graph->limits.tokens_per_sequence)
		context = graph->limits.tokens_per_sequence;
	for (int i = 0; i < graph->mesh.devices; i++) {
		const struct mesh_part *part = &graph->mesh.part[i];
		memset(&accounts[i], 0, sizeof accounts[i]);
		accounts[i].device = part->device;
		accounts[i].context = context;
		accounts[i].limit = graph->machine.device[part->device].memory;
		fill(graph, part, context, &accounts[i]);
	}
}

double accounts_imbalance(const double *values, int count)
{
	double sum = 0, most = 0;
	for (int i = 0; i < count; i++) {
		sum += values[i];
		most = fmax(most, values[i]);
	}
	return sum > 0 ? most * count / sum : 1;
}
