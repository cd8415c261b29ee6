/* SPDX-License-Identifier: Apache-2.0
 *
 * Joining the rows of a collective's members on one machine. */
#include "codelets/codelets.h"
#include "codelets/cpu/vector.h"

/* In pieces that stay in the cache while every part is added and every member gets its copy. */
void join_rows_cpu(float *const *x, int members, const float *const *part, int parts, int rows, int hidden)
{
	enum { STEP = 4096 };
	size_t size = (size_t) rows * (size_t) hidden;
	for (size_t i = 0; i < size; i += STEP) {
		int n = size - i < STEP ? (int) (size - i) : STEP;
		for (int p = 0; p < parts; p++)
			vector->add(x[0] + i, part[p] + i, n);
		for (int m = 1; m < members; m++)
			memcpy(x[m] + i, x[0] + i, (size_t) n * sizeof **x);
	}
}
