/* SPDX-License-Identifier: Apache-2.0
 *
 * What every part of the tokenizer needs of text: a growing byte buffer, UTF-8, and the classes of characters
 * that the `tokenizers` library takes from Rust and Oniguruma. */
#ifndef OCTANT_TOKENIZER_TEXT_H
#define OCTANT_TOKENIZER_TEXT_H

#include <stddef.h>
#include <stdint.h>

/* A byte buffer. `failed` stays set after an allocation failed, and later appends do nothing, so that a sequence
 * of appends is checked once at its end. `data` is NULL until something is reserved. */
struct text_buffer {
	char *data;
	size_t size, capacity;
	int failed;
};

void text_append(struct text_buffer *buffer, const void *data, size_t size);
void text_append_code(struct text_buffer *buffer, uint32_t code);
/* Room for `size` more bytes; 0 when there is none (and `failed` is set). */
int text_reserve(struct text_buffer *buffer, size_t size);
/* Writes a zero byte after the text, which `size` does not count. */
void text_terminate(struct text_buffer *buffer);
void text_free(struct text_buffer *buffer);

/* Grows `array` of `*capacity` elements of `size` bytes to hold at least `count`; NULL when there is no memory
 * (the old array is then still valid). */
void *text_grow(void *array, size_t *capacity, size_t count, size_t size);

/* Bytes of the well-formed sequence at `text`; when it is ill-formed, minus the length of the part that one U+FFFD
 * replaces (Unicode 15, section 3.9: maximal subpart); 0 when `size` ends inside a sequence that is well-formed so
 * far. `size` ≥ 1. */
int utf8_sequence(const char *text, size_t size);

/* The code point at `text`, which must be well-formed, and its length. */
uint32_t utf8_code(const char *text, size_t *length);

/* The first byte that is not part of well-formed UTF-8, or `size`. */
size_t utf8_invalid(const char *text, size_t size);

/* Writes 1 to 4 bytes, returns how many. */
size_t utf8_write(char *out, uint32_t code);

int code_is_space(uint32_t code);       /* White_Space */
int code_is_numeric(uint32_t code);     /* Nd, Nl, No */
int code_is_punctuation(uint32_t code); /* ASCII punctuation, and categories P? */

/* The bytes-to-characters table of byte-level BPE: printable Latin-1 bytes stand for themselves, the other 68
 * for U+0100 … U+0143 in order. */
uint32_t byte_level_code(unsigned char byte);
/* The byte that a character stands for, or -1. */
int byte_level_byte(uint32_t code);

#endif
