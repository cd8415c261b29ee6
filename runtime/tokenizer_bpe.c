/* SPDX-License-Identifier: Apache-2.0
 *
 * Byte pair encoding of one piece: its characters become a linked list of symbols, and the pair of neighbours with
 * the lowest rank (of equal ones the leftmost) is merged until no pair has a rank.
 *
 *   symbols   h ⇄ u ⇄ g ⇄ s       candidates: a heap by (rank, position); an entry is checked against the list
 *             hug ⇄ ─ ⇄ ─ ⇄ s     when it is taken out, since its symbols may have been merged meanwhile
 *
 * n symbols take O(n log n), whatever they are. */
#include "runtime/tokenizer_internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PART "model"

enum {
	UNKNOWN_NONE = -1,   /* no unk_token: unknown characters are dropped */
	UNKNOWN_ABSENT = -2, /* there is an unk_token, but the vocabulary lacks it */
	SINGLE = 0x800,      /* code points of one or two bytes have their ids in a table */
};

#define NOWHERE UINT32_MAX

struct bpe_merge {
	int32_t left, right; /* left < 0: a free slot */
	uint32_t rank;
	int32_t result;
};

struct bpe {
	struct bpe_merge *merges; /* open addressing, linear probing, at most half full */
	size_t table_size;
	int32_t single[SINGLE]; /* by code point; -1 when there is no such token */
	int32_t bytes[256];     /* "<0x41>", or -1 */
	int byte_fallback, fuse_unknown, ignore_merges;
	int32_t unknown;
};

struct bpe_symbol {
	int32_t id; /* -1: merged into a symbol on its left */
	uint32_t previous, next;
};

struct bpe_candidate {
	uint32_t rank, position;
	int32_t result;
};

static size_t merge_hash(int32_t left, int32_t right)
{
	uint64_t h = ((uint64_t) (uint32_t) left << 32 | (uint32_t) right) * 0x9e3779b97f4a7c15u;
	return (size_t) (h ^ h >> 29);
}

static struct bpe_merge *merge_slot(const struct bpe *bpe, int32_t left, int32_t right)
{
	size_t mask = bpe->table_size - 1, slot = merge_hash(left, right) & mask;
	while (bpe->merges[slot].left >= 0 && (bpe->merges[slot].left != left || bpe->merges[slot].right != right))
		slot = (slot + 1) & mask;
	return &bpe->merges[slot];
}

/* A merge as written: ["a", "b"], or "a b". */
static int split_merge(
	const struct tokenizer_source *source, const json_t *json, size_t index, const char *part[2], size_t bytes[2])
{
	if (json_is_array(json) && json_array_size(json) == 2 && json_is_string(json_array_get(json, 0)) &&
		json_is_string(json_array_get(json, 1))) {
		for (size_t i = 0; i < 2; i++) {
			part[i] = json_string_value(json_array_get(json, i));
			bytes[i] = json_string_length(json_array_get(json, i));
		}
		return 0;
	}
	if (json_is_string(json)) {
		const char *text = json_string_value(json);
		size_t size = json_string_length(json);
		const char *space = memchr(text, ' ', size);
		if (space && !memchr(space + 1, ' ', size - (size_t) (space + 1 - text))) {
			part[0] = text;
			bytes[0] = (size_t) (space - text);
			part[1] = space + 1;
			bytes[1] = size - bytes[0] - 1;
			return 0;
		}
	}
	return source_error(source, PART, "merge %zu is neither a pair [\"a\", \"b\"] nor a string \"a b\"", index);
}

static int add_merge(const struct tokenizer_source *source, const struct vocab *vocab, const json_t *json, size_t index,
	uint32_t rank, struct text_buffer *joined, struct bpe *bpe)
{
	const char *part[3];
	size_t bytes[3];
	int32_t ids[3];
	int rc = split_merge(source, json, index, part, bytes);
	if (rc)
		return rc;
	joined->size = 0;
	text_append(joined, part[0], bytes[0]);
	text_append(joined, part[1], bytes[1]);
	text_terminate(joined);
	if (joined->failed)
		return error_memory(source->error, "reading merges");
	part[2] = joined->data;
	bytes[2] = joined->size;
	for (size_t i = 0; i < 3; i++) {
		ids[i] = vocab_model_id(vocab, part[i], bytes[i]);
		if (ids[i] < 0)
			return source_error(source, PART, "merge %zu: %s \"%.*s\" is not in the vocabulary", index,
				i < 2 ? "its part" : "its result", (int) (bytes[i] > 100 ? 100 : bytes[i]), part[i]);
	}
	/* Of a pair that is listed twice the library keeps the later rank. */
	*merge_slot(bpe, ids[0], ids[1]) = (struct bpe_merge){ids[0], ids[1], rank, ids[2]};
	return 0;
}

static int load_merges(
	const struct tokenizer_source *source, const json_t *json, const struct vocab *vocab, struct bpe *bpe)
{
	const json_t *merges = json_object_get(json, "merges");
	if (!json_is_array(merges))
		return source_error(source, PART, "\"merges\" must be an array");
	size_t count = json_array_size(merges);
	if (count > UINT32_MAX / 4)
		return source_error(source, PART, "too many merges");
	bpe->table_size = 64;
	while (bpe->table_size < 2 * count)
		bpe->table_size *= 2;
	bpe->merges = malloc(bpe->table_size * sizeof *bpe->merges);
	if (!bpe->merges)
		return error_memory(source->error, "reading merges");
	for (size_t i = 0; i < bpe->table_size; i++)
		bpe->merges[i].left = -1;
	struct text_buffer joined = {0};
	uint32_t rank = 0;
	int rc = 0;
	for (size_t i = 0; i < count && !rc; i++) {
		const json_t *merge = json_array_get(merges, i);
		/* The first line of a merges.txt, which some files carry over. */
		if (json_is_string(merge) && !strncmp(json_string_value(merge), "#version", 8))
			continue;
		rc = add_merge(source, vocab, merge, i, rank++, &joined, bpe);
	}
	text_free(&joined);
	return rc;
}

static int load_options(
	const struct tokenizer_source *source, const json_t *json, const struct vocab *vocab, struct bpe *bpe)
{
	static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
	const json_t *dropout = json_object_get(json, "dropout"), *unknown = json_object_get(json, "unk_token");
	int rc;
	if (dropout && !json_is_null(dropout) && !(json_is_number(dropout) && json_number_value(dropout) == 0))
		return source_error(source, PART, "\"dropout\" is not supported: encoding would be random; remove it");
	for (size_t i = 0; i < 2; i++) {
		const json_t *affix = json_object_get(json, affixes[i]);
		if (affix && !json_is_null(affix) && !(json_is_string(affix) && !json_string_length(affix)))
			return source_error(source, PART, "\"%s\" is not supported unless null", affixes[i]);
	}
	if ((rc = source_flag(source, PART, json, "byte_fallback", 0, &bpe->byte_fallback)) ||
		(rc = source_flag(source, PART, json, "fuse_unk", 0, &bpe->fuse_unknown)) ||
		(rc = source_flag(source, PART, json, "ignore_merges", 0, &bpe->ignore_merges)))
		return rc;
	bpe->unknown = UNKNOWN_NONE;
	if (unknown && !json_is_null(unknown)) {
		if (!json_is_string(unknown))
			return source_error(source, PART, "\"unk_token\" must be a string or null");
		bpe->unknown = vocab_model_id(vocab, json_string_value(unknown), json_string_length(unknown));
		if (bpe->unknown < 0)
			bpe->unknown = UNKNOWN_ABSENT;
	}
	return 0;
}

int bpe_load(const struct tokenizer_source *source, const json_t *json, const struct vocab *vocab, struct bpe **out)
{
	char text[8];
	struct bpe *bpe = calloc(1, sizeof *bpe);
	if (!bpe)
		return error_memory(source->error, "reading a tokenizer");
	int rc = load_options(source, json, vocab, bpe);
	if (!rc)
		rc = load_merges(source, json, vocab, bpe);
	if (rc) {
		bpe_destroy(bpe);
		return rc;
	}
	for (uint32_t code = 0; code < SINGLE; code++)
		bpe->single[code] = vocab_model_id(vocab, text, utf8_write(text, code));
	for (unsigned byte = 0; byte < 256; byte++)
		bpe->bytes[byte] = vocab_model_id(vocab, text, (size_t) snprintf(text, sizeof text, "<0x%02X>", byte));
	*out = bpe;
	return 0;
}

void bpe_destroy(struct bpe *bpe)
{
	if (!bpe)
		return;
	free(bpe->merges);
	free(bpe);
}

/* Byte tokens for one character; 0 when the vocabulary lacks one of them. */
static int add_bytes(const struct bpe *bpe, const char *text, size_t length, struct bpe_symbol *symbols, size_t *count)
{
	for (size_t i = 0; i < length; i++)
		if (bpe->bytes[(unsigned char) text[i]] < 0)
			return 0;
	for (size_t i = 0; i < length; i++)
		symbols[(*count)++].id = bpe->bytes[(unsigned char) text[i]];
	return 1;
}

/* The ids of the piece's characters before any merge. At most one symbol a byte. */
static int begin_symbols(const struct bpe *bpe, const struct vocab *vocab, const char *text, size_t size,
	struct bpe_symbol *symbols, size_t *count, struct error *error)
{
	size_t n = 0, length;
	int pending = 0; /* an unknown symbol that is not yet in the list */
	for (size_t i = 0; i < size; i += length) {
		uint32_t code = utf8_code(text + i, &length);
		int32_t id = code < SINGLE ? bpe->single[code] : vocab_model_id(vocab, text + i, length);
		if (id >= 0) {
			if (pending)
				symbols[n++].id = bpe->unknown;
			pending = 0;
			symbols[n++].id = id;
			continue;
		}
		/* As in the library, byte tokens go before an unknown symbol that is pending. */
		if (bpe->byte_fallback && add_bytes(bpe, text + i, length, symbols, &n))
			continue;
		if (bpe->unknown == UNKNOWN_NONE)
			continue;
		if (bpe->unknown == UNKNOWN_ABSENT)
			return error_set(error, ERROR_INPUT, NULL,
				"U+%04X is not in the tokenizer's vocabulary, and neither is its token for unknown "
				"characters",
				(unsigned) code);
		if (pending && !bpe->fuse_unknown)
			symbols[n++].id = bpe->unknown;
		pending = 1;
	}
	if (pending)
		symbols[n++].id = bpe->unknown;
	*count = n;
	return 0;
}

static int before(const struct bpe_candidate *a, const struct bpe_candidate *b)
{
	return a->rank != b->rank ? a->rank < b->rank : a->position < b->position;
}

static void heap_sink(struct bpe_candidate *heap, size_t count, size_t at)
{
	struct bpe_candidate moving = heap[at];
	for (size_t child; (child = 2 * at + 1) < count; at = child) {
		if (child + 1 < count && before(&heap[child + 1], &heap[child]))
			child++;
		if (!before(&heap[child], &moving))
			break;
		heap[at] = heap[child];
	}
	heap[at] = moving;
}

static void heap_push(struct bpe_candidate *heap, size_t *count, struct bpe_candidate candidate)
{
	size_t at = (*count)++;
	while (at && before(&candidate, &heap[(at - 1) / 2])) {
		heap[at] = heap[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	heap[at] = candidate;
}

static void push_pair(const struct bpe *bpe, const struct bpe_symbol *symbols, uint32_t left, uint32_t right,
	struct bpe_candidate *heap, size_t *count)
{
	const struct bpe_merge *merge = merge_slot(bpe, symbols[left].id, symbols[right].id);
	if (merge->left >= 0)
		heap_push(heap, count, (struct bpe_candidate){merge->rank, left, merge->result});
}

/* Merges until nothing can be. The heap never holds more than 3 × count entries: one a pair at first, and at
 * most two more for each of the count - 1 merges. */
static void merge_symbols(const struct bpe *bpe, struct bpe_symbol *symbols, size_t count, struct bpe_candidate *heap)
{
	size_t waiting = 0;
	for (size_t i = 0; i < count; i++) {
		symbols[i].previous = i ? (uint32_t) i - 1 : NOWHERE;
		symbols[i].next = i + 1 < count ? (uint32_t) i + 1 : NOWHERE;
	}
	for (size_t i = 0; i + 1 < count; i++) {
		const struct bpe_merge *merge = merge_slot(bpe, symbols[i].id, symbols[i + 1].id);
		if (merge->left >= 0)
			heap[waiting++] = (struct bpe_candidate){merge->rank, (uint32_t) i, merge->result};
	}
	for (size_t i = waiting / 2; i-- > 0;)
		heap_sink(heap, waiting, i);
	while (waiting) {
		struct bpe_candidate top = heap[0];
		heap[0] = heap[--waiting];
		if (waiting)
			heap_sink(heap, waiting, 0);
		struct bpe_symbol *left = &symbols[top.position];
		if (left->id < 0 || left->next == NOWHERE)
			continue;
		struct bpe_symbol *right = &symbols[left->next];
		const struct bpe_merge *merge = merge_slot(bpe, left->id, right->id);
		if (merge->left < 0 || merge->result != top.result)
			continue;
		left->id = top.result;
		left->next = right->next;
		right->id = -1;
		if (left->next != NOWHERE)
			symbols[left->next].previous = top.position;
		if (left->previous != NOWHERE)
			push_pair(bpe, symbols, left->previous, top.position, heap, &waiting);
		if (left->next != NOWHERE)
			push_pair(bpe, symbols, top.position, left->next, heap, &waiting);
	}
}

int bpe_encode(const struct bpe *bpe, const struct vocab *vocab, const char *text, size_t size, struct work *work,
	struct error *error)
{
	if (bpe->ignore_merges) {
		int32_t id = vocab_model_id(vocab, text, size);
		if (id >= 0) {
			id_add(&work->ids, id);
			return 0;
		}
	}
	if (size > UINT32_MAX / 4)
		return error_set(error, ERROR_INPUT, NULL, "a piece of %zu bytes is too long to be encoded", size);
	struct bpe_symbol *symbols = text_grow(work->symbols, &work->symbols_capacity, size, sizeof *symbols);
	if (!symbols)
		return error_memory(error, "encoding a text");
	work->symbols = symbols;
	size_t count = 0;
	int rc = begin_symbols(bpe, vocab, text, size, symbols, &count, error);
	if (rc)
		return rc;
	struct bpe_candidate *heap = text_grow(work->heap, &work->heap_capacity, 3 * count, sizeof *heap);
	if (!heap)
		return error_memory(error, "encoding a text");
	work->heap = heap;
	merge_symbols(bpe, symbols, count, heap);
	for (size_t i = 0; i < count; i++)
		if (symbols[i].id >= 0)
			id_add(&work->ids, symbols[i].id);
	return 0;
}
