/* SPDX-License-Identifier: Apache-2.0
 *
 * octant simulate: what a graph would do on the machine that it names.
 *
 * The simulation needs StarPU on SimGrid, which is another library than the one that runs: `octant simulate` reads all
 * that the user gave, so that what is wrong with it is said at once, and then becomes `octant-sim simulate` with the
 * same arguments, which reads it again and simulates. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "config.h"
#include "runtime/engine.h"
#include "runtime/model_config.h"
#include "runtime/output.h"
#include "runtime/topology.h"
#include "runtime/trace_file.h"
#include "tasks/call.h"
#include "tasks/simulate.h"
#include "tools/calibrate_card.h"
#include "tools/commands.h"
#include "tools/graph_load.h"
#include "tools/metrics_print.h"
#include "tools/replay.h"
#include "tools/simulate_against.h"
#include "tools/simulate_options.h"
#include "tools/workload_options.h"

struct command {
	struct simulate_options options;
	struct graph *graph;
	struct simulate_sequence *sequence;
	struct routing *routing;
	struct replay replay; /* --against */
	struct simulation simulation;
	struct metrics metrics;
	bool terminal;
	struct model model; /* of --model */
	int64_t micro_batches;
	bool failed; /* a sequence or a requirement */
};

/* ---- what the user gave */

/* Reads the graph with the user's overrides and `more`. */
static int load_graph(void *context, const struct graph_override *more, int count, struct graph **graph, struct error *error)
{
	const struct command *c = context;
	const struct simulate_options *o = &c->options;
	struct graph_override all[OPTIONS_MAX_OVERRIDES + 4];
	memcpy(all, o->overrides.item, (size_t) o->overrides.count * sizeof *all);
	for (int i = 0; i < count; i++)
		all[o->overrides.count + i] = more[i];
	struct graph_load load = { .name = o->graph, .model = o->model ? &c->model : NULL, .overrides = all,
		.override_count = o->overrides.count + count, .cores = o->workers };
	return graph_load(&load, graph, error);
}

static int read_graph(struct command *c, struct error *error)
{
	const struct simulate_options *o = &c->options;
	char line[512];
	int code = o->model ? model_config_read(o->model, &c->model, error) : 0;
	if (!code && !o->against && !o->input)
		code = workload_raise_limit(&c->options.overrides, NULL, load_graph, c, o->quiet || engine_simulates(), error);
	if (!code)
		code = load_graph(c, NULL, 0, &c->graph, error);
	if (code)
		return code;
	for (int i = 0; o->model && !o->quiet && !o->against && graph_card_differs(c->graph, &c->model, i, line, sizeof line); i++)
		fprintf(stderr, "octant: the checkpoint replaces the card: %s\n", line);
	if (o->against) {
		graph_set_compute(c->graph, c->replay.compute);
		c->graph->kv.pages = c->replay.pages;
	}
	return 0;
}

/* The run's graph, model, overrides (before those of this command line), workers, sequences and routing. */
static int read_replay(struct command *c, struct error *error)
{
	struct simulate_options *o = &c->options;
	struct option_overrides *mine = &o->overrides, *its = &c->replay.overrides;
	int code = replay_read(o->against, &c->replay, error);
	if (!code && mine->count + its->count > OPTIONS_MAX_OVERRIDES)
		code = error_set(error, ERROR_INPUT, NULL, "more than %d overrides of the graph", OPTIONS_MAX_OVERRIDES);
	if (code)
		return code;
	for (int i = 0; i < its->count; i++) /* behind --machine, which is first */
		options_insert(mine, o->machine != NULL, i, &its->item[i], its->copy[i]);
	its->count = 0;
	o->graph = c->replay.graph;
	o->model = c->replay.model;
	o->workers = o->workers ? o->workers : c->replay.workers;
	c->sequence = c->replay.sequence;
	c->simulation.sequence = c->sequence;
	c->simulation.sequences = c->replay.sequences;
	c->replay.sequence = NULL;
	return 0;
}

static int read_workload(struct command *c, struct error *error)
{
	if (c->options.against)
		return 0;
	int code = simulate_workload(&c->options, c->graph, &c->sequence, &c->simulation.sequences, error);
	c->simulation.sequence = c->sequence;
	return code;
}

static int read_routing(struct command *c, struct error *error)
{
	struct routing_options options = { .kind = ROUTING_REPLAY, .path = c->replay.routing };
	if (!c->options.routing && !c->replay.routing)
		return 0;
	int code = c->options.routing ? routing_parse(c->options.routing, &options, error) : 0;
	if (code)
		return code;
	options.seed = c->graph->workload.seed;
	options.capacity = c->options.capacity;
	code = routing_create(&options, &c->graph->model, &c->routing, error);
	c->simulation.routing = c->routing;
	return code;
}

/* What the command line says replaces what was measured. */
static void choose_costs(struct command *c)
{
	struct simulation *s = &c->simulation;
	struct graph_runtime measured = graph_runtime_of(c->graph);
	double task_s = c->options.task_us * 1e-6;
	s->submit_s = c->options.submit_us > 0 ? c->options.submit_us * 1e-6 : measured.submit_s;
	s->task_s = task_s > 0 ? task_s : measured.task_s;
	s->hop_s = task_s > 0 ? task_s : measured.hop_s;
	s->wake_s = task_s > 0 ? task_s : measured.wake_s;
	s->awake_s = measured.awake_s;
}

static int prepare(struct command *c, int argc, char **argv, struct error *error)
{
	struct topology topology;
	int code = simulate_options_parse(argc, argv, &c->options, error);
	if (code || c->options.help)
		return code;
	code = topology_read(&topology, error);
	if (!code && c->options.against)
		code = read_replay(c, error);
	if (!code)
		code = read_graph(c, error);
	if (!code)
		code = read_workload(c, error);
	if (!code)
		code = read_routing(c, error);
	if (code)
		return code;
	c->simulation.graph = c->graph;
	c->simulation.channels = c->options.channels;
	c->simulation.workers = c->options.workers ? c->options.workers : topology.workers;
	const struct graph_machine *machine = &c->graph->machine;
	if (c->options.against || machine->curves)
		code = calibrate_card_check(machine, &topology, c->simulation.workers, c->graph->compute, error);
	if (code)
		return code;
	choose_costs(c);
	return simulate_prepare(&c->simulation, error);
}

/* ---- the other program */

/* Builds it, where this program lies in the build folder beside its sources; it takes some minutes, once. */
static void build_simulator(const char *path)
{
	static const char build[] = OCTANT_SOURCE_DIR "/tools/build";
	if (strcmp(path, OCTANT_SOURCE_DIR "/build/octant-sim") || access(build, X_OK))
		return;
	fputs("octant: building octant-sim, which simulates (once, about 3 minutes)\n", stderr);
	pid_t child = fork();
	if (!child) {
		dup2(STDERR_FILENO, STDOUT_FILENO);
		execl(build, build, "--sim", (char *) NULL);
		_exit(127);
	}
	while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
}

static int become_simulator(char **argv, struct error *error)
{
	char path[4096];
	ssize_t n = readlink("/proc/self/exe", path, sizeof path - sizeof "-sim");
	if (n < 0)
		return error_set(error, ERROR_RUN, "/proc/self/exe", "cannot be read: %s", strerror(errno));
	strcpy(path + n, "-sim");
	if (access(path, X_OK))
		build_simulator(path);
	if (access(path, X_OK))
		return error_set(error, ERROR_RUN, path, "is not built; tools/build --sim builds it beside this program, with "
			"StarPU on SimGrid (about 3 minutes, once)");
	/* argv begins at the command's name: behind the program's, which is still there */
	execv(path, argv - 1);
	return error_set(error, ERROR_RUN, path, "cannot be started: %s", strerror(errno));
}

/* ---- results */

static void on_progress(void *context, const struct micro_batch *b, double now_s)
{
	struct command *c = context;
	c->micro_batches++;
	if (c->terminal && c->micro_batches % 16 == 0)
		fprintf(stderr, "\r%lld micro-batches, %d of %d sequences, %.3f s simulated ", (long long) b->number + 1,
			c->simulation.finished, c->simulation.sequences, now_s);
}

static int write_trace(const struct command *c, struct error *error)
{
	const struct simulation *s = &c->simulation;
	struct trace_info info = { c->graph->name, c->graph->schedule.policy, "simulated", &c->graph->mesh, call_kind_names,
		CALL_KINDS, s->start_s };
	struct trace_file *trace;
	int code = trace_file_open(c->options.output, "trace.json", &info, &trace, error);
	if (code)
		return code;
	for (size_t i = 0; i < s->records; i++)
		trace_file_add(trace, &s->record[i]);
	return trace_file_close(trace, error);
}

static int write_files(const struct command *c, const char *metrics, struct error *error)
{
	const char *directory = c->options.output;
	if (!directory)
		return 0;
	int code = output_write_file(directory, "metrics.json", metrics, strlen(metrics), error);
	return code || c->options.no_trace ? code : write_trace(c, error);
}

static void print_summary(const struct command *c)
{
	const struct metrics *m = &c->metrics;
	printf("simulated on %s: %lld sequence%s finished, %lld failed in ", m->machine, (long long) m->finished, m->finished == 1 ? "" : "s",
		(long long) m->failed);
	metrics_print_rates(m);
	metrics_print_requirements(m);
	if (c->routing)
		printf("experts' imbalance %.2f, rows dropped %.1f%%\n", routing_imbalance(c->routing),
			100 * routing_dropped(c->routing));
	metrics_print_kinds(m);
	if (c->options.output)
		printf("metrics: %s/metrics.json\n", c->options.output);
	if (c->options.output && !c->options.no_trace)
		printf("trace: %s/trace.json (open it in https://ui.perfetto.dev)\n", c->options.output);
}

static int report(struct command *c, struct error *error)
{
	char *text = NULL;
	int code = simulate_metrics(&c->simulation, &c->metrics, error);
	if (!code)
		code = metrics_text(&c->metrics, &text, error);
	if (!code)
		code = write_files(c, text, error);
	if (!code && c->options.against)
		code = simulate_against(&c->metrics, c->options.against, c->options.json, error);
	else if (!code && c->options.json)
		fputs(text, stdout);
	else if (!code && !c->options.quiet)
		print_summary(c);
	/* compared is what was run: whether it reaches what the graph requires is not the question */
	c->failed = !code && !c->options.against && (metrics_fails(&c->metrics) || c->simulation.failed);
	free(text);
	return code;
}

/* The folder and those above it. */
static int make_folder(const char *path, struct error *error)
{
	char part[4096];
	if (strlen(path) >= sizeof part)
		return error_set(error, ERROR_INPUT, "--output-dir", "the name is too long; at most %zu bytes would be right",
			sizeof part - 1);
	for (size_t i = 1; i <= strlen(path); i++) {
		if (path[i] && path[i] != '/')
			continue;
		memcpy(part, path, i);
		part[i] = 0;
		if (mkdir(part, 0777) && errno != EEXIST)
			return error_set(error, ERROR_INPUT, part, "cannot be made: %s", strerror(errno));
	}
	return 0;
}

static int perform(struct command *c, struct error *error)
{
	FILE *tasks = NULL;
	int code = c->options.output ? make_folder(c->options.output, error) : 0;
	if (code)
		return code;
	if (c->options.tasks && !(tasks = fopen(c->options.tasks, "w")))
		return error_set(error, ERROR_INPUT, c->options.tasks, "cannot be written: %s", strerror(errno));
	c->terminal = isatty(STDERR_FILENO) && !c->options.quiet;
	c->simulation.tasks = tasks;
	c->simulation.progress = on_progress;
	c->simulation.context = c;
	code = simulate_run(&c->simulation, error);
	if (c->terminal)
		fputc('\n', stderr);
	if (!code && *c->simulation.without_curve)
		fprintf(stderr, "octant: %s has no curve of %s, so that a common core's roofline stands in; octant calibrate %s "
			"measures the tasks of this graph\n", c->graph->machine.name, c->simulation.without_curve, c->graph->path[0] ?
			c->graph->path : "GRAPH");
	bool bad = tasks && ferror(tasks);
	if (tasks && (fclose(tasks) || bad) && !code)
		code = error_set(error, ERROR_RUN, c->options.tasks, "cannot be written: %s", strerror(errno));
	return code ? code : report(c, error);
}

int cmd_simulate(int argc, char **argv)
{
	struct command *c = calloc(1, sizeof *c);
	struct error error = { 0 };
	if (!c)
		return 1;
	int code = prepare(c, argc, argv, &error);
	if (!code && c->options.help)
		simulate_options_usage();
	else if (!code)
		code = engine_simulates() ? perform(c, &error) : become_simulator(argv, &error);
	if (code) {
		options_locate(&c->options.overrides, &error);
		error_print(&error);
	}
	int status = error_exit_status(code);
	if (!code && c->failed)
		status = 1;
	simulate_free(&c->simulation);
	routing_destroy(c->routing);
	free(c->sequence);
	replay_free(&c->replay);
	graph_destroy(c->graph);
	options_free(&c->options.overrides);
	free(c);
	return status;
}
