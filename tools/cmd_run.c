/* SPDX-License-Identifier: Apache-2.0
 *
 * octant run: batch inference of a checkpoint through a graph.
 *
 *   options → checkpoint, graph → input → memory → output folder → engine, deployment → run → metrics, trace
 *
 * Everything that can be wrong with what the user gave is found before the output folder is touched. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "config.h"
#include "runtime/checkpoint.h"
#include "runtime/tokenizer.h"
#include "tasks/deployment.h"
#include "tasks/kinds.h"
#include "tasks/run.h"
#include "tasks/touch.h"
#include "tools/commands.h"
#include "tools/run_identity.h"
#include "tools/run_memory.h"
#include "tools/run_options.h"
#include "tools/run_report.h"
#include "tools/run_results.h"
#include "tools/run_routing.h"

struct run {
	struct run_options options;
	struct topology topology;
	int workers;
	struct checkpoint *checkpoint;
	struct graph *graph;
	struct tokenizer *tokenizer;
	struct requests *requests;
	struct run_memory memory;
	char settings[256];
	struct output *output;
	FILE *tasks; /* --dump-tasks */
	struct engine *engine;
	struct deployment *deployment;
	struct batcher *batcher;
	struct run_results results;
	struct run_routing routing;
	struct run_report *report;
	double start_s; /* engine's clock when the run began */
};

/* Set by the signal handler, read between micro-batches. */
static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
	interrupted = number;
	signal(number, SIG_DFL); /* a second one ends the process at once */
}

/* ---- what the user gave */

/* One line. */
static void tell_differences(const struct graph *graph, const struct model *model)
{
	char difference[256];
	int told = 0;
	for (; graph_card_differs(graph, model, told, difference, sizeof difference); told++)
		fprintf(stderr, "%s%s", told ? ", " : "octant: the checkpoint's own values replace the card's: ", difference);
	if (told)
		fputc('\n', stderr);
}

static int read_graph(struct run *run, struct error *error)
{
	const struct run_options *o = &run->options;
	const struct model *model = run->checkpoint ? checkpoint_model(run->checkpoint) : NULL;
	int code = graph_open(
		o->graph, model, run->workers, &task_kinds, o->overrides.item, o->overrides.count, &run->graph, error);
	if (code)
		return code;
	if (model && !o->quiet)
		tell_differences(run->graph, model);
	code = graph_resolve(run->graph, model, &task_kinds, error);
	if (code)
		return code;
	/* on whatever machine it is meant for */
	run->graph->here = true;
	graph_set_default_compute(run->graph, run->topology.avx512_bf16);
	return 0;
}

static int read_checkpoint(struct run *run, struct error *error)
{
	char path[4096];
	if (!run->options.model)
		return 0;
	int code = checkpoint_open(run->options.model, &run->checkpoint, error);
	if (!code)
		code = checkpoint_check(run->checkpoint, error);
	if (!code)
		code = checkpoint_keep(run->checkpoint, run->options.weights_cache, error);
	if (code || !run->options.input)
		return code; /* a dry run without input has nothing to encode */
	snprintf(path, sizeof path, "%s/tokenizer.json", run->options.model);
	if (access(path, F_OK))
		return 0; /* inputs must be tokens then, and outputs have no text */
	return tokenizer_load(path, &run->tokenizer, error);
}

static int encode(void *context, const char *text, size_t bytes, int32_t **tokens, size_t *count, struct error *error)
{
	return tokenizer_encode(context, text, bytes, 1, tokens, count, error);
}

static int read_requests(struct run *run, struct error *error)
{
	struct request_options *o = &run->options.request;
	if (!run->options.input)
		return 0;
	o->vocab = run->graph->model.vocab;
	if (run->tokenizer) {
		o->encode = encode;
		o->context = run->tokenizer;
	}
	return request_read(run->options.input, o, &run->requests, error);
}

/* ---- building and running */

static int open_output(struct run *run, struct error *error)
{
	struct output_identity identity;
	enum output_mode mode = run->options.resume ? OUTPUT_RESUME : run->options.force ? OUTPUT_FORCE : OUTPUT_FRESH;
	int code = 0;
	if (run->options.routing.given)
		code = run_routing_check(&run->graph->model, run->options.routing.value, error);
	if (!code)
		code = run_identity(run->options.model, run->graph, &identity, run->settings, sizeof run->settings, error);
	return code ? code : output_open(run->options.output, mode, &identity, run->requests, &run->output, error);
}

/* From here on files of the output folder change: nothing that the user gave is wrong. */
static int begin_output(struct run *run, struct error *error)
{
	char path[4096];
	int code = output_begin(run->output, error);
	if (code)
		return code;
	snprintf(path, sizeof path, "%s/routing.jsonl", run->options.output);
	const char *routing = run->options.routing.value ? run->options.routing.value : path;
	return run_routing_open(&run->routing, &run->graph->model, run->options.routing.given ? routing : NULL,
		run->options.resume, error);
}

static void print_loading(const struct deployment_loading *l)
{
	printf("weights: %.3f GB on %d devices, %d packed, %d from the cache, ready in %.3f s", l->bytes * 1e-9,
		l->packed + l->cached, l->packed, l->cached, l->ready_s);
	if (l->kept)
		printf("; %d kept in %.3f s", l->kept, l->keep_s);
	putchar('\n');
}

/* StarPU lets STARPU_SCHED win over the program's choice. It may win over the graph's, but not over one that stands on
 * the command line. */
static void let_command_line_win(const struct option_overrides *overrides)
{
	for (int i = 0; i < overrides->count; i++)
		if (!strcmp(overrides->item[i].path, "schedule.policy"))
			unsetenv("STARPU_SCHED");
}

/* What is not finished yet, as the batcher will form it. */
static int take_memory(struct run *run, const struct batcher_options *options, struct error *error)
{
	struct sequence *sequence = calloc((size_t) run->requests->count + 1, sizeof *sequence);
	struct touch_need need = { 0 };
	if (!sequence)
		return error_memory(error, "rehearsing the run");
	for (int i = 0; i < run->results.sequences; i++) {
		const struct request *r = &run->requests->request[run->results.result[i].request];
		sequence[i] = (struct sequence){ .prompt = r->tokens, .prompt_tokens = r->prompt_tokens,
			.max_new_tokens = r->max_new_tokens };
	}
	int code = touch_rehearse(options, sequence, run->results.sequences, &need, error);
	if (!code)
		code = touch_deployment(run->deployment, &need, error);
	touch_free(&need);
	free(sequence);
	return code;
}

static int build(struct run *run, struct error *error)
{
	struct engine_options engine = { .policy = run->graph->schedule.policy, .workers = run->workers,
		.record = true, .watchdog_s = run->options.watchdog_s };
	struct batcher_options options;
	if (run->options.tasks && !(engine.tasks = run->tasks = fopen(run->options.tasks, "w")))
		return error_set(error, ERROR_RUN, run->options.tasks, "cannot be written: %s", strerror(errno));
	let_command_line_win(&run->options.overrides);
	int code = engine_start(&engine, &run->engine, error);
	if (code)
		return code;
	run_batcher_options(run->graph, run->memory.sizes.pages, &options);
	options.record_routing = run->graph->model.experts > 0;
	options.on_token = run_results_on_token;
	options.on_finish = run_results_on_finish;
	options.context = &run->results;
	code = batcher_create(&options, &run->batcher, error);
	if (!code)
		code = run_results_create(run->requests, run->tokenizer, run->output, &run->results, error);
	if (!code)
		code = deployment_create(run->graph, run->checkpoint, run->graph->compute, &run->memory.sizes, run->engine,
			&run->deployment, error);
	if (!code)
		code = take_memory(run, &options, error);
	if (!code && run->options.measure && !run->options.quiet && !run->options.json)
		print_loading(&run->deployment->loading);
	/* A debugging build catches a task that touches the memory of a device that is not its own. */
	if (!code && OCTANT_DEBUG && engine_workers(run->engine) == 1)
		code = engine_guard(run->engine, run->deployment->arenas, run->graph->mesh.devices, error);
	return code;
}

static void on_ended(void *context, const struct micro_batch *micro_batch)
{
	struct run *run = context;
	struct error error = { 0 };
	run->results.now_s = engine_now(run->engine) - run->start_s;
	run_report_progress(run->report, micro_batch, &run->results, run->results.now_s);
	if (!run->results.code && run_routing_add(&run->routing, micro_batch, &error)) {
		run->results.code = error.code;
		run->results.error = error;
	}
}

static int check_results(void *context, struct error *error)
{
	const struct run *run = context;
	if (run->results.code && error)
		*error = run->results.error;
	return run->results.code;
}

static bool is_interrupted(void *context)
{
	(void) context;
	return interrupted != 0;
}

/* A signal that came when all was done anyway has interrupted nothing. */
static bool was_interrupted(const struct run *run)
{
	return interrupted && run->output && output_count(run->output) < run->requests->count;
}

static int run_sequences(struct run *run, struct error *error)
{
	struct run_hooks hooks = { .ended = on_ended, .check = check_results, .interrupted = is_interrupted,
		.context = run };
	struct task_record *records = NULL;
	size_t count = 0;
	int code = engine_take_records(run->engine, &records, &count, error); /* of loading */
	free(records);
	if (code)
		return code;
	run->start_s = engine_now(run->engine);
	code = run_results_add_all(&run->results, run->batcher, error);
	return code ? code : run_batcher(run->deployment, run->batcher, &hooks, error);
}

static int report(struct run *run, struct error *error)
{
	struct run_report_source source = {
		.graph = run->graph,
		.memory = &run->memory,
		.results = &run->results,
		.routing = &run->routing,
		.batcher = run->batcher,
		.engine = run->engine,
		.topology = &run->topology,
		.output = run->output,
		.directory = run->options.output,
		.start_s = run->start_s,
		.end_s = run->results.now_s,
		.trace = !run->options.no_trace,
	};
	return run_report_finish(run->report, &source, error);
}

/* Every sequence is finished: what a run that was cut off left torn or missing beside the outputs is put right. */
static int nothing_left(struct run *run, struct error *error)
{
	bool written;
	int code = begin_output(run, error);
	if (!code)
		code = run_report_repair(run->graph, run->options.output, run->requests->count, &written, error);
	if (!code && !run->options.quiet)
		fprintf(stderr, "octant: all %d sequences are finished already: %s%s\n", run->requests->count,
			output_path(run->output),
			written ? "; metrics.json, which was missing, is written without times" : "");
	return code;
}

static int perform(struct run *run, struct error *error)
{
	struct sigaction action = { .sa_handler = on_signal };
	int code = open_output(run, error);
	if (code)
		return code;
	if (output_count(run->output) == run->requests->count)
		return nothing_left(run, error);
	code = build(run, error);
	if (!code)
		code = begin_output(run, error);
	if (code)
		return code;
	signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes is then an error of write(2), which the output reports */
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	int failed = run_sequences(run, error);
	if (was_interrupted(run))
		fprintf(stderr, "octant: interrupted; %d of %d sequences are finished, --resume goes on with the others\n",
			output_count(run->output), run->requests->count);
	/* What finished is worth reporting even when the run failed. */
	struct error second = { 0 };
	code = report(run, failed ? &second : error);
	return failed ? failed : code;
}

static int prepare(struct run *run, int argc, char **argv, struct error *error)
{
	char warning[256];
	int code = run_options_parse(argc, argv, &run->options, error);
	if (code || run->options.help)
		return code;
	code = topology_read(&run->topology, error);
	if (code)
		return code;
	run->workers = run->options.workers ? run->options.workers : run->topology.workers;
	code = read_checkpoint(run, error);
	if (!code && (code = read_graph(run, error)))
		options_locate(&run->options.overrides, error);
	if (!code)
		code = read_requests(run, error);
	if (!code)
		code = run_memory_plan(run->graph, run->requests, &run->topology, run->workers, &run->memory, error);
	if (!code)
		code = run_report_create(&run->options, run->requests ? run->requests->count : 0, &run->report, error);
	if (!code && !run->options.quiet && run_memory_exceeds(run->graph, &run->memory, warning, sizeof warning))
		fprintf(stderr, "octant: %s\n", warning);
	return code;
}

static int clean_up(struct run *run, struct error *error)
{
	run_report_destroy(run->report);
	deployment_destroy(run->deployment);
	batcher_destroy(run->batcher);
	engine_stop(run->engine);
	if (run->tasks)
		fclose(run->tasks);
	run_results_destroy(&run->results);
	int code = run_routing_close(&run->routing, error);
	int closed = output_close(run->output, error);
	request_destroy(run->requests);
	tokenizer_destroy(run->tokenizer);
	graph_destroy(run->graph);
	checkpoint_close(run->checkpoint);
	options_free(&run->options.overrides);
	return code ? code : closed;
}

int cmd_run(int argc, char **argv)
{
	struct run *run = calloc(1, sizeof *run);
	struct error error = { 0 }, late = { 0 };
	if (!run)
		return 1;
	int code = prepare(run, argc, argv, &error), status;
	if (code && run->options.dry_run && run->memory.misfit)
		run_memory_print(run->graph, &run->memory, run->options.json);
	if (code)
		error_print(&error);
	else if (run->options.help)
		run_options_usage();
	else if (run->options.dry_run)
		run_memory_print(run->graph, &run->memory, run->options.json);
	else if ((code = perform(run, &error)))
		error_print(&error);
	status = error_exit_status(code);
	if (!code && run->report && run_report_failed(run->report))
		status = 1;
	if (!code && run->output && output_failed(run->output))
		status = 1;
	if (!code && was_interrupted(run))
		status = 128 + interrupted;
	if (clean_up(run, &late)) {
		error_print(&late);
		status = status ? status : 1;
	}
	free(run);
	return status;
}
