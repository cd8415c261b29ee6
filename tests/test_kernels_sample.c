/* SPDX-License-Identifier: Apache-2.0
 *
 * Sampling: against a plain implementation with a full sort, the same bits for any cut of the vocabulary, and draws that
 * follow the distribution. */
#include "tests/kernels.h"

enum { MAX_PARTS = 4, MAX_SAMPLES = 8 };

struct result {
	int32_t token[MAX_SAMPLES], table[MAX_SAMPLES];
	float logprob[MAX_SAMPLES];
	int bad;
};

/* Cuts logits[samples][vocab] at the given ids and samples. */
static struct result run(
	const float *logits, int samples, int vocab, const struct sample *sample, int parts, const int *first)
{
	struct result r = {.bad = -1};
	float *part[MAX_PARTS];
	void *workspace = test_buffer(sample_workspace(vocab));
	memset(workspace, 0xff, sample_workspace(vocab));
	for (int p = 0; p < parts; p++) {
		size_t n = (size_t) (first[p + 1] - first[p]);
		part[p] = test_buffer((size_t) samples * n * sizeof **part);
		for (int i = 0; n && i < samples; i++)
			memcpy(part[p] + (size_t) i * n, logits + (size_t) i * (size_t) vocab + first[p],
				n * sizeof **part);
	}
	const struct sample_args args = {.samples = samples,
		.parts = parts,
		.vocab = vocab,
		.sample = sample,
		.logits = (const float *const *) part,
		.first = first,
		.token_table = r.table,
		.token = r.token,
		.logprob = r.logprob,
		.workspace = workspace};
	r.bad = sample_cpu(&args);
	for (int p = 0; p < parts; p++)
		free(part[p]);
	free(workspace);
	return r;
}

static struct result run_whole(const float *logits, int samples, int vocab, const struct sample *sample)
{
	return run(logits, samples, vocab, sample, 1, (int[]){0, vocab});
}

static double reference_logprob(const float *logits, int vocab, int token)
{
	double sum = 0, most = -INFINITY;
	for (int t = 0; t < vocab; t++)
		most = fmax(most, (double) logits[t]);
	for (int t = 0; t < vocab; t++)
		sum += exp((double) logits[t] - most);
	return (double) logits[token] - most - log(sum);
}

static const float *order_logits;

static int by_logit(const void *a, const void *b)
{
	int32_t x = *(const int32_t *) a, y = *(const int32_t *) b;
	if (order_logits[x] != order_logits[y])
		return order_logits[x] > order_logits[y] ? -1 : 1;
	return x < y ? -1 : 1;
}

/* Which tokens stay, most probable first, and their probabilities. Returns how many. */
static int reference_filter(const float *logits, int vocab, const struct sampling *how, int32_t *order, double *p)
{
	double sum = 0, all = 0;
	int count = how->top_k > 0 && how->top_k < vocab ? how->top_k : vocab, n;
	for (int t = 0; t < vocab; t++)
		order[t] = t;
	order_logits = logits;
	qsort(order, (size_t) vocab, sizeof *order, by_logit);
	for (int t = 0; t < count; t++)
		sum += p[t] = exp(((double) logits[order[t]] - (double) logits[order[0]]) / (double) how->temperature);
	for (n = 0; n < count && (n == 0 || how->top_p >= 1 || all < (double) how->top_p * sum); n++)
		all += p[n];
	for (count = n, n = 0; n < count && (n == 0 || p[n] >= (double) how->min_p * p[0]); n++)
		;
	for (count = n, sum = 0, n = 0; n < count; n++)
		sum += p[n];
	for (n = 0; n < count; n++)
		p[n] /= sum;
	return count;
}

static float *random_logits(int samples, int vocab)
{
	float *logits = test_floats((size_t) samples * (size_t) vocab, test_between(0, 1) ? 4 : 0.5f);
	for (int i = 0; i < samples * vocab / 10; i++) /* ties */
		logits[test_between(0, samples * vocab - 1)] = 1.5f;
	return logits;
}

static void greedy_here(void)
{
	for (int round = 0; round < 60; round++) {
		int vocab = round % 5 ? test_between(1, 400) : test_between(1000, 5000),
		    samples = test_between(0, MAX_SAMPLES);
		float *logits = random_logits(samples, vocab);
		struct sample sample[MAX_SAMPLES];
		for (int i = 0; i < samples; i++)
			sample[i] = (struct sample){.seat = samples - 1 - i, .sampling = {.top_p = 1}};
		struct result r = run_whole(logits, samples, vocab, sample);
		assert_int_equal(r.bad, 0);
		for (int i = 0; i < samples; i++) {
			const float *own = logits + i * vocab;
			int best = 0;
			for (int t = 1; t < vocab; t++)
				if (own[t] > own[best])
					best = t;
			assert_int_equal(r.token[i], best);
			assert_int_equal(r.table[samples - 1 - i], best);
			assert_true(fabs((double) r.logprob[i] - reference_logprob(own, vocab, best)) < 1e-6);
		}
		free(logits);
	}
}

static struct sampling random_sampling(void)
{
	return (struct sampling){
		.temperature = test_between(0, 4) ? 0.2f + (float) test_between(0, 20) / 10 : 0,
		.top_k = test_between(0, 2) ? 0 : test_between(1, 60),
		.top_p = test_between(0, 1) ? 1 : (float) test_between(0, 100) / 100,
		.min_p = test_between(0, 2) ? 0 : (float) test_between(0, 100) / 100,
		.seed = (uint64_t) test_random() << 32 | test_random(),
	};
}

static void parts_here(void)
{
	for (int round = 0; round < 80; round++) {
		int vocab = round % 4 ? test_between(1, 300) : test_between(2000, 6000);
		float *logits = random_logits(MAX_SAMPLES, vocab);
		struct sample sample[MAX_SAMPLES];
		for (int i = 0; i < MAX_SAMPLES; i++)
			sample[i] = (struct sample){
				.seat = i, .position = test_between(1, 5000), .sampling = random_sampling()};
		struct result whole = run_whole(logits, MAX_SAMPLES, vocab, sample);
		for (int cut = 0; cut < 4; cut++) {
			int parts = 2 + cut % 3, first[MAX_PARTS + 1] = {0};
			for (int p = 1; p < parts; p++)
				first[p] = test_between(first[p - 1], vocab); /* now and then an empty one */
			first[parts] = vocab;
			struct result r = run(logits, MAX_SAMPLES, vocab, sample, parts, first);
			assert_same_bits(&r, &whole, sizeof r, "parts");
		}
		for (int i = 0; i < MAX_SAMPLES; i++) { /* alone */
			struct sample one = sample[i];
			one.seat = 0;
			struct result r = run_whole(logits + i * vocab, 1, vocab, &one);
			assert_int_equal(r.token[0], whole.token[i]);
			assert_same_bits(r.logprob, whole.logprob + i, sizeof *r.logprob, "alone");
			assert_true(fabs((double) r.logprob[0] -
					    reference_logprob(logits + i * vocab, vocab, r.token[0])) < 4e-6);
		}
		free(logits);
	}
}

/* Philox4x32-10's known answer for counter and key of zeros (Random123's kat_vectors) begins 6627e8d5 e169c58d: the
 * draw is 0x6627e8d5e169c… / 2^53, about 0.399046. Two tokens with that much between them tell where it fell. */
static void known_draw(void **state)
{
	const double u = (double) (((uint64_t) 0x6627e8d5 << 21) ^ (0xe169c58d >> 11)) * 0x1p-53;
	(void) state;
	gemm_start();
	for (int i = 0; i < 2; i++) {
		double p = i ? u + 1e-6 : u - 1e-6, other = 1 - p; /* token 1 has p, or 0 has 1 − p and comes first */
		float logits[2] = {(float) log(other), (float) log(p)};
		struct sample sample = {.sampling = {.temperature = 1, .top_p = 1}};
		struct result r = run_whole(logits, 1, 2, &sample);
		assert_int_equal(r.token[0], 0); /* the first in order has 0.6 */
		float swapped[3] = {(float) log(p), (float) log(p * 0.99), (float) log(1 - 1.99 * p)};
		r = run_whole(swapped, 1, 3, &sample);
		assert_int_equal(r.token[0], i ? 0 : 1);
	}
}

/* Draws over many positions against what the filters leave: no token outside, frequencies within five deviations. */
static void draws_follow_the_distribution(void **state)
{
	enum { VOCAB = 50, DRAWS = 4000 };
	(void) state;
	gemm_start();
	for (int round = 0; round < 12; round++) {
		float *logits = test_floats(VOCAB, 1.5f);
		struct sample sample = {.sampling = random_sampling()};
		int32_t order[VOCAB];
		double p[VOCAB];
		int seen[VOCAB] = {0};
		if (!(sample.sampling.temperature > 0))
			sample.sampling.temperature = 1;
		int count = reference_filter(logits, VOCAB, &sample.sampling, order, p);
		for (int i = 0; i < DRAWS; i++) {
			sample.position = i;
			seen[run_whole(logits, 1, VOCAB, &sample).token[0]]++;
		}
		for (int n = 0; n < VOCAB; n++) {
			double expected = n < count ? p[n] * DRAWS : 0;
			assert_true(fabs(seen[order[n]] - expected) <= 5 * sqrt(expected) + 1e-9);
		}
		free(logits);
	}
}

static void bad_logits_are_told(void **state)
{
	enum { VOCAB = 1100 };
	static const float bad[] = {NAN, INFINITY, -INFINITY, -NAN};
	(void) state;
	gemm_start();
	for (int round = 0; round < 40; round++) {
		float *logits = random_logits(3, VOCAB);
		struct sample sample[3] = {
			{.seat = 0}, {.seat = 1, .sampling = {.temperature = 1, .top_p = 1}}, {.seat = 2}};
		int which = test_between(0, 2);
		logits[which * VOCAB + test_between(0, VOCAB - 1)] = bad[round % 4];
		struct result r = run(logits, 3, VOCAB, sample, 2, (int[]){0, 600, VOCAB});
		assert_int_equal(r.bad, which + 1);
		assert_int_equal(r.token[which], 0);
		assert_true(isnan(r.logprob[which]));
		for (int i = 0; i < 3; i++)
			assert_true(i == which || !isnan(r.logprob[i]));
		free(logits);
	}
}

/* Extremes of every option leave a token to choose. */
static void extremes(void **state)
{
	static const float temperatures[] = {1e-38f, 1e-6f, 1e6f, 3e38f};
	float logits[5] = {1, 88, -3e38f, 3e38f, 3e38f};
	(void) state;
	gemm_start();
	for (int i = 0; i < 4; i++)
		for (int k = 0; k < 3; k++) {
			struct sample sample = {.position = i,
				.sampling = {.temperature = temperatures[i],
					.top_k = k,
					.top_p = k == 1 ? 0 : 1,
					.min_p = k == 2}};
			struct result r = run_whole(logits, 1, 5, &sample);
			assert_int_equal(r.bad, 0);
			assert_in_range(r.token[0], 0, 4);
			if (k == 1)
				assert_int_equal(r.token[0], 3);
			if (i < 2)
				assert_in_range(r.token[0], 3, 4);
		}
}

static void greedy_as_plain_loops(void **state)
{
	(void) state;
	test_each_set(greedy_here);
}

static void parts_never_matter(void **state)
{
	(void) state;
	test_each_set(parts_here);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(greedy_as_plain_loops),
		cmocka_unit_test(parts_never_matter),
		cmocka_unit_test(known_draw),
		cmocka_unit_test(draws_follow_the_distribution),
		cmocka_unit_test(bad_logits_are_told),
		cmocka_unit_test(extremes),
	};
	return cmocka_run_group_tests_name("sample", tests, NULL, NULL);
}
