/* SPDX-License-Identifier: Apache-2.0
 *
 * Rehearsing a run for the memory that it uses, and touching that. */
#include "tasks/touch.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "tasks/call.h"

/* ---- the rehearsal */

static void note(const struct batcher_options *options, const struct micro_batch *b, struct touch_need *need)
{
	int slot = (int) (b->number % (uint64_t) need->slots);
	need->rows[slot] = b->rows > need->rows[slot] ? b->rows : need->rows[slot];
	need->samples[slot] = b->samples > need->samples[slot] ? b->samples : need->samples[slot];
	for (int i = 0; i < b->segments; i++) {
		const struct segment *s = &b->segment[i];
		int last = (s->position + s->rows - 1) / options->page_tokens;
		for (int page = s->position / options->page_tokens; page <= last; page++)
			need->pages = s->pages[page] >= need->pages ? s->pages[page] + 1 : need->pages;
	}
}

/* Results are zeros: which tokens they are plays no part, since no sequence ends by one. */
static int rehearse(struct batcher *batcher, const struct batcher_options *options, struct touch_need *need,
	struct error *error)
{
	struct micro_batch *b;
	uint64_t number;
	int code = 0;
	for (int formed = 0; !code && formed < TOUCH_MICRO_BATCHES;) {
		if (batcher_needs(batcher, &number)) {
			b = batcher_micro_batch(batcher, (int) (number % (uint64_t) options->slots));
			memset(b->sampled, 0, (size_t) b->samples * sizeof *b->sampled);
			memset(b->logprob, 0, (size_t) b->samples * sizeof *b->logprob);
			code = batcher_result(batcher, number, error);
			continue;
		}
		enum batcher_step step = batcher_next(batcher, &b, error);
		if (step == BATCHER_DONE)
			break;
		if (step == BATCHER_STUCK)
			return error && error->code ? error->code : ERROR_RUN;
		if (step == BATCHER_SUBMIT) {
			note(options, b, need);
			formed++;
		}
	}
	return code;
}

int touch_rehearse(const struct batcher_options *options, const struct sequence *sequence, int sequences,
	struct touch_need *need, struct error *error)
{
	struct batcher_options own = *options;
	struct batcher *batcher = NULL;
	struct touch_need found = { calloc((size_t) options->slots, sizeof(int)), calloc((size_t) options->slots, sizeof(int)),
		options->slots, 0, TOUCH_KV_BYTES };
	own.on_token = NULL;
	own.on_finish = NULL;
	own.record_routing = false;
	int code = found.rows && found.samples ? batcher_create(&own, &batcher, error)
					       : error_memory(error, "rehearsing the run");
	for (int i = 0, index; !code && i < sequences; i++) {
		struct sequence whole = sequence[i];
		whole.ignore_eos = true;
		code = batcher_add(batcher, &whole, &index, error);
	}
	if (!code)
		code = rehearse(batcher, &own, &found, error);
	batcher_destroy(batcher);
	if (code)
		touch_free(&found);
	else
		*need = found;
	return code;
}

void touch_free(struct touch_need *need)
{
	free(need->rows);
	free(need->samples);
	*need = (struct touch_need){ 0 };
}

/* ---- touching */

struct range_call {
	struct engine_call base; /* must be first */
	void *memory;
	size_t bytes;
};

struct touching {
	struct deployment *deployment;
	struct range_call *call; /* [count] */
	int count, size;
	int code;
	struct error *error;
};

static int touch_run(struct engine_call *call, void *workspace, struct error *error)
{
	const struct range_call *range = (const struct range_call *) call;
	(void) workspace, (void) error;
	arena_touch(range->memory, range->bytes);
	return 0;
}

static double touch_cost(const struct engine_call *call)
{
	return 1e-9 * (double) ((const struct range_call *) call)->bytes;
}

static const struct engine_type touch_type = { .name = "load", .kind = CALL_LOAD, .run = touch_run, .cost = touch_cost };

static void add(struct touching *t, const struct device_part *device, void *memory, size_t count, size_t size)
{
	if (t->code || !memory || !count || !size)
		return;
	if (t->count == t->size) {
		int room = t->size ? 2 * t->size : 256;
		struct range_call *larger = realloc(t->call, (size_t) room * sizeof *larger);
		if (!larger) {
			t->code = error_memory(t->error, "taking memory for the run");
			return;
		}
		t->call = larger;
		t->size = room;
	}
	t->call[t->count++] = (struct range_call){
		.base = { .type = &touch_type, .layer = -1, .devices = (uint64_t) 1 << device->part->device },
		.memory = memory,
		.bytes = count * size,
	};
}

/* Rows that a device's experts get of so many: their even part, and a quarter more for routing that is not even. */
static size_t grouped_rows(const struct deployment *d, const struct device_part *device, const struct message *message,
	int rows)
{
	struct range own = mesh_expert_range(d->mesh, d->model, device->part->experts);
	double even = (double) rows * d->model->top_k * (own.end - own.first) / d->model->experts;
	double wanted = 1.25 * even + 1;
	return wanted < message->capacity ? (size_t) wanted : (size_t) message->capacity;
}

static void add_message(struct touching *t, const struct device_part *device, const struct message *m, int rows,
	int samples)
{
	const struct deployment *d = t->deployment;
	size_t n = (size_t) rows, row = (size_t) d->model->hidden * sizeof(float);
	size_t routing = (size_t) d->model->top_k * sizeof(int32_t);
	struct range heads = mesh_heads(d->mesh, d->model, device->part->tensor);
	struct range kv_heads = mesh_kv_heads(d->mesh, d->model, device->part->tensor);
	size_t width = (size_t) (heads.end - heads.first + 2 * (kv_heads.end - kv_heads.first)) * (size_t) d->model->head_dim;
	add(t, device, m->x, n, row);
	add(t, device, m->partial, n, row);
	add(t, device, m->partial_stage, n < (size_t) d->grain_rows ? n : (size_t) d->grain_rows, row);
	add(t, device, m->h, n, d->row_bytes);
	add(t, device, m->expert, n, routing);
	add(t, device, m->place, n, routing);
	add(t, device, m->weight, n, routing);
	if (m->grouped) {
		size_t grouped = grouped_rows(d, device, m, rows);
		add(t, device, m->grouped, grouped, d->row_bytes);
		add(t, device, m->done, grouped, row);
	}
	add(t, device, m->shared, n, row);
	add(t, device, m->qkv, n, width * sizeof(float));
	add(t, device, m->squares, n, 2 * sizeof(float));
	add(t, device, m->logits, (size_t) samples, (size_t) (device->vocab.end - device->vocab.first) * sizeof(float));
}

static void add_device(struct touching *t, int index, const struct touch_need *need)
{
	const struct deployment *d = t->deployment;
	const struct device_part *device = &d->device[index];
	double most = need->kv_bytes / ((double) deployment_page_bytes(d->graph) * d->mesh->groups);
	size_t pages = (size_t) fmin((double) need->pages, (double) d->sizes.pages);
	if (need->kv_bytes > 0 && (double) pages > most)
		pages = (size_t) most;
	for (int s = 0; s < d->sizes.slots && s < need->slots; s++)
		add_message(t, device, &d->slot[s].message[index], need->rows[s], need->samples[s]);
	for (int l = 0; l < device->layers; l++)
		add(t, device, device->layer[l].kv_pool, pages, kv_page_bytes(device->layer[l].attention.kv_heads,
			d->graph->kv.page_tokens, d->model->head_dim, d->graph->kv.dtype));
}

int touch_deployment(struct deployment *d, const struct touch_need *need, struct error *error)
{
	struct touching t = { .deployment = d, .error = error };
	int pending = 0;
	for (int i = 0; i < d->mesh->devices; i++)
		add_device(&t, i, need);
	int code = t.code;
	for (int i = 0; !code && i < t.count; i++) {
		t.call[i].base.pending = &pending;
		code = engine_submit(d->engine, &t.call[i].base, NULL, 0, error);
	}
	int failed = engine_wait(d->engine, &pending, error);
	free(t.call);
	return code ? code : failed;
}
