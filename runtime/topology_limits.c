/* SPDX-License-Identifier: Apache-2.0
 *
 * What control groups (both versions) and the kernel leave to this process.
 *
 * A process is in one group of each hierarchy (/proc/self/cgroup); a hierarchy is mounted somewhere, perhaps only a
 * part of it (/proc/self/mountinfo: mount root and mount point). Every group from there up to the mount point may
 * set a limit, and the least holds. */
#include "runtime/topology_limits.h"
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT 4096

/* The first line of a file. */
static bool read_line(const char *directory, const char *name, char *line, size_t size)
{
	char path[2 * TEXT + 64];
	snprintf(path, sizeof path, "%s/%s", directory, name);
	FILE *file = fopen(path, "r");
	bool got = file && fgets(line, (int) size, file);
	if (file)
		fclose(file);
	return got;
}

/* The number of the line that starts with `word` (NULL: of the first line), or `otherwise`. */
static double read_number(const char *directory, const char *name, const char *word, double otherwise)
{
	char path[2 * TEXT + 64], line[256];
	double number = otherwise;
	size_t length = word ? strlen(word) : 0;

	snprintf(path, sizeof path, "%s/%s", directory, name);
	FILE *file = fopen(path, "r");
	while (file && fgets(line, sizeof line, file)) {
		char *end;
		if (word && strncmp(line, word, length))
			continue;
		double value = strtod(line + length, &end);
		if (end != line + length)
			number = value;
		break;
	}
	if (file)
		fclose(file);
	return number;
}

static bool has_word(const char *list, const char *word)
{
	size_t length = strlen(word);
	for (const char *at = list; at; at = strchr(at, ',')) {
		at += *at == ',';
		if (!strncmp(at, word, length) && (!at[length] || strchr(", \n", at[length])))
			return true;
	}
	return false;
}

/* The process's group in the hierarchy of a controller ("memory"; "": version 2), as a path in that hierarchy. */
static bool find_group(const char *root, const char *controller, char *group)
{
	char path[TEXT + 32], line[TEXT];
	bool found = false;

	snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
	FILE *file = fopen(path, "r");
	while (file && !found && fgets(line, sizeof line, file)) {
		char *names = strchr(line, ':'), *where = names ? strchr(names + 1, ':') : NULL;
		if (!where)
			continue;
		*where++ = 0;
		names++;
		where[strcspn(where, "\n")] = 0;
		if (*controller ? !has_word(names, controller) : *names != 0)
			continue;
		snprintf(group, TEXT, "%s", where);
		found = true;
	}
	if (file)
		fclose(file);
	return found;
}

/* The directory of that group, and how many of its first characters are the mount point. */
static bool find_directory(const char *root, const char *controller, char *directory, size_t *mount_length)
{
	char path[TEXT + 32], line[TEXT], group[TEXT], from[TEXT], point[TEXT];
	bool found = false;

	if (!find_group(root, controller, group))
		return false;
	snprintf(path, sizeof path, "%s/proc/self/mountinfo", root);
	FILE *file = fopen(path, "r");
	while (file && !found && fgets(line, sizeof line, file)) {
		char *type = strstr(line, " - ");
		const char *wanted = *controller ? "cgroup " : "cgroup2 ";
		if (!type || strncmp(type + 3, wanted, strlen(wanted)) ||
			sscanf(line, "%*s %*s %*s %4095s %4095s", from, point) != 2)
			continue;
		char *options = strrchr(type, ' '); /* the superblock's options, where version 1 names its controllers */
		if (*controller && !has_word(options + 1, controller))
			continue;
		size_t length = strcmp(from, "/") ? strlen(from) : 0;
		const char *below = !strncmp(group, from, length) && strchr("/", group[length]) ? group + length : "";
		if (!strcmp(below, "/"))
			below = "";
		*mount_length = (size_t) snprintf(directory, 2 * TEXT, "%s%s", root, point);
		found = *mount_length < 2 * TEXT &&
			(size_t) snprintf(directory + *mount_length, 2 * TEXT - *mount_length, "%s", below) <
				2 * TEXT - *mount_length;
	}
	if (file)
		fclose(file);
	return found;
}

static void lower(double *limit, double value)
{
	if (value > 0 && (*limit <= 0 || value < *limit))
		*limit = value;
}

/* Version 1 says "no limit" by a number near 2^63, version 2 by a word. */
static const double unlimited = 0x1p60;

static void limit_memory(const char *directory, bool second, struct topology_limits *limits)
{
	double limit = read_number(directory, second ? "memory.max" : "memory.limit_in_bytes", NULL, 0);
	double used = read_number(directory, second ? "memory.current" : "memory.usage_in_bytes", NULL, 0);

	if (limit <= 0 || limit >= unlimited)
		return;
	/* pages of files that nobody used lately go away when memory is asked for */
	used -= read_number(directory, "memory.stat", second ? "inactive_file " : "total_inactive_file ", 0);
	lower(&limits->memory, limit);
	if (used < 0)
		used = 0;
	lower(&limits->memory_available, used < limit ? limit - used : 1);
}

static void limit_cpus(const char *directory, bool second, struct topology_limits *limits)
{
	double quota = 0, period = 0;
	char line[128];

	if (second) {
		if (!read_line(directory, "cpu.max", line, sizeof line) || sscanf(line, "%lf %lf", &quota, &period) != 2)
			return; /* "max 100000" */
	} else {
		quota = read_number(directory, "cpu.cfs_quota_us", NULL, 0);
		period = read_number(directory, "cpu.cfs_period_us", NULL, 0);
	}
	if (quota > 0 && period > 0)
		lower(&limits->cpus, quota / period);
}

static void walk(const char *root, const char *controller, bool second, struct topology_limits *limits)
{
	char directory[2 * TEXT];
	size_t mount_length;

	if (!find_directory(root, second ? "" : controller, directory, &mount_length))
		return;
	for (;;) {
		if (!strcmp(controller, "memory"))
			limit_memory(directory, second, limits);
		else
			limit_cpus(directory, second, limits);
		if (strlen(directory) <= mount_length)
			break;
		*strrchr(directory, '/') = 0;
	}
}

void topology_limits_read(const char *root, struct topology_limits *limits)
{
	char proc[TEXT + 8];

	*limits = (struct topology_limits){0};
	snprintf(proc, sizeof proc, "%s/proc", root);
	limits->memory_total = 1024 * read_number(proc, "meminfo", "MemTotal:", 0);
	limits->memory_available = 1024 * read_number(proc, "meminfo", "MemAvailable:", 0);
	for (int second = 0; second < 2; second++) {
		walk(root, "memory", second, limits);
		walk(root, "cpu", second, limits);
	}
}
