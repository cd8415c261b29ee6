/* SPDX-License-Identifier: Apache-2.0
 *
 * The output folder's life: made or taken over, locked, appended to, synchronised. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "runtime/output_internal.h"

#define SYNC_EVERY_S 5.0

uint64_t output_hash(uint64_t hash, const void *data, size_t bytes)
{
	const unsigned char *byte = data;

	for (size_t i = 0; i < bytes; i++)
		hash = (hash ^ byte[i]) * 1099511628211u;
	return hash;
}

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double) t.tv_sec + 1e-9 * (double) t.tv_nsec;
}

static char *join(const char *folder, const char *name)
{
	size_t size = strlen(folder) + strlen(name) + 2;
	char *path = malloc(size);

	if (path)
		snprintf(path, size, "%s/%s", folder, name);
	return path;
}

/* A model's name is a path, which may be any bytes; JSON takes UTF-8 only. */
static void make_utf8(char *text)
{
	json_t *string = json_string(text);

	for (; !string && *text; text++)
		if ((unsigned char) *text >= 0x80)
			*text = '?';
	json_decref(string);
}

static int make_folder(struct output *output, struct error *error)
{
	char *path = strdup(output->directory);
	int code = 0;

	if (!path)
		return error_memory(error, "making the output folder");
	/* each folder on the way, then the last; one that is there is as good */
	for (char *at = path + 1; at[-1]; at++) {
		char c = *at;
		if (c && c != '/')
			continue;
		*at = 0;
		if (!mkdir(path, 0777)) {
			if (!output->made)
				output->made = (size_t) (at - path);
		} else if (errno != EEXIST) {
			code = error_set(error, ERROR_INPUT, path, "cannot be made: %s", strerror(errno));
			break;
		}
		*at = c;
	}
	free(path);
	return code;
}

/* The folders that make_folder made, deepest first; one that has got something in it stays. */
static void unmake_folder(struct output *output)
{
	for (size_t length = strlen(output->directory); output->made && length >= output->made; length--) {
		if (output->directory[length] && output->directory[length] != '/')
			continue;
		output->directory[length] = 0;
		rmdir(output->directory);
	}
}

static int lock_folder(struct output *output, struct error *error)
{
	output->lock = open(output->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (output->lock < 0)
		return error_set(
			error, ERROR_INPUT, output->directory, "cannot be opened as a folder: %s", strerror(errno));
	/* where a file system has no locks, two runs in one folder go unnoticed, which is better than none */
	if (flock(output->lock, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK)
		return error_set(error, ERROR_INPUT, output->directory, "another run is writing into this folder");
	return 0;
}

static int remove_results(const struct output *output, struct error *error)
{
	/* run.json goes last: as long as there are results, it can be told whose they are */
	static const char *const names[] = {
		OUTPUT_LINES, "metrics.json", "trace.json", "routing.jsonl", "report.html", OUTPUT_RUN};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (unlinkat(output->lock, names[i], 0) && errno != ENOENT)
			return error_set(error, ERROR_RUN, output->directory, "%s cannot be removed: %s", names[i],
				strerror(errno));
	return 0;
}

static int take_over(
	struct output *output, enum output_mode mode, const struct output_identity *identity, struct error *error)
{
	struct stat status;
	bool results = false;
	int code;

	if (faccessat(output->lock, ".", W_OK, 0))
		return error_set(error, ERROR_INPUT, output->directory, "cannot be written: %s", strerror(errno));
	if (!fstatat(output->lock, OUTPUT_LINES, &status, 0)) {
		if (!S_ISREG(status.st_mode))
			return error_set(error, ERROR_INPUT, output->path, "is not a regular file");
		results = status.st_size > 0;
	}
	if (results && mode == OUTPUT_FRESH)
		return error_set(error, ERROR_INPUT, output->directory,
			"holds the results of another run; --resume goes on with them, --force removes them");
	if (!results || mode == OUTPUT_FORCE) {
		output->remove = mode == OUTPUT_FORCE;
		return output_run_text(identity, output->requests, &output->run_text, error);
	}
	if (faccessat(output->lock, OUTPUT_RUN, F_OK, 0))
		return error_set(error, ERROR_INPUT, output->directory,
			"has results but no run.json that says of which run; --force removes them");
	code = output_run_check(output, identity, error);
	return code ? code : output_scan(output, error);
}

int output_open(const char *directory, enum output_mode mode, const struct output_identity *identity,
	const struct requests *requests, struct output **out, struct error *error)
{
	struct output *output = calloc(1, sizeof *output);
	struct output_identity own = *identity;
	int code;

	if (!output)
		return error_memory(error, "opening the output folder");
	output->lock = output->file = -1;
	output->requests = requests;
	output->directory = strdup(directory);
	output->model = strdup(identity->model);
	output->path = join(directory, OUTPUT_LINES);
	output->has = calloc((size_t) requests->count + 1, sizeof *output->has);
	if (!output->directory || !output->model || !output->path || !output->has) {
		code = error_memory(error, "opening the output folder");
		goto fail;
	}
	make_utf8(output->model);
	own.model = output->model;
	if (!*directory) {
		code = error_set(error, ERROR_INPUT, NULL, "the output folder has no name");
		goto fail;
	}
	code = make_folder(output, error);
	if (!code)
		code = lock_folder(output, error);
	if (!code)
		code = take_over(output, mode, &own, error);
	if (code)
		goto fail;
	*out = output;
	return 0;
fail:
	output_close(output, NULL);
	return code;
}

int output_begin(struct output *output, struct error *error)
{
	int code = output->remove ? remove_results(output, error) : 0;

	if (!code && output->run_text)
		code = output_write_file(output->directory, OUTPUT_RUN, output->run_text, strlen(output->run_text), error);
	if (code)
		return code;
	output->made = 0;
	output->file = openat(output->lock, OUTPUT_LINES, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
	if (output->file < 0 || ftruncate(output->file, output->end))
		return error_set(error, ERROR_RUN, output->path, "cannot be written: %s", strerror(errno));
	output->synced_s = now_s();
	return 0;
}

bool output_has(const struct output *output, int sequence)
{
	return sequence >= 0 && sequence < output->requests->count && output->has[sequence];
}

int output_count(const struct output *output)
{
	return output->count;
}

int output_failed(const struct output *output)
{
	return output->failed;
}

const char *output_path(const struct output *output)
{
	return output->path;
}

static int synchronise(struct output *output, struct error *error)
{
	if (!output->dirty)
		return 0;
	if (fdatasync(output->file) && errno != EINVAL) /* EINVAL: a file system that has nothing to synchronise */
		return error_set(error, ERROR_RUN, output->path, "cannot be written out: %s", strerror(errno));
	output->dirty = false;
	output->synced_s = now_s();
	return 0;
}

int output_write(struct output *output, const struct output_result *result, struct error *error)
{
	char *line;
	size_t bytes, have = 0;
	int code;

	if (result->sequence < 0 || result->sequence >= output->requests->count || output->has[result->sequence])
		return error_set(
			error, ERROR_RUN, output->path, "a second result of sequence %d, or of none", result->sequence);
	code = output_line(output, result, &line, &bytes, error);
	if (code)
		return code;
	while (have < bytes) {
		ssize_t wrote = pwrite(output->file, line + have, bytes - have, (off_t) (output->end + (int64_t) have));
		if (wrote > 0) {
			have += (size_t) wrote;
			continue;
		}
		if (wrote < 0 && errno == EINTR)
			continue;
		code = error_set(error, ERROR_RUN, output->path,
			"cannot be written: %s; the %d results before are whole, --resume goes on from them",
			wrote < 0 ? strerror(errno) : "nothing is written", output->count);
		/* where even this fails, output_scan finds the torn line */
		if (ftruncate(output->file, output->end))
			output->dirty = true;
		free(line);
		return code;
	}
	free(line);
	output->end += (int64_t) bytes;
	output->dirty = true;
	output->has[result->sequence] = true;
	output->count++;
	output->failed += result->reason == FINISH_ERROR;
	return now_s() - output->synced_s < SYNC_EVERY_S ? 0 : synchronise(output, error);
}

int output_close(struct output *output, struct error *error)
{
	int code = 0;

	if (!output)
		return 0;
	if (output->file >= 0) {
		code = synchronise(output, error);
		if (close(output->file) && !code)
			code = error_set(error, ERROR_RUN, output->path, "cannot be closed: %s", strerror(errno));
	}
	if (output->lock >= 0)
		close(output->lock); /* which gives the lock back */
	if (output->directory)
		unmake_folder(output);
	free(output->run_text);
	free(output->directory);
	free(output->path);
	free(output->model);
	free(output->has);
	free(output);
	return code;
}

static int write_all(int file, const char *text, size_t bytes)
{
	while (bytes) {
		ssize_t wrote = write(file, text, bytes);
		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote <= 0)
			return -1;
		text += wrote;
		bytes -= (size_t) wrote;
	}
	return fsync(file) && errno != EINVAL ? -1 : 0;
}

int output_write_file(const char *directory, const char *name, const char *text, size_t bytes, struct error *error)
{
	char *path = join(directory, name);
	size_t size = path ? strlen(path) + 5 : 0;
	char *temporary = path ? malloc(size) : NULL;
	int file = -1, folder, code = 0;

	if (!temporary) {
		code = error_memory(error, "writing a file");
		goto out;
	}
	snprintf(temporary, size, "%s.tmp", path);
	file = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
	if (file < 0 || write_all(file, text, bytes)) {
		code = error_set(error, ERROR_RUN, path, "cannot be written: %s", strerror(errno));
		goto out;
	}
	if (close(file)) {
		file = -1;
		code = error_set(error, ERROR_RUN, path, "cannot be written: %s", strerror(errno));
		goto out;
	}
	file = -1;
	if (rename(temporary, path)) {
		code = error_set(error, ERROR_RUN, path, "cannot be put in place: %s", strerror(errno));
		goto out;
	}
	folder = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder >= 0) {
		fsync(folder); /* the file is whole either way; only its name may be lost with the machine */
		close(folder);
	}
out:
	if (file >= 0)
		close(file);
	if (code && temporary)
		unlink(temporary);
	free(temporary);
	free(path);
	return code;
}
