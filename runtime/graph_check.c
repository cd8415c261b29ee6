/* SPDX-License-Identifier: Apache-2.0
 *
 * Checks a description's tree against the key table: every key known, every value of its type and range,
 * everything that must be given there. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "runtime/graph_internal.h"

static const char *kind_of(const config_setting_t *setting)
{
	switch (config_setting_type(setting)) {
	case CONFIG_TYPE_GROUP:
		return "a group";
	case CONFIG_TYPE_LIST:
		return "a list";
	case CONFIG_TYPE_ARRAY:
		return "an array";
	case CONFIG_TYPE_STRING:
		return "a string";
	case CONFIG_TYPE_BOOL:
		return "true or false";
	case CONFIG_TYPE_FLOAT:
		return "a number with a fraction or an exponent";
	default:
		return "an integer";
	}
}

static bool is_integer(const config_setting_t *setting)
{
	int type = config_setting_type(setting);
	return type == CONFIG_TYPE_INT || type == CONFIG_TYPE_INT64;
}

static int wrong(const struct graph_text *text, const config_setting_t *setting, const char *path,
	const struct graph_key *key, struct error *error)
{
	struct graph_place place = graph_place_of(text, setting);
	char expected[256];
	graph_key_expects(key, expected, sizeof expected);
	return graph_error(error, &place, "%s is %s; it must be %s", path, kind_of(setting), expected);
}

static int check_range(const struct graph_text *text, const config_setting_t *setting, const char *path,
	const struct graph_key *key, struct error *error)
{
	double value = config_setting_type(setting) == CONFIG_TYPE_FLOAT ? config_setting_get_float(setting)
									 : (double) config_setting_get_int64(setting);
	if (isfinite(value) && value >= key->least && value <= key->greatest)
		return 0;
	struct graph_place place = graph_place_of(text, setting);
	return graph_error(error, &place, "%s is %.15g; from %.15g to %.15g%s%s%s would be right", path, value,
		key->least, key->greatest, key->unit ? " (" : "", key->unit ? key->unit : "", key->unit ? ")" : "");
}

static int check_word(const struct graph_text *text, const config_setting_t *setting, const char *path,
	const struct graph_key *key, struct error *error)
{
	const char *word = config_setting_get_string(setting);
	struct graph_place place = graph_place_of(text, setting);
	char expected[256], copy[256];
	const char *list[32], *nearest, *reason;
	size_t count = 0;
	if (!key->words) {
		if (strlen(word) < GRAPH_TEXT)
			return 0;
		return graph_error(error, &place, "%s is %zu bytes long; less than %d would be right", path,
			strlen(word), GRAPH_TEXT);
	}
	if (graph_key_allows(key, word))
		return 0;
	if ((reason = graph_key_refused(key, word)))
		return graph_error(error, &place, "%s = \"%s\" is refused: it %s; one of %s would be right", path, word,
			reason, key->words);
	snprintf(copy, sizeof copy, "%s", key->words);
	for (char *save, *w = strtok_r(copy, "|", &save); w && count < 31; w = strtok_r(NULL, "|", &save))
		list[count++] = w;
	list[count] = NULL;
	if ((nearest = error_nearest(word, list)))
		return graph_error(error, &place, "%s = \"%s\" is unknown; did you mean \"%s\"?", path, word, nearest);
	graph_key_expects(key, expected, sizeof expected);
	return graph_error(error, &place, "%s = \"%.100s\" is unknown; it must be %s", path, word, expected);
}

static int check_integers(const struct graph_text *text, const config_setting_t *setting, const char *path,
	const struct graph_key *key, struct error *error)
{
	int type = config_setting_type(setting), count, code;
	if (key->type == KEY_SPAN && is_integer(setting))
		return check_range(text, setting, path, key, error);
	if (type != CONFIG_TYPE_ARRAY && type != CONFIG_TYPE_LIST)
		return wrong(text, setting, path, key, error);
	count = config_setting_length(setting);
	for (int i = 0; i < count; i++) {
		const config_setting_t *element = config_setting_get_elem(setting, (unsigned) i);
		code = is_integer(element) ? check_range(text, element, path, key, error)
					   : wrong(text, element, path, key, error);
		if ((code = graph_keep(text->faults, code, error)))
			return code;
	}
	if (key->type == KEY_SPAN &&
		(count != 2 || config_setting_get_int64_elem(setting, 0) > config_setting_get_int64_elem(setting, 1))) {
		struct graph_place place = graph_place_of(text, setting);
		return graph_error(error, &place, "%s is not a range; [ least, greatest ] would be right", path);
	}
	return 0;
}

static int unknown(const struct graph_text *text, const config_setting_t *setting, const char *parent, const char *name,
	struct error *error)
{
	struct graph_place place = graph_place_of(text, setting);
	char known[1024], elsewhere[256];
	const char *dot = *parent ? "." : "";
	const char *nearest = graph_key_nearest(parent, name, known, sizeof known);
	if (nearest)
		return graph_error(error, &place, "%s%s%.100s is no key; did you mean %s%s%s?", parent, dot, name,
			parent, dot, nearest);
	if (graph_key_elsewhere(name, elsewhere, sizeof elsewhere))
		return graph_error(error, &place, "%s%s%s is no key; did you mean %s?", parent, dot, name, elsewhere);
	return graph_error(error, &place, "%s%s%.100s is no key; one of %s would be right", parent, dot, name, known);
}

static int check_group(
	const struct graph_text *text, const config_setting_t *group, const char *path, struct error *error);

static int check_value(const struct graph_text *text, const config_setting_t *setting, const char *path,
	const struct graph_key *key, struct error *error)
{
	int type = config_setting_type(setting), code;
	switch (key->type) {
	case KEY_GROUP:
		if (type != CONFIG_TYPE_GROUP)
			return wrong(text, setting, path, key, error);
		return check_group(text, setting, path, error);
	case KEY_LIST:
		if (type != CONFIG_TYPE_LIST && !(type == CONFIG_TYPE_ARRAY && !config_setting_length(setting)))
			return wrong(text, setting, path, key, error);
		for (int i = 0; i < config_setting_length(setting); i++) {
			const config_setting_t *element = config_setting_get_elem(setting, (unsigned) i);
			char inner[GRAPH_PATH + 16];
			snprintf(inner, sizeof inner, "%s[%d]", path, i);
			code = config_setting_type(element) == CONFIG_TYPE_GROUP
				       ? check_group(text, element, inner, error)
				       : wrong(text, element, path, key, error);
			if ((code = graph_keep(text->faults, code, error)))
				return code;
		}
		return 0;
	case KEY_INTEGER:
		return is_integer(setting) ? check_range(text, setting, path, key, error)
					   : wrong(text, setting, path, key, error);
	case KEY_NUMBER:
		return is_integer(setting) || type == CONFIG_TYPE_FLOAT ? check_range(text, setting, path, key, error)
									: wrong(text, setting, path, key, error);
	case KEY_BOOLEAN:
		return type == CONFIG_TYPE_BOOL ? 0 : wrong(text, setting, path, key, error);
	case KEY_WORD:
		return type == CONFIG_TYPE_STRING ? check_word(text, setting, path, key, error)
						  : wrong(text, setting, path, key, error);
	default:
		return check_integers(text, setting, path, key, error);
	}
}

static int check_group(
	const struct graph_text *text, const config_setting_t *group, const char *path, struct error *error)
{
	char inner[GRAPH_PATH], canonical[GRAPH_PATH];
	int code;
	for (int i = 0; i < config_setting_length(group); i++) {
		const config_setting_t *setting = config_setting_get_elem(group, (unsigned) i);
		const char *name = config_setting_name(setting);
		int n = snprintf(inner, sizeof inner, "%s%s%s", path, *path ? "." : "", name);
		const struct graph_key *key = (size_t) n < sizeof inner ? graph_key_find(inner) : NULL;
		code = key ? check_value(text, setting, inner, key, error) : unknown(text, setting, path, name, error);
		if ((code = graph_keep(text->faults, code, error)))
			return code;
	}
	/* what must be given: rows of this group without a default; only the path with [] is compared */
	size_t length = 0;
	for (const char *p = path; *p; p++)
		if (!(*p >= '0' && *p <= '9'))
			canonical[length++] = *p;
	canonical[length] = '\0';
	if (!strncmp(canonical, "before[", 7) || !strncmp(canonical, "dense_layer[", 12) ||
		!strncmp(canonical, "after[", 6))
		length = (size_t) snprintf(canonical, sizeof canonical, "layer[]");
	for (const struct graph_key *key = graph_keys; key->path && length; key++) {
		const char *last = key->path + length + 1;
		if (key->fallback || strncmp(key->path, canonical, length) || key->path[length] != '.' ||
			strpbrk(last, ".["))
			continue;
		if (!config_setting_get_member(group, last)) {
			struct graph_place place = graph_place_of(text, group);
			char expected[256];
			graph_key_expects(key, expected, sizeof expected);
			code = graph_error(error, &place, "%s has no `%s`; it must be given: %s, %s", path, last,
				key->help, expected);
			if ((code = graph_keep(text->faults, code, error)))
				return code;
		}
	}
	return 0;
}

int graph_text_check(const struct graph_text *text, struct error *error)
{
	return check_group(text, config_root_setting(&text->config), "", error);
}
