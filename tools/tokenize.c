/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON lines of text to ids and back. */
#include "tools/tokenize.h"
#include <errno.h>
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/json_file.h"

/* One line's object to another, which the caller owns. */
typedef int convert(const struct tokenizer *tokenizer, const json_t *line, const char *path, unsigned number,
	json_t **made, struct error *error);

/* The tokenizer's own error, at this line. */
static int at_line(const char *path, unsigned number, int code, const struct error *found, struct error *error)
{
	return error_at(error, code, path, number, "%s", found->text);
}

static int to_ids(const struct tokenizer *tokenizer, const json_t *line, const char *path, unsigned number,
	json_t **made, struct error *error)
{
	const json_t *text = json_object_get(line, "text");
	struct error found = {0};
	int32_t *ids;
	size_t count;

	if (!json_is_string(text))
		return error_at(error, ERROR_INPUT, path, number,
			"has no \"text\"; every line must be an object such as {\"text\": \"…\"}");
	int code = tokenizer_encode(
		tokenizer, json_string_value(text), json_string_length(text), 1, &ids, &count, &found);
	if (code)
		return at_line(path, number, code, &found, error);
	json_t *list = json_array();
	for (size_t i = 0; i < count && list; i++)
		if (json_array_append_new(list, json_integer(ids[i]))) {
			json_decref(list);
			list = NULL;
		}
	free(ids);
	*made = json_pack("{s:o}", "ids", list);
	return *made ? 0 : error_memory(error, "writing token ids");
}

static int to_text(const struct tokenizer *tokenizer, const json_t *line, const char *path, unsigned number,
	json_t **made, struct error *error)
{
	const json_t *list = json_object_get(line, "ids"), *id;
	struct error found = {0};
	size_t count = json_array_size(list), i, bytes;
	int32_t *ids;
	char *text = NULL;

	if (!json_is_array(list))
		return error_at(error, ERROR_INPUT, path, number,
			"has no \"ids\"; every line must be an object such as {\"ids\": [1, 2]}");
	ids = malloc((count + 1) * sizeof *ids);
	if (!ids)
		return error_memory(error, "reading token ids");
	json_array_foreach(list, i, id) {
		json_int_t value = json_integer_value(id);
		if (!json_is_integer(id) || value < 0 || value > INT32_MAX) {
			free(ids);
			return error_at(error, ERROR_INPUT, path, number, "element %zu of \"ids\" is no token id", i);
		}
		ids[i] = (int32_t) value;
	}
	int code = tokenizer_decode(tokenizer, ids, count, 1, &text, &bytes, &found);
	free(ids);
	if (code)
		return at_line(path, number, code, &found, error);
	*made = json_pack("{s:o}", "text", json_stringn(text, bytes));
	free(text);
	return *made ? 0 : error_memory(error, "writing text");
}

static int convert_line(const struct tokenizer *tokenizer, convert *translate, const char *path, unsigned number,
	const char *text, size_t size, FILE *to, struct error *error)
{
	json_t *line, *made = NULL;
	int code = json_file_parse(path, number, text, size, JSON_ALLOW_NUL, &line, error);

	if (code)
		return code;
	code = translate(tokenizer, line, path, number, &made, error);
	if (!code && (json_dumpf(made, to, JSON_COMPACT) || putc('\n', to) == EOF))
		code = error_set(error, ERROR_RUN, NULL, "cannot write: %s", strerror(errno));
	json_decref(line);
	json_decref(made);
	return code;
}

static int convert_lines(
	const struct tokenizer *tokenizer, convert *translate, const char *path, FILE *to, struct error *error)
{
	const char *name = strcmp(path, "-") ? path : "standard input";
	FILE *from = strcmp(path, "-") ? fopen(path, "r") : stdin;
	char *line = NULL;
	size_t room = 0;
	ssize_t got;
	unsigned number = 0;
	int code = 0;

	if (!from)
		return error_set(error, ERROR_INPUT, path, "cannot be opened: %s", strerror(errno));
	errno = 0;
	while (!code && (got = getline(&line, &room, from)) >= 0) {
		size_t size = (size_t) got;
		number++;
		while (size && (line[size - 1] == '\n' || line[size - 1] == '\r'))
			size--;
		if (size)
			code = convert_line(tokenizer, translate, name, number, line, size, to, error);
	}
	if (!code && !feof(from))
		code = error_at(error, ERROR_INPUT, name, number + 1, "cannot be read: %s", strerror(errno));
	if (!code && fflush(to))
		code = error_set(error, ERROR_RUN, NULL, "cannot write: %s", strerror(errno));
	free(line);
	if (from != stdin)
		fclose(from);
	return code;
}

int tokenize_lines(const struct tokenizer *tokenizer, const char *path, FILE *to, struct error *error)
{
	return convert_lines(tokenizer, to_ids, path, to, error);
}

int detokenize_lines(const struct tokenizer *tokenizer, const char *path, FILE *to, struct error *error)
{
	return convert_lines(tokenizer, to_text, path, to, error);
}
