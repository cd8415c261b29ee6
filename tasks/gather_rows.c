/* SPDX-License-Identifier: Apache-2.0
 *
 * gather_rows: where a stage has several attention groups, what is computed from replicated rows on all of its
 * devices (`local` dispatch, a dense layer's MLP) needs the other groups' normalised rows and routing first.
 * The lowering inserts it; with one group there is nothing to gather. */
#include "tasks/call.h"
#include <string.h>

static struct work gather_rows_work(const struct call *c)
{
	double bytes = (double) call_batch(c)->rows * (double) c->deployment->row_bytes;
	struct work work = work_rows(1, bytes * c->members);
	work.link_bytes = bytes * (c->members - 1) / c->members;
	work.link_steps = c->members - 1;
	return work;
}

static void copy_rows(const struct call *c, const struct message *from, struct message *to, struct range rows)
{
	size_t first = (size_t) rows.first, count = (size_t) (rows.end - rows.first), row = c->deployment->row_bytes;
	size_t top_k = (size_t) c->deployment->model->top_k;
	memcpy(to->h + first * row, from->h + first * row, count * row);
	if (c->takes == FORM_REPLICATED_ROUTED) {
		memcpy(to->expert + first * top_k, from->expert + first * top_k, count * top_k * sizeof *to->expert);
		memcpy(to->weight + first * top_k, from->weight + first * top_k, count * top_k * sizeof *to->weight);
	}
}

static int gather_rows_run(struct engine_call *call, void *workspace, struct error *error)
{
	(void) workspace, (void) error;
	const struct call *c = call_of(call);
	int tensor = c->deployment->mesh->tensor;
	for (int to = 0; to < c->members; to++)
		for (int g = 0; g < c->deployment->mesh->groups; g++) {
			struct range rows = call_group_rows(c, g);
			if (call_device(c, to)->part->group != g && rows.end > rows.first)
				copy_rows(c, call_message(c, g * tensor), call_message(c, to), rows);
		}
	return 0;
}

static const struct call_type gather_rows_type = {
	.engine = { .name = "gather_rows", .kind = CALL_GATHER_ROWS, .collective = true, .run = gather_rows_run,
		.cost = call_cost },
	.work = gather_rows_work,
};

void gather_rows_insert(struct lowering *l, int stage, int layer, enum form takes)
{
	const struct mesh *mesh = l->deployment->mesh;
	int first = stage * mesh->per_stage;
	if (mesh->groups == 1)
		return;
	call_add(l, &gather_rows_type, stage, layer, first, mesh->per_stage, -1, takes);
	for (int m = 0; m < mesh->per_stage; m++)
		call_uses(l, l->slot->message[first + m].buffer[MESSAGE_ROUTED], ENGINE_READ_WRITE);
}
