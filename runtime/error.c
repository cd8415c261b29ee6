/* SPDX-License-Identifier: Apache-2.0
 *
 * One error, worded by the first function that detects it. */
#include "runtime/error.h"
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static int fill(struct error *error, int code, const char *where, const char *format, va_list args)
{
	if (!error)
		return code;
	if (error->code)
		return error->code;
	error->code = code;
	snprintf(error->where, sizeof error->where, "%s", where ? where : "");
	vsnprintf(error->text, sizeof error->text, format, args);
	return code;
}

int error_set(struct error *error, int code, const char *where, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	code = fill(error, code, where, format, args);
	va_end(args);
	return code;
}

int error_at(struct error *error, int code, const char *file, unsigned line, const char *format, ...)
{
	char where[sizeof error->where];
	va_list args;
	if (line)
		snprintf(where, sizeof where, "%s:%u", file ? file : "(no file)", line);
	else
		snprintf(where, sizeof where, "%s", file ? file : "");
	va_start(args, format);
	code = fill(error, code, where, format, args);
	va_end(args);
	return code;
}

int error_memory(struct error *error, const char *what)
{
	return error_set(error, ERROR_MEMORY, NULL, "out of memory while %s", what);
}

void error_print(const struct error *error)
{
	if (error->where[0])
		fprintf(stderr, "%s: %s\n", error->where, error->text);
	else
		fprintf(stderr, "octant: %s\n", error->text);
}

int error_exit_status(int code)
{
	return code == ERROR_NONE ? 0 : code == ERROR_INPUT ? 2 : 1;
}

/* Levenshtein distance, case ignored; words longer than the row are never near. */
static unsigned distance(const char *a, const char *b)
{
	enum { LONGEST = 64 };
	unsigned row[LONGEST + 1];
	size_t n = strlen(a), m = strlen(b);
	if (n > LONGEST || m > LONGEST)
		return UINT_MAX;
	for (size_t j = 0; j <= m; j++)
		row[j] = (unsigned) j;
	for (size_t i = 1; i <= n; i++) {
		unsigned diagonal = row[0];
		row[0] = (unsigned) i;
		for (size_t j = 1; j <= m; j++) {
			unsigned above = row[j];
			unsigned best = diagonal + (strncasecmp(a + i - 1, b + j - 1, 1) != 0);
			if (above + 1 < best)
				best = above + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			diagonal = above;
			row[j] = best;
		}
	}
	return row[m];
}

const char *error_nearest(const char *word, const char *const *words)
{
	const char *best = NULL;
	unsigned least = (unsigned) strlen(word) / 3 + 2;
	for (; *words; words++) {
		unsigned d = distance(word, *words);
		if (d < least) {
			least = d;
			best = *words;
		}
	}
	return best;
}
