/* SPDX-License-Identifier: Apache-2.0
 *
 * reduce_scatter: residual + partial sums, in rank order, each tensor rank its own shard of the rows. */
#include "tasks/call.h"

static double rows_of(const struct call *c)
{
	const struct micro_batch *b = call_batch(c);
	return c->group < 0 ? b->rows : b->group_row[c->group + 1] - b->group_row[c->group];
}

/* Each row's addends and its residual are read once, and the sum is written. */
static struct work reduce_scatter_work(const struct call *c)
{
	struct work work = work_rows(rows_of(c), call_row_bytes(c) * (c->members + 2));
	work.steps = c->members - 1;
	return work;
}

/* A ring: each member sends (n−1)/n of the message in n−1 steps. */
static int reduce_scatter_flows(const struct call *c, struct flow *flow)
{
	return call_ring(c, rows_of(c) * call_row_bytes(c) * (c->members - 1) / c->members, flow);
}

static int reduce_scatter_run(struct engine_call *call, void *workspace, struct error *error)
{
	(void) workspace, (void) error;
	const struct call *c = call_of(call);
	const struct mesh *mesh = c->deployment->mesh;
	int hidden = c->deployment->model->hidden;
	for (int m = 0; m < c->members; m++) {
		const struct mesh_part *rank = call_device(c, m)->part;
		struct range group = call_group_rows(c, rank->group);
		struct range own = range_rows(group.end - group.first, mesh->tensor, rank->tensor);
		int addend = own.first + (c->takes == FORM_PARTIAL_STAGE ? group.first : 0);
		float *x = rows_at(call_message(c, m)->x, own.first, hidden);
		const float *part[MESH_MAX_DEVICES];
		for (int p = 0; p < c->members; p++)
			part[p] = rows_at(call_addends(c, p), addend, hidden);
		join_rows_cpu(&x, 1, part, c->members, own.end - own.first, hidden);
	}
	return 0;
}

static const struct call_type reduce_scatter_type = {
	.engine = { .name = "reduce_scatter", .kind = TASK_REDUCE_SCATTER, .collective = true,
		.run = reduce_scatter_run, .cost = call_cost },
	.work = reduce_scatter_work,
	.flows = reduce_scatter_flows,
};

void reduce_scatter_insert(struct lowering *l, const struct graph_step *step, int stage, int layer)
{
	const struct mesh *mesh = l->deployment->mesh;
	bool whole = step->takes == FORM_PARTIAL_STAGE;
	int members = whole ? mesh->per_stage : mesh->tensor;
	for (int g = 0; g < (whole ? 1 : mesh->groups); g++) {
		int first = stage * mesh->per_stage + g * mesh->tensor;
		int i = call_add(l, &reduce_scatter_type, stage, layer, first, members, whole ? -1 : g, step->takes);
		if (i < 0)
			return;
		l->slot->call[i].over_stage = whole;
		for (int m = 0; m < members; m++) {
			call_uses(l, l->slot->message[first + m].buffer[MESSAGE_X], ENGINE_READ_WRITE);
			call_uses(l, l->slot->message[first + m].buffer[MESSAGE_PARTIAL], ENGINE_READ);
		}
	}
}
