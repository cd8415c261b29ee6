/* SPDX-License-Identifier: Apache-2.0
 *
 * What a task costs before anyone knows the machine: floating-point operations, bytes of device memory
 * read and written, and, for a collective, steps after each other. One function a kind of task, from
 * shapes alone, so that the plan, the schedulers' predictions and the simulation share them. What a collective
 * moves between which devices is its kind's `flows` function (tasks/call.h); seconds are runtime/cost.h's.
 *
 * Counting: a multiply-add is 2 FLOP. Bytes are the least that must move: weights once, activations in and
 * out once, KV as far as it is read. h hidden, d head_dim, H and K own heads and KV heads, w, r, k bytes of a value in the
 * compute type, the residual stream and the KV pool; n rows:
 *
 *   qkv        FLOPs  2 n h d (H + 2K)
 *              bytes  h d (H + 2K) w  +  n h r  +  2 n d K k                                  weights, x in, K and V out
 *   attend     FLOPs  2 n d H h  +  4 d H · Σ rows keys               output projection; q·k and p·v of each key seen
 *              bytes  d H h w  +  2 d K k · Σ sequences earlier tokens  +  n h r              weights, K and V, addend out
 *              (the n own keys and values are counted where they are written; a row that decodes reads the rest)
 *   attention  both; q, k, v between them stay on chip
 *   route      FLOPs  n (2 h E + 4 h)                                                             router (E experts), norm
 *              bytes  4 h E + n h (r + w)                                                     router in FP32, x in, h out
 *   experts    FLOPs  6 n h c                        c own columns of an expert: gate, up and down; n rows of all of them
 *              bytes  3 g h c w + n h (w + r)                                    g experts that got rows: weights once each
 *   mlp        the same with g = 1
 *   head       FLOPs  2 n h v;  bytes  h v w + 4 n (h + v)                              v own tokens of the vocabulary
 *   embed      bytes  n h (r + table's)
 *   sample     FLOPs  10 n V;  bytes 4 n V                                          softmax and choice over the vocabulary */
#ifndef OCTANT_TASKS_WORK_H
#define OCTANT_TASKS_WORK_H

#include "runtime/curve.h"
#include "runtime/dtype.h"

struct work {
	double flops;
	double bytes; /* of a task of several members: of all of them together */
	int steps;    /* of a collective: messages after each other, each paying the latency */
	/* Of the above, what a processor does at a pace of its own: a calibrated host (cost.h) tells them apart. */
	double key_flops;    /* of the FLOPs: q·k and p·v */
	double band_flops[CURVE_ROW_BANDS]; /* of the FLOPs: GEMMs', by the rows that meet a weight (runtime/curve.h) */
	double weight_bytes; /* of the bytes */
	double kv_bytes;     /* of the bytes: earlier tokens' keys and values */
	double key_tiles, key_blocks; /* that an attention kernel makes of rows and keys, over all own KV heads */
};

/* Rows by expert. A weight matrix that meets r rows has min(r, 4) of them in the first band, and so on. */
struct expert_rows {
	double rows, groups; /* in all; experts that got any, whose weights are read */
	double band[CURVE_ROW_BANDS];
};
/* `groups` more experts, of `each` rows. */
void expert_rows_add(struct expert_rows *rows, double groups, double each);

struct attention_shape {
	int hidden, heads, kv_heads, head_dim; /* own heads */
	enum dtype compute, kv, residual;
};

struct work work_qkv(const struct attention_shape *shape, double rows);
/* `keys`: the sum over rows of the keys each attends to; `kv_tokens`: the sum over sequences of the tokens
 * whose keys and values are read. */
struct work work_attend(const struct attention_shape *shape, double rows, double keys, double kv_tokens);
struct work work_attention(const struct attention_shape *shape, double rows, double keys, double kv_tokens);
struct work work_route(int hidden, int experts, enum dtype compute, enum dtype residual, double rows);
struct work work_expert_rows(int hidden, int width, enum dtype compute, enum dtype residual, const struct expert_rows *rows);
/* The same where each of `groups` experts has as many rows as the others. */
struct work work_experts(int hidden, int width, enum dtype compute, enum dtype residual, double rows, double groups);
struct work work_mlp(int hidden, int width, enum dtype compute, enum dtype residual, double rows);
struct work work_head(int hidden, int vocab, enum dtype compute, double rows);
struct work work_embed(int hidden, enum dtype table, enum dtype residual, double rows);
struct work work_sample(int vocab, double rows);
/* A pass over rows in memory: copies, sums. */
struct work work_rows(double rows, double bytes_a_row);

#endif
