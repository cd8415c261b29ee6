/* SPDX-License-Identifier: Apache-2.0
 *
 * One safetensors file, mapped into memory and checked before any of it is believed. */
#include "runtime/safetensors.h"
#include "runtime/dtype.h"
#include "runtime/json_file.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "safetensors files are little-endian and are read as they lie"
#endif

#define PREFIX       8u          /* bytes of the header's length */
#define HEADER_LIMIT 100000000u  /* the reference library's */

/* Bits of a value, so that sizes can be checked of types that are not computed with. */
static const struct {
	const char *name;
	int bits, dtype;
} types[] = {
	{ "F32", 32, DTYPE_FP32 }, { "F16", 16, DTYPE_FP16 }, { "BF16", 16, DTYPE_BF16 }, { "BOOL", 8, -1 },
	{ "U8", 8, -1 }, { "I8", 8, -1 }, { "F8_E4M3", 8, -1 }, { "F8_E5M2", 8, -1 }, { "F8_E8M0", 8, -1 },
	{ "F8_E4M3FNUZ", 8, -1 }, { "F8_E5M2FNUZ", 8, -1 }, { "F4", 4, -1 }, { "F6_E2M3", 6, -1 },
	{ "F6_E3M2", 6, -1 }, { "I16", 16, -1 }, { "U16", 16, -1 }, { "I32", 32, -1 }, { "U32", 32, -1 },
	{ "F64", 64, -1 }, { "I64", 64, -1 }, { "U64", 64, -1 }, { "C64", 64, -1 },
};

static int type_find(const char *name)
{
	for (size_t i = 0; i < sizeof types / sizeof *types; i++)
		if (!strcmp(types[i].name, name))
			return (int) i;
	return -1;
}

static int64_t nanoseconds(const struct timespec *time)
{
	return (int64_t) time->tv_sec * 1000000000 + time->tv_nsec;
}

static struct safetensors_stamp stamp_of(const struct stat *status)
{
	return (struct safetensors_stamp){
		.device = status->st_dev,
		.inode = status->st_ino,
		.size = status->st_size,
		.written_ns = nanoseconds(&status->st_mtim),
		.changed_ns = nanoseconds(&status->st_ctim),
	};
}

bool safetensors_unchanged(const struct safetensors *file)
{
	struct stat status;

	if (stat(file->path, &status))
		return false;
	struct safetensors_stamp now = stamp_of(&status);
	return !memcmp(&now, &file->stamp, sizeof now);
}

static int map_file(const char *path, struct safetensors *file, struct error *error)
{
	struct stat status;
	struct timespec now;
	void *map;
	int code = 0;
	/* non-blocking, so that a named pipe is refused and not waited for */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return error_set(error, ERROR_INPUT, path, "cannot be opened: %s", strerror(errno));
	clock_gettime(CLOCK_REALTIME, &now);
	if (fstat(fd, &status)) {
		code = error_set(error, ERROR_INPUT, path, "cannot be examined: %s", strerror(errno));
	} else if (!S_ISREG(status.st_mode)) {
		code = error_set(error, ERROR_INPUT, path, "is not a regular file");
	} else if (status.st_size < (off_t) PREFIX) {
		code = error_set(error, ERROR_INPUT, path,
			"has %jd bytes; a safetensors file starts with 8 bytes of header length: it is truncated or "
			"no safetensors file",
			(intmax_t) status.st_size);
	} else if ((uintmax_t) status.st_size > PTRDIFF_MAX) {
		code = error_set(error, ERROR_INPUT, path, "is too large to be mapped into memory");
	} else {
		map = mmap(NULL, (size_t) status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (map == MAP_FAILED) {
			code = error_set(error, errno == ENOMEM ? ERROR_MEMORY : ERROR_INPUT, path,
				"cannot be mapped into memory: %s", strerror(errno));
		} else {
			file->map = map;
			file->size = (size_t) status.st_size;
			file->stamp = stamp_of(&status);
			file->settled = nanoseconds(&now) - file->stamp.changed_ns > SAFETENSORS_SETTLED_NS;
		}
	}
	close(fd);
	return code;
}

static int header_length(const struct safetensors *file, size_t *length, struct error *error)
{
	uint64_t n;

	memcpy(&n, file->map, PREFIX);
	if (n > HEADER_LIMIT)
		return error_set(error, ERROR_INPUT, file->path,
			"gives a header length of %llu bytes; at most %u are allowed: it is damaged or no safetensors file",
			(unsigned long long) n, HEADER_LIMIT);
	if (n > file->size - PREFIX)
		return error_set(error, ERROR_INPUT, file->path,
			"gives a header length of %llu bytes but has only %zu in all: it is truncated or no "
			"safetensors file",
			(unsigned long long) n, file->size);
	*length = (size_t) n;
	return 0;
}

/* "dtype", "shape" and "data_offsets" of one tensor; the size must follow from the first two. */
static int read_tensor(const struct safetensors *file, const char *name, const json_t *entry, size_t data_size,
	struct safetensors_tensor *tensor, struct error *error)
{
	const char *type = json_string_value(json_object_get(entry, "dtype"));
	const json_t *shape = json_object_get(entry, "shape"), *offsets = json_object_get(entry, "data_offsets"), *value;
	const json_t *first = json_array_get(offsets, 0), *last = json_array_get(offsets, 1);
	uint64_t elements = 1, bits;
	size_t i;

	if (!json_is_object(entry) || !type || !json_is_array(shape) || json_array_size(offsets) != 2 ||
		!json_is_integer(first) || !json_is_integer(last))
		return error_set(error, ERROR_INPUT, file->path,
			"tensor \"%.200s\": the header must give dtype (a string), shape (a list) and data_offsets (two "
			"integers)",
			name);
	if (json_integer_value(first) < 0 || json_integer_value(last) < json_integer_value(first))
		return error_set(error, ERROR_INPUT, file->path,
			"tensor \"%.200s\": data_offsets [%" JSON_INTEGER_FORMAT ", %" JSON_INTEGER_FORMAT
			"] must rise from 0 or more",
			name, json_integer_value(first), json_integer_value(last));
	tensor->begin = (uint64_t) json_integer_value(first);
	tensor->end = (uint64_t) json_integer_value(last);
	if (tensor->end > data_size)
		return error_set(error, ERROR_INPUT, file->path,
			"tensor \"%.200s\" ends at byte %llu of the data but the file has only %zu: it is truncated or "
			"its header lies",
			name, (unsigned long long) tensor->end, data_size);

	json_array_foreach(shape, i, value) {
		json_int_t size = json_integer_value(value);
		if (!json_is_integer(value) || size < 0)
			return error_set(error, ERROR_INPUT, file->path,
				"tensor \"%.200s\": shape must be a list of integers from 0", name);
		if (i < SAFETENSORS_MAX_RANK)
			tensor->shape[i] = (int64_t) size;
		if (__builtin_mul_overflow(elements, (uint64_t) size, &elements))
			return error_set(error, ERROR_INPUT, file->path,
				"tensor \"%.200s\": shape has more elements than 64 bits count", name);
	}
	tensor->rank = (int) (i < INT_MAX ? i : INT_MAX);

	int known = type_find(type);
	tensor->dtype = known < 0 ? -1 : types[known].dtype;
	strncpy(tensor->type, type, sizeof tensor->type - 1);
	if (known < 0)
		return 0; /* of an unknown type no size is known; whoever asks for it is told */
	if (__builtin_mul_overflow(elements, (uint64_t) types[known].bits, &bits) || bits % 8 ||
		bits / 8 != tensor->end - tensor->begin)
		return error_set(error, ERROR_INPUT, file->path,
			"tensor \"%.200s\": %llu elements of type %s are not the %llu bytes that data_offsets give it",
			name, (unsigned long long) elements, type, (unsigned long long) (tensor->end - tensor->begin));
	return 0;
}

static int by_offset(const void *a, const void *b)
{
	const struct safetensors_tensor *x = a, *y = b;
	if (x->begin != y->begin)
		return x->begin < y->begin ? -1 : 1;
	return x->end < y->end ? -1 : x->end > y->end;
}

static int by_name(const void *a, const void *b)
{
	const struct safetensors_tensor *x = a, *y = b;
	return strcmp(x->name, y->name);
}

/* Each tensor starts where the one before ends, the first at 0, and the last ends with the file. Expects them by
 * offset. */
static int check_cover(const struct safetensors *file, size_t data_size, struct error *error)
{
	uint64_t end = 0;

	for (int i = 0; i < file->count; i++) {
		const struct safetensors_tensor *t = &file->tensor[i];
		if (t->begin < end)
			return error_set(error, ERROR_INPUT, file->path,
				"tensors \"%.200s\" and \"%.200s\" overlap: the second starts at byte %llu, before byte "
				"%llu where the first ends",
				t[-1].name, t->name, (unsigned long long) t->begin, (unsigned long long) end);
		if (t->begin > end)
			return error_set(error, ERROR_INPUT, file->path,
				"tensor \"%.200s\" starts at byte %llu, but the one before it ends at %llu: the format "
				"allows no hole",
				t->name, (unsigned long long) t->begin, (unsigned long long) end);
		end = t->end;
	}
	if (end != data_size)
		return error_set(error, ERROR_INPUT, file->path,
			"has %zu bytes of data of which its tensors cover %llu: it is damaged", data_size,
			(unsigned long long) end);
	return 0;
}

static int read_header(struct safetensors *file, const json_t *header, size_t data_size, struct error *error)
{
	size_t room = 0, at = 0;
	const char *name;
	json_t *entry;
	/* the macro's cast drops const; iteration changes nothing */
	json_t *root = (json_t *) (uintptr_t) header;

	if (!json_is_object(header))
		return error_set(error, ERROR_INPUT, file->path, "the header is not a JSON object");
	json_object_foreach(root, name, entry)
		room += strlen(name) + 1;
	file->names = malloc(room + 1);
	file->tensor = calloc(json_object_size(header) + 1, sizeof *file->tensor);
	if (!file->names || !file->tensor)
		return error_memory(error, "reading a safetensors header");
	json_object_foreach(root, name, entry) {
		struct safetensors_tensor *tensor = &file->tensor[file->count];
		if (!strcmp(name, "__metadata__")) {
			if (!json_is_object(entry))
				return error_set(error, ERROR_INPUT, file->path, "__metadata__ is not a JSON object");
			continue;
		}
		tensor->name = strcpy(file->names + at, name);
		at += strlen(name) + 1;
		int code = read_tensor(file, name, entry, data_size, tensor, error);
		if (code)
			return code;
		file->count++;
	}
	return 0;
}

int safetensors_open(const char *path, struct safetensors **file, struct error *error)
{
	struct safetensors *made = calloc(1, sizeof *made);
	json_t *header = NULL;
	size_t length = 0, data_size;
	int code;

	if (!made)
		return error_memory(error, "opening a safetensors file");
	made->path = strdup(path);
	if (!made->path) {
		code = error_memory(error, "opening a safetensors file");
		goto out;
	}
	code = map_file(path, made, error);
	if (!code)
		code = header_length(made, &length, error);
	if (!code)
		code = json_file_parse(path, 1, (const char *) made->map + PREFIX, length, 0, &header, error);
	if (code)
		goto out;
	data_size = made->size - PREFIX - length;
	code = read_header(made, header, data_size, error);
	if (code)
		goto out;
	if (made->count)
		qsort(made->tensor, (size_t) made->count, sizeof *made->tensor, by_offset);
	code = check_cover(made, data_size, error);
	if (code)
		goto out;
	for (int i = 0; i < made->count; i++)
		made->tensor[i].data = made->map + PREFIX + length + made->tensor[i].begin;
	if (made->count)
		qsort(made->tensor, (size_t) made->count, sizeof *made->tensor, by_name);
	*file = made;
	made = NULL;
out:
	json_decref(header);
	safetensors_close(made);
	return code;
}

const struct safetensors_tensor *safetensors_find(const struct safetensors *file, const char *name)
{
	struct safetensors_tensor key = { .name = name };
	return file->count ? bsearch(&key, file->tensor, (size_t) file->count, sizeof key, by_name) : NULL;
}

void safetensors_close(struct safetensors *file)
{
	if (!file)
		return;
	if (file->map)
		munmap((void *) (uintptr_t) file->map, file->size);
	free(file->tensor);
	free(file->names);
	free(file->path);
	free(file);
}
