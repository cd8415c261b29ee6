/* SPDX-License-Identifier: Apache-2.0
 *
 * Y = X · Wᵀ with weights packed once at load: FP32 by kernels that libxsmm compiles at run time, bf16 by our own
 * where the CPU has dot products of them (cpu/gemm_bf16.c), and by plain loops else.
 *
 * libxsmm counts in columns: its m is a block of 64 columns of Y (its A: the packed block), its n is rows of X
 * (its B), so Y is its C with leading dimension ldy. A kernel is made for one number of rows: blocks of 48 rows
 * and one for what remains, so at most 48 kernels a weight shape. */
#include "codelets/gemm.h"
#include <libxsmm.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include "codelets/cpu/gemm_bf16.h"
#include "codelets/cpu/gemm_int8.h"
#include "codelets/cpu/gemm_pass.h"
#include "codelets/cpu/vector.h"

enum {
	BLOCK = GEMM_BLOCK,
	ROWS = 48, /* rows of one call of libxsmm's */
};

static bool library = true;
static bool dot_bf16;

static void start(void)
{
	libxsmm_init();
	dot_bf16 = gemm_bf16_available();
	vector_start();
	int8_start();
}

void gemm_start(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, start);
}

void gemm_use_library(bool use)
{
	library = use;
}

/* k as it lies in the packed form */
static int padded_k(int k, enum dtype dtype)
{
	return dtype == DTYPE_FP32 ? k : (k + 1) / 2 * 2;
}

size_t gemm_packed_bytes(int n, int k, enum dtype dtype)
{
	size_t bytes = dtype == DTYPE_INT8 ? int8_packed_bytes(n, k)
					    : (size_t) n * (size_t) padded_k(k, dtype) * dtype_bytes(dtype);
	return (bytes + 63) / 64 * 64;
}

size_t gemm_stride(int k, enum dtype dtype)
{
	size_t line = 64 / dtype_bytes(dtype);
	size_t length = dtype == DTYPE_INT8 ? 4 * int8_groups(k) + INT8_ROW_TAIL : (size_t) k;
	return (length + line - 1) / line * line;
}

/* Rows first … first + rows − 1 of one block, from consecutive rows of the source: by pieces of them that fit the cache, so
 * that both sides are walked along their rows. */
static void pack_floats(
	float *block, int width, int k, int first, int rows, const char *data, enum dtype from, size_t stride)
{
	enum { STEP = 32 };
	float tile[BLOCK][STEP];
	for (int i = 0; i < k; i += STEP) {
		int n = k - i < STEP ? k - i : STEP;
		for (int row = 0; row < rows; row++)
			vector->to_float(
				from, data + ((size_t) row * stride + (size_t) i) * dtype_bytes(from), n, tile[row]);
		for (int j = 0; j < n; j++) {
			float *to = block + (size_t) (i + j) * (size_t) width + first;
			for (int row = 0; row < rows; row++)
				to[row] = tile[row][j];
		}
	}
}

/* The same in bf16, by pairs of k. What is bf16 already is copied. */
static void pack_pairs(
	char *block, int width, int k, int first, int rows, const char *data, enum dtype from, size_t stride)
{
	enum { STEP = 64, PAIR = 4 };
	float part[STEP];
	uint16_t half[STEP + 1];
	for (int i = 0; i < k; i += STEP)
		for (int row = 0; row < rows; row++) {
			const char *source = data + ((size_t) row * stride + (size_t) i) * dtype_bytes(from);
			int n = k - i < STEP ? k - i : STEP;
			if (from == DTYPE_BF16) {
				memcpy(half, source, (size_t) n * sizeof *half);
			} else {
				vector->to_float(from, source, n, part);
				vector->from_float(DTYPE_BF16, part, n, half);
			}
			half[n] = 0;
			char *to = block + ((size_t) (i / 2) * (size_t) width + (size_t) (first + row)) * PAIR;
			for (int j = 0; j < n; j += 2, to += (size_t) width * PAIR)
				memcpy(to, half + j, PAIR);
		}
}

void gemm_pack(void *packed, int n, int k, enum dtype dtype, int first_row, int rows, const struct gemm_source *source)
{
	size_t block_bytes = (size_t) BLOCK * (size_t) padded_k(k, dtype) * dtype_bytes(dtype);
	const char *data = source->data;
	if (dtype == DTYPE_INT8) {
		int8_pack(packed, n, k, first_row, rows, source);
		return;
	}
	for (int done = 0; done < rows;) {
		int row = first_row + done, block = row / BLOCK, first = row % BLOCK;
		int width = n - block * BLOCK < BLOCK ? n - block * BLOCK : BLOCK;
		int count = width - first < rows - done ? width - first : rows - done;
		char *to = (char *) packed + (size_t) block * block_bytes;
		const char *from = data + (size_t) done * source->stride * dtype_bytes(source->dtype);
		if (dtype == DTYPE_FP32)
			pack_floats((float *) (void *) to, width, k, first, count, from, source->dtype, source->stride);
		else
			pack_pairs(to, width, k, first, count, from, source->dtype, source->stride);
		done += count;
	}
}

static libxsmm_smmfunction find_kernel(enum dtype dtype, int width, int rows, int k, size_t ldx, size_t ldy)
{
	const float alpha = 1, beta = 0;
	const libxsmm_blasint lda = width, ldb = (libxsmm_blasint) ldx, ldc = (libxsmm_blasint) ldy;
	int flags = LIBXSMM_GEMM_FLAG_NONE;
	/* For up to 16 columns libxsmm cuts k into several sums, and how depends on the number of rows. */
	if (!library || dtype != DTYPE_FP32 || ldx > INT32_MAX || ldy > INT32_MAX || width <= 16)
		return NULL;
	return libxsmm_smmdispatch(width, rows, k, &lda, &ldb, &ldc, &alpha, &beta, &flags, NULL);
}

static void run_tile(enum dtype dtype, libxsmm_smmfunction kernel, const char *block, int width, int k, const char *x,
	size_t ldx, int rows, float *y, size_t ldy)
{
	if (kernel)
		kernel((const float *) block, (const float *) x, y);
	else
		vector->gemm(dtype, block, width, k, x, ldx, rows, y, ldy);
}

static void run_blocks(const struct gemm_weight *weight, int first_block, int blocks, const void *x, size_t ldx, int rows,
	float *y, size_t ldy, const void *after, struct gemm_soon *soon)
{
	enum dtype dtype = weight->dtype;
	if (dtype == DTYPE_INT8) {
		int8_run_blocks(weight, first_block, blocks, x, ldx, rows, y, ldy, after);
		return;
	}
	int k = padded_k(weight->k, dtype);
	size_t row_bytes = ldx * dtype_bytes(dtype), block_bytes = (size_t) BLOCK * (size_t) k * dtype_bytes(dtype);
	int span = (int) (GEMM_SPAN_BYTES / ((size_t) k * dtype_bytes(dtype))) / ROWS * ROWS;
	if (span < ROWS)
		span = ROWS;
	bool dots = library && dtype == DTYPE_BF16 && dot_bf16;
	for (int base = 0; base < rows; base += span) {
		int end = rows - base < span ? rows : base + span, rest = (end - base) % ROWS, width = 0;
		libxsmm_smmfunction whole = NULL, last = NULL;
		for (int b = 0; b < blocks; b++) {
			int column = (first_block + b) * BLOCK, row = base, before = width;
			const char *block = (const char *) weight->packed + (size_t) (first_block + b) * block_bytes;
			const char *from = (const char *) x + (size_t) base * row_bytes;
			float *to = y + (size_t) base * ldy + (size_t) b * BLOCK;
			width = weight->n - column < BLOCK ? weight->n - column : BLOCK;
			if (dots) {
				const char *next = b + 1 == blocks && after         ? after
						   : weight->n - column >= 2 * BLOCK ? block + block_bytes
										     : NULL;
				gemm_bf16_block((const uint16_t *) block, (const uint16_t *) next, width, k,
					(const uint16_t *) from, ldx, end - base, to, ldy, soon);
				continue;
			}
			if (width != before && end - base >= ROWS)
				whole = find_kernel(dtype, width, ROWS, k, ldx, ldy);
			if (width != before && rest)
				last = find_kernel(dtype, width, rest, k, ldx, ldy);
			for (; row + ROWS <= end; row += ROWS, from += ROWS * row_bytes, to += ROWS * ldy)
				run_tile(dtype, whole, block, width, k, from, ldx, ROWS, to, ldy);
			if (rest)
				run_tile(dtype, last, block, width, k, from, ldx, rest, to, ldy);
		}
	}
}

void gemm_run_blocks(const struct gemm_weight *weight, int first_block, int blocks, const void *x, size_t ldx, int rows,
	float *y, size_t ldy, const void *after)
{
	run_blocks(weight, first_block, blocks, x, ldx, rows, y, ldy, after, NULL);
}

void gemm_run_soon(const struct gemm_weight *weight, const void *x, size_t ldx, int rows, float *y, size_t ldy,
	struct gemm_soon *soon)
{
	run_blocks(weight, 0, (weight->n + BLOCK - 1) / BLOCK, x, ldx, rows, y, ldy, NULL, soon);
}

void gemm_run(const struct gemm_weight *weight, const void *x, size_t ldx, int rows, float *y, size_t ldy)
{
	gemm_run_soon(weight, x, ldx, rows, y, ldy, NULL);
}

void gemm_reference(const struct gemm_weight *weight, const void *x, size_t ldx, int rows, float *y, size_t ldy)
{
	if (weight->dtype == DTYPE_INT8) {
		int8_reference(weight, x, ldx, rows, y, ldy);
		return;
	}
	size_t k = (size_t) padded_k(weight->k, weight->dtype);
	for (size_t row = 0; row < (size_t) rows; row++)
		for (size_t j = 0; j < (size_t) weight->n; j++) {
			size_t block = j / BLOCK, column = j % BLOCK, start = block * BLOCK * k;
			size_t width =
				(size_t) weight->n - block * BLOCK < BLOCK ? (size_t) weight->n - block * BLOCK : BLOCK;
			double sum = 0;
			for (size_t i = 0; i < (size_t) weight->k; i++)
				if (weight->dtype == DTYPE_FP32)
					sum += (double) ((const float *) x)[row * ldx + i] *
					       (double) ((const float *) weight->packed)[start + i * width + column];
				else
					sum += (double) bf16_to_float(((const uint16_t *) x)[row * ldx + i]) *
					       (double) bf16_to_float(
						       ((const uint16_t *) weight->packed)[start + i / 2 * 2 * width +
											   2 * column + i % 2]);
			y[row * ldy + j] = (float) sum;
		}
}
