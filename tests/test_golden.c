/* SPDX-License-Identifier: Apache-2.0
 *
 * Every family's tokens and log-probabilities against transformers, through many meshes and chains.
 *
 * FP32 compute: log-probabilities within 1e-4 and every greedy token equal where the reference's margin exceeds
 * 1e-3. Once a token differs at a smaller margin the rest of that sequence is another text and is not compared. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "tests/golden_cases.h"
#include "tests/model_run.h"

static struct engine *engine;

static void compare(const char *name, const struct golden *golden, const struct model_run_sequence *sequences)
{
	double worst = 0;
	for (int i = 0; i < golden->prompts; i++) {
		const struct golden_prompt *p = &golden->prompt[i];
		const struct model_run_sequence *s = &sequences[i];
		assert_int_equal(s->reason, FINISH_LENGTH);
		assert_int_equal(s->count, p->new_tokens);
		for (int t = 0; t < p->new_tokens; t++) {
			if (s->tokens[t] != p->greedy[t]) {
				if (p->margins[t] > 1e-3)
					fail_msg("%s: prompt %d, token %d: %d, expected %d (margin %g)", name, i, t,
						s->tokens[t], p->greedy[t], p->margins[t]);
				break;
			}
			double error = fabs(s->logprobs[t] - p->logprobs[t]);
			if (!(error <= 1e-4))
				fail_msg("%s: prompt %d, token %d: log-probability %.9g, expected %.9g", name, i, t,
					s->logprobs[t], p->logprobs[t]);
			worst = error > worst ? error : worst;
		}
	}
	print_message("# %s: worst log-probability error %.2g\n", name, worst);
}

static void check(void **state)
{
	const struct golden_case *c = *state;
	struct golden *golden = golden_load(c->model);
	struct model_run_sequence *sequences = model_run_sequences(golden);
	struct model_run run = { .directory = golden->directory, .set = c->set };
	assert_int_equal(model_run(engine, &run, sequences, golden->prompts), 0);
	compare(c->model, golden, sequences);
	model_run_free(sequences, golden->prompts);
	free(sequences);
	golden_free(golden);
}

/* ---- every model through every one of these meshes that can cut it */

static const char *const models[] = { "mixtral", "mixtral16", "mixtral_fp16", "olmoe", "olmoe_clip", "qwen2_moe",
	"qwen2_moe_norm", "qwen3_moe", "qwen3_moe_sparse", "llama", "llama_bias", "qwen2", "qwen3" };
enum { MODELS = sizeof models / sizeof *models, LEAST_MESHES = 8 };

#define REST FP32, CHUNK(64), SEATS(5)
static const char *const meshes[][12] = {
	{ MESH(2, 1, 1), REST },
	{ MESH(1, 1, 2), REST },
	{ MESH(1, 1, 3), REST },
	{ MESH(4, 1, 1), REST },
	{ MESH(2, 1, 2), REST },
	{ MESH(4, 1, 2), REST },
	{ MESH(3, 1, 1), REST },
	{ MESH(2, 1, 3), REST },
	{ MESH(4, 1, 3), REST },
	{ MESH(1, 1, 4), REST },
	{ MESH(2, 1, 4), REST },
	{ MESH(1, 2, 1), A2A, REST },
	{ MESH(1, 2, 1), LOCAL, REST },
	{ MESH(2, 2, 1), A2A, REST },
	{ MESH(2, 2, 1), LOCAL_SCATTER, REST },
	{ MESH(2, 4, 1), A2A, REST },
	{ MESH(4, 2, 1), LOCAL, REST },
	{ MESH(1, 2, 2), LOCAL, REST },
	{ MESH(2, 2, 2), LOCAL, REST },
	{ MESH(2, 2, 2), A2A, SEND_SHARDS, REST },
};
enum { MESHES = sizeof meshes / sizeof *meshes };

/* `cases` has room for MODELS · MESHES. */
static int cross(struct golden_case *cases, int *fewest)
{
	int count = 0;
	*fewest = MESHES;
	for (int m = 0; m < MODELS; m++) {
		struct golden *golden = golden_load(models[m]);
		int before = count;
		for (int i = 0; i < MESHES; i++) {
			struct model_run run = { .directory = golden->directory, .set = meshes[i] };
			if (!model_run_possible(&run))
				continue;
			cases[count].model = models[m];
			memcpy(cases[count++].set, meshes[i], sizeof meshes[i]);
		}
		*fewest = count - before < *fewest ? count - before : *fewest;
		golden_free(golden);
	}
	return count;
}

static int fewest_meshes;

static void check_meshes(void **state)
{
	(void) state;
	assert_true(fewest_meshes >= LEAST_MESHES);
}

int main(void)
{
	static struct golden_case crossed[MODELS * MESHES];
	static struct CMUnitTest tests[GOLDEN_CASES + MODELS * MESHES + 1];
	struct error error = { 0 };
	struct engine_options options = { .policy = "homes", .workers = 2 };
	if (engine_start(&options, &engine, &error)) {
		error_print(&error);
		return 1;
	}
	int count = 0, crossings = cross(crossed, &fewest_meshes);
	tests[count++] = (struct CMUnitTest){ "every model through enough meshes", check_meshes, NULL, NULL, NULL };
	for (int i = 0; i < GOLDEN_CASES; i++)
		tests[count++] = (struct CMUnitTest){ golden_cases[i].model, check, NULL, NULL, (void *) (uintptr_t) &golden_cases[i] };
	for (int i = 0; i < crossings; i++)
		tests[count++] = (struct CMUnitTest){ crossed[i].model, check, NULL, NULL, &crossed[i] };
	print_message("# %d models, %d meshes, each model through at least %d of them and 1x1x1\n", MODELS, MESHES, fewest_meshes);
	int failed = _cmocka_run_group_tests("golden", tests, (size_t) count, NULL, NULL);
	engine_stop(engine);
	return failed;
}
