/* SPDX-License-Identifier: Apache-2.0
 *
 * all_gather: every tensor rank of a group gets the other ranks' row shards of the residual stream. */
#include "tasks/call.h"
#include <string.h>

static double bytes_of(const struct call *c)
{
	struct range rows = call_group_rows(c, c->group);
	return (rows.end - rows.first) * call_row_bytes(c);
}

/* Each shard is read for each of the n−1 others, which write it. */
static struct work all_gather_work(const struct call *c)
{
	struct work work = work_rows(2.0 * (c->members - 1), bytes_of(c));
	work.steps = c->members - 1;
	return work;
}

/* A ring: each member passes on (n−1)/n of the rows in n−1 steps. */
static int all_gather_flows(const struct call *c, struct flow *flow)
{
	return call_ring(c, bytes_of(c) * (c->members - 1) / c->members, flow);
}

/* A rank by itself has all rows. */
static bool all_gather_wanted(const struct call *c)
{
	struct range rows = call_group_rows(c, c->group);
	return c->members > 1 && rows.end > rows.first;
}

static int all_gather_run(struct engine_call *call, void *workspace, struct error *error)
{
	(void) workspace, (void) error;
	const struct call *c = call_of(call);
	int hidden = c->deployment->model->hidden;
	struct range group = call_group_rows(c, c->group);
	for (int from = 0; from < c->members; from++) {
		struct range own = range_rows(group.end - group.first, c->members, from);
		size_t bytes = (size_t) (own.end - own.first) * (size_t) hidden * sizeof(float);
		const float *rows = rows_at(call_message(c, from)->x, own.first, hidden);
		for (int to = 0; to < c->members; to++)
			if (to != from && bytes)
				memcpy(rows_at(call_message(c, to)->x, own.first, hidden), rows, bytes);
	}
	return 0;
}

static const struct call_type all_gather_type = {
	.engine = { .name = "all_gather", .kind = TASK_ALL_GATHER, .collective = true, .run = all_gather_run,
		.cost = call_cost },
	.work = all_gather_work,
	.flows = all_gather_flows,
	.wanted = all_gather_wanted,
};

void all_gather_insert(struct lowering *l, const struct graph_step *step, int stage, int layer)
{
	const struct mesh *mesh = l->deployment->mesh;
	for (int g = 0; g < mesh->groups; g++) {
		int first = stage * mesh->per_stage + g * mesh->tensor;
		call_add(l, &all_gather_type, stage, layer, first, mesh->tensor, g, step->takes);
		for (int m = 0; m < mesh->tensor; m++)
			call_uses(l, l->slot->message[first + m].buffer[MESSAGE_X], ENGINE_READ_WRITE);
	}
}
