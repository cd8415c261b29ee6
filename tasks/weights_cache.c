/* SPDX-License-Identifier: Apache-2.0
 *
 * Packed weights between two runs: which file they are in, and whether it may be used. */
#include "tasks/weights_cache.h"
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/checksum.h"
#include "runtime/packed_cache.h"
#include "tasks/weights.h"

#define PIECE (16u << 20) /* bytes of the checkpoint that one call sums */

/* Raised when the same content, recipe and packed probe come to mean other bytes. */
enum { WEIGHTS_VERSION = 1 };

struct piece {
	const char *begin;
	size_t bytes;
	uint64_t sum;
};

struct part { /* a device's */
	uint64_t key;
	struct packed_cache *file; /* NULL: none, or none that may be used */
	atomic_bool damaged;
	struct error why; /* once damaged: of the block that was found first */
};

struct weights_cache {
	const struct deployment *deployment;
	const struct checkpoint *checkpoint;
	const char *folder;
	bool settled; /* the stamps tell every later change */
	uint64_t stamps;
	bool known; /* content is */
	uint64_t content;
	int pieces;
	struct piece *piece; /* [pieces] shard by shard */
	struct part *part;   /* [devices] */
};

static void tell(const struct error *why, const char *then)
{
	fprintf(stderr, "octant: %s%s%s; %s\n", why->where, *why->where ? ": " : "", why->text, then);
}

/* ---- what decides the bytes */

static uint64_t sum_stamps(struct weights_cache *cache)
{
	uint64_t sum = WEIGHTS_VERSION;
	cache->settled = true;
	for (int i = 0; i < checkpoint_shards(cache->checkpoint); i++) {
		struct checkpoint_shard shard = checkpoint_shard(cache->checkpoint, i);
		sum = checksum_of(shard.name, strlen(shard.name), sum);
		sum = checksum_of(&shard.stamp, sizeof shard.stamp, sum);
		/* a file system without times of change says nothing about changes */
		cache->settled = cache->settled && shard.settled && shard.stamp.changed_ns > 0;
	}
	return sum;
}

static uint64_t sum_pieces(const struct weights_cache *cache)
{
	uint64_t sum = 0;
	for (int i = 0, at = 0; i < checkpoint_shards(cache->checkpoint); i++) {
		struct checkpoint_shard shard = checkpoint_shard(cache->checkpoint, i);
		uint64_t bytes = shard.bytes;
		sum = checksum_of(shard.name, strlen(shard.name), sum);
		sum = checksum_of(&bytes, sizeof bytes, sum);
		for (size_t begin = 0; begin < shard.bytes; begin += PIECE, at++)
			sum = checksum_of(&cache->piece[at].sum, sizeof cache->piece[at].sum, sum);
	}
	return sum;
}

/* How this processor and this version pack: by packing. Sizes that fill no block evenly, rows from two sources. */
static int sum_packing(enum dtype compute, uint64_t *sum, struct error *error)
{
	enum { N = 200, K = 75, FIRST = 70, WIDTH = 75, HIDDEN = 70 };
	size_t plain = gemm_packed_bytes(N, K, compute), pair = gemm_packed_bytes(2 * WIDTH, HIDDEN, compute);
	float *rows = malloc((size_t) N * K * sizeof *rows);
	char *packed = calloc(1, plain + pair);
	if (!rows || !packed) {
		free(rows);
		free(packed);
		return error_memory(error, "looking for packed weights");
	}
	uint32_t value = 1;
	for (int i = 0; i < N * K; i++) {
		value = value * 1664525 + 1013904223; /* as in Numerical Recipes; any numbers that differ would do */
		rows[i] = (float) (int32_t) value * 0x1p-31f;
	}
	struct gemm_source first = {rows, DTYPE_FP32, K}, second = {rows + (size_t) FIRST * K, DTYPE_FP32, K};
	gemm_pack(packed, N, K, compute, 0, FIRST, &first);
	gemm_pack(packed, N, K, compute, FIRST, N - FIRST, &second);
	expert_pack_gate_up(packed + plain, WIDTH, HIDDEN, compute, &first, &second);
	*sum = checksum_of(packed, plain + pair, *sum);
	free(rows);
	free(packed);
	return 0;
}

static int make_keys(struct weights_cache *cache, struct error *error)
{
	const struct deployment *d = cache->deployment;
	uint64_t base = checksum_of(&cache->content, sizeof cache->content, WEIGHTS_VERSION), recipe;
	int code = sum_packing(d->compute, &base, error);
	for (int i = 0; i < d->mesh->devices && !code; i++) {
		code = weights_describe(d, &d->device[i], cache->checkpoint, &recipe, error);
		if (!code)
			cache->part[i].key = checksum_of(&recipe, sizeof recipe, base);
	}
	return code;
}

/* ---- the checkpoint's content */

static int cut_pieces(struct weights_cache *cache, struct error *error)
{
	int shards = checkpoint_shards(cache->checkpoint), at = 0;
	size_t count = 0;
	for (int i = 0; i < shards; i++)
		count += (checkpoint_shard(cache->checkpoint, i).bytes + PIECE - 1) / PIECE;
	cache->piece = calloc(count + 1, sizeof *cache->piece);
	if (!cache->piece || count > INT32_MAX)
		return error_memory(error, "looking for packed weights");
	for (int i = 0; i < shards; i++) {
		struct checkpoint_shard shard = checkpoint_shard(cache->checkpoint, i);
		for (size_t begin = 0; begin < shard.bytes; begin += PIECE)
			cache->piece[at++] = (struct piece){(const char *) shard.data + begin,
				shard.bytes - begin < PIECE ? shard.bytes - begin : PIECE, 0};
	}
	cache->pieces = at;
	return 0;
}

/* What an earlier run found in files with these stamps. */
static void look_up_content(struct weights_cache *cache)
{
	struct packed_cache *file = NULL;
	struct error why = {0};
	if (!cache->settled)
		return;
	int code = packed_cache_open(cache->folder, "content", cache->stamps, sizeof cache->content, &file, &why);
	if (!code && file)
		code = packed_cache_read(file, 0, &cache->content, &why);
	if (code)
		tell(&why, "the checkpoint is read to see what it holds");
	cache->known = !code && file;
	packed_cache_close(file);
}

int weights_cache_create(const struct deployment *d, const struct checkpoint *checkpoint, struct weights_cache **out,
	struct error *error)
{
	const char *folder = checkpoint_cache(checkpoint);
	*out = NULL;
	if (!folder)
		return 0;
	struct weights_cache *cache = calloc(1, sizeof *cache);
	if (!cache)
		return error_memory(error, "looking for packed weights");
	*cache = (struct weights_cache){.deployment = d, .checkpoint = checkpoint, .folder = folder};
	cache->part = calloc((size_t) d->mesh->devices, sizeof *cache->part);
	int code = cache->part ? 0 : error_memory(error, "looking for packed weights");
	if (!code) {
		cache->stamps = sum_stamps(cache);
		look_up_content(cache);
		if (!cache->known)
			code = cut_pieces(cache, error);
	}
	if (code)
		weights_cache_destroy(cache);
	else
		*out = cache;
	return code;
}

void weights_cache_destroy(struct weights_cache *cache)
{
	if (!cache)
		return;
	for (int i = 0; cache->part && i < cache->deployment->mesh->devices; i++)
		packed_cache_close(cache->part[i].file);
	free(cache->part);
	free(cache->piece);
	free(cache);
}

int weights_cache_pieces(const struct weights_cache *cache)
{
	return cache->pieces;
}

void weights_cache_sum(struct weights_cache *cache, int piece)
{
	struct piece *p = &cache->piece[piece];
	p->sum = checksum_of(p->begin, p->bytes, 0);
	checkpoint_release_bytes(cache->checkpoint, p->begin, p->bytes);
}

/* Whether what has been read is what the checkpoint's stamps stand for, so that it may be kept. */
static bool trustworthy(const struct weights_cache *cache)
{
	return cache->settled && checkpoint_unchanged(cache->checkpoint);
}

int weights_cache_open(struct weights_cache *cache, struct error *error)
{
	const struct deployment *d = cache->deployment;
	struct error why = {0};
	if (!cache->known) {
		cache->content = sum_pieces(cache);
		if (trustworthy(cache) && packed_cache_write(cache->folder, "content", cache->stamps, &cache->content,
						  sizeof cache->content, &why))
			tell(&why, "the next run reads the checkpoint again");
	}
	int code = make_keys(cache, error);
	for (int i = 0; i < d->mesh->devices && !code; i++) {
		why = (struct error){0};
		if (packed_cache_open(cache->folder, "weights", cache->part[i].key, d->device[i].weight_bytes,
			    &cache->part[i].file, &why))
			tell(&why, "the weights are packed again");
	}
	return code;
}

/* ---- a device's weights */

int weights_cache_blocks(const struct weights_cache *cache, int device)
{
	const struct part *part = &cache->part[device];
	return part->file ? packed_cache_blocks(part->file) : 0;
}

void weights_cache_read(struct weights_cache *cache, int device, int block)
{
	struct part *part = &cache->part[device];
	struct error why = {0};
	if (atomic_load(&part->damaged) ||
		!packed_cache_read(part->file, block, cache->deployment->device[device].base, &why))
		return;
	if (!atomic_exchange(&part->damaged, true))
		part->why = why;
}

bool weights_cache_settle(struct weights_cache *cache, int device)
{
	const struct device_part *d = &cache->deployment->device[device];
	struct part *part = &cache->part[device];
	if (!atomic_load(&part->damaged))
		return part->file;
	tell(&part->why, "the weights are packed again");
	packed_cache_close(part->file);
	part->file = NULL;
	memset(d->base, 0, d->weight_bytes);
	return false;
}

bool weights_cache_keep(struct weights_cache *cache, int device)
{
	const struct device_part *d = &cache->deployment->device[device];
	struct error why = {0};
	if (!trustworthy(cache))
		error_set(&why, ERROR_RUN, checkpoint_directory(cache->checkpoint), "has changed just now");
	else if (!packed_cache_write(cache->folder, "weights", cache->part[device].key, d->base, d->weight_bytes, &why))
		return true;
	tell(&why, "packed weights are not kept");
	return false;
}
