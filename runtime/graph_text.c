/* SPDX-License-Identifier: Apache-2.0
 *
 * A description's libconfig tree: parsing, places of settings, and values with the schema's defaults. */
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/graph_internal.h"

struct graph_place graph_place_of(const struct graph_text *text, const config_setting_t *setting)
{
	struct graph_place place = {"", 0};
	const char *file;
	for (; setting; setting = config_setting_parent(setting)) {
		const char *override = config_setting_get_hook(setting);
		if (override) {
			snprintf(place.file, sizeof place.file, "--set %s", override);
			return place;
		}
		if (config_setting_source_line(setting)) {
			graph_source_place(&text->source, config_setting_source_line(setting), &file, &place.line);
			snprintf(place.file, sizeof place.file, "%s", file);
			return place;
		}
	}
	if (text->source.files)
		snprintf(place.file, sizeof place.file, "%s", text->source.file[0]);
	return place;
}

bool graph_is_override(const struct graph_place *place)
{
	return !place->line && !strncmp(place->file, "--set ", 6);
}

int graph_error(struct error *error, const struct graph_place *place, const char *format, ...)
{
	char sentence[sizeof error->text];
	va_list args;
	va_start(args, format);
	vsnprintf(sentence, sizeof sentence, format, args);
	va_end(args);
	return error_at(error, ERROR_INPUT, place->file, place->line, "%s", sentence);
}

int graph_keep(struct graph_faults *faults, int code, struct error *error)
{
	if (code != ERROR_INPUT || !faults)
		return code;
	if (error->code) { /* else it has been told already */
		faults->count++;
		faults->found(faults->context, error);
	}
	*error = (struct error){0};
	return 0;
}

int graph_text_open(struct graph_text *text, const char *path, struct error *error)
{
	struct graph_faults *faults = text->faults;
	*text = (struct graph_text){.faults = faults};
	if (path) {
		int code = graph_source_read(&text->source, path, error);
		if (code)
			return code;
	}
	config_init(&text->config);
	text->parsed = true;
	if (!path || config_read_string(&text->config, text->source.text))
		return 0;

	const char *file;
	unsigned line;
	const char *what = config_error_text(&text->config);
	bool twice = what && !strcmp(what, "duplicate setting name");
	graph_source_place(&text->source, (unsigned) config_error_line(&text->config), &file, &line);
	int code =
		error_at(error, ERROR_INPUT, file, line, "%s; %s", twice ? "a key is given twice in its group" : what,
			twice ? "each key once would be right"
			      : "libconfig expects NAME = VALUE; with a value such as 2, 1.5, \"text\", [ 1, 2 ], { … "
				"} or ( … )");
	graph_text_close(text);
	return code;
}

void graph_text_close(struct graph_text *text)
{
	if (text->parsed)
		config_destroy(&text->config);
	graph_source_free(&text->source);
	text->parsed = false;
}

const config_setting_t *graph_find(const struct graph_text *text, const config_setting_t *group, const char *path)
{
	const char *dot = strrchr(path, '.');
	if (group)
		return config_setting_get_member(group, dot ? dot + 1 : path);
	return config_lookup(&text->config, path);
}

static const char *fallback(const char *path)
{
	const struct graph_key *key = graph_key_find(path);
	return key && key->fallback ? key->fallback : "0";
}

long long graph_integer(const struct graph_text *text, const config_setting_t *group, const char *path)
{
	const config_setting_t *setting = graph_find(text, group, path);
	return setting ? config_setting_get_int64(setting) : strtoll(fallback(path), NULL, 10);
}

double graph_number(const struct graph_text *text, const config_setting_t *group, const char *path)
{
	const config_setting_t *setting = graph_find(text, group, path);
	if (!setting)
		return strtod(fallback(path), NULL);
	if (config_setting_type(setting) == CONFIG_TYPE_FLOAT)
		return config_setting_get_float(setting);
	return (double) config_setting_get_int64(setting);
}

bool graph_boolean(const struct graph_text *text, const config_setting_t *group, const char *path)
{
	const config_setting_t *setting = graph_find(text, group, path);
	return setting ? config_setting_get_bool(setting) : !strcmp(fallback(path), "true");
}

const char *graph_word(const struct graph_text *text, const config_setting_t *group, const char *path)
{
	const config_setting_t *setting = graph_find(text, group, path);
	return setting ? config_setting_get_string(setting) : NULL;
}
