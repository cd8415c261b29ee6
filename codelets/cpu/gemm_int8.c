/* SPDX-License-Identifier: Apache-2.0
 *
 * Products of 8-bit integers: which instructions serve, packing, and the walk over blocks and rows. */
#include "codelets/cpu/gemm_int8.h"
#include <math.h>
#include <stdbool.h>
#include <string.h>
#include "codelets/cpu/gemm_pass.h"
#include "codelets/cpu/vector.h"
#if defined(__x86_64__)
#include <cpuid.h>
#endif

enum {
	BLOCK = GEMM_BLOCK,
	LANES = 16, /* that a block's columns are rounded up to */
};

const struct int8_ops *int8 = &int8_plain;

const struct int8_ops *const *int8_available(void)
{
	static const struct int8_ops *all[5];
	int count = 0;
#if defined(__x86_64__)
	__builtin_cpu_init();
	unsigned a = 0, b, c = 0, d;
	if (__builtin_cpu_supports("avx2")) { /* which also says that the system saves the registers */
		if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
			__builtin_cpu_supports("avx512vl") && __get_cpuid_count(7, 0, &a, &b, &c, &d) && c >> 11 & 1)
			all[count++] = &int8_avx512_vnni;
		if (__get_cpuid_count(7, 1, &a, &b, &c, &d) && a >> 4 & 1)
			all[count++] = &int8_avx_vnni;
		all[count++] = &int8_avx2;
	}
#endif
	all[count++] = &int8_plain;
	all[count] = NULL;
	return all;
}

void int8_start(void)
{
	int8 = int8_available()[0];
}

/* ---- rows of X */

struct int8_scale int8_scale_of(uint32_t magnitude)
{
	float most;
	memcpy(&most, &magnitude, sizeof most);
	if (magnitude >= 0x7f800000)
		return (struct int8_scale){NAN, 0};
	if (most < 0x1p-119f) /* 127 / most would not be finite; such a row is nothing but zeros */
		return (struct int8_scale){0, 0};
	return (struct int8_scale){most / 127, 127 / most};
}

int32_t int8_quantise(const struct int8_scale *scale, const float *x, int n, int8_t *to)
{
	if (scale->inverse > 0)
		return int8->quantise(x, n, scale->inverse, to);
	memset(to, 0, (size_t) n);
	return 0;
}

void int8_row_end(void *row, int k, size_t stride, float scale, int32_t sum)
{
	size_t at = 4 * int8_groups(k);
	uint32_t correction = (uint32_t) sum * 128;
	memset((char *) row + k, 0, stride - (size_t) k);
	memcpy((char *) row + at, &scale, sizeof scale);
	memcpy((char *) row + at + sizeof scale, &correction, sizeof correction);
}

void int8_row_store(const float *x, int k, void *row, size_t stride)
{
	struct int8_scale s = int8_scale_of(int8->magnitude(x, k));
	int8_row_end(row, k, stride, s.scale, int8_quantise(&s, x, k, row));
}

void int8_row_load(const void *row, int k, float *x)
{
	const int8_t *q = row;
	float scale = int8_row_scale(q + 4 * int8_groups(k));
	for (int i = 0; i < k; i++)
		x[i] = (float) q[i] * scale;
}

/* ---- packing */

static int padded_width(int width)
{
	return (width + LANES - 1) / LANES * LANES;
}

static size_t block_bytes(int width, int k)
{
	return (size_t) padded_width(width) * (sizeof(float) + 4 * int8_groups(k));
}

size_t int8_packed_bytes(int n, int k)
{
	return (size_t) (n / BLOCK) * block_bytes(BLOCK, k) + block_bytes(n % BLOCK, k);
}

static struct int8_block block_at(const void *packed, int n, int k, int block)
{
	int width = n - block * BLOCK < BLOCK ? n - block * BLOCK : BLOCK, padded = padded_width(width);
	const float *scale = (const void *) ((const char *) packed + (size_t) block * block_bytes(BLOCK, k));
	return (struct int8_block){
		.scale = scale,
		.weight = (const uint8_t *) (scale + padded),
		.width = width,
		.padded = padded,
		.groups = (int) int8_groups(k),
	};
}

/* One row of W into a column of its block, by pieces that fit the cache: once for its scale, once for its values. */
static void pack_row(const struct int8_block *block, int column, int k, const char *data, enum dtype from)
{
	enum { STEP = 256 };
	float part[STEP];
	int8_t q[STEP];
	uint32_t magnitude = 0;
	for (int i = 0; i < k; i += STEP) {
		int n = k - i < STEP ? k - i : STEP;
		vector->to_float(from, data + (size_t) i * dtype_bytes(from), n, part);
		uint32_t most = int8->magnitude(part, n);
		magnitude = most > magnitude ? most : magnitude;
	}
	struct int8_scale s = int8_scale_of(magnitude);
	((float *) block->scale)[column] = s.scale;
	for (int i = 0; i < k; i += STEP) {
		int n = k - i < STEP ? k - i : STEP;
		memset(q, 0, sizeof q);
		vector->to_float(from, data + (size_t) i * dtype_bytes(from), n, part);
		int8_quantise(&s, part, n, q);
		uint8_t *to = (uint8_t *) block->weight + ((size_t) (i / 4) * (size_t) block->padded + (size_t) column) * 4;
		for (int j = 0; j < n; j += 4, to += 4 * (size_t) block->padded) {
			uint32_t four;
			memcpy(&four, q + j, sizeof four);
			four ^= 0x80808080; /* q + 128 as unsigned bytes */
			memcpy(to, &four, sizeof four);
		}
	}
}

void int8_pack(void *packed, int n, int k, int first_row, int rows, const struct gemm_source *source)
{
	const char *data = source->data;
	for (int row = first_row; row < first_row + rows; row++) {
		struct int8_block block = block_at(packed, n, k, row / BLOCK);
		pack_row(&block, row % BLOCK, k, data, source->dtype);
		data += source->stride * dtype_bytes(source->dtype);
	}
}

/* ---- running */

/* All rows by one block; `next`: weights that are read after it, or NULL. */
static void run_block(struct int8_block *block, const void *next, const int8_t *x, size_t ldx, int rows, float *y,
	size_t ldy)
{
	struct gemm_passes left = gemm_passes(rows, int8->rows, 1, next != NULL);
	block->ahead = next ? next : (const char *) block->weight;
	for (struct gemm_pass pass; gemm_next_pass(&left, &pass);) {
		block->lines = pass.lines;
		int8->tile(block, x, ldx, pass.rows, y, ldy);
		block->ahead += (size_t) block->groups * 64 * (size_t) pass.lines;
		x += (size_t) pass.rows * ldx;
		y += (size_t) pass.rows * ldy;
	}
}

void int8_run_blocks(const struct gemm_weight *weight, int first_block, int blocks, const void *x, size_t ldx, int rows,
	float *y, size_t ldy, const void *after)
{
	int span = (int) (GEMM_SPAN_BYTES / ldx) / int8->rows * int8->rows;
	if (span < int8->rows)
		span = int8->rows;
	for (int base = 0; base < rows; base += span) {
		int end = rows - base < span ? rows : base + span;
		for (int b = 0; b < blocks; b++) {
			struct int8_block block = block_at(weight->packed, weight->n, weight->k, first_block + b);
			bool more = block.width == BLOCK && (first_block + b + 1) * BLOCK < weight->n;
			run_block(&block,
				b + 1 == blocks && after ? after
				: more                   ? block.weight + (size_t) block.groups * 4 * BLOCK
							 : NULL,
				(const int8_t *) x + (size_t) base * ldx, ldx, end - base,
				y + (size_t) base * ldy + (size_t) b * BLOCK, ldy);
		}
	}
}

void int8_reference(const struct gemm_weight *weight, const void *x, size_t ldx, int rows, float *y, size_t ldy)
{
	size_t tail = 4 * int8_groups(weight->k);
	for (int row = 0; row < rows; row++) {
		const int8_t *q = (const int8_t *) x + (size_t) row * ldx;
		float scale = int8_row_scale(q + tail);
		for (int j = 0; j < weight->n; j++) {
			struct int8_block block = block_at(weight->packed, weight->n, weight->k, j / BLOCK);
			size_t column = (size_t) (j % BLOCK), padded = (size_t) block.padded;
			int64_t sum = 0;
			for (size_t i = 0; i < (size_t) weight->k; i++)
				sum += (int64_t) q[i] * ((int) block.weight[(i / 4 * padded + column) * 4 + i % 4] - 128);
			y[(size_t) row * ldy + (size_t) j] = (float) sum * block.scale[column] * scale;
		}
	}
}
