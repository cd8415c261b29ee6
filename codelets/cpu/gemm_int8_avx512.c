/* SPDX-License-Identifier: Apache-2.0
 *
 * Products of 8-bit integers with AVX-512 VNNI: tiles of six rows and 64 columns, whose 24 sums, with four vectors of
 * weights and one of the row, fill the registers. */
#include <string.h>
#include "codelets/cpu/gemm_int8.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx2,fma")))
#define INLINE static inline __attribute__((always_inline)) TARGET

enum { ROWS = 6, LANES = 16 };

static TARGET uint32_t magnitude(const float *x, int n)
{
	const __m512i mask = _mm512_set1_epi32(0x7fffffff);
	__m512i most = _mm512_setzero_si512();
	for (int i = 0; i < n; i += LANES) {
		__mmask16 lanes = n - i < LANES ? (__mmask16) ((1u << (n - i)) - 1) : 0xffff;
		__m512i bits = _mm512_castps_si512(_mm512_maskz_loadu_ps(lanes, x + i));
		most = _mm512_max_epu32(most, _mm512_and_si512(bits, mask));
	}
	return _mm512_reduce_max_epu32(most);
}

static TARGET int32_t quantise(const float *x, int n, float inverse, int8_t *to)
{
	const __m512 by = _mm512_set1_ps(inverse);
	__m512i sum = _mm512_setzero_si512();
	for (int i = 0; i < n; i += LANES) {
		__mmask16 lanes = n - i < LANES ? (__mmask16) ((1u << (n - i)) - 1) : 0xffff;
		__m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_maskz_loadu_ps(lanes, x + i), by));
		sum = _mm512_add_epi32(sum, q);
		_mm512_mask_cvtepi32_storeu_epi8(to + i, lanes, q);
	}
	return _mm512_reduce_add_epi32(sum);
}

/* acc += four products of unsigned bytes w and signed bytes x, in each lane. As assembly, since GCC 12 copies the sums
 * from register to register around the intrinsic, which takes two thirds of the speed. */
#define DOT(acc, w, x) __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(w), "v"(x))

INLINE __m512i load_weights(const uint8_t *weight, int vector)
{
	return _mm512_loadu_si512(weight + 64 * vector);
}

INLINE void finish(__m512i sum, const int8_t *tail, const float *scale, float *y, __mmask16 lanes)
{
	__m512i correction = _mm512_set1_epi32(int8_word(tail + 4));
	__m512 value = _mm512_cvtepi32_ps(_mm512_sub_epi32(sum, correction));
	value = _mm512_mul_ps(value, _mm512_loadu_ps(scale));
	value = _mm512_mul_ps(value, _mm512_set1_ps(int8_row_scale(tail)));
	_mm512_mask_storeu_ps(y, lanes, value);
}

/* `rows` rows by `vectors` (1 or 4) vectors of columns; `lanes` of the last one are stored. */
INLINE void tile_of(const struct int8_block *b, int first, const int8_t *x, size_t ldx, float *y, size_t ldy,
	__mmask16 lanes, const int rows, const int vectors)
{
	const uint8_t *w = b->weight + 4 * first;
	size_t step = 4 * (size_t) b->padded, groups = (size_t) b->groups;
	__m512i sum[ROWS][4];
#pragma GCC unroll 6
	for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
		for (int v = 0; v < vectors; v++)
			sum[r][v] = _mm512_setzero_si512();
	for (size_t g = 0; g < groups; g++, w += step) {
		__m512i w0 = load_weights(w, 0), w1 = w0, w2 = w0, w3 = w0;
		if (vectors == 4)
			w1 = load_weights(w, 1), w2 = load_weights(w, 2), w3 = load_weights(w, 3);
#pragma GCC unroll 6
		for (int r = 0; r < rows; r++) {
			__m512i four = _mm512_set1_epi32(int8_word(x + (size_t) r * ldx + 4 * g));
			DOT(sum[r][0], w0, four);
			if (vectors == 4) {
				DOT(sum[r][1], w1, four);
				DOT(sum[r][2], w2, four);
				DOT(sum[r][3], w3, four);
			}
		}
	}
#pragma GCC unroll 6
	for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
		for (int v = 0; v < vectors; v++)
			finish(sum[r][v], x + (size_t) r * ldx + 4 * groups, b->scale + first + LANES * v,
				y + (size_t) r * ldy + first + LANES * v, v == vectors - 1 ? lanes : 0xffff);
}

#define TILE(rows, vectors)                                                                                        \
	static TARGET __attribute__((noinline)) void tile_##rows##_##vectors(const struct int8_block *b, int first, \
		const int8_t *x, size_t ldx, float *y, size_t ldy, __mmask16 lanes)                                 \
	{                                                                                                           \
		tile_of(b, first, x, ldx, y, ldy, lanes, rows, vectors);                                            \
	}
TILE(1, 1) TILE(2, 1) TILE(3, 1) TILE(4, 1) TILE(5, 1) TILE(6, 1)
TILE(1, 4) TILE(2, 4) TILE(3, 4) TILE(4, 4) TILE(5, 4) TILE(6, 4)

typedef void (*tile_function)(const struct int8_block *b, int first, const int8_t *x, size_t ldx, float *y, size_t ldy,
	__mmask16 lanes);

static TARGET void tile(const struct int8_block *b, const int8_t *x, size_t ldx, int rows, float *y, size_t ldy)
{
	static const tile_function narrow[] = {tile_1_1, tile_2_1, tile_3_1, tile_4_1, tile_5_1, tile_6_1};
	static const tile_function wide[] = {tile_1_4, tile_2_4, tile_3_4, tile_4_4, tile_5_4, tile_6_4};
	if (b->width == 4 * LANES) {
		wide[rows - 1](b, 0, x, ldx, y, ldy, 0xffff);
		return;
	}
	for (int first = 0; first < b->width; first += LANES) {
		int left = b->width - first;
		narrow[rows - 1](b, first, x, ldx, y, ldy, left < LANES ? (__mmask16) ((1u << left) - 1) : 0xffff);
	}
}

const struct int8_ops int8_avx512_vnni = {"avx512_vnni", ROWS, magnitude, quantise, tile};
#else
typedef int no_avx512; /* a file of ISO C has at least one declaration */
#endif
