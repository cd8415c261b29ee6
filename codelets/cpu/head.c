/* SPDX-License-Identifier: Apache-2.0
 *
 * Final norm and logits of the rows whose next token is wanted. */
#include "codelets/codelets.h"
#include "codelets/cpu/rows.h"

enum { HEAD_ROWS = 192 }; /* that see each weight once */

size_t head_workspace(int hidden, enum dtype compute)
{
	size_t used = 0;
	workspace_take(NULL, &used, HEAD_ROWS * gemm_stride(hidden, compute) * dtype_bytes(compute));
	return used;
}

void head_cpu(const struct head_args *a)
{
	size_t stride = gemm_stride(a->hidden, a->compute), size = dtype_bytes(a->compute), n = (size_t) a->weight.n;
	for (int base = 0; base < a->samples; base += HEAD_ROWS) {
		int count = a->samples - base < HEAD_ROWS ? a->samples - base : HEAD_ROWS;
		for (int i = 0; i < count; i++)
			norm_cpu(a->x + (size_t) (a->sample[base + i].row - a->row_base) * (size_t) a->hidden, 1,
				a->hidden, a->norm, a->norm_epsilon, a->compute,
				(char *) a->workspace + (size_t) i * stride * size, stride);
		gemm_run(&a->weight, a->workspace, stride, count, a->logits + (size_t) base * n, n);
	}
}
