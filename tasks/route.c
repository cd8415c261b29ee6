/* SPDX-License-Identifier: Apache-2.0
 *
 * route: norm, router and top-k for the rows that a device holds: all of its group's, or its shard. */
#include "tasks/call.h"

static struct work route_work(const struct call *c)
{
	struct range rows = call_own_rows(c, 0);
	return work_route(c->deployment->model->hidden, c->deployment->model->experts, c->deployment->compute,
		call_residual(c), rows.end - rows.first);
}

static int route_run(struct engine_call *call, void *workspace, struct error *error)
{
	(void) error;
	const struct call *c = call_of(call);
	const struct deployment *d = c->deployment;
	const struct model *model = d->model;
	const struct message *message = call_message(c, 0);
	struct range own = call_own_rows(c, 0), group = call_group_rows(c, c->group);
	/* Replicated rows are routed on every rank; they are counted once. */
	bool counts = call_batch(c)->routed && (c->takes == FORM_SHARDED || call_device(c, 0)->part->tensor == 0);
	size_t choices = (size_t) own.first * (size_t) model->top_k;
	route_cpu(&(struct route_args){
		.rows = own.end - own.first,
		.hidden = model->hidden,
		.experts = model->experts,
		.top_k = model->top_k,
		.normalize = model->normalize_top_k,
		.x = rows_at(message->x, own.first - group.first, model->hidden),
		.norm = c->layer->moe_norm,
		.norm_epsilon = model->norm_epsilon,
		.router = c->layer->router,
		.compute = d->compute,
		.h = message->h + (size_t) own.first * d->row_bytes,
		.stride = d->stride,
		.expert = message->expert + choices,
		.weight = message->weight + choices,
		.counts = counts ? call_batch(c)->routed + (size_t) call->layer * (size_t) model->experts : NULL,
		.workspace = workspace,
	});
	return 0;
}

static const struct call_type route_type = {
	.engine = { .name = "route", .kind = TASK_ROUTE, .run = route_run, .cost = call_cost },
	.work = route_work,
	.wanted = call_wanted_rows,
};

void route_insert(struct lowering *l, const struct graph_step *step, int stage, int layer)
{
	call_add_each(l, &route_type, stage, layer, step->takes, MESSAGE_X, MESSAGE_ROUTED);
}
