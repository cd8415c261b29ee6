/* SPDX-License-Identifier: Apache-2.0
 *
 * A block of memory kept in a file between runs, believed only when it proves to be what was written. */
#define _GNU_SOURCE
#include "runtime/packed_cache.h"
#include "runtime/checksum.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MAGIC      "octant-packed\n\0\0"
#define TEMPORARY  ".octant-tmp"
#define PATH_ROOM  4096
#define DATA_ALIGN 4096
#define STRIDE     (256u << 10) /* read and summed at a time: stays in a core's cache between the two */

enum { VERSION = 1, STALE_S = 60 };

struct header {
	char magic[16];
	uint64_t version;
	uint64_t key;
	uint64_t bytes;
	uint64_t block; /* bytes of one */
	uint64_t table; /* checksum of the table */
	uint64_t check; /* checksum of what stands before; also tells another byte order */
};
_Static_assert(sizeof(struct header) == 64, "the header is as the file has it");

struct packed_cache {
	int file;
	char *path;
	size_t bytes;
	int blocks;
	uint64_t *table; /* [blocks] */
};

static uint64_t header_check(const struct header *header)
{
	return checksum_of(header, offsetof(struct header, check), 0);
}

static uint64_t data_offset(int blocks)
{
	uint64_t end = sizeof(struct header) + (uint64_t) blocks * sizeof(uint64_t);
	return (end + DATA_ALIGN - 1) / DATA_ALIGN * DATA_ALIGN;
}

static int count_blocks(size_t bytes, int *blocks)
{
	size_t count = bytes / PACKED_CACHE_BLOCK + (bytes % PACKED_CACHE_BLOCK != 0);
	if (count > INT_MAX || bytes > INT64_MAX / 2)
		return -1;
	*blocks = (int) count;
	return 0;
}

static size_t block_bytes(size_t bytes, int block)
{
	size_t begin = (size_t) block * PACKED_CACHE_BLOCK;
	return bytes - begin < PACKED_CACHE_BLOCK ? bytes - begin : PACKED_CACHE_BLOCK;
}

static int make_path(char *path, const char *folder, const char *name, uint64_t key, struct error *error)
{
	if (snprintf(path, PATH_ROOM, "%s/%s-%016llx.octant", folder, name, (unsigned long long) key) >= PATH_ROOM)
		return error_set(error, ERROR_INPUT, folder, "the path is too long");
	return 0;
}

/* ---- reading */

/* All of them, or −1 with errno (0: the file ends before). */
static int read_all(int file, void *to, size_t bytes, uint64_t at)
{
	for (size_t done = 0; done < bytes;) {
		ssize_t got = pread(file, (char *) to + done, bytes - done, (off_t) (at + done));
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			errno = got ? errno : 0;
			return -1;
		}
		done += (size_t) got;
	}
	return 0;
}

static int unreadable(const char *path, struct error *error)
{
	if (!errno)
		return error_set(error, ERROR_INPUT, path, "is shorter than its header says: it is truncated");
	return error_set(error, ERROR_INPUT, path, "cannot be read: %s", strerror(errno));
}

static int check_header(
	const struct packed_cache *cache, const struct header *header, uint64_t key, int64_t size, struct error *error)
{
	if (memcmp(header->magic, MAGIC, sizeof header->magic))
		return error_set(error, ERROR_INPUT, cache->path, "does not begin as a cache of packed weights does");
	if (header->check != header_check(header))
		return error_set(error, ERROR_INPUT, cache->path, "its header is damaged");
	if (header->version != VERSION || header->block != PACKED_CACHE_BLOCK)
		return error_set(error, ERROR_INPUT, cache->path, "has format %llu; this program has format %d",
			(unsigned long long) header->version, VERSION);
	if (header->key != key || header->bytes != cache->bytes)
		return error_set(error, ERROR_INPUT, cache->path, "holds something else than its name says");
	uint64_t expected = data_offset(cache->blocks) + cache->bytes;
	if ((uint64_t) size != expected)
		return error_set(error, ERROR_INPUT, cache->path, "has %lld bytes where %llu are expected: it is %s",
			(long long) size, (unsigned long long) expected,
			(uint64_t) size < expected ? "truncated" : "damaged");
	return 0;
}

static int read_table(struct packed_cache *cache, uint64_t key, struct error *error)
{
	struct stat status;
	struct header header;
	size_t bytes = (size_t) cache->blocks * sizeof *cache->table;

	if (fstat(cache->file, &status))
		return error_set(error, ERROR_INPUT, cache->path, "cannot be examined: %s", strerror(errno));
	if (!S_ISREG(status.st_mode))
		return error_set(error, ERROR_INPUT, cache->path, "is not a regular file");
	if (read_all(cache->file, &header, sizeof header, 0))
		return unreadable(cache->path, error);
	int code = check_header(cache, &header, key, status.st_size, error);
	if (code)
		return code;
	cache->table = malloc(bytes + 1);
	if (!cache->table)
		return error_memory(error, "opening a cache of packed weights");
	if (read_all(cache->file, cache->table, bytes, sizeof header))
		return unreadable(cache->path, error);
	if (checksum_of(cache->table, bytes, key) != header.table)
		return error_set(error, ERROR_INPUT, cache->path, "its table of checksums is damaged");
	return 0;
}

int packed_cache_open(const char *folder, const char *name, uint64_t key, size_t bytes, struct packed_cache **out,
	struct error *error)
{
	char path[PATH_ROOM];
	struct packed_cache *cache;
	int code = make_path(path, folder, name, key, error);
	if (code)
		return code;
	/* non-blocking, so that a named pipe is refused and not waited for */
	int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (file < 0 && (errno == ENOENT || errno == ENOTDIR)) {
		*out = NULL;
		return 0;
	}
	if (file < 0)
		return error_set(error, ERROR_INPUT, path, "cannot be opened: %s", strerror(errno));
	cache = calloc(1, sizeof *cache);
	if (!cache) {
		close(file);
		return error_memory(error, "opening a cache of packed weights");
	}
	*cache = (struct packed_cache){.file = file, .path = strdup(path), .bytes = bytes};
	if (!cache->path)
		code = error_memory(error, "opening a cache of packed weights");
	else if (count_blocks(bytes, &cache->blocks))
		code = error_set(error, ERROR_INPUT, path, "%zu bytes are too many for one file", bytes);
	else
		code = read_table(cache, key, error);
	if (code) {
		packed_cache_close(cache);
		return code;
	}
	(void) posix_fadvise(file, 0, 0, POSIX_FADV_SEQUENTIAL);
	*out = cache;
	return 0;
}

void packed_cache_close(struct packed_cache *cache)
{
	if (!cache)
		return;
	close(cache->file);
	free(cache->path);
	free(cache->table);
	free(cache);
}

const char *packed_cache_path(const struct packed_cache *cache)
{
	return cache->path;
}

int packed_cache_blocks(const struct packed_cache *cache)
{
	return cache->blocks;
}

int packed_cache_read(const struct packed_cache *cache, int block, void *data, struct error *error)
{
	size_t begin = (size_t) block * PACKED_CACHE_BLOCK, bytes = block_bytes(cache->bytes, block);
	uint64_t at = data_offset(cache->blocks) + begin, sum = (uint64_t) block;

	for (size_t done = 0; done < bytes;) {
		char *to = (char *) data + begin + done;
		size_t n = bytes - done < STRIDE ? bytes - done : STRIDE;
		if (read_all(cache->file, to, n, at + done))
			return unreadable(cache->path, error);
		sum = checksum_of(to, n, sum);
		done += n;
	}
	if (sum != cache->table[block])
		return error_set(error, ERROR_INPUT, cache->path, "is damaged between bytes %llu and %llu",
			(unsigned long long) at, (unsigned long long) (at + bytes));
	return 0;
}

/* ---- writing */

static uint64_t sum_block(const char *data, size_t bytes, int block)
{
	uint64_t sum = (uint64_t) block;
	for (size_t done = 0; done < bytes;) {
		size_t n = bytes - done < STRIDE ? bytes - done : STRIDE;
		sum = checksum_of(data + done, n, sum);
		done += n;
	}
	return sum;
}

static int write_all(int file, const void *from, size_t bytes, uint64_t at)
{
	for (size_t done = 0; done < bytes;) {
		ssize_t put = pwrite(file, (const char *) from + done, bytes - done, (off_t) (at + done));
		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0) {
			errno = put ? errno : ENOSPC;
			return -1;
		}
		done += (size_t) put;
	}
	return 0;
}

/* Removes what writers left that were killed: theirs alone, since a living one holds its file's lock. Not in a file's
 * first minute, when its writer may not have come to lock it. */
static void remove_stale(const char *folder)
{
	DIR *entries = opendir(folder);
	struct dirent *entry;
	while (entries && (entry = readdir(entries))) {
		size_t length = strlen(entry->d_name), suffix = strlen(TEMPORARY);
		struct stat status;
		if (entry->d_name[0] != '.' || length <= suffix || strcmp(entry->d_name + length - suffix, TEMPORARY))
			continue;
		int file = openat(dirfd(entries), entry->d_name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
		if (file < 0)
			continue;
		if (!fstat(file, &status) && S_ISREG(status.st_mode) && time(NULL) - status.st_mtime > STALE_S &&
			!flock(file, LOCK_EX | LOCK_NB))
			unlinkat(dirfd(entries), entry->d_name, 0);
		close(file);
	}
	if (entries)
		closedir(entries);
}

/* A new file that nobody else has, locked. */
static int make_temporary(const char *folder, const char *name, uint64_t key, char *path, struct error *error)
{
	for (int i = 0; i < 100; i++) {
		struct timespec now;
		clock_gettime(CLOCK_REALTIME, &now);
		if (snprintf(path, PATH_ROOM, "%s/.%s-%016llx.%ld-%ld" TEMPORARY, folder, name,
			    (unsigned long long) key, (long) getpid(), now.tv_nsec) >= PATH_ROOM) {
			error_set(error, ERROR_INPUT, folder, "the path is too long");
			return -1;
		}
		int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
		if (file >= 0) {
			(void) flock(file, LOCK_EX | LOCK_NB);
			return file;
		}
		if (errno != EEXIST)
			break;
	}
	error_set(error, ERROR_RUN, folder, "no file can be made there: %s", strerror(errno));
	return -1;
}

static int write_file(int file, uint64_t key, const char *data, size_t bytes, int blocks, uint64_t *table)
{
	struct header header = {
		.magic = MAGIC, .version = VERSION, .key = key, .bytes = bytes, .block = PACKED_CACHE_BLOCK};
	uint64_t at = data_offset(blocks);

	for (int i = 0; i < blocks; i++) {
		size_t begin = (size_t) i * PACKED_CACHE_BLOCK, n = block_bytes(bytes, i);
		table[i] = sum_block(data + begin, n, i);
		if (write_all(file, data + begin, n, at + begin))
			return -1;
	}
	header.table = checksum_of(table, (size_t) blocks * sizeof *table, key);
	header.check = header_check(&header);
	if (write_all(file, table, (size_t) blocks * sizeof *table, sizeof header) ||
		write_all(file, &header, sizeof header, 0))
		return -1;
	/* without data the file would end at the table */
	if (!bytes && ftruncate(file, (off_t) at))
		return -1;
	return fsync(file);
}

int packed_cache_write(
	const char *folder, const char *name, uint64_t key, const void *data, size_t bytes, struct error *error)
{
	char path[PATH_ROOM], temporary[PATH_ROOM];
	int blocks, code = make_path(path, folder, name, key, error);
	if (code)
		return code;
	if (count_blocks(bytes, &blocks))
		return error_set(error, ERROR_RUN, path, "%zu bytes are too many for one file", bytes);
	if (mkdir(folder, 0777) && errno != EEXIST)
		return error_set(error, ERROR_RUN, folder, "the folder cannot be made: %s", strerror(errno));
	uint64_t *table = malloc((size_t) blocks * sizeof *table + 1);
	if (!table)
		return error_memory(error, "writing a cache of packed weights");
	remove_stale(folder);
	int file = make_temporary(folder, name, key, temporary, error);
	if (file < 0) {
		free(table);
		return ERROR_RUN;
	}
	if (write_file(file, key, data, bytes, blocks, table) || rename(temporary, path)) {
		code = error_set(error, ERROR_RUN, path, "cannot be written: %s", strerror(errno));
		unlink(temporary);
	}
	close(file);
	free(table);
	return code;
}
