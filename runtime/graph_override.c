/* SPDX-License-Identifier: Apache-2.0
 *
 * Overrides: --set path=value put into the tree before it is checked, so that they obey the same rules as
 * the file. Groups and keys that the file lacks are created if the language knows them. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "runtime/graph_internal.h"

enum { MOST_ELEMENTS = 256 };

/* A word that libconfig would not take as a value: a letter first, and neither true nor false. */
static bool is_bare_word(const char *value)
{
	if (!isalpha((unsigned char) *value) && *value != '_')
		return false;
	for (const char *p = value; *p; p++)
		if (!isalnum((unsigned char) *p) && !strchr("_-.", *p))
			return false;
	return strcasecmp(value, "true") && strcasecmp(value, "false");
}

/* Appends a copy of `from` to `parent` (name NULL: as an element). */
static bool copy_setting(config_setting_t *parent, const char *name, const config_setting_t *from, void *hook)
{
	int type = config_setting_type(from);
	config_setting_t *to = config_setting_add(parent, name, type);
	if (!to)
		return false;
	config_setting_set_hook(to, hook);
	config_setting_set_format(to, config_setting_get_format(from));
	switch (type) {
	case CONFIG_TYPE_INT:
		return config_setting_set_int(to, config_setting_get_int(from));
	case CONFIG_TYPE_INT64:
		return config_setting_set_int64(to, config_setting_get_int64(from));
	case CONFIG_TYPE_FLOAT:
		return config_setting_set_float(to, config_setting_get_float(from));
	case CONFIG_TYPE_BOOL:
		return config_setting_set_bool(to, config_setting_get_bool(from));
	case CONFIG_TYPE_STRING:
		return config_setting_set_string(to, config_setting_get_string(from));
	default:
		for (int i = 0; i < config_setting_length(from); i++) {
			const config_setting_t *element = config_setting_get_elem(from, (unsigned) i);
			if (!copy_setting(to, config_setting_name(element), element, hook))
				return false;
		}
		return true;
	}
}

static int parse_value(const struct graph_override *override, const char *where, config_t *value, struct error *error)
{
	struct graph_source source;
	size_t size = strlen(override->value) + 32;
	char *line = malloc(size);
	int code;
	if (!line)
		return error_memory(error, "reading an override");
	snprintf(line, size, is_bare_word(override->value) ? "value = \"%s\";" : "value = %s;", override->value);
	code = graph_source_literal(&source, where, line, error);
	free(line);
	if (code) {
		error->where[0] = '\0'; /* the line number of a one-line value says nothing */
		snprintf(error->where, sizeof error->where, "%.500s", where);
		return code;
	}
	config_init(value);
	int parsed = config_read_string(value, source.text);
	graph_source_free(&source);
	if (parsed && config_setting_length(config_root_setting(value)) == 1)
		return 0;
	config_destroy(value);
	return error_set(error, ERROR_INPUT, where,
		"%.200s is no value; a libconfig literal such as 2, 1.5, true, '\"text\"', '[ 1, 2 ]' or '{ … }' would "
		"be right",
		*override->value ? override->value : "nothing");
}

static int unknown(const char *where, const char *parent, const char *name, struct error *error)
{
	char known[1024], elsewhere[256];
	const char *dot = *parent ? "." : "";
	const char *nearest = graph_key_nearest(parent, name, known, sizeof known);
	if (!nearest && graph_key_elsewhere(name, elsewhere, sizeof elsewhere))
		return error_set(
			error, ERROR_INPUT, where, "%s%s%s is no key; did you mean %s?", parent, dot, name, elsewhere);
	if (nearest)
		return error_set(error, ERROR_INPUT, where, "%s%s%.100s is no key; did you mean %s%s%s?", parent, dot,
			name, parent, dot, nearest);
	return error_set(
		error, ERROR_INPUT, where, "%s%s%.100s is no key; one of %s would be right", parent, dot, name, known);
}

/* The element that "[i]" names, appended when i is the first free one. */
static int enter_element(config_setting_t **at, const char *prefix, unsigned long index, const char *where, void *hook,
	struct error *error)
{
	int length = config_setting_length(*at);
	if (index < (unsigned long) length) {
		*at = config_setting_get_elem(*at, (unsigned) index);
		return 0;
	}
	if (index > (unsigned long) length || index >= MOST_ELEMENTS)
		return error_set(error, ERROR_INPUT, where, "%s has %d elements; an index from 0 to %d would be right",
			prefix, length, length);
	if (!(*at = config_setting_add(*at, NULL, CONFIG_TYPE_GROUP)))
		return error_memory(error, "reading an override");
	config_setting_set_hook(*at, hook);
	return 0;
}

/* Where a path leads: the group that holds its last name, which is NULL where a setting on the way is of another type
 * than the language has there: the check will say so, at the file's line. Groups that the file lacks are made. */
struct target {
	config_setting_t *group;
	char name[GRAPH_PATH];
};

static int follow(config_setting_t *at, const char *p, const char *where, void *hook, struct target *target,
	struct error *error)
{
	char prefix[GRAPH_PATH] = "", parent[GRAPH_PATH] = "", *name = target->name;
	int code;
	target->group = NULL;
	if (strlen(p) >= GRAPH_PATH)
		return error_set(error, ERROR_INPUT, where, "the path is longer than that of any key");
	for (;; p++) {
		size_t length = strcspn(p, ".[");
		snprintf(name, sizeof target->name, "%.*s", (int) length, p);
		snprintf(parent, sizeof parent, "%s", prefix);
		size_t used = strlen(prefix);
		int n = snprintf(prefix + used, sizeof prefix - used, "%s%s", used ? "." : "", name);
		if ((size_t) n + used + 2 >= sizeof prefix) /* leaves room for "[]" */
			return error_set(error, ERROR_INPUT, where, "the path is longer than that of any key");
		const struct graph_key *key = graph_key_find(prefix);
		p += length;
		if (!key)
			return unknown(where, parent, name, error);
		if (!*p) {
			target->group = at;
			return 0;
		}
		if (key->type != KEY_GROUP && key->type != KEY_LIST)
			return error_set(error, ERROR_INPUT, where, "%s has no parts; --set %s=VALUE would be right",
				prefix, prefix);
		if ((key->type == KEY_LIST) != (*p == '['))
			return error_set(error, ERROR_INPUT, where, "%s is a %s; %s%s would be right", prefix,
				key->type == KEY_LIST ? "list" : "group", prefix,
				key->type == KEY_LIST ? "[0].KEY" : ".KEY");
		int type = key->type == KEY_LIST ? CONFIG_TYPE_LIST : CONFIG_TYPE_GROUP;
		config_setting_t *member = config_setting_get_member(at, name);
		if (!member) {
			if (!(member = config_setting_add(at, name, type)))
				return error_memory(error, "reading an override");
			config_setting_set_hook(member, hook);
		}
		if (config_setting_type(member) != type)
			return 0;
		at = member;
		if (*p == '[') {
			char *end;
			unsigned long index =
				isdigit((unsigned char) p[1]) ? strtoul(p + 1, &end, 10) : (end = (char *) p, 0);
			if (*end != ']' || end[1] != '.')
				return error_set(error, ERROR_INPUT, where,
					"an element is named by its number and a key: %s[0].KEY", prefix);
			if ((code = enter_element(&at, prefix, index, where, hook, error)))
				return code;
			if (config_setting_type(at) != CONFIG_TYPE_GROUP)
				return 0;
			strcat(prefix, "[]");
			p = end + 1;
		}
	}
}

static int apply(struct graph_text *text, const struct graph_override *override, struct error *error)
{
	char where[GRAPH_PATH + 16];
	void *hook = (void *) override->path; /* read back only as const char * */
	struct target target;
	config_t value;
	int code;
	snprintf(where, sizeof where, "--set %.180s", override->path);
	code = follow(config_root_setting(&text->config), override->path, where, hook, &target, error);
	if (code || !target.group)
		return code;
	if ((code = parse_value(override, where, &value, error)))
		return code;
	if (config_setting_get_member(target.group, target.name))
		config_setting_remove(target.group, target.name);
	if (!copy_setting(target.group, target.name, config_setting_get_elem(config_root_setting(&value), 0), hook))
		code = error_memory(error, "reading an override");
	config_destroy(&value);
	return code;
}

int graph_text_override(struct graph_text *text, const struct graph_override *overrides, int count, struct error *error)
{
	for (int i = 0; i < count; i++) {
		int code = graph_keep(text->faults, apply(text, &overrides[i], error), error);
		if (code)
			return code;
	}
	return 0;
}
