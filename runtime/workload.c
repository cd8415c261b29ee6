/* SPDX-License-Identifier: Apache-2.0
 *
 * Seeded lengths. */
#include "runtime/workload.h"

uint64_t workload_random(uint64_t *state)
{
	uint64_t x = *state += 0x9e3779b97f4a7c15ull;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

double workload_uniform(uint64_t *state)
{
	return (double) (workload_random(state) >> 11) * 0x1p-53;
}

void workload_lengths(const struct graph_workload *workload, int *prompt_tokens)
{
	uint64_t state = workload->seed;
	int span = workload->prompt_max - workload->prompt_min + 1;
	for (int i = 0; i < workload->sequences; i++)
		prompt_tokens[i] = workload->prompt_min + (int) (workload_uniform(&state) * span);
}
