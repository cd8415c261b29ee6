/* SPDX-License-Identifier: Apache-2.0
 *
 * send: the residual stream to the next stage, from each device to the one with the same tensor rank and group,
 * in the form it has: all rows, or the row shard (then gathered there: half the bytes with two ranks). */
#include "tasks/call.h"
#include <string.h>

static double bytes_of(const struct call *c)
{
	struct range rows = call_own_rows(c, 0);
	return (rows.end - rows.first) * call_row_bytes(c);
}

static struct work send_work(const struct call *c)
{
	struct work work = work_rows(2, bytes_of(c)); /* read here, written there */
	work.steps = 1;
	return work;
}

static int send_flows(const struct call *c, struct flow *flow)
{
	flow[0] = (struct flow){ call_device(c, 0)->part->device, c->deployment->device[c->other].part->device, bytes_of(c) };
	return 1;
}

static int send_run(struct engine_call *call, void *workspace, struct error *error)
{
	(void) workspace, (void) error;
	const struct call *c = call_of(call);
	int hidden = c->deployment->model->hidden;
	struct range own = call_own_rows(c, 0), group = call_group_rows(c, c->group);
	memcpy(rows_at(c->slot->message[c->other].x, own.first - group.first, hidden),
		rows_at(call_message(c, 0)->x, own.first - group.first, hidden),
		(size_t) (own.end - own.first) * (size_t) hidden * sizeof(float));
	return 0;
}

static const struct call_type send_type = {
	.engine = { .name = "send", .kind = TASK_SEND, .collective = true, .run = send_run, .cost = call_cost },
	.work = send_work,
	.flows = send_flows,
	.wanted = call_wanted_rows,
};

/* From `stage` to the next one. */
void send_insert(struct lowering *l, const struct graph_step *step, int stage, int layer)
{
	const struct mesh *mesh = l->deployment->mesh;
	for (int s = 0; s < mesh->per_stage; s++) {
		int from = stage * mesh->per_stage + s, to = from + mesh->per_stage;
		int i = call_add(l, &send_type, stage, layer, from, 1, mesh_at(mesh, stage, s)->group, step->takes);
		if (i < 0)
			return;
		struct call *call = &l->slot->call[i];
		call->other = to;
		call->base.devices |= (uint64_t) 1 << l->deployment->device[to].part->device;
		call_uses(l, l->slot->message[from].buffer[MESSAGE_X], ENGINE_READ);
		call_uses(l, l->slot->message[to].buffer[MESSAGE_X], ENGINE_WRITE);
	}
}
