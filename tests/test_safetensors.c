/* SPDX-License-Identifier: Apache-2.0
 *
 * safetensors files: what a good one holds, and every way of lying that is refused; weights that are not finite. */
#include "runtime/safetensors.h"
#include "runtime/dtype.h"
#include "runtime/tensor_view.h"
#include "tests/scratch.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

static char folder[SCRATCH_PATH];

/* Writes a file whose header length is `length` (−1: the true one) and whose data is `data` bytes 0, 1, 2, … */
static const char *write_file(const char *header, long long length, size_t data)
{
	size_t size = strlen(header), all = 8 + size + data;
	unsigned char *bytes = malloc(all);
	uint64_t n = length < 0 ? size : (uint64_t) length;
	assert_non_null(bytes);
	memcpy(bytes, &n, 8);
	memcpy(bytes + 8, header, size);
	for (size_t i = 0; i < data; i++)
		bytes[8 + size + i] = (unsigned char) i;
	scratch_write(folder, "x.safetensors", bytes, all);
	free(bytes);
	return scratch_path(folder, "x.safetensors");
}

static struct safetensors *open_good(const char *header, size_t data)
{
	struct error error = {0};
	struct safetensors *file = NULL;
	int code = safetensors_open(write_file(header, -1, data), &file, &error);
	if (code)
		fail_msg("%s: %s: %s", header, error.where, error.text);
	return file;
}

static void tensors_are_found(void **state)
{
	(void) state;
	/* not by name, not by offset, with blanks around: all of that is allowed */
	struct safetensors *file = open_good(" {\"b\": {\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[8,20]},"
		"\"__metadata__\":{\"format\":\"pt\"},"
		"\"c\": {\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[20,28],\"more\":1},"
		"\"s\": {\"dtype\":\"F16\",\"shape\":[],\"data_offsets\":[28,30]},"
		"\"e\": {\"dtype\":\"F32\",\"shape\":[0,7],\"data_offsets\":[8,8]},"
		"\"a\": {\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}    ", 30);
	assert_int_equal(file->count, 5);
	const struct safetensors_tensor *t = safetensors_find(file, "b");
	assert_non_null(t);
	assert_int_equal(t->dtype, DTYPE_BF16);
	assert_int_equal(t->rank, 2);
	assert_int_equal(t->shape[0], 2);
	assert_int_equal(t->shape[1], 3);
	assert_memory_equal(t->data, ((unsigned char[]){ 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19 }), 12);
	t = safetensors_find(file, "c");
	assert_int_equal(t->dtype, -1);
	assert_string_equal(t->type, "I64");
	t = safetensors_find(file, "s");
	assert_int_equal(t->rank, 0);
	t = safetensors_find(file, "e");
	assert_int_equal(t->shape[0], 0);
	assert_null(safetensors_find(file, "d"));
	assert_null(safetensors_find(file, "__metadata__"));
	safetensors_close(file);
	file = open_good("{}", 0);
	assert_int_equal(file->count, 0);
	assert_null(safetensors_find(file, "a"));
	safetensors_close(file);
	safetensors_close(NULL);
}

/* Headers of any length are legal, so that numbers may lie at odd addresses. */
static void data_may_be_unaligned(void **state)
{
	static const enum dtype dtypes[] = { DTYPE_FP32, DTYPE_FP16, DTYPE_BF16 };
	(void) state;
	char header[128] = "{\"a\":{\"dtype\":\"F32\",\"shape\":[300],\"data_offsets\":[0,1200]}}";
	for (int i = 0; i < 8; i++) {
		struct safetensors *file = open_good(header, 1200);
		const struct safetensors_tensor *t = safetensors_find(file, "a");
		const unsigned char *byte = t->data;
		for (int b = 0; b < 1200; b++)
			assert_int_equal(byte[b], b & 0xff);
		for (int d = 0; d < 3; d++) {
			struct tensor_view view = { .data = t->data, .dtype = dtypes[d], .shape = { 1, 300 },
				.row_stride = 300, .name = "a", .file = "f" };
			static unsigned char aligned[1200] __attribute__((aligned(64)));
			struct tensor_view same = view;
			float loose[300], exact[300];
			memcpy(aligned, t->data, sizeof aligned);
			same.data = aligned;
			tensor_row_to_float(&view, 0, loose);
			tensor_row_to_float(&same, 0, exact);
			assert_memory_equal(loose, exact, sizeof exact);
			assert_int_equal(tensor_check_finite(&view, 0, 1, NULL), tensor_check_finite(&same, 0, 1, NULL));
		}
		safetensors_close(file);
		strcat(header, " ");
	}
}

static const struct {
	const char *header;
	long long length; /* −1: the true one */
	size_t data;
	const char *words, *more;
} refused[] = {
	{ "{}", 3, 0, "header length of 3 bytes", "truncated" },
	{ "{}", 1ll << 40, 0, "header length of 1099511627776", "at most 100000000" },
	{ "{}", 100000001, 0, "header length of 100000001", "at most 100000000" },
	{ "{}", INT64_MAX, 0, "header length of 9223372036854775807", "at most" },
	{ "{}", 0, 2, "not valid JSON", "" },
	{ "{}", -1, 4, "has 4 bytes of data", "cover 0" },
	{ "[]", -1, 0, "not a JSON object", "" },
	{ "{\"a\"", -1, 0, "not valid JSON", "" },
	{ "{\"a\":1}", -1, 0, "\"a\"", "must give dtype" },
	{ "{\"a\":{}}", -1, 0, "\"a\"", "must give dtype" },
	{ "{\"__metadata__\":3}", -1, 0, "__metadata__", "object" },
	{ "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,9]}}", -1, 8, "\"a\"", "data_offsets (two integers)" },
	{ "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8.0]}}", -1, 8, "\"a\"", "data_offsets (two integers)" },
	{ "{\"a\":{\"dtype\":\"F32\",\"shape\":[2.0],\"data_offsets\":[0,8]}}", -1, 8, "\"a\"", "list of integers" },
	{ "{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", -1, 8, "\"a\"", "integers from 0" },
	{ "{\"a\":{\"dtype\":\"F32\",\"shape\":[-1,-2],\"data_offsets\":[0,8]}}", -1, 8, "\"a\"", "integers from 0" },
	{ "{\"a\":{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]}}", -1, 8, "\"a\"", "shape (a list)" },
	{ "{\"a\":{\"dtype\":7,\"shape\":[2],\"data_offsets\":[0,8]}}", -1, 8, "\"a\"", "dtype (a string)" },
	{ "{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", -1, 8, "3 elements of type F32", "8 bytes" },
	{ "{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,8]}}", -1, 8, "1 elements of type F32", "8 bytes" },
	{ "{\"a\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,1]}}", -1, 1, "3 elements of type F4", "1 bytes" },
	{ "{\"a\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,4]}}", -1, 4, "1 elements of type I64", "4 bytes" },
	{ "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", -1, 8, "data_offsets [8, 0]", "rise" },
	{ "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}}", -1, 8, "data_offsets [-8, 0]", "rise" },
	{ "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", -1, 7, "ends at byte 8", "only 7" },
	{ "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[9223372036854775799,9223372036854775807]}}", -1, 8,
		"ends at byte 9223372036854775807", "only 8" },
	{ "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,18446744073709551616]}}", -1, 8, "not valid JSON",
		"too big integer" },
	/* 2^33 × 2^33 elements wrap to 0 in 64 bits, and 2^62 of 4 bytes do */
	{ "{\"a\":{\"dtype\":\"F32\",\"shape\":[8589934592,8589934592],\"data_offsets\":[0,0]}}", -1, 0, "\"a\"",
		"more elements than 64 bits" },
	{ "{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", -1, 0, "\"a\"",
		"4611686018427387904 elements" },
	{ "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
	  "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}", -1, 12, "\"a\" and \"b\" overlap", "byte 4" },
	{ "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
	  "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", -1, 8, "\"a\" and \"b\" overlap", "byte 0" },
	{ "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
	  "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[2,6]}}", -1, 8, "\"a\" and \"b\" overlap", "byte 2" },
	{ "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
	  "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[12,20]}}", -1, 20, "\"b\" starts at byte 12", "no hole" },
	{ "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}", -1, 12, "\"a\" starts at byte 4", "no hole" },
	{ "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", -1, 12, "12 bytes of data", "cover 8" },
	{ "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
	  "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,16]}}", -1, 16, "not valid JSON", "duplicate" },
	{ "{\"a\\u0000b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", -1, 8, "not valid JSON", "" },
};

static void lies_are_refused(void **state)
{
	(void) state;
	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
		struct error error = {0};
		struct safetensors *file = (struct safetensors *) 0x5a;
		const char *path = write_file(refused[i].header, refused[i].length, refused[i].data);
		int code = safetensors_open(path, &file, &error);
		if (code != ERROR_INPUT || file != (struct safetensors *) 0x5a || !strstr(error.text, refused[i].words) ||
			!strstr(error.text, refused[i].more) || !strstr(error.where, "x.safetensors"))
			fail_msg("%s: code %d, %s: %s", refused[i].header, code, error.where, error.text);
	}
}

static void refuse_path(const char *name, const char *words)
{
	struct error error = {0};
	struct safetensors *file;
	int code = safetensors_open(scratch_path(folder, name), &file, &error);
	if (code != ERROR_INPUT || !strstr(error.text, words) || !strstr(error.where, name))
		fail_msg("%s: code %d, %s: %s", name, code, error.where, error.text);
}

static void what_is_no_file_is_refused(void **state)
{
	(void) state;
	refuse_path("missing", "No such file");
	mkdir(scratch_path(folder, "directory"), 0700);
	refuse_path("directory", "not a regular file");
	assert_int_equal(mkfifo(scratch_path(folder, "pipe"), 0600), 0);
	refuse_path("pipe", "not a regular file");
	scratch_text(folder, "empty", "");
	refuse_path("empty", "has 0 bytes");
	scratch_text(folder, "short", "1234567");
	refuse_path("short", "has 7 bytes");
	scratch_text(folder, "text", "version https://git-lfs.github.com/spec/v1\n");
	refuse_path("text", "header length");
}

static void a_truncated_file_is_refused_wherever_it_ends(void **state)
{
	(void) state;
	const char *header = "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}";
	const char *path = write_file(header, -1, 8);
	for (long size = 8 + (long) strlen(header) + 7; size >= 0; size--) {
		struct error error = {0};
		struct safetensors *file;
		assert_int_equal(truncate(path, size), 0);
		assert_int_equal(safetensors_open(path, &file, &error), ERROR_INPUT);
		assert_non_null(strstr(error.text, "truncated"));
	}
}

static struct tensor_view view_of(void *data, enum dtype dtype, int64_t rows, int64_t columns, int64_t stride)
{
	return (struct tensor_view){ .data = data, .dtype = dtype, .shape = { rows, columns }, .row_stride = stride,
		.name = "layer.weight", .file = "model.safetensors" };
}

static void set(void *data, enum dtype dtype, int64_t at, float value)
{
	if (dtype == DTYPE_FP32)
		((float *) data)[at] = value;
	else
		((uint16_t *) data)[at] = dtype == DTYPE_BF16 ? bf16_from_float(value) : fp16_from_float(value);
}

static void what_is_not_finite_is_found(void **state)
{
	(void) state;
	enum { ROWS = 7, COLUMNS = 301, STRIDE = 310 };
	static const struct {
		float value;
		const char *words;
	} bad[] = { { NAN, "not a number" }, { INFINITY, "is infinity" }, { -INFINITY, "minus infinity" } };
	for (int d = 0; d < 3; d++) {
		enum dtype dtype = (enum dtype) d;
		void *data = calloc(ROWS * STRIDE, 4);
		struct tensor_view view = view_of(data, dtype, ROWS, COLUMNS, STRIDE);
		struct error error = {0};
		assert_non_null(data);
		for (int64_t i = 0; i < ROWS * STRIDE; i++) /* largest finite values of either sign, and small ones */
			set(data, dtype, i, i % 3 == 0 ? 65504 : i % 3 == 1 ? -65504 : -0x1p-20f);
		assert_int_equal(tensor_check_finite(&view, 0, ROWS, &error), 0);
		for (int64_t r = 0; r < ROWS; r++) /* between the rows nobody looks */
			for (int64_t c = COLUMNS; c < STRIDE; c++)
				set(data, dtype, r * STRIDE + c, NAN);
		assert_int_equal(tensor_check_finite(&view, 0, ROWS, &error), 0);
		for (int64_t c = 0; c < COLUMNS; c++) {
			const int64_t row = c % ROWS;
			char place[64];
			set(data, dtype, row * STRIDE + c, bad[c % 3].value);
			error = (struct error){0};
			assert_int_equal(tensor_check_finite(&view, 0, ROWS, &error), ERROR_INPUT);
			snprintf(place, sizeof place, "\"layer.weight\": element [%d, %d] ", (int) row, (int) c);
			assert_non_null(strstr(error.text, place));
			assert_non_null(strstr(error.text, bad[c % 3].words));
			assert_string_equal(error.where, "model.safetensors");
			error = (struct error){0};
			if (row) /* rows before it are good */
				assert_int_equal(tensor_check_finite(&view, 0, row, &error), 0);
			assert_int_equal(tensor_check_finite(&view, row, 1, &error), ERROR_INPUT);
			set(data, dtype, row * STRIDE + c, 1);
		}
		view = view_of(data, dtype, 1, COLUMNS, COLUMNS);
		set(data, dtype, 5, INFINITY);
		error = (struct error){0};
		assert_int_equal(tensor_check_finite(&view, 0, 1, &error), ERROR_INPUT);
		assert_non_null(strstr(error.text, "element 5 is infinity"));
		error = (struct error){0};
		assert_int_equal(tensor_check_finite(&view, 0, 0, &error), 0);
		assert_int_equal(tensor_check_finite(&view, 1, 1, &error), ERROR_RUN);
		assert_int_equal(tensor_check_finite(&view, 0, INT64_MAX, NULL), ERROR_RUN);
		free(data);
	}
}

static void rows_become_floats(void **state)
{
	(void) state;
	uint16_t half[] = { 0, 0x3c00, 0xc000, 0x7bff, 0x0001, 0x3555 };
	float to[3];
	struct tensor_view view = view_of(half, DTYPE_FP16, 2, 3, 3);
	tensor_row_to_float(&view, 0, to);
	assert_float_equal(to[1], 1, 0);
	assert_float_equal(to[2], -2, 0);
	tensor_row_to_float(&view, 1, to);
	assert_float_equal(to[0], 65504, 0);
	assert_float_equal(to[1], 0x1p-24f, 0);
	view.dtype = DTYPE_BF16;
	half[0] = 0x3f80;
	tensor_row_to_float(&view, 0, to);
	assert_float_equal(to[0], 1, 0);
	float full[] = { 1, 2, 3, 4 };
	view = view_of(full, DTYPE_FP32, 2, 2, 2);
	tensor_row_to_float(&view, 1, to);
	assert_float_equal(to[1], 4, 0);
}

/* Whatever bytes come: an error, or tensors that all lie inside the file (sanitizers watch every byte read). */
static void damaged_files_are_survived(void **state)
{
	(void) state;
	static const char good[] = "{\"a\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]},"
		"\"__metadata__\":{\"f\":\"pt\"},\"bb\":{\"dtype\":\"BF16\",\"shape\":[3],\"data_offsets\":[16,22]},"
		"\"c\":{\"dtype\":\"I8\",\"shape\":[2],\"data_offsets\":[22,24]}}";
	static const char *const pieces[] = { "0", "-1", "16", "22", "24", "1e3", "null", "[]", "4294967296",
		"9223372036854775807", "\"F16\"", "\"F64\"", "\"X\"" };
	unsigned long long seed = 77;
	int opened = 0, bad = 0;
	unsigned sum = 0;
	for (int round = 0; round < 6000; round++) {
		char header[512];
		size_t size = strlen(strcpy(header, good));
		uint64_t length;
		int edits = (int) (scratch_random(&seed) % 3);
		for (int e = 0; e < edits; e++) {
			size_t at = scratch_random(&seed) % size, kind = scratch_random(&seed) % 4;
			if (kind == 0) {
				header[at] = (char) (scratch_random(&seed) | 1);
			} else if (kind == 1) {
				char *from = strpbrk(header + at, ":[,"), *stop = from ? strpbrk(from + 1, ",]}") : NULL;
				const char *piece = pieces[scratch_random(&seed) % (sizeof pieces / sizeof *pieces)];
				if (!stop || size + strlen(piece) + 2 >= sizeof header)
					continue;
				memmove(from + 1 + strlen(piece), stop, strlen(stop) + 1);
				memcpy(from + 1, piece, strlen(piece));
			} else if (kind == 2) {
				memmove(header + at, header + at + 1, size - at);
			} else {
				header[at] = (char) ('0' + scratch_random(&seed) % 10);
			}
			size = strlen(header);
		}
		length = scratch_random(&seed) % 8 ? size : scratch_random(&seed) >> scratch_random(&seed) % 64;
		struct error error = {0};
		struct safetensors *file;
		size_t data = scratch_random(&seed) % 8 ? 24 : scratch_random(&seed) % 40;
		int code = safetensors_open(write_file(header, (long long) (length & INT64_MAX), data), &file, &error);
		if (code) {
			bad++;
			assert_int_equal(code, ERROR_INPUT);
			assert_true(error.text[0] && error.where[0]);
			continue;
		}
		opened++;
		for (int i = 0; i < file->count; i++) {
			const struct safetensors_tensor *t = &file->tensor[i];
			assert_ptr_equal(safetensors_find(file, t->name), t);
			for (uint64_t b = 0; b < t->end - t->begin; b++)
				sum += ((const unsigned char *) t->data)[b];
		}
		safetensors_close(file);
	}
	assert_true(opened > 500 && bad > 500 && sum);
}

static int make(void **state)
{
	(void) state;
	scratch_make(folder);
	return 0;
}

static int clear(void **state)
{
	(void) state;
	scratch_remove(folder);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tensors_are_found),
		cmocka_unit_test(data_may_be_unaligned),
		cmocka_unit_test(lies_are_refused),
		cmocka_unit_test(what_is_no_file_is_refused),
		cmocka_unit_test(a_truncated_file_is_refused_wherever_it_ends),
		cmocka_unit_test(what_is_not_finite_is_found),
		cmocka_unit_test(rows_become_floats),
		cmocka_unit_test(damaged_files_are_survived),
	};
	return cmocka_run_group_tests_name("safetensors", tests, make, clear);
}
