/* SPDX-License-Identifier: Apache-2.0
 *
 * What an earlier run left in the folder: which run it was, and which sequences it finished.
 *
 *   outputs.jsonl   | whole line | whole line | … | torn or damaged end |
 *                   0                             end: the file goes on here */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/json_file.h"
#include "runtime/output_internal.h"

#define RUN_VERSION 1
#define LARGEST_RUN ((size_t) 1 << 20)

static void put_hash(char *text, size_t size, uint64_t hash)
{
	snprintf(text, size, "%016" PRIx64, hash);
}

int output_run_text(
	const struct output_identity *identity, const struct requests *requests, char **text, struct error *error)
{
	char input[20], model[20], settings[20];
	json_t *value;

	put_hash(input, sizeof input, requests->fingerprint);
	put_hash(model, sizeof model, identity->model_fingerprint);
	put_hash(settings, sizeof settings, identity->settings_fingerprint);
	value = json_pack("{s:i, s:{s:i, s:s}, s:{s:s, s:s}, s:{s:s, s:s}}", "version", RUN_VERSION, "input",
		"sequences", requests->count, "fingerprint", input, "model", "name", identity->model, "fingerprint",
		model, "settings", "text", identity->settings, "fingerprint", settings);
	*text = value ? json_dumps(value, JSON_INDENT(2)) : NULL;
	json_decref(value);
	return *text ? 0 : error_memory(error, "writing run.json");
}

static const char *text_at(const json_t *root, const char *group, const char *key)
{
	const char *text = json_string_value(json_object_get(json_object_get(root, group), key));

	return text ? text : "";
}

static int compare(const json_t *root, const char *path, const struct output_identity *identity,
	const struct requests *requests, struct error *error)
{
	char hash[20];
	json_int_t version = json_integer_value(json_object_get(root, "version"));

	if (version != RUN_VERSION)
		return error_set(error, ERROR_INPUT, path,
			"has version %" JSON_INTEGER_FORMAT ", not %d: another version of the program wrote it",
			version, RUN_VERSION);
	put_hash(hash, sizeof hash, requests->fingerprint);
	if (strcmp(hash, text_at(root, "input", "fingerprint"))) {
		json_int_t count = json_integer_value(json_object_get(json_object_get(root, "input"), "sequences"));
		if (count != requests->count)
			return error_set(error, ERROR_INPUT, path,
				"the folder's results are of another input, of %" JSON_INTEGER_FORMAT
				" sequences where this one has %d; the same input would be right, or --force",
				count, requests->count);
		return error_set(error, ERROR_INPUT, path,
			"the folder's results are of another input; ids, prompts, lengths and sampling must be the same, "
			"or --force removes the results");
	}
	put_hash(hash, sizeof hash, identity->model_fingerprint);
	if (strcmp(hash, text_at(root, "model", "fingerprint")))
		return error_set(error, ERROR_INPUT, path,
			"the folder's results are of another model (%.200s, here %.200s); "
			"the same model would be right, or --force",
			text_at(root, "model", "name"), identity->model);
	put_hash(hash, sizeof hash, identity->settings_fingerprint);
	if (strcmp(hash, text_at(root, "settings", "fingerprint")))
		return error_set(error, ERROR_INPUT, path,
			"the folder's results were computed with \"%.200s\", here \"%.200s\", and their tokens may differ; "
			"the same settings would be right, or --force",
			text_at(root, "settings", "text"), identity->settings);
	return 0;
}

int output_run_check(const struct output *output, const struct output_identity *identity, struct error *error)
{
	struct json_file file = {0};
	char path[4200];
	int code;

	snprintf(path, sizeof path, "%.4096s/" OUTPUT_RUN, output->directory);
	code = json_file_read(path, LARGEST_RUN, &file, error);
	if (code)
		return code;
	code = compare(file.root, path, identity, output->requests, error);
	json_file_close(&file);
	return code;
}

/* Whether a line is a result; *id and *failed then say whose, and how it ended. `line` keeps the id. */
static bool read_line(json_t *line, const char **id, bool *failed)
{
	const json_t *reason = json_object_get(line, "finish_reason"), *fault = json_object_get(line, "error");

	if (json_object_get(line, "custom_id")) {
		*id = json_string_value(json_object_get(line, "custom_id"));
		*failed = fault && !json_is_null(fault);
		return *id != NULL;
	}
	*id = json_string_value(json_object_get(line, "id"));
	*failed = json_is_string(reason) && !strcmp(json_string_value(reason), "error");
	return *id && json_is_string(reason);
}

static int note_line(struct output *output, const char *id, bool failed, unsigned line, struct error *error)
{
	int index = request_find(output->requests, id);

	if (index < 0)
		return error_at(error, ERROR_INPUT, output->path, line, "the id \"%.200s\" is not in the input", id);
	if (output->has[index])
		return error_at(error, ERROR_INPUT, output->path, line, "the id \"%.200s\" is there twice", id);
	output->has[index] = true;
	output->count++;
	output->failed += failed;
	return 0;
}

int output_scan(struct output *output, struct error *error)
{
	FILE *file = fopen(output->path, "re");
	char *line = NULL;
	size_t room = 0;
	ssize_t length;
	int64_t at = 0;
	unsigned number = 0, damaged = 0;
	int code = 0;

	output->end = 0;
	if (!file)
		return error_set(error, ERROR_RUN, output->path, "cannot be read: %s", strerror(errno));
	while (!code && (length = getline(&line, &room, file)) > 0) {
		json_t *value = NULL;
		const char *id;
		bool failed;

		number++;
		at += length;
		if (line[length - 1] == '\n')
			value = json_loadb(line, (size_t) length, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
		if (!value || !read_line(value, &id, &failed)) {
			if (!damaged)
				damaged = number;
		} else if (damaged) {
			code = error_at(error, ERROR_INPUT, output->path, damaged,
				"is not a whole result, and whole ones follow it");
		} else {
			code = note_line(output, id, failed, number, error);
			output->end = at;
		}
		json_decref(value);
	}
	if (!code && ferror(file))
		code = error_set(error, ERROR_RUN, output->path, "cannot be read: %s", strerror(errno));
	free(line);
	fclose(file);
	return code;
}
