/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON files that others wrote: read whole, with a size limit, and asked for typed values, so that every
 * error names file, line and key.
 *
 * Strings are UTF-8 without zero bytes (jansson checks both); keys that come twice are refused; integers are
 * those of a long long. A file object does not change after json_file_read: any thread may ask it. */
#ifndef OCTANT_JSON_FILE_H
#define OCTANT_JSON_FILE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "runtime/error.h"

struct json_file {
	char *path;
	char *text; /* [size] and a zero byte */
	size_t size;
	json_t *root; /* an object */
};

/* Reads the bytes of a regular file of at most `limit` bytes. *text: *size bytes and a zero byte; the caller
 * frees it. Errors: ERROR_INPUT where the file is missing, is no regular file or is too large; ERROR_RUN where
 * reading fails; ERROR_MEMORY. */
int json_file_bytes(const char *path, size_t limit, char **text, size_t *size, struct error *error);

/* Parses `size` bytes that stand in `path` from line `first_line` on, such as one line of a JSON lines file.
 * `flags` are jansson's; JSON_REJECT_DUPLICATES is always among them. The caller calls json_decref(*root). */
int json_file_parse(const char *path, unsigned first_line, const char *text, size_t size, size_t flags,
	json_t **root, struct error *error);

/* Reads and parses a file whose root must be an object. On error nothing is left allocated. */
int json_file_read(const char *path, size_t limit, struct json_file *file, struct error *error);

/* Accepts a zeroed object; leaves one. */
void json_file_close(struct json_file *file);

/* The line of `"key":`, or 0 unless the file has that exactly once (jansson keeps no places). */
unsigned json_file_line(const struct json_file *file, const char *key);

/* An error at the key's line. */
int json_file_error(const struct json_file *file, const char *key, struct error *error, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* Typed values of `object` (which is in `file`). An absent or null key leaves *value as it is: set it to the default
 * before. Another type, or a value outside [least, most], is ERROR_INPUT. */
int json_file_integer(const struct json_file *file, const json_t *object, const char *key, int64_t least,
	int64_t most, int *value, struct error *error);
int json_file_number(const struct json_file *file, const json_t *object, const char *key, double least, double most,
	double *value, struct error *error);
int json_file_boolean(const struct json_file *file, const json_t *object, const char *key, bool *value,
	struct error *error);
int json_file_string(const struct json_file *file, const json_t *object, const char *key, const char **value,
	struct error *error);
int json_file_array(const struct json_file *file, const json_t *object, const char *key, json_t **value,
	struct error *error);
int json_file_object(const struct json_file *file, const json_t *object, const char *key, json_t **value,
	struct error *error);

#endif
