/* SPDX-License-Identifier: Apache-2.0
 *
 * The experts' SwiGLU networks over rows grouped by expert. */
#include "codelets/codelets.h"
#include "codelets/cpu/gemm_pass.h"
#include "codelets/cpu/rows.h"
#include "codelets/cpu/swiglu.h"

void expert_pack_gate_up(void *packed, int width, int hidden, enum dtype dtype, const struct gemm_source *gate,
	const struct gemm_source *up)
{
	for (int i = 0; i < width; i += SWIGLU_HALF) {
		int n = width - i < SWIGLU_HALF ? width - i : SWIGLU_HALF;
		struct gemm_source g = *gate, u = *up;
		g.data = (const char *) g.data + (size_t) i * g.stride * dtype_bytes(g.dtype);
		u.data = (const char *) u.data + (size_t) i * u.stride * dtype_bytes(u.dtype);
		gemm_pack(packed, 2 * width, hidden, dtype, 2 * i, n, &g);
		gemm_pack(packed, 2 * width, hidden, dtype, 2 * i + n, n, &u);
	}
}

void expert_pack_bias(float *bias, int width, const struct gemm_source *gate, const struct gemm_source *up)
{
	for (int i = 0; i < width; i += SWIGLU_HALF) {
		int n = width - i < SWIGLU_HALF ? width - i : SWIGLU_HALF;
		vector->to_float(gate->dtype, (const char *) gate->data + (size_t) i * dtype_bytes(gate->dtype), n,
			bias + 2 * i);
		vector->to_float(
			up->dtype, (const char *) up->data + (size_t) i * dtype_bytes(up->dtype), n, bias + 2 * i + n);
	}
}

size_t swiglu_workspace(int width, enum dtype compute)
{
	enum dtype parts = gemm_parts(compute);
	size_t used = 0;
	workspace_take(NULL, &used, SWIGLU_ROWS * gemm_stride(width, parts) * dtype_bytes(parts));
	if (parts != compute)
		workspace_take(NULL, &used, SWIGLU_ROWS * gemm_stride(width, compute) * dtype_bytes(compute));
	workspace_take(NULL, &used, (size_t) SWIGLU_ROWS * 2 * SWIGLU_HALF * sizeof(float));
	return used;
}

/* `rows` rows of the product of some blocks, `width` columns of gate and as many of up, into the activation. */
static void activate(float *product, size_t ldp, int width, const float *bias, enum dtype compute, char *active,
	size_t stride, int rows)
{
	for (int row = 0; row < rows; row++, product += ldp, active += stride * dtype_bytes(compute)) {
		if (bias)
			vector->add(product, bias, 2 * width);
		vector->swiglu(product, width, compute, active);
	}
}

/* Whole rows of the activation, in the compute type. */
static void end_rows(char *active, int width, enum dtype parts, int rows, char *down, enum dtype compute)
{
	size_t size = dtype_bytes(parts), stride = gemm_stride(width, parts), down_stride = gemm_stride(width, compute);
	for (size_t row = 0; row < (size_t) rows; row++)
		if (parts != compute)
			row_store(compute, (const float *) (const void *) (active + row * stride * size), width,
				down + row * down_stride * dtype_bytes(compute), down_stride);
		else
			memset(active + (row * stride + (size_t) width) * size, 0, (stride - (size_t) width) * size);
}

/* Few rows take several blocks of columns at once, as many as leave the product within the workspace: a power of two,
 * so that libxsmm has few kernels to make. */
void swiglu_run(const struct expert_weights *weights, int hidden, int width, enum dtype compute, const void *in,
	size_t ldx, int rows, float *out, const void *after, void *workspace)
{
	enum dtype parts = gemm_parts(compute);
	size_t used = 0, stride = gemm_stride(width, parts), size = dtype_bytes(parts);
	size_t down_stride = gemm_stride(width, compute);
	int all = (width + SWIGLU_HALF - 1) / SWIGLU_HALF;
	char *active = workspace_take(workspace, &used, SWIGLU_ROWS * stride * size), *down = active;
	if (parts != compute)
		down = workspace_take(workspace, &used, SWIGLU_ROWS * down_stride * dtype_bytes(compute));
	float *product = workspace_take(workspace, &used, (size_t) SWIGLU_ROWS * 2 * SWIGLU_HALF * sizeof *product);
	for (int base = 0; base < rows; base += SWIGLU_ROWS) {
		int count = rows - base < SWIGLU_ROWS ? rows - base : SWIGLU_ROWS, step = 1;
		while (2 * step * count <= SWIGLU_ROWS && step < all)
			step *= 2;
		size_t ldp = (size_t) step * 2 * SWIGLU_HALF;
		const char *x = (const char *) in + (size_t) base * ldx * dtype_bytes(compute);
		float *y = out + (size_t) base * (size_t) hidden;
		for (int block = 0; block < all; block += step) {
			int blocks = all - block < step ? all - block : step, i = block * SWIGLU_HALF;
			int n = width - i < blocks * SWIGLU_HALF ? width - i : blocks * SWIGLU_HALF;
			gemm_run_blocks(&weights->gate_up, block, blocks, x, ldx, count, product, ldp,
				block + blocks == all ? weights->down.packed : NULL);
			activate(product, ldp, n, weights->gate_up_bias ? weights->gate_up_bias + 2 * i : NULL, parts,
				active + (size_t) i * size, stride, count);
		}
		end_rows(active, width, parts, count, down, compute);
		gemm_run_blocks(&weights->down, 0, (hidden + GEMM_BLOCK - 1) / GEMM_BLOCK, down, down_stride, count, y,
			(size_t) hidden, base + count < rows ? weights->gate_up.packed : after);
		if (weights->down_bias)
			for (int row = 0; row < count; row++)
				vector->add(y + (size_t) row * (size_t) hidden, weights->down_bias, hidden);
	}
}

size_t experts_workspace(int hidden, int width, enum dtype compute)
{
	(void) hidden;
	return swiglu_workspace(width, compute);
}

void experts_cpu(const struct experts_args *a)
{
	size_t stride = gemm_stride(a->hidden, a->compute), size = dtype_bytes(a->compute);
	for (int e = 0, next = 0; e < a->experts; e = next) {
		size_t first = (size_t) a->offset[e];
		int rows = a->offset[e + 1] - a->offset[e];
		for (next = e + 1; next < a->experts && a->offset[next + 1] == a->offset[next];)
			next++;
		if (rows > 0)
			swiglu_run(&a->weights[e], a->hidden, a->width, a->compute,
				(const char *) a->in + first * stride * size, stride, rows,
				a->out + first * (size_t) a->hidden,
				next < a->experts ? a->weights[next].gate_up.packed : NULL, a->workspace);
	}
}
