/* SPDX-License-Identifier: Apache-2.0
 *
 * What kernels do with single rows and with their workspace. */
#ifndef OCTANT_CODELETS_CPU_ROWS_H
#define OCTANT_CODELETS_CPU_ROWS_H

#include <math.h>
#include "codelets/cpu/gemm_int8.h"
#include "codelets/cpu/vector.h"

/* Takes `bytes` from a workspace in whole cache lines; with start NULL it only counts. */
static inline void *workspace_take(void *start, size_t *used, size_t bytes)
{
	void *at = start ? (char *) start + *used : NULL;
	*used += (bytes + 63) / 64 * 64;
	return at;
}

/* What a row is multiplied with to have a mean square of 1. */
static inline float norm_factor(const float *x, int n, float epsilon)
{
	return 1.0f / sqrtf(vector->sum_squares(x, n) / (float) n + epsilon);
}

/* A row of GEMM input in the compute type: `stride` elements, the ones from n on zero. */
static inline void row_store(enum dtype compute, const float *x, int n, void *row, size_t stride)
{
	size_t size = dtype_bytes(compute);
	if (compute == DTYPE_INT8) {
		int8_row_store(x, n, row, stride);
		return;
	}
	vector->from_float(compute, x, n, row);
	memset((char *) row + (size_t) n * size, 0, (stride - (size_t) n) * size);
}

/* Such a row as floats. */
static inline void row_load(enum dtype compute, const void *row, int n, float *x)
{
	if (compute == DTYPE_INT8)
		int8_row_load(row, n, x);
	else
		vector->to_float(compute, row, n, x);
}

#endif
