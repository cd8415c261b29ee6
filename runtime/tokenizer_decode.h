/* SPDX-License-Identifier: Apache-2.0
 *
 * The decoders of a tokenizer.json as a list of stages, Sequences unrolled; none at all is DECODE_JOIN. */
#ifndef OCTANT_TOKENIZER_DECODE_H
#define OCTANT_TOKENIZER_DECODE_H

#include "runtime/tokenizer_internal.h"

enum decoder_kind {
	DECODE_JOIN,
	DECODE_BYTE_LEVEL,
	DECODE_METASPACE,
	DECODE_BYTE_FALLBACK,
	DECODE_FUSE,
	DECODE_REPLACE_STRING,
	DECODE_REPLACE_REGEX,
	DECODE_STRIP,
};

struct decoder_stage {
	enum decoder_kind kind;
	uint32_t character; /* Metaspace's replacement, Strip's content */
	int prefix;         /* Metaspace: the first token's replacement characters are no spaces */
	size_t start, stop; /* Strip: at most so many characters from each end of a token */
	struct text_buffer pattern, content;
	struct regex *regex;
};

struct decoder {
	struct decoder_stage *stages;
	size_t count, capacity;
};

#endif
