/* SPDX-License-Identifier: Apache-2.0
 *
 * What the tests of kernels share: seeded numbers, buffers without slack (so that AddressSanitizer sees each byte too
 * many), packed random weights, and comparisons. */
#ifndef OCTANT_TESTS_KERNELS_H
#define OCTANT_TESTS_KERNELS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "codelets/codelets.h"
#include "codelets/cpu/rows.h"
#include "codelets/cpu/vector.h"

static uint64_t test_seed = 1;

static inline uint32_t test_random(void)
{
	test_seed = test_seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t) (test_seed >> 32);
}

static inline int test_between(int low, int high)
{
	return low + (int) (test_random() % (uint32_t) (high - low + 1));
}

/* roughly normal, standard deviation 1 */
static inline float test_normal(void)
{
	float sum = 0;
	for (int i = 0; i < 4; i++)
		sum += (float) test_random() * 0x1p-32f - 0.5f;
	return sum * 1.7320508f;
}

static inline void *test_buffer(size_t bytes)
{
	void *p = NULL;
	assert_int_equal(posix_memalign(&p, 64, bytes ? bytes : 1), 0);
	memset(p, 0, bytes);
	return p;
}

static inline float *test_floats(size_t n, float deviation)
{
	float *p = test_buffer(n * sizeof *p);
	for (size_t i = 0; i < n; i++)
		p[i] = test_normal() * deviation;
	return p;
}

/* n × k, each row of unit length or so, through a source of a random number format */
static inline struct gemm_weight test_weight(int n, int k, enum dtype dtype)
{
	float *w = test_floats((size_t) n * (size_t) k, 1 / sqrtf((float) k));
	void *packed = test_buffer(gemm_packed_bytes(n, k, dtype));
	struct gemm_source source = {w, DTYPE_FP32, (size_t) k};
	gemm_pack(packed, n, k, dtype, 0, n, &source);
	free(w);
	return (struct gemm_weight){packed, dtype, n, k};
}

static inline void test_weight_free(struct gemm_weight *weight)
{
	free((void *) weight->packed);
}

static inline void assert_near(const float *a, const float *b, size_t n, double tolerance, const char *what)
{
	for (size_t i = 0; i < n; i++)
		if (!(fabs((double) a[i] - (double) b[i]) <= tolerance))
			fail_msg("%s (%s): element %zu is %.9g, should be %.9g within %g", what, vector->name, i,
				(double) a[i], (double) b[i], tolerance);
}

static inline void assert_same_bits(const void *a, const void *b, size_t bytes, const char *what)
{
	if (memcmp(a, b, bytes))
		for (size_t i = 0; i < bytes; i++)
			if (((const char *) a)[i] != ((const char *) b)[i])
				fail_msg("%s (%s): byte %zu of %zu differs", what, vector->name, i, bytes);
}

/* Runs `test` once for each instruction set that this CPU has, those for integers beside them. */
static inline void test_each_set(void (*test)(void))
{
	const struct vector_ops *const *all = vector_available();
	const struct int8_ops *const *integer = int8_available();
	gemm_start();
	for (int i = 0, j = 0; all[i]; i++) {
		vector = all[i];
		int8 = integer[j];
		j += integer[j + 1] != NULL;
		test();
	}
	vector = all[0];
	int8 = integer[0];
}

#endif
