/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON files that others wrote: read whole, with a size limit, and asked for typed values. */
#include "runtime/json_file.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int json_file_bytes(const char *path, size_t limit, char **text, size_t *size, struct error *error)
{
	char *bytes = NULL;
	size_t have = 0, room;
	struct stat status;
	int code;
	/* non-blocking, so that a named pipe is refused and not waited for */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return error_set(error, ERROR_INPUT, path, "cannot be opened: %s", strerror(errno));
	if (fstat(fd, &status)) {
		code = error_set(error, ERROR_INPUT, path, "cannot be examined: %s", strerror(errno));
		goto out;
	}
	if (!S_ISREG(status.st_mode)) {
		code = error_set(error, ERROR_INPUT, path, "is not a regular file");
		goto out;
	}
	if (status.st_size < 0 || (uintmax_t) status.st_size > limit) {
		code = error_set(error, ERROR_INPUT, path, "has %jd bytes; at most %zu are read",
			(intmax_t) status.st_size, limit);
		goto out;
	}
	room = (size_t) status.st_size;
	bytes = malloc(room + 1);
	if (!bytes) {
		code = error_memory(error, "reading a file");
		goto out;
	}
	while (have < room) {
		ssize_t got = read(fd, bytes + have, room - have);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			code = error_set(error, ERROR_RUN, path, "cannot be read: %s", strerror(errno));
			goto out;
		}
		if (!got)
			break;
		have += (size_t) got;
	}
	bytes[have] = 0;
	*text = bytes;
	*size = have;
	bytes = NULL;
	code = 0;
out:
	free(bytes);
	close(fd);
	return code;
}

int json_file_parse(const char *path, unsigned first_line, const char *text, size_t size, size_t flags, json_t **root,
	struct error *error)
{
	json_error_t fault;
	json_t *value = json_loadb(text, size, flags | JSON_REJECT_DUPLICATES, &fault);

	if (!value) {
		unsigned line = first_line + (fault.line > 1 ? (unsigned) fault.line - 1 : 0);
		if (json_error_code(&fault) == json_error_out_of_memory)
			return error_memory(error, "reading JSON");
		return error_at(error, ERROR_INPUT, path, line, "is not valid JSON: %s", fault.text);
	}
	*root = value;
	return 0;
}

int json_file_read(const char *path, size_t limit, struct json_file *file, struct error *error)
{
	struct json_file made = {0};
	int code = json_file_bytes(path, limit, &made.text, &made.size, error);

	if (code)
		return code;
	made.path = strdup(path);
	if (!made.path) {
		code = error_memory(error, "reading JSON");
		goto fail;
	}
	/* any value is let through, so that a list at the root gets the message below */
	code = json_file_parse(path, 1, made.text, made.size, JSON_DECODE_ANY, &made.root, error);
	if (code)
		goto fail;
	if (!json_is_object(made.root)) {
		code = error_at(error, ERROR_INPUT, path, 1, "is not a JSON object; it must start with '{'");
		goto fail;
	}
	*file = made;
	return 0;
fail:
	json_file_close(&made);
	return code;
}

void json_file_close(struct json_file *file)
{
	json_decref(file->root);
	free(file->text);
	free(file->path);
	*file = (struct json_file){0};
}

/* jansson forgets where a value stood. Looking for the key's text finds the place in all files that people and
 * libraries write; where the text is there twice (a nested object has the same key) no line is better than a
 * wrong one. */
unsigned json_file_line(const struct json_file *file, const char *key)
{
	size_t length = key ? strlen(key) : 0;
	const char *found = NULL;

	if (!length || !file->text)
		return 0;
	/* JSON that parsed has no zero byte before its end */
	for (const char *at = file->text; (at = strstr(at, key)); at++) {
		const char *after = at + length;
		if (at == file->text || at[-1] != '"' || *after++ != '"')
			continue;
		after += strspn(after, " \t\r\n");
		if (*after != ':')
			continue;
		if (found)
			return 0;
		found = at;
	}
	if (!found)
		return 0;
	unsigned line = 1;
	for (const char *at = file->text; at < found; at++)
		line += *at == '\n';
	return line;
}

int json_file_error(const struct json_file *file, const char *key, struct error *error, const char *format, ...)
{
	char text[sizeof error->text];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	return error_at(error, ERROR_INPUT, file->path, json_file_line(file, key), "%s", text);
}

static const char *type_name(const json_t *value)
{
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		return "an object";
	case JSON_ARRAY:
		return "a list";
	case JSON_STRING:
		return "a string";
	case JSON_INTEGER:
		return "an integer";
	case JSON_REAL:
		return "a number with a fraction";
	case JSON_TRUE:
	case JSON_FALSE:
		return "true or false";
	case JSON_NULL:
		return "null";
	}
	return "of an unknown type";
}

/* The value of the key, or NULL where it is absent or null. */
static json_t *value_of(const json_t *object, const char *key)
{
	json_t *value = json_object_get(object, key);
	return json_is_null(value) ? NULL : value;
}

static int wrong_type(
	const struct json_file *file, const char *key, const json_t *value, const char *needed, struct error *error)
{
	return json_file_error(file, key, error, "%s is %s; it must be %s", key, type_name(value), needed);
}

int json_file_integer(const struct json_file *file, const json_t *object, const char *key, int64_t least, int64_t most,
	int *value, struct error *error)
{
	const json_t *found = value_of(object, key);

	if (!found)
		return 0;
	if (!json_is_integer(found))
		return wrong_type(file, key, found, "an integer", error);
	json_int_t number = json_integer_value(found);
	if (number < least || number > most || number < INT32_MIN || number > INT32_MAX)
		return json_file_error(file, key, error, "%s is %" JSON_INTEGER_FORMAT "; it must be from %lld to %lld",
			key, number, (long long) least, (long long) most);
	*value = (int) number;
	return 0;
}

int json_file_number(const struct json_file *file, const json_t *object, const char *key, double least, double most,
	double *value, struct error *error)
{
	const json_t *found = value_of(object, key);

	if (!found)
		return 0;
	if (!json_is_number(found))
		return wrong_type(file, key, found, "a number", error);
	double number = json_number_value(found);
	if (!(number >= least && number <= most))
		return json_file_error(
			file, key, error, "%s is %g; it must be from %g to %g", key, number, least, most);
	*value = number;
	return 0;
}

int json_file_boolean(
	const struct json_file *file, const json_t *object, const char *key, bool *value, struct error *error)
{
	const json_t *found = value_of(object, key);

	if (!found)
		return 0;
	if (!json_is_boolean(found))
		return wrong_type(file, key, found, "true or false", error);
	*value = json_is_true(found);
	return 0;
}

int json_file_string(
	const struct json_file *file, const json_t *object, const char *key, const char **value, struct error *error)
{
	const json_t *found = value_of(object, key);

	if (!found)
		return 0;
	if (!json_is_string(found))
		return wrong_type(file, key, found, "a string", error);
	*value = json_string_value(found);
	return 0;
}

int json_file_array(
	const struct json_file *file, const json_t *object, const char *key, json_t **value, struct error *error)
{
	json_t *found = value_of(object, key);

	if (!found)
		return 0;
	if (!json_is_array(found))
		return wrong_type(file, key, found, "a list", error);
	*value = found;
	return 0;
}

int json_file_object(
	const struct json_file *file, const json_t *object, const char *key, json_t **value, struct error *error)
{
	json_t *found = value_of(object, key);

	if (!found)
		return 0;
	if (!json_is_object(found))
		return wrong_type(file, key, found, "an object", error);
	*value = found;
	return 0;
}
