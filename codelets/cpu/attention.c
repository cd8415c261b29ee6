/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention over KV pages, in blocks of 64 keys at fixed absolute positions.
 *
 * Rows pass through in blocks (rows_together), so that q, k and v need no memory of the message; within one, the
 * rows of a segment form tiles. For a tile, each block of keys is converted once per KV head and every query that may
 * see it updates its running maximum, sum and output (online softmax, arXiv:1805.02867). What a query computes depends
 * on its own position alone: the same blocks in the same order, and in the last one exactly the keys up to its own.
 *
 *   block:   0        1        2          keys:  |0 … 63|64 … 127|128 … p|
 *   a query at position p takes all of 0 and 1, and of 2 the first p − 127 keys */
#include "codelets/cpu/attention.h"
#include "codelets/cpu/rows.h"

size_t kv_page_bytes(int kv_heads, int page_tokens, int head_dim, enum dtype dtype)
{
	return 2 * (size_t) kv_heads * (size_t) page_tokens * (size_t) head_dim * dtype_bytes(dtype);
}

size_t attention_lay_out(const struct attention_weights *w, void *start, struct attention_space *space)
{
	size_t used = 0, columns = (size_t) attention_columns(w), d = (size_t) w->head_dim, heads = (size_t) w->heads;
	size_t size = dtype_bytes(w->compute), padded = (size_t) attention_padded(w), all = heads * ATTENTION_ROWS;
	size_t widest = columns > (size_t) w->hidden ? columns : (size_t) w->hidden;
	*space = (struct attention_space){
		.h = workspace_take(start, &used, ATTENTION_SINGLES * gemm_stride(w->hidden, w->compute) * size),
		.qkv = workspace_take(start, &used, ATTENTION_SINGLES * columns * sizeof(float)),
		.squares = workspace_take(start, &used, ATTENTION_SINGLES * 2 * sizeof(float)),
		.context = workspace_take(
			start, &used, ATTENTION_SINGLES * gemm_stride(w->heads * w->head_dim, w->compute) * size),
		.row = workspace_take(start, &used, widest * sizeof(float)),
		.q = workspace_take(start, &used, all * d * sizeof(float)),
		.o = workspace_take(start, &used, all * padded * sizeof(float)),
		.maximum = workspace_take(start, &used, all * sizeof(float)),
		.sum = workspace_take(start, &used, all * VECTOR_LANES * sizeof(float)),
		.position = workspace_take(start, &used, all * sizeof(int32_t)),
		.keys = workspace_take(start, &used, d * ATTEND_KEYS * sizeof(float)),
		.values = workspace_take(start, &used, padded * ATTEND_KEYS * sizeof(float)),
		.scores = workspace_take(start, &used, ATTEND_LANES * ATTEND_KEYS * sizeof(float)),
	};
	return used;
}

size_t attention_workspace(const struct attention_weights *weights)
{
	struct attention_space space;
	return attention_lay_out(weights, NULL, &space);
}

void attention_append(const struct attention_weights *w, const struct kv_view *kv, const float *qkv,
	const struct segment *segment, int position, float *scratch)
{
	size_t d = (size_t) w->head_dim, tokens = (size_t) kv->page_tokens, at = (size_t) position % tokens;
	int page = segment->pages[(size_t) position / tokens], n = w->kv_heads * w->head_dim;
	const float *k = qkv + (size_t) w->heads * d, *v = k + n;
	vector->from_float(kv->dtype, k, n, scratch);
	for (int head = 0; head < w->kv_heads; head++) {
		if (kv->dtype == DTYPE_FP32) {
			float *to = (float *) kv_keys(kv, w, page, head) + at;
			for (size_t i = 0; i < d; i++)
				to[i * tokens] = k[(size_t) head * d + i];
		} else {
			const uint16_t *from = (const uint16_t *) scratch + (size_t) head * d;
			uint16_t *to = (uint16_t *) kv_keys(kv, w, page, head) + at;
			for (size_t i = 0; i < d; i++)
				to[i * tokens] = from[i];
		}
		vector->from_float(kv->dtype, v + (size_t) head * d, w->head_dim,
			kv_values(kv, w, page, head) + at * d * dtype_bytes(kv->dtype));
	}
}

/* Copies keys and values of one KV head at positions 64·block … , up to `last`, as FP32; *keys says where they lie. */
static void copy_block(const struct attention_weights *w, const struct kv_view *kv, const struct segment *segment,
	const struct attend_tile *tile, int head, int block, int last, struct attend_keys *keys)
{
	size_t size = dtype_bytes(kv->dtype), d = (size_t) w->head_dim, padded = (size_t) tile->padded;
	int position = block * ATTEND_KEYS, end = position + ATTEND_KEYS <= last ? position + ATTEND_KEYS : last + 1;
	for (int at = 0; position < end;) {
		int first = position % kv->page_tokens, page = segment->pages[position / kv->page_tokens];
		int count = kv->page_tokens - first < end - position ? kv->page_tokens - first : end - position;
		vector->copy_rows(kv->dtype, kv_keys(kv, w, page, head) + (size_t) first * size,
			(size_t) kv->page_tokens, w->head_dim, count, tile->keys + at, ATTEND_KEYS);
		vector->copy_rows(kv->dtype, kv_values(kv, w, page, head) + (size_t) first * d * size, d, count,
			w->head_dim, tile->values + (size_t) at * padded, padded);
		position += count;
		at += count;
	}
	*keys = (struct attend_keys){.dtype = DTYPE_FP32, .key_step = ATTEND_KEYS, .value_step = padded};
	for (int run = 0; run < ATTEND_KEYS / VECTOR_LANES; run++) {
		keys->keys[run] = tile->keys + run * VECTOR_LANES;
		keys->values[run] = tile->values + run * VECTOR_LANES * tile->padded;
	}
}

/* The tile of one KV head: its part of the workspace. */
static struct attend_tile tile_of(
	const struct attention_weights *w, const struct attention_space *space, int rows, int head)
{
	int group = w->heads / w->kv_heads, padded = attention_padded(w);
	size_t first = (size_t) head * (size_t) group * ATTENTION_ROWS;
	return (struct attend_tile){
		.lanes = rows * group,
		.head_dim = w->head_dim,
		.padded = padded,
		.position = space->position,
		.q = space->q + first * (size_t) w->head_dim,
		.o = space->o + first * (size_t) padded,
		.maximum = space->maximum + first,
		.sum = space->sum + first * VECTOR_LANES,
		.keys = space->keys,
		.values = space->values,
		.scores = space->scores,
	};
}

static void start_tile(const struct attention_weights *w, const struct attention_space *space, const float *qkv,
	int rows, int position)
{
	size_t columns = (size_t) attention_columns(w), d = (size_t) w->head_dim;
	int group = w->heads / w->kv_heads;
	float factor = (float) (1.4426950408889634 / sqrt((double) w->head_dim)); /* weights are powers of 2 */
	for (int lane = 0; lane < rows * group; lane++)
		space->position[lane] = position + lane / group;
	if (w->head_dim % VECTOR_LANES) /* what copies of values leave out */
		memset(space->values, 0, (size_t) attention_padded(w) * ATTEND_KEYS * sizeof *space->values);
	for (int head = 0; head < w->kv_heads; head++) {
		struct attend_tile tile = tile_of(w, space, rows, head);
		float *q = space->q + (size_t) head * (size_t) group * ATTENTION_ROWS * d;
		for (size_t row = 0; row < (size_t) rows; row++, q += (size_t) group * d) {
			const float *from = qkv + row * columns + (size_t) head * (size_t) group * d;
			vector->multiply(from, factor, group * w->head_dim, q);
		}
		memset(tile.o, 0, (size_t) tile.lanes * (size_t) tile.padded * sizeof *tile.o);
		memset(tile.sum, 0, (size_t) tile.lanes * VECTOR_LANES * sizeof *tile.sum);
		for (int lane = 0; lane < tile.lanes; lane++)
			tile.maximum[lane] = -INFINITY;
	}
}

/* o divided by the sum of weights, as rows of the output projection's input. */
static void finish_tile(
	const struct attention_weights *w, const struct attention_space *space, int rows, char *context, size_t stride)
{
	int group = w->heads / w->kv_heads, d = w->head_dim;
	float *out = space->row;
	for (int row = 0; row < rows; row++) {
		for (int head = 0; head < w->heads; head++) {
			struct attend_tile tile = tile_of(w, space, rows, head / group);
			vector->attend_finish(&tile, row * group + head % group, out + head * d);
		}
		row_store(w->compute, out, w->heads * d, context + (size_t) row * stride * dtype_bytes(w->compute),
			stride);
	}
}

/* A single row goes through its pages once, straight from the pages where whole vectors lie in them: block by block, a few
 * heads at a time, each by runs of 16 keys. Runs that have keys to see are one sequence over the rows of the message, and
 * while one is worked on that which lies WALK_AHEAD behind it is asked for, be it of the row or of the next one: as many
 * lines are always on their way, however short a row's last block is. */
enum {
	WALK_HEADS = 2, /* at most ATTEND_LANES */
	WALK_AHEAD = 8, /* runs: of 2 KiB with heads of 32 in 16 bits */
	RUNS = ATTEND_KEYS / VECTOR_LANES,
};

struct walk {
	const struct attention_weights *w;
	const struct kv_view *kv;
	size_t head_bytes; /* of K, and of V, in a page */
};

/* A place in a segment's runs. */
struct spot {
	const struct segment *segment, *next; /* next: whose runs follow, or NULL */
	int last, block, head, run, runs;     /* last: position of the segment's row; runs: with keys to see in the block */
	const char *keys[RUNS], *values[RUNS]; /* of the block, of head 0 */
};

static void spot_enter(const struct walk *walk, struct spot *spot, int block)
{
	const struct attention_weights *w = walk->w;
	const struct kv_view *kv = walk->kv;
	size_t size = dtype_bytes(kv->dtype), d = (size_t) w->head_dim;
	int start = block * ATTEND_KEYS, left = (spot->last - start) / VECTOR_LANES + 1;
	spot->block = block;
	spot->runs = left < RUNS ? left : RUNS;
	for (int run = 0; run < spot->runs; run++) {
		int position = start + run * VECTOR_LANES, page = spot->segment->pages[position / kv->page_tokens];
		size_t first = (size_t) (position % kv->page_tokens);
		spot->keys[run] = kv_keys(kv, w, page, 0) + first * size;
		spot->values[run] = kv_values(kv, w, page, 0) + first * d * size;
	}
}

static void spot_start(const struct walk *walk, struct spot *spot, const struct segment *segment, int last,
	const struct segment *next)
{
	*spot = (struct spot){.segment = segment, .next = next, .last = last};
	spot_enter(walk, spot, 0);
}

/* On by one run; at the very end it stays. */
static void spot_advance(const struct walk *walk, struct spot *spot)
{
	if (++spot->run < spot->runs)
		return;
	spot->run = 0;
	if (++spot->head < walk->w->kv_heads)
		return;
	spot->head = 0;
	if (spot->block < spot->last / ATTEND_KEYS)
		spot_enter(walk, spot, spot->block + 1);
	else if (spot->next)
		spot_start(walk, spot, spot->next, spot->next->position, NULL);
}

/* The row at position `last` of `segment`. */
static void walk_pages(const struct walk *walk, const struct segment *segment, int last, const struct segment *next,
	const struct attention_space *space)
{
	const struct attention_weights *w = walk->w;
	int heads = w->kv_heads, most = w->heads == heads ? WALK_HEADS : 1;
	struct attend_keys keys[WALK_HEADS], after[WALK_HEADS];
	struct attend_tile tile[WALK_HEADS];
	struct spot own, ahead;
	spot_start(walk, &own, segment, last, NULL);
	spot_start(walk, &ahead, segment, last, next);
	for (int run = 0; run < WALK_AHEAD; run++)
		spot_advance(walk, &ahead);
	for (int i = 0; i < most; i++)
		keys[i] = after[i] = (struct attend_keys){.dtype = walk->kv->dtype,
			.key_step = (size_t) walk->kv->page_tokens,
			.value_step = (size_t) w->head_dim,
			.next = &after[i]};
	for (int block = 0; block <= last / ATTEND_KEYS; block++) {
		spot_enter(walk, &own, block);
		for (int head = 0; head < heads; head += most) {
			int count = heads - head < most ? heads - head : most;
			for (int i = 0; i < count; i++) {
				tile[i] = tile_of(w, space, 1, head + i);
				for (int run = 0; run < own.runs; run++) {
					size_t at = (size_t) (head + i) * walk->head_bytes;
					size_t then = (size_t) ahead.head * walk->head_bytes;
					keys[i].keys[run] = own.keys[run] + at;
					keys[i].values[run] = own.values[run] + at;
					after[i].keys[run] = ahead.keys[ahead.run] + then;
					after[i].values[run] = ahead.values[ahead.run] + then;
					spot_advance(walk, &ahead);
				}
			}
			if (w->heads == heads)
				vector->attend_heads(tile, keys, count, block);
			else
				vector->attend(tile, keys, block);
		}
	}
}

/* A few rows of one segment, head by head: a head's queries and results stay in the cache. */
static void run_tile(const struct attention_weights *w, const struct kv_view *kv, const struct segment *segment,
	const struct segment *next, const struct attention_space *space, const float *qkv, int rows, int position,
	char *context, size_t stride)
{
	int last = position + rows - 1, blocks = last / ATTEND_KEYS + 1;
	bool direct = kv->page_tokens % VECTOR_LANES == 0 && w->head_dim % VECTOR_LANES == 0;
	start_tile(w, space, qkv, rows, position);
	if (rows == 1 && direct)
		walk_pages(&(struct walk){w, kv, kv_page_bytes(1, kv->page_tokens, w->head_dim, kv->dtype) / 2},
			segment, last, next, space);
	else
		for (int head = 0; head < w->kv_heads; head++) {
			struct attend_tile tile = tile_of(w, space, rows, head);
			struct attend_keys keys;
			for (int block = 0; block < blocks; block++) {
				copy_block(w, kv, segment, &tile, head, block, last, &keys);
				vector->attend(&tile, &keys, block);
			}
		}
	finish_tile(w, space, rows, context, stride);
}

/* Turns, appends and attends rows first … first + rows − 1 (own indices), which lie projected in qkv; then projects
 * the result into a->partial. `segment` is where the search for their segments starts; returns where the next does. */
static int attend_rows(const struct attention_args *a, const struct attention_space *space, int first, int rows,
	float *qkv, const float *squares, int s)
{
	const struct attention_weights *w = a->weights;
	size_t columns = (size_t) attention_columns(w), stride = gemm_stride(w->heads * w->head_dim, w->compute);
	float *out = a->partial + (size_t) first * (size_t) w->hidden;
	for (; s < a->segments; s++) {
		const struct segment *segment = &a->segment[s];
		int start = segment->row - a->row_base, stop = start + segment->rows,
		    end = stop < first + rows ? stop : first + rows;
		int row = start > first ? start : first;
		for (int i = row; i < end; i++) {
			float *own = qkv + (size_t) (i - first) * columns;
			attention_turn(w, own, squares + 2 * (size_t) (i - first), segment->position + i - start);
			attention_append(w, &a->kv, own, segment, segment->position + i - start, space->row);
		}
		if (row < end)
			run_tile(w, &a->kv, segment, s + 1 < a->segments && segment[1].rows == 1 ? segment + 1 : NULL,
				space, qkv + (size_t) (row - first) * columns, end - row,
				segment->position + row - start,
				(char *) space->context + (size_t) (row - first) * stride * dtype_bytes(w->compute),
				stride);
		if (stop > first + rows)
			break;
	}
	gemm_run(&w->output, space->context, stride, rows, out, (size_t) w->hidden);
	for (int row = 0; w->output_bias && row < rows; row++)
		vector->add(out + (size_t) row * (size_t) w->hidden, w->output_bias, w->hidden);
	return s;
}

/* How many rows from `first` on go together; `segment` is theirs, or an earlier one. */
static int rows_together(const struct attention_args *a, int first, int segment)
{
	int most = ATTENTION_SINGLES;
	for (int s = segment; s < a->segments && a->segment[s].row - a->row_base < first + most; s++)
		if (a->segment[s].rows > 1 && a->segment[s].row + a->segment[s].rows - a->row_base > first)
			most = ATTENTION_ROWS;
	return a->rows - first < most ? a->rows - first : most;
}

void attend_cpu(const struct attention_args *a)
{
	struct attention_space space;
	size_t columns = (size_t) attention_columns(a->weights);
	attention_lay_out(a->weights, a->workspace, &space);
	for (int row = 0, rows, s = 0; row < a->rows; row += rows) {
		rows = rows_together(a, row, s);
		memcpy(space.qkv, a->qkv + (size_t) row * columns, (size_t) rows * columns * sizeof *space.qkv);
		s = attend_rows(
			a, &space, row, rows, space.qkv, a->squares ? a->squares + 2 * (size_t) row : space.squares, s);
	}
}

/* Pages that single rows among `rows` from `first` on will go through, as many as passes of the projection can ask for:
 * it multiplies while memory is idle, they wait for memory. `segment` as in attend_rows. */
enum { SOON_PAGES = 512 };

static int pages_soon(const struct attention_args *a, int first, int rows, int segment, const void **page)
{
	int count = 0;
	for (int s = segment; s < a->segments && a->segment[s].row - a->row_base < first + rows; s++) {
		const struct segment *own = &a->segment[s];
		for (int i = 0; own->rows == 1 && i <= own->position / a->kv.page_tokens && count < SOON_PAGES; i++)
			page[count++] = kv_keys(&a->kv, a->weights, own->pages[i], 0);
	}
	return count;
}

void attention_cpu(const struct attention_args *a)
{
	const struct attention_weights *w = a->weights;
	const void *page[SOON_PAGES];
	struct attention_space space;
	attention_lay_out(a->weights, a->workspace, &space);
	for (int row = 0, rows, s = 0; row < a->rows; row += rows) {
		rows = rows_together(a, row, s);
		struct gemm_soon soon = {.piece = page, .pieces = pages_soon(a, row, rows, s, page),
			.bytes = kv_page_bytes(w->kv_heads, a->kv.page_tokens, w->head_dim, a->kv.dtype)};
		attention_project(w, &space, a->x + (size_t) row * (size_t) w->hidden, rows, space.qkv, space.squares,
			&soon);
		s = attend_rows(a, &space, row, rows, space.qkv, space.squares, s);
	}
}
