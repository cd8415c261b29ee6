/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing and reading replay.json. */
#include "tools/replay.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "runtime/json_file.h"
#include "runtime/output.h"

#define VERSION 1
#define LARGEST ((size_t) 1 << 28)

/* ---- writing */

static json_t *overrides_of(const struct run_options *options)
{
	json_t *list = json_array();
	for (int i = 0; i < options->overrides.count; i++)
		json_array_append_new(list, json_pack("[s, s]", options->overrides.item[i].path,
			options->overrides.item[i].value));
	return list;
}

static json_t *sequences_of(const struct run_results *results)
{
	json_t *list = json_array();
	for (int i = 0; i < results->sequences; i++)
		if (results->result[i].count)
			json_array_append_new(list, json_pack("[i, i]",
				results->requests->request[results->result[i].request].prompt_tokens, results->result[i].count));
	return list;
}

int replay_write(const struct run_options *options, const struct run_report_source *source, struct error *error)
{
	char model[4096];
	const char *path = realpath(options->model, model) ? model : options->model;
	json_t *root = json_pack("{s:i, s:s?, s:o, s:s, s:s, s:i, s:I, s:o}", "version", VERSION, "graph", options->graph,
		"overrides", overrides_of(options), "model", path, "compute", dtype_name(source->graph->compute), "workers",
		engine_workers(source->engine), "pages", (json_int_t) source->memory->sizes.pages, "sequences",
		sequences_of(source->results));
	char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
	json_decref(root);
	if (!text)
		return error_memory(error, "writing replay.json");
	int code = output_write_file(source->directory, "replay.json", text, strlen(text), error);
	free(text);
	return code;
}

/* ---- reading */

static int read_overrides(const struct json_file *file, struct replay *replay, struct error *error)
{
	json_t *list = NULL;
	int code = json_file_array(file, file->root, "overrides", &list, error);
	for (size_t i = 0; !code && i < json_array_size(list); i++) {
		const char *path = json_string_value(json_array_get(json_array_get(list, i), 0));
		const char *value = json_string_value(json_array_get(json_array_get(list, i), 1));
		struct option_overrides *o = &replay->overrides;
		if (!path || !value || o->count == OPTIONS_MAX_OVERRIDES)
			return json_file_error(file, "overrides", error, "is no list of at most %d pairs of key and value; what octant "
				"run writes would be right", OPTIONS_MAX_OVERRIDES);
		size_t size = strlen(path) + 1;
		char *copy = malloc(size + strlen(value) + 1);
		if (!copy)
			return error_memory(error, "reading replay.json");
		memcpy(copy, path, size);
		strcpy(copy + size, value);
		o->item[o->count] = (struct graph_override){ copy, copy + size };
		o->copy[o->count++] = copy;
	}
	return code;
}

static int read_sequences(const struct json_file *file, struct replay *replay, struct error *error)
{
	json_t *list = NULL;
	int code = json_file_array(file, file->root, "sequences", &list, error);
	size_t count = json_array_size(list);
	if (code)
		return code;
	if (!count || count > 1 << 24)
		return json_file_error(file, "sequences", error, "holds %zu sequences; a run that finished some would be right", count);
	replay->sequence = calloc(count, sizeof *replay->sequence);
	if (!replay->sequence)
		return error_memory(error, "reading replay.json");
	for (size_t i = 0; i < count; i++) {
		json_int_t prompt = json_integer_value(json_array_get(json_array_get(list, i), 0));
		json_int_t new_tokens = json_integer_value(json_array_get(json_array_get(list, i), 1));
		if (prompt < 1 || prompt > 1 << 24 || new_tokens < 1 || new_tokens > 1 << 24)
			return json_file_error(file, "sequences", error, "sequence %zu is no pair of prompt and new tokens, such as [128, "
				"16]", i);
		replay->sequence[replay->sequences++] = (struct simulate_sequence){ (int) prompt, (int) new_tokens };
	}
	return 0;
}

static int read_fields(const struct json_file *file, struct replay *replay, struct error *error)
{
	const char *graph = NULL, *model = NULL, *compute = NULL;
	int version = 0, code = json_file_integer(file, file->root, "version", 0, 1 << 30, &version, error);
	if (!code && version != VERSION)
		return json_file_error(file, "version", error, "is %d, not %d: another version of the program wrote it", version,
			VERSION);
	if (!code)
		code = json_file_string(file, file->root, "graph", &graph, error);
	if (!code)
		code = json_file_string(file, file->root, "model", &model, error);
	if (!code)
		code = json_file_string(file, file->root, "compute", &compute, error);
	if (!code)
		code = json_file_integer(file, file->root, "workers", 1, 64, &replay->workers, error);
	if (!code)
		code = json_file_integer(file, file->root, "pages", 1, INT32_MAX, &replay->pages, error);
	if (code)
		return code;
	if (!model || !compute || dtype_parse(compute) < 0 || !replay->workers || !replay->pages)
		return error_set(error, ERROR_INPUT, file->path, "lacks model, compute, workers or pages; what octant run writes would "
			"be right");
	replay->compute = (enum dtype) dtype_parse(compute);
	replay->model = strdup(model);
	replay->graph = graph ? strdup(graph) : NULL;
	return replay->model && (!graph || replay->graph) ? 0 : error_memory(error, "reading replay.json");
}

int replay_read(const char *directory, struct replay *replay, struct error *error)
{
	struct json_file file = { 0 };
	char path[4096];
	*replay = (struct replay){ 0 };
	snprintf(path, sizeof path, "%s/replay.json", directory);
	if (access(path, R_OK))
		return error_set(error, ERROR_INPUT, path, "cannot be read; the --output-dir of a finished octant run would be right");
	int code = json_file_read(path, LARGEST, &file, error);
	if (!code)
		code = read_fields(&file, replay, error);
	if (!code)
		code = read_overrides(&file, replay, error);
	if (!code)
		code = read_sequences(&file, replay, error);
	json_file_close(&file);
	snprintf(path, sizeof path, "%s/routing.jsonl", directory);
	if (!code && !access(path, R_OK) && !(replay->routing = strdup(path)))
		code = error_memory(error, "reading replay.json");
	if (code)
		replay_free(replay);
	return code;
}

void replay_free(struct replay *replay)
{
	options_free(&replay->overrides);
	free(replay->graph);
	free(replay->model);
	free(replay->sequence);
	free(replay->routing);
	*replay = (struct replay){ 0 };
}
