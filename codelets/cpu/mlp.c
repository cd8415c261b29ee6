/* SPDX-License-Identifier: Apache-2.0
 *
 * A dense layer's MLP, and the shared expert with its gate. */
#include "codelets/codelets.h"
#include "codelets/cpu/rows.h"
#include "codelets/cpu/swiglu.h"

size_t mlp_workspace(int hidden, int width, enum dtype compute)
{
	size_t used = 0;
	workspace_take(NULL, &used, SWIGLU_ROWS * gemm_stride(hidden, compute) * dtype_bytes(compute));
	workspace_take(NULL, &used, (size_t) hidden * sizeof(float));
	workspace_take(NULL, &used, swiglu_workspace(width, compute));
	return used;
}

void mlp_cpu(const struct mlp_args *a)
{
	size_t used = 0, stride = gemm_stride(a->hidden, a->compute), size = dtype_bytes(a->compute);
	size_t hidden = (size_t) a->hidden;
	char *own = workspace_take(a->workspace, &used, SWIGLU_ROWS * stride * size);
	float *row_of_h = workspace_take(a->workspace, &used, hidden * sizeof *row_of_h);
	void *rest = workspace_take(a->workspace, &used, swiglu_workspace(a->width, a->compute));
	for (int base = 0; base < a->rows; base += SWIGLU_ROWS) {
		int count = a->rows - base < SWIGLU_ROWS ? a->rows - base : SWIGLU_ROWS;
		float *out = a->out + (size_t) base * hidden;
		const char *h = own;
		if (a->x)
			norm_cpu(a->x + (size_t) base * hidden, count, a->hidden, a->norm, a->norm_epsilon, a->compute,
				own, stride);
		else
			h = (const char *) a->h + (size_t) base * stride * size;
		swiglu_run(&a->weights, a->hidden, a->width, a->compute, h, stride, count, out, NULL, rest);
		for (int row = 0; a->gate && row < count; row++) {
			float *y = out + (size_t) row * hidden;
			row_load(a->compute, h + (size_t) row * stride * size, a->hidden, row_of_h);
			float logit = vector->dot(row_of_h, a->gate, a->hidden);
			float open = (float) (1 / (1 + exp(-(double) logit)));
			vector->multiply(y, open, a->hidden, y);
		}
	}
}
