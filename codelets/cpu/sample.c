/* SPDX-License-Identifier: Apache-2.0
 *
 * Choosing tokens from logits that are cut by vocabulary.
 *
 * Sums over the vocabulary run in blocks at fixed token ids: a block that two parts share is first copied together, so
 * that the number of parts changes no bit. Tokens are ordered only as far as a draw asks: those near the largest logit
 * form a heap, then those of the next tier below. */
#include "codelets/codelets.h"
#include <math.h>
#include "codelets/cpu/rows.h"

enum { VOCABULARY_BLOCK = 1024 };

struct sample_space {
	float *block;  /* [VOCABULARY_BLOCK] */
	float *logit;  /* [vocab] */
	int32_t *heap; /* [vocab] token ids, the first of them on top */
	int32_t *kept; /* [vocab] the first tokens in order */
	double *part;  /* [vocab] probabilities of kept tokens, not normalised */
};

static size_t lay_out(int vocab, void *start, struct sample_space *space)
{
	size_t used = 0, n = (size_t) vocab;
	*space = (struct sample_space){
		.block = workspace_take(start, &used, VOCABULARY_BLOCK * sizeof(float)),
		.logit = workspace_take(start, &used, n * sizeof(float)),
		.heap = workspace_take(start, &used, n * sizeof(int32_t)),
		.kept = workspace_take(start, &used, n * sizeof(int32_t)),
		.part = workspace_take(start, &used, n * sizeof(double)),
	};
	return used;
}

size_t sample_workspace(int vocab)
{
	struct sample_space space;
	return lay_out(vocab, NULL, &space);
}

/* Random123's Philox4x32 with ten rounds (Salmon et al., SC 2011): 53 bits in [0, 1). */
static double uniform(uint64_t seed, uint32_t position)
{
	uint32_t c[4] = {position, 0, 0, 0}, key[2] = {(uint32_t) seed, (uint32_t) (seed >> 32)};
	for (int round = 0; round < 10; round++) {
		uint64_t a = (uint64_t) 0xD2511F53 * c[0], b = (uint64_t) 0xCD9E8D57 * c[2];
		uint32_t next[4] = {(uint32_t) (b >> 32) ^ c[1] ^ key[0], (uint32_t) b,
			(uint32_t) (a >> 32) ^ c[3] ^ key[1], (uint32_t) a};
		memcpy(c, next, sizeof c);
		key[0] += 0x9E3779B9;
		key[1] += 0xBB67AE85;
	}
	return (double) ((uint64_t) c[0] << 21 ^ c[1] >> 11) * 0x1p-53;
}

/* `n` logits of sample i from token id `first` on: in place where one part has them all, else copied to `block`. */
static const float *logits_at(const struct sample_args *a, int i, int first, int n, float *block)
{
	int p = 0;
	while (first >= a->first[p + 1])
		p++;
	for (int done = 0; done < n; p++) {
		size_t count = (size_t) (a->first[p + 1] - a->first[p]);
		const float *from = a->logits[p] + (size_t) i * count + (first + done - a->first[p]);
		int here = a->first[p + 1] - first - done < n - done ? a->first[p + 1] - first - done : n - done;
		if (here == n)
			return from;
		if (here > 0)
			memcpy(block + done, from, (size_t) here * sizeof *block);
		done += here;
	}
	return block;
}

/* The largest logit, and the lowest token id that has it. False if a logit is not finite. */
static bool find_largest(const struct sample_args *a, int i, const struct sample_space *space, float *most, int *token)
{
	bool finite = true;
	*most = -INFINITY;
	*token = 0;
	for (int first = 0; first < a->vocab; first += VOCABULARY_BLOCK) {
		int n = a->vocab - first < VOCABULARY_BLOCK ? a->vocab - first : VOCABULARY_BLOCK;
		const float *logit = logits_at(a, i, first, n, space->block);
		float here = vector->largest(logit, n, *most, &finite);
		if (!finite)
			return false;
		if (here > *most) {
			int j = 0;
			while (logit[j] != here)
				j++;
			*token = first + j;
			*most = here;
		}
	}
	return true;
}

/* Σ exp(logit − most), in blocks and lanes at fixed token ids. */
static double sum_exp(const struct sample_args *a, int i, const struct sample_space *space, float most)
{
	double lanes[VECTOR_LANES] = {0}, sum = 0;
	for (int first = 0; first < a->vocab; first += VOCABULARY_BLOCK) {
		int n = a->vocab - first < VOCABULARY_BLOCK ? a->vocab - first : VOCABULARY_BLOCK;
		vector->sum_exp(logits_at(a, i, first, n, space->block), n, most, lanes);
	}
	for (int lane = 0; lane < VECTOR_LANES; lane++)
		sum += lanes[lane];
	return sum;
}

static bool precedes(const float *logit, int32_t a, int32_t b)
{
	return logit[a] > logit[b] || (logit[a] == logit[b] && a < b);
}

static void sift(const float *logit, int32_t *heap, int size, int at)
{
	int32_t moved = heap[at];
	for (int child; (child = 2 * at + 1) < size; at = child) {
		if (child + 1 < size && precedes(logit, heap[child + 1], heap[child]))
			child++;
		if (!precedes(logit, heap[child], moved))
			break;
		heap[at] = heap[child];
	}
	heap[at] = moved;
}

/* The tokens in order, as far as they have been asked for. */
struct order {
	const struct sample_space *space;
	int vocab;
	double most, temperature;
	int taken, left; /* in kept, in the heap */
	float below;     /* all tokens that are left out of both have smaller logits */
	double distance; /* of the next tier's lower end from the largest logit, in temperatures */
};

static void next_tier(struct order *order)
{
	const float *logit = order->space->logit;
	int32_t *heap = order->space->heap;
	int n = 0;
	float low = order->distance < 40 ? (float) (order->most - order->distance * order->temperature) : -INFINITY;
	for (int t = 0; t < order->vocab; t++)
		if (logit[t] >= low && logit[t] < order->below)
			heap[n++] = t;
	for (int at = n / 2 - 1; at >= 0; at--)
		sift(logit, heap, n, at);
	order->left = n;
	order->below = low;
	order->distance += 2;
}

/* exp((logit − most) / temperature) of the n-th token in order, so 1 of the first. */
static double part_of(struct order *order, int n)
{
	const struct sample_space *space = order->space;
	while (order->taken <= n) {
		while (order->left == 0)
			next_tier(order);
		int32_t token = space->heap[0];
		space->kept[order->taken] = token;
		space->part[order->taken++] = exp(((double) space->logit[token] - order->most) / order->temperature);
		space->heap[0] = space->heap[--order->left];
		if (order->left > 0)
			sift(space->logit, space->heap, order->left, 0);
	}
	return space->part[n];
}

/* Copies the logits of sample i together; their parts, summed in blocks and lanes at fixed token ids. */
static double gather(const struct sample_args *a, int i, const struct sample_space *space, float most)
{
	double temperature = (double) a->sample[i].sampling.temperature, lanes[VECTOR_LANES] = {0}, sum = 0;
	for (int first = 0; first < a->vocab; first += VOCABULARY_BLOCK) {
		int n = a->vocab - first < VOCABULARY_BLOCK ? a->vocab - first : VOCABULARY_BLOCK;
		memcpy(space->logit + first, logits_at(a, i, first, n, space->block),
			(size_t) n * sizeof *space->logit);
		for (int t = 0; t < n; t++)
			space->block[t] = (float) (((double) space->logit[first + t] - (double) most) / temperature);
		vector->sum_exp(space->block, n, 0, lanes);
	}
	for (int lane = 0; lane < VECTOR_LANES; lane++)
		sum += lanes[lane];
	return sum;
}

/* The steps that codelets.h lists; `count` tokens stay, `total` is the sum of their parts. */
static int draw(const struct sample_args *a, int i, const struct sample_space *space, float most)
{
	const struct sampling *how = &a->sample[i].sampling;
	struct order order = {.space = space,
		.vocab = a->vocab,
		.most = (double) most,
		.temperature = (double) how->temperature,
		.below = INFINITY,
		.distance = 2};
	int count = a->vocab, n = 0;
	double total = gather(a, i, space, most), sum = 0;
	if (how->top_k > 0 && how->top_k < count) {
		count = how->top_k;
		for (total = 0; n < count; n++)
			total += part_of(&order, n);
	}
	if (how->top_p < 1) {
		for (n = 0, sum = 0; n < count && (n == 0 || sum < (double) how->top_p * total); n++)
			sum += part_of(&order, n);
		count = n;
		total = sum;
	}
	if (how->min_p > 0) {
		for (n = 0, sum = 0; n < count && (n == 0 || part_of(&order, n) >= (double) how->min_p); n++)
			sum += part_of(&order, n);
		count = n;
		total = sum;
	}
	double target = uniform(how->seed, (uint32_t) a->sample[i].position) * total;
	for (n = 0, sum = 0; n < count; n++) {
		sum += part_of(&order, n);
		if (sum > target)
			return space->kept[n];
	}
	return space->kept[count - 1]; /* rounding left the sum below the target */
}

int sample_cpu(const struct sample_args *a)
{
	struct sample_space space;
	int bad = 0;
	lay_out(a->vocab, a->workspace, &space);
	for (int i = 0; i < a->samples; i++) {
		const struct sample *sample = &a->sample[i];
		float most, chosen;
		int token;
		if (find_largest(a, i, &space, &most, &token)) {
			chosen = most;
			if (sample->sampling.temperature > 0) {
				token = draw(a, i, &space, most);
				chosen = space.logit[token];
			}
			a->logprob[i] = (float) ((double) chosen - (double) most - log(sum_exp(a, i, &space, most)));
		} else {
			token = 0;
			a->logprob[i] = NAN;
			if (!bad)
				bad = i + 1;
		}
		a->token[i] = token;
		a->token_table[sample->seat] = token;
	}
	return bad;
}
