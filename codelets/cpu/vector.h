/* SPDX-License-Identifier: Apache-2.0
 *
 * The inner loops that all kernels share, once for each instruction set: one table of functions, chosen when
 * the program starts. Every function works on one row (or a fixed tile), so what it computes for an element
 * depends on the element's place in its row and never on how many rows there are.
 *
 * exp here: relative error below 2e-7 for results above 2^-126, below that exactly 0; arguments above 88 count
 * as 88. It is 2^n · p(r) with r in [-1/2, 1/2] and p the Taylor polynomial of degree 7 (remainder 6e-9). */
#ifndef OCTANT_CODELETS_CPU_VECTOR_H
#define OCTANT_CODELETS_CPU_VECTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "runtime/dtype.h"

#define VECTOR_LANES 16 /* of the widest instruction set: buffers are padded to it */
#define ATTEND_KEYS  64 /* keys of a block; block b holds positions 64·b … 64·b + 63 of a sequence */
#define ATTEND_LANES 8  /* queries that share a block's keys in registers, at most */
#define ATTEND_SLACK 8  /* binary orders by which a weight may exceed 1 */

/* Queries that look at the same keys: `lanes` = rows × query heads of one KV head, row by row. */
struct attend_tile {
	int lanes, head_dim, padded; /* padded: head_dim rounded up to VECTOR_LANES */
	const int32_t *position;     /* [lanes] */
	const float *q;              /* [lanes][head_dim], times log2(e) / sqrt(head_dim) */
	float *o;                    /* [lanes][padded]: sum of weight · value so far */
	float *maximum; /* [lanes]: the score whose weight is 1, less than ATTEND_SLACK below the largest */
	float *sum;     /* [lanes][VECTOR_LANES]: sums of weights so far, to be added up at the end */
	float *keys;    /* [head_dim][ATTEND_KEYS] */
	float *values;  /* [ATTEND_KEYS][padded] */
	float *scores;  /* [ATTEND_LANES][ATTEND_KEYS] */
};

/* Where a block's keys and values of a KV head lie, by runs of 16 keys: key component i of a run's key t at
 * keys[run][i · key_step + t], value component i at values[run][t · value_step + i]. Copies in FP32, or a page's own:
 * then `next` is what a later call reads, which is asked for line by line while this one computes: its runs for those of
 * this one that are seen. (Of a burst of prefetches a CPU drops what it has no buffers for.) */
struct attend_keys {
	enum dtype dtype;
	size_t key_step, value_step; /* elements; value_step is a multiple of VECTOR_LANES */
	const void *keys[ATTEND_KEYS / VECTOR_LANES], *values[ATTEND_KEYS / VECTOR_LANES];
	const struct attend_keys *next; /* NULL for copies, which are in FP32 */
};

struct vector_ops {
	const char *name;
	/* dst[i] = src[i], i < n, to and from FP32; rounded to nearest even */
	void (*to_float)(enum dtype dtype, const void *src, int n, float *dst);
	void (*from_float)(enum dtype dtype, const float *src, int n, void *dst);
	float (*sum_squares)(const float *x, int n);
	float (*dot)(const float *a, const float *b, int n);
	/* y[r] = dot(x, rows + r · n, n) for r < count, to the bit */
	void (*dots)(const float *x, const float *rows, int count, int n, float *y);
	/* y[i] = x[i] · scale · weight[i], in this order */
	void (*scale)(const float *x, float scale, const float *weight, int n, float *y);
	void (*add)(float *x, const float *y, int n);                     /* x += y */
	void (*add_scaled)(float *x, float scale, const float *y, int n); /* x = fma(scale, y, x) */
	void (*multiply)(const float *x, float by, int n, float *y);      /* y = x · by */
	/* y[width] = silu(gate) · up, rounded; product[2·width] has 32 of gate, the same 32 of up, and so on */
	void (*swiglu)(const float *product, int width, enum dtype dtype, void *y);
	void (*rope)(float *head, const float *cosine, const float *sine, int half);
	/* y[rows][width ≤ 64] = x · block of packed weights (gemm.h) */
	void (*gemm)(enum dtype dtype, const void *block, int width, int k, const void *x, size_t ldx, int rows,
		float *y, size_t ldy);
	/* One block of keys for all lanes that may see some of it. */
	void (*attend)(const struct attend_tile *tile, const struct attend_keys *keys, int block);
	/* The same block for the single query of each of several KV heads: tile[heads] of one lane each and of one
	 * position, keys[heads] in one layout, all with `next`. heads ≤ ATTEND_LANES. */
	void (*attend_heads)(const struct attend_tile *tile, const struct attend_keys *keys, int heads, int block);
	/* out[head_dim] = o / the sum of weights, of one lane after its last block */
	void (*attend_finish)(const struct attend_tile *tile, int lane, float *out);
	/* to[count][n] = from[count][n], rows `from_step` and `to_step` elements apart */
	void (*copy_rows)(
		enum dtype dtype, const void *from, size_t from_step, int count, int n, float *to, size_t to_step);
	/* The largest of n values not below `than`; *finite becomes false if one is infinite or NaN. */
	float (*largest)(const float *x, int n, float than, bool *finite);
	/* sums[i % 16] += exp(x[i] − shift), in double */
	void (*sum_exp)(const float *x, int n, float shift, double *sums);
};

extern const struct vector_ops *vector; /* the best for this CPU once gemm_start has run; plain C before */

/* All that this CPU can run, best first; NULL at the end. For tests: assign one to `vector`. */
const struct vector_ops *const *vector_available(void);
void vector_start(void);

/* For tests: whether gemm_run uses libxsmm and the dot products of bf16 where they serve (true unless told), or the plain
 * loops of `vector`. */
void gemm_use_library(bool use);

extern const struct vector_ops vector_plain;
#if defined(__x86_64__)
extern const struct vector_ops vector_avx2, vector_avx512;
#endif

#endif
