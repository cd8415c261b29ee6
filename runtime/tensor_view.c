/* SPDX-License-Identifier: Apache-2.0
 *
 * A matrix of a checkpoint as it lies in memory: rows as floats, and the search for what is not finite. */
#include "runtime/tensor_view.h"
#include <stdbool.h>
#include <string.h>

void tensor_row_to_float(const struct tensor_view *view, int64_t row, float *to)
{
	const void *from = tensor_row(view, row);
	const dtype_loose16 *half = from;
	int64_t n = view->shape[1];

	switch (view->dtype) {
	case DTYPE_FP32:
		memcpy(to, from, (size_t) n * sizeof *to);
		break;
	case DTYPE_FP16:
		for (int64_t i = 0; i < n; i++)
			to[i] = fp16_to_float(half[i]);
		break;
	case DTYPE_BF16:
		for (int64_t i = 0; i < n; i++)
			to[i] = bf16_to_float(half[i]);
		break;
	case DTYPE_INT8: /* no checkpoint's tensor is */
		break;
	}
}

/* A value is NaN or infinite when all bits of its exponent are set, that is when its magnitude, as an integer, is not
 * below that of infinity. Blocks of constant length, so that compilers turn the inner loop into vectors at -O2. */
enum { BLOCK = 256 };

static bool all_finite32(const dtype_loose32 *value, int64_t n)
{
	int64_t i = 0;
	for (; i + BLOCK <= n; i += BLOCK) {
		int32_t bad = 0;
		for (int j = 0; j < BLOCK; j++)
			bad |= (int32_t) (value[i + j] & 0x7fffffff) > 0x7f7fffff;
		if (bad)
			return false;
	}
	for (; i < n; i++)
		if ((value[i] & 0x7fffffff) > 0x7f7fffff)
			return false;
	return true;
}

static bool all_finite16(const dtype_loose16 *value, int64_t n, uint16_t infinity)
{
	const int16_t most = (int16_t) (infinity - 1);
	int64_t i = 0;
	for (; i + BLOCK <= n; i += BLOCK) {
		int16_t bad = 0;
		for (int j = 0; j < BLOCK; j++)
			bad |= (int16_t) (value[i + j] & 0x7fff) > most;
		if (bad)
			return false;
	}
	for (; i < n; i++)
		if ((value[i] & 0x7fff) >= infinity)
			return false;
	return true;
}

static bool all_finite(const struct tensor_view *view, const void *value, int64_t n)
{
	if (view->dtype == DTYPE_FP32)
		return all_finite32(value, n);
	return all_finite16(value, n, view->dtype == DTYPE_FP16 ? 0x7c00 : 0x7f80);
}

/* The slow way, once it is known that there is one. */
static int complain(const struct tensor_view *view, int64_t row, struct error *error)
{
	const char *from = tensor_row(view, row);
	size_t size = dtype_bytes(view->dtype);
	int64_t column = 0;
	uint32_t word = 0;
	uint16_t half;

	while (column + 1 < view->shape[1] && all_finite(view, from + (size_t) column * size, 1))
		column++;
	if (view->dtype == DTYPE_FP32) {
		memcpy(&word, from + (size_t) column * size, sizeof word);
	} else {
		memcpy(&half, from + (size_t) column * size, sizeof half);
		word = view->dtype == DTYPE_BF16 ? (uint32_t) half << 16 :
			(half & 0x3ff ? 0x7fc00000u : 0x7f800000u) | (uint32_t) (half & 0x8000) << 16;
	}
	const char *what = word & 0x7fffff ? "not a number" : word >> 31 ? "minus infinity" : "infinity";
	if (view->shape[0] == 1 && !view->name_row)
		return error_set(error, ERROR_INPUT, view->file,
			"tensor \"%.200s\": element %lld is %s; weights must be finite", view->name, (long long) column,
			what);
	return error_set(error, ERROR_INPUT, view->file,
		"tensor \"%.200s\": element [%lld, %lld] is %s; weights must be finite", view->name,
		(long long) (view->name_row + row), (long long) column, what);
}

int tensor_check_finite(const struct tensor_view *view, int64_t row, int64_t rows, struct error *error)
{
	int64_t columns = view->shape[1];

	if (row < 0 || rows < 0 || row > view->shape[0] - rows)
		return error_set(error, ERROR_RUN, view->file, "tensor \"%.200s\": rows %lld to %lld of %lld were asked for",
			view->name, (long long) row, (long long) (row + rows), (long long) view->shape[0]);
	if (view->row_stride == columns && all_finite(view, tensor_row(view, row), rows * columns))
		return 0;
	for (int64_t r = row; r < row + rows; r++)
		if (!all_finite(view, tensor_row(view, r), columns))
			return complain(view, r, error);
	return 0;
}
