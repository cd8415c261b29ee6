/* SPDX-License-Identifier: Apache-2.0
 *
 * Command lines by a table. */
#include "tools/options.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void options_print(const struct option_table *table)
{
	for (int i = 0; i < table->count; i++) {
		const struct option_row *o = &table->rows[i];
		char left[64];
		snprintf(left, sizeof left, "%s%s%s", o->name, o->value ? " " : "", o->value ? o->value : "");
		printf("  %-26s %s\n", left, o->help);
	}
}

void options_insert(struct option_overrides *o, int from, int at, const struct graph_override *item, char *owned)
{
	int place = from + at;
	size_t behind = (size_t) (o->count - place);
	memmove(o->item + place + 1, o->item + place, behind * sizeof *o->item);
	memmove(o->copy + place + 1, o->copy + place, behind * sizeof *o->copy);
	memmove(o->origin + place + 1, o->origin + place, behind * sizeof *o->origin);
	o->item[place] = *item;
	o->copy[place] = owned;
	o->origin[place] = NULL;
	o->count++;
}

void options_free(struct option_overrides *overrides)
{
	for (int i = 0; i < overrides->count; i++)
		free(overrides->copy[i]);
	overrides->count = 0;
}

void options_locate(const struct option_overrides *overrides, struct error *error)
{
	if (strncmp(error->where, "--set ", 6))
		return;
	for (int i = overrides->count - 1; i >= 0; i--)
		if (!strcmp(error->where + 6, overrides->item[i].path)) {
			if (overrides->origin[i])
				snprintf(error->where, sizeof error->where, "%s", overrides->origin[i]);
			return;
		}
}

static const struct option_row *find(const struct option_table *table, const char *word, size_t length)
{
	char name[64];
	if (length >= sizeof name)
		return NULL;
	for (size_t i = 0; i < length; i++)
		name[i] = word[i] == '_' ? '-' : word[i];
	name[length] = 0;
	if (!strcmp(name, "-h"))
		snprintf(name, sizeof name, "--help");
	for (int i = 0; i < table->alias_count; i++)
		if (!strcmp(name, table->aliases[i].alias))
			snprintf(name, sizeof name, "%s", table->aliases[i].name);
	for (int i = 0; i < table->count; i++)
		if (!strcmp(name, table->rows[i].name))
			return &table->rows[i];
	return NULL;
}

static int refuse(const struct option_table *table, const char *word, size_t length, struct error *error)
{
	const char *names[128] = { NULL };
	char name[64];
	snprintf(name, sizeof name, "%.*s", (int) (length < 60 ? length : 60), word);
	for (int i = 0; i < table->count && i < 127; i++)
		names[i] = table->rows[i].name + 2; /* dashes would make all names alike */
	const char *nearest = error_nearest(name + strspn(name, "-"), names);
	if (nearest)
		return error_set(error, ERROR_INPUT, NULL, "there is no option %s; did you mean --%s?", name, nearest);
	return error_set(error, ERROR_INPUT, NULL, "there is no option %s; %s --help lists them", name, table->command);
}

static int add_override(struct option_overrides *overrides, const char *origin, const char *path, const char *value,
	struct error *error)
{
	if (overrides->count == OPTIONS_MAX_OVERRIDES)
		return error_set(error, ERROR_INPUT, NULL, "more than %d overrides of the graph", OPTIONS_MAX_OVERRIDES);
	size_t length = strlen(path) + 1, size = length + strlen(value) + 1;
	char *copy = malloc(size);
	if (!copy)
		return error_memory(error, "reading the command line");
	memcpy(copy, path, length);
	memcpy(copy + length, value, size - length);
	overrides->copy[overrides->count] = copy;
	overrides->origin[overrides->count] = origin;
	overrides->item[overrides->count++] = (struct graph_override){ copy, copy + length };
	return 0;
}

static int set_override(struct option_overrides *overrides, const char *argument, struct error *error)
{
	const char *equals = strchr(argument, '=');
	char path[256];
	if (!equals || equals == argument || equals - argument >= (long) sizeof path)
		return error_set(error, ERROR_INPUT, NULL, "--set %s; --set PATH=VALUE would be right", argument);
	snprintf(path, sizeof path, "%.*s", (int) (equals - argument), argument);
	return add_override(overrides, NULL, path, equals + 1, error);
}

static int set_number(const struct option_row *o, const char *value, void *field, struct error *error)
{
	char *end;
	errno = 0;
	double number = strtod(value, &end);
	bool whole = o->kind == OPTION_INTEGER;
	if (!*value || *end || errno || !isfinite(number) || number < o->least || number > o->most
		|| (whole && number != floor(number)))
		return error_set(error, ERROR_INPUT, NULL, "%s %s; %s from %.10g to %.10g would be right", o->name, value,
			whole ? "an integer" : "a number", o->least, o->most);
	if (whole)
		*(int *) field = (int) number;
	else if (o->kind == OPTION_NUMBER)
		*(double *) field = number;
	else
		*(float *) field = (float) number;
	return 0;
}

static int apply(const struct option_table *table, const struct option_row *o, const char *value, void *into,
	struct error *error)
{
	void *field = (char *) into + o->at;
	struct option_overrides *overrides = (void *) ((char *) into + table->overrides_at);
	switch (o->kind) {
	case OPTION_TEXT:
		if (!*value)
			return error_set(error, ERROR_INPUT, NULL, "%s has an empty value; %s %s would be right", o->name, o->name,
				o->value);
		*(const char **) field = value;
		return 0;
	case OPTION_FLAG:
		*(bool *) field = !value || !strcmp(value, "true") || !strcmp(value, "1");
		return 0;
	case OPTION_OPTIONAL:
		*(struct option_optional *) field = (struct option_optional){ true, value };
		return 0;
	case OPTION_OVERRIDE:
		return add_override(overrides, o->name, o->key, value, error);
	case OPTION_SET:
		return set_override(overrides, value, error);
	case OPTION_NUMBER:
	case OPTION_FLOAT:
	case OPTION_INTEGER:
		return set_number(o, value, field, error);
	}
	return 0;
}

static bool is_truth(const char *word)
{
	return word && (!strcmp(word, "true") || !strcmp(word, "false") || !strcmp(word, "1") || !strcmp(word, "0"));
}

/* The option's value: behind `=`, or the next argument where the option takes one. */
static int take_value(const struct option_row *o, const char *inline_value, int argc, char **argv, int *i,
	const char **value, struct error *error)
{
	const char *next = *i + 1 < argc ? argv[*i + 1] : NULL;
	*value = inline_value;
	if (o->kind == OPTION_FLAG) {
		if (inline_value && !is_truth(inline_value))
			return error_set(error, ERROR_INPUT, NULL, "%s=%s; true or false would be right", o->name, inline_value);
		if (!inline_value && is_truth(next))
			*value = argv[++*i];
		return 0;
	}
	if (inline_value || o->kind == OPTION_OPTIONAL)
		return 0;
	if (!next || (next[0] == '-' && next[1] == '-'))
		return error_set(error, ERROR_INPUT, NULL, "%s lacks its value; %s %s would be right", o->name, o->name, o->value);
	*value = argv[++*i];
	return 0;
}

static int add_argument(const struct option_table *table, const char *word, void *into, struct error *error)
{
	const char **arguments = (void *) ((char *) into + table->arguments_at);
	for (int i = 0; i < table->argument_count; i++)
		if (!arguments[i]) {
			arguments[i] = word;
			return 0;
		}
	return error_set(error, ERROR_INPUT, NULL, "%s is one argument too many; %s --help tells the usage", word,
		table->command);
}

int options_parse(const struct option_table *table, int argc, char **argv, void *into, struct error *error)
{
	for (int i = 1; i < argc; i++) {
		const char *word = argv[i], *value;
		int code;
		if (word[0] != '-' || !word[1]) { /* "-" alone is a file: standard input */
			code = add_argument(table, word, into, error);
			if (code)
				return code;
			continue;
		}
		size_t length = strcspn(word, "=");
		const struct option_row *o = find(table, word, length);
		if (!o)
			return refuse(table, word, length, error);
		code = take_value(o, word[length] ? word + length + 1 : NULL, argc, argv, &i, &value, error);
		if (!code)
			code = apply(table, o, value, into, error);
		if (code || !strcmp(o->name, "--help"))
			return code;
	}
	return 0;
}
