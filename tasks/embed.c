/* SPDX-License-Identifier: Apache-2.0
 *
 * embed: the embedding's rows of a group's tokens, on every tensor rank of the first stage. A row of a
 * decoding sequence takes the token that the previous step's sample task left in the token table. */
#include "tasks/call.h"

static struct work embed_work(const struct call *c)
{
	struct range rows = call_own_rows(c, 0);
	return work_embed(c->deployment->model->hidden, call_device(c, 0)->embedding_dtype, call_residual(c),
		rows.end - rows.first);
}

static int embed_run(struct engine_call *call, void *workspace, struct error *error)
{
	(void) workspace, (void) error;
	const struct call *c = call_of(call);
	const struct micro_batch *b = call_batch(c);
	const struct device_part *device = call_device(c, 0);
	struct range rows = call_own_rows(c, 0);
	embed_cpu(&(struct embed_args){
		.rows = rows.end - rows.first,
		.hidden = c->deployment->model->hidden,
		.vocab = c->deployment->model->vocab,
		.token = b->token + rows.first,
		.seat = b->seat + rows.first,
		.token_table = c->deployment->token_table,
		.table = device->embedding,
		.table_dtype = device->embedding_dtype,
		.x = call_message(c, 0)->x,
	});
	return 0;
}

static const struct call_type embed_type = {
	.engine = { .name = "embed", .kind = TASK_EMBED, .run = embed_run, .cost = call_cost },
	.work = embed_work,
	.wanted = call_wanted_rows,
};

void embed_insert(struct lowering *l, const struct graph_step *step, int stage, int layer)
{
	const struct mesh *mesh = l->deployment->mesh;
	for (int s = 0; s < mesh->per_stage; s++) {
		int device = stage * mesh->per_stage + s;
		int group = mesh_at(mesh, stage, s)->group;
		call_add(l, &embed_type, stage, layer, device, 1, group, step->takes);
		call_uses(l, l->slot->message[device].buffer[MESSAGE_X], ENGINE_WRITE);
		call_uses(l, l->deployment->device[device].ends_buffer, ENGINE_READ);
	}
}
