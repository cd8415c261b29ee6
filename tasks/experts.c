/* SPDX-License-Identifier: Apache-2.0
 *
 * experts: the grouped SwiGLU of a device's experts over the rows that dispatch grouped, each expert's weights
 * read once. With expert_tensor > 1 a device has a slice of the columns and leaves partial sums. Beside them, where
 * the model has one, the gated shared expert: over the device's own rows with all its weights where rows are
 * sharded, else over all rows with a slice of its columns. */
#include "tasks/call.h"

static struct work experts_cost(const struct call *c)
{
	const struct model *model = c->deployment->model;
	struct expert_rows rows = call_expert_rows(c, 0);
	return work_expert_rows(model->hidden, c->layer->width, c->deployment->compute, call_residual(c), &rows);
}

static int experts_run(struct engine_call *call, void *workspace, struct error *error)
{
	(void) error;
	const struct call *c = call_of(call);
	const struct message *message = call_message(c, 0);
	experts_cpu(&(struct experts_args){
		.experts = c->layer->experts,
		.hidden = c->deployment->model->hidden,
		.width = c->layer->width,
		.compute = c->deployment->compute,
		.weights = c->layer->expert,
		.offset = message->offset,
		.in = message->grouped,
		.out = message->done,
		.workspace = workspace,
	});
	return 0;
}

static const struct call_type experts_type = {
	.engine = { .name = "experts", .kind = TASK_EXPERTS, .run = experts_run, .cost = call_cost },
	.work = experts_cost,
};

/* ---- the shared expert */

/* Rows that this device computes it for, global. */
static struct range shared_rows(const struct call *c)
{
	if (c->deployment->all_to_all)
		return call_own_rows(c, 0);
	return (struct range){ 0, call_batch(c)->rows };
}

static struct work shared_work(const struct call *c)
{
	struct range rows = shared_rows(c);
	return work_mlp(c->deployment->model->hidden, c->layer->shared_width, c->deployment->compute, call_residual(c),
		rows.end - rows.first);
}

static bool shared_wanted(const struct call *c)
{
	struct range rows = shared_rows(c);
	return rows.end > rows.first;
}

static int shared_run(struct engine_call *call, void *workspace, struct error *error)
{
	(void) error;
	const struct call *c = call_of(call);
	const struct message *message = call_message(c, 0);
	struct range rows = shared_rows(c);
	mlp_cpu(&(struct mlp_args){
		.rows = rows.end - rows.first,
		.hidden = c->deployment->model->hidden,
		.width = c->layer->shared_width,
		.compute = c->deployment->compute,
		.h = message->h + (size_t) rows.first * c->deployment->row_bytes,
		.weights = c->layer->shared,
		.gate = c->layer->shared_gate,
		.out = rows_at(message->shared, rows.first, c->deployment->model->hidden),
		.workspace = workspace,
	});
	return 0;
}

static const struct call_type shared_type = {
	.engine = { .name = "shared_expert", .kind = CALL_SHARED_EXPERT, .run = shared_run, .cost = call_cost },
	.work = shared_work,
	.wanted = shared_wanted,
};

void experts_insert(struct lowering *l, const struct graph_step *step, int stage, int layer)
{
	if (l->deployment->model->shared_hidden)
		call_add_each(l, &shared_type, stage, layer,
			l->deployment->all_to_all ? FORM_SHARDED_ROUTED : FORM_REPLICATED_ROUTED, MESSAGE_ROUTED,
			MESSAGE_SHARED);
	call_add_each(l, &experts_type, stage, layer, step->takes, MESSAGE_GROUPED, MESSAGE_DONE);
}
