/* SPDX-License-Identifier: Apache-2.0
 *
 * FLOPs and bytes of each kind of task from its shapes; the header derives them. */
#include "tasks/work.h"
#include <math.h>

static double size_of(enum dtype dtype)
{
	return (double) dtype_bytes(dtype);
}

/* Of `rows` rows those that lie in a band. */
static double in_band(int band, double rows)
{
	double from = band ? curve_band_rows[band - 1] : 0;
	return fmin(fmax(rows - from, 0), curve_band_rows[band] - from);
}

/* A product of `rows` rows with so many weights. */
static void add_gemm(struct work *work, double weights, double rows)
{
	work->flops += 2 * rows * weights;
	for (int i = 0; i < CURVE_ROW_BANDS; i++)
		work->band_flops[i] += 2 * in_band(i, rows) * weights;
}

void expert_rows_add(struct expert_rows *rows, double groups, double each)
{
	rows->rows += groups * each;
	rows->groups += each > 0 ? groups : 0;
	for (int i = 0; i < CURVE_ROW_BANDS; i++)
		rows->band[i] += groups * in_band(i, each);
}

struct work work_qkv(const struct attention_shape *s, double rows)
{
	double d = s->head_dim, weights = s->hidden * d * (s->heads + 2.0 * s->kv_heads);
	struct work work = {
		.bytes = weights * size_of(s->compute) + rows * s->hidden * size_of(s->residual)
			+ 2 * rows * s->kv_heads * d * size_of(s->kv),
		.weight_bytes = weights * size_of(s->compute),
	};
	add_gemm(&work, weights, rows);
	return work;
}

struct work work_attend(const struct attention_shape *s, double rows, double keys, double kv_tokens)
{
	double query = (double) s->heads * s->head_dim, weights = query * s->hidden;
	struct work work = {
		.flops = 4 * keys * query,
		.bytes = weights * size_of(s->compute) + 2 * kv_tokens * s->kv_heads * s->head_dim * size_of(s->kv)
			+ rows * s->hidden * size_of(s->residual),
		.key_flops = 4 * keys * query,
		.weight_bytes = weights * size_of(s->compute),
		.kv_bytes = 2 * kv_tokens * s->kv_heads * s->head_dim * size_of(s->kv),
	};
	add_gemm(&work, weights, rows);
	return work;
}

struct work work_attention(const struct attention_shape *s, double rows, double keys, double kv_tokens)
{
	struct work qkv = work_qkv(s, rows), attend = work_attend(s, rows, keys, kv_tokens);
	attend.flops += qkv.flops;
	attend.bytes += qkv.bytes;
	attend.weight_bytes += qkv.weight_bytes;
	for (int i = 0; i < CURVE_ROW_BANDS; i++)
		attend.band_flops[i] += qkv.band_flops[i];
	return attend;
}

struct work work_route(int hidden, int experts, enum dtype compute, enum dtype residual, double rows)
{
	return (struct work){
		.flops = rows * (2.0 * hidden * experts + 4.0 * hidden),
		.bytes = 4.0 * hidden * experts + rows * hidden * (size_of(residual) + size_of(compute)),
		.weight_bytes = 4.0 * hidden * experts,
	};
}

struct work work_expert_rows(int hidden, int width, enum dtype compute, enum dtype residual, const struct expert_rows *rows)
{
	double weights = 3.0 * hidden * width;
	struct work work = {
		.flops = 2 * rows->rows * weights,
		.bytes = rows->groups * weights * size_of(compute) + rows->rows * hidden * (size_of(compute) + size_of(residual)),
		.weight_bytes = rows->groups * weights * size_of(compute),
	};
	for (int i = 0; i < CURVE_ROW_BANDS; i++)
		work.band_flops[i] = 2 * rows->band[i] * weights;
	return work;
}

struct work work_experts(int hidden, int width, enum dtype compute, enum dtype residual, double rows, double groups)
{
	struct expert_rows even = { 0 };
	if (groups > 0)
		expert_rows_add(&even, groups, rows / groups);
	return work_expert_rows(hidden, width, compute, residual, &even);
}

struct work work_mlp(int hidden, int width, enum dtype compute, enum dtype residual, double rows)
{
	return work_experts(hidden, width, compute, residual, rows, rows > 0);
}

struct work work_head(int hidden, int vocab, enum dtype compute, double rows)
{
	double weights = (double) hidden * vocab;
	struct work work = {
		.bytes = (rows > 0) * weights * size_of(compute) + rows * 4.0 * (hidden + vocab),
		.weight_bytes = (rows > 0) * weights * size_of(compute),
	};
	add_gemm(&work, weights, rows);
	return work;
}

struct work work_embed(int hidden, enum dtype table, enum dtype residual, double rows)
{
	return (struct work){ .bytes = rows * hidden * (size_of(residual) + size_of(table)) };
}

struct work work_sample(int vocab, double rows)
{
	return (struct work){ .flops = 10.0 * rows * vocab, .bytes = 4.0 * rows * vocab };
}

struct work work_rows(double rows, double bytes_a_row)
{
	return (struct work){ .bytes = rows * bytes_a_row };
}
