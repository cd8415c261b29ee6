/* SPDX-License-Identifier: Apache-2.0
 *
 * Pre-tokenizers: they cut a normalized text into the pieces that the model encodes one by one. */
#include "runtime/tokenizer_internal.h"
#include <stdlib.h>
#include <string.h>

#define PART      "pre_tokenizer"
#define SUPPORTED "ByteLevel, Metaspace, Split, Digits, Punctuation, Whitespace, WhitespaceSplit, Sequence"

/* What Oniguruma would be given by ByteLevel (GPT-2's pattern) and by Whitespace. */
#define GPT2_PATTERN       "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define RUST_WORD          "\\w\\p{Join_Control}"
#define WHITESPACE_PATTERN "[" RUST_WORD "]+|[^" RUST_WORD "\\s]+"

enum splitter_kind {
	SPLIT_BYTE_LEVEL,
	SPLIT_METASPACE,
	SPLIT_REGEX,
	SPLIT_CHARACTERS,
	SPLIT_SEQUENCE,
};

/* What becomes of the matches ("the-final--countdown" at "-"). */
enum split_behavior {
	SPLIT_REMOVED,              /* the final countdown */
	SPLIT_ISOLATED,             /* the - final - - countdown */
	SPLIT_MERGED_WITH_PREVIOUS, /* the- final- - countdown */
	SPLIT_MERGED_WITH_NEXT,     /* the -final - -countdown */
	SPLIT_CONTIGUOUS,           /* the - final -- countdown */
};

enum metaspace_prepend { PREPEND_ALWAYS, PREPEND_FIRST, PREPEND_NEVER };

struct splitter {
	enum splitter_kind kind;
	enum split_behavior behavior;
	int invert;                    /* the matches are what is kept */
	struct regex *regex;           /* SPLIT_REGEX; SPLIT_BYTE_LEVEL with use_regex */
	int (*is_match)(uint32_t);     /* SPLIT_CHARACTERS */
	int prefix_space;              /* SPLIT_BYTE_LEVEL */
	enum metaspace_prepend scheme; /* SPLIT_METASPACE */
	int cut;                       /* SPLIT_METASPACE: before each replacement character */
	uint32_t replacement;
	struct splitter **parts;
	size_t count;
};

void splitter_destroy(struct splitter *splitter)
{
	if (!splitter)
		return;
	for (size_t i = 0; i < splitter->count; i++)
		splitter_destroy(splitter->parts[i]);
	free(splitter->parts);
	regex_destroy(splitter->regex);
	free(splitter);
}

static int load(const struct tokenizer_source *source, const json_t *json, int depth, struct splitter **out);

static int load_sequence(
	const struct tokenizer_source *source, const json_t *json, int depth, struct splitter *splitter)
{
	const json_t *parts = json_object_get(json, "pretokenizers");
	splitter->kind = SPLIT_SEQUENCE;
	if (!json_is_array(parts))
		return source_error(source, PART, "Sequence needs an array \"pretokenizers\"");
	if (depth == TOKENIZER_DEEPEST)
		return source_error(source, PART, "Sequences are nested more than %d deep", TOKENIZER_DEEPEST);
	splitter->parts = calloc(json_array_size(parts) + 1, sizeof *splitter->parts);
	if (!splitter->parts)
		return error_memory(source->error, "reading a tokenizer");
	for (size_t i = 0; i < json_array_size(parts); i++) {
		int rc = load(source, json_array_get(parts, i), depth + 1, &splitter->parts[i]);
		if (rc)
			return rc;
		splitter->count++;
	}
	return 0;
}

static int load_behavior(
	const struct tokenizer_source *source, const json_t *json, int required, enum split_behavior *out)
{
	static const char *const names[] = {
		"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
	const char *name;
	size_t bytes;
	*out = SPLIT_ISOLATED;
	if (!required && !json_object_get(json, "behavior"))
		return 0;
	int rc = source_string(source, PART, json, "behavior", &name, &bytes);
	if (rc)
		return rc;
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (!strcmp(name, names[i])) {
			*out = (enum split_behavior) i;
			return 0;
		}
	return source_error(source, PART,
		"behavior \"%.64s\" is unknown; known: Removed, Isolated, MergedWithPrevious, MergedWithNext, "
		"Contiguous",
		name);
}

static int load_byte_level(const struct tokenizer_source *source, const json_t *json, struct splitter *splitter)
{
	int use_regex, rc;
	splitter->kind = SPLIT_BYTE_LEVEL;
	splitter->behavior = SPLIT_ISOLATED;
	if ((rc = source_flag(source, PART, json, "add_prefix_space", -1, &splitter->prefix_space)))
		return rc;
	if ((rc = source_flag(source, PART, json, "use_regex", 1, &use_regex)))
		return rc;
	if (use_regex)
		splitter->regex = regex_create(source, PART, GPT2_PATTERN, strlen(GPT2_PATTERN), 0);
	return use_regex && !splitter->regex ? source->error->code : 0;
}

static int load_metaspace(const struct tokenizer_source *source, const json_t *json, struct splitter *splitter)
{
	const char *scheme = "always";
	size_t bytes;
	int rc, prefix_space;
	splitter->kind = SPLIT_METASPACE;
	splitter->behavior = SPLIT_MERGED_WITH_NEXT;
	if ((rc = source_character(source, PART, json, "replacement", &splitter->replacement)))
		return rc;
	if (json_object_get(json, "prepend_scheme") &&
		(rc = source_string(source, PART, json, "prepend_scheme", &scheme, &bytes)))
		return rc;
	if (!strcmp(scheme, "always"))
		splitter->scheme = PREPEND_ALWAYS;
	else if (!strcmp(scheme, "first"))
		splitter->scheme = PREPEND_FIRST;
	else if (!strcmp(scheme, "never"))
		splitter->scheme = PREPEND_NEVER;
	else
		return source_error(
			source, PART, "prepend_scheme \"%.64s\" is unknown; known: always, first, never", scheme);
	/* An older way to say "never". */
	if ((rc = source_flag(source, PART, json, "add_prefix_space", 1, &prefix_space)))
		return rc;
	if (!prefix_space && splitter->scheme != PREPEND_NEVER)
		return source_error(source, PART, "add_prefix_space and prepend_scheme contradict each other");
	return source_flag(source, PART, json, "split", 1, &splitter->cut);
}

static int load_kind(const struct tokenizer_source *source, const json_t *json, const char *type, int depth,
	struct splitter *splitter)
{
	int rc, single;
	if (!strcmp(type, "ByteLevel"))
		return load_byte_level(source, json, splitter);
	if (!strcmp(type, "Metaspace"))
		return load_metaspace(source, json, splitter);
	if (!strcmp(type, "Sequence"))
		return load_sequence(source, json, depth, splitter);
	if (!strcmp(type, "Split")) {
		splitter->kind = SPLIT_REGEX;
		if ((rc = load_behavior(source, json, 1, &splitter->behavior)))
			return rc;
		if ((rc = source_flag(source, PART, json, "invert", -1, &splitter->invert)))
			return rc;
		return source_pattern(source, PART, json, &splitter->regex, NULL, NULL);
	}
	if (!strcmp(type, "Digits")) {
		splitter->kind = SPLIT_CHARACTERS;
		splitter->is_match = code_is_numeric;
		if ((rc = source_flag(source, PART, json, "individual_digits", -1, &single)))
			return rc;
		splitter->behavior = single ? SPLIT_ISOLATED : SPLIT_CONTIGUOUS;
		return 0;
	}
	if (!strcmp(type, "Punctuation")) {
		splitter->kind = SPLIT_CHARACTERS;
		splitter->is_match = code_is_punctuation;
		return load_behavior(source, json, 0, &splitter->behavior);
	}
	if (!strcmp(type, "WhitespaceSplit")) {
		splitter->kind = SPLIT_CHARACTERS;
		splitter->is_match = code_is_space;
		splitter->behavior = SPLIT_REMOVED;
		return 0;
	}
	if (!strcmp(type, "Whitespace")) {
		splitter->kind = SPLIT_REGEX;
		splitter->behavior = SPLIT_REMOVED;
		splitter->invert = 1;
		splitter->regex = regex_create(source, PART, WHITESPACE_PATTERN, strlen(WHITESPACE_PATTERN), 0);
		return splitter->regex ? 0 : source->error->code;
	}
	return source_unsupported(source, PART, type, SUPPORTED);
}

static int load(const struct tokenizer_source *source, const json_t *json, int depth, struct splitter **out)
{
	const char *type = source_type(source, PART, json);
	if (!type)
		return ERROR_INPUT;
	struct splitter *splitter = calloc(1, sizeof *splitter);
	if (!splitter)
		return error_memory(source->error, "reading a tokenizer");
	int rc = load_kind(source, json, type, depth, splitter);
	if (rc)
		splitter_destroy(splitter);
	else
		*out = splitter;
	return rc;
}

int splitter_load(const struct tokenizer_source *source, const json_t *json, struct splitter **out)
{
	return load(source, json, 0, out);
}

/* Matches and gaps of a text by a test of its characters. */
static void find_characters(
	const char *text, size_t size, int (*is_match)(uint32_t), uint32_t equal, struct match_list *matches)
{
	size_t gap = 0, length;
	matches->count = 0;
	for (size_t i = 0; i < size; i += length) {
		uint32_t code = utf8_code(text + i, &length);
		if (is_match ? !is_match(code) : code != equal)
			continue;
		if (gap < i)
			match_add(matches, gap, i, 0);
		match_add(matches, i, i + length, 1);
		gap = i + length;
	}
	if (gap < size)
		match_add(matches, gap, size, 0);
}

static void add_part(struct work *work, const struct piece *piece, size_t start, size_t end)
{
	if (end > start)
		piece_add(&work->next_pieces, piece->start + start, end - start,
			piece->origin > start ? piece->origin - start : 0, -1);
}

/* Turns the matches in one piece into pieces. A match that merges joins the neighbour on its side; of several
 * matches in a row, only the one next to that neighbour does. */
static void cut_piece(const struct splitter *splitter, struct work *work, const struct piece *piece)
{
	const struct match *m = work->matches.items;
	size_t count = work->matches.count, start, i = 0;
	for (size_t n = 0; splitter->invert && n < count; n++)
		work->matches.items[n].is_match ^= 1;
	while (i < count) {
		start = m[i].start;
		switch (splitter->behavior) {
		case SPLIT_REMOVED:
			if (!m[i].is_match)
				add_part(work, piece, start, m[i].end);
			break;
		case SPLIT_ISOLATED:
			add_part(work, piece, start, m[i].end);
			break;
		case SPLIT_CONTIGUOUS:
			while (i + 1 < count && m[i + 1].is_match == m[i].is_match)
				i++;
			add_part(work, piece, start, m[i].end);
			break;
		case SPLIT_MERGED_WITH_PREVIOUS:
			if (!m[i].is_match && i + 1 < count && m[i + 1].is_match)
				i++;
			add_part(work, piece, start, m[i].end);
			break;
		case SPLIT_MERGED_WITH_NEXT:
			if (m[i].is_match && i + 1 < count && !m[i + 1].is_match)
				i++;
			add_part(work, piece, start, m[i].end);
			break;
		}
		i++;
	}
}

/* Copies a piece to next_text with a character put before it and one character replaced by another. */
static struct piece copy_piece(
	struct work *work, const struct piece *piece, int prefix, uint32_t prefix_code, uint32_t from, uint32_t to)
{
	struct text_buffer *out = &work->next_text;
	const char *text = work->text.data + piece->start;
	struct piece copy = {.start = out->size, .token = -1};
	size_t length;
	if (prefix)
		text_append_code(out, prefix_code);
	for (size_t i = 0; i < piece->length; i += length) {
		uint32_t code = utf8_code(text + i, &length);
		text_append_code(out, code == from ? to : code);
		if (i < piece->origin)
			copy.origin = out->size - copy.start;
	}
	copy.length = out->size - copy.start;
	return copy;
}

static int apply_metaspace(const struct splitter *splitter, struct work *work, const struct piece *piece)
{
	size_t length;
	uint32_t first = utf8_code(work->text.data + piece->start, &length);
	int prefix = splitter->scheme == PREPEND_ALWAYS || (splitter->scheme == PREPEND_FIRST && piece->origin);
	if (first == splitter->replacement || first == ' ')
		prefix = 0;
	struct piece copy = copy_piece(work, piece, prefix, splitter->replacement, ' ', splitter->replacement);
	if (work->next_text.failed)
		return 1;
	if (splitter->cut) {
		find_characters(
			work->next_text.data + copy.start, copy.length, NULL, splitter->replacement, &work->matches);
		cut_piece(splitter, work, &copy);
	} else {
		add_part(work, &copy, 0, copy.length);
	}
	return 0;
}

/* The cut pieces of one piece, in next_text, rewritten as byte-level characters behind it; `count` pieces of
 * next_pieces from `begin`. */
static void byte_level_rewrite(struct work *work, size_t begin)
{
	struct text_buffer *out = &work->next_text;
	for (size_t n = begin; n < work->next_pieces.count; n++) {
		struct piece *piece = &work->next_pieces.items[n];
		size_t start = out->size, origin = 0;
		if (!text_reserve(out, 2 * piece->length))
			return;
		for (size_t i = 0; i < piece->length; i++) {
			uint32_t code = byte_level_code((unsigned char) out->data[piece->start + i]);
			out->size += utf8_write(out->data + out->size, code);
			if (i < piece->origin)
				origin = out->size - start;
		}
		*piece = (struct piece){start, out->size - start, origin, -1};
	}
}

static int apply_byte_level(
	const struct splitter *splitter, struct work *work, const struct piece *piece, struct error *error)
{
	int prefix = splitter->prefix_space && work->text.data[piece->start] != ' ';
	size_t begin = work->next_pieces.count, start = work->next_text.size;
	struct piece copy = {
		start, piece->length + (size_t) prefix, piece->origin ? piece->origin + (size_t) prefix : 0, -1};
	if (prefix)
		text_append(&work->next_text, " ", 1);
	text_append(&work->next_text, work->text.data + piece->start, piece->length);
	if (work->next_text.failed)
		return 0; /* worded by splitter_apply */
	if (splitter->regex) {
		int rc = regex_find(splitter->regex, work->next_text.data + start, copy.length, &work->matches,
			&work->regex, error);
		if (rc)
			return rc;
		cut_piece(splitter, work, &copy);
	} else {
		add_part(work, &copy, 0, copy.length);
	}
	if (!work->next_pieces.failed)
		byte_level_rewrite(work, begin);
	return 0;
}

static int apply_piece(
	const struct splitter *splitter, struct work *work, const struct piece *piece, struct error *error)
{
	const char *text = work->text.data + piece->start;
	int rc;
	switch (splitter->kind) {
	case SPLIT_BYTE_LEVEL:
		return apply_byte_level(splitter, work, piece, error);
	case SPLIT_METASPACE:
		apply_metaspace(splitter, work, piece);
		return 0;
	case SPLIT_REGEX:
		rc = regex_find(splitter->regex, text, piece->length, &work->matches, &work->regex, error);
		if (rc)
			return rc;
		cut_piece(splitter, work, piece);
		return 0;
	case SPLIT_CHARACTERS:
		find_characters(text, piece->length, splitter->is_match, 0, &work->matches);
		cut_piece(splitter, work, piece);
		return 0;
	case SPLIT_SEQUENCE:
		break;
	}
	return 0;
}

int splitter_apply(const struct splitter *splitter, struct work *work, struct error *error)
{
	int rc = 0;
	if (splitter->kind == SPLIT_SEQUENCE) {
		for (size_t i = 0; i < splitter->count && !rc; i++)
			rc = splitter_apply(splitter->parts[i], work, error);
		return rc;
	}
	int rewrites = splitter->kind == SPLIT_BYTE_LEVEL || splitter->kind == SPLIT_METASPACE;
	work->next_text.size = 0;
	work->next_pieces.count = 0;
	for (size_t i = 0; i < work->pieces.count && !rc; i++) {
		struct piece piece = work->pieces.items[i];
		if (piece.token >= 0)
			piece_add(&work->next_pieces, 0, 0, 0, piece.token);
		else
			rc = apply_piece(splitter, work, &piece, error);
	}
	if (rc)
		return rc;
	if (work->next_text.failed || work->next_pieces.failed || work->matches.failed)
		return error_memory(error, "splitting a text");
	if (work->next_text.size > 4 * (size_t) TOKENIZER_LARGEST_TEXT)
		return error_set(error, ERROR_INPUT, NULL, "a text grows beyond %zu bytes when it is split",
			4 * (size_t) TOKENIZER_LARGEST_TEXT);
	struct piece_list pieces = work->pieces;
	work->pieces = work->next_pieces;
	work->next_pieces = pieces;
	if (rewrites) {
		struct text_buffer text = work->text;
		work->text = work->next_text;
		work->next_text = text;
	}
	return 0;
}
