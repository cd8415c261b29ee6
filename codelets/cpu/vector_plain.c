/* SPDX-License-Identifier: Apache-2.0
 *
 * The shared inner loops for any CPU: four lanes of GNU C vectors, no multiply-add. */
#include "codelets/cpu/vector.h"
#include <string.h>

#define LANES 4
#define TARGET
#define INLINE   static inline __attribute__((always_inline))
#define OPS      vector_plain
#define OPS_NAME "plain"

typedef float vec __attribute__((vector_size(16)));
typedef int32_t vec_int __attribute__((vector_size(16)));
typedef uint32_t vec_bits __attribute__((vector_size(16)));
typedef float vec_unaligned __attribute__((vector_size(16), aligned(4), may_alias));

INLINE vec v_load(const float *p)
{
	return *(const vec_unaligned *) p;
}

INLINE void v_store(float *p, vec v)
{
	*(vec_unaligned *) p = v;
}

INLINE vec v_set(float f)
{
	return (vec){f, f, f, f};
}

INLINE vec v_fma(vec a, vec b, vec c)
{
	return a * b + c;
}

INLINE vec v_select(vec_int mask, vec a, vec b)
{
	return (vec) (((vec_int) a & mask) | ((vec_int) b & ~mask));
}

INLINE vec v_max(vec a, vec b)
{
	return v_select(a > b, a, b);
}

INLINE float v_reduce_add(vec v)
{
	return (v[0] + v[2]) + (v[1] + v[3]);
}

INLINE float v_reduce_max(vec v)
{
	float a = v[0] > v[1] ? v[0] : v[1], b = v[2] > v[3] ? v[2] : v[3];
	return a > b ? a : b;
}

/* Adding 1.5 · 2^23 leaves no bits below 1: correct for |v| < 2^22. */
INLINE vec v_round(vec v)
{
	return (v + v_set(12582912.0f)) - v_set(12582912.0f);
}

/* p · 2^n, or 0 where t < −126; n in [−126, 127] where it counts */
INLINE vec v_scale2(vec p, vec n, vec t)
{
	vec_bits exponent = ((vec_bits) __builtin_convertvector(n, vec_int) + 127) << 23;
	return v_select(t < v_set(-126.0f), (vec){0}, p * (vec) exponent);
}

/* Lanes i < count of v, the others of w. */
INLINE vec v_keep(vec v, int count, vec w)
{
	const vec_int lane = {0, 1, 2, 3};
	return v_select(lane < (vec_int){count, count, count, count}, v, w);
}

INLINE vec v_load_fp16(const void *p)
{
	const dtype_loose16 *h = p;
	return (vec){fp16_to_float(h[0]), fp16_to_float(h[1]), fp16_to_float(h[2]), fp16_to_float(h[3])};
}

INLINE void v_store_fp16(uint16_t *p, vec v)
{
	for (int i = 0; i < LANES; i++)
		p[i] = fp16_from_float(v[i]);
}

INLINE vec v_load_bf16(const void *p)
{
	const dtype_loose16 *h = p;
	return (vec){bf16_to_float(h[0]), bf16_to_float(h[1]), bf16_to_float(h[2]), bf16_to_float(h[3])};
}

INLINE void v_store_bf16(uint16_t *p, vec v)
{
	for (int i = 0; i < LANES; i++)
		p[i] = bf16_from_float(v[i]);
}

/* Even and odd elements of 2 · LANES bf16 values. */
INLINE vec v_pair_even(const uint16_t *p)
{
	return (vec){bf16_to_float(p[0]), bf16_to_float(p[2]), bf16_to_float(p[4]), bf16_to_float(p[6])};
}

INLINE vec v_pair_odd(const uint16_t *p)
{
	return v_pair_even(p + 1);
}

INLINE vec v_abs(vec v)
{
	return (vec) ((vec_int) v & 0x7fffffff);
}

INLINE bool v_all_below(vec v, float limit)
{
	vec_int below = v < v_set(limit);
	return (below[0] & below[1] & below[2] & below[3]) != 0;
}

INLINE void v_add_double(double *sums, vec v)
{
	for (int i = 0; i < LANES; i++)
		sums[i] += (double) v[i];
}

INLINE float s_fma(float a, float b, float c)
{
	return a * b + c;
}

#include "codelets/cpu/vector_body.h"
