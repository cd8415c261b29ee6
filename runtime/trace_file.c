/* SPDX-License-Identifier: Apache-2.0
 *
 * trace.json, written as a stream of events. */
#include "runtime/trace_file.h"
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Thread numbers within a process: collectives first, then workers. */
#define LANES         16
#define WORKER_THREAD LANES
#define MAX_WORKERS   512

struct device {
	int part;               /* index in the mesh, −1: no such device */
	double lane_end[LANES]; /* when the last collective of a lane ends */
	bool lane_named[LANES];
	bool worker_named[MAX_WORKERS];
};

struct trace_file {
	struct trace_info info;
	char **kind; /* [kinds] names as JSON strings, with quotes */
	FILE *file;
	char *temporary, *path;
	struct device device[MESH_MAX_DEVICES]; /* by number */
	int failed;                             /* errno of the first failure */
};

/* A JSON string with its quotes; the caller frees it. NULL: no memory. */
static char *quote(const char *text)
{
	json_t *string = json_string(text ? text : "");
	char *quoted = string ? json_dumps(string, JSON_ENCODE_ANY) : strdup("\"?\""); /* not UTF-8 */

	json_decref(string);
	return quoted;
}

static char *join(const char *directory, const char *name, const char *end)
{
	size_t size = strlen(directory) + strlen(name) + strlen(end) + 2;
	char *path = malloc(size);

	if (path)
		snprintf(path, size, "%s/%s%s", directory, name, end);
	return path;
}

static void check(struct trace_file *trace, int result)
{
	if (result < 0 && !trace->failed)
		trace->failed = errno ? errno : EIO;
}

static void write_head(struct trace_file *trace)
{
	const struct trace_info *info = &trace->info;
	char *graph = quote(info->graph), *policy = quote(info->policy), *source = quote(info->source);

	if (graph && policy && source)
		check(trace, fprintf(trace->file,
				     "{\"displayTimeUnit\": \"ms\",\n\"otherData\": {\"graph\": %s, \"policy\": %s, "
				     "\"source\": "
				     "%s},\n\"traceEvents\": [",
				     graph, policy, source));
	else
		trace->failed = ENOMEM;
	free(graph);
	free(policy);
	free(source);
}

static void name_thread(struct trace_file *trace, int device, int thread, const char *word, int number)
{
	char name[48];

	if (number < 0)
		snprintf(name, sizeof name, "%s", word);
	else
		snprintf(name, sizeof name, "%s %d", word, number);
	check(trace, fprintf(trace->file,
			     ",\n{\"name\": \"thread_name\", \"ph\": \"M\", \"pid\": %d, \"tid\": %d, \"args\": "
			     "{\"name\": \"%s\"}}"
			     ",\n{\"name\": \"thread_sort_index\", \"ph\": \"M\", \"pid\": %d, \"tid\": %d, \"args\": "
			     "{\"sort_index\": %d}}",
			     device + 1, thread, name, device + 1, thread, thread));
}

static void write_processes(struct trace_file *trace)
{
	const struct mesh *mesh = trace->info.mesh;

	for (int i = 0; i < mesh->devices; i++) {
		const struct mesh_part *part = &mesh->part[i];
		int d = part->device;

		trace->device[d].part = i;
		/* process 0 is the idle process to some viewers */
		check(trace, fprintf(trace->file,
				     "%s\n{\"name\": \"process_name\", \"ph\": \"M\", \"pid\": %d, \"args\": "
				     "{\"name\": \"device %d: "
				     "stage %d, tensor %d, experts %d\"}},\n{\"name\": \"process_sort_index\", \"ph\": "
				     "\"M\", \"pid\": "
				     "%d, \"args\": {\"sort_index\": %d}}",
				     i ? "," : "", d + 1, d, part->stage, part->tensor, part->experts, d + 1, i));
	}
}

int trace_file_open(const char *directory, const char *name, const struct trace_info *info, struct trace_file **out,
	struct error *error)
{
	struct trace_file *trace = calloc(1, sizeof *trace);
	bool whole = trace != NULL;
	int code;

	if (trace) {
		trace->info = *info;
		for (int d = 0; d < MESH_MAX_DEVICES; d++)
			trace->device[d].part = -1;
		trace->path = join(directory, name, "");
		trace->temporary = join(directory, name, ".tmp");
		trace->kind = calloc((size_t) info->kinds + 1, sizeof *trace->kind);
		whole = trace->path && trace->temporary && trace->kind;
		for (int k = 0; whole && k < info->kinds; k++)
			whole = (trace->kind[k] = quote(info->kind_names[k])) != NULL;
	}
	if (!whole) {
		trace_file_close(trace, NULL);
		return error_memory(error, "opening a trace");
	}
	trace->file = fopen(trace->temporary, "we");
	if (!trace->file) {
		code = error_set(error, ERROR_RUN, trace->temporary, "cannot be written: %s", strerror(errno));
		trace_file_close(trace, NULL);
		return code;
	}
	write_head(trace);
	write_processes(trace);
	*out = trace;
	return 0;
}

/* The first lane that is free when the record starts; the last one takes what is left over. */
static int lane_of(struct trace_file *trace, int d, const struct task_record *record)
{
	struct device *device = &trace->device[d];
	int lane = 0;

	while (lane < LANES - 1 && device->lane_end[lane] > record->start_s)
		lane++;
	device->lane_end[lane] = fmax(device->lane_end[lane], record->end_s);
	if (!device->lane_named[lane]) {
		name_thread(trace, d, lane, "collectives", lane ? lane + 1 : -1);
		device->lane_named[lane] = true;
	}
	return lane;
}

static int thread_of(struct trace_file *trace, int d, const struct task_record *record)
{
	int worker = record->worker;

	if (record->collective)
		return lane_of(trace, d, record);
	if (worker < 0 || worker >= MAX_WORKERS)
		worker = MAX_WORKERS - 1;
	if (!trace->device[d].worker_named[worker]) {
		name_thread(trace, d, WORKER_THREAD + worker, "worker", worker);
		trace->device[d].worker_named[worker] = true;
	}
	return WORKER_THREAD + worker;
}

void trace_file_add(struct trace_file *trace, const struct task_record *record)
{
	static const char *const phases[] = {"prefill", "decode", "mixed"};
	/* to whole nanoseconds, both ends alike, so that slices that touch do not overlap */
	long long start = llround((record->start_s - trace->info.start_s) * 1e9),
		  end = llround((record->end_s - trace->info.start_s) * 1e9), length = end > start ? end - start : 0;
	const char *kind = record->kind < (uint32_t) trace->info.kinds ? trace->kind[record->kind] : "\"?\"";

	for (int d = 0; d < MESH_MAX_DEVICES && !trace->failed; d++) {
		int thread;

		if (!(record->devices >> d & 1) || trace->device[d].part < 0)
			continue;
		thread = thread_of(trace, d, record);
		check(trace, fprintf(trace->file,
				     ",\n{\"name\": %s, \"cat\": \"%s\", \"ph\": \"X\", \"pid\": %d, \"tid\": %d, "
				     "\"ts\": %s%lld.%03lld, "
				     "\"dur\": %lld.%03lld, \"args\": {\"layer\": %d, \"micro_batch\": %lld, "
				     "\"phase\": \"%s\", "
				     "\"worker\": %d}}",
				     kind, record->collective ? "collective" : "compute", d + 1, thread,
				     start < 0 ? "-" : "", llabs(start) / 1000, llabs(start) % 1000, length / 1000,
				     length % 1000, record->layer, (long long) record->micro_batch,
				     phases[record->phase < 3 ? record->phase : 2], record->worker));
	}
}

int trace_file_close(struct trace_file *trace, struct error *error)
{
	int code = 0;

	if (!trace)
		return 0;
	if (trace->file) {
		check(trace, fprintf(trace->file, "\n]}\n"));
		check(trace, ferror(trace->file) ? -1 : 0);
		check(trace, fclose(trace->file) ? -1 : 0);
		if (!trace->failed && rename(trace->temporary, trace->path))
			check(trace, -1);
		if (trace->failed) {
			code = error_set(
				error, ERROR_RUN, trace->path, "cannot be written: %s", strerror(trace->failed));
			unlink(trace->temporary);
		}
	}
	for (int k = 0; trace->kind && k < trace->info.kinds; k++)
		free(trace->kind[k]);
	free(trace->kind);
	free(trace->path);
	free(trace->temporary);
	free(trace);
	return code;
}
