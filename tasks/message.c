/* SPDX-License-Identifier: Apache-2.0
 *
 * The buffers of one slot on one device. */
#include "tasks/message.h"
#include "tasks/kinds.h"
#include <stdio.h>

static bool chain_has(const struct graph_chain *chain, int kind)
{
	for (int i = 0; i < chain->count; i++)
		if (chain->step[i].kind_index == kind)
			return true;
	return false;
}

void message_place(const struct deployment *d, const struct device_part *device, struct message *message,
	struct carve *carve)
{
	const struct model *m = d->model;
	size_t rows = (size_t) d->sizes.max_rows, row = (size_t) m->hidden * sizeof(float);
	message->x = carve_take(carve, rows, row);
	message->partial = carve_take(carve, rows, row);
	if (d->grain_rows)
		message->partial_stage = carve_take(carve, (size_t) d->grain_rows, row);
	if (m->experts || d->mesh->groups > 1)
		message->h = carve_take(carve, rows, d->row_bytes);
	if (m->experts) {
		struct range own = mesh_expert_range(d->mesh, m, device->part->experts);
		int experts = own.end - own.first, choices = experts < m->top_k ? experts : m->top_k;
		size_t routing = (size_t) m->top_k * sizeof(int32_t);
		message->expert = carve_take(carve, rows, routing);
		message->place = carve_take(carve, rows, routing);
		message->weight = carve_take(carve, rows, routing);
		message->capacity = d->sizes.max_rows * choices;
		message->grouped = carve_take(carve, (size_t) message->capacity, d->row_bytes);
		message->offset = carve_take(carve, (size_t) experts + 1, sizeof(int32_t));
		message->done = carve_take(carve, (size_t) message->capacity, row);
		if (m->shared_hidden)
			message->shared = carve_take(carve, rows, row);
	}
	if (chain_has(&d->graph->layer, TASK_QKV) || chain_has(&d->graph->dense_layer, TASK_QKV)) {
		struct range heads = mesh_heads(d->mesh, m, device->part->tensor);
		struct range kv_heads = mesh_kv_heads(d->mesh, m, device->part->tensor);
		size_t width = (size_t) (heads.end - heads.first + 2 * (kv_heads.end - kv_heads.first));
		message->qkv = carve_take(carve, rows, width * (size_t) m->head_dim * sizeof(float));
		message->squares = carve_take(carve, rows, 2 * sizeof(float));
	}
	if (device->part->stage == d->mesh->stages - 1)
		message->logits = carve_take(carve, (size_t) d->sizes.max_samples,
			(size_t) (device->vocab.end - device->vocab.first) * sizeof(float));
}

int message_register(struct deployment *d, const struct device_part *device, int slot, struct message *message,
	struct error *error)
{
	static const char *const names[MESSAGE_BUFFERS] = { "x", "partial", "partial_stage", "routed", "grouped", "done", "shared", "qkv",
		"logits" };
	void *const blocks[MESSAGE_BUFFERS] = { message->x, message->partial, message->partial_stage, message->h, message->grouped,
		message->done, message->shared, message->qkv, message->logits };
	for (int i = 0; i < MESSAGE_BUFFERS; i++) {
		char name[48];
		snprintf(name, sizeof name, "%s, slot %d, device %d", names[i], slot, device->part->device);
		/* StarPU knows the block by its address; its tasks never move it, so that its size plays no part */
		int code = blocks[i] ? engine_buffer_create(d->engine, blocks[i], ARENA_ALIGN, false, name,
						&message->buffer[i], error)
				     : 0;
		if (code)
			return code;
	}
	return 0;
}

void message_unregister(struct message *message)
{
	for (int i = 0; i < MESSAGE_BUFFERS; i++) {
		engine_buffer_destroy(message->buffer[i]);
		message->buffer[i] = NULL;
	}
}
