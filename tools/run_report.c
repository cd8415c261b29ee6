/* SPDX-License-Identifier: Apache-2.0
 *
 * What a run tells about itself. */
#include "tools/run_report.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "runtime/metrics.h"
#include "runtime/trace_file.h"
#include "tasks/call.h"
#include "tools/metrics_print.h"
#include "tools/replay.h"

struct run_report {
	const struct run_options *options;
	int sequences;
	bool terminal;
	double printed_s;
	int64_t prefill_rows, decode_rows;
	bool failed;
};

int run_report_create(const struct run_options *options, int sequences, struct run_report **out, struct error *error)
{
	struct run_report *report = calloc(1, sizeof *report);
	if (!report)
		return error_memory(error, "starting the report");
	report->options = options;
	report->sequences = sequences;
	report->terminal = isatty(STDERR_FILENO) && !options->quiet;
	report->printed_s = -1;
	*out = report;
	return 0;
}

void run_report_destroy(struct run_report *report)
{
	free(report);
}

void run_report_progress(struct run_report *report, const struct micro_batch *b, const struct run_results *results,
	double now_s)
{
	for (int i = 0; i < b->segments; i++)
		if (b->token[b->segment[i].row] < 0)
			report->decode_rows += b->segment[i].rows;
		else
			report->prefill_rows += b->segment[i].rows;
	if (!report->terminal || now_s - report->printed_s < 0.25)
		return;
	report->printed_s = now_s;
	fprintf(stderr, "\r%d of %d sequences, %lld prompt rows, %lld new tokens, %.0f rows/s, %.0f s ",
		results->finished + results->failed, report->sequences, (long long) report->prefill_rows,
		(long long) results->tokens, (double) (report->prefill_rows + report->decode_rows) / (now_s > 0 ? now_s : 1),
		now_s);
	fflush(stderr);
}

/* ---- metrics */

static int fill_sequences(const struct run_results *results, struct metrics *metrics, double start_s, double end_s,
	struct error *error)
{
	struct metrics_sequence *sequences = calloc((size_t) results->sequences + 1, sizeof *sequences);
	if (!sequences)
		return error_memory(error, "computing the metrics");
	for (int i = 0; i < results->sequences; i++)
		sequences[i] = (struct metrics_sequence){
			.prompt_tokens = results->requests->request[results->result[i].request].prompt_tokens,
			.tokens = results->result[i].count,
			.token_s = results->result[i].token_s,
		};
	int code = metrics_tokens(metrics, sequences, results->sequences, start_s, end_s, error);
	free(sequences);
	return code;
}

/* Pages are the same in every pool of a group, so that the peak of all groups gives each device's share. */
static void fill_devices(const struct run_report_source *source, struct metrics *metrics,
	const struct batcher_counters *counters)
{
	double pages = (double) source->memory->sizes.pages * source->graph->mesh.groups;
	for (int i = 0; i < metrics->devices; i++) {
		const struct deployment_account *a = &source->memory->account[i];
		struct metrics_device *device = &metrics->device[i];
		device->weight_bytes = (double) a->weights;
		device->kv_bytes = (double) a->kv;
		device->kv_used_bytes = pages > 0 ? (double) a->kv * (double) counters->pages_peak / pages : 0;
		device->activation_bytes = (double) a->activations;
		device->peak_bytes = (double) a->total; /* pools are taken at the start */
	}
}

/* Logical devices are the machine that a graph means only where it means this host. */
static bool on_machine(const struct graph *graph)
{
	return !graph->machine.given || graph->machine.host;
}

static int fill_metrics(const struct run_report_source *source, const struct task_record *records, size_t count,
	struct metrics *metrics, struct error *error)
{
	const struct run_results *results = source->results;
	struct batcher_counters counters;
	double end_s = source->start_s + source->end_s;
	batcher_count(source->batcher, &counters);
	metrics_begin(metrics, METRICS_MEASURED, source->graph);
	snprintf(metrics->measured_on, sizeof metrics->measured_on, "%s, %d cores, %d workers", source->topology->cpu,
		source->topology->cores, engine_workers(source->engine));
	snprintf(metrics->policy, sizeof metrics->policy, "%s", engine_policy(source->engine));
	metrics->workers = engine_workers(source->engine);
	metrics->finished = results->finished;
	metrics->failed = results->failed;
	metrics->resumed = results->requests->count - results->sequences;
	metrics->preempted = counters.preemptions;
	metrics->wasted_rows = counters.wasted_rows;
	metrics->recomputed_rows = counters.recomputed_rows;
	metrics->micro_batches = counters.micro_batches;
	fill_devices(source, metrics, &counters);
	int code = fill_sequences(results, metrics, source->start_s, end_s, error);
	if (!code)
		code = metrics_records(metrics, records, count, call_kind_names, CALL_KINDS, metrics->workers,
			source->start_s, end_s, error);
	if (source->routing->load)
		metrics_load(metrics, source->routing->load, source->routing->layers, source->routing->experts);
	metrics_judge(metrics, source->graph, on_machine(source->graph));
	return code;
}

static int write_trace(const struct run_report_source *source, const struct task_record *records, size_t count,
	struct error *error)
{
	struct trace_info info = { source->graph->name, engine_policy(source->engine), "measured", &source->graph->mesh,
		call_kind_names, CALL_KINDS, source->start_s };
	struct trace_file *trace;
	int code = trace_file_open(source->directory, "trace.json", &info, &trace, error);
	if (code)
		return code;
	for (size_t i = 0; i < count; i++)
		trace_file_add(trace, &records[i]);
	return trace_file_close(trace, error);
}

/* ---- the summary */

static void print_summary(const struct run_report *report, const struct run_report_source *source,
	const struct metrics *m)
{
	printf("%lld sequences finished, %lld failed", (long long) m->finished, (long long) m->failed);
	if (m->resumed)
		printf(", %lld were finished before", (long long) m->resumed);
	fputs(" in ", stdout);
	metrics_print_rates(m);
	metrics_print_requirements(m);
	printf("outputs: %s\nmetrics: %s/metrics.json\n", output_path(source->output), source->directory);
	if (source->trace)
		printf("trace: %s/trace.json (open it in https://ui.perfetto.dev)\n", source->directory);
	if (report->options->measure)
		metrics_print_kinds(m);
}

/* ---- all of it */

static int write_metrics(struct run_report *report, const struct run_report_source *source,
	const struct task_record *records, size_t count, struct error *error)
{
	struct metrics *metrics = calloc(1, sizeof *metrics);
	char *text = NULL;
	if (!metrics)
		return error_memory(error, "computing the metrics");
	int code = fill_metrics(source, records, count, metrics, error);
	if (!code)
		code = metrics_text(metrics, &text, error);
	if (!code)
		code = output_write_file(source->directory, "metrics.json", text, strlen(text), error);
	report->failed = !code && metrics_fails(metrics);
	if (!code && report->options->json)
		fputs(text, stdout);
	else if (!code && !report->options->quiet)
		print_summary(report, source, metrics);
	free(text);
	free(metrics);
	return code;
}

int run_report_finish(struct run_report *report, const struct run_report_source *source, struct error *error)
{
	struct task_record *records;
	size_t count;
	if (report->terminal && report->printed_s >= 0)
		fputc('\n', stderr);
	int code = engine_take_records(source->engine, &records, &count, error);
	if (code)
		return code;
	code = replay_write(report->options, source, error);
	if (!code)
		code = write_metrics(report, source, records, count, error);
	if (!code && source->trace)
		code = write_trace(source, records, count, error);
	free(records);
	return code;
}

int run_report_repair(const struct graph *graph, const char *directory, int finished, bool *written, struct error *error)
{
	char path[4096], *text = NULL;
	snprintf(path, sizeof path, "%s/metrics.json", directory);
	*written = false;
	if (!access(path, F_OK))
		return 0;
	struct metrics *metrics = calloc(1, sizeof *metrics);
	if (!metrics)
		return error_memory(error, "writing the metrics");
	metrics_begin(metrics, METRICS_MEASURED, graph);
	snprintf(metrics->policy, sizeof metrics->policy, "%s", graph->schedule.policy);
	metrics->resumed = finished;
	metrics_judge(metrics, graph, false);
	int code = metrics_text(metrics, &text, error);
	if (!code)
		code = output_write_file(directory, "metrics.json", text, strlen(text), error);
	*written = !code;
	free(text);
	free(metrics);
	return code;
}

bool run_report_failed(const struct run_report *report)
{
	return report->failed;
}
