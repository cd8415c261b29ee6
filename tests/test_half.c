/* SPDX-License-Identifier: Apache-2.0
 *
 * What 16-bit compute, and compute in int8, cost in exactness, against transformers in FP32 and in BF16.
 *
 * Every step of every golden text is asked for on its own (the reference's tokens so far are the prompt), so that a
 * token that differs does not end the comparison. The tolerance comes from the reference itself: golden.json has
 * the log-probabilities of transformers in BF16 throughout, residual and router included. Here weights and products'
 * inputs are rounded to BF16, sums, residual stream, norms and router stay in FP32, so the mean error must be below
 * two thirds of that of transformers in BF16. A token may differ where the reference's margin is below 0.1 (logits here
 * spread over about 10), or where two experts' router logits lie within 0.1 of each other at some position, so that
 * rounding sends a row to another expert.
 *
 * int8 rounds weights and products' inputs to 1/127 of the largest of their row, some four times as coarse as BF16 is for
 * large values and more for small ones. These models are small and their weights large, so that they feel it more than
 * trained ones do: the mean error must be below two and a half times that of transformers in BF16. */
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "tests/model_run.h"

static struct engine *engine;

struct tolerance {
	double error;  /* mean, over that of transformers in BF16 */
	double steps;  /* share that must have the reference's token */
	double margin; /* of the reference, above which no token differs */
};
static const struct tolerance of_bf16 = { 2.0 / 3, 0.8, 0.1 }, of_int8 = { 2.5, 0.7, 1 };

static double transformers_error(const struct golden *golden)
{
	char path[1200];
	double sum = 0;
	int count = 0;
	snprintf(path, sizeof path, "%s/golden.json", golden->directory);
	json_t *root = json_load_file(path, 0, NULL);
	assert_non_null(root);
	for (int i = 0; i < golden->prompts; i++) {
		const json_t *half = json_object_get(json_array_get(json_object_get(root, "prompts"), (size_t) i), "bf16_logprobs");
		for (int t = 0; t < golden->prompt[i].new_tokens; t++, count++)
			sum += fabs(json_number_value(json_array_get(half, (size_t) t)) - golden->prompt[i].logprobs[t]);
	}
	json_decref(root);
	return sum / count;
}

/* One sequence a step: the prompt and the reference's tokens before it; one new token. */
static struct model_run_sequence *steps_of(const struct golden *golden, int *count)
{
	int n = 0;
	for (int i = 0; i < golden->prompts; i++)
		n += golden->prompt[i].new_tokens;
	struct model_run_sequence *steps = calloc((size_t) n, sizeof *steps);
	assert_non_null(steps);
	*count = 0;
	for (int i = 0; i < golden->prompts; i++) {
		const struct golden_prompt *p = &golden->prompt[i];
		for (int t = 0; t < p->new_tokens; t++) {
			int32_t *tokens = malloc((size_t) (p->prompt_tokens + t) * sizeof *tokens);
			assert_non_null(tokens);
			memcpy(tokens, p->tokens, (size_t) p->prompt_tokens * sizeof *tokens);
			memcpy(tokens + p->prompt_tokens, p->greedy, (size_t) t * sizeof *tokens);
			steps[(*count)++].sequence = (struct sequence){ .prompt = tokens,
				.prompt_tokens = p->prompt_tokens + t, .max_new_tokens = 1, .ignore_eos = true,
				.sampling = { .top_p = 1 } };
		}
	}
	return steps;
}

static void check(void **state)
{
	const char *const *c = *state; /* model, then overrides */
	struct golden *golden = golden_load(c[0]);
	int count, other = 0, compared = 0, step = 0;
	struct model_run_sequence *steps = steps_of(golden, &count);
	struct model_run run = { .directory = golden->directory, .set = c + 1 };
	const struct tolerance *tolerance = strstr(c[1], "int8") ? &of_int8 : &of_bf16;
	double sum = 0, largest = 0, bound = transformers_error(golden);
	assert_int_equal(model_run(engine, &run, steps, count), 0);
	for (int i = 0; i < golden->prompts; i++)
		for (int t = 0; t < golden->prompt[i].new_tokens; t++, step++) {
			const struct golden_prompt *p = &golden->prompt[i];
			assert_int_equal(steps[step].count, 1);
			if (steps[step].tokens[0] != p->greedy[t]) {
				bool flips = p->router_gaps && p->router_gaps[t] < 0.1;
				other++;
				if (!flips && p->margins[t] > largest)
					largest = p->margins[t];
				continue;
			}
			sum += fabs(steps[step].logprobs[0] - p->logprobs[t]);
			compared++;
		}
	print_message("# %s: mean error %.4f of %d steps (transformers in BF16: %.4f), %d tokens differ, largest margin "
		      "where no routing is near %.3f\n", c[0], sum / compared, compared, bound, other, largest);
	assert_true(compared > count * tolerance->steps);
	assert_true(sum / compared < bound * tolerance->error);
	assert_true(largest < tolerance->margin);
	for (int i = 0; i < count; i++)
		free((void *) steps[i].sequence.prompt);
	model_run_free(steps, count);
	free(steps);
	golden_free(golden);
}

#define HALF "compute=\"bf16\"", "kv.dtype=\"fp16\"", "limits.tokens_per_sequence=256", "schedule.prefill.tokens=512"
#define INT8 "compute=\"int8\"", "limits.tokens_per_sequence=256", "schedule.prefill.tokens=512"
#define TWO "mesh.tensor=2", "mesh.experts=2", "mesh.stages=2"

static const char *cases[][12] = {
	{ "mixtral", HALF },
	{ "mixtral16", HALF, TWO },
	{ "mixtral_fp16", HALF },
	{ "olmoe", HALF, TWO },
	{ "olmoe_clip", HALF },
	{ "qwen2_moe", HALF, TWO },
	{ "qwen2_moe_norm", HALF },
	{ "qwen3_moe", HALF, TWO },
	{ "qwen3_moe_sparse", HALF },
	{ "llama", HALF },
	{ "llama_bias", HALF, "mesh.tensor=2", "mesh.stages=2" },
	{ "qwen2", HALF },
	{ "qwen3", HALF, "mesh.tensor=2" },
	{ "mixtral16", "compute=\"bf16\"", "kv.dtype=\"bf16\"", "limits.tokens_per_sequence=256" },
	{ "mixtral16", "compute=\"bf16\"", "kv.dtype=\"fp32\"", "limits.tokens_per_sequence=256" },
	{ "mixtral", INT8 },
	{ "mixtral16", INT8, TWO },
	{ "mixtral_fp16", INT8 },
	{ "olmoe", INT8, TWO },
	{ "olmoe_clip", INT8 },
	{ "qwen2_moe", INT8, TWO },
	{ "qwen2_moe_norm", INT8 },
	{ "qwen3_moe", INT8, TWO },
	{ "qwen3_moe_sparse", INT8 },
	{ "llama", INT8 },
	{ "llama_bias", INT8, "mesh.tensor=2", "mesh.stages=2" },
	{ "qwen2", INT8 },
	{ "qwen3", INT8, "mesh.tensor=2" },
};

int main(void)
{
	struct error error = { 0 };
	struct engine_options options = { .policy = "homes", .workers = 2 };
	if (engine_start(&options, &engine, &error)) {
		error_print(&error);
		return 1;
	}
	enum { CASES = sizeof cases / sizeof *cases };
	struct CMUnitTest tests[CASES];
	for (int i = 0; i < CASES; i++)
		tests[i] = (struct CMUnitTest){ cases[i][0], check, NULL, NULL, (void *) cases[i] };
	int failed = _cmocka_run_group_tests("half", tests, CASES, NULL, NULL);
	engine_stop(engine);
	return failed;
}
