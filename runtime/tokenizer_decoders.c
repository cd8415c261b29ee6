/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading the decoders of a tokenizer.json. */
#include "runtime/tokenizer_decode.h"
#include <stdlib.h>
#include <string.h>

#define PART      "decoder"
#define SUPPORTED "ByteLevel, Metaspace, ByteFallback, Fuse, Replace, Strip, Sequence"

void decoder_destroy(struct decoder *decoder)
{
	if (!decoder)
		return;
	for (size_t i = 0; i < decoder->count; i++) {
		text_free(&decoder->stages[i].pattern);
		text_free(&decoder->stages[i].content);
		regex_destroy(decoder->stages[i].regex);
	}
	free(decoder->stages);
	free(decoder);
}

static int load_replace(const struct tokenizer_source *source, const json_t *json, struct decoder_stage *stage)
{
	const char *content, *literal = NULL;
	size_t bytes, literal_bytes = 0;
	int rc = source_string(source, PART, json, "content", &content, &bytes);
	if (!rc)
		rc = source_pattern(source, PART, json, &stage->regex, &literal, &literal_bytes);
	if (rc)
		return rc;
	/* An empty string matches between all characters: the regular expression does that. */
	stage->kind = literal_bytes ? DECODE_REPLACE_STRING : DECODE_REPLACE_REGEX;
	text_append(&stage->pattern, literal, literal_bytes);
	text_append(&stage->content, content, bytes);
	return stage->pattern.failed || stage->content.failed ? error_memory(source->error, "reading a tokenizer") : 0;
}

static int load_metaspace(const struct tokenizer_source *source, const json_t *json, struct decoder_stage *stage)
{
	const char *scheme = "always";
	size_t bytes;
	int prefix_space, rc;
	stage->kind = DECODE_METASPACE;
	if ((rc = source_character(source, PART, json, "replacement", &stage->character)) ||
		(rc = source_flag(source, PART, json, "add_prefix_space", 1, &prefix_space)))
		return rc;
	if (json_object_get(json, "prepend_scheme") &&
		(rc = source_string(source, PART, json, "prepend_scheme", &scheme, &bytes)))
		return rc;
	if (strcmp(scheme, "always") && strcmp(scheme, "first") && strcmp(scheme, "never"))
		return source_error(
			source, PART, "prepend_scheme \"%.64s\" is unknown; known: always, first, never", scheme);
	stage->prefix = strcmp(scheme, "never") != 0;
	if (!prefix_space && stage->prefix)
		return source_error(source, PART, "add_prefix_space and prepend_scheme contradict each other");
	return 0;
}

static int load_stage(
	const struct tokenizer_source *source, const json_t *json, const char *type, struct decoder_stage *stage)
{
	int rc;
	if (!strcmp(type, "ByteLevel")) {
		stage->kind = DECODE_BYTE_LEVEL;
		return 0;
	}
	if (!strcmp(type, "ByteFallback")) {
		stage->kind = DECODE_BYTE_FALLBACK;
		return 0;
	}
	if (!strcmp(type, "Fuse")) {
		stage->kind = DECODE_FUSE;
		return 0;
	}
	if (!strcmp(type, "Metaspace"))
		return load_metaspace(source, json, stage);
	if (!strcmp(type, "Replace"))
		return load_replace(source, json, stage);
	if (!strcmp(type, "Strip")) {
		stage->kind = DECODE_STRIP;
		if ((rc = source_character(source, PART, json, "content", &stage->character)) ||
			(rc = source_count(source, PART, json, "start", 1 << 20, &stage->start)))
			return rc;
		return source_count(source, PART, json, "stop", 1 << 20, &stage->stop);
	}
	return source_unsupported(source, PART, type, SUPPORTED);
}

static int load(const struct tokenizer_source *source, const json_t *json, int depth, struct decoder *decoder)
{
	const char *type = source_type(source, PART, json);
	if (!type)
		return ERROR_INPUT;
	if (!strcmp(type, "Sequence")) {
		const json_t *parts = json_object_get(json, "decoders");
		int rc = 0;
		if (!json_is_array(parts))
			return source_error(source, PART, "Sequence needs an array \"decoders\"");
		if (depth == TOKENIZER_DEEPEST)
			return source_error(source, PART, "Sequences are nested more than %d deep", TOKENIZER_DEEPEST);
		for (size_t i = 0; i < json_array_size(parts) && !rc; i++)
			rc = load(source, json_array_get(parts, i), depth + 1, decoder);
		return rc;
	}
	if (decoder->count == 64)
		return source_error(source, PART, "more than 64 decoders");
	struct decoder_stage *stages =
		text_grow(decoder->stages, &decoder->capacity, decoder->count + 1, sizeof *stages);
	if (!stages)
		return error_memory(source->error, "reading a tokenizer");
	decoder->stages = stages;
	stages[decoder->count] = (struct decoder_stage){0};
	return load_stage(source, json, type, &stages[decoder->count++]);
}

int decoder_load(const struct tokenizer_source *source, const json_t *json, struct decoder **out)
{
	struct decoder *decoder = calloc(1, sizeof *decoder);
	int rc = 0;
	if (decoder && json) {
		rc = load(source, json, 0, decoder);
	} else if (decoder) {
		decoder->stages = calloc(1, sizeof *decoder->stages); /* DECODE_JOIN */
		decoder->count = decoder->stages != NULL;
	}
	if (!decoder || (!json && !decoder->count))
		rc = error_memory(source->error, "reading a tokenizer");
	if (rc)
		decoder_destroy(decoder);
	else
		*out = decoder;
	return rc;
}
