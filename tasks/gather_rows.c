/* SPDX-License-Identifier: Apache-2.0
 *
 * gather_rows: where a stage has several attention groups, what is computed from replicated rows on all of its
 * devices (`local` dispatch, a dense layer's MLP) needs the other groups' normalised rows and routing first.
 * The lowering inserts it; with one group there is nothing to gather. */
#include "tasks/call.h"
#include <string.h>

/* Of all rows: normalised, and where experts choose among them their numbers and weights. */
static double bytes_of(const struct call *c)
{
	double row = (double) c->deployment->row_bytes;
	if (c->takes == FORM_REPLICATED_ROUTED)
		row += c->deployment->model->top_k * (double) (sizeof(int32_t) + sizeof(float));
	return call_batch(c)->rows * row;
}

/* Each group's rows are read for, and written on, every device of the others. */
static struct work gather_rows_work(const struct call *c)
{
	int groups = c->deployment->mesh->groups;
	struct work work = work_rows(2.0 * (c->members - c->deployment->mesh->tensor), bytes_of(c));
	work.steps = groups - 1;
	return work;
}

/* A ring over the groups, for each tensor rank: (g−1)/g of all rows. */
static int gather_rows_flows(const struct call *c, struct flow *flow)
{
	int groups = c->deployment->mesh->groups, tensor = c->deployment->mesh->tensor;
	for (int m = 0; m < c->members; m++)
		flow[m] = (struct flow){ call_device(c, m)->part->device,
			call_device(c, (m + tensor) % c->members)->part->device, bytes_of(c) * (groups - 1) / groups };
	return c->members;
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
	.flows = gather_rows_flows,
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
