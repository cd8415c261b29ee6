/* SPDX-License-Identifier: Apache-2.0
 *
 * The shared inner loops for AVX-512 (F, BW, DQ, VL): sixteen lanes. */
#include "codelets/cpu/vector.h"
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>

#define LANES    16
#define TARGET   __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")))
#define INLINE   static inline __attribute__((always_inline)) TARGET
#define OPS      vector_avx512
#define OPS_NAME "avx512"

typedef __m512 vec;

INLINE vec v_load(const float *p)
{
	return _mm512_loadu_ps(p);
}

INLINE void v_store(float *p, vec v)
{
	_mm512_storeu_ps(p, v);
}

INLINE vec v_set(float f)
{
	return _mm512_set1_ps(f);
}

INLINE vec v_fma(vec a, vec b, vec c)
{
	return _mm512_fmadd_ps(a, b, c);
}

INLINE vec v_max(vec a, vec b)
{
	return _mm512_max_ps(a, b);
}

INLINE float v_reduce_add(vec v)
{
	return _mm512_reduce_add_ps(v);
}

INLINE float v_reduce_max(vec v)
{
	return _mm512_reduce_max_ps(v);
}

INLINE vec v_round(vec v)
{
	return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

/* p · 2^n, or 0 where t < −126 */
INLINE vec v_scale2(vec p, vec n, vec t)
{
	return _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(t, _mm512_set1_ps(-126.0f), _CMP_NLT_UQ), p, n);
}

/* Lanes i < count of v, the others of w. */
INLINE vec v_keep(vec v, int count, vec w)
{
	const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
	return _mm512_mask_blend_ps(_mm512_cmplt_epi32_mask(lane, _mm512_set1_epi32(count)), w, v);
}

INLINE vec v_load_fp16(const void *p)
{
	return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *) p));
}

INLINE void v_store_fp16(uint16_t *p, vec v)
{
	_mm256_storeu_si256((__m256i *) p, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

INLINE vec v_load_bf16(const void *p)
{
	__m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *) p));
	return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

/* In integers, since the bf16 instruction flushes subnormal numbers. */
INLINE void v_store_bf16(uint16_t *p, vec v)
{
	__m512i u = _mm512_castps_si512(v);
	__m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
	__m512i rounded = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
	__mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
	rounded = _mm512_mask_or_epi32(rounded, nan, u, _mm512_set1_epi32(0x400000));
	_mm256_storeu_si256((__m256i *) p, _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16)));
}

/* Even and odd elements of 2 · LANES bf16 values. */
INLINE vec v_pair_even(const uint16_t *p)
{
	return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16));
}

INLINE vec v_pair_odd(const uint16_t *p)
{
	return _mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(p), _mm512_set1_epi32((int) 0xffff0000)));
}

INLINE vec v_abs(vec v)
{
	return _mm512_abs_ps(v);
}

INLINE bool v_all_below(vec v, float limit)
{
	return _mm512_cmp_ps_mask(v, _mm512_set1_ps(limit), _CMP_LT_OQ) == 0xffff;
}

INLINE void v_add_double(double *sums, vec v)
{
	__m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(v));
	__m512d high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
	_mm512_storeu_pd(sums, _mm512_add_pd(_mm512_loadu_pd(sums), low));
	_mm512_storeu_pd(sums + 8, _mm512_add_pd(_mm512_loadu_pd(sums + 8), high));
}

INLINE float s_fma(float a, float b, float c)
{
	return __builtin_fmaf(a, b, c);
}

#include "codelets/cpu/vector_body.h"
#else
typedef int no_avx512; /* a file of ISO C has at least one declaration */
#endif
