/* SPDX-License-Identifier: Apache-2.0
 *
 * A task touches the memory of its own devices alone: under engine_guard every other device's arena is closed while a
 * behaviour runs. Logical devices share the host's memory, so that nothing else would notice here what ends a run on
 * real ones. Every golden model runs so through the meshes and chains of the golden list; and behaviours that are wrong
 * on purpose die, each in a process of its own, where the guard is on and not where it is off. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tasks/call.h"
#include "tests/golden_cases.h"
#include "tests/model_run.h"

static struct engine *engine;

static void start(void)
{
	struct error error = { 0 };
	struct engine_options options = { .policy = "homes", .workers = 1 };
	if (engine_start(&options, &engine, &error)) {
		error_print(&error);
		exit(99);
	}
}

/* ---- every model as it is: one prompt of a token, some that are cut into chunks, a few tokens each */

enum { SEQUENCES = 4, NEW_TOKENS = 4 };
static const int prompts[SEQUENCES] = { 11, 0, 6, 8 };

static int run_guarded(const struct golden_case *c, bool guard, void (*built)(struct deployment *))
{
	struct golden *golden = golden_load(c->model);
	struct model_run_sequence sequences[SEQUENCES] = { { .count = 0 } };
	for (int i = 0; i < SEQUENCES; i++) {
		const struct golden_prompt *p = &golden->prompt[prompts[i]];
		sequences[i].sequence = (struct sequence){ .prompt = p->tokens, .prompt_tokens = p->prompt_tokens,
			.max_new_tokens = NEW_TOKENS, .ignore_eos = true, .sampling = { .top_p = 1 } };
	}
	struct model_run run = { .directory = golden->directory, .set = c->set, .guard = guard, .built = built };
	int code = model_run(engine, &run, sequences, SEQUENCES);
	for (int i = 0; i < SEQUENCES && !code; i++) {
		const struct golden_prompt *p = &golden->prompt[prompts[i]];
		if (sequences[i].count != NEW_TOKENS)
			code = ERROR_RUN;
		for (int t = 0; t < sequences[i].count && !code && p->margins[t] > 1e-3; t++)
			code = sequences[i].tokens[t] == p->greedy[t] ? 0 : ERROR_RUN;
	}
	model_run_free(sequences, SEQUENCES);
	golden_free(golden);
	return code;
}

static void check_guarded(void **state)
{
	assert_int_equal(run_guarded(*state, true, NULL), 0);
}

static int start_once(void **state)
{
	(void) state;
	start();
	return 0;
}

static int stop(void **state)
{
	(void) state;
	engine_stop(engine);
	engine = NULL;
	return 0;
}

/* ---- behaviours that are wrong on purpose */

static struct trespass {
	const char *name;
	struct golden_case run;
	int kind;   /* of the behaviours that touch another's memory */
	int device; /* … of the calls that begin at this one */
	int other;  /* whose memory they touch */
	bool write;
} trespasses[] = {
	{ "attention reads the next rank's weights", { "mixtral", { FP32, MESH(2, 2, 1), LOCAL } }, TASK_ATTENTION, 0, 1, false },
	{ "experts write to the rank before", { "mixtral", { FP32, MESH(2, 2, 1), A2A } }, TASK_EXPERTS, 1, 0, true },
	{ "a group's reduce_scatter reads another group", { "mixtral16", { FP32, MESH(2, 4, 1), A2A } }, TASK_REDUCE_SCATTER, 0, 2,
		false },
	{ "a dispatch reads another stage", { "mixtral", { FP32, MESH(2, 2, 2), A2A } }, TASK_DISPATCH, 2, 0, false },
	{ "a send writes beyond the next stage", { "qwen3", { FP32, MESH(1, 1, 4) } }, TASK_SEND, 0, 2, true },
	{ "sampling reads the first stage", { "llama", { FP32, MESH(2, 1, 2) } }, TASK_SAMPLE, 2, 1, false },
};
enum { TRESPASSES = sizeof trespasses / sizeof *trespasses };

static const struct trespass *wrong;
static struct call_type wrong_type;
static const struct call_type *right_type;

static int wrong_run(struct engine_call *call, void *workspace, struct error *error)
{
	volatile char *other = call_of(call)->deployment->device[wrong->other].arena.base;
	if (call_of(call)->device == wrong->device) {
		char byte = *other;
		if (wrong->write)
			*other = byte;
	}
	return right_type->engine.run(call, workspace, error);
}

static void make_wrong(struct deployment *d)
{
	right_type = NULL;
	for (int s = 0; s < d->sizes.slots; s++)
		for (int i = 0; i < d->slot[s].calls; i++) {
			struct engine_call *call = &d->slot[s].call[i].base;
			if (call->type->kind != wrong->kind)
				continue;
			right_type = (const struct call_type *) call->type;
			wrong_type = *right_type;
			wrong_type.engine.run = wrong_run;
			call->type = &wrong_type.engine;
		}
}

/* The status of a process that runs it. */
static int run_alone(const struct trespass *trespass, bool guard)
{
	fflush(NULL);
	pid_t child = fork();
	if (!child) {
		const struct rlimit none = { 0, 0 };
		setrlimit(RLIMIT_CORE, &none);
		signal(SIGSEGV, SIG_DFL); /* cmocka's and a sanitizer's handlers would turn it into something else */
		wrong = trespass;
		start();
		int code = run_guarded(&trespass->run, guard, make_wrong);
		engine_stop(engine);
		_exit(code ? 1 : right_type ? 0 : 2);
	}
	int status = -1;
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static void check_trespass(void **state)
{
	const struct trespass *trespass = *state;
	int status = run_alone(trespass, false);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	status = run_alone(trespass, true);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSEGV);
}

int main(void)
{
	struct CMUnitTest tests[TRESPASSES + GOLDEN_CASES];
	for (int i = 0; i < TRESPASSES; i++)
		tests[i] = (struct CMUnitTest){ trespasses[i].name, check_trespass, NULL, NULL, &trespasses[i] };
	for (int i = 0; i < GOLDEN_CASES; i++)
		tests[TRESPASSES + i] = (struct CMUnitTest){ golden_cases[i].model, check_guarded, i ? NULL : start_once,
			i == GOLDEN_CASES - 1 ? stop : NULL, (void *) (uintptr_t) &golden_cases[i] };
	return _cmocka_run_group_tests("guard", tests, TRESPASSES + GOLDEN_CASES, NULL, NULL);
}
