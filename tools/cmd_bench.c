/* SPDX-License-Identifier: Apache-2.0
 *
 * octant bench: the roofline of each kind of task on this machine, at the sizes that a workload meets. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "runtime/model_config.h"
#include "tools/bench.h"
#include "tools/commands.h"
#include "tools/graph_load.h"
#include "tools/options.h"

#define DECODE_SIZES  "1x128,32x128,128x128,1x2048,32x2048,128x2048,1x10240,32x10240,128x10240"
#define PREFILL_SIZES "128x128,4096x128,4096x2048,128x10240,4096x10240"

struct command {
	const char *graph[1];
	const char *model, *decode, *prefill;
	int workers, repetitions;
	double memory_gb;
	bool json, quiet, help;
	struct option_overrides overrides;

	struct topology topology;
	struct model checkpoint; /* sizes of --model, or of the card that stands in for it */
	struct graph *described; /* the graph */
	struct bench bench;
	bool terminal;
};

#define AT(field) offsetof(struct command, field)

static const struct option_row rows[] = {
	{ "--model", "DIR", OPTION_TEXT, AT(model), NULL, 0, 0,
		"a checkpoint whose sizes to measure with (its config.json; weights are random)" },
	{ "--decode", "LIST", OPTION_TEXT, AT(decode), NULL, 0, 0, "sequences x context, or none (default: " DECODE_SIZES ")" },
	{ "--prefill", "LIST", OPTION_TEXT, AT(prefill), NULL, 0, 0, "rows x context, or none (default: " PREFILL_SIZES ")" },
	{ "--workers", "N", OPTION_INTEGER, AT(workers), NULL, 1, 64, "CPU workers (default: one a core)" },
	{ "--repetitions", "N", OPTION_INTEGER, AT(repetitions), NULL, 1, 1000, "of each size; the lower quartile counts (default: 5)" },
	{ "--memory", "GB", OPTION_NUMBER, AT(memory_gb), NULL, 0.001, 1e6,
		"that KV pools may take (default: 2, or a tenth of what is available)" },
	{ "--json", NULL, OPTION_FLAG, AT(json), NULL, 0, 0, "for programs (default: tables)" },
	{ "--quiet", NULL, OPTION_FLAG, AT(quiet), NULL, 0, 0, "no progress" },
	{ "--set", "PATH=VALUE", OPTION_SET, 0, NULL, 0, 0, "any key of the graph, any number of times" },
	{ "--help", NULL, OPTION_FLAG, AT(help), NULL, 0, 0, "this text" },
};
static const struct option_table table = { "octant bench", rows, sizeof rows / sizeof *rows, NULL, 0, AT(overrides), AT(graph),
	1 };

static void print_usage(void)
{
	puts("usage: octant bench [GRAPH] [OPTION]…\n\n"
	     "Runs a graph's own tasks, with random weights, in micro-batches of the sizes that a workload meets, and prints for\n"
	     "each kind of task its time, FLOPs and bytes, what binds it (compute, memory, the call itself), its share of that\n"
	     "limit, measured in the same run, and its share of the step's time. Without GRAPH, this machine's default one;\n"
	     "without --model, the sizes of the deployment plan's model. It takes some minutes, in which nothing else should\n"
	     "run.\n");
	options_print(&table);
	puts("\nexample: octant bench --model graphs/quickstart/model --decode 1x128,32x128");
}

/* The graph, on this host. */
static int read_graph(const struct command *c, const char *name, const struct model *model, struct graph **graph,
	struct error *error)
{
	static const struct graph_override host = { "machine", "{ host = true; }" };
	struct graph_override all[OPTIONS_MAX_OVERRIDES + 1];
	all[0] = host;
	memcpy(all + 1, c->overrides.item, (size_t) c->overrides.count * sizeof *all);
	struct graph_load load = { .name = name, .model = model, .cores = c->bench.workers, .overrides = all,
		.override_count = c->overrides.count + 1 };
	return graph_load(&load, graph, error);
}

static int open_graph(struct command *c, struct error *error)
{
	struct graph_load card = { .name = "one_device" };
	const char *name = c->graph[0];
	struct graph *plan;
	int code = 0;
	if (c->model)
		code = model_config_read(c->model, &c->checkpoint, error);
	else if (graph_is_default(name) && !(code = graph_load(&card, &plan, error))) {
		c->checkpoint = plan->model;
		graph_destroy(plan);
	}
	if (!code)
		code = read_graph(c, name, c->model || graph_is_default(name) ? &c->checkpoint : NULL, &c->described, error);
	if (!code)
		code = graph_check_cpu(c->described, c->described->compute, error);
	c->bench.graph = c->described;
	return code;
}

/* The best of some measurements, before the tasks and after them: a limit is what the machine has shown. */
static int measure_limits(struct command *c, struct error *error)
{
	enum { TIMES = 3 };
	struct topology_speed now, *best = &c->bench.limits.speed;
	struct topology topology = c->topology;
	int code = 0;
	topology.workers = c->bench.workers;
	for (int i = 0; i < TIMES && !(code = topology_measure(&topology, &now, error)); i++) {
		best->fp32_flops = fmax(best->fp32_flops, now.fp32_flops);
		best->bf16_flops = fmax(best->bf16_flops, now.bf16_flops);
		best->int8_flops = fmax(best->int8_flops, now.int8_flops);
		best->bandwidth = fmax(best->bandwidth, now.bandwidth);
	}
	return code;
}

static int measure_call(struct command *c, struct error *error)
{
	struct graph_runtime runtime;
	int code = calibrate_runtime(c->bench.workers, c->described->schedule.policy, &runtime, error);
	if (!code)
		c->bench.limits.call_s = runtime.task_s;
	return code;
}

static void on_progress(void *context, int done, int of)
{
	if (((const struct command *) context)->terminal)
		fprintf(stderr, "\rmeasuring: %d of %d%s", done, of, done == of ? "\n" : " ");
}

static int measure_tasks(struct command *c, struct error *error)
{
	struct calibrate_shape shapes[BENCH_MAX_CASES];
	double span[BENCH_MAX_CASES] = { 0 };
	struct calibrate_samples samples = { 0 };
	struct calibrate_options options = { .graph = c->described, .workers = c->bench.workers, .repetitions = c->repetitions,
		.quantile = 0.25, .memory = c->memory_gb * 1e9, .shape = shapes, .shapes = c->bench.cases, .span_s = span,
		.progress = on_progress, .context = c };
	bench_shape(&c->bench);
	for (int i = 0; i < c->bench.cases; i++)
		shapes[i] = c->bench.each[i].shape;
	int code = calibrate_measure(&options, &samples, error);
	if (!code)
		code = measure_limits(c, error);
	if (!code)
		bench_evaluate(&c->bench, &samples, span);
	if (!code && !samples.count)
		code = error_set(error, ERROR_INPUT, c->described->name, "none of the sizes fits the graph: %d sequences of %d tokens, "
			"chunks of %d; larger limits by --set, or smaller sizes by --decode and --prefill, would be right",
			c->described->limits.sequences, c->described->limits.tokens_per_sequence, c->described->schedule.prefill_tokens);
	calibrate_samples_free(&samples);
	return code;
}

static int perform(struct command *c, struct error *error)
{
	c->terminal = isatty(STDERR_FILENO) && !c->quiet;
	int code = open_graph(c, error);
	if (!code)
		code = measure_limits(c, error);
	if (!code)
		code = measure_call(c, error);
	if (!code)
		code = measure_tasks(c, error);
	if (!code && c->json)
		code = bench_print_json(&c->bench, error);
	else if (!code)
		bench_print(&c->bench);
	if (!code && (fflush(stdout) || ferror(stdout)))
		code = error_set(error, ERROR_RUN, NULL, "cannot write to standard output");
	return code;
}

static int prepare(struct command *c, int argc, char **argv, struct error *error)
{
	c->repetitions = 5;
	c->decode = DECODE_SIZES;
	c->prefill = PREFILL_SIZES;
	int code = options_parse(&table, argc, argv, c, error);
	if (code || c->help)
		return code;
	code = bench_parse(&c->bench, "--decode", c->decode, true, error);
	if (!code)
		code = bench_parse(&c->bench, "--prefill", c->prefill, false, error);
	if (!code)
		code = topology_read(&c->topology, error);
	c->bench.topology = &c->topology;
	c->bench.workers = c->workers ? c->workers : c->topology.workers;
	if (!c->memory_gb)
		c->memory_gb = calibrate_memory(c->topology.memory_available) * 1e-9;
	return code;
}

int cmd_bench(int argc, char **argv)
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
	graph_destroy(c->described);
	options_free(&c->overrides);
	free(c);
	return error_exit_status(code);
}
