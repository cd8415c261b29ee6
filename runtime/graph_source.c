/* SPDX-License-Identifier: Apache-2.0
 *
 * Expands @include and checks integers, in one pass over the text that knows strings and comments.
 *
 *   code ── " ──→ string ── " ──→ code        # and // to the end of the line, slash-star to star-slash
 *     └─ line that starts with @include "x" ──→ the lines of x, and so on, at most DEPTH deep */
#include "runtime/graph_source.h"
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { DEPTH = 8, FILES = 64, BYTES = 1 << 20 };

/* The sources' graphs before the installed ones: who works in a checkout means its own. */
static const char *const folders[] = {OCTANT_SOURCE_GRAPHS_DIR, OCTANT_GRAPHS_DIR};

static int put(struct graph_source *source, const char *bytes, size_t count, struct error *error)
{
	if (source->length + count + 1 > source->capacity) {
		size_t capacity = (source->length + count + 1) * 2;
		char *text = realloc(source->text, capacity);
		if (!text)
			return error_memory(error, "reading a graph description");
		source->text = text;
		source->capacity = capacity;
	}
	memcpy(source->text + source->length, bytes, count);
	source->length += count;
	source->text[source->length] = '\0';
	return 0;
}

static int start_line(struct graph_source *source, int file, unsigned line, struct error *error)
{
	if (source->lines == source->line_capacity) {
		size_t capacity = source->line_capacity ? source->line_capacity * 2 : 256;
		struct graph_source_line *lines = realloc(source->line, capacity * sizeof *lines);
		if (!lines)
			return error_memory(error, "reading a graph description");
		source->line = lines;
		source->line_capacity = capacity;
	}
	source->line[source->lines++] = (struct graph_source_line){(unsigned short) file, line};
	return 0;
}

static int add_file(struct graph_source *source, const char *path, struct error *error)
{
	if (source->files == FILES)
		return error_set(
			error, ERROR_INPUT, path, "more than %d files are included; fewer would be right", FILES);
	char **files = realloc(source->file, (size_t) (source->files + 1) * sizeof *files);
	char *copy = strdup(path);
	if (files)
		source->file = files;
	if (!files || !copy) {
		free(copy);
		return error_memory(error, "reading a graph description");
	}
	source->file[source->files++] = copy;
	return 0;
}

static int read_whole(const char *path, char **bytes, size_t *count, struct error *error)
{
	struct stat status;
	FILE *file = fopen(path, "rb");
	if (!file)
		return error_set(
			error, ERROR_INPUT, path, "%s; a readable graph description is needed", strerror(errno));
	if (!fstat(fileno(file), &status) && S_ISDIR(status.st_mode)) {
		fclose(file);
		return error_set(error, ERROR_INPUT, path, "is a folder; a graph description is a file");
	}
	char *buffer = malloc(BYTES + 1);
	if (!buffer) {
		fclose(file);
		return error_memory(error, "reading a graph description");
	}
	size_t length = fread(buffer, 1, BYTES + 1, file);
	int failed = ferror(file);
	fclose(file);
	if (failed || length > BYTES || memchr(buffer, 0, length)) {
		free(buffer);
		if (failed)
			return error_set(error, ERROR_INPUT, path, "cannot be read: %s", strerror(errno));
		if (length > BYTES)
			return error_set(error, ERROR_INPUT, path, "is larger than a graph description may be (1 MiB)");
		return error_set(error, ERROR_INPUT, path, "has a zero byte in it; a graph description is text");
	}
	buffer[length] = '\0';
	*bytes = buffer;
	*count = length;
	return 0;
}

static bool is_file(const char *path)
{
	struct stat status;
	return !stat(path, &status) && !S_ISDIR(status.st_mode);
}

/* Beside the including file, then among the shipped graphs. */
static bool find_include(const char *from, const char *name, size_t length, char *found, size_t size)
{
	const char *slash = strrchr(from, '/');
	if (length >= size)
		return false;
	if (*name == '/') {
		snprintf(found, size, "%.*s", (int) length, name);
		return is_file(found);
	}
	int n = snprintf(found, size, "%.*s%.*s", slash ? (int) (slash - from) + 1 : 0, from, (int) length, name);
	if (n > 0 && (size_t) n < size && is_file(found))
		return true;
	for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
		n = snprintf(found, size, "%s/%.*s", folders[i], (int) length, name);
		if (n > 0 && (size_t) n < size && is_file(found))
			return true;
	}
	return false;
}

static bool is_word_byte(char c)
{
	return isalnum((unsigned char) c) || c == '_' || c == '.' || c == '*' || c == '-' || c == '+';
}

/* Copies one number or word. An integer that needs 64 bits gets the suffix by which libconfig takes it as
 * such; one that needs more is refused. */
static int put_word(struct graph_source *source, const char *word, size_t length, const char *file, unsigned line,
	struct error *error)
{
	const char *p = word + (*word == '-' || *word == '+');
	const char *end = word + length;
	bool hexadecimal = end - p > 2 && p[0] == '0' && (p[1] == 'x' || p[1] == 'X');
	int code = put(source, word, length, error);
	if (code || p == end || !isdigit((unsigned char) *p))
		return code;
	const char *digits = hexadecimal ? p + 2 : p, *q = digits;
	while (q < end && (hexadecimal ? isxdigit((unsigned char) *q) : isdigit((unsigned char) *q)))
		q++;
	bool suffixed = q < end && *q == 'L';
	if (q != end && !suffixed)
		return 0; /* a float, or what libconfig will refuse */
	errno = 0;
	uint64_t magnitude = strtoull(digits, NULL, hexadecimal ? 16 : 10);
	if (errno || magnitude > (hexadecimal ? UINT64_MAX >> 1 : (uint64_t) INT64_MAX))
		return error_at(error, ERROR_INPUT, file, line,
			"%.*s does not fit 64 bits; write it as a number with an exponent where one is allowed",
			length > 64 ? 64 : (int) length, word);
	return magnitude > INT32_MAX && !suffixed ? put(source, "L", 1, error) : 0;
}

static int expand(struct graph_source *source, const char *path, const char *text, int depth, struct error *error);

static int include(struct graph_source *source, const char *path, const char *at, unsigned line, const char *line_end,
	int depth, struct error *error)
{
	const char *name = at + strlen("@include"), *end;
	char found[PATH_MAX];
	while (name < line_end && (*name == ' ' || *name == '\t'))
		name++;
	end = name < line_end && *name == '"' ? memchr(name + 1, '"', (size_t) (line_end - name - 1)) : NULL;
	if (!end)
		return error_at(
			error, ERROR_INPUT, path, line, "@include names no file; @include \"FILE\" would be right");
	for (const char *rest = end + 1; rest < line_end; rest++)
		if (!strchr(" \t\r", *rest))
			return error_at(error, ERROR_INPUT, path, line,
				"something follows @include \"FILE\"; it must stand alone on its line");
	if (depth == DEPTH)
		return error_at(error, ERROR_INPUT, path, line,
			"@include is nested more than %d deep; a file may not include itself", DEPTH);
	if (!find_include(path, name + 1, (size_t) (end - name - 1), found, sizeof found))
		return error_at(error, ERROR_INPUT, path, line,
			"cannot open \"%.*s\"; it is neither beside this file nor among the shipped graphs",
			end - name - 1 > 200 ? 200 : (int) (end - name - 1), name + 1);
	char *bytes;
	size_t count;
	int code = read_whole(found, &bytes, &count, error);
	if (!code) {
		code = expand(source, found, bytes, depth + 1, error);
		free(bytes);
	}
	return code;
}

/* Where the copying of a file is: what the next byte is part of. */
struct scan {
	const char *path;
	unsigned line, opened; /* opened: line where the string or comment starts */
	enum { CODE, STRING, LINE_COMMENT, BLOCK_COMMENT } state;
};

/* Copies what is up to `line_end`; words of code are checked on the way. */
static int expand_line(struct graph_source *source, struct scan *scan, const char *p, const char *line_end,
	struct error *error)
{
	int code = 0;
	for (size_t step = 1; !code && p < line_end; p += step, step = 1) {
		if (scan->state == CODE && is_word_byte(*p)) {
			while (p + step < line_end && is_word_byte(p[step]))
				step++;
			code = put_word(source, p, step, scan->path, scan->line, error);
			continue;
		}
		if (scan->state == CODE) {
			if (*p == '@')
				return error_at(error, ERROR_INPUT, scan->path, scan->line,
					"@ stands in the line; @include \"FILE\" must stand alone on its line");
			if (*p == '"')
				scan->state = STRING, scan->opened = scan->line;
			else if (*p == '#' || (*p == '/' && p[1] == '/'))
				scan->state = LINE_COMMENT;
			else if (*p == '/' && p[1] == '*')
				scan->state = BLOCK_COMMENT, scan->opened = scan->line, step = 2;
		} else if (scan->state == STRING) {
			if (*p == '\\' && p + 1 < line_end)
				step = 2;
			else if (*p == '"')
				scan->state = CODE;
		} else if (scan->state == BLOCK_COMMENT && *p == '*' && p[1] == '/') {
			scan->state = CODE, step = 2;
		}
		code = put(source, p, step, error);
	}
	if (scan->state == LINE_COMMENT)
		scan->state = CODE;
	return code ? code : put(source, "\n", 1, error);
}

static int expand(struct graph_source *source, const char *path, const char *text, int depth, struct error *error)
{
	struct scan scan = { .path = path, .state = CODE };
	int code, file = source->files;
	if ((code = add_file(source, path, error)))
		return code;
	if (source->length > (size_t) BYTES * 4)
		return error_set(
			error, ERROR_INPUT, path, "the description is larger than 4 MiB with what it includes");
	for (const char *p = text, *line_end; *p; p = *line_end ? line_end + 1 : line_end) {
		line_end = p + strcspn(p, "\n");
		scan.line++;
		const char *first = p + strspn(p, " \t");
		if (scan.state == CODE && !strncmp(first, "@include", 8))
			code = include(source, path, first, scan.line, line_end, depth, error);
		else if (!(code = start_line(source, file, scan.line, error)))
			code = expand_line(source, &scan, p, line_end, error);
		if (code)
			return code;
	}
	if (scan.state == STRING || scan.state == BLOCK_COMMENT)
		return error_at(error, ERROR_INPUT, path, scan.opened, "a %s that starts here is not closed",
			scan.state == STRING ? "string" : "comment");
	return 0;
}

int graph_source_read(struct graph_source *source, const char *path, struct error *error)
{
	char *bytes;
	size_t count;
	int code;
	memset(source, 0, sizeof *source);
	if ((code = read_whole(path, &bytes, &count, error)))
		return code;
	if (!(code = put(source, "", 0, error)))
		code = expand(source, path, bytes, 0, error);
	free(bytes);
	if (code)
		graph_source_free(source);
	return code;
}

int graph_source_literal(struct graph_source *source, const char *name, const char *text, struct error *error)
{
	memset(source, 0, sizeof *source);
	int code = put(source, "", 0, error);
	if (!code)
		code = expand(source, name, text, DEPTH, error);
	if (code)
		graph_source_free(source);
	return code;
}

void graph_source_place(const struct graph_source *source, unsigned text_line, const char **file, unsigned *line)
{
	*file = source->files ? source->file[0] : "";
	*line = 0;
	if (!source->lines)
		return;
	if (!text_line || text_line > source->lines)
		text_line = (unsigned) source->lines;
	*file = source->file[source->line[text_line - 1].file];
	*line = source->line[text_line - 1].line;
}

void graph_source_free(struct graph_source *source)
{
	for (int i = 0; i < source->files; i++)
		free(source->file[i]);
	free(source->file);
	free(source->line);
	free(source->text);
	memset(source, 0, sizeof *source);
}
