/* SPDX-License-Identifier: Apache-2.0
 *
 * Fits recover what made the numbers; a machine card is read as it was written, and refused where it is of another
 * machine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/fit.h"
#include "tasks/kinds.h"
#include "tests/scratch.h"
#include "tools/calibrate_card.h"

static void near(double value, double expected, double tolerance)
{
	if (!(fabs(value - expected) <= tolerance * fabs(expected)))
		fail_msg("%.9g is not %.9g within %g", value, expected, tolerance);
}

static uint64_t seed = 1;
static double draw(double least, double most) /* logarithmically even */
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return least * pow(most / least, (double) (seed >> 11) / 9007199254740992.0);
}

static void a_fit_finds_what_made_the_numbers(void **state)
{
	enum { ROWS = 60, COLUMNS = 4 };
	const double made[COLUMNS] = { 2e-6, 3e-12, 0, 5e-11 };
	double a[ROWS * COLUMNS], b[ROWS], x[COLUMNS];
	struct error error = { 0 };
	(void) state;
	for (int r = 0; r < ROWS; r++) {
		a[r * COLUMNS] = 1;
		a[r * COLUMNS + 1] = draw(1e3, 1e11);
		a[r * COLUMNS + 2] = draw(1e3, 1e8);
		a[r * COLUMNS + 3] = draw(1e3, 1e8);
		double seconds = 0;
		for (int i = 0; i < COLUMNS; i++)
			seconds += made[i] * a[r * COLUMNS + i];
		for (int i = 0; i < COLUMNS; i++)
			a[r * COLUMNS + i] /= seconds;
		b[r] = 1;
	}
	assert_int_equal(fit_nonnegative(a, b, ROWS, COLUMNS, x, &error), 0);
	near(x[0], made[0], 1e-6);
	near(x[1], made[1], 1e-6);
	assert_true(x[2] < 1e-18);
	near(x[3], made[3], 1e-6);
}

/* Without the bound x would be (2, −1). The nearest x ≥ 0 is (1.5, 0): the derivative of (x−2)² + (x+0−1)² … at 0. */
static void a_fit_gives_no_time_back(void **state)
{
	const double a[] = { 1, 0, 1, 1 }, b[] = { 2, 1 };
	double x[2];
	struct error error = { 0 };
	(void) state;
	assert_int_equal(fit_nonnegative(a, b, 2, 2, x, &error), 0);
	near(x[0], 1.5, 1e-12);
	assert_true(x[1] == 0);
	assert_int_equal(fit_nonnegative(a, b, 0, 2, x, &error), ERROR_INPUT);
	const double bad[] = { NAN, 0, 1, 1 };
	assert_int_equal(fit_nonnegative(bad, b, 2, 2, x, &error), ERROR_INPUT);
}

/* Experts and a collective with known coefficients alone and beside others. */
static void curves_are_what_samples_were_made_by(void **state)
{
	static const struct curve experts = { "experts",
		.alone = { [CURVE_CALL] = 1e-6, [CURVE_FLOPS_4] = 1e-13, [CURVE_FLOPS_16] = 4e-12, [CURVE_FLOPS] = 2e-12,
			[CURVE_WEIGHT_BYTES] = 3e-11 },
		.busy = { [CURVE_CALL] = 1e-6, [CURVE_FLOPS_4] = 2e-13, [CURVE_FLOPS_16] = 4e-12, [CURVE_FLOPS] = 3e-12,
			[CURVE_WEIGHT_BYTES] = 5e-11 } };
	static const struct curve reduce = { "all_reduce",
		.alone = { [CURVE_CALL] = 2e-7, [CURVE_ROW_BYTES_1] = 1e-11, [CURVE_ROW_BYTES_16] = 2e-11, [CURVE_ROW_BYTES] = 9e-11 },
		.busy = { [CURVE_CALL] = 2e-7, [CURVE_ROW_BYTES_1] = 4e-11, [CURVE_ROW_BYTES_16] = 4e-11, [CURVE_ROW_BYTES] = 1e-10 } };
	struct calibrate_sample sample[200];
	struct calibrate_samples samples = { sample, 200, 200 };
	struct curve *fitted = calloc(CALL_KINDS, sizeof *fitted);
	struct error error = { 0 };
	int count;
	(void) state;
	assert_non_null(fitted);
	for (int i = 0; i < 200; i++) {
		const struct curve *made = i % 2 ? &experts : &reduce;
		sample[i] = (struct calibrate_sample){ .kind = i % 2 ? TASK_EXPERTS : TASK_ALL_REDUCE, .company = i % 7 / 6.0 };
		if (i % 2) {
			struct work work = work_experts(64, 1024, DTYPE_BF16, DTYPE_BF16, draw(1, 1e5), draw(1, 64));
			call_terms(&work, sample[i].term);
		} else {
			struct work work = work_rows(draw(1, 1e5), 1024);
			call_terms(&work, sample[i].term);
		}
		sample[i].seconds = curve_seconds(made, sample[i].term, sample[i].company);
	}
	if (calibrate_fit(&samples, fitted, &count, &error))
		fail_msg("%s", error.text);
	assert_int_equal(count, 2);
	for (int i = 0; i < 2; i++) {
		const struct curve *made = strcmp(fitted[i].task, "experts") ? &reduce : &experts;
		assert_string_equal(fitted[i].task, made->task);
		for (int t = 0; t < CURVE_TERMS; t++) {
			assert_true(fabs(fitted[i].alone[t] - made->alone[t]) <= 1e-3 * made->alone[t] + 1e-16);
			assert_true(fabs(fitted[i].busy[t] - made->busy[t]) <= 1e-3 * made->busy[t] + 1e-16);
		}
		assert_true(fitted[i].error < 1e-4);
	}
	free(fitted);
}

/* One sample in five took three times as long: the others are the curve all the same. */
static void disturbed_samples_do_not_bend_a_curve(void **state)
{
	static const struct curve made = { .alone = { [CURVE_CALL] = 2e-6, [CURVE_ROW_BYTES_1] = 2e-11, [CURVE_ROW_BYTES_16] = 4e-11,
		[CURVE_ROW_BYTES] = 5e-11 } };
	struct calibrate_sample sample[100];
	struct calibrate_samples samples = { sample, 100, 100 };
	struct curve *fitted = calloc(CALL_KINDS, sizeof *fitted);
	struct error error = { 0 };
	int count;
	(void) state;
	assert_non_null(fitted);
	for (int i = 0; i < 100; i++) {
		struct work work = work_rows(draw(1, 1e5), 1024);
		sample[i] = (struct calibrate_sample){ .kind = TASK_SEND };
		call_terms(&work, sample[i].term);
		sample[i].seconds = curve_seconds(&made, sample[i].term, 0) * (i % 5 ? 1 : 3);
	}
	assert_int_equal(calibrate_fit(&samples, fitted, &count, &error), 0);
	for (int i = 1; i < 100; i += i % 5 == 4 ? 2 : 1)
		near(curve_seconds(&fitted[0], sample[i].term, 0), sample[i].seconds, 0.02);
	free(fitted);
}

/* Between alone and busy a curve is linear. */
static void company_makes_a_task_slower(void **state)
{
	const struct curve curve = { "experts", .alone = { 1 }, .busy = { 3 } };
	const double term[CURVE_TERMS] = { 2 };
	(void) state;
	near(curve_seconds(&curve, term, 0), 2, 1e-15);
	near(curve_seconds(&curve, term, 0.5), 4, 1e-15);
	near(curve_seconds(&curve, term, 1), 6, 1e-15);
}

/* ---- cards */

static struct calibrate_card *make_card(void)
{
	struct calibrate_card *card = calloc(1, sizeof *card);
	assert_non_null(card);
	snprintf(card->cpu, sizeof card->cpu, "A \"quoted\" \\ processor");
	snprintf(card->date, sizeof card->date, "2000-01-31");
	snprintf(card->model, sizeof card->model, "tiny");
	card->cores = card->workers = 2;
	card->compute = DTYPE_BF16;
	card->runtimes = 2;
	card->runtime[0] = (struct graph_runtime){ "homes", 1.25e-6, 5.5e-6, 7e-6, 8e-5, 2e-4 };
	card->runtime[1] = (struct graph_runtime){ "dmdas", 2e-6, 7e-6, 9e-6, 1e-5, 0 };
	card->curves = 2;
	card->curve[0] = (struct curve){ .task = "attention", .error = 0.0321 };
	for (int t = 0; t < CURVE_TERMS; t++) {
		card->curve[0].alone[t] = 1e-12 * (t + 1);
		card->curve[0].busy[t] = 3e-12 * (t + 1);
	}
	card->curve[1] = (struct curve){ "send", { 1e-7 }, { 1e-7 }, 0 };
	return card;
}

static struct graph *read_graph(const char *keys, struct error *error)
{
	static const char rest[] = "graph = \"t\";\nmodel = { layers = 1; hidden = 16; heads = 2; vocab = 32; mlp_hidden = 32; };\n";
	char folder[SCRATCH_PATH], *text;
	struct graph *graph = NULL;
	size_t size = strlen(keys) + sizeof rest + 64;
	scratch_make(folder);
	text = malloc(size);
	assert_non_null(text);
	snprintf(text, size, "%smachine = {\n%s\n};\n", rest, keys);
	scratch_write(folder, "t.cfg", text, strlen(text));
	free(text);
	if (graph_read(scratch_path(folder, "t.cfg"), &task_kinds, NULL, 0, &graph, error))
		graph = NULL;
	scratch_remove(folder);
	return graph;
}

static void a_card_is_read_as_it_was_written(void **state)
{
	struct calibrate_card *card = make_card();
	struct error error = { 0 };
	char *text;
	(void) state;
	assert_int_equal(calibrate_card_text(card, &text, &error), 0);
	struct graph *graph = read_graph(text, &error);
	if (!graph)
		fail_msg("%s: %s", error.where, error.text);
	const struct graph_machine *m = &graph->machine;
	assert_true(m->host);
	assert_string_equal(m->cpu, card->cpu);
	assert_string_equal(m->measured, card->date);
	assert_int_equal(m->cores, 2);
	assert_int_equal(m->workers, 2);
	assert_int_equal(m->compute, DTYPE_BF16);
	assert_int_equal(m->runtimes, 2);
	for (int i = 0; i < 2; i++) {
		const struct graph_runtime *read = &m->runtime[i], *made = &card->runtime[i];
		assert_string_equal(read->policy, made->policy);
		near(read->submit_s, made->submit_s, 1e-9);
		near(read->task_s, made->task_s, 1e-9);
		near(read->hop_s, made->hop_s, 1e-9);
		near(read->wake_s, made->wake_s, 1e-9);
		near(read->awake_s, made->awake_s, 1e-9);
	}
	assert_int_equal(m->curves, 2);
	for (int i = 0; i < 2; i++) {
		assert_string_equal(m->curve[i].task, card->curve[i].task);
		for (int t = 0; t < CURVE_TERMS; t++) {
			near(m->curve[i].alone[t], card->curve[i].alone[t], 1e-9);
			near(m->curve[i].busy[t], card->curve[i].busy[t], 1e-9);
		}
	}
	free(text);
	free(card);
	graph_destroy(graph);
}

static void refused(const char *keys, const char *words)
{
	struct error error = { 0 };
	struct graph *graph = read_graph(keys, &error);
	graph_destroy(graph);
	if (graph || !strstr(error.text, words))
		fail_msg("%s: %s", keys, graph ? "accepted" : error.text);
}

static void absurd_cards_are_refused(void **state)
{
	(void) state;
	refused("host = true; kinds = ( { task = \"send\"; } );", "alone");
	refused("host = true; kinds = ( { task = \"send\"; alone = { call_s = -1.0; }; } );", "call_s");
	refused("host = true; kinds = ( { task = \"send\"; alone = { call_s = 0.0; }; } );", "no time");
	refused("host = true; kinds = ( { task = \"send\"; alone = { flop = 1.0; }; } );", "no key");
	refused("host = true; kinds = ( { task = \"send\"; alone = { call_s = 1.0; }; }, { task = \"send\"; alone = { call_s = "
		"1.0; }; } );", "two curves");
	refused("host = true; runtime = ( { policy = \"homes\"; }, { policy = \"homes\"; } );", "twice");
	refused("host = true; runtime = ( { policy = \"homes\"; task_s = 2.0; } );", "task_s");
	refused("kinds = ( { task = \"send\"; alone = { call_s = 1.0; }; } ); devices = ( { flops = 1e12; bandwidth = 1e12; "
		"memory = 1e9; } );", "host = true");
}

static void a_card_of_another_machine_is_refused(void **state)
{
	struct graph_machine *m = calloc(1, sizeof *m);
	struct topology t = { .cpu = "This", .cores = 2 };
	struct error error = { 0 };
	(void) state;
	assert_non_null(m);
	assert_int_equal(calibrate_card_check(m, &t, 2, DTYPE_BF16, &error), ERROR_INPUT); /* no card at all */
	strcpy(m->cpu, "This");
	m->curves = 1;
	m->cores = 2;
	m->compute = DTYPE_BF16;
	assert_int_equal(calibrate_card_check(m, &t, 2, DTYPE_BF16, &error), 0);
	assert_int_equal(calibrate_card_check(m, &t, 2, DTYPE_FP32, &error), ERROR_INPUT);
	assert_int_equal(calibrate_card_check(m, &t, 3, DTYPE_BF16, &error), ERROR_INPUT);
	m->cores = 4;
	error = (struct error){ 0 };
	assert_int_equal(calibrate_card_check(m, &t, 2, DTYPE_BF16, &error), ERROR_INPUT);
	assert_non_null(strstr(error.text, "4 cores"));
	m->cores = 2;
	strcpy(m->cpu, "That");
	error = (struct error){ 0 };
	assert_int_equal(calibrate_card_check(m, &t, 2, DTYPE_BF16, &error), ERROR_INPUT);
	assert_non_null(strstr(error.text, "another machine"));
	free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_fit_finds_what_made_the_numbers),
		cmocka_unit_test(a_fit_gives_no_time_back),
		cmocka_unit_test(curves_are_what_samples_were_made_by),
		cmocka_unit_test(disturbed_samples_do_not_bend_a_curve),
		cmocka_unit_test(company_makes_a_task_slower),
		cmocka_unit_test(a_card_is_read_as_it_was_written),
		cmocka_unit_test(absurd_cards_are_refused),
		cmocka_unit_test(a_card_of_another_machine_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
