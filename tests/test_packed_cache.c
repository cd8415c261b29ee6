/* SPDX-License-Identifier: Apache-2.0
 *
 * Blocks of memory kept in files: whole and right, or refused; whatever happens to the files, whoever else writes. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <cmocka.h>
#include "runtime/checksum.h"
#include "runtime/packed_cache.h"
#include "tests/scratch.h"

#define KEY       0x0123456789abcdefu
#define FILE_NAME "things-0123456789abcdef.octant"
#define DATA_AT   4096 /* where data begin in a file of few blocks */

static char folder[SCRATCH_PATH];

static int make_folder(void **state)
{
	(void) state;
	scratch_make(folder);
	return 0;
}

static int remove_folder(void **state)
{
	(void) state;
	scratch_remove(folder);
	return 0;
}

static void fill(char *data, size_t bytes, unsigned long long seed)
{
	unsigned long long random = seed;
	for (size_t i = 0; i < bytes; i++)
		data[i] = (char) (i % 8 ? scratch_random(&random) >> 32 : i / 8);
}

static void put(const char *data, size_t bytes)
{
	struct error error = {0};
	if (packed_cache_write(folder, "things", KEY, data, bytes, &error))
		fail_msg("%s: %s", error.where, error.text);
}

/* 1: all of it read, and good; 0: there is none; −1: refused, with a reason. */
static int get(char *data, size_t bytes, struct error *error)
{
	struct packed_cache *cache = NULL;
	memset(error, 0, sizeof *error);
	if (packed_cache_open(folder, "things", KEY, bytes, &cache, error)) {
		assert_null(cache);
		assert_int_equal(error->code, ERROR_INPUT);
		assert_string_not_equal(error->text, "");
		return -1;
	}
	if (!cache)
		return 0;
	int code = 0;
	for (int i = 0; i < packed_cache_blocks(cache) && !code; i++)
		code = packed_cache_read(cache, i, data, error);
	if (code)
		assert_int_equal(error->code, ERROR_INPUT);
	packed_cache_close(cache);
	return code ? -1 : 1;
}

static void every_size(void **state)
{
	(void) state;
	const size_t block = PACKED_CACHE_BLOCK,
		     sizes[] = {0, 1, 63, 4096, 300000, block - 1, block, block + 1, 3 * block + 5};
	struct error error;
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		char *written = malloc(sizes[i] + 1), *read = calloc(1, sizes[i] + 1);
		fill(written, sizes[i], i + 1);
		put(written, sizes[i]);
		assert_int_equal(get(read, sizes[i], &error), 1);
		assert_memory_equal(written, read, sizes[i]);
		assert_int_equal(read[sizes[i]], 0);
		assert_int_equal(get(read, sizes[i] + 1, &error), -1); /* what somebody else expects is not this */
		free(written);
		free(read);
	}
}

static void nothing_there(void **state)
{
	(void) state;
	struct packed_cache *cache = NULL;
	struct error error = {0};
	char byte;
	assert_int_equal(get(&byte, 1, &error), 0);
	assert_int_equal(packed_cache_open("/nonexistent/folder", "things", KEY, 1, &cache, &error), 0);
	assert_null(cache);
	packed_cache_close(NULL);
}

static void flip(const char *name, off_t at)
{
	char byte;
	int file = open(scratch_path(folder, name), O_RDWR);
	assert_int_equal(pread(file, &byte, 1, at), 1);
	byte ^= 0x10;
	assert_int_equal(pwrite(file, &byte, 1, at), 1);
	close(file);
}

static void damage(void **state)
{
	(void) state;
	const size_t bytes = PACKED_CACHE_BLOCK + 70000, table = 64 + 2 * 8;
	char *data = malloc(bytes), *read = malloc(bytes);
	struct error error;
	unsigned long long random = 7;
	fill(data, bytes, 3);
	put(data, bytes);
	for (size_t i = 0; i < table + 200; i++) { /* every byte of header and table, some of the data */
		off_t at = i < table ? (off_t) i : (off_t) (DATA_AT + scratch_random(&random) % bytes);
		at = i == table ? DATA_AT : i == table + 1 ? (off_t) (DATA_AT + bytes - 1) : at;
		flip(FILE_NAME, at);
		if (get(read, bytes, &error) != -1)
			fail_msg("a flipped bit of byte %lld passed", (long long) at);
		flip(FILE_NAME, at);
	}
	assert_int_equal(get(read, bytes, &error), 1);
	assert_memory_equal(read, data, bytes);
	free(data);
	free(read);
}

static void every_length(void **state)
{
	(void) state;
	const size_t bytes = 9000;
	char data[9000], read[9000];
	struct error error;
	fill(data, bytes, 4);
	put(data, bytes);
	for (off_t length = DATA_AT + (off_t) bytes + 3; length >= 0; length -= length > 200 ? 37 : 1) {
		assert_int_equal(truncate(scratch_path(folder, FILE_NAME), length), 0);
		if (length == DATA_AT + (off_t) bytes)
			continue;
		if (get(read, bytes, &error) != -1)
			fail_msg("a file of %lld bytes passed", (long long) length);
	}
	/* and it can be replaced */
	put(data, bytes);
	assert_int_equal(get(read, bytes, &error), 1);
}

static void foreign_files(void **state)
{
	(void) state;
	char data[100], read[100];
	struct error error;
	fill(data, sizeof data, 5);
	assert_int_equal(packed_cache_write(folder, "things", KEY + 1, data, sizeof data, &error), 0);
	assert_int_equal(
		rename(scratch_path(folder, "things-0123456789abcdf0.octant"), scratch_path(folder, FILE_NAME)), 0);
	assert_int_equal(get(read, sizeof read, &error), -1);
	assert_non_null(strstr(error.text, "something else"));
	char *text = calloc(1, 20000);
	memset(text, 'x', 20000);
	scratch_write(folder, FILE_NAME, text, 20000);
	free(text);
	assert_int_equal(get(read, sizeof read, &error), -1);
	assert_non_null(strstr(error.text, "does not begin"));
	unlink(scratch_path(folder, FILE_NAME));
	assert_int_equal(mkfifo(scratch_path(folder, FILE_NAME), 0666), 0);
	assert_int_equal(get(read, sizeof read, &error), -1);
	unlink(scratch_path(folder, FILE_NAME));
	assert_int_equal(mkdir(scratch_path(folder, FILE_NAME), 0777), 0);
	assert_int_equal(get(read, sizeof read, &error), -1);
	memset(&error, 0, sizeof error);
	assert_int_equal(packed_cache_write(folder, "things", KEY, data, sizeof data, &error), ERROR_RUN);
	rmdir(scratch_path(folder, FILE_NAME));
}

static int count_files(void)
{
	DIR *listing = opendir(folder);
	struct dirent *entry;
	int count = 0;
	while ((entry = readdir(listing)))
		count += strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..");
	closedir(listing);
	return count;
}

/* Shortened while it is open: an error, not a signal. Renamed over: what was opened stays. */
static void changed_while_open(void **state)
{
	(void) state;
	const size_t bytes = 2 * PACKED_CACHE_BLOCK;
	char *first = malloc(bytes), *second = malloc(bytes), *read = malloc(bytes);
	struct packed_cache *cache = NULL;
	struct error error = {0};
	fill(first, bytes, 1);
	fill(second, bytes, 2);
	put(first, bytes);
	assert_int_equal(packed_cache_open(folder, "things", KEY, bytes, &cache, &error), 0);
	put(second, bytes);
	for (int i = 0; i < packed_cache_blocks(cache); i++)
		assert_int_equal(packed_cache_read(cache, i, read, &error), 0);
	assert_memory_equal(read, first, bytes);
	packed_cache_close(cache);
	assert_int_equal(packed_cache_open(folder, "things", KEY, bytes, &cache, &error), 0);
	assert_int_equal(truncate(packed_cache_path(cache), 5000000), 0);
	assert_int_equal(packed_cache_read(cache, 0, read, &error), ERROR_INPUT);
	packed_cache_close(cache);
	free(first);
	free(second);
	free(read);
}

/* Four processes write, each another content, while this one reads: always nothing yet, or all of one of them. */
static void many_writers(void **state)
{
	(void) state;
	enum { WRITERS = 4, TIMES = 12, BYTES = 3000000 };
	pid_t writer[WRITERS];
	char *data = malloc(BYTES);
	struct error error;
	int seen = 0, living = WRITERS;
	for (int w = 0; w < WRITERS; w++) {
		writer[w] = fork();
		assert_true(writer[w] >= 0);
		if (!writer[w]) {
			int code = 0;
			memset(data, 'a' + w, BYTES);
			for (int i = 0; i < TIMES && !code; i++)
				code = packed_cache_write(folder, "things", KEY, data, BYTES, NULL);
			_exit(code);
		}
	}
	while (living) {
		int status, got = get(data, BYTES, &error);
		if (got < 0)
			fail_msg("%s: %s", error.where, error.text);
		for (int i = 0; got && i < BYTES; i++)
			if (data[i] != data[0] || data[i] < 'a' || data[i] >= 'a' + WRITERS)
				fail_msg("byte %d is of another writer", i);
		seen += got;
		if (waitpid(-1, &status, WNOHANG) > 0) {
			assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
			living--;
		}
	}
	assert_true(seen > 0);
	assert_int_equal(get(data, BYTES, &error), 1);
	assert_int_equal(count_files(), 1);
	free(data);
}

static void stale_files(void **state)
{
	(void) state;
	const char *names[] = {".things-0.1-2.octant-tmp", ".things-0.3-4.octant-tmp", ".things-0.5-6.octant-tmp",
		"other.octant-tmp", ".octant-tmp"};
	const struct timespec old[2] = {{.tv_sec = time(NULL) - 1000}, {.tv_sec = time(NULL) - 1000}};
	for (int i = 0; i < 5; i++) {
		scratch_text(folder, names[i], "half a file");
		if (i != 1)
			assert_int_equal(utimensat(AT_FDCWD, scratch_path(folder, names[i]), old, 0), 0);
	}
	int locked = open(scratch_path(folder, names[2]), O_RDWR);
	assert_int_equal(flock(locked, LOCK_EX), 0);
	put("x", 1);
	assert_int_equal(access(scratch_path(folder, names[0]), F_OK), -1); /* left by one that is dead */
	for (int i = 1; i < 5; i++)                                         /* young; of one that lives; not ours */
		assert_int_equal(access(scratch_path(folder, names[i]), F_OK), 0);
	close(locked);
}

/* A full disk, as the limit on file sizes makes one: an error, the old file stays, nothing is left. */
static void no_room(void **state)
{
	(void) state;
	struct rlimit limit, small;
	struct error error = {0};
	char *data = malloc(100000), *read = malloc(100000);
	fill(data, 100000, 9);
	put(data, 100000);
	getrlimit(RLIMIT_FSIZE, &limit);
	small = limit;
	small.rlim_cur = 50000;
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &small);
	int code = packed_cache_write(folder, "things", KEY, read, 100000, &error);
	setrlimit(RLIMIT_FSIZE, &limit);
	signal(SIGXFSZ, SIG_DFL);
	assert_int_equal(code, ERROR_RUN);
	assert_int_equal(count_files(), 1);
	assert_int_equal(get(read, 100000, &error), 1);
	assert_memory_equal(data, read, 100000);
	free(data);
	free(read);
}

static void no_folder(void **state)
{
	(void) state;
	struct error error = {0};
	char long_path[5000];
	scratch_text(folder, "file", "");
	assert_int_equal(packed_cache_write(scratch_path(folder, "file"), "things", KEY, "x", 1, &error), ERROR_RUN);
	memset(&error, 0, sizeof error);
	assert_int_equal(packed_cache_write("/nonexistent/folder", "things", KEY, "x", 1, &error), ERROR_RUN);
	memset(long_path, 'x', sizeof long_path - 1);
	long_path[sizeof long_path - 1] = 0;
	memset(&error, 0, sizeof error);
	assert_int_equal(packed_cache_write(long_path, "things", KEY, "x", 1, &error), ERROR_INPUT);
	assert_int_equal(packed_cache_write(scratch_path(folder, "made"), "things", KEY, "x", 1, &error), 0);
	unlink(scratch_path(folder, "made/" FILE_NAME));
}

/* ---- the checksum */

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;
	return (x > y) - (x < y);
}

/* No two of these are the same: any one bit flipped, or two of one lane, any length of zeros, words exchanged, any seed. */
static void sums_differ(void **state)
{
	(void) state;
	enum {
		BYTES = 200,
		BITS = BYTES * 8,
		PAIRS = 512 * 64,
		LENGTHS = 300,
		SUMS = 1 + BITS + PAIRS + LENGTHS + 64 + 24
	};
	unsigned char data[BYTES], zeros[LENGTHS] = {0};
	uint64_t *sum = malloc(SUMS * sizeof *sum);
	unsigned long long random = 11;
	int n = 0;
	for (int i = 0; i < BYTES; i++)
		data[i] = (unsigned char) (scratch_random(&random) >> 40);
	sum[n++] = checksum_of(data, BYTES, 0);
	for (int i = 0; i < BITS; i++) {
		data[i / 8] ^= (unsigned char) (1 << i % 8);
		sum[n++] = checksum_of(data, BYTES, 0);
		data[i / 8] ^= (unsigned char) (1 << i % 8);
	}
	for (int i = 0; i < PAIRS; i++) { /* one of eight words, and any bit of the word that meets it next */
		int first = i / 64, second = 512 + first / 64 * 64 + i % 64;
		data[first / 8] ^= (unsigned char) (1 << first % 8);
		data[second / 8] ^= (unsigned char) (1 << second % 8);
		sum[n++] = checksum_of(data, BYTES, 0);
		data[first / 8] ^= (unsigned char) (1 << first % 8);
		data[second / 8] ^= (unsigned char) (1 << second % 8);
	}
	for (int i = 0; i < LENGTHS; i++)
		sum[n++] = checksum_of(zeros, (size_t) i, 0);
	for (int i = 0; i < 64; i++)
		sum[n++] = checksum_of(data, BYTES, (uint64_t) 1 << i);
	for (int i = 0; i < 24; i++) {
		unsigned char other[BYTES];
		memcpy(other, data, BYTES);
		memcpy(other + i * 8, data + (i + 1) * 8, 8);
		memcpy(other + (i + 1) * 8, data + i * 8, 8);
		sum[n++] = checksum_of(other, BYTES, 0);
	}
	assert_int_equal(n, SUMS);
	qsort(sum, SUMS, sizeof *sum, by_value);
	for (int i = 1; i < SUMS; i++)
		if (sum[i] == sum[i - 1])
			fail_msg("two inputs have the sum %llx", (unsigned long long) sum[i]);
	free(sum);
}

/* Files outlive a version of the program: the function is part of the format. */
static void sums_stay(void **state)
{
	(void) state;
	unsigned char data[100];
	for (int i = 0; i < 100; i++)
		data[i] = (unsigned char) (i * 7);
	assert_true(checksum_of(data, 100, 5) == 0x4ed2f34688fa97b4u);
	assert_true(checksum_of(data + 1, 64, 0) == 0x0598c39b9b370d19u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(every_size, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(nothing_there, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(damage, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(every_length, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(foreign_files, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(changed_while_open, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(many_writers, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(stale_files, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(no_room, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(no_folder, make_folder, remove_folder),
		cmocka_unit_test(sums_differ),
		cmocka_unit_test(sums_stay),
	};
	return cmocka_run_group_tests_name("packed_cache", tests, NULL, NULL);
}
