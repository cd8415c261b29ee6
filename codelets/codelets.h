/* SPDX-License-Identifier: Apache-2.0
 *
 * The kernels of every task kind: one argument struct and one CPU function each (CUDA functions take the
 * same structs). They know no scheduler, no mesh and no model file: shapes, pointers and weights in, rows
 * out. Each takes any number of rows, zero included, and computes a row by sums whose order does not depend
 * on how many rows travel with it.
 *
 * Shapes: x, partial, out are [rows][hidden] FP32. Normalised rows `h` are [rows][stride] in the compute
 * type (fp32 or bf16), stride = gemm_stride(hidden, compute), padding zero.
 *
 * `workspace` is scratch of the calling worker, 64-byte aligned, at least what the kind's *_workspace
 * function says for its largest message. No kernel allocates. */
#ifndef OCTANT_CODELETS_H
#define OCTANT_CODELETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "codelets/gemm.h"
#include "runtime/batch.h"
#include "runtime/model.h"

/* ---- embed: x[i] = table[token of row i] */
struct embed_args {
	int rows, hidden, vocab;
	const int32_t *token;       /* [rows] id, or −1: token_table[seat] */
	const int32_t *seat;        /* [rows] */
	const int32_t *token_table; /* [seats] last sampled tokens */
	const void *table;          /* [vocab][hidden] */
	enum dtype table_dtype;
	float *x;
};
void embed_cpu(const struct embed_args *a);

/* ---- norm: h[i] = x[i] / sqrt(mean(x[i]²) + epsilon) · weight, in FP32, then rounded to the compute type */
void norm_cpu(const float *x, int rows, int hidden, const float *weight, float epsilon, enum dtype compute,
	void *h, size_t stride);

/* ---- attention: norm, q·k·v, (q,k norm), rope, KV append, attention over pages, output projection.
 * qkv_cpu and attend_cpu are its two halves, for models whose q,k norms span all heads of all ranks;
 * attention_cpu is both, blocked over rows so that q, k, v stay in the workspace.
 *
 * KV pool of one (layer, shard): pages of
 *     K [kv_heads][head_dim][page_tokens], then V [kv_heads][page_tokens][head_dim]     in the KV dtype
 * (K lies transposed, so that scores of neighbouring keys are neighbouring lanes); token t of a sequence lies in
 * page segment.pages[t / page_tokens] at t % page_tokens. A row attends to keys 0 … position as stored in the
 * pages, its own included, in blocks at fixed absolute positions. Positions come from the segments. Fastest where
 * page_tokens and head_dim are multiples of 16. */
struct rope_table { /* made once for all layers */
	int positions, half; /* half = head_dim / 2 */
	float *cosine, *sine; /* [positions][half] */
};
int rope_table_make(struct rope_table *table, const struct model *model, int positions, struct error *error);
void rope_table_free(struct rope_table *table);

struct attention_weights {
	int hidden, heads, kv_heads, head_dim; /* own heads of this shard */
	int all_heads, all_kv_heads;           /* of the model: QK_NORM_ALL averages over them */
	enum dtype compute;
	float norm_epsilon;
	const float *input_norm;  /* [hidden] */
	struct gemm_weight qkv;   /* n = (heads + 2·kv_heads)·head_dim: q, then k, then v */
	const float *qkv_bias;    /* [n] or NULL */
	float clip_qkv;           /* 0: none; clamp to ±clip */
	enum qk_norm qk_norm;
	const float *q_norm, *k_norm; /* QK_NORM_HEAD: [head_dim]; QK_NORM_ALL: own heads' part */
	struct gemm_weight output;    /* n = hidden, k = heads·head_dim */
	const float *output_bias;     /* [hidden] on tensor rank 0, else NULL */
	const struct rope_table *rope;
};

struct kv_view { /* one pool */
	void *pages;
	enum dtype dtype;
	int page_tokens;
};
size_t kv_page_bytes(int kv_heads, int page_tokens, int head_dim, enum dtype dtype);

struct attention_args {
	const struct attention_weights *weights;
	struct kv_view kv;
	int rows;               /* own rows of this group */
	int row_base;           /* global index of own row 0; segment.row − row_base is the own index */
	int segments;
	const struct segment *segment;
	const int32_t *position; /* [rows] own */
	const float *x;
	float *partial;
	float *qkv;     /* qkv_cpu, attend_cpu: [rows][(heads + 2·kv_heads)·head_dim] */
	float *squares; /* QK_NORM_ALL: [rows][2] sums of squares of q and of k over own heads (qkv_cpu writes),
	                 * over all heads (attend_cpu reads) */
	void *workspace;
};
void qkv_cpu(const struct attention_args *a);
void attend_cpu(const struct attention_args *a);
void attention_cpu(const struct attention_args *a);
size_t attention_workspace(const struct attention_weights *weights);
/* Plain loops over the same data: the reference. */
void attention_reference(const struct attention_args *a);

/* ---- route: h = norm(x); router logits in FP32 from the unrounded h; softmax over all experts; the top_k
 * largest, ties to the lowest index; weights divided by their sum where `normalize`. */
struct route_args {
	int rows, hidden, experts, top_k;
	bool normalize;
	const float *x;
	const float *norm;     /* [hidden] */
	float norm_epsilon;
	const float *router;   /* [experts][hidden] */
	enum dtype compute;
	void *h;               /* [rows][stride], written */
	size_t stride;
	int32_t *expert;       /* [rows][top_k], descending weight */
	float *weight;         /* [rows][top_k] */
	int32_t *counts;       /* NULL, or [experts]: rows sent to each, added atomically */
	void *workspace;
};
void route_cpu(const struct route_args *a);
size_t route_workspace(int hidden, int experts);

/* ---- dispatch: groups rows by expert. `sources` hold disjoint row ranges (the members of an all_to_all),
 * `destinations` the experts. Destinations with the same first_expert are slices of one expert group: they get
 * the same rows in the same places. With one source and one destination it is the local pick. Rows of an expert
 * are in ascending global row order. */
struct dispatch_source {
	int first, rows;        /* global rows [first, first + rows) */
	const void *h;          /* indexed by global row: row r at h + r·stride */
	const int32_t *expert;  /* [global row][top_k] */
	int32_t *place;         /* [global row][top_k]: written: index of the row in its destination's buffer,
	                         * −1 where the expert is on none of the destinations given */
};
struct dispatch_destination {
	int first_expert, experts; /* own experts */
	int capacity;              /* rows that `rows` can hold: never exceeded when rows·min(top_k, experts) fit */
	void *rows;                /* [capacity][stride] grouped rows in the compute type */
	int32_t *offset;           /* [experts + 1] */
};
struct dispatch_args {
	int top_k;
	size_t row_bytes; /* stride in bytes */
	int sources, destinations;
	const struct dispatch_source *source;
	const struct dispatch_destination *destination;
	void *workspace;
};
void dispatch_cpu(const struct dispatch_args *a);
size_t dispatch_workspace(int experts);

/* ---- experts: out = down(silu(gate(in)) · up(in)) for each expert's rows; each expert's weights read once */
struct expert_weights {
	struct gemm_weight gate_up; /* n = 2·width, k = hidden: rows ordered as expert_pack_gate_up does */
	struct gemm_weight down;    /* n = hidden, k = width */
	const float *gate_up_bias, *down_bias; /* NULL, or [2·width] in the packed order and [hidden] (rank 0) */
};
/* Packs gate and up (width × hidden each) into one packed matrix in the order the kernel wants: 32 rows of gate,
 * the same 32 of up, and so on, the last pair of runs shorter. `packed` has gemm_packed_bytes(2·width, hidden). */
void expert_pack_gate_up(void *packed, int width, int hidden, enum dtype dtype, const struct gemm_source *gate,
	const struct gemm_source *up);
/* The same for biases: `data` of each source is [width], its stride plays no part. */
void expert_pack_bias(float *bias, int width, const struct gemm_source *gate, const struct gemm_source *up);

struct experts_args {
	int experts, hidden, width;
	enum dtype compute;
	const struct expert_weights *weights; /* [experts] */
	const int32_t *offset;                /* [experts + 1] */
	const void *in;                       /* [offset[experts]][stride of hidden] */
	float *out;                           /* [offset[experts]][hidden] */
	void *workspace;
};
void experts_cpu(const struct experts_args *a);
void experts_reference(const struct experts_args *a);
size_t experts_workspace(int hidden, int width, enum dtype compute);

/* ---- combine: for rows first … first + rows − 1 (global): sum over k, in order of k, of
 * weight · (sum over slices, in rank order, of out), plus shared where given.
 * add: the sum is added to x (all_to_all); else it is stored (local: a partial sum; experts that are not
 * here have place −1). */
struct combine_group { /* one expert group: its slices' results */
	int first_expert, experts, slices;
	const float *const *out; /* [slices] */
};
struct combine_args {
	int first, rows, hidden, top_k;
	const int32_t *expert, *place; /* [global row][top_k] */
	const float *weight;           /* [global row][top_k] */
	int groups;
	const struct combine_group *group;
	const float *shared; /* NULL, or [global row][hidden] */
	bool add;
	float *x; /* row `first` at x */
};
void combine_cpu(const struct combine_args *a);

/* ---- mlp: a dense SwiGLU MLP's slice; also the shared expert, whose result is scaled by
 * sigmoid(h · gate). `x` given: normalises first; else `h` holds normalised rows. */
struct mlp_args {
	int rows, hidden, width;
	enum dtype compute;
	const float *x;     /* or NULL */
	const float *norm;  /* with x */
	float norm_epsilon;
	const void *h;      /* [rows][stride] where x is NULL */
	struct expert_weights weights;
	const float *gate;  /* NULL, or [hidden] */
	float *out;         /* [rows][hidden] */
	void *workspace;
};
void mlp_cpu(const struct mlp_args *a);
size_t mlp_workspace(int hidden, int width, enum dtype compute);

/* ---- joining and copying rows, for collectives */
/* x[j][i] = x[0][i] + part[0][i] + … + part[parts−1][i], in this order, for i < rows · hidden and every j:
 * x[0] holds the residual, the other members get the same result. */
void join_rows_cpu(float *const *x, int members, const float *const *part, int parts, int rows, int hidden);

/* ---- head: logits[i] = lm_head(norm(x[row of sample i])) for own part of the vocabulary */
struct head_args {
	int samples, hidden;
	const struct sample *sample; /* [samples] */
	int row_base;                /* x's row 0 is global row row_base */
	const float *x;
	const float *norm;
	float norm_epsilon;
	enum dtype compute;
	struct gemm_weight weight;   /* n = own vocabulary */
	float *logits;               /* [samples][n] */
	void *workspace;
};
void head_cpu(const struct head_args *a);
size_t head_workspace(int hidden, enum dtype compute);

/* ---- sample: chooses a token from logits cut by vocabulary over `parts` ranks, with the same bits for any
 * number of parts. temperature 0: the largest logit, ties to the lowest id. Else, as transformers does it:
 *
 *   1. the logits are divided by the temperature; tokens are ordered by them, largest first, ties by id
 *   2. top_k > 0: the first top_k stay
 *   3. top_p < 1: of these, renormalised, the shortest run of first ones whose probabilities reach top_p stays
 *   4. min_p > 0: of these, tokens with less than min_p times the first one's probability go; the first stays
 *   5. one uniform number in [0, 1) of 53 bits, Philox4x32-10 with the seed as key and (position, 0, 0, 0) as
 *      counter, times the sum of what stays, is where the running sum over the order picks the token
 *
 * logprob is that of the untempered, uncut distribution. Logits that are NaN or infinite: returns the index of
 * the first such sample + 1, else 0; such a sample's token is 0 and its logprob NaN. */
struct sample_args {
	int samples, parts, vocab;
	const struct sample *sample;
	const float *const *logits;  /* [parts] each [samples][count of part] */
	const int *first;            /* [parts + 1] first token id of each part, then vocab */
	int32_t *token_table;        /* [seats], written at each sample's seat */
	int32_t *token;              /* [samples] */
	float *logprob;              /* [samples] */
	void *workspace;
};
int sample_cpu(const struct sample_args *a);
size_t sample_workspace(int vocab);

#endif
