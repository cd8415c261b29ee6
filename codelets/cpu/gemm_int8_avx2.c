/* SPDX-License-Identifier: Apache-2.0
 *
 * Products of 8-bit integers with AVX2, in 16 bits where the processor has no instruction for bytes, and with AVX-VNNI.
 * (AVX2's own product of bytes saturates.) */
#include <string.h>
#include "codelets/cpu/gemm_int8.h"
#include "codelets/cpu/gemm_pass.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET __attribute__((target("avx2,fma")))
#define INLINE static inline __attribute__((always_inline)) TARGET

enum {
	LANES = 8,
	STRIP = 16,     /* columns of a tile: two vectors */
	ROWS_VNNI = 4,  /* 8 sums */
	ROWS_PAIRS = 2, /* 8 sums: each column's is in two halves */
};

static TARGET uint32_t magnitude(const float *x, int n)
{
	const __m256i mask = _mm256_set1_epi32(0x7fffffff);
	__m256i most = _mm256_setzero_si256();
	uint32_t lane[LANES], all = 0;
	int i = 0;
	for (; i + LANES <= n; i += LANES)
		most = _mm256_max_epu32(
			most, _mm256_and_si256(_mm256_loadu_si256((const __m256i *) (const void *) (x + i)), mask));
	_mm256_storeu_si256((__m256i *) (void *) lane, most);
	for (int j = 0; j < LANES; j++)
		all = lane[j] > all ? lane[j] : all;
	uint32_t rest = int8_plain.magnitude(x + i, n - i);
	return rest > all ? rest : all;
}

static TARGET int32_t quantise(const float *x, int n, float inverse, int8_t *to)
{
	const __m256 by = _mm256_set1_ps(inverse);
	__m256i sum = _mm256_setzero_si256();
	int32_t lane[LANES], all = 0;
	int i = 0;
	for (; i + LANES <= n; i += LANES) {
		__m256i q = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + i), by));
		__m128i words = _mm_packs_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1));
		sum = _mm256_add_epi32(sum, q);
		_mm_storel_epi64((__m128i *) (void *) (to + i), _mm_packs_epi16(words, words));
	}
	_mm256_storeu_si256((__m256i *) (void *) lane, sum);
	for (int j = 0; j < LANES; j++)
		all += lane[j];
	return all + int8_plain.quantise(x + i, n - i, inverse, to + i);
}

/* Sixteen columns' sums of a row into y, of which `width` count. */
INLINE void finish(__m256i low, __m256i high, const int8_t *tail, const float *scale, float *y, int width)
{
	__m256i correction = _mm256_set1_epi32(int8_word(tail + 4));
	__m256 row_scale = _mm256_set1_ps(int8_row_scale(tail));
	__m256 a = _mm256_cvtepi32_ps(_mm256_sub_epi32(low, correction));
	__m256 b = _mm256_cvtepi32_ps(_mm256_sub_epi32(high, correction));
	float both[STRIP], *to = width < STRIP ? both : y;
	_mm256_storeu_ps(to, _mm256_mul_ps(_mm256_mul_ps(a, _mm256_loadu_ps(scale)), row_scale));
	_mm256_storeu_ps(to + LANES, _mm256_mul_ps(_mm256_mul_ps(b, _mm256_loadu_ps(scale + LANES)), row_scale));
	if (width < STRIP)
		memcpy(y, both, (size_t) width * sizeof *y);
}

/* ---- AVX-VNNI: acc += four products of unsigned bytes w and signed bytes x, in each lane. As assembly, like the wider
 * one (gemm_int8_avx512.c), and since not every compiler that builds this knows the instruction's target. */
#define DOT(acc, w, x) __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc) : "x"(w), "x"(x))

INLINE void strip_vnni(const struct int8_block *b, int first, const int8_t *x, size_t ldx, float *y, size_t ldy,
	const int rows)
{
	const uint8_t *w = b->weight + 4 * first;
	size_t step = 4 * (size_t) b->padded, groups = (size_t) b->groups;
	__m256i low[ROWS_VNNI], high[ROWS_VNNI];
GEMM_UNROLL
	for (int r = 0; r < rows; r++)
		low[r] = high[r] = _mm256_setzero_si256();
	for (size_t g = 0; g < groups; g++, w += step) {
		__m256i w0 = _mm256_loadu_si256((const __m256i *) (const void *) w);
		__m256i w1 = _mm256_loadu_si256((const __m256i *) (const void *) (w + 32));
GEMM_UNROLL
		for (int r = 0; r < rows; r++) {
			__m256i four = _mm256_set1_epi32(int8_word(x + (size_t) r * ldx + 4 * g));
			DOT(low[r], w0, four);
			DOT(high[r], w1, four);
		}
	}
GEMM_UNROLL
	for (int r = 0; r < rows; r++)
		finish(low[r], high[r], x + (size_t) r * ldx + 4 * groups, b->scale + first,
			y + (size_t) r * ldy + first, b->width - first);
}

static TARGET void tile_vnni(const struct int8_block *b, const int8_t *x, size_t ldx, int rows, float *y, size_t ldy)
{
	for (int first = 0; first < b->width; first += STRIP)
		switch (rows) {
		case 1:
			strip_vnni(b, first, x, ldx, y, ldy, 1);
			break;
		case 2:
			strip_vnni(b, first, x, ldx, y, ldy, 2);
			break;
		case 3:
			strip_vnni(b, first, x, ldx, y, ldy, 3);
			break;
		default:
			strip_vnni(b, first, x, ldx, y, ldy, 4);
		}
}

/* ---- AVX2: bytes become words, and two products of words are added into 32 bits; a column has two such sums. */

INLINE __m256i words_of(const uint8_t *weight, int part)
{
	return _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *) (const void *) (weight + 16 * part)));
}

/* Both halves of columns 0 … 3 and 4 … 7 into one sum a column, in order. */
INLINE __m256i join(__m256i a, __m256i b)
{
	return _mm256_permute4x64_epi64(_mm256_hadd_epi32(a, b), _MM_SHUFFLE(3, 1, 2, 0));
}

INLINE void strip_pairs(const struct int8_block *b, int first, const int8_t *x, size_t ldx, float *y, size_t ldy,
	const int rows)
{
	const uint8_t *w = b->weight + 4 * first;
	size_t step = 4 * (size_t) b->padded, groups = (size_t) b->groups;
	__m256i sum[ROWS_PAIRS][4];
GEMM_UNROLL
	for (int r = 0; r < rows; r++)
GEMM_UNROLL
		for (int i = 0; i < 4; i++)
			sum[r][i] = _mm256_setzero_si256();
	for (size_t g = 0; g < groups; g++, w += step) {
		__m256i w0 = words_of(w, 0), w1 = words_of(w, 1), w2 = words_of(w, 2), w3 = words_of(w, 3);
GEMM_UNROLL
		for (int r = 0; r < rows; r++) {
			int32_t bytes = int8_word(x + (size_t) r * ldx + 4 * g);
			__m256i four = _mm256_cvtepi8_epi16(_mm_set1_epi32(bytes));
			sum[r][0] = _mm256_add_epi32(sum[r][0], _mm256_madd_epi16(w0, four));
			sum[r][1] = _mm256_add_epi32(sum[r][1], _mm256_madd_epi16(w1, four));
			sum[r][2] = _mm256_add_epi32(sum[r][2], _mm256_madd_epi16(w2, four));
			sum[r][3] = _mm256_add_epi32(sum[r][3], _mm256_madd_epi16(w3, four));
		}
	}
GEMM_UNROLL
	for (int r = 0; r < rows; r++)
		finish(join(sum[r][0], sum[r][1]), join(sum[r][2], sum[r][3]), x + (size_t) r * ldx + 4 * groups,
			b->scale + first, y + (size_t) r * ldy + first, b->width - first);
}

static TARGET void tile_pairs(const struct int8_block *b, const int8_t *x, size_t ldx, int rows, float *y, size_t ldy)
{
	for (int first = 0; first < b->width; first += STRIP)
		if (rows == 1)
			strip_pairs(b, first, x, ldx, y, ldy, 1);
		else
			strip_pairs(b, first, x, ldx, y, ldy, 2);
}

const struct int8_ops int8_avx_vnni = {"avx_vnni", ROWS_VNNI, magnitude, quantise, tile_vnni};
const struct int8_ops int8_avx2 = {"avx2", ROWS_PAIRS, magnitude, quantise, tile_pairs};
#else
typedef int no_avx2; /* a file of ISO C has at least one declaration */
#endif
