/* SPDX-License-Identifier: Apache-2.0
 *
 * The graphs that ship: found by name, in the sources or where they were installed. */
#include "runtime/graph_source.h"
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *const folders[] = {OCTANT_SOURCE_GRAPHS_DIR, OCTANT_GRAPHS_DIR};

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *) a, *(char *const *) b);
}

static bool ends_with_cfg(const char *name, size_t *stem)
{
	size_t length = strlen(name);
	if (length < 5 || strcmp(name + length - 4, ".cfg"))
		return false;
	*stem = length - 4;
	return true;
}

int graph_source_list(char ***names, struct error *error)
{
	size_t count = 0, stem;
	char **list = calloc(1, sizeof *list);
	if (!list)
		return error_memory(error, "listing graphs");
	for (size_t i = 0; i < sizeof folders / sizeof *folders && !count; i++) {
		DIR *folder = opendir(folders[i]);
		struct dirent *entry;
		while (folder && (entry = readdir(folder))) {
			if (!ends_with_cfg(entry->d_name, &stem))
				continue;
			char **longer = realloc(list, (count + 2) * sizeof *list);
			if (longer)
				list = longer;
			if (!longer || !(list[count] = strndup(entry->d_name, stem))) {
				closedir(folder);
				list[count] = NULL;
				graph_source_list_free(list);
				return error_memory(error, "listing graphs");
			}
			list[++count] = NULL;
		}
		if (folder)
			closedir(folder);
	}
	qsort(list, count, sizeof *list, compare);
	*names = list;
	return 0;
}

void graph_source_list_free(char **names)
{
	for (char **name = names; name && *name; name++)
		free(*name);
	free(names);
}

int graph_source_find(const char *name, char *found, size_t size, struct error *error)
{
	struct stat status;
	size_t stem;
	bool path = strchr(name, '/') || ends_with_cfg(name, &stem);
	if (path || (!stat(name, &status) && S_ISREG(status.st_mode))) {
		if (strlen(name) >= size)
			return error_set(error, ERROR_INPUT, NULL, "the path of the graph description is too long");
		strcpy(found, name);
		return 0;
	}
	for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
		int n = snprintf(found, size, "%s/%s.cfg", folders[i], name);
		if (n > 0 && (size_t) n < size && !stat(found, &status) && S_ISREG(status.st_mode))
			return 0;
	}
	char **names;
	char text[1024] = "";
	int code = graph_source_list(&names, error);
	if (code)
		return code;
	const char *nearest = error_nearest(name, (const char *const *) names);
	for (char **n = names; *n; n++) {
		size_t length = strlen(text);
		snprintf(text + length, sizeof text - length, "%s%s", n == names ? "" : ", ", *n);
	}
	code = nearest ? error_set(error, ERROR_INPUT, name, "is neither a file nor a shipped graph; did you mean %s?",
				 nearest)
		       : error_set(error, ERROR_INPUT, name,
				 "is neither a file nor a shipped graph; a path, or one of: %s, default (with --model DIR)",
				 *text ? text : "(none is installed)");
	graph_source_list_free(names);
	return code;
}
