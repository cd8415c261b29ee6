/* SPDX-License-Identifier: Apache-2.0
 *
 * Ids to text, one id at a time. The decoders of a tokenizer.json turn a list of token texts into another list, one
 * after the other; here they are stages that hand text on as soon as nothing that follows can change it:
 *
 *   id ─ token text ─▶ stage 0 ─▶ stage 1 ─▶ … ─▶ output       stage_text: more of the current token
 *                                                              stage_end: the current token ends
 *                                                              stage_finish: the list ends
 *
 *   ByteFallback  holds a run of byte tokens, whose bytes count together: all valid UTF-8, or one U+FFFD each
 *   ByteLevel     holds the token until it ends, then a character until its bytes are complete; makes one token
 *   Fuse          makes one token: hands text on and keeps the ends to itself
 *   Metaspace     holds nothing
 *   Strip         holds what may turn out to be the end of the token
 *   Replace       a string: holds what may be the beginning of a match; a regular expression: the token
 *   (no decoder)  puts a space between tokens
 *
 * Every piece of text that is handed on consists of whole characters. Decoding a whole list is a stream, too. */
#include "runtime/tokenizer_decode.h"
#include "runtime/tokenizer.h"
#include <stdlib.h>
#include <string.h>

#define REPLACEMENT "\xef\xbf\xbd"

/* What a stage remembers between two calls. */
struct stage_state {
	struct text_buffer held; /* of the current token, or an incomplete character */
	struct text_buffer run;  /* ByteFallback: bytes; ByteLevel: bytes not yet characters */
	size_t tokens;           /* ended so far */
	size_t begun;            /* Strip: characters of the token seen at its start; Join: tokens begun */
	size_t held_count;       /* Strip: characters held */
	int open;                /* Join: the token has begun; ByteFallback: it is no byte token;
				    Strip: its start is over */
};

struct tokenizer_stream {
	const struct tokenizer *tokenizer;
	int skip_special;
	struct stage_state *states;
	struct match_list matches;
	struct regex_work *regex;
	struct text_buffer output;
	struct error *error; /* of the call that is running */
	int rc;
};

/* ---- stages ---- */

static void stage_text(struct tokenizer_stream *stream, size_t at, const char *text, size_t bytes);
static void stage_end(struct tokenizer_stream *stream, size_t at);

static void join_begin(struct tokenizer_stream *stream, size_t at, struct stage_state *state)
{
	if (state->open)
		return;
	state->open = 1;
	if (state->begun++)
		stage_text(stream, at + 1, " ", 1);
}

static void metaspace_text(struct tokenizer_stream *stream, size_t at, const char *text, size_t bytes)
{
	const struct decoder_stage *stage = &stream->tokenizer->decoder->stages[at];
	int drop = stream->states[at].tokens == 0 && stage->prefix;
	size_t plain = 0, length;
	for (size_t i = 0; i < bytes; i += length) {
		if (utf8_code(text + i, &length) != stage->character)
			continue;
		stage_text(stream, at + 1, text + plain, i - plain);
		if (!drop)
			stage_text(stream, at + 1, " ", 1);
		plain = i + length;
	}
	stage_text(stream, at + 1, text + plain, bytes - plain);
}

static void strip_text(struct tokenizer_stream *stream, size_t at, const char *text, size_t bytes)
{
	const struct decoder_stage *stage = &stream->tokenizer->decoder->stages[at];
	struct stage_state *state = &stream->states[at];
	size_t length;
	for (size_t i = 0; i < bytes; i += length) {
		int same = utf8_code(text + i, &length) == stage->character;
		if (!state->open && same && state->begun < stage->start) {
			state->begun++;
			continue;
		}
		state->open = 1;
		if (same && stage->stop) {
			/* of a longer run of these characters only the last `stop` may be cut */
			if (state->held_count == stage->stop)
				stage_text(stream, at + 1, text + i, length);
			else
				state->held_count++;
			continue;
		}
		char held[4];
		size_t held_length = utf8_write(held, stage->character);
		for (; state->held_count; state->held_count--)
			stage_text(stream, at + 1, held, held_length);
		stage_text(stream, at + 1, text + i, length);
	}
}

/* Hands on what cannot be part of a match any more; at a token's end, everything. */
static void replace_held(struct tokenizer_stream *stream, size_t at, int ended)
{
	const struct decoder_stage *stage = &stream->tokenizer->decoder->stages[at];
	struct text_buffer *held = &stream->states[at].held;
	const char *pattern = stage->pattern.data;
	size_t bytes = stage->pattern.size, done = 0, plain = 0;
	if (!held->size)
		return;
	while (done < held->size) {
		const char *next = memchr(held->data + done, pattern[0], held->size - done);
		if (!next) {
			done = held->size;
			break;
		}
		done = (size_t) (next - held->data);
		size_t left = held->size - done, compared = left < bytes ? left : bytes;
		if (memcmp(next, pattern, compared)) {
			done++;
			continue;
		}
		if (compared < bytes) {
			if (!ended)
				break;
			done++;
			continue;
		}
		stage_text(stream, at + 1, held->data + plain, done - plain);
		stage_text(stream, at + 1, stage->content.data, stage->content.size);
		plain = done += bytes;
	}
	stage_text(stream, at + 1, held->data + plain, done - plain);
	if (done && done < held->size)
		memmove(held->data, held->data + done, held->size - done);
	held->size -= done;
}

static void replace_regex(struct tokenizer_stream *stream, size_t at)
{
	const struct decoder_stage *stage = &stream->tokenizer->decoder->stages[at];
	struct text_buffer *held = &stream->states[at].held;
	if (!held->size)
		return;
	int rc = regex_find(stage->regex, held->data, held->size, &stream->matches, &stream->regex, stream->error);
	if (rc)
		stream->rc = rc;
	for (size_t i = 0; !rc && i < stream->matches.count; i++) {
		/* copied, because a later stage of this kind uses the same list */
		const struct match m = stream->matches.items[i];
		if (m.is_match)
			text_append(&stream->states[at].run, stage->content.data, stage->content.size);
		else
			text_append(&stream->states[at].run, held->data + m.start, m.end - m.start);
	}
	held->size = 0;
	struct text_buffer *run = &stream->states[at].run;
	stage_text(stream, at + 1, run->data, run->size);
	run->size = 0;
}

/* The bytes of a run of byte tokens, as one token, or as one token each. */
static void fallback_run(struct tokenizer_stream *stream, size_t at)
{
	struct text_buffer *run = &stream->states[at].run;
	if (!run->size)
		return;
	if (utf8_invalid(run->data, run->size) == run->size) {
		stage_text(stream, at + 1, run->data, run->size);
		stage_end(stream, at + 1);
	} else {
		for (size_t i = 0; i < run->size; i++) {
			stage_text(stream, at + 1, REPLACEMENT, 3);
			stage_end(stream, at + 1);
		}
	}
	run->size = 0;
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : -1;
}

/* The byte of "<0x41>", or -1. Rust's number parser also takes "<0x+4>". */
static int fallback_byte(const struct text_buffer *token)
{
	const char *t = token->data;
	if (token->size != 6 || memcmp(t, "<0x", 3) || t[5] != '>')
		return -1;
	int high = t[3] == '+' ? 0 : hex_digit(t[3]), low = hex_digit(t[4]);
	return high < 0 || low < 0 ? -1 : high * 16 + low;
}

static void fallback_text(struct tokenizer_stream *stream, size_t at, const char *text, size_t bytes)
{
	struct stage_state *state = &stream->states[at];
	if (!state->open) {
		text_append(&state->held, text, bytes);
		if (state->held.size <= 6)
			return;
		fallback_run(stream, at);
		stage_text(stream, at + 1, state->held.data, state->held.size);
		state->held.size = 0;
		state->open = 1;
		return;
	}
	stage_text(stream, at + 1, text, bytes);
}

static void fallback_end(struct tokenizer_stream *stream, size_t at)
{
	struct stage_state *state = &stream->states[at];
	int byte = state->open ? -1 : fallback_byte(&state->held);
	if (byte >= 0) {
		char c = (char) byte;
		text_append(&state->run, &c, 1);
	} else {
		fallback_run(stream, at);
		stage_text(stream, at + 1, state->held.data, state->held.size);
		stage_end(stream, at + 1);
	}
	state->held.size = 0;
	state->open = 0;
}

/* Hands on the whole characters of the bytes so far; at the end of the list, everything. */
static void byte_level_run(struct tokenizer_stream *stream, size_t at, int ended)
{
	struct text_buffer *run = &stream->states[at].run;
	size_t i = 0, plain = 0;
	while (i < run->size) {
		int length = utf8_sequence(run->data + i, run->size - i);
		if (length > 0) {
			i += (size_t) length;
			continue;
		}
		if (!length && !ended)
			break;
		stage_text(stream, at + 1, run->data + plain, i - plain);
		stage_text(stream, at + 1, REPLACEMENT, 3);
		i = plain = length ? i + (size_t) -length : run->size;
	}
	if (i > plain)
		stage_text(stream, at + 1, run->data + plain, i - plain);
	if (i && i < run->size)
		memmove(run->data, run->data + i, run->size - i);
	run->size -= i;
}

/* One token's bytes: all its characters must stand for bytes, otherwise it is taken as it is. */
static void byte_level_end(struct tokenizer_stream *stream, size_t at)
{
	struct stage_state *state = &stream->states[at];
	size_t before = state->run.size, length;
	for (size_t i = 0; i < state->held.size; i += length) {
		int byte = byte_level_byte(utf8_code(state->held.data + i, &length));
		char c = (char) byte;
		if (byte < 0) {
			state->run.size = before;
			text_append(&state->run, state->held.data, state->held.size);
			break;
		}
		text_append(&state->run, &c, 1);
	}
	state->held.size = 0;
	byte_level_run(stream, at, 0);
}

static void stage_text(struct tokenizer_stream *stream, size_t at, const char *text, size_t bytes)
{
	if (!bytes || stream->rc)
		return;
	if (at == stream->tokenizer->decoder->count) {
		text_append(&stream->output, text, bytes);
		return;
	}
	struct stage_state *state = &stream->states[at];
	switch (stream->tokenizer->decoder->stages[at].kind) {
	case DECODE_JOIN:
		join_begin(stream, at, state);
		stage_text(stream, at + 1, text, bytes);
		break;
	case DECODE_FUSE:
		stage_text(stream, at + 1, text, bytes);
		break;
	case DECODE_METASPACE:
		metaspace_text(stream, at, text, bytes);
		break;
	case DECODE_STRIP:
		strip_text(stream, at, text, bytes);
		break;
	case DECODE_BYTE_FALLBACK:
		fallback_text(stream, at, text, bytes);
		break;
	case DECODE_REPLACE_STRING:
		text_append(&state->held, text, bytes);
		if (!state->held.failed)
			replace_held(stream, at, 0);
		break;
	case DECODE_BYTE_LEVEL:
	case DECODE_REPLACE_REGEX:
		text_append(&state->held, text, bytes);
		break;
	}
	if (state->held.failed || state->run.failed)
		stream->rc = error_memory(stream->error, "decoding tokens");
}

static void stage_end(struct tokenizer_stream *stream, size_t at)
{
	if (at == stream->tokenizer->decoder->count || stream->rc)
		return;
	struct stage_state *state = &stream->states[at];
	switch (stream->tokenizer->decoder->stages[at].kind) {
	case DECODE_JOIN:
		join_begin(stream, at, state);
		state->open = 0;
		break;
	case DECODE_FUSE:
		return;
	case DECODE_BYTE_LEVEL:
		byte_level_end(stream, at);
		break;
	case DECODE_BYTE_FALLBACK:
		fallback_end(stream, at);
		break;
	case DECODE_REPLACE_STRING:
		replace_held(stream, at, 1);
		stage_end(stream, at + 1);
		break;
	case DECODE_REPLACE_REGEX:
		replace_regex(stream, at);
		stage_end(stream, at + 1);
		break;
	case DECODE_STRIP:
		state->begun = state->held_count = 0;
		state->open = 0;
		stage_end(stream, at + 1);
		break;
	case DECODE_METASPACE:
		stage_end(stream, at + 1);
		break;
	}
	state->tokens++;
	if (state->held.failed || state->run.failed)
		stream->rc = error_memory(stream->error, "decoding tokens");
}

static void stage_finish(struct tokenizer_stream *stream, size_t at)
{
	if (at == stream->tokenizer->decoder->count || stream->rc)
		return;
	switch (stream->tokenizer->decoder->stages[at].kind) {
	case DECODE_BYTE_LEVEL:
		byte_level_run(stream, at, 1);
		stage_end(stream, at + 1);
		break;
	case DECODE_FUSE:
		stage_end(stream, at + 1);
		break;
	case DECODE_BYTE_FALLBACK:
		fallback_run(stream, at);
		break;
	default:
		break;
	}
	stage_finish(stream, at + 1);
}

/* ---- streams ---- */

int tokenizer_stream_create(
	const struct tokenizer *tokenizer, int skip_special, struct tokenizer_stream **out, struct error *error)
{
	struct tokenizer_stream *stream = calloc(1, sizeof *stream);
	if (!stream)
		return error_memory(error, "decoding tokens");
	stream->tokenizer = tokenizer;
	stream->skip_special = skip_special;
	stream->states = calloc(tokenizer->decoder->count + 1, sizeof *stream->states);
	if (!stream->states) {
		tokenizer_stream_destroy(stream);
		return error_memory(error, "decoding tokens");
	}
	*out = stream;
	return 0;
}

void tokenizer_stream_destroy(struct tokenizer_stream *stream)
{
	if (!stream)
		return;
	for (size_t i = 0; stream->states && i < stream->tokenizer->decoder->count; i++) {
		text_free(&stream->states[i].held);
		text_free(&stream->states[i].run);
	}
	free(stream->states);
	free(stream->matches.items);
	regex_work_free(stream->regex);
	text_free(&stream->output);
	free(stream);
}

/* Appends to stream->output. */
static int feed(struct tokenizer_stream *stream, int32_t id, struct error *error)
{
	const struct tokenizer *tokenizer = stream->tokenizer;
	size_t bytes;
	if (id < 0)
		return error_set(error, ERROR_INPUT, NULL, "%d is not a token id: ids are not negative", (int) id);
	const char *text = added_text(tokenizer->added, &tokenizer->vocab, id, stream->skip_special, &bytes);
	if (!text)
		return 0;
	stream->error = error;
	stream->rc = 0;
	stage_text(stream, 0, text, bytes);
	stage_end(stream, 0);
	return stream->rc;
}

static int finish(struct tokenizer_stream *stream, struct error *error)
{
	stream->error = error;
	stream->rc = 0;
	stage_finish(stream, 0);
	for (size_t i = 0; i < stream->tokenizer->decoder->count; i++) {
		struct stage_state *state = &stream->states[i];
		state->held.size = state->run.size = 0;
		state->tokens = state->begun = state->held_count = 0;
		state->open = 0;
	}
	return stream->rc;
}

static int yield_output(struct tokenizer_stream *stream, const char **text, size_t *bytes, struct error *error)
{
	text_terminate(&stream->output);
	if (stream->output.failed)
		return error_memory(error, "decoding tokens");
	*text = stream->output.data;
	*bytes = stream->output.size;
	return 0;
}

int tokenizer_stream_feed(
	struct tokenizer_stream *stream, int32_t id, const char **text, size_t *bytes, struct error *error)
{
	stream->output.size = 0;
	int rc = feed(stream, id, error);
	return rc ? rc : yield_output(stream, text, bytes, error);
}

int tokenizer_stream_finish(struct tokenizer_stream *stream, const char **text, size_t *bytes, struct error *error)
{
	stream->output.size = 0;
	int rc = finish(stream, error);
	return rc ? rc : yield_output(stream, text, bytes, error);
}

int tokenizer_decode(const struct tokenizer *tokenizer, const int32_t *ids, size_t count, int skip_special, char **text,
	size_t *bytes, struct error *error)
{
	struct tokenizer_stream *stream = NULL;
	const char *result;
	int rc = tokenizer_stream_create(tokenizer, skip_special, &stream, error);
	for (size_t i = 0; i < count && !rc; i++)
		rc = feed(stream, ids[i], error);
	if (!rc)
		rc = finish(stream, error);
	if (!rc)
		rc = yield_output(stream, &result, bytes, error);
	if (!rc) {
		*text = stream->output.data; /* the caller's from here on */
		stream->output = (struct text_buffer){0};
	}
	tokenizer_stream_destroy(stream);
	return rc;
}
