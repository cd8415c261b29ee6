/* SPDX-License-Identifier: Apache-2.0
 *
 * combine: the weighted sum of the experts' results. all_to_all: one task a stage brings them back to the rows'
 * own devices and adds them to the residual stream there. local: each device sums what its own experts gave, as
 * an addend that an all_reduce or reduce_scatter over the stage joins. */
#include "tasks/call.h"

/* The experts' rows are read; the sums are written: local, on each device for all rows; else into the residual stream,
 * which is read too. */
static struct work combine_work(const struct call *c)
{
	double rows = 0;
	for (int m = 0; m < c->members; m++)
		rows += call_expert_rows(c, m).rows;
	struct work work = work_rows(rows + (c->group < 0 ? 2.0 : 1.0) * call_batch(c)->rows, call_row_bytes(c));
	work.steps = c->members > 1; /* all at once */
	return work;
}

static int combine_flows(const struct call *c, struct flow *flow)
{
	return call_all_to_all(c, call_row_bytes(c), true, flow);
}

static int combine_all_to_all_run(struct engine_call *call, void *workspace, struct error *error)
{
	(void) workspace, (void) error;
	const struct call *c = call_of(call);
	const struct deployment *d = c->deployment;
	const struct mesh *mesh = d->mesh;
	struct combine_group groups[MESH_MAX_DEVICES];
	const float *out[MESH_MAX_DEVICES][MESH_MAX_DEVICES]; /* [expert group][slice] */
	for (int m = 0; m < c->members; m++) {
		const struct mesh_part *part = call_device(c, m)->part;
		out[part->experts][part->slice] = call_message(c, m)->done;
		groups[part->experts] = (struct combine_group){
			.first_expert = call_layer(c, m)->first_expert,
			.experts = call_layer(c, m)->experts,
			.slices = mesh->expert_tensor,
			.out = out[part->experts],
		};
	}
	for (int m = 0; m < c->members; m++) {
		const struct message *message = call_message(c, m);
		struct range own = call_own_rows(c, m), group = call_group_rows(c, call_device(c, m)->part->group);
		combine_cpu(&(struct combine_args){
			.first = own.first,
			.rows = own.end - own.first,
			.hidden = d->model->hidden,
			.top_k = d->model->top_k,
			.expert = message->expert,
			.place = message->place,
			.weight = message->weight,
			.groups = mesh->experts,
			.group = groups,
			.shared = message->shared,
			.add = true,
			.x = rows_at(message->x, own.first - group.first, d->model->hidden),
		});
	}
	return 0;
}

static int combine_local_run(struct engine_call *call, void *workspace, struct error *error)
{
	(void) workspace, (void) error;
	const struct call *c = call_of(call);
	const struct deployment *d = c->deployment;
	const struct message *message = call_message(c, 0);
	const float *out = message->done;
	struct combine_group own = { c->layer->first_expert, c->layer->experts, 1, &out };
	combine_cpu(&(struct combine_args){
		.first = 0,
		.rows = call_batch(c)->rows,
		.hidden = d->model->hidden,
		.top_k = d->model->top_k,
		.expert = message->expert,
		.place = message->place,
		.weight = message->weight,
		.groups = 1,
		.group = &own,
		.shared = message->shared,
		.x = call_addends(c, 0),
	});
	return 0;
}

static const struct call_type all_to_all_type = {
	.engine = { .name = "combine", .kind = TASK_COMBINE, .collective = true, .run = combine_all_to_all_run,
		.cost = call_cost },
	.work = combine_work,
	.flows = combine_flows,
};

static const struct call_type local_type = {
	.engine = { .name = "combine", .kind = TASK_COMBINE, .run = combine_local_run, .cost = call_cost },
	.work = combine_work,
};

void combine_insert(struct lowering *l, const struct graph_step *step, int stage, int layer)
{
	const struct mesh *mesh = l->deployment->mesh;
	int first = stage * mesh->per_stage;
	bool sends = step->takes == FORM_GROUPED_DONE;
	for (int s = 0; s < (sends ? 1 : mesh->per_stage); s++) {
		int members = sends ? mesh->per_stage : 1;
		/* own rows of a member: the shard that dispatch sent from */
		int i = call_add(l, sends ? &all_to_all_type : &local_type, stage, layer, first + s, members,
			sends ? -1 : mesh_at(mesh, stage, s)->group, sends ? FORM_SHARDED_ROUTED : step->takes);
		if (i < 0)
			return;
		l->slot->call[i].over_stage = !sends;
		for (int m = 0; m < members; m++) {
			struct engine_buffer **buffer = l->slot->message[first + s + m].buffer;
			call_uses(l, buffer[MESSAGE_ROUTED], ENGINE_READ);
			call_uses(l, buffer[MESSAGE_DONE], ENGINE_READ);
			call_uses(l, buffer[MESSAGE_SHARED], ENGINE_READ);
			if (sends)
				call_uses(l, buffer[MESSAGE_X], ENGINE_READ_WRITE);
			else
				call_uses(l, buffer[MESSAGE_PARTIAL], ENGINE_WRITE);
		}
	}
}
