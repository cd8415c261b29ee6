/* SPDX-License-Identifier: Apache-2.0
 *
 * RMS norm of rows, rounded to the compute type. */
#include "codelets/codelets.h"
#include "codelets/cpu/rows.h"

enum { STEP = 256 }; /* columns of a row that are in hand at once */

/* In int8: once for the row's scale, once for its values. */
static void norm_to_int8(const float *x, int hidden, const float *weight, float factor, void *row, size_t stride)
{
	float part[STEP];
	uint32_t magnitude = 0;
	int32_t sum = 0;
	for (int i = 0; i < hidden; i += STEP) {
		int n = hidden - i < STEP ? hidden - i : STEP;
		vector->scale(x + i, factor, weight + i, n, part);
		uint32_t most = int8->magnitude(part, n);
		magnitude = most > magnitude ? most : magnitude;
	}
	struct int8_scale s = int8_scale_of(magnitude);
	for (int i = 0; i < hidden; i += STEP) {
		int n = hidden - i < STEP ? hidden - i : STEP;
		vector->scale(x + i, factor, weight + i, n, part);
		sum += int8_quantise(&s, part, n, (int8_t *) row + i);
	}
	int8_row_end(row, hidden, stride, s.scale, sum);
}

void norm_cpu(const float *x, int rows, int hidden, const float *weight, float epsilon, enum dtype compute, void *h,
	size_t stride)
{
	float part[STEP];
	size_t size = dtype_bytes(compute);
	for (int row = 0; row < rows; row++, x += hidden) {
		char *to = (char *) h + (size_t) row * stride * size;
		float factor = norm_factor(x, hidden, epsilon);
		if (compute == DTYPE_INT8) {
			norm_to_int8(x, hidden, weight, factor, to, stride);
			continue;
		}
		for (int i = 0; i < hidden; i += STEP) {
			int n = hidden - i < STEP ? hidden - i : STEP;
			vector->scale(x + i, factor, weight + i, n, part);
			vector->from_float(compute, part, n, to + (size_t) i * size);
		}
		memset(to + (size_t) hidden * size, 0, (stride - (size_t) hidden) * size);
	}
}
