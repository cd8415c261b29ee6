/* SPDX-License-Identifier: Apache-2.0
 *
 * What all kinds of call share: their rows, their cost, and their place in a slot's program. */
#include "tasks/call.h"
#include <math.h>
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

void call_terms(const struct work *work, double term[CURVE_TERMS])
{
	term[CURVE_CALL] = 1;
	term[CURVE_FLOPS] = work->flops - work->key_flops;
	for (int i = 0; i < CURVE_ROW_BANDS; i++) {
		term[CURVE_FLOPS_4 + i] = work->band_flops[i];
		term[CURVE_FLOPS] -= work->band_flops[i];
	}
	term[CURVE_FLOPS] = fmax(term[CURVE_FLOPS], 0); /* of rounding */
	term[CURVE_KEY_FLOPS] = work->key_flops;
	term[CURVE_KEY_TILES] = work->key_tiles;
	term[CURVE_KEY_BLOCKS] = work->key_blocks;
	term[CURVE_WEIGHT_BYTES] = work->weight_bytes;
	term[CURVE_KV_BYTES] = work->kv_bytes;
	/* What a GEMM reads and writes of rows goes with its rows, whose slopes have it. */
	curve_row_bytes(work->band_flops[0] > 0 ? 0 : work->bytes - work->weight_bytes - work->kv_bytes, term);
}

const struct curve *call_curve(const struct call *c)
{
	const struct graph_machine *machine = &c->deployment->graph->machine;
	for (int i = 0; i < machine->curves; i++)
		if (!strcmp(machine->curve[i].task, call_kind_names[c->base.type->kind]))
			return &machine->curve[i];
	return NULL;
}

/* On a calibrated host, beside others, as schedulers and plans see it. */
static void estimate_by_curve(const struct curve *curve, const struct work *work, struct cost *cost)
{
	double term[CURVE_TERMS];
	call_terms(work, term);
	*cost = (struct cost){ .launch_s = fmax(curve->busy[CURVE_CALL], 1e-7) };
	for (int t = CURVE_FLOPS_4; t < CURVE_WEIGHT_BYTES; t++)
		cost->flops_s += term[t] * curve->busy[t];
	for (int t = CURVE_WEIGHT_BYTES; t < CURVE_TERMS; t++)
		cost->bytes_s += term[t] * curve->busy[t];
	cost->seconds = cost->launch_s + cost->flops_s + cost->bytes_s;
}

double call_alone(const struct call *c, double seconds)
{
	const struct curve *curve = call_curve(c);
	double term[CURVE_TERMS];
	if (!curve)
		return seconds;
	struct work work = ((const struct call_type *) c->base.type)->work(c);
	call_terms(&work, term);
	return fmax(curve_seconds(curve, term, 0), 1e-7);
}

void call_estimate(const struct call *c, struct cost *cost, struct work *work, struct flow *flow, int *flows)
{
	const struct call_type *type = (const struct call_type *) c->base.type;
	const struct deployment *d = c->deployment;
	/* members do their parts side by side, but for a host's one worker */
	double share = d->routes ? 1.0 / c->members : 1;
	*work = type->work(c);
	*flows = type->flows && d->routes ? type->flows(c, flow) : 0;
	cost_of(&d->graph->machine, d->routes, call_device(c, 0)->part->device, work->flops * share, work->bytes * share, flow,
		*flows, work->steps, cost);
	const struct curve *curve = call_curve(c);
	if (curve)
		estimate_by_curve(curve, work, cost);
}

double call_cost(const struct engine_call *call)
{
	struct flow flow[CALL_MAX_FLOWS];
	struct work work;
	struct cost cost;
	int flows;
	call_estimate(call_of(call), &cost, &work, flow, &flows);
	return cost.seconds;
}

struct expert_rows call_expert_rows(const struct call *c, int member)
{
	const struct deployment *d = c->deployment;
	const struct micro_batch *b = call_batch(c);
	const struct layer_part *layer = call_layer(c, member);
	double chosen = (double) d->model->top_k / d->model->experts;
	struct expert_rows rows = { 0 };
	if (!d->routing_known || !b->routed) {
		double groups = layer->experts * (1 - pow(1 - chosen, b->rows));
		if (groups > 0)
			expert_rows_add(&rows, groups, b->rows * chosen * layer->experts / groups);
		return rows;
	}
	const int32_t *count = b->routed + (size_t) layer->layer * (size_t) d->model->experts + layer->first_expert;
	for (int e = 0; e < layer->experts; e++)
		expert_rows_add(&rows, 1, count[e]);
	return rows;
}

int call_ring(const struct call *c, double bytes, struct flow *flow)
{
	for (int m = 0; m < c->members && c->members > 1; m++)
		flow[m] = (struct flow){ call_device(c, m)->part->device,
			call_device(c, (m + 1) % c->members)->part->device, bytes };
	return c->members > 1 ? c->members : 0;
}

int call_all_to_all(const struct call *c, double row_bytes, bool back, struct flow *flow)
{
	int n = 0, rows = call_batch(c)->rows;
	for (int to = 0; to < c->members; to++) {
		double each = rows ? call_expert_rows(c, to).rows / rows * row_bytes : 0;
		for (int from = 0; from < c->members; from++) {
			struct range own = call_own_rows(c, from);
			int a = call_device(c, from)->part->device, b = call_device(c, to)->part->device;
			if (from != to && each > 0 && own.end > own.first)
				flow[n++] = (struct flow){ back ? b : a, back ? a : b, (own.end - own.first) * each };
		}
	}
	return n;
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
