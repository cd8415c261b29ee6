/* SPDX-License-Identifier: Apache-2.0
 *
 * Post-processors: which special tokens go before and after the ids of a text. Whatever the kind, that is a list of
 * ids in which -1 stands for the text. */
#include "runtime/tokenizer_internal.h"
#include <stdlib.h>
#include <string.h>

#define PART      "post_processor"
#define SUPPORTED "TemplateProcessing, ByteLevel, RobertaProcessing, BertProcessing, Sequence"

static int add_id(
	const struct tokenizer_source *source, const json_t *json, const struct vocab *vocab, struct id_list *ids)
{
	if (!json_is_integer(json))
		return source_error(source, PART, "the id of a special token is not a whole number");
	json_int_t id = json_integer_value(json);
	if (id < 0 || id > TOKENIZER_LARGEST_ID || !vocab_by_id(vocab, (int32_t) id))
		return source_error(source, PART, "no token has the id %lld of a special token", (long long) id);
	id_add(ids, (int32_t) id);
	return 0;
}

/* ["</s>", 2] */
static int add_pair(const struct tokenizer_source *source, const json_t *json, const char *key,
	const struct vocab *vocab, struct id_list *ids)
{
	const json_t *pair = json_object_get(json, key);
	if (!json_is_array(pair) || json_array_size(pair) != 2)
		return source_error(source, PART, "\"%s\" must be [token, id]", key);
	return add_id(source, json_array_get(pair, 1), vocab, ids);
}

/* {"SpecialToken": {"id": "<s>"}} or {"Sequence": {"id": "A"}} */
static int add_template_piece(const struct tokenizer_source *source, const json_t *piece, const json_t *special_tokens,
	const struct vocab *vocab, struct id_list *ids)
{
	const json_t *sequence = json_object_get(piece, "Sequence"), *special = json_object_get(piece, "SpecialToken");
	const char *id = json_string_value(json_object_get(sequence ? sequence : special, "id"));
	if (!id)
		return source_error(
			source, PART, "a piece of \"single\" is neither a Sequence nor a SpecialToken with an id");
	if (sequence) {
		if (strcmp(id, "A"))
			return source_error(source, PART, "\"single\" can only have sequence A, not \"%.64s\"", id);
		id_add(ids, -1);
		return 0;
	}
	const json_t *list = json_object_get(json_object_get(special_tokens, id), "ids");
	if (!json_is_array(list))
		return source_error(source, PART, "\"special_tokens\" has no ids for \"%.100s\"", id);
	int rc = 0;
	for (size_t i = 0; i < json_array_size(list) && !rc; i++)
		rc = add_id(source, json_array_get(list, i), vocab, ids);
	return rc;
}

static int load(const struct tokenizer_source *source, const json_t *json, const struct vocab *vocab, int depth,
	struct id_list *ids)
{
	const char *type = source_type(source, PART, json);
	if (!type)
		return ERROR_INPUT;
	if (!strcmp(type, "ByteLevel")) /* changes offsets only */
		return 0;
	if (!strcmp(type, "Sequence")) {
		const json_t *parts = json_object_get(json, "processors");
		if (!json_is_array(parts))
			return source_error(source, PART, "Sequence needs an array \"processors\"");
		if (depth == TOKENIZER_DEEPEST)
			return source_error(source, PART, "Sequences are nested more than %d deep", TOKENIZER_DEEPEST);
		int rc = 0;
		for (size_t i = 0; i < json_array_size(parts) && !rc; i++)
			rc = load(source, json_array_get(parts, i), vocab, depth + 1, ids);
		return rc;
	}
	int roberta = !strcmp(type, "RobertaProcessing") || !strcmp(type, "BertProcessing");
	if (!roberta && strcmp(type, "TemplateProcessing"))
		return source_unsupported(source, PART, type, SUPPORTED);
	if (ids->count)
		return source_error(source, PART, "only one part of a Sequence may add tokens");
	if (roberta) {
		int rc = add_pair(source, json, "cls", vocab, ids);
		id_add(ids, -1);
		return rc ? rc : add_pair(source, json, "sep", vocab, ids);
	}
	const json_t *single = json_object_get(json, "single");
	if (!json_is_array(single))
		return source_error(source, PART, "\"single\" must be an array of pieces");
	int rc = 0;
	for (size_t i = 0; i < json_array_size(single) && !rc; i++)
		rc = add_template_piece(
			source, json_array_get(single, i), json_object_get(json, "special_tokens"), vocab, ids);
	if (!rc && !ids->count)
		return source_error(source, PART, "\"single\" is empty: no text would have tokens");
	return rc;
}

int finisher_load(
	const struct tokenizer_source *source, const json_t *json, const struct vocab *vocab, struct finisher *out)
{
	struct id_list ids = {0};
	int rc = json && !json_is_null(json) ? load(source, json, vocab, 0, &ids) : 0;
	if (!rc && !ids.count)
		id_add(&ids, -1);
	if (!rc && ids.failed)
		rc = error_memory(source->error, "reading a tokenizer");
	if (rc)
		free(ids.items);
	else
		out->ids = ids;
	return rc;
}
