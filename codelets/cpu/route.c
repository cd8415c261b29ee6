/* SPDX-License-Identifier: Apache-2.0
 *
 * Norm, router and the choice of experts. The router sees the unrounded rows. */
#include "codelets/codelets.h"
#include "codelets/cpu/rows.h"

size_t route_workspace(int hidden, int experts)
{
	size_t used = 0;
	workspace_take(NULL, &used, (size_t) hidden * sizeof(float));
	workspace_take(NULL, &used, (size_t) experts * sizeof(float));
	workspace_take(NULL, &used, (size_t) experts * sizeof(int32_t));
	return used;
}

/* The top_k largest logits, ties to the lowest index, and their probabilities among all: where these are divided by their
 * own sum, that over all experts plays no part. */
static void choose(const struct route_args *a, float *logit, int32_t *expert, float *weight)
{
	double sum = 0, chosen = 0, probability[MODEL_MAX_TOP_K];
	float most = logit[0];
	for (int e = 1; e < a->experts; e++)
		if (logit[e] > most)
			most = logit[e];
	for (int e = 0; e < a->experts && !a->normalize; e++)
		sum += exp((double) logit[e] - (double) most);
	for (int k = 0; k < a->top_k; k++) {
		int best = -1;
		for (int e = 0; e < a->experts; e++) {
			bool taken = false;
			for (int j = 0; j < k; j++)
				taken |= expert[j] == e;
			if (!taken && (best < 0 || logit[e] > logit[best]))
				best = e;
		}
		expert[k] = best;
		probability[k] = exp((double) logit[best] - (double) most);
		chosen += probability[k];
	}
	for (int k = 0; k < a->top_k; k++)
		weight[k] = (float) (probability[k] / (a->normalize ? chosen : sum));
}

void route_cpu(const struct route_args *a)
{
	size_t used = 0;
	float *h = workspace_take(a->workspace, &used, (size_t) a->hidden * sizeof *h);
	float *logit = workspace_take(a->workspace, &used, (size_t) a->experts * sizeof *logit);
	int32_t *count = workspace_take(a->workspace, &used, (size_t) a->experts * sizeof *count);
	memset(count, 0, (size_t) a->experts * sizeof *count);
	for (size_t row = 0; row < (size_t) a->rows; row++) {
		const float *x = a->x + row * (size_t) a->hidden;
		int32_t *expert = a->expert + row * (size_t) a->top_k;
		vector->scale(x, norm_factor(x, a->hidden, a->norm_epsilon), a->norm, a->hidden, h);
		row_store(
			a->compute, h, a->hidden, (char *) a->h + row * a->stride * dtype_bytes(a->compute), a->stride);
		vector->dots(h, a->router, a->experts, a->hidden, logit);
		choose(a, logit, expert, a->weight + row * (size_t) a->top_k);
		for (int k = 0; k < a->top_k; k++)
			count[expert[k]]++;
	}
	if (a->counts)
		for (int e = 0; e < a->experts; e++)
			if (count[e])
				__atomic_fetch_add(&a->counts[e], count[e], __ATOMIC_RELAXED);
}
