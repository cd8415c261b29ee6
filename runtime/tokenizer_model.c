/* SPDX-License-Identifier: Apache-2.0
 *
 * The vocabulary, and which model turns pieces into its ids: BPE (tokenizer_bpe.c), or WordLevel, where a piece is
 * one token or unknown. */
#include "runtime/tokenizer_internal.h"
#include <stdlib.h>
#include <string.h>

#define PART "model"

struct model {
	struct bpe *bpe; /* NULL: WordLevel */
	int32_t unknown; /* WordLevel: the id for pieces that no token equals, or -1 */
};

static uint64_t hash(const char *text, size_t bytes)
{
	uint64_t h = 0xcbf29ce484222325u ^ bytes, word;
	for (; bytes >= 8; text += 8, bytes -= 8) {
		memcpy(&word, text, 8);
		h = (h ^ word) * 0x9e3779b97f4a7c15u;
		h ^= h >> 32;
	}
	word = 0;
	if (bytes)
		memcpy(&word, text, bytes);
	h = (h ^ word) * 0x9e3779b97f4a7c15u;
	return h ^ h >> 32;
}

/* The slot where a text is, or the free one where it would be. */
static size_t find_slot(const struct vocab *vocab, const char *text, size_t bytes)
{
	size_t mask = vocab->table_size - 1, slot = hash(text, bytes) & mask;
	while (vocab->table[slot]) {
		const struct vocab_token *token = &vocab->tokens[vocab->table[slot] - 1];
		if (token->bytes == bytes && !memcmp(vocab->arena.data + token->text, text, bytes))
			break;
		slot = (slot + 1) & mask;
	}
	return slot;
}

static int grow_table(struct vocab *vocab)
{
	size_t size = vocab->table_size ? 2 * vocab->table_size : 1024;
	uint32_t *table = calloc(size, sizeof *table);
	if (!table)
		return 0;
	free(vocab->table);
	vocab->table = table;
	vocab->table_size = size;
	for (size_t i = 0; i < vocab->count; i++) {
		const struct vocab_token *token = &vocab->tokens[i];
		table[find_slot(vocab, vocab->arena.data + token->text, token->bytes)] = (uint32_t) i + 1;
	}
	return 1;
}

int vocab_add(struct vocab *vocab, const char *text, size_t bytes, int32_t id)
{
	size_t needed = (size_t) id + 1;
	if (bytes > UINT32_MAX || vocab->count >= UINT32_MAX - 1)
		return 0;
	if (2 * (vocab->count + 1) > vocab->table_size && !grow_table(vocab))
		return 0;
	struct vocab_token *tokens =
		text_grow(vocab->tokens, &vocab->capacity, vocab->count + 1, sizeof *vocab->tokens);
	if (!tokens)
		return 0;
	vocab->tokens = tokens;
	size_t known = vocab->by_id ? vocab->id_capacity : 0;
	uint32_t *by_id = text_grow(vocab->by_id, &vocab->id_capacity, needed, sizeof *vocab->by_id);
	if (!by_id)
		return 0;
	vocab->by_id = by_id;
	if (vocab->id_capacity > known)
		memset(by_id + known, 0, (vocab->id_capacity - known) * sizeof *by_id);
	tokens[vocab->count] = (struct vocab_token){vocab->arena.size, (uint32_t) bytes, id};
	text_append(&vocab->arena, text, bytes);
	text_append(&vocab->arena, "", 1);
	if (vocab->arena.failed)
		return 0;
	vocab->table[find_slot(vocab, text, bytes)] = (uint32_t) vocab->count + 1;
	vocab->count++;
	by_id[id] = (uint32_t) vocab->count;
	if (vocab->id_count < needed)
		vocab->id_count = needed;
	return 1;
}

const struct vocab_token *vocab_find(const struct vocab *vocab, const char *text, size_t bytes)
{
	if (!vocab->table_size)
		return NULL;
	uint32_t index = vocab->table[find_slot(vocab, text, bytes)];
	return index ? &vocab->tokens[index - 1] : NULL;
}

const struct vocab_token *vocab_by_id(const struct vocab *vocab, int32_t id)
{
	if (id < 0 || (size_t) id >= vocab->id_count || !vocab->by_id[id])
		return NULL;
	return &vocab->tokens[vocab->by_id[id] - 1];
}

int32_t vocab_model_id(const struct vocab *vocab, const char *text, size_t bytes)
{
	const struct vocab_token *token = vocab_find(vocab, text, bytes);
	return token && (size_t) (token - vocab->tokens) < vocab->model_count ? token->id : -1;
}

const char *vocab_text(const struct vocab *vocab, const struct vocab_token *token)
{
	return vocab->arena.data + token->text;
}

void vocab_free(struct vocab *vocab)
{
	free(vocab->tokens);
	free(vocab->table);
	free(vocab->by_id);
	text_free(&vocab->arena);
}

static int load_vocab(const struct tokenizer_source *source, const json_t *json, struct vocab *vocab)
{
	json_t *entries = json_object_get(json, "vocab"), *value;
	const char *text;
	if (!json_is_object(entries))
		return source_error(source, PART, "\"vocab\" must be an object of token: id");
	json_object_foreach(entries, text, value)
	{
		if (!json_is_integer(value))
			return source_error(source, PART, "the id of token \"%.100s\" is not a whole number", text);
		json_int_t id = json_integer_value(value);
		if (id < 0 || id > TOKENIZER_LARGEST_ID)
			return source_error(source, PART, "the id of token \"%.100s\", %lld, is not from 0 to %d", text,
				(long long) id, TOKENIZER_LARGEST_ID);
		const struct vocab_token *other = vocab_by_id(vocab, (int32_t) id);
		if (other)
			return source_error(source, PART, "tokens \"%.100s\" and \"%.100s\" have the same id %lld",
				vocab_text(vocab, other), text, (long long) id);
		if (!vocab_add(vocab, text, strlen(text), (int32_t) id))
			return error_memory(source->error, "reading a vocabulary");
	}
	vocab->model_count = vocab->count;
	return 0;
}

int model_load(const struct tokenizer_source *source, const json_t *json, struct vocab *vocab, struct model **out)
{
	const char *type = "BPE", *unknown = "<unk>";
	size_t bytes;
	if (!json_is_object(json))
		return source_error(source, PART, "there is none: \"model\" must be an object");
	/* Files of the library's first versions have no type. */
	if ((json_object_get(json, "type") || !json_object_get(json, "merges")) &&
		!(type = source_type(source, PART, json)))
		return ERROR_INPUT;
	int is_bpe = !strcmp(type, "BPE");
	if (!is_bpe && strcmp(type, "WordLevel"))
		return source_unsupported(source, "model type", type, "BPE, WordLevel");
	struct model *model = calloc(1, sizeof *model);
	if (!model)
		return error_memory(source->error, "reading a tokenizer");
	int rc = load_vocab(source, json, vocab);
	if (!rc && is_bpe) {
		rc = bpe_load(source, json, vocab, &model->bpe);
	} else if (!rc) {
		if (json_object_get(json, "unk_token"))
			rc = source_string(source, PART, json, "unk_token", &unknown, &bytes);
		model->unknown = rc ? -1 : vocab_model_id(vocab, unknown, strlen(unknown));
	}
	if (rc)
		model_destroy(model);
	else
		*out = model;
	return rc;
}

void model_destroy(struct model *model)
{
	if (!model)
		return;
	bpe_destroy(model->bpe);
	free(model);
}

int model_encode(const struct model *model, const struct vocab *vocab, const char *text, size_t size, struct work *work,
	struct error *error)
{
	if (model->bpe)
		return bpe_encode(model->bpe, vocab, text, size, work, error);
	int32_t id = vocab_model_id(vocab, text, size);
	if (id < 0)
		id = model->unknown;
	if (id < 0)
		return error_set(error, ERROR_INPUT, NULL,
			"\"%.*s\" is not in the tokenizer's vocabulary, which has no token for unknown words",
			size > 100 ? 100 : (int) size, text);
	id_add(&work->ids, id);
	return 0;
}
