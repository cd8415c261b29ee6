/* SPDX-License-Identifier: Apache-2.0
 *
 * FLOPs and bytes of each kind of task from its shapes. */
#include "tasks/work.h"

struct work work_attention(const struct attention_shape *s, double rows, double keys, double kv_tokens)
{
	double d = s->head_dim, q = s->heads * d, kv = s->kv_heads * d, weight = (double) dtype_bytes(s->compute);
	double weights = s->hidden * (q + 2 * kv) + q * s->hidden;
	return (struct work){
		.flops = 2 * rows * weights + 4 * keys * q, /* projections; q·k and p·v */
		.bytes = weights * weight + rows * 2.0 * s->hidden * 4
			+ (rows + kv_tokens) * 2 * kv * (double) dtype_bytes(s->kv),
	};
}

struct work work_route(int hidden, int experts, double rows)
{
	return (struct work){
		.flops = rows * (2.0 * hidden * experts + 4.0 * hidden),
		.bytes = 4.0 * hidden * experts + rows * hidden * 8.0,
	};
}

struct work work_experts(int hidden, int width, enum dtype compute, double rows, double groups)
{
	double weights = 3.0 * hidden * width, element = (double) dtype_bytes(compute);
	return (struct work){
		.flops = 2 * rows * weights,
		.bytes = groups * weights * element + rows * hidden * (element + 4),
	};
}

struct work work_mlp(int hidden, int width, enum dtype compute, double rows)
{
	return work_experts(hidden, width, compute, rows, rows > 0);
}

struct work work_head(int hidden, int vocab, enum dtype compute, double rows)
{
	return (struct work){
		.flops = 2.0 * rows * hidden * vocab,
		.bytes = (rows > 0) * (double) hidden * vocab * (double) dtype_bytes(compute)
			+ rows * 4.0 * (hidden + vocab),
	};
}

struct work work_embed(int hidden, enum dtype table, double rows)
{
	return (struct work){ .bytes = rows * hidden * (4.0 + (double) dtype_bytes(table)) };
}

struct work work_sample(int vocab, double rows)
{
	return (struct work){ .flops = 10.0 * rows * vocab, .bytes = 4.0 * rows * vocab };
}

struct work work_rows(double rows, double bytes_a_row)
{
	return (struct work){ .bytes = rows * bytes_a_row };
}
