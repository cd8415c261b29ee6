/* SPDX-License-Identifier: Apache-2.0
 *
 * Added tokens: texts that become one id wherever they stand, before the model sees anything. Those that are not
 * `normalized` are looked for in the text as given, the others in what the normalizer makes of the rest. */
#include "runtime/tokenizer_internal.h"
#include <stdlib.h>
#include <string.h>

#define PART "added_tokens"

struct added_token {
	int32_t id;
	int single_word; /* not inside a word */
	int left, right; /* takes the white space on that side along */
	int normalized, special;
	struct text_buffer normal; /* the normalized text where it differs from the content */
};

/* A trie: children are a linked list, the root's a table. */
struct trie_node {
	uint32_t child, sibling; /* index, or 0 */
	uint32_t token;          /* index + 1 in added->tokens, or 0 */
	unsigned char byte;
};

struct trie {
	struct trie_node *nodes; /* [count]; 0 is not used */
	size_t count, capacity;
	uint32_t root[256];
};

struct added {
	struct added_token *tokens;
	size_t count;
	uint32_t *of_token;     /* [of_count]: index + 1 in tokens of a vocabulary index, or 0 */
	size_t of_count;        /* the vocabulary's tokens */
	unsigned char *special; /* [of_count]: by vocabulary index */
	struct trie written, normal;
	struct regex *word; /* one character that single_word minds */
};

static void trie_free(struct trie *trie)
{
	free(trie->nodes);
}

/* 0 when memory is short, -1 when the text is there already. */
static int trie_add(struct trie *trie, const char *text, size_t bytes, uint32_t token)
{
	uint32_t *link = &trie->root[(unsigned char) text[0]];
	for (size_t i = 0; i < bytes; i++) {
		unsigned char byte = (unsigned char) text[i];
		while (*link && trie->nodes[*link].byte != byte)
			link = &trie->nodes[*link].sibling;
		if (!*link) {
			/* `link` may lie in the array that moves */
			size_t at = link >= trie->root && link < trie->root + 256
					    ? SIZE_MAX
					    : (size_t) ((char *) link - (char *) trie->nodes);
			size_t count = trie->count ? trie->count : 1;
			struct trie_node *nodes = text_grow(trie->nodes, &trie->capacity, count + 1, sizeof *nodes);
			if (!nodes || count >= UINT32_MAX)
				return 0;
			trie->nodes = nodes;
			if (at != SIZE_MAX)
				link = (uint32_t *) ((char *) nodes + at);
			nodes[count] = (struct trie_node){.byte = byte};
			*link = (uint32_t) count;
			trie->count = count + 1;
		}
		if (i + 1 == bytes) {
			if (trie->nodes[*link].token)
				return -1;
			trie->nodes[*link].token = token;
		}
		link = &trie->nodes[*link].child;
	}
	return 1;
}

/* The longest token at the start of a text: its index + 1 and its length, or 0. */
static uint32_t trie_find(const struct trie *trie, const char *text, size_t bytes, size_t *length)
{
	uint32_t found = 0, node = trie->root[(unsigned char) text[0]];
	for (size_t i = 0; node;) {
		if (trie->nodes[node].token) {
			found = trie->nodes[node].token;
			*length = i + 1;
		}
		if (++i == bytes)
			break;
		node = trie->nodes[node].child;
		while (node && trie->nodes[node].byte != (unsigned char) text[i])
			node = trie->nodes[node].sibling;
	}
	return found;
}

void added_destroy(struct added *added)
{
	if (!added)
		return;
	for (size_t i = 0; i < added->count; i++)
		text_free(&added->tokens[i].normal);
	free(added->tokens);
	free(added->of_token);
	free(added->special);
	trie_free(&added->written);
	trie_free(&added->normal);
	regex_destroy(added->word);
	free(added);
}

/* Fixes the id of one entry, which the library derives from its content: that of the model's token, or else the
 * next free one. An entry that declares another id would mean one thing here and another there. */
static int place_token(const struct tokenizer_source *source, const char *content, size_t bytes, size_t declared,
	size_t *next_id, struct vocab *vocab)
{
	const struct vocab_token *known = vocab_find(vocab, content, bytes);
	size_t expected = known ? (size_t) known->id : *next_id;
	if (declared != expected)
		return source_error(source, PART, "\"%.100s\" is declared with id %zu, but %s id %zu", content,
			declared, known ? "the vocabulary gives it" : "the next free one after the vocabulary is",
			expected);
	if (known)
		return 0;
	const struct vocab_token *other = vocab_by_id(vocab, (int32_t) declared);
	if (other)
		return source_error(source, PART, "\"%.100s\" and \"%.100s\" have the same id %zu", content,
			vocab_text(vocab, other), declared);
	if (declared > TOKENIZER_LARGEST_ID)
		return source_error(source, PART, "the id of \"%.100s\" is beyond %d", content, TOKENIZER_LARGEST_ID);
	if (!vocab_add(vocab, content, bytes, (int32_t) declared))
		return error_memory(source->error, "reading added tokens");
	(*next_id)++;
	return 0;
}

static int normalize_token(const struct tokenizer_source *source, const char *content, size_t bytes,
	const struct normalizer *normalizer, struct work *work, struct added_token *token)
{
	size_t origin = 0;
	work->normal.size = 0;
	text_append(&work->normal, content, bytes);
	if (work->normal.failed)
		return error_memory(source->error, "reading added tokens");
	int rc = normalizer_apply(normalizer, work, &origin, source->error);
	if (rc)
		return rc;
	if (work->normal.size == bytes && !memcmp(work->normal.data, content, bytes))
		return 0;
	if (!work->normal.size)
		return source_error(source, PART, "\"%.100s\" is empty after normalization", content);
	text_append(&token->normal, work->normal.data, work->normal.size);
	return token->normal.failed ? error_memory(source->error, "reading added tokens") : 0;
}

static int load_token(const struct tokenizer_source *source, const json_t *json, struct vocab *vocab,
	const struct normalizer *normalizer, size_t *next_id, struct work *work, struct added *added)
{
	const char *content;
	size_t bytes, id;
	struct added_token token = {0};
	int rc;
	if ((rc = source_string(source, PART, json, "content", &content, &bytes)) ||
		(rc = source_count(source, PART, json, "id", UINT32_MAX, &id)) ||
		(rc = source_flag(source, PART, json, "single_word", -1, &token.single_word)) ||
		(rc = source_flag(source, PART, json, "lstrip", -1, &token.left)) ||
		(rc = source_flag(source, PART, json, "rstrip", -1, &token.right)) ||
		(rc = source_flag(source, PART, json, "normalized", -1, &token.normalized)) ||
		(rc = source_flag(source, PART, json, "special", -1, &token.special)))
		return rc;
	if (!bytes) /* the library passes over it */
		return 0;
	if ((rc = place_token(source, content, bytes, id, next_id, vocab)))
		return rc;
	token.id = (int32_t) id;
	for (size_t i = 0; i < added->count; i++)
		if (added->tokens[i].id == token.id)
			return source_error(source, PART, "\"%.100s\" (id %zu) is listed twice", content, id);
	struct added_token *slot = &added->tokens[added->count++];
	*slot = token;
	if (token.normalized && normalizer && (rc = normalize_token(source, content, bytes, normalizer, work, slot)))
		return rc;
	if (slot->normal.size) {
		content = slot->normal.data;
		bytes = slot->normal.size;
	}
	rc = trie_add(token.normalized ? &added->normal : &added->written, content, bytes, (uint32_t) added->count);
	if (!rc)
		return error_memory(source->error, "reading added tokens");
	if (rc < 0)
		return source_error(source, PART, "\"%.*s\" (id %zu) is another token's text after normalization",
			(int) (bytes > 100 ? 100 : bytes), content, id);
	return 0;
}

static int index_tokens(const struct tokenizer_source *source, const struct vocab *vocab, struct added *added)
{
	added->of_count = vocab->count;
	added->of_token = calloc(vocab->count + 1, sizeof *added->of_token);
	added->special = calloc(vocab->count + 1, 1);
	if (!added->of_token || !added->special)
		return error_memory(source->error, "reading added tokens");
	for (size_t i = 0; i < added->count; i++) {
		size_t index = (size_t) (vocab_by_id(vocab, added->tokens[i].id) - vocab->tokens);
		added->of_token[index] = (uint32_t) i + 1;
		added->special[index] = added->tokens[i].special != 0;
	}
	return 0;
}

int added_load(const struct tokenizer_source *source, const json_t *json, struct vocab *vocab,
	const struct normalizer *normalizer, struct added **out)
{
	static const char word[] = "[\\w\\p{Join_Control}]";
	struct work work = {0};
	size_t count = json_array_size(json), next_id = vocab->model_count;
	if (json && !json_is_null(json) && !json_is_array(json))
		return source_error(source, PART, "must be an array");
	struct added *added = calloc(1, sizeof *added);
	if (!added)
		return error_memory(source->error, "reading added tokens");
	int rc = 0;
	added->tokens = calloc(count + 1, sizeof *added->tokens);
	if (!added->tokens)
		rc = error_memory(source->error, "reading added tokens");
	for (size_t i = 0; i < count && !rc; i++)
		rc = load_token(source, json_array_get(json, i), vocab, normalizer, &next_id, &work, added);
	if (!rc)
		rc = index_tokens(source, vocab, added);
	if (!rc && !(added->word = regex_create(source, PART, word, sizeof word - 1, 0)))
		rc = source->error->code;
	work_free(&work);
	if (rc)
		added_destroy(added);
	else
		*out = added;
	return rc;
}

const char *added_text(
	const struct added *added, const struct vocab *vocab, int32_t id, int skip_special, size_t *bytes)
{
	const struct vocab_token *token = vocab_by_id(vocab, id);
	if (!token)
		return NULL;
	size_t index = (size_t) (token - vocab->tokens);
	const char *text = vocab_text(vocab, token);
	*bytes = token->bytes;
	if (added->of_token[index] && added->tokens[added->of_token[index] - 1].normal.size) {
		/* The library hands decoders the normalized text, and asks of that whether it is special. */
		const struct text_buffer *normal = &added->tokens[added->of_token[index] - 1].normal;
		text = normal->data;
		*bytes = normal->size;
		token = vocab_find(vocab, text, *bytes);
		index = token ? (size_t) (token - vocab->tokens) : SIZE_MAX;
	}
	return skip_special && index != SIZE_MAX && added->special[index] ? NULL : text;
}

/* Whether the character before or at a place belongs to a word. */
static int is_word(
	const struct added *added, const char *text, size_t length, struct work *work, int *out, struct error *error)
{
	int rc = regex_find(added->word, text, length, &work->matches, &work->regex, error);
	if (!rc)
		*out = work->matches.count == 1 && work->matches.items[0].is_match;
	return rc;
}

static size_t previous_character(const char *text, size_t at)
{
	do {
		at--;
	} while (at && ((unsigned char) text[at] & 0xc0) == 0x80);
	return at;
}

/* Sets *single to whether [start, end) touches no word. */
static int stands_alone(const struct added *added, const char *text, size_t size, size_t start, size_t end,
	struct work *work, int *single, struct error *error)
{
	int before = 0, after = 0, rc = 0;
	size_t length;
	if (start) {
		size_t previous = previous_character(text, start);
		rc = is_word(added, text + previous, start - previous, work, &before, error);
	}
	if (!rc && end < size) {
		utf8_code(text + end, &length);
		rc = is_word(added, text + end, length, work, &after, error);
	}
	*single = !before && !after;
	return rc;
}

/* Cuts the chunk [start, start + size) of `buffer` into next_pieces: tokens, and what lies between. As in the
 * library, white space that a token took along on its right is still searched for tokens. */
static int cut_chunk(const struct added *added, const struct trie *trie, const char *buffer, struct piece chunk,
	struct work *work, struct error *error)
{
	const char *text = buffer + chunk.start;
	size_t size = chunk.length, done = 0, at = 0, length = 0, c;
	while (at < size) {
		uint32_t index = trie->count ? trie_find(trie, text + at, size - at, &length) : 0;
		if (!index) {
			at = trie->count ? at + 1 : size;
			continue;
		}
		const struct added_token *token = &added->tokens[index - 1];
		size_t start = at, end = at + length;
		at = end;
		if (token->single_word) {
			int single, rc = stands_alone(added, text, size, start, end, work, &single, error);
			if (rc)
				return rc;
			if (!single)
				continue;
		}
		if (token->left) {
			while (start) {
				size_t previous = previous_character(text, start);
				if (!code_is_space(utf8_code(text + previous, &c)))
					break;
				start = previous;
			}
			if (start < done)
				start = done;
		}
		while (token->right && end < size && code_is_space(utf8_code(text + end, &c)))
			end += c;
		if (done < start)
			piece_add(&work->next_pieces, chunk.start + done, start - done,
				chunk.origin > done ? chunk.origin - done : 0, -1);
		/* A token whose text an earlier one took along with its white space is none. */
		if (start < end)
			piece_add(&work->next_pieces, 0, 0, 0, token->id);
		if (start <= end)
			done = end;
	}
	if (done < size)
		piece_add(&work->next_pieces, chunk.start + done, size - done,
			chunk.origin > done ? chunk.origin - done : 0, -1);
	return work->next_pieces.failed ? error_memory(error, "splitting a text") : 0;
}

static void take_next_pieces(struct work *work)
{
	struct piece_list pieces = work->pieces;
	work->pieces = work->next_pieces;
	work->next_pieces = pieces;
	work->next_pieces.count = 0;
}

int added_split(const struct added *added, const struct normalizer *normalizer, struct work *work, struct error *error)
{
	int rc = 0;
	work->next_pieces.count = 0;
	for (size_t i = 0; i < work->pieces.count && !rc; i++)
		rc = cut_chunk(added, &added->written, work->text.data, work->pieces.items[i], work, error);
	if (rc)
		return rc;
	take_next_pieces(work);
	work->next_text.size = 0;
	for (size_t i = 0; i < work->pieces.count && !rc; i++) {
		struct piece piece = work->pieces.items[i];
		if (piece.token >= 0) {
			piece_add(&work->next_pieces, 0, 0, 0, piece.token);
			continue;
		}
		const char *buffer = work->text.data;
		if (normalizer) {
			work->normal.size = 0;
			text_append(&work->normal, buffer + piece.start, piece.length);
			if (work->normal.failed)
				return error_memory(error, "normalizing a text");
			if ((rc = normalizer_apply(normalizer, work, &piece.origin, error)))
				return rc;
			piece.start = work->next_text.size;
			piece.length = work->normal.size;
			text_append(&work->next_text, work->normal.data, work->normal.size);
			if (work->next_text.failed)
				return error_memory(error, "normalizing a text");
			buffer = work->next_text.data;
		}
		rc = cut_chunk(added, &added->normal, buffer, piece, work, error);
	}
	if (rc || work->next_pieces.failed)
		return rc ? rc : error_memory(error, "splitting a text");
	take_next_pieces(work);
	if (normalizer) {
		struct text_buffer text = work->text;
		work->text = work->next_text;
		work->next_text = text;
	}
	return 0;
}
