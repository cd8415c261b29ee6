/* SPDX-License-Identifier: Apache-2.0
 *
 * What the halves of attention share: the workspace, and the parts of a projected row. */
#ifndef OCTANT_CODELETS_CPU_ATTENTION_H
#define OCTANT_CODELETS_CPU_ATTENTION_H

#include "codelets/codelets.h"
#include "codelets/cpu/vector.h"

/* Rows whose q, k, v lie in the workspace together. Those of one segment look at a block of keys while it lies in the cache as
 * FP32; single rows have nothing to share but the projections' weights. Both are multiples of what a product takes at once. */
enum { ATTENTION_ROWS = 96, ATTENTION_SINGLES = 132 };

struct attention_space {
	void *h;        /* [ATTENTION_SINGLES][gemm_stride(hidden)] normalised rows, compute type */
	float *qkv;     /* [ATTENTION_SINGLES][(heads + 2·kv_heads)·head_dim] */
	float *squares; /* [ATTENTION_SINGLES][2] */
	void *context;  /* [ATTENTION_SINGLES][gemm_stride(heads·head_dim)] attention's output, compute type */
	float *row;     /* [widest row] scratch */
	/* of a tile; lane = row of the tile · group + query head of the KV head's group */
	float *q;                      /* [kv_heads][lanes][head_dim] */
	float *o;                      /* [kv_heads][lanes][padded] */
	float *maximum;                /* [kv_heads][lanes] */
	float *sum;                    /* [kv_heads][lanes][VECTOR_LANES] */
	int32_t *position;             /* [lanes] */
	float *keys, *values, *scores; /* struct attend_tile */
};

static inline int attention_columns(const struct attention_weights *w)
{
	return (w->heads + 2 * w->kv_heads) * w->head_dim;
}

static inline int attention_padded(const struct attention_weights *w)
{
	return (w->head_dim + VECTOR_LANES - 1) / VECTOR_LANES * VECTOR_LANES;
}

/* Lays the workspace out; with start NULL it only counts. Returns the bytes. */
size_t attention_lay_out(const struct attention_weights *w, void *start, struct attention_space *space);

/* qkv.c: projects `rows` rows from x on, biases added, into qkv[rows][columns]; squares as codelets.h says. `soon`: what is read
 * next, or NULL. */
void attention_project(const struct attention_weights *w, const struct attention_space *space, const float *x, int rows,
	float *qkv, float *squares, struct gemm_soon *soon);

/* qkv.c: q and k norm, clip and rope of one projected row, in place */
void attention_turn(const struct attention_weights *w, float *qkv, const float *squares, int position);

/* Where K and V of a KV head lie in a page. */
static inline char *kv_keys(const struct kv_view *kv, const struct attention_weights *w, int page, int head)
{
	size_t head_bytes = (size_t) kv->page_tokens * (size_t) w->head_dim * dtype_bytes(kv->dtype);
	return (char *) kv->pages + ((size_t) page * 2 * (size_t) w->kv_heads + (size_t) head) * head_bytes;
}

static inline char *kv_values(const struct kv_view *kv, const struct attention_weights *w, int page, int head)
{
	return kv_keys(kv, w, page, w->kv_heads + head);
}

/* attention.c: writes k and v of one turned row into its page */
void attention_append(const struct attention_weights *w, const struct kv_view *kv, const float *qkv,
	const struct segment *segment, int position, float *scratch);

#endif
