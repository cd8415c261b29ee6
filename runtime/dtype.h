/* SPDX-License-Identifier: Apache-2.0
 *
 * Number formats of weights, activations and KV, and conversion between them. */
#ifndef OCTANT_DTYPE_H
#define OCTANT_DTYPE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* int8: integers with a scale for each row, as weights are packed and multiplied (codelets/cpu/gemm_int8.h); nothing is
 * stored so. */
enum dtype { DTYPE_FP32, DTYPE_FP16, DTYPE_BF16, DTYPE_INT8 };

#define DTYPE_INT8_TERMS 131072 /* of a sum of products of two int8, at most: 127² of each fit 32 bits */

/* Numbers of a file, which may lie at odd addresses. Compilers for x86 and ARM read them as fast as others. */
typedef uint16_t dtype_loose16 __attribute__((aligned(1), may_alias));
typedef uint32_t dtype_loose32 __attribute__((aligned(1), may_alias));

static inline size_t dtype_bytes(enum dtype dtype)
{
	return dtype == DTYPE_FP32 ? 4 : dtype == DTYPE_INT8 ? 1 : 2;
}

/* "fp32", "fp16", "bf16", "int8" */
const char *dtype_name(enum dtype dtype);

/* -1 when the word names none; understands also Hugging Face's "float32", "F32", "bfloat16", … Where int8 is no answer, the
 * caller says so. */
int dtype_parse(const char *word);

/* bfloat16 is the upper half of a float. Rounding is to nearest even; NaN stays NaN. */
static inline float bf16_to_float(uint16_t h)
{
	uint32_t u = (uint32_t) h << 16;
	float f;
	memcpy(&f, &u, sizeof f);
	return f;
}

static inline uint16_t bf16_from_float(float f)
{
	uint32_t u;
	memcpy(&u, &f, sizeof u);
	if ((u & 0x7fffffff) > 0x7f800000)
		return (uint16_t) (u >> 16 | 0x40);
	u += 0x7fff + (u >> 16 & 1);
	return (uint16_t) (u >> 16);
}

/* IEEE binary16, in software: the same bits with and without F16C. */
float fp16_to_float(uint16_t h);
uint16_t fp16_from_float(float f);

#endif
