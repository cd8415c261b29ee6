/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON lines of text to ids and back. */
#ifndef OCTANT_TOOLS_TOKENIZE_H
#define OCTANT_TOOLS_TOKENIZE_H

#include <stdio.h>
#include "runtime/error.h"
#include "runtime/tokenizer.h"

/* Reads {"text": "…"} a line from `path` ("-": standard input) and writes {"ids": […]} a line, or the other way round.
 * Empty lines are left out. Stops at the first line that is wrong: ERROR_INPUT with file and line. */
int tokenize_lines(const struct tokenizer *tokenizer, const char *path, FILE *to, struct error *error);
int detokenize_lines(const struct tokenizer *tokenizer, const char *path, FILE *to, struct error *error);

#endif
