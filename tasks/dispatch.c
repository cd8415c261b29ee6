/* SPDX-License-Identifier: Apache-2.0
 *
 * dispatch: rows to where their experts are, grouped by expert. all_to_all: one task a stage sends every
 * device's row shard to the devices of the chosen experts. local: each device picks its own experts' rows out of
 * the replicated ones. Rows move exactly as routed: none is padded or dropped. */
#include "tasks/call.h"

/* Rows are read where they are and written where their experts are: own experts', or all members'. */
static struct work dispatch_work(const struct call *c)
{
	double rows = 0;
	for (int m = 0; m < c->members; m++)
		rows += call_expert_rows(c, m).rows;
	struct work work = work_rows(rows, 2 * (double) c->deployment->row_bytes);
	work.steps = c->members > 1; /* all at once */
	return work;
}

static int dispatch_flows(const struct call *c, struct flow *flow)
{
	return call_all_to_all(c, (double) c->deployment->row_bytes, false, flow);
}

static struct dispatch_destination destination(const struct call *c, int member)
{
	const struct message *message = call_message(c, member);
	const struct layer_part *layer = &call_device(c, member)->layer[c->base.layer - call_device(c, member)->first_layer];
	return (struct dispatch_destination){
		.first_expert = layer->first_expert,
		.experts = layer->experts,
		.capacity = message->capacity,
		.rows = message->grouped,
		.offset = message->offset,
	};
}

static struct dispatch_source source(const struct call *c, int member, struct range rows)
{
	const struct message *message = call_message(c, member);
	return (struct dispatch_source){
		.first = rows.first,
		.rows = rows.end - rows.first,
		.h = message->h,
		.expert = message->expert,
		.place = message->place,
	};
}

static int dispatch_run(struct engine_call *call, void *workspace, struct error *error)
{
	(void) error;
	const struct call *c = call_of(call);
	struct dispatch_source sources[MESH_MAX_DEVICES];
	struct dispatch_destination destinations[MESH_MAX_DEVICES];
	int n = c->takes == FORM_SHARDED_ROUTED ? c->members : 1;
	for (int m = 0; m < n; m++) {
		struct range all = { 0, call_batch(c)->rows };
		sources[m] = source(c, m, c->takes == FORM_SHARDED_ROUTED ? call_own_rows(c, m) : all);
		destinations[m] = destination(c, m);
	}
	dispatch_cpu(&(struct dispatch_args){
		.top_k = c->deployment->model->top_k,
		.row_bytes = c->deployment->row_bytes,
		.sources = n,
		.destinations = n,
		.source = sources,
		.destination = destinations,
		.workspace = workspace,
	});
	return 0;
}

static const struct call_type all_to_all_type = {
	.engine = { .name = "dispatch", .kind = TASK_DISPATCH, .collective = true, .run = dispatch_run,
		.cost = call_cost },
	.work = dispatch_work,
	.flows = dispatch_flows,
};

/* The same kind in traces, but no data leaves the device. */
static const struct call_type local_type = {
	.engine = { .name = "dispatch", .kind = TASK_DISPATCH, .run = dispatch_run, .cost = call_cost },
	.work = dispatch_work,
};

void dispatch_insert(struct lowering *l, const struct graph_step *step, int stage, int layer)
{
	const struct mesh *mesh = l->deployment->mesh;
	int first = stage * mesh->per_stage;
	bool sends = step->takes == FORM_SHARDED_ROUTED;
	if (!sends)
		gather_rows_insert(l, stage, layer, step->takes);
	for (int s = 0; s < (sends ? 1 : mesh->per_stage); s++) {
		int members = sends ? mesh->per_stage : 1;
		call_add(l, sends ? &all_to_all_type : &local_type, stage, layer, first + s, members,
			sends ? -1 : mesh_at(mesh, stage, s)->group, step->takes);
		for (int m = 0; m < members; m++) {
			call_uses(l, l->slot->message[first + s + m].buffer[MESSAGE_ROUTED], ENGINE_READ_WRITE);
			call_uses(l, l->slot->message[first + s + m].buffer[MESSAGE_GROUPED], ENGINE_WRITE);
		}
	}
}
