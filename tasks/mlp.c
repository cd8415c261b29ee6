/* SPDX-License-Identifier: Apache-2.0
 *
 * mlp: norm and SwiGLU of a dense layer, its columns cut over all devices of the stage. With several attention
 * groups the rows are normalised by their own group first and gathered, so that every device has all of them. */
#include "tasks/call.h"

static struct work mlp_work(const struct call *c)
{
	return work_mlp(c->deployment->model->hidden, c->layer->mlp_width, c->deployment->compute, call_residual(c),
		call_batch(c)->rows);
}

static struct work norm_work(const struct call *c)
{
	struct range rows = call_own_rows(c, 0);
	return work_rows(rows.end - rows.first, call_row_bytes(c) + (double) c->deployment->row_bytes);
}

static int norm_run(struct engine_call *call, void *workspace, struct error *error)
{
	(void) workspace, (void) error;
	const struct call *c = call_of(call);
	const struct deployment *d = c->deployment;
	struct range rows = call_own_rows(c, 0);
	norm_cpu(call_message(c, 0)->x, rows.end - rows.first, d->model->hidden, c->layer->moe_norm,
		d->model->norm_epsilon, d->compute, call_message(c, 0)->h + (size_t) rows.first * d->row_bytes,
		d->stride);
	return 0;
}

static int mlp_run(struct engine_call *call, void *workspace, struct error *error)
{
	(void) error;
	const struct call *c = call_of(call);
	const struct deployment *d = c->deployment;
	const struct message *message = call_message(c, 0);
	bool gathered = d->mesh->groups > 1;
	mlp_cpu(&(struct mlp_args){
		.rows = call_batch(c)->rows,
		.hidden = d->model->hidden,
		.width = c->layer->mlp_width,
		.compute = d->compute,
		.x = gathered ? NULL : message->x,
		.norm = c->layer->moe_norm,
		.norm_epsilon = d->model->norm_epsilon,
		.h = gathered ? message->h : NULL,
		.weights = c->layer->mlp,
		.out = call_addends(c, 0),
		.workspace = workspace,
	});
	return 0;
}

static const struct call_type norm_type = {
	.engine = { .name = "norm", .kind = CALL_NORM, .run = norm_run, .cost = call_cost },
	.work = norm_work,
	.wanted = call_wanted_rows,
};

static const struct call_type mlp_type = {
	.engine = { .name = "mlp", .kind = TASK_MLP, .run = mlp_run, .cost = call_cost },
	.work = mlp_work,
};

void mlp_insert(struct lowering *l, const struct graph_step *step, int stage, int layer)
{
	bool gathered = l->deployment->mesh->groups > 1;
	if (gathered) {
		call_add_each(l, &norm_type, stage, layer, step->takes, MESSAGE_X, MESSAGE_ROUTED);
		gather_rows_insert(l, stage, layer, step->takes);
	}
	call_add_each(l, &mlp_type, stage, layer, step->takes, gathered ? MESSAGE_ROUTED : MESSAGE_X, MESSAGE_PARTIAL);
	for (int i = 0; !l->code && i < l->deployment->mesh->per_stage; i++)
		l->slot->call[l->slot->calls - 1 - i].over_stage = true;
}
