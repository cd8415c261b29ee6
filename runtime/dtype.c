/* SPDX-License-Identifier: Apache-2.0
 *
 * Number formats: names, and binary16 in software. */
#include "runtime/dtype.h"
#include <strings.h>

static const struct {
	const char *word;
	enum dtype dtype;
} words[] = {
	{ "fp32", DTYPE_FP32 }, { "fp16", DTYPE_FP16 }, { "bf16", DTYPE_BF16 }, { "int8", DTYPE_INT8 },
	{ "float32", DTYPE_FP32 }, { "float16", DTYPE_FP16 }, { "bfloat16", DTYPE_BF16 },
	{ "f32", DTYPE_FP32 }, { "f16", DTYPE_FP16 },
};

const char *dtype_name(enum dtype dtype)
{
	return words[dtype].word;
}

int dtype_parse(const char *word)
{
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (!strcasecmp(word, words[i].word))
			return (int) words[i].dtype;
	return -1;
}

float fp16_to_float(uint16_t h)
{
	uint32_t sign = (uint32_t) (h & 0x8000) << 16, exponent = h >> 10 & 31, fraction = h & 1023, u;
	float f;
	if (exponent == 31)
		u = sign | 0x7f800000 | fraction << 13;
	else if (exponent)
		u = sign | (exponent + 112) << 23 | fraction << 13;
	else { /* subnormal: fraction × 2^-24 */
		f = (float) fraction * 0x1p-24f;
		return sign ? -f : f;
	}
	memcpy(&f, &u, sizeof f);
	return f;
}

uint16_t fp16_from_float(float f)
{
	uint32_t u;
	memcpy(&u, &f, sizeof u);
	uint32_t sign = u >> 16 & 0x8000, magnitude = u & 0x7fffffff;
	if (magnitude > 0x7f800000)
		return (uint16_t) (sign | 0x7e00);
	if (magnitude >= 0x477ff000) /* rounds to 65536 or more */
		return (uint16_t) (sign | 0x7c00);
	if (magnitude < 0x38800000) { /* below 2^-14: adding 0.5 leaves fraction × 2^-24, rounded to even */
		float positive;
		memcpy(&positive, &magnitude, sizeof positive);
		positive += 0.5f;
		memcpy(&u, &positive, sizeof u);
		return (uint16_t) (sign | (u - 0x3f000000));
	}
	magnitude += 0xc8000fff + (magnitude >> 13 & 1); /* exponent − 112, round to nearest even */
	return (uint16_t) (sign | magnitude >> 13);
}
