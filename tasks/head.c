/* SPDX-License-Identifier: Apache-2.0
 *
 * head: final norm and logits of the rows that are sampled, the vocabulary cut over a group's tensor ranks. */
#include "tasks/call.h"

static int samples(const struct call *c)
{
	const struct micro_batch *b = call_batch(c);
	return b->group_sample[c->group + 1] - b->group_sample[c->group];
}

static bool head_wanted(const struct call *c)
{
	return samples(c) > 0;
}

static struct work head_cost(const struct call *c)
{
	struct range vocab = call_device(c, 0)->vocab;
	return work_head(c->deployment->model->hidden, vocab.end - vocab.first, c->deployment->compute, samples(c));
}

static int head_run(struct engine_call *call, void *workspace, struct error *error)
{
	(void) error;
	const struct call *c = call_of(call);
	const struct micro_batch *b = call_batch(c);
	const struct device_part *device = call_device(c, 0);
	head_cpu(&(struct head_args){
		.samples = samples(c),
		.hidden = c->deployment->model->hidden,
		.sample = b->sample + b->group_sample[c->group],
		.row_base = b->group_row[c->group],
		.x = call_message(c, 0)->x,
		.norm = device->final_norm,
		.norm_epsilon = c->deployment->model->norm_epsilon,
		.compute = c->deployment->compute,
		.weight = device->head,
		.logits = call_message(c, 0)->logits,
		.workspace = workspace,
	});
	return 0;
}

static const struct call_type head_type = {
	.engine = { .name = "head", .kind = TASK_HEAD, .run = head_run, .cost = call_cost },
	.work = head_cost,
	.wanted = head_wanted,
};

void head_insert(struct lowering *l, const struct graph_step *step, int stage, int layer)
{
	const struct mesh *mesh = l->deployment->mesh;
	for (int s = 0; s < mesh->per_stage; s++) {
		int device = stage * mesh->per_stage + s;
		call_add(l, &head_type, stage, layer, device, 1, mesh_at(mesh, stage, s)->group, step->takes);
		call_uses(l, l->slot->message[device].buffer[MESSAGE_X], ENGINE_READ);
		call_uses(l, l->slot->message[device].buffer[MESSAGE_LOGITS], ENGINE_WRITE);
		call_uses(l, l->deployment->device[device].ends_buffer, ENGINE_READ);
	}
}
