/* SPDX-License-Identifier: Apache-2.0
 *
 * FLOPs and bytes of each kind of task from its shapes; the header derives them. */
#include "tasks/work.h"

static double size_of(enum dtype dtype)
{
	return (double) dtype_bytes(dtype);
}

struct work work_qkv(const struct attention_shape *s, double rows)
{
	double d = s->head_dim, weights = s->hidden * d * (s->heads + 2.0 * s->kv_heads);
	return (struct work){
		.flops = 2 * rows * weights,
		.bytes = weights * size_of(s->compute) + rows * s->hidden * size_of(s->residual)
			+ 2 * rows * s->kv_heads * d * size_of(s->kv),
		.weight_bytes = weights * size_of(s->compute),
	};
}

struct work work_attend(const struct attention_shape *s, double rows, double keys, double kv_tokens)
{
	double query = (double) s->heads * s->head_dim, weights = query * s->hidden;
	return (struct work){
		.flops = 2 * rows * weights + 4 * keys * query,
		.bytes = weights * size_of(s->compute) + 2 * kv_tokens * s->kv_heads * s->head_dim * size_of(s->kv)
			+ rows * s->hidden * size_of(s->residual),
		.key_flops = 4 * keys * query,
		.weight_bytes = weights * size_of(s->compute),
		.kv_bytes = 2 * kv_tokens * s->kv_heads * s->head_dim * size_of(s->kv),
	};
}

struct work work_attention(const struct attention_shape *s, double rows, double keys, double kv_tokens)
{
	struct work qkv = work_qkv(s, rows), attend = work_attend(s, rows, keys, kv_tokens);
	attend.flops += qkv.flops;
	attend.bytes += qkv.bytes;
	attend.weight_bytes += qkv.weight_bytes;
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

struct work work_experts(int hidden, int width, enum dtype compute, enum dtype residual, double rows, double groups)
{
	double weights = 3.0 * hidden * width;
	return (struct work){
		.flops = 2 * rows * weights,
		.bytes = groups * weights * size_of(compute) + rows * hidden * (size_of(compute) + size_of(residual)),
		.weight_bytes = groups * weights * size_of(compute),
	};
}

struct work work_mlp(int hidden, int width, enum dtype compute, enum dtype residual, double rows)
{
	return work_experts(hidden, width, compute, residual, rows, rows > 0);
}

struct work work_head(int hidden, int vocab, enum dtype compute, double rows)
{
	return (struct work){
		.flops = 2.0 * rows * hidden * vocab,
		.bytes = (rows > 0) * (double) hidden * vocab * size_of(compute) + rows * 4.0 * (hidden + vocab),
		.weight_bytes = (rows > 0) * (double) hidden * vocab * size_of(compute),
	};
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
