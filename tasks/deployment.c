/* SPDX-License-Identifier: Apache-2.0
 *
 * Building a deployment and submitting micro-batches.
 *
 * Order between micro-batches: their messages lie in different slots, so StarPU sees no conflict. What remains
 * is said by explicit dependencies. A micro-batch names the earlier ones that hold chunks of its sequences
 * (`after`: the same attention call there comes first) and those that sample the tokens it embeds
 * (`sampled_after`: their sample calls come first). A decode group whose turn has not come (`enters_after`) waits for
 * another's attention in the first stage's last layer. All slots have the same program, so that a call is named by
 * its index. */
#include "tasks/deployment.h"
#include "tasks/call.h"
#include "tasks/grain.h"
#include "tasks/load.h"
#include "tasks/message.h"
#include "tasks/weights.h"
#include "tasks/weights_random.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- shapes: what is the same for measuring and for building */

static bool sends_rows(const struct graph *graph)
{
	for (int i = 0; i < graph->layer.count; i++)
		if (graph->layer.step[i].kind_index == TASK_DISPATCH)
			return graph->layer.step[i].how == HOW_ALL_TO_ALL;
	return false;
}

static int prepare(struct deployment *d, const struct graph *graph, enum dtype compute,
	const struct deployment_sizes *sizes, struct error *error)
{
	*d = (struct deployment){
		.graph = graph,
		.model = &graph->model,
		.mesh = &graph->mesh,
		.sizes = *sizes,
		.compute = compute,
		.all_to_all = sends_rows(graph),
		.stride = gemm_stride(graph->model.hidden, compute),
	};
	d->row_bytes = d->stride * dtype_bytes(compute);
	int code = graph->here ? 0 : routes_make(&graph->machine, &d->routes, error);
	if (code)
		return code;
	d->grain_rows = grain_rows(d);
	d->device = calloc((size_t) d->mesh->devices, sizeof *d->device);
	if (!d->device)
		return error_memory(error, "placing the parts");
	for (int i = 0; i < d->mesh->devices; i++) {
		struct device_part *device = &d->device[i];
		device->part = &d->mesh->part[i];
		device->first_layer = d->mesh->first_layer[device->part->stage];
		device->layers = d->mesh->first_layer[device->part->stage + 1] - device->first_layer;
		device->layer = calloc((size_t) device->layers + 1, sizeof *device->layer);
		if (!device->layer)
			return error_memory(error, "placing the parts");
		for (int l = 0; l < device->layers; l++) {
			struct layer_part *layer = &device->layer[l];
			layer->layer = device->first_layer + l;
			layer->dense = !d->model->experts || d->model->dense[layer->layer];
		}
	}
	return 0;
}

/* Weights, then KV pools, then slots. `messages` [slots] is where the slots' buffers are noted, or NULL. */
static struct deployment_account place_device(struct deployment *d, struct device_part *device, struct carve *carve,
	struct message **messages)
{
	struct deployment_account account = { 0 };
	for (int l = 0; l < device->layers; l++)
		weights_place_layer(d, device, &device->layer[l], carve);
	weights_place_ends(d, device, carve);
	account.weights = device->weight_bytes = carve->used;
	for (int l = 0; l < device->layers; l++) {
		struct layer_part *layer = &device->layer[l];
		carve_align_page(carve);
		layer->kv_pool = carve_take(carve, (size_t) d->sizes.pages, kv_page_bytes(layer->attention.kv_heads,
			d->graph->kv.page_tokens, d->model->head_dim, d->graph->kv.dtype));
	}
	account.kv = carve->used - account.weights;
	for (int s = 0; s < d->sizes.slots; s++) {
		struct message measured = { 0 };
		message_place(d, device, messages ? messages[s] : &measured, carve);
	}
	account.activations = carve->used - account.weights - account.kv;
	account.total = carve->used;
	account.workspace = weights_workspace(d, device);
	return account;
}

static void free_parts(struct deployment *d)
{
	for (int i = 0; d->device && i < d->mesh->devices; i++) {
		struct device_part *device = &d->device[i];
		for (int l = 0; device->layer && l < device->layers; l++) {
			engine_buffer_destroy(device->layer[l].weights_buffer);
			engine_buffer_destroy(device->layer[l].kv_buffer);
			free(device->layer[l].expert);
		}
		engine_buffer_destroy(device->ends_buffer);
		free(device->layer);
		arena_destroy(&device->arena);
	}
	free(d->device);
	d->device = NULL;
	routes_destroy(d->routes);
	d->routes = NULL;
}

static int too_large(const struct graph *graph, struct error *error)
{
	return error_set(error, ERROR_INPUT, graph->path, "a device's memory is larger than this machine can address; "
		"lower limits, schedule.prefill.tokens or kv.pages");
}

int deployment_measure(const struct graph *graph, enum dtype compute, const struct deployment_sizes *sizes,
	struct deployment_account *accounts, struct error *error)
{
	struct deployment d;
	int code = prepare(&d, graph, compute, sizes, error);
	for (int i = 0; !code && i < d.mesh->devices; i++) {
		struct carve carve = { 0 };
		accounts[i] = place_device(&d, &d.device[i], &carve, NULL);
		if (carve.over)
			code = too_large(graph, error);
	}
	free_parts(&d);
	return code;
}

size_t deployment_page_bytes(const struct graph *graph)
{
	const struct mesh *mesh = &graph->mesh;
	size_t bytes = 0;
	for (int stage = 0; stage < mesh->stages; stage++)
		for (int t = 0; t < mesh->tensor; t++) {
			struct range heads = mesh_kv_heads(mesh, &graph->model, t);
			size_t layers = (size_t) (mesh->first_layer[stage + 1] - mesh->first_layer[stage]);
			bytes += layers * kv_page_bytes(heads.end - heads.first, graph->kv.page_tokens,
				graph->model.head_dim, graph->kv.dtype);
		}
	return bytes;
}

/* ---- building */

static int place_all(struct deployment *d, struct error *error)
{
	struct message *messages[d->sizes.slots];
	for (int i = 0; i < d->mesh->devices; i++) {
		struct device_part *device = &d->device[i];
		for (int s = 0; s < d->sizes.slots; s++)
			messages[s] = &d->slot[s].message[i];
		struct carve measured = { 0 };
		struct deployment_account account = place_device(d, device, &measured, NULL);
		if (measured.over)
			return too_large(d->graph, error);
		if (account.workspace > d->workspace)
			d->workspace = account.workspace;
		int code = arena_create(&device->arena, device->part->device, account.total, error);
		if (code)
			return code;
		d->arenas[i] = device->arena;
		device->base = device->arena.base;
		for (int l = 0; l < device->layers; l++) {
			struct layer_part *layer = &device->layer[l];
			layer->expert = calloc((size_t) layer->experts + 1, sizeof *layer->expert);
			if (!layer->expert)
				return error_memory(error, "placing the experts");
		}
		struct carve carve = { device->arena.base, 0, device->arena.bytes, false };
		place_device(d, device, &carve, messages);
		if (carve.over)
			return too_large(d->graph, error);
	}
	return 0;
}

static int register_parts(struct deployment *d, struct error *error)
{
	for (int i = 0; i < d->mesh->devices; i++) {
		struct device_part *device = &d->device[i];
		int number = device->part->device, code;
		char name[64];
		for (int l = 0; l < device->layers; l++) {
			struct layer_part *layer = &device->layer[l];
			snprintf(name, sizeof name, "weights, layer %d, device %d", layer->layer, number);
			code = engine_buffer_create(d->engine, layer->weights_begin,
				(size_t) (layer->weights_end - layer->weights_begin), true, name,
				&layer->weights_buffer, error);
			if (code)
				return code;
			snprintf(name, sizeof name, "kv, layer %d, device %d", layer->layer, number);
			code = engine_buffer_create(d->engine, layer->kv_pool, ARENA_ALIGN, true, name,
				&layer->kv_buffer, error);
			if (code)
				return code;
		}
		snprintf(name, sizeof name, "embedding and head, device %d", number);
		code = engine_buffer_create(d->engine, device->base, ARENA_ALIGN, true, name, &device->ends_buffer,
			error);
		if (code)
			return code;
		for (int s = 0; s < d->sizes.slots; s++) {
			code = message_register(d, device, s, &d->slot[s].message[i], error);
			if (code)
				return code;
		}
	}
	return 0;
}

/* Parts and slots with their shapes, in a deployment that deployment_destroy takes in any state. */
static int begin(struct deployment *d, const struct graph *graph, enum dtype compute,
	const struct deployment_sizes *sizes, struct error *error)
{
	int code = prepare(d, graph, compute, sizes, error);
	if (code)
		return code;
	d->arenas = calloc((size_t) d->mesh->devices, sizeof *d->arenas);
	d->slot = calloc((size_t) sizes->slots, sizeof *d->slot);
	d->token_table = calloc((size_t) sizes->seats, sizeof *d->token_table);
	if (!d->arenas || !d->slot || !d->token_table)
		return error_memory(error, "building the deployment");
	for (int s = 0; s < sizes->slots; s++) {
		d->slot[s].index = s;
		d->slot[s].message = calloc((size_t) d->mesh->devices, sizeof *d->slot[s].message);
		if (!d->slot[s].message)
			return error_memory(error, "building the slots");
	}
	return 0;
}

static int lower_all(struct deployment *d, struct error *error)
{
	int code = 0;
	for (int s = 0; !code && s < d->sizes.slots; s++) {
		code = lower_slot(d, &d->slot[s], error);
		if (!code && d->engine && d->grain_rows) /* a sketch submits nothing */
			code = grain_make(d, &d->slot[s], error);
	}
	return code;
}

int deployment_create(const struct graph *graph, const struct checkpoint *checkpoint, enum dtype compute,
	const struct deployment_sizes *sizes, struct engine *engine, struct deployment **out, struct error *error)
{
	struct deployment *d = calloc(1, sizeof *d);
	if (!d)
		return error_memory(error, "building the deployment");
	gemm_start();
	int code = graph_check_cpu(graph, compute, error);
	if (!code)
		code = begin(d, graph, compute, sizes, error);
	d->engine = engine;
	if (!code)
		code = rope_table_make(&d->rope, d->model, graph->limits.tokens_per_sequence, error);
	if (!code)
		code = place_all(d, error);
	if (!code)
		code = register_parts(d, error);
	if (!code)
		code = engine_reserve(engine, d->workspace, error);
	if (!code)
		code = checkpoint ? load_weights(d, checkpoint, error) : 0;
	if (!code && !checkpoint)
		weights_randomise(d);
	if (!code)
		code = lower_all(d, error);
	if (code)
		deployment_destroy(d);
	else
		*out = d;
	return code;
}

int deployment_sketch(const struct graph *graph, enum dtype compute, const struct deployment_sizes *sizes,
	struct deployment **out, struct error *error)
{
	struct deployment *d = calloc(1, sizeof *d);
	if (!d)
		return error_memory(error, "sketching the deployment");
	int code = begin(d, graph, compute, sizes, error);
	for (int i = 0; !code && i < d->mesh->devices; i++) {
		struct carve carve = { 0 };
		place_device(d, &d->device[i], &carve, NULL);
		if (carve.over)
			code = too_large(graph, error);
	}
	if (!code)
		code = lower_all(d, error);
	if (code)
		deployment_destroy(d);
	else
		*out = d;
	return code;
}

/* Every block gets an address of its own; none is ever touched. */
static int place_nowhere(struct deployment *d, struct error *error)
{
	struct message *messages[d->sizes.slots];
	char *base = (char *) (uintptr_t) 4096;
	for (int i = 0; i < d->mesh->devices; i++) {
		struct device_part *device = &d->device[i];
		for (int s = 0; s < d->sizes.slots; s++)
			messages[s] = &d->slot[s].message[i];
		struct carve carve = { base, 0, SIZE_MAX / 4, false };
		device->base = base;
		place_device(d, device, &carve, messages);
		if (carve.over || carve.used > SIZE_MAX / 4 / MESH_MAX_DEVICES)
			return too_large(d->graph, error);
		base += carve.used;
	}
	return 0;
}

int deployment_simulate(const struct graph *graph, enum dtype compute, const struct deployment_sizes *sizes,
	struct engine *engine, struct deployment **out, struct error *error)
{
	struct deployment *d = calloc(1, sizeof *d);
	if (!d)
		return error_memory(error, "building the deployment");
	int code = begin(d, graph, compute, sizes, error);
	d->engine = engine;
	if (!code)
		code = place_nowhere(d, error);
	if (!code)
		code = register_parts(d, error);
	if (!code)
		code = lower_all(d, error);
	if (code)
		deployment_destroy(d);
	else
		*out = d;
	return code;
}

static void free_slot(struct deployment *d, struct slot *slot)
{
	for (int i = 0; slot->message && i < d->mesh->devices; i++)
		message_unregister(&slot->message[i]);
	for (int i = 0; i < slot->calls; i++) {
		free(slot->call[i].base.buffer);
		free(slot->call[i].base.mode);
	}
	grain_destroy(slot->grain);
	free(slot->call);
	free(slot->message);
}

void deployment_destroy(struct deployment *d)
{
	if (!d)
		return;
	if (d->engine)
		engine_wait_all(d->engine, NULL);
	for (int s = 0; d->slot && s < d->sizes.slots; s++)
		free_slot(d, &d->slot[s]);
	free_parts(d);
	rope_table_free(&d->rope);
	free(d->slot);
	free(d->arenas);
	free(d->token_table);
	free(d);
}

/* ---- running */

/* The slot that carries micro-batch `number`, or NULL when it carries another one by now. */
static struct slot *slot_of(struct deployment *d, uint64_t number)
{
	struct slot *slot = &d->slot[number % (uint64_t) d->sizes.slots];
	return slot->used && slot->micro_batch->number == number ? slot : NULL;
}

static int collect_after(struct deployment *d, const uint64_t *numbers, int count, int index,
	struct engine_call **after)
{
	int n = 0;
	for (int i = 0; i < count; i++) {
		struct slot *slot = slot_of(d, numbers[i]);
		if (slot && n < d->sizes.slots)
			after[n++] = &slot->call[index].base;
	}
	return n;
}

/* Deeper layers first, so that micro-batches leave the pipeline; decode before prefill, so that no step of a
 * sequence waits behind a prompt. */
static int priority_of(const struct deployment *d, const struct call *call, enum phase phase)
{
	int depth = call->base.layer >= 0 ? call->base.layer + 1 : call->base.type->kind == TASK_EMBED ? 0
										 : d->model->layers + 1;
	if (call->base.layer < 0 && call->base.type->kind != TASK_EMBED && call->stage < d->mesh->stages - 1)
		depth = d->mesh->first_layer[call->stage + 1]; /* between stages */
	return depth + (phase == PHASE_PREFILL ? 0 : d->model->layers + 2);
}

/* The calls of attention in the first stage's last layer of the micro-batch whose place this one takes. */
static int collect_place(struct deployment *d, const struct micro_batch *b, struct engine_call **after)
{
	struct slot *slot = b->in_turn ? slot_of(d, b->enters_after) : NULL;
	int n = 0;
	for (int i = 0; slot && i < slot->calls && slot->call[i].stage == 0; i++) {
		struct call *call = &slot->call[i];
		const struct call_type *type = (const struct call_type *) call->base.type;
		if (type->appends && call->base.layer == d->mesh->first_layer[1] - 1 && n < MESH_MAX_DEVICES
			&& call->base.micro_batch == slot->micro_batch->number)
			after[n++] = &call->base;
	}
	return n;
}

/* What other micro-batches' calls it must come after; adds them to `after`, of which there are `count`. */
static int find_after(struct deployment *d, const struct call *call, const struct micro_batch *b,
	struct engine_call **after, int count)
{
	const struct call_type *type = (const struct call_type *) call->base.type;
	if (type->appends)
		count += collect_after(d, b->after, b->after_count, (int) (call - call->slot->call), after + count);
	else if (call->after >= 0) {
		count += collect_after(d, b->sampled_after, b->sampled_after_count, call->after, after + count);
		count += collect_place(d, b, after + count);
	}
	return count;
}

static bool take_call(struct call *call, const struct micro_batch *b)
{
	const struct call_type *type = (const struct call_type *) call->base.type;
	if (type->wanted && !type->wanted(call))
		return false;
	call->base.micro_batch = b->number;
	call->base.phase = b->phase;
	call->base.priority = priority_of(call->deployment, call, b->phase);
	call->base.next = NULL;
	call->base.uses = NULL;
	return true;
}

static int submit_calls(struct deployment *d, struct slot *slot, struct error *error)
{
	struct engine_call *after[d->sizes.slots + MESH_MAX_DEVICES];
	int code = 0;
	for (int i = 0; i < slot->calls && !code; i++) {
		struct call *call = &slot->call[i];
		if (take_call(call, slot->micro_batch))
			code = engine_submit(d->engine, &call->base, after, find_after(d, call, slot->micro_batch, after, 0), error);
	}
	return code;
}

/* A task has the priority of its deepest call. */
static int submit_merged(struct deployment *d, struct slot *slot, struct error *error)
{
	struct engine_call *after[2 * d->sizes.slots + MESH_MAX_DEVICES]; /* of an embedding and of attention */
	int code = 0;
	for (int t = 0; t < slot->grain->tasks && !code; t++) {
		const struct grain_task *task = &slot->grain->task[t];
		struct engine_call *first = NULL, *last = NULL;
		int n = 0;
		for (int i = 0; i < task->parts; i++) {
			struct call *call = task->part[i];
			if (!take_call(call, slot->micro_batch))
				continue;
			n = find_after(d, call, slot->micro_batch, after, n);
			if (!first)
				first = &call->base;
			else
				last->next = &call->base;
			last = &call->base;
			if (last->priority > first->priority)
				first->priority = last->priority;
		}
		if (!first)
			continue;
		first->uses = &task->uses;
		code = engine_submit(d->engine, first, after, n, error);
	}
	return code;
}

int deployment_submit(struct deployment *d, struct micro_batch *b, struct error *error)
{
	struct slot *slot = &d->slot[b->number % (uint64_t) d->sizes.slots];
	slot->micro_batch = b;
	slot->used = true;
	slot->merged = slot->grain && b->rows <= d->grain_rows;
	return slot->merged ? submit_merged(d, slot, error) : submit_calls(d, slot, error);
}

int deployment_wait(struct deployment *d, uint64_t number, struct error *error)
{
	return engine_wait(d->engine, &d->slot[number % (uint64_t) d->sizes.slots].pending, error);
}
