/* SPDX-License-Identifier: Apache-2.0
 *
 * The parts of a tokenizer, and the scratch memory of one encoding that they pass along.
 *
 * While a text is encoded it is one buffer and a list of pieces, [start, start + length) of that buffer in order.
 * Added tokens, then each pre-tokenizer, replace the list by a finer one; those that change characters write
 * a second buffer and the two swap. The model turns each piece into ids. */
#ifndef OCTANT_TOKENIZER_INTERNAL_H
#define OCTANT_TOKENIZER_INTERNAL_H

#include "runtime/error.h"
#include "runtime/tokenizer_text.h"
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

enum {
	TOKENIZER_LARGEST_ID = (1 << 24) - 1, /* bounds the table by id; the largest vocabularies have 2^18 */
	TOKENIZER_LARGEST_TEXT = 1 << 28,     /* bytes */
	TOKENIZER_DEEPEST = 16,               /* Sequence in Sequence */
};

/* Where a part is being read from: each loader words its own errors. */
struct tokenizer_source {
	const char *path;
	struct error *error;
};

/* ---- scratch memory (tokenizer_encode.c) ---- */

struct piece {
	size_t start, length; /* bytes of the work's text */
	/* Metaspace's prepend_scheme "first" asks whether a piece begins where the whole input begins. Normalizers
	 * may have put characters there, so this counts the leading bytes of the piece that stem from the
	 * input's first character (for pieces further on: 0). */
	size_t origin;
	int32_t token; /* the id of the added token that was found here, or -1 */
};

struct piece_list {
	struct piece *items;
	size_t count, capacity;
	int failed; /* as in text_buffer */
};

void piece_add(struct piece_list *list, size_t start, size_t length, size_t origin, int32_t token);

struct match {
	size_t start, end; /* bytes, relative to the piece */
	int is_match;
};

/* The whole of a piece in order, as matches and what lies between them. */
struct match_list {
	struct match *items;
	size_t count, capacity;
	int failed;
};

void match_add(struct match_list *list, size_t start, size_t end, int is_match);

struct id_list {
	int32_t *items;
	size_t count, capacity;
	int failed;
};

void id_add(struct id_list *list, int32_t id);

struct bpe_symbol;
struct bpe_candidate;
struct regex_work;

struct work {
	struct text_buffer text, next_text;
	struct piece_list pieces, next_pieces;
	struct match_list matches;
	struct text_buffer normal, normal_next; /* one chunk between two added tokens, while it is normalized */
	struct id_list ids;
	struct bpe_symbol *symbols;
	size_t symbols_capacity;
	struct bpe_candidate *heap;
	size_t heap_capacity;
	struct regex_work *regex;
};

void work_free(struct work *work);

/* ---- regular expressions (tokenizer_regex.c) ---- */

/* Oniguruma's syntax to PCRE2's (tokenizer_pattern.c); the caller frees *out. */
int pattern_rewrite(const struct tokenizer_source *source, const char *part, const char *pattern, size_t size,
	struct text_buffer *out);

struct regex;

/* Compiles a pattern written for Oniguruma; `literal` takes it as plain text. NULL and error on failure. */
struct regex *regex_create(
	const struct tokenizer_source *source, const char *part, const char *pattern, size_t size, int literal);
void regex_destroy(struct regex *regex);
/* Fills `matches` with the matches in text: [size] and what lies between, in order and without gaps. */
int regex_find(const struct regex *regex, const char *text, size_t size, struct match_list *matches,
	struct regex_work **work, struct error *error);
void regex_work_free(struct regex_work *work);

/* ---- normalizers (tokenizer_normalize.c) ---- */

struct normalizer;

int normalizer_load(const struct tokenizer_source *source, const json_t *json, struct normalizer **out);
void normalizer_destroy(struct normalizer *normalizer);
/* Normalizes work->normal in place. *origin: as in struct piece. `normalizer` may be NULL. */
int normalizer_apply(const struct normalizer *normalizer, struct work *work, size_t *origin, struct error *error);

/* ---- pre-tokenizers (tokenizer_split.c) ---- */

struct splitter;

int splitter_load(const struct tokenizer_source *source, const json_t *json, struct splitter **out);
void splitter_destroy(struct splitter *splitter);
int splitter_apply(const struct splitter *splitter, struct work *work, struct error *error);

/* ---- vocabulary and model (tokenizer_model.c) ---- */

struct vocab_token {
	size_t text; /* in the arena; followed by a zero byte */
	uint32_t bytes;
	int32_t id;
};

/* Tokens by text (open addressing, linear probing, at most half full) and by id. The first model_count are the
 * model's; the rest only exist as added tokens, which the model must not find. */
struct vocab {
	struct text_buffer arena;
	struct vocab_token *tokens;
	size_t count, capacity, model_count;
	uint32_t *table; /* index + 1, or 0: [table_size] */
	size_t table_size;
	uint32_t *by_id; /* index + 1, or 0: [id_count] */
	size_t id_count; /* highest id + 1 */
	size_t id_capacity;
};

/* Adds a token whose text and id are both new; 0 when memory is short. */
int vocab_add(struct vocab *vocab, const char *text, size_t bytes, int32_t id);
const struct vocab_token *vocab_find(const struct vocab *vocab, const char *text, size_t bytes);
const struct vocab_token *vocab_by_id(const struct vocab *vocab, int32_t id);
/* The id of a token of the model, or -1. */
int32_t vocab_model_id(const struct vocab *vocab, const char *text, size_t bytes);
const char *vocab_text(const struct vocab *vocab, const struct vocab_token *token);
void vocab_free(struct vocab *vocab);

struct model;

/* Fills `vocab`. */
int model_load(const struct tokenizer_source *source, const json_t *json, struct vocab *vocab, struct model **out);
void model_destroy(struct model *model);
/* Appends the ids of one piece to work->ids. */
int model_encode(const struct model *model, const struct vocab *vocab, const char *text, size_t size, struct work *work,
	struct error *error);

/* The BPE kind of model (tokenizer_bpe.c). */
struct bpe;

int bpe_load(const struct tokenizer_source *source, const json_t *json, const struct vocab *vocab, struct bpe **out);
void bpe_destroy(struct bpe *bpe);
int bpe_encode(const struct bpe *bpe, const struct vocab *vocab, const char *text, size_t size, struct work *work,
	struct error *error);

/* ---- added tokens (tokenizer_added.c) ---- */

struct added;

/* Adds new tokens to `vocab`; the normalizer (or NULL) is applied to those that are matched in normalized text. */
int added_load(const struct tokenizer_source *source, const json_t *json, struct vocab *vocab,
	const struct normalizer *normalizer, struct added **out);
void added_destroy(struct added *added);
/* Cuts work->text, one piece, by the tokens as written; normalizes what is between; cuts that by the others. */
int added_split(const struct added *added, const struct normalizer *normalizer, struct work *work, struct error *error);
/* The text that decoders get for an id: [*bytes], or NULL when there is none or when it is special and skipped. */
const char *added_text(
	const struct added *added, const struct vocab *vocab, int32_t id, int skip_special, size_t *bytes);

/* ---- post-processors (tokenizer_finish.c) ---- */

/* The ids around the text's own, in order; -1 stands for the text. */
struct finisher {
	struct id_list ids;
};

int finisher_load(
	const struct tokenizer_source *source, const json_t *json, const struct vocab *vocab, struct finisher *out);

/* ---- decoders (tokenizer_decoders.c; tokenizer_decode.c runs them) ---- */

struct decoder;

int decoder_load(const struct tokenizer_source *source, const json_t *json, struct decoder **out);
void decoder_destroy(struct decoder *decoder);

struct tokenizer {
	struct vocab vocab;
	struct model *model;
	struct normalizer *normalizer; /* or NULL */
	struct splitter *splitter;     /* or NULL */
	struct added *added;
	struct finisher finisher;
	struct decoder *decoder;
};

/* ---- reading JSON (tokenizer_load.c) ---- */

/* "PATH: PART: …" with ERROR_INPUT. */
int source_error(const struct tokenizer_source *source, const char *part, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* The `type` of an object, or NULL and an error that names `part`. */
const char *source_type(const struct tokenizer_source *source, const char *part, const json_t *json);
/* A kind that is not among the supported ones. */
int source_unsupported(
	const struct tokenizer_source *source, const char *part, const char *type, const char *supported);
/* A boolean member; `fallback` when it is missing or null, or an error if that is -1. */
int source_flag(const struct tokenizer_source *source, const char *part, const json_t *json, const char *key,
	int fallback, int *out);
/* A string member that must be there. */
int source_string(const struct tokenizer_source *source, const char *part, const json_t *json, const char *key,
	const char **text, size_t *bytes);
/* A string member of one character. */
int source_character(
	const struct tokenizer_source *source, const char *part, const json_t *json, const char *key, uint32_t *out);
/* A whole number of at least 0 and at most `largest`. */
int source_count(const struct tokenizer_source *source, const char *part, const json_t *json, const char *key,
	size_t largest, size_t *out);
/* {"String": …} or {"Regex": …} under "pattern", compiled. */
int source_pattern(const struct tokenizer_source *source, const char *part, const json_t *json, struct regex **out,
	const char **literal, size_t *literal_bytes);

#endif
