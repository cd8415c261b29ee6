/* SPDX-License-Identifier: Apache-2.0
 *
 * Products of 8-bit integers in plain C. */
#include <math.h>
#include <string.h>
#include "codelets/cpu/gemm_int8.h"

static uint32_t magnitude(const float *x, int n)
{
	uint32_t most = 0;
	for (int i = 0; i < n; i++) {
		uint32_t bits;
		memcpy(&bits, x + i, sizeof bits);
		bits &= 0x7fffffff;
		most = bits > most ? bits : most;
	}
	return most;
}

static int32_t quantise(const float *x, int n, float inverse, int8_t *to)
{
	int32_t sum = 0;
	for (int i = 0; i < n; i++) {
		int q = (int) lrintf(x[i] * inverse);
		to[i] = (int8_t) q;
		sum += q;
	}
	return sum;
}

static void tile(const struct int8_block *b, const int8_t *x, size_t ldx, int rows, float *y, size_t ldy)
{
	size_t padded = (size_t) b->padded, groups = (size_t) b->groups;
	for (int row = 0; row < rows; row++, x += ldx, y += ldy) {
		uint32_t sum[64] = {0}, correction = (uint32_t) int8_word(x + 4 * groups + 4);
		float scale = int8_row_scale(x + 4 * groups);
		for (size_t g = 0; g < groups; g++) {
			const uint8_t *w = b->weight + g * padded * 4;
			for (size_t j = 0; j < padded; j++)
				sum[j] += (uint32_t) (x[4 * g] * w[4 * j] + x[4 * g + 1] * w[4 * j + 1] +
						      x[4 * g + 2] * w[4 * j + 2] + x[4 * g + 3] * w[4 * j + 3]);
		}
		for (int j = 0; j < b->width; j++)
			y[j] = int8_result(sum[j], correction, b->scale[j], scale);
	}
}

const struct int8_ops int8_plain = {"plain", 8, magnitude, quantise, tile};
