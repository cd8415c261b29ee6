/* SPDX-License-Identifier: Apache-2.0
 *
 * What all kinds of call share: their rows, their cost, and their place in a slot's program. */
#include "tasks/call.h"
#include "runtime/cost.h"
#include <stdlib.h>
#include <string.h>

const char *const call_kind_names[CALL_KINDS] = {
	[TASK_EMBED] = "embed", [TASK_ATTENTION] = "attention", [TASK_QKV] = "qkv", [TASK_ATTEND] = "attend",
	[TASK_ALL_REDUCE] = "all_reduce", [TASK_REDUCE_SCATTER] = "reduce_scatter",
	[TASK_ALL_GATHER] = "all_gather", [TASK_ROUTE] = "route", [TASK_DISPATCH] = "dispatch",
	[TASK_EXPERTS] = "experts", [TASK_COMBINE] = "combine", [TASK_MLP] = "mlp", [TASK_SEND] = "send",
	[TASK_HEAD] = "head", [TASK_SAMPLE] = "sample", [CALL_NORM] = "norm", [CALL_GATHER_ROWS] = "gather_rows",
	[CALL_SHARED_EXPERT] = "shared_expert", [CALL_LOAD] = "load",
};

struct range call_own_rows(const struct call *c, int member)
{
	const struct mesh_part *part = call_device(c, member)->part;
	struct range group = call_group_rows(c, part->group);
	if (c->takes != FORM_SHARDED && c->takes != FORM_SHARDED_ROUTED)
		return group;
	struct range own = range_rows(group.end - group.first, c->deployment->mesh->tensor, part->tensor);
	return (struct range){ group.first + own.first, group.first + own.end };
}

bool call_wanted_rows(const struct call *c)
{
	struct range own = call_own_rows(c, 0);
	return own.end > own.first;
}

double call_cost(const struct engine_call *call)
{
	const struct call *c = call_of(call);
	const struct graph_machine *machine = &c->deployment->graph->machine;
	struct work work = ((const struct call_type *) call->type)->work(c);
	return cost_seconds(machine, call_device(c, 0)->part->device, work.flops, work.bytes)
		+ cost_link_seconds(machine, work.link_bytes, work.link_steps);
}

int call_add(struct lowering *l, const struct call_type *type, int stage, int layer, int device, int members,
	int group, enum form takes)
{
	struct slot *slot = l->slot;
	if (l->code)
		return -1;
	if (slot->calls == l->capacity) {
		int capacity = l->capacity ? 2 * l->capacity : 64;
		struct call *larger = realloc(slot->call, (size_t) capacity * sizeof *larger);
		if (!larger) {
			l->code = error_memory(l->error, "lowering the graph");
			return -1;
		}
		slot->call = larger;
		l->capacity = capacity;
	}
	struct deployment *d = l->deployment;
	struct device_part *first = &d->device[device];
	struct call *call = &slot->call[slot->calls];
	*call = (struct call){
		.base = { .type = &type->engine, .layer = layer, .pending = &slot->pending },
		.deployment = d,
		.slot = slot,
		.stage = stage,
		.device = device,
		.members = members,
		.group = group,
		.takes = takes,
		.other = -1,
		.after = -1,
		.layer = layer >= 0 ? &first->layer[layer - first->first_layer] : NULL,
	};
	for (int m = 0; m < members; m++)
		call->base.devices |= (uint64_t) 1 << d->device[device + m].part->device;
	return slot->calls++;
}

void call_uses(struct lowering *l, struct engine_buffer *buffer, enum engine_mode mode)
{
	if (l->code || !buffer)
		return;
	struct engine_call *call = &l->slot->call[l->slot->calls - 1].base;
	int n = call->buffers;
	if (n % 8 == 0) {
		struct engine_buffer **buffers = realloc(call->buffer, (size_t) (n + 8) * sizeof *buffers);
		if (buffers)
			call->buffer = buffers;
		uint8_t *modes = realloc(call->mode, (size_t) (n + 8) * sizeof *modes);
		if (modes)
			call->mode = modes;
		if (!buffers || !modes) {
			l->code = error_memory(l->error, "lowering the graph");
			return;
		}
	}
	call->buffer[n] = buffer;
	call->mode[n] = (uint8_t) mode;
	call->buffers = n + 1;
}

void call_add_each(struct lowering *l, const struct call_type *type, int stage, int layer, enum form takes,
	enum message_buffer from, enum message_buffer to)
{
	const struct mesh *mesh = l->deployment->mesh;
	for (int s = 0; s < mesh->per_stage; s++) {
		int device = stage * mesh->per_stage + s;
		int i = call_add(l, type, stage, layer, device, 1, mesh_at(mesh, stage, s)->group, takes);
		if (i < 0)
			return;
		call_uses(l, l->slot->message[device].buffer[from], ENGINE_READ);
		call_uses(l, l->slot->message[device].buffer[to], ENGINE_WRITE);
		call_uses(l, l->slot->call[i].layer->weights_buffer, ENGINE_READ);
		if (type->appends) {
			call_uses(l, l->slot->call[i].layer->kv_buffer, ENGINE_READ);
			l->slot->call[i].base.ordered = true;
		}
	}
}
