/* SPDX-License-Identifier: Apache-2.0
 *
 * What a task costs before anyone knows the machine: floating-point operations, bytes of device memory
 * read and written, and, for a collective, bytes that cross a link. One function a kind of task, from
 * shapes alone, so that the plan, the schedulers' predictions and the simulation share them.
 *
 * Counting: a multiply-add is 2 FLOP. Bytes are the least that must move: weights once, activations in and
 * out once, KV as far as it is read. */
#ifndef OCTANT_TASKS_WORK_H
#define OCTANT_TASKS_WORK_H

#include "runtime/dtype.h"

struct work {
	double flops;
	double bytes;
	double link_bytes; /* of a collective: sent by the member that sends most */
	int link_steps;    /* of a collective: messages after each other, each paying the latency */
};

struct attention_shape {
	int hidden, heads, kv_heads, head_dim; /* own heads */
	enum dtype compute, kv;
};

/* `keys`: the sum over rows of the keys each attends to; `kv_tokens`: the sum over sequences of the tokens
 * whose keys and values are read. */
struct work work_attention(const struct attention_shape *shape, double rows, double keys, double kv_tokens);
struct work work_route(int hidden, int experts, double rows);
/* `groups`: experts that got any rows, whose weights are read. */
struct work work_experts(int hidden, int width, enum dtype compute, double rows, double groups);
struct work work_mlp(int hidden, int width, enum dtype compute, double rows);
struct work work_head(int hidden, int vocab, enum dtype compute, double rows);
struct work work_embed(int hidden, enum dtype table, double rows);
struct work work_sample(int vocab, double rows);
/* A pass over rows in memory: copies, sums. */
struct work work_rows(double rows, double bytes_a_row);

#endif
