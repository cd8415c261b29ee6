/* SPDX-License-Identifier: Apache-2.0
 *
 * Products of 8-bit integers: weights with a scale for each row of W, rows of X with one of their own, exact sums.
 *
 * With w = sw · qw and x = sx · qx, qw and qx in −127 … 127, y = (Σ qx · qw) · sw · sx. A scale is the largest
 * magnitude of its row / 127, so it depends on that row alone, and the sum is exact in 32 bits, so every instruction
 * set and every number of rows gives the same bits. A row with a NaN or an infinity in it has a NaN as its scale.
 *
 *   block of W   float scale[c], then uint8_t [k / 4][c][4] of qw + 128        c: its columns, rounded up to 16
 *   row of X     int8_t [k] of qx, zeros up to a multiple of 4, float sx, int32_t 128 · Σ qx, zeros up to the stride
 *
 * The processors' instruction multiplies unsigned by signed bytes: Σ qx · (qw + 128) − 128 · Σ qx is the sum wanted. */
#ifndef OCTANT_CODELETS_CPU_GEMM_INT8_H
#define OCTANT_CODELETS_CPU_GEMM_INT8_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "codelets/gemm.h"

enum { INT8_ROW_TAIL = 8 }; /* bytes of a row behind its values */

struct int8_block { /* up to 64 columns of Y */
	const float *scale;    /* [padded] */
	const uint8_t *weight; /* [groups][padded][4] */
	int width, padded;     /* columns; rounded up to 16 */
	int groups;            /* k / 4, rounded up */
	/* What to ask memory for meanwhile: `lines` (0 … 2) of 64 bytes from `ahead` on for each group. */
	const char *ahead;
	int lines;
};

struct int8_ops {
	const char *name;
	int rows; /* that `tile` takes at most */
	/* The largest of the bits of |x[i]|: above all finite numbers are infinities and NaN. */
	uint32_t (*magnitude)(const float *x, int n);
	/* to[i] = x[i] · inverse, rounded to nearest even; returns their sum */
	int32_t (*quantise)(const float *x, int n, float inverse, int8_t *to);
	/* y[rows][width] = x · block */
	void (*tile)(const struct int8_block *block, const int8_t *x, size_t ldx, int rows, float *y, size_t ldy);
};

extern const struct int8_ops *int8; /* the best for this CPU once gemm_start has run; plain C before */

/* All that this CPU can run, best first; NULL at the end. For tests: assign one to `int8`. */
const struct int8_ops *const *int8_available(void);
void int8_start(void);

struct int8_scale {
	float scale, inverse; /* inverse 0: all q are 0 */
};
struct int8_scale int8_scale_of(uint32_t magnitude);
/* x[n] by that scale into to[n]; returns their sum. */
int32_t int8_quantise(const struct int8_scale *scale, const float *x, int n, int8_t *to);

/* A row of X from floats, and back. */
void int8_row_store(const float *x, int k, void *row, size_t stride);
void int8_row_load(const void *row, int k, float *x);
/* Writes what follows the k bytes of a row. */
void int8_row_end(void *row, int k, size_t stride, float scale, int32_t sum);

static inline size_t int8_groups(int k)
{
	return ((size_t) k + 3) / 4;
}

/* gemm.h's functions for DTYPE_INT8 */
size_t int8_packed_bytes(int n, int k);
void int8_pack(void *packed, int n, int k, int first_row, int rows, const struct gemm_source *source);
void int8_run_blocks(const struct gemm_weight *weight, int first_block, int blocks, const void *x, size_t ldx, int rows,
	float *y, size_t ldy, const void *after);
void int8_reference(const struct gemm_weight *weight, const void *x, size_t ldx, int rows, float *y, size_t ldy);

/* Four bytes of a row; its scale. Rows start at multiples of 4. */
static inline int32_t int8_word(const int8_t *at)
{
	return (int32_t) *(const dtype_loose32 *) (const void *) at;
}

static inline float int8_row_scale(const int8_t *tail)
{
	float scale;
	memcpy(&scale, tail, sizeof scale);
	return scale;
}

/* The end of every tile, for one element: `sum` is that of x · (q + 128), modulo 2^32. */
static inline float int8_result(uint32_t sum, uint32_t correction, float weight_scale, float row_scale)
{
	return (float) (int32_t) (sum - correction) * weight_scale * row_scale;
}

extern const struct int8_ops int8_plain;
#if defined(__x86_64__)
extern const struct int8_ops int8_avx2, int8_avx_vnni, int8_avx512_vnni;
#endif

#endif
