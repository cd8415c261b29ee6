/* SPDX-License-Identifier: Apache-2.0
 *
 * The shared inner loops for AVX2 with FMA and F16C: eight lanes. */
#include "codelets/cpu/vector.h"
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>

#define LANES    8
#define TARGET   __attribute__((target("avx2,fma,f16c")))
#define INLINE   static inline __attribute__((always_inline)) TARGET
#define OPS      vector_avx2
#define OPS_NAME "avx2"

typedef __m256 vec;

INLINE vec v_load(const float *p)
{
	return _mm256_loadu_ps(p);
}

INLINE void v_store(float *p, vec v)
{
	_mm256_storeu_ps(p, v);
}

INLINE vec v_set(float f)
{
	return _mm256_set1_ps(f);
}

INLINE vec v_fma(vec a, vec b, vec c)
{
	return _mm256_fmadd_ps(a, b, c);
}

INLINE vec v_max(vec a, vec b)
{
	return _mm256_max_ps(a, b);
}

INLINE float v_reduce_add(vec v)
{
	__m128 a = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
	a = _mm_add_ps(a, _mm_movehl_ps(a, a));
	return _mm_cvtss_f32(_mm_add_ss(a, _mm_movehdup_ps(a)));
}

INLINE float v_reduce_max(vec v)
{
	__m128 a = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
	a = _mm_max_ps(a, _mm_movehl_ps(a, a));
	return _mm_cvtss_f32(_mm_max_ss(a, _mm_movehdup_ps(a)));
}

INLINE vec v_round(vec v)
{
	return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

/* p · 2^n, or 0 where t < −126; n in [−126, 127] where it counts */
INLINE vec v_scale2(vec p, vec n, vec t)
{
	__m256i exponent = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
	return _mm256_and_ps(_mm256_cmp_ps(t, _mm256_set1_ps(-126.0f), _CMP_NLT_UQ),
		_mm256_mul_ps(p, _mm256_castsi256_ps(exponent)));
}

/* Lanes i < count of v, the others of w. */
INLINE vec v_keep(vec v, int count, vec w)
{
	const __m256i lane = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
	return _mm256_blendv_ps(w, v, _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(count), lane)));
}

INLINE vec v_load_fp16(const void *p)
{
	return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *) p));
}

INLINE void v_store_fp16(uint16_t *p, vec v)
{
	_mm_storeu_si128((__m128i *) p, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}

INLINE vec v_load_bf16(const void *p)
{
	__m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *) p));
	return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

INLINE void v_store_bf16(uint16_t *p, vec v)
{
	__m256i u = _mm256_castps_si256(v);
	__m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
	__m256i rounded = _mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
	__m256i quiet = _mm256_or_si256(u, _mm256_set1_epi32(0x400000));
	__m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
	rounded = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
	_mm_storeu_si128(
		(__m128i *) p, _mm_packus_epi32(_mm256_castsi256_si128(rounded), _mm256_extracti128_si256(rounded, 1)));
}

/* Even and odd elements of 2 · LANES bf16 values. */
INLINE vec v_pair_even(const uint16_t *p)
{
	return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_loadu_si256((const __m256i *) p), 16));
}

INLINE vec v_pair_odd(const uint16_t *p)
{
	return _mm256_castsi256_ps(
		_mm256_and_si256(_mm256_loadu_si256((const __m256i *) p), _mm256_set1_epi32((int) 0xffff0000)));
}

INLINE vec v_abs(vec v)
{
	return _mm256_and_ps(v, _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff)));
}

INLINE bool v_all_below(vec v, float limit)
{
	return _mm256_movemask_ps(_mm256_cmp_ps(v, _mm256_set1_ps(limit), _CMP_LT_OQ)) == 0xff;
}

INLINE void v_add_double(double *sums, vec v)
{
	__m256d low = _mm256_cvtps_pd(_mm256_castps256_ps128(v));
	__m256d high = _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
	_mm256_storeu_pd(sums, _mm256_add_pd(_mm256_loadu_pd(sums), low));
	_mm256_storeu_pd(sums + 4, _mm256_add_pd(_mm256_loadu_pd(sums + 4), high));
}

INLINE float s_fma(float a, float b, float c)
{
	return __builtin_fmaf(a, b, c);
}

#include "codelets/cpu/vector_body.h"
#else
typedef int no_avx2; /* a file of ISO C has at least one declaration */
#endif
