/* SPDX-License-Identifier: Apache-2.0
 *
 * Y = X · Wᵀ with weights packed once at load.
 *
 * The same row of X gives the same bits of Y for any number of rows in the call: each row's sums run over
 * k in one fixed order that depends on n and k alone (tests/test_gemm checks it; in FP32 libxsmm keeps this for every M
 * where a block has more than 16 columns; elsewhere, and for bf16, own loops serve). Packed form, n cut into blocks of
 * 64 columns of Y, the last block narrower:
 *
 *   fp32: [n/64][k][64]          bf16: [n/64][k/2][64][2], k padded to even with zeros
 *   int8: codelets/cpu/gemm_int8.h, where rows of X have a form of their own too */
#ifndef OCTANT_GEMM_H
#define OCTANT_GEMM_H

#include <stddef.h>
#include "runtime/dtype.h"

struct gemm_weight {
	const void *packed;
	enum dtype dtype; /* fp32, bf16 or int8: of the packed weights and of X */
	int n, k;
};

/* Memory that is read after a product, in this order: where the product's passes over weights in the cache leave the
 * memory idle, they ask for it. Pieces of `bytes` bytes; zeros in the rest to begin with. */
struct gemm_soon {
	const void *const *piece; /* [pieces] */
	int pieces;
	size_t bytes;
	int at;      /* piece[at] is next */
	size_t done; /* bytes of it */
};

struct gemm_source { /* rows of W as a checkpoint has them, row-major */
	const void *data; /* first element of the first row that is wanted; need not be aligned */
	enum dtype dtype;
	size_t stride;    /* elements from a row to the next */
};

/* Makes libxsmm ready; call once before any gemm_run (thread-safe afterwards). */
void gemm_start(void);

size_t gemm_packed_bytes(int n, int k, enum dtype dtype);

/* Elements from one row of X to the next: k padded so that every row starts aligned. The padding must hold
 * zeros (bf16 kernels may read one element past an odd k); behind int8 values lies the row's scale. */
size_t gemm_stride(int k, enum dtype dtype);

/* In which type a row of X is collected where its parts come one by one: int8 needs the whole row for its scale. */
static inline enum dtype gemm_parts(enum dtype dtype)
{
	return dtype == DTYPE_INT8 ? DTYPE_FP32 : dtype;
}

/* Packs `rows` rows of W into rows first_row … of a packed matrix of n × k. Parts of one matrix may be packed
 * from several sources and threads as long as rows do not overlap; `packed` must be zeroed before. */
void gemm_pack(void *packed, int n, int k, enum dtype dtype, int first_row, int rows,
	const struct gemm_source *source);

/* y[rows][n] (stride ldy) = x[rows][k] (stride ldx, weight's dtype) · Wᵀ; sums in FP32. Any rows ≥ 0. */
void gemm_run(const struct gemm_weight *weight, const void *x, size_t ldx, int rows, float *y, size_t ldy);

/* The same, with what is read soon after: those of our kernels that go over a block of weights often ask for it. `soon`
 * moves on. */
void gemm_run_soon(const struct gemm_weight *weight, const void *x, size_t ldx, int rows, float *y, size_t ldy,
	struct gemm_soon *soon);

/* The same for `blocks` blocks of 64 columns alone, from block `first_block`; y points at the first of these
 * columns. The bits are those that gemm_run gives. `after`: weights that are read next, which the last block asks for, or
 * NULL: those of the block behind it. */
void gemm_run_blocks(const struct gemm_weight *weight, int first_block, int blocks, const void *x, size_t ldx,
	int rows, float *y, size_t ldy, const void *after);

/* The same in plain C: the reference. (Where libxsmm has no kernel, gemm_run has loops of its own.) */
void gemm_reference(const struct gemm_weight *weight, const void *x, size_t ldx, int rows, float *y, size_t ldy);

#endif
