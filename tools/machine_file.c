/* SPDX-License-Identifier: Apache-2.0
 *
 * A machine file becomes the override of one key: machine = { its text }. */
#include "tools/machine_file.h"
#include <dirent.h>
#include <libconfig.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "runtime/graph_source.h"

static const char *const folders[] = { OCTANT_SOURCE_GRAPHS_DIR, OCTANT_GRAPHS_DIR };

static bool is_file(const char *path)
{
	return access(path, R_OK) == 0;
}

/* " host, h100-sxm-8, …": the machines that ship. */
static void list_machines(char *text, size_t size)
{
	size_t used = 0;
	*text = '\0';
	for (size_t f = 0; f < sizeof folders / sizeof *folders && !used; f++) {
		char path[PATH_MAX];
		struct dirent **entry;
		snprintf(path, sizeof path, "%s/machines", folders[f]);
		int count = scandir(path, &entry, NULL, alphasort);
		for (int i = 0; i < count; i++) {
			size_t length = strlen(entry[i]->d_name);
			if (length > 4 && !strcmp(entry[i]->d_name + length - 4, ".cfg") && used < size)
				used += (size_t) snprintf(text + used, size - used, "%s%.*s", used ? ", " : "", (int) length - 4,
					entry[i]->d_name);
			free(entry[i]);
		}
		if (count >= 0)
			free(entry);
	}
}

static int find(const char *name, char *path, size_t size, struct error *error)
{
	const char *stem = strncmp(name, "machines/", 9) ? name : name + 9;
	char list[400];
	if (is_file(name)) {
		snprintf(path, size, "%s", name);
		return 0;
	}
	for (size_t f = 0; f < sizeof folders / sizeof *folders && !strchr(stem, '/'); f++) {
		if ((size_t) snprintf(path, size, "%s/machines/%s", folders[f], stem) < size && is_file(path))
			return 0;
		if ((size_t) snprintf(path, size, "%s/machines/%s.cfg", folders[f], stem) < size && is_file(path))
			return 0;
	}
	list_machines(list, sizeof list);
	return error_set(error, ERROR_INPUT, NULL, "--machine %.200s: there is no such file; a path, or one of %s would be right",
		name, list);
}

static int check_syntax(const struct graph_source *source, struct error *error)
{
	config_t config;
	int code = 0;
	config_init(&config);
	if (!config_read_string(&config, source->text)) {
		const char *file;
		unsigned line;
		graph_source_place(source, (unsigned) config_error_line(&config), &file, &line);
		code = error_at(error, ERROR_INPUT, file, line, "%s; a machine file holds keys of the group `machine`, such as "
			"name = \"…\"; devices = ( { … } );", config_error_text(&config));
	}
	config_destroy(&config);
	return code;
}

int machine_file_override(const char *name, struct option_overrides *overrides, struct error *error)
{
	static const char key[] = "machine";
	char path[PATH_MAX];
	struct graph_source source;
	if (overrides->count == OPTIONS_MAX_OVERRIDES)
		return error_set(error, ERROR_INPUT, NULL, "more than %d overrides of the graph", OPTIONS_MAX_OVERRIDES);
	int code = find(name, path, sizeof path, error);
	if (!code)
		code = graph_source_read(&source, path, error);
	if (code)
		return code;
	code = check_syntax(&source, error);
	size_t text = source.length + 8, size = sizeof key + text + sizeof "--machine " + strlen(name);
	char *copy = code ? NULL : malloc(size);
	if (copy) {
		memcpy(copy, key, sizeof key);
		snprintf(copy + sizeof key, text, "{\n%s\n}", source.text);
		char *origin = copy + sizeof key + text;
		sprintf(origin, "--machine %s", name);
		memmove(overrides->item + 1, overrides->item, (size_t) overrides->count * sizeof *overrides->item);
		memmove(overrides->copy + 1, overrides->copy, (size_t) overrides->count * sizeof *overrides->copy);
		memmove(overrides->origin + 1, overrides->origin, (size_t) overrides->count * sizeof *overrides->origin);
		overrides->item[0] = (struct graph_override){ copy, copy + sizeof key };
		overrides->copy[0] = copy;
		overrides->origin[0] = origin;
		overrides->count++;
	} else if (!code) {
		code = error_memory(error, "reading a machine file");
	}
	graph_source_free(&source);
	return code;
}
