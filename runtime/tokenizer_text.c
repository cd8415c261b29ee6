/* SPDX-License-Identifier: Apache-2.0
 *
 * Byte buffers, UTF-8 and character classes for the tokenizer. */
#include "runtime/tokenizer_text.h"
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

int text_reserve(struct text_buffer *buffer, size_t size)
{
	/* one byte more than asked for, for text_terminate */
	if (buffer->failed || size >= SIZE_MAX - buffer->size) {
		buffer->failed = 1;
		return 0;
	}
	char *data = text_grow(buffer->data, &buffer->capacity, buffer->size + size + 1, 1);
	if (!data) {
		buffer->failed = 1;
		return 0;
	}
	buffer->data = data;
	return 1;
}

void text_append(struct text_buffer *buffer, const void *data, size_t size)
{
	if (!text_reserve(buffer, size))
		return;
	if (size)
		memcpy(buffer->data + buffer->size, data, size);
	buffer->size += size;
}

void text_append_code(struct text_buffer *buffer, uint32_t code)
{
	if (text_reserve(buffer, 4))
		buffer->size += utf8_write(buffer->data + buffer->size, code);
}

void text_terminate(struct text_buffer *buffer)
{
	if (text_reserve(buffer, 0))
		buffer->data[buffer->size] = 0;
}

void text_free(struct text_buffer *buffer)
{
	free(buffer->data);
	*buffer = (struct text_buffer){0};
}

void *text_grow(void *array, size_t *capacity, size_t count, size_t size)
{
	if (array && count <= *capacity)
		return array;
	if (count > SIZE_MAX / 2 / size)
		return NULL;
	size_t wanted = *capacity < 32 ? 64 : *capacity * 2;
	if (wanted < count)
		wanted = count;
	if (wanted > SIZE_MAX / size)
		return NULL;
	void *grown = realloc(array, wanted * size);
	if (grown)
		*capacity = wanted;
	return grown;
}

int utf8_sequence(const char *text, size_t size)
{
	const unsigned char *p = (const unsigned char *) text;
	unsigned low = 0x80, high = 0xbf; /* what the second byte may be */
	int length;
	if (p[0] < 0x80)
		return 1;
	if (p[0] >= 0xc2 && p[0] <= 0xdf) {
		length = 2;
	} else if (p[0] >= 0xe0 && p[0] <= 0xef) {
		length = 3;
		if (p[0] == 0xe0)
			low = 0xa0; /* overlong */
		if (p[0] == 0xed)
			high = 0x9f; /* surrogates */
	} else if (p[0] >= 0xf0 && p[0] <= 0xf4) {
		length = 4;
		if (p[0] == 0xf0)
			low = 0x90; /* overlong */
		if (p[0] == 0xf4)
			high = 0x8f; /* beyond U+10FFFF */
	} else {
		return -1;
	}
	for (int i = 1; i < length; i++) {
		if ((size_t) i == size)
			return 0;
		if (p[i] < low || p[i] > high)
			return -i;
		low = 0x80;
		high = 0xbf;
	}
	return length;
}

uint32_t utf8_code(const char *text, size_t *length)
{
	const unsigned char *p = (const unsigned char *) text;
	if (p[0] < 0x80) {
		*length = 1;
		return p[0];
	}
	if (p[0] < 0xe0) {
		*length = 2;
		return (uint32_t) (p[0] & 0x1f) << 6 | (p[1] & 0x3f);
	}
	if (p[0] < 0xf0) {
		*length = 3;
		return (uint32_t) (p[0] & 0x0f) << 12 | (uint32_t) (p[1] & 0x3f) << 6 | (p[2] & 0x3f);
	}
	*length = 4;
	return (uint32_t) (p[0] & 0x07) << 18 | (uint32_t) (p[1] & 0x3f) << 12 | (uint32_t) (p[2] & 0x3f) << 6 |
	       (p[3] & 0x3f);
}

size_t utf8_invalid(const char *text, size_t size)
{
	size_t i = 0;
	while (i < size) {
		if ((unsigned char) text[i] < 0x80) {
			i++;
			continue;
		}
		int length = utf8_sequence(text + i, size - i);
		if (length <= 0)
			return i;
		i += (size_t) length;
	}
	return size;
}

size_t utf8_write(char *out, uint32_t code)
{
	if (code < 0x80) {
		out[0] = (char) code;
		return 1;
	}
	if (code < 0x800) {
		out[0] = (char) (0xc0 | code >> 6);
		out[1] = (char) (0x80 | (code & 0x3f));
		return 2;
	}
	if (code < 0x10000) {
		out[0] = (char) (0xe0 | code >> 12);
		out[1] = (char) (0x80 | (code >> 6 & 0x3f));
		out[2] = (char) (0x80 | (code & 0x3f));
		return 3;
	}
	out[0] = (char) (0xf0 | code >> 18);
	out[1] = (char) (0x80 | (code >> 12 & 0x3f));
	out[2] = (char) (0x80 | (code >> 6 & 0x3f));
	out[3] = (char) (0x80 | (code & 0x3f));
	return 4;
}

int code_is_space(uint32_t code)
{
	return (code >= 0x09 && code <= 0x0d) || code == 0x20 || code == 0x85 || code == 0xa0 || code == 0x1680 ||
	       (code >= 0x2000 && code <= 0x200a) || code == 0x2028 || code == 0x2029 || code == 0x202f ||
	       code == 0x205f || code == 0x3000;
}

int code_is_numeric(uint32_t code)
{
	utf8proc_category_t category = utf8proc_category((utf8proc_int32_t) code);
	return category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL || category == UTF8PROC_CATEGORY_NO;
}

int code_is_punctuation(uint32_t code)
{
	if (code < 0x80)
		return code > 0x20 && code < 0x7f && !(code >= '0' && code <= '9') && !(code >= 'A' && code <= 'Z') &&
		       !(code >= 'a' && code <= 'z');
	utf8proc_category_t category = utf8proc_category((utf8proc_int32_t) code);
	return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
}

static int byte_stands_for_itself(unsigned byte)
{
	return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xff && byte != 0xad);
}

uint32_t byte_level_code(unsigned char byte)
{
	if (byte_stands_for_itself(byte))
		return byte;
	/* the others in order: 0x00-0x20 (33 of them), 0x7f-0xa0 (34), 0xad */
	return 256 + (byte <= 0x20 ? byte : byte <= 0xa0 ? 33u + byte - 0x7f : 67u);
}

int byte_level_byte(uint32_t code)
{
	if (code < 256)
		return byte_stands_for_itself(code) ? (int) code : -1;
	uint32_t n = code - 256;
	return n < 33 ? (int) n : n < 67 ? (int) (n - 33 + 0x7f) : n == 67 ? 0xad : -1;
}
