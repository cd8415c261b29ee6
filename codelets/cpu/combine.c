/* SPDX-License-Identifier: Apache-2.0
 *
 * The weighted sum of the experts' results, back in the rows' own order. */
#include "codelets/codelets.h"
#include "codelets/cpu/vector.h"

static const struct combine_group *group_of(const struct combine_args *a, int expert)
{
	for (const struct combine_group *g = a->group; g < a->group + a->groups; g++)
		if (expert >= g->first_expert && expert < g->first_expert + g->experts)
			return g;
	return NULL;
}

/* Columns i … i + n − 1 of one row, summed in a piece of the stack so that `add` adds one finished sum. */
static void combine_piece(const struct combine_args *a, size_t row, size_t i, int n, float *sum, float *slices)
{
	size_t hidden = (size_t) a->hidden;
	memset(sum, 0, (size_t) n * sizeof *sum);
	for (size_t k = row * (size_t) a->top_k; k < (row + 1) * (size_t) a->top_k; k++) {
		const struct combine_group *g = a->place[k] < 0 ? NULL : group_of(a, a->expert[k]);
		if (!g)
			continue;
		size_t at = (size_t) a->place[k] * hidden + i;
		const float *result = g->out[0] + at;
		if (g->slices > 1) {
			memcpy(slices, result, (size_t) n * sizeof *slices);
			for (int s = 1; s < g->slices; s++)
				vector->add(slices, g->out[s] + at, n);
			result = slices;
		}
		vector->add_scaled(sum, a->weight[k], result, n);
	}
	if (a->shared)
		vector->add(sum, a->shared + row * hidden + i, n);
}

void combine_cpu(const struct combine_args *a)
{
	enum { STEP = 512 };
	float sum[STEP], slices[STEP];
	for (int row = 0; row < a->rows; row++) {
		float *x = a->x + (size_t) row * (size_t) a->hidden;
		for (int i = 0; i < a->hidden; i += STEP) {
			int n = a->hidden - i < STEP ? a->hidden - i : STEP;
			combine_piece(a, (size_t) (a->first + row), (size_t) i, n, sum, slices);
			if (a->add)
				vector->add(x + i, sum, n);
			else
				memcpy(x + i, sum, (size_t) n * sizeof *x);
		}
	}
}
