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
#include "tools/calibrate_record.h"

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
	struct calibrate_samples samples = { .sample = sample, .count = 200, .size = 200 };
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
	if (calibrate_fit(&samples, 4, fitted, &count, &error))
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
	struct calibrate_samples samples = { .sample = sample, .count = 100, .size = 100 };
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
	assert_int_equal(calibrate_fit(&samples, 4, fitted, &count, &error), 0);
	for (int i = 1; i < 100; i += i % 5 == 4 ? 2 : 1)
		near(curve_seconds(&fitted[0], sample[i].term, 0), sample[i].seconds, 0.02);
	free(fitted);
}

/* The second pass met minutes in which all took half as long again: what counts is the mean of the same tasks, not of other
 * ones. The third one was stopped by another program each time, which says nothing of the tasks. */
static void passes_count_by_their_mean(void **state)
{
	static const struct curve made = { .alone = { [CURVE_CALL] = 2e-6, [CURVE_ROW_BYTES_1] = 2e-11, [CURVE_ROW_BYTES_16] = 4e-11,
		[CURVE_ROW_BYTES] = 5e-11 } };
	enum { TASKS = 30 };
	struct calibrate_sample sample[3 * TASKS + 1];
	struct calibrate_samples means, samples = { .sample = sample, .count = 3 * TASKS + 1, .size = 3 * TASKS + 1 };
	struct curve *fitted = calloc(CALL_KINDS, sizeof *fitted);
	struct error error = { 0 };
	int count;
	(void) state;
	assert_non_null(fitted);
	for (int i = 0; i < TASKS; i++) {
		struct work work = work_rows(draw(1, 1e5), 1024);
		sample[i] = (struct calibrate_sample){ .kind = TASK_SEND, .company = 0.25 };
		call_terms(&work, sample[i].term);
		sample[i].seconds = curve_seconds(&made, sample[i].term, 0);
		for (int p = 1; p < 3; p++) {
			sample[p * TASKS + i] = sample[i];
			sample[p * TASKS + i].pass = p;
			sample[p * TASKS + i].seconds *= p == 1 ? 1.5 : 100;
		}
	}
	sample[3 * TASKS] = sample[0];
	sample[3 * TASKS].source = 1; /* another graph's is another task */
	assert_int_equal(calibrate_samples_mean(&samples, &means, &error), 0);
	assert_int_equal(means.count, TASKS + 1);
	for (int i = 0; i < means.count; i++) {
		near(means.sample[i].seconds, curve_seconds(&made, means.sample[i].term, 0) * (means.sample[i].source ? 1 : 1.25), 1e-9);
		near(means.sample[i].company, 0.25, 1e-12);
	}
	calibrate_samples_free(&means);
	samples.count = 3 * TASKS;
	assert_int_equal(calibrate_fit(&samples, 1, fitted, &count, &error), 0);
	for (int i = 0; i < TASKS; i++)
		near(curve_seconds(&fitted[0], sample[i].term, 0), 1.25 * sample[i].seconds, 1e-3);
	free(fitted);
}

/* All samples beside others were disturbed: a fair share of two workers is a half, and no curve is slower than that. */
static void company_takes_no_more_than_a_fair_share(void **state)
{
	struct calibrate_sample sample[60];
	struct calibrate_samples samples = { .sample = sample, .count = 60, .size = 60 };
	struct curve *fitted = calloc(CALL_KINDS, sizeof *fitted);
	struct error error = { 0 };
	int count;
	(void) state;
	assert_non_null(fitted);
	for (int i = 0; i < 60; i++) {
		struct work work = work_rows(draw(1, 1e5), 1024);
		sample[i] = (struct calibrate_sample){ .kind = TASK_COMBINE, .company = i % 2 };
		call_terms(&work, sample[i].term);
		sample[i].seconds = (1e-6 + 1e-10 * work.bytes) * (i % 2 ? 9 : 1);
	}
	assert_int_equal(calibrate_fit(&samples, 2, fitted, &count, &error), 0);
	for (int t = 0; t < CURVE_TERMS; t++)
		assert_true(fitted[0].alone[t] <= fitted[0].busy[t] && fitted[0].busy[t] <= 2 * fitted[0].alone[t] * (1 + 1e-12));
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

/* Tasks that differ by their spread take no more or less on average, and the same seed is the same task. */
static void tasks_vary_by_their_spread(void **state)
{
	enum { TASKS = 100000 };
	const struct curve curve = { .spread = 0.2 }, steady = { .spread = 0 };
	double sum = 0, squares = 0;
	(void) state;
	for (uint64_t i = 0; i < TASKS; i++) {
		double factor = curve_variation(&curve, i);
		assert_true(factor > 0 && factor == curve_variation(&curve, i));
		assert_true(curve_variation(&steady, i) == 1);
		sum += factor;
		squares += factor * factor;
	}
	near(sum / TASKS, 1, 0.003); /* 5 standard errors of 0.2 / √TASKS */
	near(sqrt(squares / TASKS - sum * sum / TASKS / TASKS), 0.2, 0.02);
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
	card->curve[0] = (struct curve){ .task = "attention", .error = 0.0321, .spread = 0.05 };
	for (int t = 0; t < CURVE_TERMS; t++) {
		card->curve[0].alone[t] = 1e-12 * (t + 1);
		card->curve[0].busy[t] = 3e-12 * (t + 1);
	}
	card->curve[1] = (struct curve){ .task = "send", .alone = { 1e-7 }, .busy = { 1e-7 } };
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
		near(m->curve[i].spread, card->curve[i].spread, 1e-9);
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

/* ---- samples of passes */

static void make_record(struct calibrate_record *record)
{
	static const char *const sources[] = { "tp2_ep2_pp2, 2 workers", "one \"device\", 1 worker" };
	struct topology topology = { .cpu = "A \"quoted\" processor", .cores = 2 };
	struct model model = { .layers = 2, .hidden = 64, .heads = 4, .kv_heads = 4, .head_dim = 16, .vocab = 256, .experts = 4,
		.top_k = 2, .expert_hidden = 128 };
	struct error error = { 0 };
	int index;
	*record = (struct calibrate_record){ 0 };
	calibrate_identity_of(&topology, 2, DTYPE_BF16, &model, &record->identity);
	for (int i = 0; i < 2; i++)
		assert_int_equal(calibrate_samples_source(&record->samples, sources[i], &index, &error), 0);
	for (int p = 0; p < 3; p++) {
		struct calibrate_pass pass = { .measured = "2000-01-31T12:00:00Z", .runtimes = 1 + p % 2,
			.runtime = { { "homes", 1e-6, 4e-6, p == 2 ? 1e-3 : 3e-6 + p * 1e-6, 3e-5, 2e-4 }, { "dmdas", 1e-6, 7e-6, 2e-5, 3e-5, 0 } } };
		assert_int_equal(calibrate_record_add(record, &pass, &error), 0);
		for (int i = 0; i < 20; i++) {
			struct calibrate_sample sample = { .kind = i % 2 ? TASK_EXPERTS : TASK_SEND, .source = i % 2, .pass = p, .segments = 1 + i,
				.rows = 1, .position = 8 * i, .calls = 16, .spread = i / 40.0, .company = i / 20.0, .seconds = draw(1e-6, 1e-2) };
			struct work work = i % 2 ? work_experts(64, 128, DTYPE_BF16, DTYPE_BF16, 1 + i, 3) : work_rows(1 + i, 256);
			call_terms(&work, sample.term);
			assert_int_equal(calibrate_samples_add(&record->samples, &sample, &error), 0);
		}
	}
}

static void samples_are_read_as_they_were_written(void **state)
{
	struct calibrate_record made, read;
	struct error error = { 0 };
	char folder[SCRATCH_PATH];
	(void) state;
	scratch_make(folder);
	make_record(&made);
	const char *path = scratch_path(folder, "samples.json");
	assert_int_equal(calibrate_record_write(&made, path, &error), 0);
	if (calibrate_record_read(path, &read, &error))
		fail_msg("%s: %s", error.where, error.text);
	assert_int_equal(calibrate_record_check(&read, &made.identity, path, &error), 0);
	assert_int_equal(read.passes, made.passes);
	for (int p = 0; p < made.passes; p++) {
		assert_string_equal(read.pass[p].measured, made.pass[p].measured);
		assert_int_equal(read.pass[p].runtimes, made.pass[p].runtimes);
		near(read.pass[p].runtime[0].hop_s, made.pass[p].runtime[0].hop_s, 1e-12);
	}
	assert_int_equal(read.samples.sources, 2);
	assert_string_equal(read.samples.source[1], made.samples.source[1]);
	assert_int_equal(read.samples.count, made.samples.count);
	for (int i = 0; i < made.samples.count; i++) {
		const struct calibrate_sample *a = &read.samples.sample[i], *b = &made.samples.sample[i];
		assert_true(a->kind == b->kind && a->source == b->source && a->pass == b->pass && a->segments == b->segments);
		assert_true(a->rows == b->rows && a->position == b->position && a->calls == b->calls);
		near(a->seconds, b->seconds, 1e-12);
		near(a->company, b->company, 1e-12);
		near(a->spread, b->spread, 1e-12);
		for (int t = 0; t < CURVE_TERMS; t++)
			near(a->term[t], b->term[t], 1e-12);
	}
	/* one pass whose forks another program disturbed does not count */
	struct graph_runtime runtime[GRAPH_MAX_POLICIES];
	int count;
	calibrate_record_runtime(&read, runtime, &count);
	assert_int_equal(count, 2);
	near(runtime[0].hop_s, 4e-6, 1e-9);
	assert_string_equal(runtime[1].policy, "dmdas");
	calibrate_record_free(&made);
	calibrate_record_free(&read);
	scratch_remove(folder);
}

/* In a good file `old` once replaced by `changed`: refused, with one line that has the words. */
static void damaged(const char *folder, const char *good, const char *old, const char *changed, const char *words)
{
	struct calibrate_record record;
	struct error error = { 0 };
	const char *at = strstr(good, old);
	size_t size = strlen(good) + strlen(changed) + 1;
	char *text = malloc(size);
	assert_non_null(text);
	if (!at)
		fail_msg("the file has no %s", old);
	snprintf(text, size, "%.*s%s%s", (int) (at - good), good, changed, at + strlen(old));
	scratch_write(folder, "bad.json", text, strlen(text));
	int code = calibrate_record_read(scratch_path(folder, "bad.json"), &record, &error);
	if (code != ERROR_INPUT || !strstr(error.text, words) || strchr(error.text, '\n') || record.pass || record.samples.sample)
		fail_msg("%s → %s: %d, %s", old, changed, code, error.text);
	free(text);
}

static void hostile_samples_are_refused(void **state)
{
	static const char *const cases[][3] = {
		{ "{", "", "not valid JSON" },
		{ "\"version\":1", "\"version\":2", "another version" },
		{ "\"version\":1", "\"version\":\"1\"", "must be an integer" },
		{ "\"flop_4_s\"", "\"flop_5_s\"", "other terms" },
		{ "\"cores\":2", "\"cores\":-2", "cores is -2" },
		{ "\"workers\":2", "\"workers\":65", "workers is 65" },
		{ "\"bf16\"", "\"bf17\"", "compute" },
		{ "\"hidden\":64", "\"hidden\":1e300", "must be an integer" },
		{ "\"layers\":2", "\"no\":2", "model" },
		{ "\"tp2_ep2_pp2, 2 workers\"", "7", "sources" },
		{ "\"tp2_ep2_pp2, 2 workers\"", "\"one \\\"device\\\", 1 worker\"", "twice" },
		{ "\"policy\":\"homes\"", "\"policy\":\"\"", "policy" },
		{ "\"policy\":\"homes\"", "\"policy\":\"a policy with a name that is longer than any policy's\"", "policy" },
		{ "\"submit_s\":", "\"submit_s\":-", "submit_s is -" },
		{ "\"measured\":\"2000", "\"measured\":\"a day in the year of 2000", "measured" },
		{ "\"pass\":0", "\"pass\":3", "pass is 3" },
		{ "\"pass\":0", "\"pass\":null", "lacks task" },
		{ "\"source\":1", "\"source\":2", "source is 2" },
		{ "\"task\":\"send\"", "\"task\":\"sand\"", "the task \"sand\"" },
		{ "\"task\":\"send\"", "\"task\":null", "lacks task" },
		{ "\"segments\":1", "\"segments\":0", "segments is 0" },
		{ "\"calls\":16", "\"calls\":99999999999", "calls is" },
		{ "\"seconds\":", "\"seconds\":-", "seconds is -" },
		{ "\"seconds\":", "\"second\":", "lacks" },
		{ "\"company\":0.05", "\"company\":1.5", "company is 1.5" },
		{ "\"call_s\":1.0", "\"call_s\":1e300", "call_s is 1e+300" },
		{ "{\"call_s\":1", "{\"calls\":1", "unknown terms" },
		{ "\"samples\":[{", "\"samples\":[[],{", "lacks" },
		{ "\"passes\":[{", "\"passes\":[4,{", "measured" },
		{ "\"samples\":[", "\"samples\":[],\"more\":[", "0 samples" },
		{ "\"passes\":[", "\"passes\":[],\"more\":[", "passes" },
	};
	struct calibrate_record made;
	struct error error = { 0 };
	char folder[SCRATCH_PATH], good[1 << 16];
	(void) state;
	scratch_make(folder);
	make_record(&made);
	assert_int_equal(calibrate_record_write(&made, scratch_path(folder, "samples.json"), &error), 0);
	FILE *f = fopen(scratch_path(folder, "samples.json"), "r");
	assert_non_null(f);
	size_t size = fread(good, 1, sizeof good - 1, f);
	fclose(f);
	assert_true(size < sizeof good - 1);
	good[size] = 0;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		damaged(folder, good, cases[i][0], cases[i][1], cases[i][2]);
	calibrate_record_free(&made);
	scratch_remove(folder);
}

static void differs(const struct calibrate_record *record, struct calibrate_identity now, const char *words)
{
	struct error error = { 0 };
	int code = calibrate_record_check(record, &now, "samples.json", &error);
	if (code != ERROR_INPUT || !strstr(error.text, words) || !strstr(error.text, "would be right"))
		fail_msg("%s: %d, %s", words, code, error.text);
}

static void passes_of_something_else_are_refused(void **state)
{
	struct calibrate_record record;
	(void) state;
	make_record(&record);
	struct calibrate_identity now = record.identity;
	strcpy(now.cpu, "Another");
	differs(&record, now, "another machine");
	now = record.identity, now.cores = 4;
	differs(&record, now, "of 2 cores, here are 4");
	now = record.identity, now.workers = 1;
	differs(&record, now, "--workers 2");
	now = record.identity, now.compute = DTYPE_FP32;
	differs(&record, now, "compute=bf16");
	now = record.identity, now.expert_hidden = 256;
	differs(&record, now, "expert_hidden = 128, not 256");
	calibrate_record_free(&record);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_fit_finds_what_made_the_numbers),
		cmocka_unit_test(a_fit_gives_no_time_back),
		cmocka_unit_test(curves_are_what_samples_were_made_by),
		cmocka_unit_test(disturbed_samples_do_not_bend_a_curve),
		cmocka_unit_test(passes_count_by_their_mean),
		cmocka_unit_test(company_takes_no_more_than_a_fair_share),
		cmocka_unit_test(company_makes_a_task_slower),
		cmocka_unit_test(tasks_vary_by_their_spread),
		cmocka_unit_test(a_card_is_read_as_it_was_written),
		cmocka_unit_test(absurd_cards_are_refused),
		cmocka_unit_test(a_card_of_another_machine_is_refused),
		cmocka_unit_test(samples_are_read_as_they_were_written),
		cmocka_unit_test(hostile_samples_are_refused),
		cmocka_unit_test(passes_of_something_else_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
