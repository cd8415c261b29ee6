/* SPDX-License-Identifier: Apache-2.0
 *
 * RMS norm of rows, rounded to the compute type. */
#include "codelets/codelets.h"
#include "codelets/cpu/rows.h"

void norm_cpu(const float *x, int rows, int hidden, const float *weight, float epsilon, enum dtype compute, void *h,
	size_t stride)
{
	enum { STEP = 256 };
	float part[STEP];
	size_t size = dtype_bytes(compute);
	for (int row = 0; row < rows; row++, x += hidden) {
		char *to = (char *) h + (size_t) row * stride * size;
		float factor = norm_factor(x, hidden, epsilon);
		for (int i = 0; i < hidden; i += STEP) {
			int n = hidden - i < STEP ? hidden - i : STEP;
			vector->scale(x + i, factor, weight + i, n, part);
			vector->from_float(compute, part, n, to + (size_t) i * size);
		}
		memset(to + (size_t) hidden * size, 0, (stride - (size_t) hidden) * size);
	}
}
