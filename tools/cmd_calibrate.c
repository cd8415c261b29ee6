/* SPDX-License-Identifier: Apache-2.0
 *
 * octant calibrate: measures this machine and writes its card, for predictions of runs on it. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "runtime/model_config.h"
#include "runtime/topology.h"
#include "tasks/calibrate.h"
#include "tasks/kinds.h"
#include "tools/calibrate_card.h"
#include "tools/calibrate_record.h"
#include "tools/commands.h"
#include "tools/options.h"

struct command {
	const char *graph[1];
	const char *model, *output, *samples;
	int workers, repetitions;
	double memory_gb;
	bool json, quiet, help;
	struct option_overrides overrides;

	struct topology topology;
	struct model checkpoint; /* --model's sizes */
	struct calibrate_record record; /* what --samples holds, then this pass too */
	struct calibrate_pass pass;     /* this one */
	bool identified;                /* what is measured has been compared with the record */
	struct calibrate_card card;
	const char *measuring;
	bool terminal;
};

#define AT(field) offsetof(struct command, field)

static const struct option_row rows[] = {
	{ "--model", "DIR", OPTION_TEXT, AT(model), NULL, 0, 0,
		"a checkpoint whose sizes to measure with (its config.json; weights are random)" },
	{ "--output", "FILE", OPTION_TEXT, AT(output), NULL, 0, 0, "where the machine card goes (default: standard output)" },
	{ "--samples", "FILE", OPTION_TEXT, AT(samples), NULL, 0, 0,
		"add this pass's samples to those that FILE holds, and make the card of all of them" },
	{ "--workers", "N", OPTION_INTEGER, AT(workers), NULL, 1, 64, "CPU workers that are busy together (default: one a core)" },
	{ "--repetitions", "N", OPTION_INTEGER, AT(repetitions), NULL, 0, 1000,
		"of each shape; their mean counts (default: 5; 0: no pass, only the card of --samples)" },
	{ "--memory", "GB", OPTION_NUMBER, AT(memory_gb), NULL, 0.001, 1e6,
		"that KV pools may take (default: 2, or a tenth of what is available)" },
	{ "--json", NULL, OPTION_FLAG, AT(json), NULL, 0, 0, "print every sample beside its fit as JSON" },
	{ "--quiet", NULL, OPTION_FLAG, AT(quiet), NULL, 0, 0, "no progress and no table" },
	{ "--set", "PATH=VALUE", OPTION_SET, 0, NULL, 0, 0, "any key of the graphs, any number of times" },
	{ "--help", NULL, OPTION_FLAG, AT(help), NULL, 0, 0, "this text" },
};
static const struct option_alias aliases[] = { { "-o", "--output" } };
static const struct option_table table = { "octant calibrate", rows, sizeof rows / sizeof *rows, aliases,
	sizeof aliases / sizeof *aliases, AT(overrides), AT(graph), 1 };

static void print_usage(void)
{
	puts("usage: octant calibrate [GRAPH] [OPTION]…\n\n"
	     "Measures how long tasks take on this machine, all workers busy and one alone, and what the runtime costs, and\n"
	     "writes a machine card: octant simulate --against RUN_DIR --machine CARD predicts a run by it. Without GRAPH, tasks\n"
	     "are those of one_device, tp2_ep2_pp2, and the default graph of this machine. Nothing else should run meanwhile.\n\n"
	     "A shared machine has fast and slow minutes, and a card is of its own. --samples FILE keeps what was measured, so\n"
	     "that several short passes (--repetitions 1), before, between and after the runs to be predicted, make one card.\n");
	options_print(&table);
	puts("\nexamples: octant calibrate --model graphs/quickstart/model -o here.cfg\n"
	     "          octant calibrate --model DIR --repetitions 1 --samples here.json -o here.cfg    # again and again");
}

/* ---- what to measure with */

static enum dtype default_compute(const struct command *c, const struct model *model)
{
	return model->dtype != DTYPE_FP32 && c->topology.avx512_bf16 ? DTYPE_BF16 : DTYPE_FP32;
}

/* `name` NULL: the default graph, of --model. Its machine is this host. */
static int read_graph(struct command *c, const char *name, struct graph **graph, struct error *error)
{
	static const struct graph_override host = { "machine", "{ host = true; }" };
	struct graph_override all[OPTIONS_MAX_OVERRIDES + 1];
	const struct model *model = c->model ? &c->checkpoint : NULL;
	int count = c->overrides.count + 1;
	all[0] = host;
	memcpy(all + 1, c->overrides.item, (size_t) c->overrides.count * sizeof *all);
	int code = name ? graph_read(name, &task_kinds, all, count, graph, error)
			: graph_default(model, c->card.workers, &task_kinds, all, count, graph, error);
	if (!code)
		code = graph_resolve(*graph, model, &task_kinds, error);
	if (!code && !(*graph)->compute_given)
		graph_set_compute(*graph, default_compute(c, &(*graph)->model));
	return code;
}

static void on_progress(void *context, int done, int of)
{
	struct command *c = context;
	if (c->terminal)
		fprintf(stderr, "\rmeasuring %s: %d of %d ", c->measuring, done, of);
}

/* What the runtime costs with a policy, once each. */
static int measure_runtime(struct command *c, const char *policy, struct error *error)
{
	struct calibrate_pass *pass = &c->pass;
	struct graph_runtime measured;
	for (int i = 0; i < pass->runtimes; i++)
		if (!strcmp(pass->runtime[i].policy, policy))
			return 0;
	if (pass->runtimes == GRAPH_MAX_POLICIES)
		return 0;
	int code = calibrate_runtime(c->card.workers, policy, &measured, error);
	for (int i = 0; !code && i < pass->runtimes; i++)
		if (!strcmp(pass->runtime[i].policy, measured.policy))
			return 0; /* the user's STARPU_SCHED decides */
	if (!code)
		pass->runtime[pass->runtimes++] = measured;
	return code;
}

/* Whether it may join what was measured before. */
static int identify(struct command *c, const struct graph *graph, struct error *error)
{
	struct calibrate_identity now;
	calibrate_identity_of(&c->topology, c->card.workers, graph->compute, &graph->model, &now);
	if (!c->identified && !c->record.passes)
		c->record.identity = now;
	c->identified = true;
	return c->samples ? calibrate_record_check(&c->record, &now, c->samples, error) : 0;
}

/* One worker needs so long for micro-batches of more rows, and they tell least of how workers disturb each other. */
#define ALONE_ROWS 512

static int measure(struct command *c, const char *name, int workers, struct error *error)
{
	struct graph *graph = NULL;
	struct calibrate_options options = { .workers = workers, .repetitions = c->repetitions, .every = true,
		.most_rows = workers < c->card.workers ? ALONE_ROWS : 0, .memory = c->memory_gb * 1e9, .progress = on_progress, .context = c };
	char text[GRAPH_TEXT + 32];
	int code = read_graph(c, name, &graph, error);
	if (!code) {
		snprintf(text, sizeof text, "%s, %d worker%s", graph->name, workers, workers > 1 ? "s" : "");
		c->measuring = text;
		c->card.compute = graph->compute;
		snprintf(c->card.model, sizeof c->card.model, "%s", graph->model.name);
		options.graph = graph;
		code = identify(c, graph, error);
	}
	if (!code)
		code = measure_runtime(c, "homes", error); /* the default, first */
	if (!code)
		code = measure_runtime(c, graph->schedule.policy, error);
	if (!code)
		code = calibrate_measure(&options, &c->record.samples, error);
	if (c->terminal && !code)
		fputc('\n', stderr);
	graph_destroy(graph);
	return code;
}

static int measure_all(struct command *c, struct error *error)
{
	static const char *const shipped[] = { "one_device", "tp2_ep2_pp2" };
	const char *const *names = c->graph[0] ? c->graph : shipped;
	int count = c->graph[0] ? 1 : 2, code = 0, measured = 0;
	bool together = c->card.workers == 1; /* all workers have been */
	struct error why = { 0 };
	for (int i = 0; !code && i < count; i++) {
		struct graph *graph = NULL;
		/* a model need not fit onto a mesh that nobody asked for */
		int unfit = read_graph(c, names[i], &graph, &why);
		graph_destroy(graph);
		if (unfit && c->graph[0]) {
			*error = why;
			return unfit;
		}
		/* workers that share one device read the same weights side by side: only where there is no other graph */
		if (!unfit && (c->graph[0] || i > 0)) {
			code = measure(c, names[i], c->card.workers, error);
			together = true;
		}
		if (!unfit && !code && (c->card.workers > 1 || (i == 0 && !c->graph[0])))
			code = measure(c, names[i], 1, error);
		measured += !unfit;
	}
	if (!code && c->model && !c->graph[0]) {
		code = measure(c, NULL, c->card.workers, error);
		together = true;
		measured++;
	}
	if (!code && measured && !together)
		code = measure(c, names[0], c->card.workers, error);
	if (!code && !measured)
		*error = why;
	return code ? code : measured ? 0 : why.code;
}

/* ---- results */

/* Units a second of so many units of a term and of those before it, from `first` on. */
static double rate(const double *seconds, int first, const double *units, int count)
{
	double time = 0, sum = 0;
	for (int i = 0; i < count; i++) {
		time += units[i] * seconds[first + i];
		sum += units[i];
	}
	return time > 0 ? sum / time * 1e-9 : 0;
}

static void print_rates(FILE *f, const double *seconds)
{
	static const double one = 1, many[] = { 4, 12, 32, 16 }, mib[] = { 1, 15 };
	const double rates[] = { rate(seconds, CURVE_FLOPS_4, many, 1), rate(seconds, CURVE_FLOPS_4, many, 4),
		rate(seconds, CURVE_KEY_FLOPS, &one, 1), rate(seconds, CURVE_WEIGHT_BYTES, &one, 1),
		rate(seconds, CURVE_KV_BYTES, &one, 1), rate(seconds, CURVE_ROW_BYTES_1, mib, 1),
		rate(seconds, CURVE_ROW_BYTES_1, mib, 2) };
	fprintf(f, " %8.2f", seconds[CURVE_CALL] * 1e6);
	for (size_t i = 0; i < sizeof rates / sizeof *rates; i++)
		if (rates[i] > 0)
			fprintf(f, " %8.1f", rates[i]);
		else
			fprintf(f, " %8s", "-");
	fputc('\n', f);
}

static void print_table(const struct command *c, FILE *f)
{
	fprintf(f, "%s, %d cores, %d workers, %d pass%s\n\n", c->card.cpu, c->card.cores, c->card.workers, c->card.passes,
		c->card.passes == 1 ? "" : "es");
	fputs("                                    GFLOP/s of GEMMs of            GB/s of           GB/s of rows of\n"
	      "task             error        call us   4 rows  64 rows     keys  weights       KV    1 MiB   16 MiB\n", f);
	for (int i = 0; i < c->card.curves; i++) {
		const struct curve *curve = &c->card.curve[i];
		fprintf(f, "%-15s %5.1f%% alone", curve->task, 100 * curve->error);
		print_rates(f, curve->alone);
		fprintf(f, "%-15s %6s  busy", "", "");
		print_rates(f, curve->busy);
	}
	fputs("\nus of the runtime by policy: to submit a task; a worker's to take one; one that has just become idle; one that "
	      "sleeps\n", f);
	for (int i = 0; i < c->card.runtimes; i++) {
		const struct graph_runtime *r = &c->card.runtime[i];
		fprintf(f, "%-15s %8.2f %8.2f %8.2f %8.2f\n", r->policy, r->submit_s * 1e6, r->task_s * 1e6, r->hop_s * 1e6,
			r->wake_s * 1e6);
	}
}

static const struct curve *curve_of(const struct calibrate_card *card, int kind)
{
	for (int i = 0; i < card->curves; i++)
		if (!strcmp(card->curve[i].task, call_kind_names[kind]))
			return &card->curve[i];
	return NULL;
}

static int print_json(const struct command *c, struct error *error)
{
	json_t *root = json_array();
	for (int i = 0; i < c->record.samples.count; i++) {
		const struct calibrate_sample *s = &c->record.samples.sample[i];
		const struct curve *curve = curve_of(&c->card, s->kind);
		json_t *terms = json_object();
		for (int t = 0; t < CURVE_TERMS; t++)
			if (s->term[t] > 0)
				json_object_set_new(terms, curve_keys[t], json_real(s->term[t]));
		json_array_append_new(root, json_pack("{s:s, s:i, s:i, s:i, s:f, s:f, s:f, s:o}", "task", call_kind_names[s->kind],
			"segments", s->segments, "rows", s->rows, "position", s->position, "seconds", s->seconds, "company",
			s->company, "fitted", curve ? curve_seconds(curve, s->term, s->company) : 0.0, "terms", terms));
	}
	int bad = json_dumpf(root, stdout, JSON_INDENT(0) | JSON_REAL_PRECISION(9));
	json_decref(root);
	return bad ? error_set(error, ERROR_RUN, "standard output", "cannot be written") : 0;
}

static int write_card(const struct command *c, struct error *error)
{
	char *text;
	int code = calibrate_card_text(&c->card, &text, error);
	if (code)
		return code;
	if (!c->output) {
		if (!c->json)
			fputs(text, stdout);
	} else {
		code = calibrate_write(c->output, text, error);
	}
	free(text);
	return code;
}

static void date_of(char *text, size_t size, const char *format)
{
	time_t now = time(NULL);
	struct tm day;
	strftime(text, size, format, gmtime_r(&now, &day));
}

/* Measures a pass and adds it to the record. */
static int add_pass(struct command *c, struct error *error)
{
	struct calibrate_samples *samples = &c->record.samples;
	int before = samples->count;
	int code = measure_all(c, error);
	date_of(c->pass.measured, sizeof c->pass.measured, "%Y-%m-%dT%H:%M:%SZ");
	for (int i = before; i < samples->count; i++)
		samples->sample[i].pass = c->record.passes;
	if (!code)
		code = calibrate_record_add(&c->record, &c->pass, error);
	return code || !c->samples ? code : calibrate_record_write(&c->record, c->samples, error);
}

/* The record's card is of this machine. */
static int use_record(struct command *c, struct error *error)
{
	struct calibrate_identity now = c->record.identity;
	if (!c->record.passes)
		return error_set(error, ERROR_INPUT, "--repetitions", "0 measures nothing; --samples FILE with an earlier pass would be "
			"right");
	snprintf(now.cpu, sizeof now.cpu, "%s", c->topology.cpu);
	now.cores = c->topology.cores;
	c->card.workers = now.workers;
	c->card.compute = now.compute;
	snprintf(c->card.model, sizeof c->card.model, "%s", c->model ? c->checkpoint.name : "a model");
	return calibrate_record_check(&c->record, &now, c->samples, error);
}

static int perform(struct command *c, struct error *error)
{
	struct calibrate_card *card = &c->card;
	date_of(card->date, sizeof card->date, "%Y-%m-%d");
	snprintf(card->cpu, sizeof card->cpu, "%s", c->topology.cpu);
	card->cores = c->topology.cores;
	c->terminal = isatty(STDERR_FILENO) && !c->quiet;
	int code = c->repetitions ? add_pass(c, error) : use_record(c, error);
	card->passes = c->record.passes;
	calibrate_record_runtime(&c->record, card->runtime, &card->runtimes);
	if (!code)
		code = calibrate_fit(&c->record.samples, card->workers, card->curve, &card->curves, error);
	if (!code)
		code = write_card(c, error);
	if (!code && c->json)
		code = print_json(c, error);
	if (!code && !c->quiet)
		print_table(c, c->output && !c->json ? stdout : stderr);
	return code;
}

static int prepare(struct command *c, int argc, char **argv, struct error *error)
{
	c->repetitions = 5;
	int code = options_parse(&table, argc, argv, c, error);
	if (code || c->help)
		return code;
	code = topology_read(&c->topology, error);
	if (!code && c->model)
		code = model_config_read(c->model, &c->checkpoint, error);
	c->card.workers = c->workers ? c->workers : c->topology.workers;
	if (!code && c->samples && !access(c->samples, F_OK))
		code = calibrate_record_read(c->samples, &c->record, error);
	if (!c->memory_gb)
		c->memory_gb = calibrate_memory(c->topology.memory_available) * 1e-9;
	return code;
}

int cmd_calibrate(int argc, char **argv)
{
	struct command *c = calloc(1, sizeof *c);
	struct error error = { 0 };
	if (!c)
		return 1;
	int code = prepare(c, argc, argv, &error);
	if (!code && c->help)
		print_usage();
	else if (!code)
		code = perform(c, &error);
	if (code) {
		options_locate(&c->overrides, &error);
		error_print(&error);
	}
	calibrate_record_free(&c->record);
	options_free(&c->overrides);
	free(c);
	return error_exit_status(code);
}
