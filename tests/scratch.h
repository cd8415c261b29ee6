/* SPDX-License-Identifier: Apache-2.0
 *
 * A folder of files that a test makes for itself and removes. */
#ifndef OCTANT_TESTS_SCRATCH_H
#define OCTANT_TESTS_SCRATCH_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>

#define SCRATCH_PATH 4096

/* Makes an empty folder below $TMPDIR; `path` has SCRATCH_PATH bytes. */
static inline void scratch_make(char *path)
{
	const char *base = getenv("TMPDIR");
	snprintf(path, SCRATCH_PATH, "%s/octant-test-XXXXXX", base ? base : "/tmp");
	if (!mkdtemp(path)) {
		perror(path);
		exit(99);
	}
}

/* FOLDER/NAME, in one of a few buffers that are used by turns. */
static inline const char *scratch_path(const char *folder, const char *name)
{
	static char paths[8][SCRATCH_PATH + 256];
	static unsigned turn;
	char *path = paths[turn++ % 8];
	snprintf(path, sizeof paths[0], "%s/%s", folder, name);
	return path;
}

static inline void scratch_write(const char *folder, const char *name, const void *bytes, size_t size)
{
	const char *path = scratch_path(folder, name);
	FILE *file = fopen(path, "wb");
	if (!file || fwrite(bytes, 1, size, file) != size || fclose(file)) {
		perror(path);
		exit(99);
	}
}

static inline void scratch_text(const char *folder, const char *name, const char *text)
{
	scratch_write(folder, name, text, strlen(text));
}

/* Removes the files of the folder and the folder; folders inside are removed where they are empty. */
static inline void scratch_remove(const char *folder)
{
	DIR *listing = opendir(folder);
	struct dirent *entry;
	while (listing && (entry = readdir(listing)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..") && unlink(scratch_path(folder, entry->d_name)))
			rmdir(scratch_path(folder, entry->d_name));
	if (listing)
		closedir(listing);
	rmdir(folder);
}

/* A small generator, the same on every machine (xorshift64*). */
static inline unsigned long long scratch_random(unsigned long long *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 2685821657736338717ull;
}

#endif
