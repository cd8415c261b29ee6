/* SPDX-License-Identifier: Apache-2.0
 *
 * Encoding a text: the parts one after the other, and the scratch memory that they share. */
#include "runtime/tokenizer.h"
#include "runtime/tokenizer_internal.h"
#include <stdlib.h>
#include <string.h>

void piece_add(struct piece_list *list, size_t start, size_t length, size_t origin, int32_t token)
{
	struct piece *items =
		list->failed ? NULL : text_grow(list->items, &list->capacity, list->count + 1, sizeof *items);
	if (!items) {
		list->failed = 1;
		return;
	}
	list->items = items;
	items[list->count++] = (struct piece){start, length, origin < length ? origin : length, token};
}

void match_add(struct match_list *list, size_t start, size_t end, int is_match)
{
	struct match *items =
		list->failed ? NULL : text_grow(list->items, &list->capacity, list->count + 1, sizeof *items);
	if (!items) {
		list->failed = 1;
		return;
	}
	list->items = items;
	items[list->count++] = (struct match){start, end, is_match};
}

void id_add(struct id_list *list, int32_t id)
{
	int32_t *items = list->failed ? NULL : text_grow(list->items, &list->capacity, list->count + 1, sizeof *items);
	if (!items) {
		list->failed = 1;
		return;
	}
	list->items = items;
	items[list->count++] = id;
}

void work_free(struct work *work)
{
	text_free(&work->text);
	text_free(&work->next_text);
	text_free(&work->normal);
	text_free(&work->normal_next);
	free(work->pieces.items);
	free(work->next_pieces.items);
	free(work->matches.items);
	free(work->ids.items);
	free(work->symbols);
	free(work->heap);
	regex_work_free(work->regex);
}

/* The text's own ids, in work->ids. */
static int encode_text(
	const struct tokenizer *tokenizer, const char *text, size_t bytes, struct work *work, struct error *error)
{
	size_t length = 0;
	if (!bytes)
		return 0;
	text_append(&work->text, text, bytes);
	utf8_code(text, &length);
	piece_add(&work->pieces, 0, bytes, length, -1);
	if (work->text.failed || work->pieces.failed)
		return error_memory(error, "encoding a text");
	int rc = added_split(tokenizer->added, tokenizer->normalizer, work, error);
	if (!rc && tokenizer->splitter)
		rc = splitter_apply(tokenizer->splitter, work, error);
	for (size_t i = 0; i < work->pieces.count && !rc; i++) {
		const struct piece *piece = &work->pieces.items[i];
		if (piece->token >= 0)
			id_add(&work->ids, piece->token);
		else
			rc = model_encode(tokenizer->model, &tokenizer->vocab, work->text.data + piece->start,
				piece->length, work, error);
	}
	return rc;
}

int tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t bytes, int add_special, int32_t **ids,
	size_t *count, struct error *error)
{
	const struct id_list *around = &tokenizer->finisher.ids;
	struct work work = {0};
	struct id_list all = {0};
	if (bytes > TOKENIZER_LARGEST_TEXT)
		return error_set(error, ERROR_INPUT, NULL, "a text of %zu bytes is too long to be encoded; at most %d",
			bytes, TOKENIZER_LARGEST_TEXT);
	size_t invalid = utf8_invalid(text, bytes);
	if (invalid < bytes)
		return error_set(error, ERROR_INPUT, NULL, "the text is not UTF-8 at byte offset %zu (0x%02x)", invalid,
			(unsigned) (unsigned char) text[invalid]);
	int rc = encode_text(tokenizer, text, bytes, &work, error);
	if (rc)
		goto out;
	all.items = text_grow(NULL, &all.capacity, work.ids.count + around->count, sizeof *all.items);
	all.failed = !all.items;
	for (size_t i = 0; i < around->count; i++) {
		if (around->items[i] >= 0 && add_special)
			id_add(&all, around->items[i]);
		for (size_t k = 0; around->items[i] < 0 && k < work.ids.count; k++)
			id_add(&all, work.ids.items[k]);
	}
	if (all.failed || work.ids.failed) {
		free(all.items);
		rc = error_memory(error, "encoding a text");
		goto out;
	}
	*ids = all.items;
	*count = all.count;
out:
	work_free(&work);
	return rc;
}
