/* SPDX-License-Identifier: Apache-2.0
 *
 * Loading the weights of a deployment, as tasks.
 *
 *   1. the checkpoint's content is summed, in pieces   (packed weights are kept, and it is not known by its stamps)
 *   2. devices that have a cache: their blocks are read; the others: each layer is packed, and so are the ends
 *   3. devices whose cache was damaged: packed
 *   4. what was packed is kept                         (packed weights are kept)
 *
 * Within a step everything runs in parallel, on the devices' workers. */
#include "tasks/load.h"
#include <stdlib.h>
#include "tasks/call.h"
#include "tasks/weights.h"
#include "tasks/weights_cache.h"

struct loading {
	struct deployment *deployment;
	const struct checkpoint *checkpoint;
	struct weights_cache *cache; /* NULL: nothing is kept */
	bool *packed;                /* [devices] not out of a cache */
	int count;
	struct load *load; /* [count] the calls of one step */
};

struct load {
	struct engine_call base; /* must be first */
	struct loading *of;
	int (*work)(const struct load *load, struct error *error);
	int device, index; /* of the mesh's devices; of layer, block or piece */
};

static int pack_layer(const struct load *load, struct error *error)
{
	const struct deployment *d = load->of->deployment;
	const struct device_part *device = &d->device[load->device];
	return weights_load_layer(d, device, &device->layer[load->index], load->of->checkpoint, error);
}

static int pack_ends(const struct load *load, struct error *error)
{
	const struct deployment *d = load->of->deployment;
	return weights_load_ends(d, &d->device[load->device], load->of->checkpoint, error);
}

static int read_block(const struct load *load, struct error *error)
{
	(void) error; /* a damaged cache is no failure */
	weights_cache_read(load->of->cache, load->device, load->index);
	return 0;
}

static int sum_piece(const struct load *load, struct error *error)
{
	(void) error;
	weights_cache_sum(load->of->cache, load->index);
	return 0;
}

static int load_run(struct engine_call *call, void *workspace, struct error *error)
{
	const struct load *load = (const struct load *) call;
	(void) workspace;
	return load->work(load, error);
}

static double load_cost(const struct engine_call *call)
{
	(void) call;
	return 10e-3;
}

static const struct engine_type load_type = {.name = "load", .kind = CALL_LOAD, .run = load_run, .cost = load_cost};

static int make_room(struct loading *l, int count, struct error *error)
{
	free(l->load);
	l->count = 0;
	l->load = calloc((size_t) count + 1, sizeof *l->load);
	return l->load ? 0 : error_memory(error, "loading weights");
}

static void add(struct loading *l, int (*work)(const struct load *, struct error *), int device, int index)
{
	const struct device_part *d = &l->deployment->device[device];
	l->load[l->count++] = (struct load){
		.base = {.type = &load_type,
			.layer = work == pack_layer ? d->layer[index].layer : -1,
			.devices = (uint64_t) 1 << d->part->device},
		.of = l,
		.work = work,
		.device = device,
		.index = index,
	};
}

static void add_packing(struct loading *l, int device)
{
	for (int i = 0; i < l->deployment->device[device].layers; i++)
		add(l, pack_layer, device, i);
	add(l, pack_ends, device, 0);
	l->packed[device] = true;
}

/* Runs the calls that were added. */
static int perform(struct loading *l, struct error *error)
{
	struct engine *engine = l->deployment->engine;
	int pending = 0, code = 0;
	for (int i = 0; i < l->count && !code; i++) {
		l->load[i].base.pending = &pending;
		code = engine_submit(engine, &l->load[i].base, NULL, 0, error);
	}
	int failed = engine_wait(engine, &pending, error);
	return code ? code : failed;
}

/* ---- the steps */

static int sum_checkpoint(struct loading *l, struct error *error)
{
	int pieces = weights_cache_pieces(l->cache), code = make_room(l, pieces, error);
	for (int i = 0; i < pieces && !code; i++)
		add(l, sum_piece, i % l->deployment->mesh->devices, i);
	return code ? code : perform(l, error);
}

static int read_or_pack(struct loading *l, struct error *error)
{
	const struct deployment *d = l->deployment;
	int count = 0;
	for (int i = 0; i < d->mesh->devices; i++)
		count += (l->cache ? weights_cache_blocks(l->cache, i) : 0) + d->device[i].layers + 1;
	int code = make_room(l, count, error);
	for (int i = 0; i < d->mesh->devices && !code; i++) {
		int blocks = l->cache ? weights_cache_blocks(l->cache, i) : 0;
		for (int b = 0; b < blocks; b++)
			add(l, read_block, i, b);
		if (!blocks)
			add_packing(l, i);
	}
	return code ? code : perform(l, error);
}

static int pack_damaged(struct loading *l, struct error *error)
{
	l->count = 0; /* there is room for all devices */
	for (int i = 0; i < l->deployment->mesh->devices; i++)
		if (!l->packed[i] && !weights_cache_settle(l->cache, i))
			add_packing(l, i);
	return perform(l, error);
}

static void keep_packed(struct loading *l)
{
	struct deployment_loading *report = &l->deployment->loading;
	for (int i = 0; i < l->deployment->mesh->devices; i++)
		if (l->packed[i])
			report->kept += weights_cache_keep(l->cache, i);
}

int load_weights(struct deployment *d, const struct checkpoint *checkpoint, struct error *error)
{
	struct loading l = {.deployment = d, .checkpoint = checkpoint};
	double start_s = engine_now(d->engine);
	int code = weights_cache_create(d, checkpoint, &l.cache, error);
	l.packed = calloc((size_t) d->mesh->devices, sizeof *l.packed);
	if (!code && !l.packed)
		code = error_memory(error, "loading weights");
	if (!code && l.cache)
		code = sum_checkpoint(&l, error);
	if (!code && l.cache)
		code = weights_cache_open(l.cache, error);
	if (!code)
		code = read_or_pack(&l, error);
	if (!code && l.cache)
		code = pack_damaged(&l, error);
	for (int i = 0; i < d->mesh->devices && !code; i++) {
		d->loading.bytes += (double) d->device[i].weight_bytes;
		d->loading.packed += l.packed[i];
		d->loading.cached += !l.packed[i];
	}
	d->loading.ready_s = engine_now(d->engine) - start_s;
	if (!code && l.cache)
		keep_packed(&l);
	d->loading.keep_s = engine_now(d->engine) - start_s - d->loading.ready_s;
	weights_cache_destroy(l.cache);
	free(l.packed);
	free(l.load);
	return code;
}
