/* SPDX-License-Identifier: Apache-2.0
 *
 * The inner loops of attention over one block of keys, part of vector_body.h. Scores are sums over head_dim in order, a
 * query's output a sum over keys in order: in tiles of four queries or for one, from copies or out of the pages. */

static TARGET void load_keys(const struct attend_tile *tile, enum dtype dtype, const void *page, int page_tokens,
	int first, int count, int at)
{
	float *keys = tile->keys + at;
	int whole = count / LANES * LANES;
	for (int i = 0; i < tile->head_dim; i++, keys += ATTEND_KEYS) {
		size_t from = (size_t) i * page_tokens + first;
		int t = 0;
		if (dtype == DTYPE_FP32) {
			const float *src = (const float *) page + from;
			for (; t < whole; t += LANES)
				v_store(keys + t, v_load(src + t));
			for (; t < count; t++)
				keys[t] = src[t];
		} else if (dtype == DTYPE_FP16) {
			const uint16_t *src = (const uint16_t *) page + from;
			for (; t < whole; t += LANES)
				v_store(keys + t, v_load_fp16(src + t));
			for (; t < count; t++)
				keys[t] = fp16_to_float(src[t]);
		} else {
			const uint16_t *src = (const uint16_t *) page + from;
			for (; t < whole; t += LANES)
				v_store(keys + t, v_load_bf16(src + t));
			for (; t < count; t++)
				keys[t] = bf16_to_float(src[t]);
		}
	}
}

static TARGET void load_values(const struct attend_tile *tile, enum dtype dtype, const void *rows, int count, int at)
{
	float *values = tile->values + (size_t) at * tile->padded;
	size_t bytes = (size_t) tile->head_dim * dtype_bytes(dtype);
	for (int t = 0; t < count; t++, values += tile->padded) {
		to_float(dtype, (const char *) rows + (size_t) t * bytes, tile->head_dim, values);
		for (int i = tile->head_dim; i < tile->padded; i++)
			values[i] = 0;
	}
}

/* Turns `count` scores of one lane into weights 2^(score − maximum), after scaling what was summed so far to the
 * new maximum. Keys that are not seen are −∞: they add +0 to sums and are left out of values altogether. */
INLINE void attend_weights(const struct attend_tile *tile, int lane, float *scores, int count)
{
	float *sum = tile->sum + (size_t) lane * VECTOR_LANES;
	int end = (count + LANES - 1) / LANES * LANES;
	if (count < end)
		v_store(scores + end - LANES,
			v_keep(v_load(scores + end - LANES), LANES - (end - count), v_set(-__builtin_inff())));
	vec top = v_load(scores);
	for (int j = LANES; j < end; j += LANES)
		top = v_max(top, v_load(scores + j));
	float maximum = v_reduce_max(top), before = tile->maximum[lane];
	if (maximum > before) {
		vec factor = v_exp2(v_set(before - maximum));
		float *o = tile->o + (size_t) lane * tile->padded;
		v_store(sum, v_load(sum) * factor);
		for (int i = 0; i < tile->padded; i += LANES)
			v_store(o + i, v_load(o + i) * factor);
		tile->maximum[lane] = maximum;
	} else
		maximum = before;
	vec shift = v_set(maximum), total = v_load(sum);
	for (int j = 0; j < end; j += LANES) {
		vec weight = v_exp2(v_load(scores + j) - shift);
		v_store(scores + j, weight);
		total = total + weight;
	}
	v_store(sum, total);
}

static TARGET void attend(const struct attend_tile *tile, int block)
{
	int first = block * ATTEND_KEYS, d = tile->head_dim, padded = tile->padded;
	for (int lane = 0; lane < tile->lanes; lane += 4) {
		int n = tile->lanes - lane < 4 ? tile->lanes - lane : 4, count[4], most = 0, least = ATTEND_KEYS;
		for (int i = 0; i < n; i++) {
			count[i] = tile->position[lane + i] - first + 1;
			if (count[i] > ATTEND_KEYS)
				count[i] = ATTEND_KEYS;
			if (count[i] < least)
				least = count[i];
			if (count[i] > most)
				most = count[i];
		}
		if (most <= 0)
			continue;
		if (n < 4 || least < 0)
			least = 0; /* one lane after the other */
		int seen = (most + LANES - 1) / LANES * LANES;
		const float *q = tile->q + (size_t) lane * d;
		float *o = tile->o + (size_t) lane * padded;
		if (least > 0)
			product_4(q, (size_t) d, d, tile->keys, ATTEND_KEYS, seen, tile->scores, ATTEND_KEYS, false);
		for (int i = 0; i < n; i++) {
			float *scores = tile->scores + i * ATTEND_KEYS;
			if (count[i] <= 0)
				continue;
			if (!least)
				product_1(q + (size_t) i * d, d, tile->keys, ATTEND_KEYS, seen, scores, false);
			attend_weights(tile, lane + i, scores, count[i]);
		}
		if (least > 0)
			product_4(tile->scores, ATTEND_KEYS, least, tile->values, (size_t) padded, padded, o,
				(size_t) padded, true);
		for (int i = 0; i < n; i++)
			if (count[i] > least)
				product_1(tile->scores + i * ATTEND_KEYS + least, count[i] - least,
					tile->values + (size_t) least * padded, (size_t) padded, padded,
					o + (size_t) i * padded, true);
	}
}

INLINE vec v_load_as(enum dtype dtype, const void *p, size_t at)
{
	return dtype == DTYPE_FP32   ? v_load((const float *) p + at)
	       : dtype == DTYPE_FP16 ? v_load_fp16((const uint16_t *) p + at)
				     : v_load_bf16((const uint16_t *) p + at);
}

/* The LANES tokens from token `at` of the block on. */
INLINE const void *run_of(enum dtype dtype, const void *const *runs, int at, size_t step)
{
	return (const char *) runs[at / VECTOR_LANES] + (size_t) (at % VECTOR_LANES) * step * dtype_bytes(dtype);
}

/* scores[ATTEND_KEYS] of one query: what product_1 computes from copied keys, to the bit. */
INLINE void scores_of(
	enum dtype dtype, const struct attend_pages *pages, const float *q, int d, int seen, float *scores)
{
	size_t tokens = (size_t) pages->page_tokens;
	int j = 0;
	for (; j + 4 * LANES <= seen; j += 4 * LANES) {
		const void *k0 = run_of(dtype, pages->keys, j, 1), *k1 = run_of(dtype, pages->keys, j + LANES, 1);
		const void *k2 = run_of(dtype, pages->keys, j + 2 * LANES, 1),
			   *k3 = run_of(dtype, pages->keys, j + 3 * LANES, 1);
		vec s0 = v_set(0), s1 = s0, s2 = s0, s3 = s0;
		size_t at = 0;
		for (int i = 0; i < d; i++, at += tokens) {
			vec v = v_set(q[i]);
			s0 = v_fma(v, v_load_as(dtype, k0, at), s0), s1 = v_fma(v, v_load_as(dtype, k1, at), s1);
			s2 = v_fma(v, v_load_as(dtype, k2, at), s2), s3 = v_fma(v, v_load_as(dtype, k3, at), s3);
		}
		v_store(scores + j, s0), v_store(scores + j + LANES, s1);
		v_store(scores + j + 2 * LANES, s2), v_store(scores + j + 3 * LANES, s3);
	}
	for (; j < seen; j += LANES) {
		const void *k0 = run_of(dtype, pages->keys, j, 1);
		vec s = v_set(0);
		size_t at = 0;
		for (int i = 0; i < d; i++, at += tokens)
			s = v_fma(v_set(q[i]), v_load_as(dtype, k0, at), s);
		v_store(scores + j, s);
	}
}

/* o[d] += weights[count] · values, `n` vectors of o at a time */
INLINE void sum_values(
	enum dtype dtype, const struct attend_pages *pages, const float *weights, int count, size_t d, float *o, int n)
{
	vec s0 = v_load(o), s1 = n > 1 ? v_load(o + LANES) : s0;
	vec s2 = n > 2 ? v_load(o + 2 * LANES) : s0, s3 = n > 2 ? v_load(o + 3 * LANES) : s0;
	for (int first = 0; first < count; first += VECTOR_LANES) {
		const void *values = pages->values[first / VECTOR_LANES];
		int end = count - first < VECTOR_LANES ? count - first : VECTOR_LANES;
		size_t at = 0;
		for (int t = 0; t < end; t++, at += d) {
			vec v = v_set(weights[first + t]);
			s0 = v_fma(v, v_load_as(dtype, values, at), s0);
			if (n > 1)
				s1 = v_fma(v, v_load_as(dtype, values, at + LANES), s1);
			if (n > 2) {
				s2 = v_fma(v, v_load_as(dtype, values, at + 2 * LANES), s2);
				s3 = v_fma(v, v_load_as(dtype, values, at + 3 * LANES), s3);
			}
		}
	}
	v_store(o, s0);
	if (n > 1)
		v_store(o + LANES, s1);
	if (n > 2)
		v_store(o + 2 * LANES, s2), v_store(o + 3 * LANES, s3);
}

INLINE void attend_one_as(enum dtype dtype, const struct attend_tile *tile, const struct attend_pages *pages, int block)
{
	int count = tile->position[0] - block * ATTEND_KEYS + 1, d = tile->head_dim, i = 0;
	if (count > ATTEND_KEYS)
		count = ATTEND_KEYS;
	if (count <= 0)
		return;
	scores_of(dtype, pages, tile->q, d, (count + LANES - 1) / LANES * LANES, tile->scores);
	attend_weights(tile, 0, tile->scores, count);
	struct attend_pages part = *pages;
	for (int left = d / LANES; left;) {
		int n = left >= 4 ? 4 : left >= 2 ? 2 : 1;
		if (n == 4)
			sum_values(dtype, &part, tile->scores, count, (size_t) d, tile->o + i, 4);
		else if (n == 2)
			sum_values(dtype, &part, tile->scores, count, (size_t) d, tile->o + i, 2);
		else
			sum_values(dtype, &part, tile->scores, count, (size_t) d, tile->o + i, 1);
		for (int run = 0; run * VECTOR_LANES < count; run++)
			part.values[run] = (const char *) part.values[run] + (size_t) (n * LANES) * dtype_bytes(dtype);
		left -= n;
		i += n * LANES;
	}
}

static TARGET void attend_one(const struct attend_tile *tile, const struct attend_pages *pages, int block)
{
	switch (pages->dtype) {
	case DTYPE_FP32:
		attend_one_as(DTYPE_FP32, tile, pages, block);
		break;
	case DTYPE_FP16:
		attend_one_as(DTYPE_FP16, tile, pages, block);
		break;
	case DTYPE_BF16:
		attend_one_as(DTYPE_BF16, tile, pages, block);
		break;
	case DTYPE_INT8: /* no KV is stored so */
		break;
	}
}
