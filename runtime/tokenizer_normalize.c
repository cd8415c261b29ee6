/* SPDX-License-Identifier: Apache-2.0
 *
 * Normalizers: what is done to the characters of a text before it is cut into pieces. */
#include "runtime/tokenizer_internal.h"
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define PART      "normalizer"
#define SUPPORTED "NFC, NFD, NFKC, NFKD, Lowercase, Strip, Prepend, Replace, Sequence"

enum normalizer_kind {
	NORMALIZE_UNICODE,
	NORMALIZE_LOWERCASE,
	NORMALIZE_STRIP,
	NORMALIZE_PREPEND,
	NORMALIZE_REPLACE,
	NORMALIZE_SEQUENCE,
};

struct normalizer {
	enum normalizer_kind kind;
	utf8proc_option_t form; /* NORMALIZE_UNICODE */
	int strip_left, strip_right;
	struct text_buffer content; /* what is prepended or put in place of a match */
	struct regex *regex;
	struct normalizer **parts;
	size_t count;
};

void normalizer_destroy(struct normalizer *normalizer)
{
	if (!normalizer)
		return;
	for (size_t i = 0; i < normalizer->count; i++)
		normalizer_destroy(normalizer->parts[i]);
	free(normalizer->parts);
	regex_destroy(normalizer->regex);
	text_free(&normalizer->content);
	free(normalizer);
}

static int load(const struct tokenizer_source *source, const json_t *json, int depth, struct normalizer **out);

static int load_sequence(
	const struct tokenizer_source *source, const json_t *json, int depth, struct normalizer *normalizer)
{
	const json_t *parts = json_object_get(json, "normalizers");
	if (!json_is_array(parts))
		return source_error(source, PART, "Sequence needs an array \"normalizers\"");
	if (depth == TOKENIZER_DEEPEST)
		return source_error(source, PART, "Sequences are nested more than %d deep", TOKENIZER_DEEPEST);
	normalizer->parts = calloc(json_array_size(parts) + 1, sizeof *normalizer->parts);
	if (!normalizer->parts)
		return error_memory(source->error, "reading a tokenizer");
	for (size_t i = 0; i < json_array_size(parts); i++) {
		int rc = load(source, json_array_get(parts, i), depth + 1, &normalizer->parts[i]);
		if (rc)
			return rc;
		normalizer->count++;
	}
	return 0;
}

static int load_kind(const struct tokenizer_source *source, const json_t *json, const char *type, int depth,
	struct normalizer *normalizer)
{
	static const struct {
		const char *name;
		int form;
	} forms[] = {
		{"NFC", UTF8PROC_STABLE | UTF8PROC_COMPOSE},
		{"NFD", UTF8PROC_STABLE | UTF8PROC_DECOMPOSE},
		{"NFKC", UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT},
		{"NFKD", UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT},
	};
	const char *text;
	size_t bytes;
	int rc;
	for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++)
		if (!strcmp(type, forms[i].name)) {
			normalizer->kind = NORMALIZE_UNICODE;
			normalizer->form = (utf8proc_option_t) forms[i].form;
			return 0;
		}
	if (!strcmp(type, "Lowercase")) {
		normalizer->kind = NORMALIZE_LOWERCASE;
		return 0;
	}
	if (!strcmp(type, "Strip")) {
		normalizer->kind = NORMALIZE_STRIP;
		if ((rc = source_flag(source, PART, json, "strip_left", -1, &normalizer->strip_left)))
			return rc;
		return source_flag(source, PART, json, "strip_right", -1, &normalizer->strip_right);
	}
	if (!strcmp(type, "Prepend") || !strcmp(type, "Replace")) {
		int replace = !strcmp(type, "Replace");
		normalizer->kind = replace ? NORMALIZE_REPLACE : NORMALIZE_PREPEND;
		if ((rc = source_string(source, PART, json, replace ? "content" : "prepend", &text, &bytes)))
			return rc;
		/* The library then no longer knows where the first character came from, with odd effects later. */
		if (!replace && !bytes)
			return source_error(source, PART, "Prepend with an empty string is not supported");
		text_append(&normalizer->content, text, bytes);
		if (normalizer->content.failed)
			return error_memory(source->error, "reading a tokenizer");
		return replace ? source_pattern(source, PART, json, &normalizer->regex, NULL, NULL) : 0;
	}
	if (!strcmp(type, "Sequence")) {
		normalizer->kind = NORMALIZE_SEQUENCE;
		return load_sequence(source, json, depth, normalizer);
	}
	return source_unsupported(source, PART, type, SUPPORTED);
}

static int load(const struct tokenizer_source *source, const json_t *json, int depth, struct normalizer **out)
{
	const char *type = source_type(source, PART, json);
	if (!type)
		return ERROR_INPUT;
	struct normalizer *normalizer = calloc(1, sizeof *normalizer);
	if (!normalizer)
		return error_memory(source->error, "reading a tokenizer");
	int rc = load_kind(source, json, type, depth, normalizer);
	if (rc)
		normalizer_destroy(normalizer);
	else
		*out = normalizer;
	return rc;
}

int normalizer_load(const struct tokenizer_source *source, const json_t *json, struct normalizer **out)
{
	return load(source, json, 0, out);
}

static void swap(struct work *work)
{
	struct text_buffer old = work->normal;
	work->normal = work->normal_next;
	work->normal_next = old;
}

static int apply_unicode(const struct normalizer *normalizer, struct work *work, size_t *origin, struct error *error)
{
	size_t size = work->normal.size, ascii = 0;
	utf8proc_uint8_t *result;
	while (ascii < size && (unsigned char) work->normal.data[ascii] < 0x80)
		ascii++;
	if (ascii == size)
		return 0;
	/* The first character's share of the result: as long as its own normal form. */
	size_t share = 0;
	if (*origin) {
		utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *) work->normal.data,
			(utf8proc_ssize_t) *origin, &result, normalizer->form);
		if (n >= 0) {
			share = (size_t) n;
			free(result);
		}
	}
	utf8proc_ssize_t n = utf8proc_map(
		(const utf8proc_uint8_t *) work->normal.data, (utf8proc_ssize_t) size, &result, normalizer->form);
	if (n == UTF8PROC_ERROR_NOMEM)
		return error_memory(error, "normalizing a text");
	if (n < 0)
		return error_set(error, ERROR_INPUT, NULL, "a text cannot be normalized: %s", utf8proc_errmsg(n));
	work->normal.size = 0;
	text_append(&work->normal, result, (size_t) n);
	free(result);
	if (*origin)
		*origin = share > 0 && share < (size_t) n ? share : (size_t) n;
	return 0;
}

/* Character by character, as Rust's char::to_lowercase: no final sigma; U+0130 becomes two characters. */
static void apply_lowercase(struct work *work, size_t *origin)
{
	size_t share = 0, length;
	work->normal_next.size = 0;
	for (size_t i = 0; i < work->normal.size; i += length) {
		uint32_t code = utf8_code(work->normal.data + i, &length);
		if (code == 0x130) {
			text_append_code(&work->normal_next, 'i');
			text_append_code(&work->normal_next, 0x307);
		} else {
			text_append_code(&work->normal_next, (uint32_t) utf8proc_tolower((utf8proc_int32_t) code));
		}
		if (i < *origin)
			share = work->normal_next.size;
	}
	*origin = share;
	swap(work);
}

static void apply_strip(const struct normalizer *normalizer, struct work *work, size_t *origin)
{
	size_t begin = 0, end = work->normal.size, length;
	while (normalizer->strip_left && begin < end && code_is_space(utf8_code(work->normal.data + begin, &length)))
		begin += length;
	while (normalizer->strip_right && end > begin) {
		size_t last = end - 1;
		while (last > begin && ((unsigned char) work->normal.data[last] & 0xc0) == 0x80)
			last--;
		if (!code_is_space(utf8_code(work->normal.data + last, &length)))
			break;
		end = last;
	}
	if (begin)
		memmove(work->normal.data, work->normal.data + begin, end - begin);
	work->normal.size = end - begin;
	*origin = *origin > begin ? *origin - begin : 0;
	if (*origin > work->normal.size)
		*origin = work->normal.size;
}

static int apply_replace(const struct normalizer *normalizer, struct work *work, size_t *origin, struct error *error)
{
	const struct text_buffer *content = &normalizer->content;
	int rc = regex_find(
		normalizer->regex, work->normal.data, work->normal.size, &work->matches, &work->regex, error);
	if (rc)
		return rc;
	size_t share = 0;
	work->normal_next.size = 0;
	for (size_t i = 0; i < work->matches.count; i++) {
		const struct match *m = &work->matches.items[i];
		if (m->is_match)
			text_append(&work->normal_next, content->data, content->size);
		else
			text_append(&work->normal_next, work->normal.data + m->start, m->end - m->start);
		/* A replacement stems from the last character that it replaces; an empty match from the one before. */
		if (*origin && m->is_match && (m->end == 0 || m->end - 1 < *origin))
			share = work->normal_next.size;
		else if (*origin && !m->is_match && m->start < *origin)
			share = work->normal_next.size - (m->end > *origin ? m->end - *origin : 0);
	}
	*origin = share;
	swap(work);
	return 0;
}

int normalizer_apply(const struct normalizer *normalizer, struct work *work, size_t *origin, struct error *error)
{
	int rc = 0;
	if (!normalizer || !work->normal.size)
		return 0;
	switch (normalizer->kind) {
	case NORMALIZE_UNICODE:
		rc = apply_unicode(normalizer, work, origin, error);
		break;
	case NORMALIZE_LOWERCASE:
		apply_lowercase(work, origin);
		break;
	case NORMALIZE_STRIP:
		apply_strip(normalizer, work, origin);
		break;
	case NORMALIZE_PREPEND:
		work->normal_next.size = 0;
		text_append(&work->normal_next, normalizer->content.data, normalizer->content.size);
		text_append(&work->normal_next, work->normal.data, work->normal.size);
		*origin += *origin ? normalizer->content.size : 0;
		swap(work);
		break;
	case NORMALIZE_REPLACE:
		rc = apply_replace(normalizer, work, origin, error);
		break;
	case NORMALIZE_SEQUENCE:
		for (size_t i = 0; i < normalizer->count && !rc; i++)
			rc = normalizer_apply(normalizer->parts[i], work, origin, error);
		break;
	}
	if (!rc && (work->normal.failed || work->normal_next.failed))
		return error_memory(error, "normalizing a text");
	if (!rc && work->normal.size > TOKENIZER_LARGEST_TEXT)
		return error_set(error, ERROR_INPUT, NULL, "a text grows beyond %d bytes when it is normalized",
			TOKENIZER_LARGEST_TEXT);
	return rc;
}
