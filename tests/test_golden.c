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

int main(void)
{
	struct error error = { 0 };
	struct engine_options options = { .policy = "homes", .workers = 2 };
	if (engine_start(&options, &engine, &error)) {
		error_print(&error);
		return 1;
	}
	struct CMUnitTest tests[GOLDEN_CASES];
	for (int i = 0; i < GOLDEN_CASES; i++)
		tests[i] = (struct CMUnitTest){ golden_cases[i].model, check, NULL, NULL, (void *) (uintptr_t) &golden_cases[i] };
	int failed = _cmocka_run_group_tests("golden", tests, GOLDEN_CASES, NULL, NULL);
	engine_stop(engine);
	return failed;
}
