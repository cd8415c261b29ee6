/* SPDX-License-Identifier: Apache-2.0
 *
 * The input of a run as a list of requests: the file's two shapes, its rows' lines, ids without doubles, and a
 * fingerprint. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/json_file.h"
#include "runtime/request_internal.h"

#define LARGEST_INPUT ((size_t) 16 << 30)

static uint64_t hash(uint64_t value, const void *data, size_t bytes) /* FNV-1a */
{
	const unsigned char *byte = data;

	for (size_t i = 0; i < bytes; i++)
		value = (value ^ byte[i]) * 1099511628211u;
	return value;
}

uint64_t request_seed(const char *id)
{
	return hash(14695981039346656037u, id, strlen(id));
}

void request_options_default(struct request_options *options)
{
	*options = (struct request_options){.sampling = {.top_p = 1}, .max_new_tokens = REQUEST_MAX_NEW_TOKENS};
}

/* What is being read. */
struct reader {
	const char *path;
	const struct request_options *options;
	struct requests *requests;
	int room;
};

static int add_row(struct reader *reader, unsigned line, const json_t *value, struct error *error)
{
	struct requests *all = reader->requests;
	struct request_row row = {.path = reader->path, .line = line, .options = reader->options};

	if (all->count == reader->room) {
		int room = reader->room ? 2 * reader->room : 64;
		struct request *grown;

		if (reader->room > INT32_MAX / 2)
			return error_at(error, ERROR_INPUT, reader->path, line, "too many rows");
		grown = realloc(all->request, (size_t) room * sizeof *grown);
		if (!grown)
			return error_memory(error, "reading requests");
		all->request = grown;
		reader->room = room;
	}
	row.number = all->count + 1;
	row.request = &all->request[all->count];
	*row.request = (struct request){0};
	all->count++; /* from here on request_destroy frees it */
	return request_row_read(&row, value, error);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static int read_lines(struct reader *reader, const char *text, size_t size, struct error *error)
{
	unsigned line = 1;

	for (size_t at = 0; at < size; line++) {
		const char *end = memchr(text + at, '\n', size - at);
		size_t length = end ? (size_t) (end - text) - at : size - at, blank = 0;
		struct error inner = {0};
		json_t *value = NULL;
		int code;

		while (blank < length && is_blank(text[at + blank]))
			blank++;
		if (blank < length) {
			code = json_file_parse(reader->path, line, text + at, length, JSON_ALLOW_NUL | JSON_DECODE_ANY,
				&value, &inner);
			if (code)
				return error_set(error, code, inner.where, "%s%s", inner.text,
					code == ERROR_INPUT ? "; each line must be one whole object" : "");
			code = add_row(reader, line, value, error);
			json_decref(value);
			if (code)
				return code;
		}
		at += length + 1;
	}
	return 0;
}

/* jansson keeps no places: of an array that has parsed, finds the line where each element starts. */
struct element_scan {
	const char *at, *end;
	unsigned line;
	int depth;
};

static unsigned next_element(struct element_scan *scan)
{
	bool between = true; /* after a '[' or ',' of depth 1, before the element */

	for (; scan->at < scan->end; scan->at++) {
		char c = *scan->at;

		if (c == '\n')
			scan->line++;
		if (is_blank(c))
			continue;
		if (scan->depth == 1 && between && c != ',')
			return scan->line;
		if (c == '[' || c == '{')
			scan->depth++;
		else if (c == ']' || c == '}')
			scan->depth--;
	}
	return 0;
}

static void skip_element(struct element_scan *scan)
{
	for (; scan->at < scan->end; scan->at++) {
		char c = *scan->at;

		if (c == '\n')
			scan->line++;
		if (c == '"')
			for (scan->at++; scan->at < scan->end && *scan->at != '"'; scan->at++)
				scan->at += *scan->at == '\\';
		else if (c == '[' || c == '{')
			scan->depth++;
		else if (c == ']' || c == '}')
			scan->depth--;
		else if (c == ',' && scan->depth == 1)
			return;
	}
}

static int read_array(struct reader *reader, const char *text, size_t size, struct error *error)
{
	struct element_scan scan = {.at = text, .end = text + size, .line = 1};
	json_t *root;
	int code = json_file_parse(reader->path, 1, text, size, JSON_ALLOW_NUL, &root, error);

	if (code)
		return code;
	for (size_t i = 0; !code && i < json_array_size(root); i++) {
		unsigned line = next_element(&scan);
		code = add_row(reader, line, json_array_get(root, i), error);
		skip_element(&scan);
	}
	json_decref(root);
	return code;
}

/* Open addressing, at most half full. */
static int make_table(struct requests *all, const char *path, struct error *error)
{
	size_t size = 16;

	while (size < 2 * (size_t) all->count)
		size *= 2;
	all->table = malloc(size * sizeof *all->table);
	if (!all->table)
		return error_memory(error, "reading requests");
	all->table_size = size;
	memset(all->table, 0xff, size * sizeof *all->table);
	for (int i = 0; i < all->count; i++) {
		const struct request *r = &all->request[i];
		size_t at = (size_t) request_seed(r->id) & (size - 1);
		int other = request_find(all, r->id);

		if (other >= 0)
			return error_at(error, ERROR_INPUT, path, r->line, "the id \"%.200s\" is that of line %u too",
				r->id, all->request[other].line);
		while (all->table[at] >= 0)
			at = (at + 1) & (size - 1);
		all->table[at] = i;
	}
	return 0;
}

int request_find(const struct requests *all, const char *id)
{
	size_t at = (size_t) request_seed(id) & (all->table_size - 1);

	for (; all->table[at] >= 0; at = (at + 1) & (all->table_size - 1))
		if (!strcmp(all->request[all->table[at]].id, id))
			return all->table[at];
	return -1;
}

/* Numbers are hashed by value, so that the fingerprint is the same on every machine of one byte order. */
static uint64_t fingerprint(const struct requests *all)
{
	uint64_t h = 14695981039346656037u;

	for (int i = 0; i < all->count; i++) {
		const struct request *r = &all->request[i];
		int64_t numbers[] = {r->prompt_tokens, r->max_new_tokens, r->sampling.top_k, r->ignore_eos, r->logprobs,
			r->stops, r->openai};
		float reals[] = {r->sampling.temperature, r->sampling.top_p, r->sampling.min_p};

		h = hash(h, r->id, strlen(r->id) + 1);
		h = hash(h, numbers, sizeof numbers);
		h = hash(h, reals, sizeof reals);
		h = hash(h, &r->sampling.seed, sizeof r->sampling.seed);
		h = hash(h, r->tokens, (size_t) r->prompt_tokens * sizeof *r->tokens);
		for (int s = 0; s < r->stops; s++) {
			h = hash(h, &r->stop_bytes[s], sizeof r->stop_bytes[s]);
			h = hash(h, r->stop[s], r->stop_bytes[s]);
		}
	}
	return h;
}

static int check_forms(const struct requests *all, const char *path, struct error *error)
{
	for (int i = 1; i < all->count; i++)
		if (all->request[i].openai != all->request[0].openai)
			return error_at(error, ERROR_INPUT, path, all->request[i].line,
				"%s, while the first row is %s; all must have one form",
				all->request[i].openai ? "an OpenAI batch row" : "a plain row",
				all->request[0].openai ? "an OpenAI batch row" : "a plain one");
	return 0;
}

int request_read(
	const char *path, const struct request_options *options, struct requests **requests, struct error *error)
{
	struct reader reader = {.path = path, .options = options};
	char *bytes = NULL, *text;
	size_t size, first = 0;
	int code = json_file_bytes(path, LARGEST_INPUT, &bytes, &size, error);

	if (code)
		return code;
	text = bytes;
	if (size >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) { /* a byte order mark */
		text += 3;
		size -= 3;
	}
	reader.requests = calloc(1, sizeof *reader.requests);
	if (!reader.requests) {
		code = error_memory(error, "reading requests");
		goto out;
	}
	while (first < size && is_blank(text[first]))
		first++;
	if (first < size && text[first] == '[')
		code = read_array(&reader, text, size, error);
	else
		code = read_lines(&reader, text, size, error);
	if (!code && !reader.requests->count)
		code = error_set(error, ERROR_INPUT, path, "has no requests");
	if (!code)
		code = check_forms(reader.requests, path, error);
	if (!code)
		code = make_table(reader.requests, path, error);
	if (!code) {
		reader.requests->fingerprint = fingerprint(reader.requests);
		*requests = reader.requests;
		reader.requests = NULL;
	}
out:
	request_destroy(reader.requests);
	free(bytes);
	return code;
}

void request_destroy(struct requests *requests)
{
	if (!requests)
		return;
	for (int i = 0; i < requests->count; i++)
		request_clear(&requests->request[i]);
	free(requests->request);
	free(requests->table);
	free(requests);
}
