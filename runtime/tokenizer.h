/* SPDX-License-Identifier: Apache-2.0
 *
 * Text to token ids and back, by a Hugging Face tokenizer.json, as the `tokenizers` library does it.
 *
 *   text ─ added tokens ─ normalizer ─ added tokens ─ pre-tokenizer ─ model ─ post-processor ─▶ ids
 *          (as written)                (normalized)    (pieces)        (BPE)   (<s>, </s> …)
 *   ids ─ tokens' texts, special ones skipped ─ decoders ─▶ text
 *
 * Supported, by the names of the file's own `type` fields:
 *   model           BPE (byte_fallback, unk_token, fuse_unk, ignore_merges), WordLevel
 *   normalizer      NFC NFD NFKC NFKD Lowercase Strip Prepend Replace Sequence
 *   pre_tokenizer   ByteLevel Metaspace Split Digits Punctuation Whitespace WhitespaceSplit Sequence
 *   post_processor  TemplateProcessing (single) ByteLevel RobertaProcessing BertProcessing Sequence
 *   decoder         ByteLevel Metaspace ByteFallback Fuse Replace Strip Sequence
 * Any other kind, truncation, padding that would change a single text's ids, dropout and subword prefixes
 * or suffixes are refused by name when the file is loaded: nothing is encoded differently from the library.
 *
 * The same holds for what a regular expression may contain: see runtime/tokenizer_pattern.c.
 *
 * Unicode tables have different ages in the library's parts and in PCRE2 and utf8proc here. Code points that are
 * new since the older one (for NFKC and NFKD of the library that is Unicode 9, U+32FF for instance), or that have
 * changed their category since, may be normalized or split differently.
 *
 * A tokenizer does not change after tokenizer_load: any number of threads may encode and decode with it.
 * A stream belongs to one thread at a time. */
#ifndef OCTANT_TOKENIZER_H
#define OCTANT_TOKENIZER_H

#include "runtime/error.h"
#include <stddef.h>
#include <stdint.h>

struct tokenizer;
struct tokenizer_stream;

/* Reads a tokenizer.json. Errors: ERROR_INPUT with the path (and the line where JSON is broken) when the file is
 * unreadable, malformed, contradictory or of an unsupported kind; ERROR_MEMORY. The caller destroys *out. */
int tokenizer_load(const char *path, struct tokenizer **out, struct error *error);

/* Accepts NULL. Streams of this tokenizer must be destroyed before. */
void tokenizer_destroy(struct tokenizer *tokenizer);

/* The highest id + 1, added tokens included. There may be ids below it that no token has. */
size_t tokenizer_vocab_size(const struct tokenizer *tokenizer);

/* The id of a token by its text as the file writes it ("</s>", "Ġthe"), or -1. */
int32_t tokenizer_token_id(const struct tokenizer *tokenizer, const char *token);

/* A token's text as the file writes it and its length in bytes, or NULL when no token has this id.
 * It belongs to the tokenizer and is followed by a zero byte. */
const char *tokenizer_token_text(const struct tokenizer *tokenizer, int32_t id, size_t *bytes);

/* Encodes `bytes` bytes of UTF-8; zero bytes are text like any other. Special tokens written in the text are
 * recognised; add_special also adds those of the post-processor.
 * *ids: [*count] int32_t, the caller frees it with free(); never NULL on success.
 * Errors: ERROR_INPUT for invalid UTF-8 (names the byte offset) or text beyond 256 MiB; ERROR_MEMORY. */
int tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t bytes, int add_special, int32_t **ids,
	size_t *count, struct error *error);

/* Decodes ids: [count]. As in the library, ids that no token has are left out, byte sequences that are not UTF-8
 * become U+FFFD, and skip_special leaves special tokens out.
 * *text: *bytes bytes and a zero byte; the caller frees it with free().
 * Errors: ERROR_INPUT for a negative id; ERROR_MEMORY. */
int tokenizer_decode(const struct tokenizer *tokenizer, const int32_t *ids, size_t count, int skip_special, char **text,
	size_t *bytes, struct error *error);

/* Decoding one id at a time. The concatenation of everything that feed and finish yield is what tokenizer_decode
 * yields for all ids; text that a later id could still change (an incomplete character, a run of byte tokens, a
 * space that may be stripped) is held back. Amortised O(1) an id, except that a decoder with a regular expression
 * after Fuse holds everything back until finish. */
int tokenizer_stream_create(
	const struct tokenizer *tokenizer, int skip_special, struct tokenizer_stream **out, struct error *error);

/* *text: *bytes bytes (often 0) and a zero byte, which belong to the stream and last until its next call. */
int tokenizer_stream_feed(
	struct tokenizer_stream *stream, int32_t id, const char **text, size_t *bytes, struct error *error);

/* The rest, once after the last id. Then the stream is as new and may be fed again. */
int tokenizer_stream_finish(struct tokenizer_stream *stream, const char **text, size_t *bytes, struct error *error);

/* Accepts NULL. */
void tokenizer_stream_destroy(struct tokenizer_stream *stream);

#endif
