/* SPDX-License-Identifier: Apache-2.0
 *
 * The inner loops of attention over one block of keys, part of vector_body.h: scores, weights, sums of values.
 *
 * A score is a sum over head_dim in order, an element of a query's output one over keys in order, whatever tile of
 * registers it falls in: `lanes` queries by `vecs` vectors of keys or of the output. The rows of a tile read copies in
 * FP32 that were made once for all; a single row's query heads read the page itself.
 *
 * Instructions for 16 keys of a query with AVX-512: 2 · head_dim multiply-adds, of which 2 can start in a cycle, and
 * 14 for the weights (7 of them on the multipliers), so head_dim 32 reaches at most 0.9 of the multiply-add limit; a
 * copy adds 4 · head_dim for 16 keys, which up to 96 rows share. A single row is bound by reading pages. Products
 * stay in FP32 whatever `compute` is: emulated BF16 ones raised errors of tests/test_half by up to 40 %. */

/* Lanes of a tile: 16 sums where there are 32 registers, 8 where there are 16. */
enum { TILE_LANES = LANES == 16 ? 8 : 4, TILE_SUMS = 2 * TILE_LANES, HEADS_AT_ONCE = 2 /* 8 sums of scores */ };

INLINE vec v_load_as(enum dtype dtype, const void *p, size_t at)
{
	return dtype == DTYPE_FP32   ? v_load((const float *) p + at)
	       : dtype == DTYPE_FP16 ? v_load_fp16((const uint16_t *) p + at)
				     : v_load_bf16((const uint16_t *) p + at);
}

/* `count` rows of n elements, `from_step` and `to_step` elements apart */
INLINE void copy_rows_as(
	enum dtype dtype, const void *from, size_t from_step, int count, int n, float *to, size_t to_step)
{
	const char *row = from;
	for (int r = 0; r < count; r++, row += from_step * dtype_bytes(dtype), to += to_step) {
		int i = 0;
		for (; i + LANES <= n; i += LANES)
			v_store(to + i, v_load_as(dtype, row, (size_t) i));
		if (i < n)
			to_float(dtype, row + (size_t) i * dtype_bytes(dtype), n - i, to + i);
	}
}

static TARGET void copy_rows(
	enum dtype dtype, const void *from, size_t from_step, int count, int n, float *to, size_t to_step)
{
	switch (dtype) {
	case DTYPE_FP32:
		copy_rows_as(DTYPE_FP32, from, from_step, count, n, to, to_step);
		break;
	case DTYPE_FP16:
		copy_rows_as(DTYPE_FP16, from, from_step, count, n, to, to_step);
		break;
	case DTYPE_BF16:
		copy_rows_as(DTYPE_BF16, from, from_step, count, n, to, to_step);
		break;
	case DTYPE_INT8: /* no KV is stored so */
		break;
	}
}

/* Whether the row at `row` · `step` elements begins a line of 64 bytes that the row before did not. */
INLINE bool next_line(enum dtype dtype, size_t row, size_t step)
{
	return row * step * dtype_bytes(dtype) % 64 < step * dtype_bytes(dtype);
}

INLINE void ask_for(enum dtype dtype, const void *p, size_t at)
{
	__builtin_prefetch((const char *) p + at * dtype_bytes(dtype));
}

/* ---- scores */

INLINE void scores_tile(enum dtype dtype, bool ahead, const struct attend_tile *tile, const struct attend_keys *keys,
	int lanes, int lane, int vecs, int at)
{
	size_t d = (size_t) tile->head_dim, step = keys->key_step, k = 0;
	const float *q = tile->q + (size_t) lane * d;
	const char *from[4], *next[4];
	vec sum[16], key[4];
	EACH (s, lanes * vecs)
		sum[s] = v_set(0);
	EACH (v, vecs) {
		int run = (at + v * LANES) / VECTOR_LANES, first = (at + v * LANES) % VECTOR_LANES;
		from[v] = (const char *) keys->keys[run] + (size_t) first * dtype_bytes(dtype);
		next[v] = ahead ? (const char *) keys->next->keys[run] : NULL;
	}
	for (size_t i = 0; i < d; i++, k += step) {
		if (ahead && next_line(dtype, i, step))
			EACH (v, vecs)
				if (v % (VECTOR_LANES / LANES) == 0)
					ask_for(dtype, next[v], k);
		EACH (v, vecs)
			key[v] = v_load_as(dtype, from[v], k);
		EACH (l, lanes) {
			vec x = v_set(q[(size_t) l * d + i]);
			EACH (v, vecs)
				sum[l * vecs + v] = v_fma(x, key[v], sum[l * vecs + v]);
		}
	}
	EACH (l, lanes)
		EACH (v, vecs)
			v_store(tile->scores + l * ATTEND_KEYS + at + v * LANES, sum[l * vecs + v]);
}

/* scores[lanes][ATTEND_KEYS], the first `seen` */
INLINE void scores_of(enum dtype dtype, bool ahead, const struct attend_tile *tile, const struct attend_keys *keys,
	int lanes, int lane, int seen)
{
	int at = 0;
	if (lanes * 4 <= TILE_SUMS)
		for (; at + 4 * LANES <= seen; at += 4 * LANES)
			scores_tile(dtype, ahead, tile, keys, lanes, lane, 4, at);
	for (; at + 2 * LANES <= seen; at += 2 * LANES)
		scores_tile(dtype, ahead, tile, keys, lanes, lane, 2, at);
	for (; at < seen; at += LANES)
		scores_tile(dtype, ahead, tile, keys, lanes, lane, 1, at);
}

/* ---- weights */

/* 2^t for t ≤ 127, relative error below 3e-7 and exactly 0 where t < −126: 2^n · p(r), r in [−1/2, 1/2], p the minimax
 * polynomial of degree 5 (error 8e-8). */
INLINE vec v_weight(vec t)
{
	vec n = v_round(t), r = t - n;
	vec p = v_fma(v_set(1.32764725e-3f), r, v_set(9.67554096e-3f));
	p = v_fma(p, r, v_set(5.55071309e-2f));
	p = v_fma(p, r, v_set(2.40221202e-1f));
	p = v_fma(p, r, v_set(6.93146944e-1f));
	return v_scale2(v_fma(p, r, v_set(1.00000012f)), n, t);
}

/* Sums so far scaled from one reference score to another. */
static TARGET void rescale(const struct attend_tile *tile, int lane, float by)
{
	float *sum = tile->sum + (size_t) lane * VECTOR_LANES, *o = tile->o + (size_t) lane * tile->padded;
	vec factor = v_weight(v_set(by));
	for (int i = 0; i < VECTOR_LANES; i += LANES)
		v_store(sum + i, v_load(sum + i) * factor);
	for (int i = 0; i < tile->padded; i += LANES)
		v_store(o + i, v_load(o + i) * factor);
}

/* Turns the scores of one lane into weights 2^(score − reference). The reference is the largest score so far when
 * one last exceeded it by ATTEND_SLACK: weights up to 2^ATTEND_SLACK are as exact, and most blocks leave it alone. */
INLINE void weights_until(const struct attend_tile *tile, int lane, float *scores, int end)
{
	float *sum = tile->sum + (size_t) lane * VECTOR_LANES, reference = tile->maximum[lane];
	vec top = v_load(scores);
	for (int j = LANES; j < end; j += LANES)
		top = v_max(top, v_load(scores + j));
	if (!v_all_below(top, reference + (float) ATTEND_SLACK)) {
		float most = v_reduce_max(top);
		if (most > reference) {
			if (reference > -__builtin_inff()) /* else nothing is summed yet */
				rescale(tile, lane, reference - most);
			tile->maximum[lane] = reference = most;
		}
	}
	vec shift = v_set(reference), total = v_load(sum);
	for (int j = 0; j < end; j += LANES) {
		vec weight = v_weight(v_load(scores + j) - shift);
		v_store(scores + j, weight);
		total = total + weight;
	}
	v_store(sum, total);
}

/* The first `count` scores; keys that are not seen are −∞: they add +0 to sums and are left out of values altogether. */
INLINE void weights_of(const struct attend_tile *tile, int lane, float *scores, int count)
{
	int end = (count + LANES - 1) / LANES * LANES;
	if (count == ATTEND_KEYS) {
		weights_until(tile, lane, scores, ATTEND_KEYS);
		return;
	}
	if (count < end)
		v_store(scores + end - LANES,
			v_keep(v_load(scores + end - LANES), LANES - (end - count), v_set(-__builtin_inff())));
	weights_until(tile, lane, scores, end);
}

/* ---- sums of values */

/* o[lanes][vecs · LANES] from column `column` on += weights[lanes][ATTEND_KEYS] · values, of keys from … to − 1 */
INLINE void values_tile(enum dtype dtype, bool ahead, const struct attend_tile *tile, const struct attend_keys *keys,
	int lanes, int lane, int vecs, int column, const float *weights, int from, int to)
{
	size_t padded = (size_t) tile->padded;
	float *o = tile->o + (size_t) lane * padded + column;
	vec sum[16], value[4];
	EACH (l, lanes)
		EACH (v, vecs)
			sum[l * vecs + v] = v_load(o + (size_t) l * padded + v * LANES);
	while (from < to) {
		int run = from / VECTOR_LANES, end = (run + 1) * VECTOR_LANES < to ? (run + 1) * VECTOR_LANES : to;
		size_t at = (size_t) (from % VECTOR_LANES) * keys->value_step + (size_t) column;
		for (; from < end; from++, at += keys->value_step) {
			if (ahead)
				EACH (v, vecs)
					if (v % (64 / LANES / (int) dtype_bytes(dtype)) == 0)
						ask_for(dtype, keys->next->values[run], at + (size_t) (v * LANES));
			EACH (v, vecs)
				value[v] = v_load_as(dtype, keys->values[run], at + (size_t) (v * LANES));
			EACH (l, lanes) {
				vec w = v_set(weights[l * ATTEND_KEYS + from]);
				EACH (v, vecs)
					sum[l * vecs + v] = v_fma(w, value[v], sum[l * vecs + v]);
			}
		}
	}
	EACH (l, lanes)
		EACH (v, vecs)
			v_store(o + (size_t) l * padded + v * LANES, sum[l * vecs + v]);
}

INLINE void values_of(enum dtype dtype, bool ahead, const struct attend_tile *tile, const struct attend_keys *keys,
	int lanes, int lane, const float *weights, int from, int to)
{
	int column = 0, columns = tile->padded;
	if (lanes * 4 <= TILE_SUMS)
		for (; column + 4 * LANES <= columns; column += 4 * LANES)
			values_tile(dtype, ahead, tile, keys, lanes, lane, 4, column, weights, from, to);
	for (; column + 2 * LANES <= columns; column += 2 * LANES)
		values_tile(dtype, ahead, tile, keys, lanes, lane, 2, column, weights, from, to);
	for (; column < columns; column += LANES)
		values_tile(dtype, ahead, tile, keys, lanes, lane, 1, column, weights, from, to);
}

/* ---- a block */

/* `lanes` queries from `lane` on, as far as each sees the block. */
INLINE void attend_lanes(enum dtype dtype, bool ahead, const struct attend_tile *tile, const struct attend_keys *keys,
	int lanes, int lane, int first)
{
	int count[ATTEND_LANES], most = 0, least = ATTEND_KEYS;
	for (int l = 0; l < lanes; l++) {
		count[l] = tile->position[lane + l] - first + 1;
		count[l] = count[l] > ATTEND_KEYS ? ATTEND_KEYS : count[l] < 0 ? 0 : count[l];
		least = count[l] < least ? count[l] : least;
		most = count[l] > most ? count[l] : most;
	}
	if (!most)
		return;
	scores_of(dtype, ahead, tile, keys, lanes, lane, (most + LANES - 1) / LANES * LANES);
	for (int l = 0; l < lanes; l++)
		if (count[l])
			weights_of(tile, lane + l, tile->scores + l * ATTEND_KEYS, count[l]);
	if (least)
		values_of(dtype, ahead, tile, keys, lanes, lane, tile->scores, 0, least);
	for (int l = 0; l < lanes; l++)
		if (count[l] > least)
			values_of(
				dtype, ahead, tile, keys, 1, lane + l, tile->scores + l * ATTEND_KEYS, least, count[l]);
}

INLINE void attend_as(
	enum dtype dtype, bool ahead, const struct attend_tile *tile, const struct attend_keys *keys, int block)
{
	int lane = 0, first = block * ATTEND_KEYS;
	for (; lane + TILE_LANES <= tile->lanes; lane += TILE_LANES)
		attend_lanes(dtype, ahead, tile, keys, TILE_LANES, lane, first);
	for (; TILE_LANES > 4 && lane + 4 <= tile->lanes; lane += 4)
		attend_lanes(dtype, ahead, tile, keys, 4, lane, first);
	for (; lane + 2 <= tile->lanes; lane += 2)
		attend_lanes(dtype, ahead, tile, keys, 2, lane, first);
	for (; lane < tile->lanes; lane++)
		attend_lanes(dtype, ahead, tile, keys, 1, lane, first);
}

static TARGET void attend(const struct attend_tile *tile, const struct attend_keys *keys, int block)
{
	switch (keys->dtype) {
	case DTYPE_FP32:
		if (keys->next)
			attend_as(DTYPE_FP32, true, tile, keys, block);
		else
			attend_as(DTYPE_FP32, false, tile, keys, block);
		break;
	case DTYPE_FP16:
		attend_as(DTYPE_FP16, true, tile, keys, block);
		break;
	case DTYPE_BF16:
		attend_as(DTYPE_BF16, true, tile, keys, block);
		break;
	case DTYPE_INT8: /* no KV is stored so */
		break;
	}
}

/* ---- a single query of each of several KV heads: their sums are as many chains of multiply-adds that wait for nothing but
 * themselves, where one head's would have the CPU wait. Each element is summed as above. */

INLINE void scores_of_heads(
	enum dtype dtype, const struct attend_tile *tile, const struct attend_keys *keys, int heads, int vecs, int at)
{
	size_t d = (size_t) tile->head_dim, step = keys->key_step, k = 0;
	vec sum[16];
	EACH (s, heads * vecs)
		sum[s] = v_set(0);
	for (size_t i = 0; i < d; i++, k += step) {
		if (next_line(dtype, i, step))
			EACH (h, heads)
				EACH (v, vecs)
					if (v % (VECTOR_LANES / LANES) == 0)
						ask_for(dtype, keys[h].next->keys[(at + v * LANES) / VECTOR_LANES], k);
		EACH (h, heads) {
			vec x = v_set(tile[h].q[i]);
			EACH (v, vecs) {
				int run = (at + v * LANES) / VECTOR_LANES, first = (at + v * LANES) % VECTOR_LANES;
				vec key = v_load_as(dtype, keys[h].keys[run], k + (size_t) first);
				sum[h * vecs + v] = v_fma(x, key, sum[h * vecs + v]);
			}
		}
	}
	EACH (h, heads)
		EACH (v, vecs)
			v_store(tile->scores + h * ATTEND_KEYS + at + v * LANES, sum[h * vecs + v]);
}

/* o[heads][vecs · LANES] from column `column` on += weights[heads][ATTEND_KEYS] · values, of keys 0 … to − 1 */
INLINE void values_of_heads(enum dtype dtype, const struct attend_tile *tile, const struct attend_keys *keys, int heads,
	int vecs, int column, int to)
{
	const float *weights = tile->scores;
	vec sum[16];
	EACH (h, heads)
		EACH (v, vecs)
			sum[h * vecs + v] = v_load(tile[h].o + column + v * LANES);
	for (int from = 0; from < to;) {
		int run = from / VECTOR_LANES, end = from + VECTOR_LANES < to ? from + VECTOR_LANES : to;
		size_t at = (size_t) column;
		for (; from < end; from++, at += keys->value_step)
			EACH (h, heads) {
				vec w = v_set(weights[h * ATTEND_KEYS + from]);
				EACH (v, vecs) {
					if (v % (64 / LANES / (int) dtype_bytes(dtype)) == 0)
						ask_for(dtype, keys[h].next->values[run], at + (size_t) (v * LANES));
					vec value = v_load_as(dtype, keys[h].values[run], at + (size_t) (v * LANES));
					sum[h * vecs + v] = v_fma(w, value, sum[h * vecs + v]);
				}
			}
	}
	EACH (h, heads)
		EACH (v, vecs)
			v_store(tile[h].o + column + v * LANES, sum[h * vecs + v]);
}

INLINE void attend_heads_as(
	enum dtype dtype, const struct attend_tile *tile, const struct attend_keys *keys, int heads, int block)
{
	int count = tile->position[0] - block * ATTEND_KEYS + 1, at = 0, column = 0;
	count = count > ATTEND_KEYS ? ATTEND_KEYS : count;
	for (; at + 4 * LANES <= (count + LANES - 1) / LANES * LANES; at += 4 * LANES)
		scores_of_heads(dtype, tile, keys, heads, 4, at);
	for (; at < count; at += LANES)
		scores_of_heads(dtype, tile, keys, heads, 1, at);
	EACH (h, heads)
		weights_of(&tile[h], 0, tile->scores + h * ATTEND_KEYS, count);
	for (; column + 2 * LANES <= tile->padded; column += 2 * LANES)
		values_of_heads(dtype, tile, keys, heads, 2, column, count);
	for (; column < tile->padded; column += LANES)
		values_of_heads(dtype, tile, keys, heads, 1, column, count);
}

INLINE void attend_all_heads(
	enum dtype dtype, const struct attend_tile *tile, const struct attend_keys *keys, int heads, int block)
{
	for (; heads >= HEADS_AT_ONCE; heads -= HEADS_AT_ONCE, tile += HEADS_AT_ONCE, keys += HEADS_AT_ONCE)
		attend_heads_as(dtype, tile, keys, HEADS_AT_ONCE, block);
	for (; heads > 0; heads--, tile++, keys++)
		attend_heads_as(dtype, tile, keys, 1, block);
}

static TARGET void attend_heads(const struct attend_tile *tile, const struct attend_keys *keys, int heads, int block)
{
	switch (keys->dtype) {
	case DTYPE_FP32:
		attend_all_heads(DTYPE_FP32, tile, keys, heads, block);
		break;
	case DTYPE_FP16:
		attend_all_heads(DTYPE_FP16, tile, keys, heads, block);
		break;
	case DTYPE_BF16:
		attend_all_heads(DTYPE_BF16, tile, keys, heads, block);
		break;
	case DTYPE_INT8: /* no KV is stored so */
		break;
	}
}

static TARGET void attend_finish(const struct attend_tile *tile, int lane, float *out)
{
	const float *sum = tile->sum + (size_t) lane * VECTOR_LANES;
	vec total = v_load(sum);
	for (int i = LANES; i < VECTOR_LANES; i += LANES)
		total = total + v_load(sum + i);
	multiply(tile->o + (size_t) lane * tile->padded, 1 / v_reduce_add(total), tile->head_dim, out);
}
