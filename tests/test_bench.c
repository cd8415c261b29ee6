/* SPDX-License-Identifier: Apache-2.0
 *
 * Sizes are read or refused; micro-batches follow the graph's schedule; shares of the limit and of time are what the
 * numbers say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "tasks/kinds.h"
#include "tools/bench.h"

static struct graph graph;
static struct bench bench;

static int set_up(void **state)
{
	(void) state;
	memset(&graph, 0, sizeof graph);
	memset(&bench, 0, sizeof bench);
	graph.compute = DTYPE_BF16;
	graph.mesh.stages = 2;
	graph.schedule.slots = 4;
	graph.schedule.prefill_tokens = 1024;
	bench.graph = &graph;
	bench.workers = 2;
	bench.limits = (struct bench_limits){ { .fp32_flops = 1e11, .bf16_flops = 2e11, .int8_flops = 4e11, .bandwidth = 2e10 }, 5e-6 };
	return 0;
}

static void parse(const char *list, bool decode)
{
	struct error error = { 0 };
	assert_int_equal(bench_parse(&bench, "--decode", list, decode, &error), 0);
}

static void sizes_are_read(void **state)
{
	(void) state;
	parse("1x128,32x2048", true);
	parse("none", false);
	parse("4096x10240", false);
	assert_int_equal(bench.cases, 3);
	assert_int_equal(bench.each[1].size.batch, 32);
	assert_int_equal(bench.each[1].size.context, 2048);
	assert_true(bench.each[1].size.decode);
	assert_false(bench.each[2].size.decode);
}

static void what_is_no_size_is_refused(void **state)
{
	static const char *const lists[] = { "x", "1", "1x", "x1", "1x2x3", "0x1", "1x0", "-1x4", "1x128;2x128", "1x128 ,2x128",
		"99999999999999999999x1", "1x99999999999999999999", "a", "," };
	(void) state;
	for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
		struct error error = { 0 };
		bench.cases = 0;
		assert_int_equal(bench_parse(&bench, "--decode", lists[i], true, &error), ERROR_INPUT);
		assert_non_null(strstr(error.text, "1x128,32x2048"));
	}
}

static void too_many_sizes_are_refused(void **state)
{
	struct error error = { 0 };
	(void) state;
	for (int i = 0; i < BENCH_MAX_CASES; i++)
		parse("1x1", true);
	assert_int_equal(bench_parse(&bench, "--decode", "1x1", true, &error), ERROR_INPUT);
}

static void assert_shape(int i, int segments, int rows, int position, int in_flight)
{
	const struct calibrate_shape *s = &bench.each[i].shape;
	assert_int_equal(s->segments, segments);
	assert_int_equal(s->rows, rows);
	assert_int_equal(s->position, position);
	assert_int_equal(s->in_flight, in_flight);
}

/* Two stages: decode in two groups unless the graph says otherwise; a chunk is at most schedule.prefill.tokens. */
static void micro_batches_follow_the_schedule(void **state)
{
	(void) state;
	parse("1x128,32x2048", true);
	parse("128x128,512x128,4096x10240,1024x1024", false);
	bench_shape(&bench);
	assert_shape(0, 1, 1, 127, 1);
	assert_shape(1, 16, 1, 2047, 2);
	assert_shape(2, 1, 128, 0, 2);
	assert_shape(3, 4, 128, 0, 2);
	assert_shape(4, 1, 1024, 9216, 2);
	assert_shape(5, 1, 1024, 0, 2);
	graph.schedule.decode_micro_batches = 1;
	graph.schedule.slots = 1;
	bench_shape(&bench);
	assert_shape(1, 32, 1, 2047, 1);
	assert_shape(3, 4, 128, 0, 1);
}

static void near(double value, double expected)
{
	if (!(fabs(value - expected) <= 1e-9 * fabs(expected)))
		fail_msg("%.12g is not %.12g", value, expected);
}

static const struct bench_task *task(int kind)
{
	for (int t = 0; t < bench.each[0].tasks; t++)
		if (bench.each[0].task[t].kind == kind)
			return &bench.each[0].task[t];
	fail_msg("no task of kind %d", kind);
	return NULL;
}

/* Two micro-batches of two kinds that compute binds, one that memory binds and one whose limit is below a call's cost;
 * all in 10 ms of two workers. */
static void shares_are_what_numbers_say(void **state)
{
	struct calibrate_sample sample[] = {
		{ .kind = TASK_EXPERTS, .calls = 2, .seconds = 2e-3, .flops = 2e8, .bytes = 1e6 },
		{ .kind = TASK_EXPERTS, .calls = 2, .seconds = 2e-3, .flops = 2e8, .bytes = 1e6 },
		{ .kind = TASK_ATTENTION, .calls = 1, .seconds = 2e-3, .flops = 2e7, .key_flops = 1e7, .bytes = 2e7 },
		{ .kind = TASK_ROUTE, .calls = 1, .seconds = 1e-3, .flops = 5e7, .bytes = 100 },
		{ .kind = TASK_EMBED, .calls = 1, .seconds = 1e-6, .bytes = 1000 },
		{ .kind = TASK_SAMPLE, .calls = 1, .seconds = 0 },
	};
	struct calibrate_samples samples = { .sample = sample, .count = sizeof sample / sizeof *sample };
	double span = 10e-3;
	(void) state;
	parse("8x128", true);
	bench_shape(&bench);
	bench_evaluate(&bench, &samples, &span);
	const struct bench_case *c = &bench.each[0];
	assert_int_equal(c->tasks, 4);
	near(c->tokens_per_s, 800);
	const struct bench_task *t = task(TASK_EXPERTS); /* 1 ms of BF16 peak in 2 ms */
	assert_ptr_equal(t, &c->task[0]);
	near(t->calls, 4);
	near(t->seconds, 2e-3);
	near(t->flops, 2e8);
	near(t->limit_share, 0.5);
	near(t->time_share, 8e-3 / 20e-3);
	assert_int_equal(t->bound, BENCH_COMPUTE);
	t = task(TASK_ATTENTION); /* 20 MB take 1 ms */
	near(t->bytes, 2e7);
	near(t->limit_share, 0.5);
	assert_int_equal(t->bound, BENCH_MEMORY);
	t = task(TASK_ROUTE); /* by the FP32 peak */
	near(t->limit_share, 0.5);
	assert_int_equal(t->bound, BENCH_COMPUTE);
	assert_int_equal(task(TASK_EMBED)->bound, BENCH_CALL);
	near(c->waiting_share, 1 - (8e-3 + 2e-3 + 1e-3 + 1e-6) / 20e-3);
	near(c->limit_share, (4e-3 + 1e-3 + 0.5e-3 + 1000 / 2e10) / 20e-3);
}

/* Keys are multiplied in FP32, matrices in the graph's type. */
static void keys_have_their_own_peak(void **state)
{
	static const struct {
		enum dtype compute;
		double limit;
	} cases[] = {
		{ DTYPE_BF16, 0.4e-3 + 0.5e-3 },
		{ DTYPE_FP32, 0.8e-3 + 0.5e-3 },
		{ DTYPE_INT8, 0.2e-3 + 0.5e-3 },
	};
	(void) state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct calibrate_sample sample = { .kind = TASK_ATTENTION, .calls = 1, .seconds = 2e-3, .flops = 1.3e8,
			.key_flops = 0.5e8, .bytes = 1 };
		struct calibrate_samples samples = { .sample = &sample, .count = 1, .size = 1 };
		double span = 10e-3;
		set_up(state);
		graph.compute = cases[i].compute;
		parse("8x128", true);
		bench_shape(&bench);
		bench_evaluate(&bench, &samples, &span);
		near(task(TASK_ATTENTION)->limit_share, cases[i].limit / 2e-3);
	}
}

static void what_does_not_fit_has_no_rate(void **state)
{
	struct calibrate_samples none = { 0 };
	double span = 0;
	(void) state;
	parse("8x128", true);
	bench_shape(&bench);
	bench_evaluate(&bench, &none, &span);
	assert_true(bench.each[0].tokens_per_s == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(sizes_are_read, set_up),
		cmocka_unit_test_setup(what_is_no_size_is_refused, set_up),
		cmocka_unit_test_setup(too_many_sizes_are_refused, set_up),
		cmocka_unit_test_setup(micro_batches_follow_the_schedule, set_up),
		cmocka_unit_test_setup(shares_are_what_numbers_say, set_up),
		cmocka_unit_test_setup(keys_have_their_own_peak, set_up),
		cmocka_unit_test_setup(what_does_not_fit_has_no_rate, set_up),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
