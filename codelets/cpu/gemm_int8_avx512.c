/* SPDX-License-Identifier: Apache-2.0
 *
 * Products of 8-bit integers with AVX-512 VNNI: tiles of six rows and 64 columns, whose 24 sums, with four vectors of
 * weights and one of the row, fill the registers. */
#include <string.h>
#include "codelets/cpu/gemm_int8.h"
#include "codelets/cpu/gemm_pass.h"

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

/* `rows` rows by `vectors` (1 or 4) vectors of columns; `lanes` of the last one are stored. What is const here is a
 * constant where this is called, so that the loops unroll and sums stay in registers. */
INLINE void tile_of(const struct int8_block *b, int first, const int8_t *x, size_t ldx, float *y, size_t ldy,
	__mmask16 lanes, const int rows, const int vectors, const int lines)
{
	const uint8_t *w = b->weight + 4 * first;
	const char *ahead = b->ahead;
	size_t step = 4 * (size_t) b->padded, groups = (size_t) b->groups;
	__m512i sum[ROWS][4];
GEMM_UNROLL
	for (int r = 0; r < rows; r++)
GEMM_UNROLL
		for (int v = 0; v < vectors; v++)
			sum[r][v] = _mm512_setzero_si512();
	for (size_t g = 0; g < groups; g++, w += step, ahead += 64 * lines) {
		__m512i w0 = load_weights(w, 0), w1 = w0, w2 = w0, w3 = w0;
		if (vectors == 4)
			w1 = load_weights(w, 1), w2 = load_weights(w, 2), w3 = load_weights(w, 3);
		if (lines > 0)
			_mm_prefetch(ahead, _MM_HINT_T1);
		if (lines > 1)
			_mm_prefetch(ahead + 64, _MM_HINT_T1);
GEMM_UNROLL
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
GEMM_UNROLL
	for (int r = 0; r < rows; r++)
GEMM_UNROLL
		for (int v = 0; v < vectors; v++)
			finish(sum[r][v], x + (size_t) r * ldx + 4 * groups, b->scale + first + LANES * v,
				y + (size_t) r * ldy + first + LANES * v, v == vectors - 1 ? lanes : 0xffff);
}

#define TILES(name, vectors, lines)                                                                                  \
	static TARGET void name(const struct int8_block *b, int first, const int8_t *x, size_t ldx, int rows, float *y, \
		size_t ldy, __mmask16 lanes)                                                                          \
	{                                                                                                             \
		switch (rows) {                                                                                       \
		case 1: tile_of(b, first, x, ldx, y, ldy, lanes, 1, vectors, lines); break;                            \
		case 2: tile_of(b, first, x, ldx, y, ldy, lanes, 2, vectors, lines); break;                            \
		case 3: tile_of(b, first, x, ldx, y, ldy, lanes, 3, vectors, lines); break;                            \
		case 4: tile_of(b, first, x, ldx, y, ldy, lanes, 4, vectors, lines); break;                            \
		case 5: tile_of(b, first, x, ldx, y, ldy, lanes, 5, vectors, lines); break;                            \
		default: tile_of(b, first, x, ldx, y, ldy, lanes, 6, vectors, lines); break;                           \
		}                                                                                                     \
	}
TILES(tiles_narrow, 1, 0)
TILES(tiles_alone, 4, 0)
TILES(tiles_ahead, 4, 1)
TILES(tiles_far_ahead, 4, 2)

static TARGET void tile(const struct int8_block *b, const int8_t *x, size_t ldx, int rows, float *y, size_t ldy)
{
	if (b->width < 4 * LANES)
		for (int first = 0; first < b->width; first += LANES) {
			int left = b->width - first;
			tiles_narrow(b, first, x, ldx, rows, y, ldy, left < LANES ? (__mmask16) ((1u << left) - 1) : 0xffff);
		}
	else if (!b->lines)
		tiles_alone(b, 0, x, ldx, rows, y, ldy, 0xffff);
	else if (b->lines == 1)
		tiles_ahead(b, 0, x, ldx, rows, y, ldy, 0xffff);
	else
		tiles_far_ahead(b, 0, x, ldx, rows, y, ldy, 0xffff);
}

const struct int8_ops int8_avx512_vnni = {"avx512_vnni", ROWS, magnitude, quantise, tile};
#else
typedef int no_avx512; /* a file of ISO C has at least one declaration */
#endif
