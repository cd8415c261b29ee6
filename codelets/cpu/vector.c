/* SPDX-License-Identifier: Apache-2.0
 *
 * Which instruction set the shared inner loops use on this CPU. */
#include "codelets/cpu/vector.h"
#if defined(__x86_64__)
#include <cpuid.h>
#endif

const struct vector_ops *vector = &vector_plain;

const struct vector_ops *const *vector_available(void)
{
	static const struct vector_ops *const all[] = {
#if defined(__x86_64__)
		&vector_avx512,
		&vector_avx2,
#endif
		&vector_plain,
		NULL,
	};
#if defined(__x86_64__)
	__builtin_cpu_init();
	unsigned a, b, c = 0, d; /* clang 14's builtin does not know f16c */
	bool f16c = __get_cpuid(1, &a, &b, &c, &d) && c & bit_F16C;
	if (!f16c || !__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
		return all + 2;
	if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
		!__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl"))
		return all + 1;
#endif
	return all;
}

void vector_start(void)
{
	vector = vector_available()[0];
}
